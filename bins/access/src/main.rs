//! `access`: the access client. Not built yet.

use std::process::ExitCode;

use clap::Parser;

/// The access client of Tunnel: opens protected TCP services. Not built yet.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

fn main() -> ExitCode {
    let _ = Cli::parse();
    eprintln!("access: the access client is not built yet; web applications open in a browser without it");
    ExitCode::from(2)
}
