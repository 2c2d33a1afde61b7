//! A tunnel while it runs: what the person at the terminal reads, signals, the pid file and the metrics.

use std::{
    io::{self, Write, stdout},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use tunnel_origin::{Connector, Credentials, EdgeAddress, Error, Service, ServiceKind, ServiceOptions, Status};
use tunnel_proto::{
    HostPattern, Name,
    cores::{self, Cores},
};

use crate::{AGENT, cli::RunArgs, failure::Failure, metrics, platform, stored::TunnelDir};

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) edge: EdgeAddress,
    pub(crate) credentials: Credentials,
    pub(crate) dir: TunnelDir,
    pub(crate) name: Name,
    pub(crate) hostnames: Vec<HostPattern>,
    pub(crate) service: Service,
    pub(crate) service_text: String,
    pub(crate) options: ServiceOptions,
    pub(crate) urls: Vec<String>,
}

/// How it ended.
pub(crate) enum Ended {
    /// As asked.
    Stopped,
    /// Trying again would not help.
    GaveUp(Error),
}

/// Runs a tunnel until it is asked to stop, or gives up.
pub(crate) async fn run(plan: Plan, args: &RunArgs) -> Result<Ended, Failure> {
    let mut stops =
        platform::stop_requests().map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))?;
    let metrics = match args.metrics {
        Some(address) => Some(metrics::bind(address).await?),
        None => None,
    };
    let cores = cores_for(args.connections).map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let mut builder = Connector::builder()
        .cores(cores.as_ref().map(Cores::handles).unwrap_or_default())
        .edge(plan.edge.clone())
        .credentials(plan.credentials.clone())
        .credential_store(plan.dir.clone())
        .connections(usize::from(args.connections))
        .grace(args.grace_period)
        .agent(AGENT);
    for hostname in &plan.hostnames {
        builder = builder.service_with(hostname.clone(), plan.service.clone(), plan.options.clone());
    }
    let mut connector = builder.start().map_err(Failure::failed)?;
    let _metrics = metrics.map(|listener| metrics::serve(listener, &connector));
    announce(&plan);
    let mut status = connector.status();
    let mut pidfile = None;
    let mut was_ready = false;
    loop {
        tokio::select! {
            ended = connector.ended() => return Ok(ended.map_or_else(Ended::GaveUp, |()| Ended::Stopped)),
            Some(signal) = stops.recv() => {
                tracing::info!(signal, "stopping");
                let grace = args.grace_period;
                say(&format!("Stopping: what is in flight has {grace:?} to end; once more stops at once."));
                return tokio::select! {
                    ended = connector.stop() => Ok(ended.map_or_else(Ended::GaveUp, |()| Ended::Stopped)),
                    Some(_) = stops.recv() => Err(Failure::failed("stopped at once; what was in flight is cut")),
                };
            }
            Ok(()) = status.changed() => {
                let now = status.borrow_and_update().clone();
                if now.is_ready() && !was_ready {
                    was_ready = true;
                    say(&format!("Ready. Links to {} are up.", plan.edge));
                    if let Some(path) = args.pidfile.as_deref().filter(|_| pidfile.is_none()) {
                        pidfile = Some(PidFile::write(path)?);
                    }
                }
                if let Status::Connecting { .. } = now && was_ready {
                    was_ready = false;
                    say(&format!("No link to {} any more; connecting again.", plan.edge));
                }
            }
        }
    }
}

/// A thread for each link, as long as there are cores; none where that would be one, which the program has already.
fn cores_for(links: u8) -> io::Result<Option<Cores>> {
    let count = NonZeroUsize::new(links.into()).map_or(NonZeroUsize::MIN, |links| links.min(cores::usual()));
    (count > NonZeroUsize::MIN).then(|| Cores::start("core", count)).transpose()
}

fn announce(plan: &Plan) {
    say(&format!("Publishing {} as tunnel {}.", plan.service_text, plan.name));
    match commands(plan) {
        None => {
            say(&format!("Open {}", plan.urls.join(" or ")));
            say(
                "Visitors log in there first; the requests of those whom a policy admits arrive at the service. Ctrl-C stops.",
            );
        }
        Some(commands) => {
            say(&format!("Reach it with {}", commands.join(" or ")));
            say("People log in first; the connections of those whom a policy admits arrive here. Ctrl-C stops.");
        }
    }
    if let Service::Bastion(allow) = &plan.service {
        for range in allow.iter().filter(|range| range.is_everything()) {
            tracing::warn!(%range, "this bastion leads everywhere: name the networks that are meant with --allow");
        }
    }
}

/// How people reach what is no web service.
fn commands(plan: &Plan) -> Option<Vec<String>> {
    let scheme = plan.service_text.split(':').next().filter(|scheme| matches!(*scheme, "ssh" | "rdp" | "smb"));
    let destination = match plan.service.kind() {
        ServiceKind::Tcp => "",
        ServiceKind::Bastion => " --destination HOST:PORT",
        _ => return None,
    };
    let action = scheme.unwrap_or("tcp");
    let of = |hostname| format!("`access {action} --hostname {hostname}{destination} --url localhost:PORT`");
    Some(plan.hostnames.iter().map(of).collect())
}

/// Tells the person at the terminal, who may have gone.
fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// The pid file; removed when dropped.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self, Failure> {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|error| Failure::failed(format!("--pidfile: cannot write `{}`: {error}", path.display())))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
