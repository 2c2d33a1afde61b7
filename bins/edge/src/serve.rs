//! `edge run`: serving until told to stop.

use std::{io::Write as _, process::ExitCode};

use tracing::Level;
use tracing_subscriber::{EnvFilter, fmt};
use tunnel_edge::{
    Clock, Config, Edge,
    edge::{DRAIN_PATIENCE, Screen},
    setup::{self, MadeBy},
};

use super::failed;

/// Logs to standard error.
pub(crate) fn log(level: Level, format: &str) {
    let filter = EnvFilter::new(format!(
        "warn,yamux=error,rustls_platform_verifier=off,webauthn_rs=off,webauthn_rs_core=off,edge={level},tunnel_edge={level},tunnel_proto={level},tunnel_origin={level}"
    ));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber cannot be set; this is the first.
    let _ = if format == "json" { log.json().try_init() } else { log.with_ansi(false).try_init() };
}

/// Starts an edge that shows codes on this terminal when it has no mail server.
pub(crate) async fn start(config: Config) -> Result<Edge, ExitCode> {
    super::platform::raise_descriptors();
    let started = Edge::start(config, Clock::System, Screen::new(std::io::stdout())).await;
    started.map_err(|error| failed(&error.to_string()))
}

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(config: Config) -> ExitCode {
    let edge = match start(config).await {
        Ok(edge) => edge,
        Err(code) => return code,
    };
    greet(&edge).await;
    stopped().await;
    eprintln!("Stopping: what is under way may end within {} s.", DRAIN_PATIENCE.as_secs());
    edge.stop(DRAIN_PATIENCE).await;
    ExitCode::SUCCESS
}

async fn greet(edge: &Edge) {
    let state = edge.state();
    let config = &state.config;
    if !config.quick_start {
        let listening: Vec<String> = edge.listening().iter().map(ToString::to_string).collect();
        println!("The edge of {} is ready on {}.", config.zone, listening.join(", "));
        println!("People log in at {}. Connect a machine with: connector login --edge {}", state.issuer, state.issuer);
        let _ = std::io::stdout().flush();
        return;
    }
    println!("The edge is ready, on this machine only (zone `localhost`).");
    if state.snapshot.load().has_administrator() {
        println!("Administrators: {}", names(state));
    } else {
        match setup::make_link(&state.tunnel_desk(None), MadeBy::QuickStart).await {
            Ok(link) => println!("Open this once to become its administrator; the code appears here:\n\n  {link}\n"),
            Err(error) => eprintln!("edge: no setup link: {error}"),
        }
    }
    println!("Publish a web server from a second terminal, for example:\n");
    println!("  connector --hostname www.localhost --url http://localhost:3000\n");
    println!("Then open {}", config.visit_url(&www(), "/"));
    let _ = std::io::stdout().flush();
}

fn www() -> tunnel_proto::Hostname {
    tunnel_proto::Hostname::parse("www.localhost").expect("a hostname")
}

fn names(state: &tunnel_edge::State) -> String {
    let snapshot = state.snapshot.load();
    let names: Vec<String> = snapshot.declared.administrators.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn stopped() {
    tokio::select! {
        () = super::platform::terminated() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
