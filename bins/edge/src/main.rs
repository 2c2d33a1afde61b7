//! `edge`: serves visitors and connectors, and administers itself.

mod admin;
mod declare;
mod demo;
mod platform;
mod policy;
mod restart;
mod serve;
mod watchdog;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tunnel_edge::Config;
use tunnel_proto::EmailAddress;

/// The edge of Tunnel: private web servers behind a login.
#[derive(Parser)]
#[command(version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(flatten)]
    place: Place,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    /// What is logged: error, warn, info, debug or trace
    #[arg(long, global = true, env = "TUNNEL_LOGLEVEL", default_value = "info", value_name = "LEVEL")]
    loglevel: tracing::Level,
    /// How it is logged
    #[arg(long, global = true, env = "TUNNEL_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  edge demo                                  see it work: a page behind a login, on this machine
  edge                                       the quick start: zone `localhost`, on loopback only
  edge run --config /etc/tunnel/edge.toml    the real thing
  edge apply -f access.yaml --dry-run        what a declaration would change
  edge admin tunnel list                     which tunnels are up";

/// Where the edge and its data are.
#[derive(Args, Clone)]
struct Place {
    /// The configuration file; without one, the quick start
    #[arg(long, global = true, env = "TUNNEL_EDGE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where state is kept
    #[arg(long, global = true, env = "TUNNEL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (what `edge` does without a command)
    Run(Run),
    /// Serve a page of our own behind a login, to see how it works
    Demo(Run),
    /// Replace the running edge by a new process of its program, without a moment in which nobody serves
    ///
    /// The configuration is read anew. What is under way goes on in the process before until it ends.
    Restart,
    /// Whether the configuration and what is stored can be served
    Check,
    /// Declare login methods, groups, policies, applications and tunnels by a file
    Apply {
        /// The file
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
        /// Also remove what the file's sections do not mention
        #[arg(long)]
        prune: bool,
    },
    /// Print what is declared, as a file for `apply`
    Export,
    /// Print the certificate of the edge's own CA
    Ca,
    /// Administer the edge on this machine
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Try policies out: on somebody, on everybody who is known, on decisions of the past
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

#[derive(Args, Default)]
struct Run {
    /// Make this address an administrator (quick start)
    #[arg(long, value_name = "EMAIL")]
    admin: Vec<EmailAddress>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.kind() == clap::error::ErrorKind::InvalidSubcommand => {
            eprint!("{error}");
            eprintln!("Commands: run, demo, restart, check, apply, export, ca, policy, admin");
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    serve::log(cli.loglevel, &cli.log_format);
    tunnel_edge::panics::count();
    // Releases have no such thing.
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("TUNNEL_TEST_FAULTS") {
        tunnel_proto::faults::arm_by(file.into());
    }
    // For what is no connection: those have threads of their own, which nothing here holds up, such as trying a policy out on
    // everybody. Two, so that it holds up nothing here either: what was revoked is to be followed within a second.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime cannot be started: {error}")),
    };
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> ExitCode {
    let (place, json) = (cli.place, cli.json);
    match cli.command.unwrap_or(Command::Run(Run::default())) {
        Command::Run(run) => serve::run(|| place.config(run.admin)).await,
        Command::Demo(run) if place.config.is_none() => match place.config(run.admin) {
            Ok(config) => demo::run(config).await,
            Err(error) => failed(&error),
        },
        Command::Demo(_) => usage("`edge demo` needs no configuration; leave `--config` out"),
        Command::Restart => match place.data_dir() {
            Ok(dir) => restart::run(&dir, json).await,
            Err(error) => failed(&error),
        },
        Command::Check => declare::check(&place, json).await,
        Command::Apply { file, dry_run, prune } => declare::apply(&place, &file, dry_run, prune, json).await,
        Command::Export => declare::export(&place).await,
        Command::Ca => declare::ca(&place, json).await,
        Command::Admin(command) => match place.data_dir() {
            Ok(dir) => admin::run(command, &dir, json).await,
            Err(error) => failed(&error),
        },
        Command::Policy(command) => match place.data_dir() {
            Ok(dir) => policy::run(command, &dir, json).await,
            Err(error) => failed(&error),
        },
    }
}

impl Place {
    /// The configuration: the file's, or the quick start's.
    fn config(&self, administrators: Vec<EmailAddress>) -> Result<Config, String> {
        match &self.config {
            Some(path) => {
                let mut config = Config::load(path, self.data_dir.clone()).map_err(|error| error.to_string())?;
                config.administrators.extend(administrators);
                Ok(config)
            }
            None => Ok(Config::quick_start(self.data_dir()?, administrators)),
        }
    }

    /// The data directory: as given, as configured, or the user's own.
    fn data_dir(&self) -> Result<PathBuf, String> {
        // A configuration that is named has to be right, also where the directory is named beside it.
        if let Some(path) = &self.config {
            return Ok(Config::load(path, self.data_dir.clone()).map_err(|error| error.to_string())?.data_dir);
        }
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let base = directories::BaseDirs::new().ok_or("there is no home directory; give `--data-dir`")?;
        let state = base.state_dir().unwrap_or_else(|| base.data_local_dir());
        Ok(state.join("tunnel"))
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("edge: {message}");
    ExitCode::FAILURE
}

fn usage(message: &str) -> ExitCode {
    eprintln!("edge: {message}");
    ExitCode::from(2)
}
