//! `edge admin …`: asks the edge that runs on the data directory; without one, its store, as far as that makes sense.

mod certificate;
mod health;
mod keys;
mod login_method;
pub(crate) mod output;
mod passkey;
mod person;
mod service_token;
mod tunnel;
mod user;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Args, Subcommand};
use serde::Serialize;
use tunnel_edge::{
    Clock,
    socket::{
        AUDIT_MAX, Administration, Answer, AuditQuery, Client, NamedOperator, Offline, RevokeApplication,
        WhichSessions, problem,
    },
    store::SessionKind,
};
use tunnel_proto::{EmailAddress, Name, OperatorId};

use certificate::CertificateCommand;
use health::ClockCommand;
use keys::KeysCommand;
use login_method::LoginMethodCommand;
use output::{clean, table, when};
use passkey::PasskeyCommand;
use person::PersonCommand;
use service_token::ServiceTokenCommand;
use tunnel::TunnelCommand;
use user::UserCommand;

/// What `edge admin` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Tunnels and their hostnames
    #[command(subcommand)]
    Tunnel(TunnelCommand),
    /// Machines that an administrator let publish
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Show what became of the newest mails, oldest of them first
    MailLog {
        /// How many
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(AUDIT_MAX)))]
        limit: u32,
    },
    /// People who are logged in
    #[command(subcommand)]
    Session(SessionCommand),
    /// People who have ever logged in
    #[command(subcommand)]
    Person(PersonCommand),
    /// Make a link that makes an administrator, once
    SetupLink,
    /// Show the newest audit records, oldest of them first
    Audit {
        /// How many
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(AUDIT_MAX)))]
        limit: u32,
    },
    /// Tokens by which machines are admitted
    #[command(subcommand)]
    ServiceToken(ServiceTokenCommand),
    /// How the edge and its machine do
    ///
    /// Clock, backups, store, disk, audit record, memory, descriptors, certificates and tunnels. The exit code is 3 when something
    /// is wrong, and 1 when it cannot be asked.
    Health,
    /// The clock of the edge's machine
    #[command(subcommand)]
    Clock(ClockCommand),
    /// What is protected, and the audience of its assertions
    #[command(subcommand)]
    Application(ApplicationCommand),
    /// Certificates that visitors are shown
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// Keys that sign assertions
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Ways to log in: what their providers have to be told, and whether they work
    #[command(subcommand)]
    LoginMethod(LoginMethodCommand),
    /// People who were invited, and log in by a passkey
    #[command(subcommand)]
    User(UserCommand),
    /// Passkeys of everybody, invited or not
    #[command(subcommand)]
    Passkey(PasskeyCommand),
}

/// What `edge admin operator` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// List the machines and what they may publish
    List,
    /// Withdraw a machine's approval: it can manage nothing any more, and its tunnels are cut off
    Revoke {
        /// Its id, as the list shows it
        id: OperatorId,
    },
}

/// What `edge admin session` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List who is logged in
    List,
    /// End sessions; those that came from a login end with it. Nobody is kept from logging in again
    Revoke {
        /// The beginning of a session's number (at least 8 digits), or an e-mail address for all of that person's
        #[arg(value_name = "NUMBER|EMAIL", value_parser = which, required_unless_present = "application")]
        which: Option<WhichSessions>,
        /// Make everybody log in anew for this application
        #[arg(long, value_name = "NAME", conflicts_with = "which")]
        application: Option<Name>,
    },
}

/// What `edge admin application` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum ApplicationCommand {
    /// List the applications; the id is the audience (`aud`) of assertions
    List,
}

fn which(text: &str) -> Result<WhichSessions, String> {
    if text.contains('@') {
        let email: EmailAddress = text.parse().map_err(|error| format!("{error}"))?;
        return Ok(WhichSessions::Email(email));
    }
    let digits = text.to_ascii_lowercase();
    if digits.len() < 8 || digits.len() > 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(
            "give at least 8 digits of the number that `edge admin session list` shows, or an e-mail address".into()
        );
    }
    Ok(WhichSessions::Id(digits))
}

/// The arguments of a command that is not built yet: whatever they are.
#[derive(Debug, Args)]
pub(crate) struct NotBuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<OsString>,
}

/// Runs a command. Data goes to standard output (`json`: as one JSON value), everything else to standard error.
pub(crate) async fn run(command: AdminCommand, data_dir: &Path, json: bool) -> ExitCode {
    if let Some((name, instead)) = not_built(&command) {
        eprintln!("`edge admin {name}` is not built yet; {instead}");
        return ExitCode::from(2);
    }
    match perform(command, data_dir, json).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("edge: {}", clean(&problem.message));
            let refused = [
                "in_use",
                "hostname_taken",
                "hostname_reserved",
                "hostname_out_of_scope",
                "name_taken",
                "test_refused",
                health::UNWELL,
            ];
            if refused.contains(&problem.code.as_str()) { ExitCode::from(3) } else { ExitCode::FAILURE }
        }
    }
}

