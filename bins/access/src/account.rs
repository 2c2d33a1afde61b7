//! Logins: making, ending, printing and listing them.

use std::time::SystemTime;

use serde::Serialize;
use tunnel_client::{AppHost, Entry, TokenStore, plain};
use tunnel_proto::UnixTime;

use crate::{cli::ListArgs, failure::Failure, settings::Settings};

pub(crate) async fn login(settings: &Settings, host: AppHost) -> Result<(), Failure> {
    let (client, hosts) = settings.client(&format!("access login {host}"), vec![host]).await?;
    for host in hosts {
        let entry = client.login(&host).await?;
        if let Some(login) = entry.login {
            eprintln!("Logged in to {} as {}, for {}.", entry.host, login.email, left(login.expires));
        }
    }
    Ok(())
}

pub(crate) async fn logout(settings: &Settings, host: AppHost) -> Result<(), Failure> {
    let (client, hosts) = settings.client("access logout", vec![host]).await?;
    for host in hosts {
        match client.logout(&host).await? {
            true => eprintln!("Logged out of {}.", host.hostname()),
            false => eprintln!("There was no login for {}.", host.hostname()),
        }
    }
    Ok(())
}

/// Prints the token of a login that there is, and nothing else.
pub(crate) fn token(settings: &Settings, host: &AppHost) -> Result<(), Failure> {
    let entry = settings.store().load(host.hostname())?;
    let login = entry.and_then(|entry| entry.login).filter(|login| login.expires > now());
    match login {
        Some(login) => {
            println!("{}", login.token.reveal());
            Ok(())
        }
        None => Err(Failure::refused(format!("there is no login for `{host}`: `access login {host}` makes one"))),
    }
}

/// One application that this user has logged in to.
#[derive(Serialize)]
struct Row {
    hostname: String,
    edge: String,
    /// Its name, or why it could not be asked for.
    app: Result<String, String>,
    email: Option<String>,
    expires: Option<u64>,
}

pub(crate) async fn list(settings: &Settings, args: &ListArgs) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for entry in settings.store().list()? {
        rows.push(row(settings, entry).await?);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows).map_err(Failure::failed)?);
        return Ok(());
    }
    if rows.is_empty() {
        eprintln!("There are no logins yet: `access login HOST` makes one.");
    }
    for row in rows {
        let app = row.app.unwrap_or_else(|error| format!("({error})"));
        let login = match (row.email, row.expires) {
            (Some(email), Some(expires)) => format!("{email}, for {}", left(UnixTime(expires))),
            _ => "not logged in".to_owned(),
        };
        println!("{}\t{}\t{login}\t{}", row.hostname, plain(&app), row.edge);
    }
    Ok(())
}

async fn row(settings: &Settings, entry: Entry) -> Result<Row, Failure> {
    let host: AppHost = entry.host.as_str().parse()?;
    let host = entry.port.map_or_else(|| host.clone(), |port| host.clone().or_port(port));
    let (client, hosts) = settings.client("access list", vec![host]).await?;
    let mut app = Err("there is no host".to_owned());
    for host in &hosts {
        app = client.app(host).await.map(|app| app.name.to_string()).map_err(|error| error.to_string());
    }
    let login = entry.login.filter(|login| login.expires > now());
    Ok(Row {
        hostname: entry.host.to_string(),
        edge: entry.issuer,
        app,
        email: login.as_ref().map(|login| login.email.to_string()),
        expires: login.map(|login| login.expires.0),
    })
}

/// Prints the lines for `~/.ssh/config` that lead `ssh HOST` through the edge.
pub(crate) fn ssh_config(host: &AppHost) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(format!("where am I? {error}")))?;
    let program = program.to_str().filter(|path| !path.contains(['"', '\n', '%']));
    let program =
        program.ok_or_else(|| Failure::failed("the path of this program cannot be written into a configuration"))?;
    println!("Host {}\n  ProxyCommand \"{program}\" ssh --hostname {host}", host.hostname());
    Ok(())
}

fn left(expires: UnixTime) -> String {
    let seconds = expires.since(now()).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}

/// The wall clock.
fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}
