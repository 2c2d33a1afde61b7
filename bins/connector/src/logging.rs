//! The log: to the terminal's error output, or appended to a file.

use std::{
    fs::OpenOptions,
    io::{IsTerminal, stderr},
    sync::Mutex,
};

use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

use crate::{
    cli::{Level, LogArgs, LogFormat},
    failure::Failure,
};

/// Begins to log, for the whole program.
pub(crate) fn begin(args: &LogArgs) -> Result<(), Failure> {
    let level = match args.loglevel {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let others = if args.loglevel == Level::Error { "error" } else { "warn" };
    let filter =
        format!("{others},rustls_platform_verifier=off,connector={level},tunnel_origin={level},tunnel_proto={level}");
    let filter = EnvFilter::try_new(filter).map_err(Failure::failed)?;
    let (writer, ansi) = match &args.logfile {
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            let file = file.map_err(|error| {
                Failure::failed(format!("--logfile: cannot append to `{}`: {error}", path.display()))
            })?;
            (BoxMakeWriter::new(Mutex::new(file)), false)
        }
        None => (BoxMakeWriter::new(stderr), stderr().is_terminal()),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    let begun = match args.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    begun.map_err(Failure::failed)
}
