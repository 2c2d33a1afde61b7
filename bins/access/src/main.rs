//! `access`: opens protected services on this machine.

mod account;
mod browser;
mod cli;
mod curl;
mod failure;
mod file;
mod list;
mod open;
mod platform;
mod print;
mod screen;
mod settings;
mod show;
mod ssh_config;
mod status;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, Level};
use failure::{Failure, Kind};
use screen::Screen;
use settings::Settings;

/// Program and version, as the edge shows them.
const AGENT: &str = concat!("access ", env!("CARGO_PKG_VERSION"));
/// The longest that something blocking may delay the end of the program.
const LINGER: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match begin() {
        Ok(code) => code,
        Err(failure) => {
            // Words of the other side may be in it.
            eprintln!("access: {}", plain_lines(&failure.to_string()));
            if failure.kind == Kind::Usage {
                eprintln!("`access --help` shows what there is.");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Text for the terminal, of one line or of several.
fn plain_lines(text: &str) -> String {
    text.lines().map(tunnel_client::plain).collect::<Vec<_>>().join("\n")
}

fn begin() -> Result<ExitCode, Failure> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    // The habit of `cloudflared access …`.
    if arguments.get(1).is_some_and(|word| word == "access") {
        arguments.remove(1);
    }
    let cli = Cli::try_parse_from(&arguments).unwrap_or_else(|error| error.exit());
    let screen = Screen::new();
    log(cli.common.loglevel, screen.clone())?;
    // Releases have no such thing.
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("TUNNEL_TEST_FAULTS") {
        tunnel_proto::faults::arm_by(file.into());
    }
    // One thread: whoever comes is carried by one link, and what one thread reads no other one has to be woken for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(dispatch(cli, screen));
    // Standard input may still be waited for.
    runtime.shutdown_timeout(LINGER);
    ended
}

async fn dispatch(cli: Cli, screen: Screen) -> Result<ExitCode, Failure> {
    let settings = Settings::new(&cli.common, screen)?;
    let done = match cli.command {
        Command::Tcp(args) => open::open(&settings, "tcp", args).await,
        Command::Ssh(args) => open::open(&settings, "ssh", args).await,
        Command::Rdp(args) => open::open(&settings, "rdp", args).await,
        Command::Smb(args) => open::open(&settings, "smb", args).await,
        Command::Forward(args) => open::forward(&settings, args).await,
        Command::Login(args) => account::login(&settings, args.url).await,
        Command::Logout(args) => account::logout(&settings, args.url).await,
        Command::Token(args) => account::token(&settings, &args.app),
        Command::List(args) => list::list(&settings, &args).await,
        Command::SshConfig(args) => ssh_config::ssh_config(&cli.common, &args.hostname),
        Command::Curl(args) => return curl::curl(&settings, args).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn log(level: Level, screen: Screen) -> Result<(), Failure> {
    let level = match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let filter = format!("warn,rustls_platform_verifier=off,access={level},tunnel_client={level},tunnel_proto={level}");
    let filter = EnvFilter::try_new(filter).map_err(Failure::failed)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(console::colors_enabled_stderr());
    lines.with_writer(screen).try_init().map_err(Failure::failed)
}