/// The commands of the design that are still to be built, and what serves meanwhile.
fn not_built(command: &AdminCommand) -> Option<(&'static str, &'static str)> {
    match command {
        AdminCommand::Tunnel(TunnelCommand::Token(_)) => Some((
            "tunnel token",
            "use `edge admin tunnel create NAME --out DIR`, or `connector login` on the other machine",
        )),
        AdminCommand::Tunnel(TunnelCommand::Rotate(_)) => Some((
            "tunnel rotate",
            "use `edge admin tunnel revoke NAME` and then `edge admin tunnel create NAME --out DIR`",
        )),
        _ => None,
    }
}

async fn perform(command: AdminCommand, data_dir: &Path, json: bool) -> Answer<()> {
    let office = office(data_dir).await?;
    match command {
        AdminCommand::Tunnel(command) => tunnel::perform(command, &*office, json).await,
        AdminCommand::Operator(command) => operator(command, &*office, json).await,
        AdminCommand::MailLog { limit } => mail_log(&*office, limit, json).await,
        AdminCommand::Session(command) => session(command, &*office, json).await,
        AdminCommand::Person(command) => person::perform(command, &*office, json).await,
        AdminCommand::SetupLink => {
            let link = office.setup_link().await?;
            show(json, &link, || link.url.clone())?;
            if !json {
                eprintln!("Whoever opens it within an hour and proves an e-mail address becomes an administrator.");
            }
            Ok(())
        }
        AdminCommand::Audit { limit } => audit(&*office, limit, json).await,
        AdminCommand::Health => health::show_health(&*office, json).await,
        AdminCommand::Clock(command) => health::clock(command, &*office, json).await,
        AdminCommand::ServiceToken(command) => service_token::perform(command, &*office, json).await,
        AdminCommand::Application(ApplicationCommand::List) => applications(&*office, json).await,
        AdminCommand::Certificate(command) => certificate::perform(command, &*office, json).await,
        AdminCommand::Keys(command) => keys::perform(command, &*office, json).await,
        AdminCommand::LoginMethod(command) => login_method::perform(command, &*office, json).await,
        AdminCommand::User(command) => user::perform(command, &*office, json).await,
        AdminCommand::Passkey(command) => passkey::perform(command, &*office, json).await,
    }
}

/// Whom to ask.
pub(crate) async fn office(data_dir: &Path) -> Answer<Box<dyn Administration>> {
    match Client::find(data_dir).await {
        Ok(Some(client)) => Ok(Box::new(client)),
        Ok(None) => {
            let offline = Offline::open(data_dir, Clock::System).await?;
            eprintln!("No edge runs on `{}`: this is about what it has stored.", data_dir.display());
            Ok(Box::new(offline))
        }
        Err(error) => Err(problem("edge_unreachable", error.to_string())),
    }
}

async fn operator(command: OperatorCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        OperatorCommand::List => {
            let operators = office.operators().await?;
            show(json, &operators, || {
                let rows = operators.iter().map(|operator| {
                    let hostnames: Vec<_> = operator.hostnames.iter().map(|hostname| hostname.as_str()).collect();
                    let approved = format!("{} by {}", when(operator.approved), operator.approved_by);
                    vec![operator.id.to_string(), clean(&operator.machine), approved, hostnames.join(" ")]
                });
                table(&["ID", "MACHINE", "APPROVED", "MAY PUBLISH"], rows)
            })
        }
        OperatorCommand::Revoke { id } => {
            let revoked = office.revoke_operator(NamedOperator { id }).await?;
            show(json, &revoked, || {
                let tunnels: Vec<_> = revoked.tunnels.iter().map(|name| format!("`{name}`")).collect();
                let tunnels = if tunnels.is_empty() {
                    "it had no tunnels".to_owned()
                } else {
                    format!("cut off: {}", tunnels.join(", "))
                };
                format!("the machine `{}` may publish nothing any more; {tunnels}", clean(&revoked.machine))
            })
        }
    }
}

async fn applications(office: &dyn Administration, json: bool) -> Answer<()> {
    let applications = office.applications().await?;
    show(json, &applications, || {
        let rows = applications.iter().map(|app| {
            let hostnames: Vec<_> = app.hostnames.iter().map(|hostname| hostname.as_str()).collect();
            vec![app.name.to_string(), app.id.to_string(), hostnames.join(" ")]
        });
        table(&["NAME", "ID", "HOSTNAMES"], rows)
    })
}

async fn mail_log(office: &dyn Administration, limit: u32, json: bool) -> Answer<()> {
    let mut entries = office.mail_log(AuditQuery { limit }).await?;
    entries.reverse();
    show(json, &entries, || {
        let rows = entries.iter().map(|entry| {
            let detail = entry.detail.as_deref().map(clean).unwrap_or_default();
            vec![entry.id.to_string(), when(entry.at), entry.state.clone(), entry.domain.clone(), detail]
        });
        table(&["MAIL", "AT", "STATE", "DOMAIN", "DETAIL"], rows)
    })
}

