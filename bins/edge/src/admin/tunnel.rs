//! `edge admin tunnel …`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use tunnel_edge::{
    platform,
    socket::{Administration, Answer, NamedTunnel, RouteTunnel, problem},
};
use tunnel_proto::{
    HostPattern, Hostname, Name, TunnelId,
    enrol::{CreateTunnel, EnrolProblem},
    identity::KeyAndCsr,
};

use super::{NotBuilt, output::table, show};

/// What `edge admin tunnel` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum TunnelCommand {
    /// Create a tunnel (or take the one of this name), and write its credentials for a connector elsewhere
    Create {
        /// Its name
        name: Name,
        /// A hostname to route to it; may be repeated
        #[arg(long, value_name = "HOST")]
        hostname: Vec<HostPattern>,
        /// The directory to write its credentials to [default: ./NAME]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// List the tunnels and what is routed to them
    List,
    /// Route hostnames to a tunnel, all or none
    Route {
        /// The tunnel
        name: Name,
        /// The hostnames
        #[arg(value_name = "HOST", required = true)]
        hostnames: Vec<HostPattern>,
    },
    /// Revoke every certificate of a tunnel and close its links; its routes stay
    Revoke {
        /// The tunnel
        name: Name,
    },
    /// Delete a tunnel, its routes and its certificates, and close its links
    Delete {
        /// The tunnel
        name: Name,
    },
    /// Not built yet
    #[command(hide = true)]
    Token(NotBuilt),
    /// Not built yet
    #[command(hide = true)]
    Rotate(NotBuilt),
}

pub(super) async fn perform(command: TunnelCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        TunnelCommand::Create { name, hostname, out } => {
            let out = out.unwrap_or_else(|| PathBuf::from(name.as_str()));
            let about = create(office, name, hostname, &out).await?;
            show(json, &about, || {
                format!(
                    "tunnel `{name}` ({id}), its credentials are in `{out}`\nMove that directory to the machine of the \
                     service, as ~/.config/tunnel/tunnels/{name}, and there run:\n  connector run {name} --hostname \
                     {hostname} --url http://localhost:PORT",
                    name = about.name,
                    id = about.tunnel,
                    out = out.display(),
                    hostname = about.hostnames.first().map_or("HOST", |hostname| hostname.as_str()),
                )
            })
        }
        TunnelCommand::List => {
            let tunnels = office.tunnels().await?;
            show(json, &tunnels, || {
                let rows = tunnels.iter().map(|tunnel| {
                    let links = tunnel.links.map_or_else(|| "-".to_owned(), |links| links.to_string());
                    vec![tunnel.name.to_string(), tunnel.tunnel.to_string(), links, words(&tunnel.hostnames)]
                });
                table(&["NAME", "ID", "LINKS", "HOSTNAMES"], rows)
            })
        }
        TunnelCommand::Route { name, hostnames } => {
            let routes = office.route(RouteTunnel { name, hostnames }).await?;
            show(json, &routes, || format!("tunnel `{}` serves {}", routes.name, words(&routes.hostnames)))
        }
        TunnelCommand::Revoke { name } => {
            let routes = office.revoke_tunnel(NamedTunnel { name }).await?;
            show(json, &routes, || {
                format!("every certificate of tunnel `{}` is revoked; its hostnames stay routed to it", routes.name)
            })
        }
        TunnelCommand::Delete { name } => {
            let routes = office.delete_tunnel(NamedTunnel { name }).await?;
            show(json, &routes, || {
                format!("tunnel `{}` is deleted; it served {}", routes.name, words(&routes.hostnames))
            })
        }
        TunnelCommand::Token(_) | TunnelCommand::Rotate(_) => {
            Err(problem("not_built", "this command is not built yet"))
        }
    }
}

fn words(hostnames: &[HostPattern]) -> String {
    if hostnames.is_empty() {
        return "-".to_owned();
    }
    hostnames.iter().map(HostPattern::as_str).collect::<Vec<_>>().join(" ")
}

/// What a connector keeps about a tunnel, beside its credentials.
#[derive(Debug, Serialize)]
struct About {
    tunnel: TunnelId,
    name: Name,
    zone: Hostname,
    edge: String,
    hostnames: Vec<HostPattern>,
    urls: Vec<String>,
}

/// The files of a tunnel in a connector's configuration directory: key, certificate and CA in one, and what it is.
const CREDENTIALS: &str = "credentials.pem";
const ABOUT: &str = "tunnel.json";

async fn create(office: &dyn Administration, name: Name, hostnames: Vec<HostPattern>, out: &Path) -> Answer<About> {
    let (credentials, note) = (out.join(CREDENTIALS), out.join(ABOUT));
    if let Some(there) = [&credentials, &note].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        let message = format!("`{}` is there already and is not overwritten; choose another --out", there.display());
        return Err(problem("exists", message));
    }
    let info = office.info().await?;
    let is_new = !out.exists();
    platform::private_dir(out).map_err(|error| cannot_write(out, &error))?;
    let key = KeyAndCsr::generate().map_err(|error| problem("internal", error.to_string()))?;
    let created = office.create_tunnel(CreateTunnel { name, hostnames, csr: key.csr_pem.clone() }).await;
    let created = created.inspect_err(|_| {
        // Nothing half-made; what cannot be removed holds nothing.
        if is_new {
            let _ = std::fs::remove_dir(out);
        }
    })?;
    let parts = [key.key_pem.as_str(), &created.certificate, &created.ca];
    let text = zeroize::Zeroizing::new(parts.map(str::trim_end).join("\n") + "\n");
    platform::create_private(&credentials, text.as_bytes()).map_err(|error| cannot_write(&credentials, &error))?;
    let about = About {
        tunnel: created.tunnel,
        name: created.name,
        zone: info.zone,
        edge: info.edge,
        hostnames: created.hostnames,
        urls: created.urls,
    };
    let text = serde_json::to_string_pretty(&about).map_err(|error| problem("internal", error.to_string()))?;
    platform::create_private(&note, text.as_bytes()).map_err(|error| cannot_write(&note, &error))?;
    Ok(about)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> EnrolProblem {
    problem("cannot_write", format!("`{}`: {error}", path.display()))
}
