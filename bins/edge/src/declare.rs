//! `edge apply`, `export`, `check` and `ca`.

use std::{path::Path, process::ExitCode};

use tunnel_edge::{
    Clock,
    declare::{self, Ground, Request, SecretText, Secrets, Source},
    keys::Keys,
    snapshot::BuiltIn,
    socket::{Administration, Client, Offline},
};
use tunnel_proto::UnixTime;

use super::{Place, failed};

/// The largest declaration, in bytes.
const FILE_MAX: u64 = 1024 * 1024 / 2;

/// Applies a file: by the edge that runs, else on its store.
pub(crate) async fn apply(place: &Place, file: &Path, dry_run: bool, prune: bool, json: bool) -> ExitCode {
    match try_apply(place, file, dry_run, prune).await {
        Ok(report) => {
            if json {
                println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
            } else {
                println!("{report}");
            }
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

async fn try_apply(place: &Place, file: &Path, dry_run: bool, prune: bool) -> Result<declare::Report, String> {
    let unreadable = |error: std::io::Error| format!("`{}` cannot be read: {error}", file.display());
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_MAX {
        return Err(format!("`{}` is larger than {FILE_MAX} bytes", file.display()));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let secrets = named(file, &text)?;
    let request = Request { file: file.display().to_string(), text, secrets, dry_run, prune };
    let dir = place.data_dir()?;
    if let Some(client) = Client::find(&dir).await.map_err(|error| error.to_string())? {
        return client.apply(request).await.map_err(|problem| problem.message);
    }
    let offline = Offline::open(&dir, Clock::System).await.map_err(|problem| problem.message)?;
    let (built_in, mail, countries, now) = ground(place)?;
    let keys = Keys::load(&dir, offline.store(), now).await.map_err(|error| error.to_string())?;
    let ground = Ground { built_in: &built_in, mail, countries, keys: Some(&keys), actor: "local", now };
    declare::apply(offline.store(), &request, &ground).await.map_err(|error| error.to_string())
}

/// The values that a declaration names: files beside it, and variables of this process.
pub(crate) fn named(file: &Path, text: &str) -> Result<Secrets, String> {
    let mut secrets = Secrets::new();
    for reference in declare::references(text) {
        let (line, column) = reference.at;
        let wrong = |what: String| format!("{}:{line}:{column}: `{}`: {what}", file.display(), reference.source);
        let value = match &reference.source {
            Source::File(path) => read_named(&file.parent().unwrap_or(Path::new("")).join(path)).map_err(wrong)?,
            Source::Env(name) => match std::env::var(name) {
                Ok(value) => value,
                Err(std::env::VarError::NotPresent) => return Err(wrong("there is no such variable".to_owned())),
                Err(std::env::VarError::NotUnicode(_)) => return Err(wrong("it is not UTF-8 text".to_owned())),
            },
        };
        secrets.insert(reference.source.key(), SecretText::new(value));
    }
    Ok(secrets)
}

/// The text of a file without the ends of its last lines, which editors add.
fn read_named(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| format!("`{}` cannot be read: {error}", path.display());
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("`{}` is not a plain file", path.display()));
    }
    let most = u64::try_from(declare::VALUE_MAX).unwrap_or(u64::MAX);
    let mut text = zeroize::Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > declare::VALUE_MAX {
        return Err(format!("`{}` is longer than {most} bytes", path.display()));
    }
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What is built in, whether mail can be sent and countries be told, and now.
fn ground(place: &Place) -> Result<(BuiltIn, bool, bool, UnixTime), String> {
    let config = place.config(Vec::new())?;
    let built_in = BuiltIn {
        administrators: config.administrators.clone(),
        quick_start: config.quick_start,
        login_host: Some(config.login_host.clone()),
        administrator_methods: config.administrator_methods.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
    };
    Ok((built_in, config.quick_start || config.smtp.is_some(), config.has_countries(), Clock::System.now()))
}

/// Prints what is declared.
pub(crate) async fn export(place: &Place) -> ExitCode {
    let exported = async {
        let dir = place.data_dir()?;
        let client = Client::find(&dir).await.map_err(|error| error.to_string())?;
        let answer = match client {
            Some(client) => client.export().await,
            None => match Offline::open(&dir, Clock::System).await {
                Ok(offline) => offline.export().await,
                Err(problem) => Err(problem),
            },
        };
        answer.map_err(|problem| problem.message)
    };
    match exported.await {
        Ok(exported) => {
            print!("{}", exported.text);
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

/// Checks the configuration file and what is stored.
pub(crate) async fn check(place: &Place, json: bool) -> ExitCode {
    match try_check(place).await {
        Ok(warnings) if json => {
            println!("{}", serde_json::json!({ "ok": true, "warnings": warnings }));
            ExitCode::SUCCESS
        }
        Ok(warnings) => {
            warnings.iter().for_each(|warning| println!("warning: {warning}"));
            println!("OK");
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

async fn try_check(place: &Place) -> Result<Vec<String>, String> {
    tunnel_edge::edge::check_files(&place.config(Vec::new())?).map_err(|error| error.to_string())?;
    let (built_in, mail, countries, now) = ground(place)?;
    let dir = place.data_dir()?;
    if let Some(client) = Client::find(&dir).await.map_err(|error| error.to_string())? {
        let exported = client.export().await.map_err(|problem| problem.message)?;
        // By the file as it is now, not as it was when the edge started.
        let (zone, running) =
            (place.config(Vec::new())?.zone, client.info().await.map_err(|problem| problem.message)?.zone);
        if place.config.is_some() && zone != running {
            return Err(format!(
                "the configuration is for the zone `{zone}`, and the edge that runs here serves `{running}`"
            ));
        }
        if !mail && exported.text.contains("one_time_pin") {
            return Err(
                "a login method sends PINs, and the configuration has no `[smtp]`: with it the edge does not start"
                    .into(),
            );
        }
        if !countries && exported.text.lines().any(|line| line.trim_start().starts_with("- country: ")) {
            return Err(
                "a rule names a country, and the configuration has no country file: with it the edge does not start"
                    .into(),
            );
        }
        let request =
            Request { file: "what is declared".to_owned(), text: exported.text, dry_run: true, ..Request::default() };
        return client.apply(request).await.map(|report| report.warnings).map_err(|problem| problem.message);
    }
    if !dir.join(tunnel_edge::store::DATABASE_NAME).exists() {
        return Ok(vec![format!("nothing is stored in `{}` yet", dir.display())]);
    }
    let offline = Offline::open(&dir, Clock::System).await.map_err(|problem| problem.message)?;
    let ground = Ground { built_in: &built_in, mail, countries, keys: None, actor: "local", now };
    declare::check(offline.store(), &ground).await.map_err(|error| error.to_string())
}

/// Prints the CA.
pub(crate) async fn ca(place: &Place, json: bool) -> ExitCode {
    let certificate = async {
        let dir = place.data_dir()?;
        if let Some(client) = Client::find(&dir).await.map_err(|error| error.to_string())? {
            return client.info().await.map(|info| info.ca).map_err(|problem| problem.message);
        }
        let config = place.config(Vec::new())?;
        let offline = Offline::open(&dir, Clock::System).await.map_err(|problem| problem.message)?;
        let store = offline.store();
        let now = Clock::System.now();
        let keys = Keys::load(&dir, store, now).await.map_err(|error| error.to_string())?;
        let ca = keys.authority(store, &config.zone, now).await.map_err(|error| error.to_string())?;
        Ok(ca.certificate_pem().to_owned())
    };
    match certificate.await {
        Ok(certificate) if json => {
            println!("{}", serde_json::json!({ "certificate": certificate }));
            ExitCode::SUCCESS
        }
        Ok(certificate) => {
            print!("{certificate}");
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}