async fn session(command: SessionCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        SessionCommand::List => {
            let sessions = office.sessions().await?;
            show(json, &sessions, || {
                let rows = sessions.iter().map(|session| {
                    let number = session.id.get(..12).unwrap_or(&session.id).to_owned();
                    let carrier = match (&session.device, session.kind) {
                        (Some(device), SessionKind::Browser) => device.clone(),
                        (Some(device), SessionKind::Client) => format!("access on {device}"),
                        (None, kind) => kind.as_str().to_owned(),
                    };
                    let source = session.source.map_or_else(|| "-".to_owned(), |source| source.to_string());
                    let (who, host) = (session.email.to_string(), session.host.to_string());
                    let (began, used, ends) = (when(session.created), when(session.seen), when(session.expires));
                    vec![number, who, session.method.to_string(), host, carrier, source, began, used, ends]
                });
                table(&["NUMBER", "PERSON", "BY", "HOST", "IN", "FROM", "SINCE", "USED", "UNTIL"], rows)
            })
        }
        SessionCommand::Revoke { application: Some(application), .. } => {
            office.revoke_application(RevokeApplication { application: application.clone() }).await?;
            let done = serde_json::json!({ "application": application });
            show(json, &done, || format!("everybody has to log in anew for `{application}`"))
        }
        SessionCommand::Revoke { which, .. } => {
            let which = which.ok_or_else(|| problem("bad_request", "say which sessions"))?;
            let ended = office.end_sessions(which).await?;
            show(json, &ended, || format!("sessions ended: {}", ended.ended))
        }
    }
}

async fn audit(office: &dyn Administration, limit: u32, json: bool) -> Answer<()> {
    let mut records = office.audit(AuditQuery { limit }).await?;
    records.reverse();
    show(json, &records, || {
        let rows = records.iter().map(|record| {
            let mut detail = record.detail.clone().unwrap_or_default();
            if record.count > 1 {
                detail = format!("{detail} (×{})", record.count).trim_start().to_owned();
            }
            if let Some(reference) = &record.reference {
                detail = format!("{detail} [{reference}]").trim_start().to_owned();
            }
            let source = record.source.map(|source| source.to_string());
            let event = record.event.as_str().to_owned();
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            vec![
                when(record.at),
                event,
                or_dash(record.actor.clone()),
                or_dash(source),
                or_dash(record.object.clone()),
                detail,
            ]
        });
        table(&["WHEN", "WHAT", "WHO", "FROM", "ABOUT", "DETAIL"], rows)
    })
}

/// Prints a value: as JSON, or in words.
pub(crate) fn show(json: bool, value: &impl Serialize, words: impl FnOnce() -> String) -> Answer<()> {
    let failed = |error: &dyn std::fmt::Display| problem("internal", format!("the answer cannot be printed: {error}"));
    let text = if json { serde_json::to_string_pretty(value).map_err(|error| failed(&error))? } else { words() };
    output::say(&text).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: AdminCommand,
    }

    fn parse(words: &str) -> Result<AdminCommand, clap::Error> {
        Cli::try_parse_from(std::iter::once("admin").chain(words.split_whitespace())).map(|cli| cli.command)
    }

    #[test]
    fn what_is_not_built_is_refused_by_name_whatever_its_arguments() {
        for (words, name) in
            [("tunnel token office", "tunnel token"), ("tunnel rotate office --force", "tunnel rotate")]
        {
            let command = parse(words).unwrap();
            assert_eq!(not_built(&command).map(|(name, _)| name), Some(name), "{words}");
        }
        for words in [
            "tunnel list",
            "session list",
            "setup-link",
            "audit -n 5",
            "service-token create ci",
            "service-token list",
            "certificate list",
            "login-method show entra --lang ja",
            "login-method test entra",
            "user invite a@example.com --name A",
            "user list",
            "passkey list",
            "passkey list a@example.com",
            "passkey remove a@example.com",
            "passkey remove a@example.com 5F0C2D9A",
        ] {
            assert!(not_built(&parse(words).unwrap()).is_none(), "{words}");
        }
    }

    #[test]
    fn wrong_words_are_usage_errors() {
        for words in [
            "",
            "tunnel",
            "tunnel create",
            "tunnel create Bad*Name",
            "tunnel route office",
            "tunnel route office bad_*_*",
            "session revoke 123",
            "session revoke a@b@c",
            "user invite nobody",
            "user remove",
            "passkey remove",
            "passkey remove 5f0c2d9a",
            "passkey remove a@example.com 5f0c2d9",
            "passkey remove a@example.com laptop01",
            "passkey list nobody",
            "audit -n 0",
            "audit -n 10001",
            "login-method test",
            "login-method show entra --lang de",
            "nonsense",
        ] {
            let error = parse(words).err().unwrap_or_else(|| panic!("`{words}` was understood"));
            assert_eq!(error.exit_code(), 2, "{words}: {error}");
        }
    }

    #[test]
    fn a_session_is_named_by_number_or_by_person() {
        assert_eq!(which("ABCDEF0123"), Ok(WhichSessions::Id("abcdef0123".into())));
        assert_eq!(which("A@Example.com"), Ok(WhichSessions::Email("a@example.com".parse().unwrap())));
        assert!(which("abcdefg0").is_err());
        assert!(which(&"a".repeat(65)).is_err());
    }
}
