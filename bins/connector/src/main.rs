//! The connector: publishes services of this machine through an edge.

mod cli;
mod duration;
mod edges;
mod enrolled;
mod failure;
mod files;
mod logging;
mod login;
mod manage;
mod metrics;
mod not_built;
mod operator;
mod origin;
mod paths;
mod platform;
mod publish;
mod run;
mod stored;

use std::{
    ffi::OsString,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::{CommandFactory, FromArgMatches, parser::ValueSource};
use tunnel_proto::UnixTime;

use cli::{Cli, Command, Protocol};
use failure::{Failure, Kind};

/// Program and version, as the edge shows them.
const AGENT: &str = concat!("connector ", env!("CARGO_PKG_VERSION"));
/// Flags that say what to publish and how.
const PUBLISHING: &[&str] = &[
    "hostname",
    "url",
    "bastion",
    "allow",
    "name",
    "origin_ca_pool",
    "origin_server_name",
    "match_sni_to_host",
    "no_tls_verify",
    "http2_origin",
    "http_host_header",
    "proxy_connect_timeout",
    "proxy_tls_timeout",
];
/// The longest that something blocking may delay the end of the program.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("connector: {failure}");
            if failure.kind == Kind::Usage {
                eprintln!("`connector --help` shows what there is.");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn begin() -> Result<(), Failure> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    // The habit of `cloudflared tunnel …`.
    if arguments.get(1).is_some_and(|word| word == "tunnel") {
        arguments.remove(1);
    }
    not_built::refuse(&arguments)?;
    let cli = parse(&arguments);
    let runs = matches!(cli.command, None | Some(Command::Run(_)));
    if runs {
        not_built::refuse_variables(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    }
    if cli.run.protocol == Protocol::Quic {
        return Err(Failure::usage("--protocol quic is not built yet: leave it out, or use tls"));
    }
    edges::check(&cli.edge)?;
    logging::begin(&cli.log)?;
    // Releases have no such thing.
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("TUNNEL_TEST_FAULTS") {
        tunnel_proto::faults::arm_by(file.into());
    }
    // Links that are many have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(dispatch(cli));
    runtime.shutdown_timeout(LINGER);
    ended
}

/// Reads the command line; ends the program with help, version or a usage error.
fn parse(arguments: &[OsString]) -> Cli {
    let matches = Cli::command().try_get_matches_from(arguments).unwrap_or_else(|error| error.exit());
    if let Some((name, _)) = matches.subcommand() {
        // They would be ignored: they say what to publish, and the command says something else.
        let stray = PUBLISHING.iter().find(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
        if let Some(id) = stray {
            let flag = id.replace('_', "-");
            let message = format!("--{flag} stands before `{name}`: it belongs after the command, or without one");
            Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message).exit();
        }
    }
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

async fn dispatch(mut cli: Cli) -> Result<(), Failure> {
    match cli.command.take() {
        None => publish::publish(&cli).await,
        Some(Command::Login(args)) => login::login(args, &cli.edge).await,
        Some(Command::Run(args)) => publish::run_stored(&cli, &args).await,
        Some(Command::Create(args)) => manage::create(&cli, &args).await,
        Some(Command::List(args)) => manage::list(&cli, &args).await,
        Some(Command::Route(args)) => manage::route(&cli, &args).await,
        Some(Command::Rotate(args)) => manage::rotate(&cli, &args).await,
        Some(Command::Delete(args)) => manage::delete(&cli, &args).await,
    }
}

/// The wall clock.
fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}
