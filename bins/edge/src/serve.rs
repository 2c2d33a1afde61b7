//! `edge run`: serving until told to stop.

use std::{io::Write as _, process::ExitCode};

use tokio::sync::mpsc::Receiver;
use tracing::Level;
use tracing_subscriber::{EnvFilter, fmt};
use tunnel_edge::{
    Clock, Config, Edge,
    edge::{DRAIN_PATIENCE, Screen},
    replace::{Ask, Predecessor, ReplaceError},
    setup::{self, MadeBy},
    socket::{Restarted, problem},
};
use tunnel_proto::cores::{self, Cores};

use super::{
    failed,
    platform::{Hangups, tell_manager},
    restart::Program,
};

/// Logs to standard error. Only our own code ever says more than warnings: libraries would write what they carry.
pub(crate) fn log(level: Level, format: &str) {
    let filter = EnvFilter::new(format!(
        "warn,rustls_platform_verifier=off,webauthn_rs=off,webauthn_rs_core=off,edge={level},tunnel_edge={level},tunnel_proto={level},tunnel_origin={level}"
    ));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber cannot be set; this is the first.
    let _ = if format == "json" { log.json().try_init() } else { log.with_ansi(false).try_init() };
}

/// Starts an edge that shows codes on this terminal when it has no mail server, and the threads that its connections live in.
pub(crate) async fn start(predecessor: Option<&mut Predecessor>, config: Config) -> Result<(Edge, Cores), String> {
    super::platform::raise_descriptors();
    let cores = Cores::start("core", config.threads.unwrap_or_else(cores::usual));
    let cores = cores.map_err(|error| format!("threads cannot be started: {error}"))?;
    let screen = Screen::new(std::io::stdout());
    let started = Edge::start_after(predecessor, cores.handles(), config, Clock::System, screen).await;
    Ok((started.map_err(|error| error.to_string())?, cores))
}

/// Serves until SIGINT or SIGTERM, or until another process does and nothing is left to go on with.
pub(crate) async fn run(config: impl FnOnce() -> Result<Config, String>) -> ExitCode {
    let program = Program::now();
    let mut predecessor = match Predecessor::find() {
        Ok(predecessor) => predecessor,
        Err(error) => return failed(&format!("the edge that started this process cannot be heard: {error}")),
    };
    let begun = match config() {
        Ok(config) => start(predecessor.as_mut(), config).await,
        Err(error) => Err(error),
    };
    let (edge, cores) = match (begun, &mut predecessor) {
        (Ok(begun), _) => begun,
        (Err(error), Some(predecessor)) => {
            predecessor.failed(&error).await;
            return failed(&error);
        }
        (Err(error), None) => return failed(&error),
    };
    let asks = edge.asks();
    // A quick start ends with its terminal.
    let hangups = if edge.state().config.quick_start { Hangups::ignored() } else { Hangups::taken() };
    if predecessor.is_none() {
        greet(&edge).await;
        tell_manager("READY=1");
    }
    drop(predecessor);
    super::watchdog::start(cores.handles().to_vec());
    serve(edge, asks, hangups, program).await
}

async fn serve(mut edge: Edge, mut asks: Receiver<Ask>, mut hangups: Hangups, program: Program) -> ExitCode {
    let stopped = stopped();
    tokio::pin!(stopped);
    loop {
        let ask: Option<Ask> = tokio::select! {
            () = &mut stopped => break,
            Some(ask) = asks.recv() => Some(ask),
            () = hangups.next() => None,
        };
        let replaced = {
            let replacing = edge.replace(program.command(), &mut stopped);
            tokio::pin!(replacing);
            loop {
                tokio::select! {
                    replaced = &mut replacing => break replaced,
                    Some(another) = asks.recv() => refuse(another, "the edge is being restarted already"),
                }
            }
        };
        match replaced {
            Ok(restarted) => {
                tell_manager(&format!("MAINPID={}", restarted.process));
                answer(ask, Ok(restarted));
                tracing::info!(process = restarted.process, "another process serves in this one's place");
                asks.close();
                while let Ok(late) = asks.try_recv() {
                    refuse(late, "another process serves already");
                }
                tokio::select! {
                    () = edge.retire() => {}
                    () = &mut stopped => {}
                }
                edge.stop(DRAIN_PATIENCE).await;
                return ExitCode::SUCCESS;
            }
            Err(ReplaceError::Stopped) => {
                answer(ask, Err(problem("not_restarted", ReplaceError::Stopped.to_string())));
                break;
            }
            Err(error) => {
                tracing::error!(%error, "the edge was not restarted; it serves on as it was");
                answer(ask, Err(problem("not_restarted", format!("not restarted: {error}"))));
            }
        }
    }
    eprintln!("Stopping: what is under way may end within {} s.", DRAIN_PATIENCE.as_secs());
    tell_manager("STOPPING=1");
    edge.stop(DRAIN_PATIENCE).await;
    ExitCode::SUCCESS
}

/// Tells whoever asked; by a signal, nobody waits.
fn answer(ask: Option<Ask>, answer: tunnel_edge::socket::Answer<Restarted>) {
    if let Some(ask) = ask {
        let _ = ask.send(answer);
    }
}

/// Tells somebody who asked while, or after, the edge was replaced.
fn refuse(ask: Ask, why: &str) {
    answer(Some(ask), Err(problem("not_restarted", why)));
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
