//! Managing tunnels: `create`, `list`, `route`, `rotate`, `delete`, inside what an administrator approved.

use std::io::{Write, stdout};

use serde_json::json;
use tunnel_origin::{Credentials, operator::OperatorLink};
use tunnel_proto::{Name, identity::KeyAndCsr, message::TunnelEntry};

use crate::{
    cli::{Cli, CreateArgs, ListArgs, NamedTunnel, RouteArgs},
    enrolled::{self, Source},
    failure::Failure,
    now,
    operator::{Operator, failure},
    paths::Paths,
    stored::TunnelDir,
};

pub(crate) async fn create(cli: &Cli, args: &CreateArgs) -> Result<(), Failure> {
    let paths = Paths::new(&cli.edge)?;
    let dir = TunnelDir::new(paths.tunnel(&args.tunnel));
    let source = Source::find(&paths, &cli.edge, &args.hostname).await?;
    let source = source.ok_or_else(|| enrolled::nobody(&paths, args.hostname.first()))?;
    let (about, _) = source.enrol(&cli.edge, &args.tunnel, &args.hostname, &dir).await?;
    say(&format!("Created the tunnel {} ({}).", about.name, about.tunnel))?;
    say(&format!("Next: connector run {} --url http://localhost:3000", about.name))
}

pub(crate) async fn list(cli: &Cli, args: &ListArgs) -> Result<(), Failure> {
    let mut link = link(cli).await?;
    let tunnels = link.list().await.map_err(failure)?;
    link.close().await;
    if args.json {
        let rows = tunnels.iter().map(|tunnel| {
            json!({"id": tunnel.tunnel, "name": tunnel.name, "hostnames": tunnel.hostnames, "links": tunnel.links})
        });
        return say(&serde_json::Value::from_iter(rows).to_string());
    }
    if tunnels.is_empty() {
        eprintln!("There are no tunnels of this machine.");
        return Ok(());
    }
    say(&table(&tunnels))
}

pub(crate) async fn route(cli: &Cli, args: &RouteArgs) -> Result<(), Failure> {
    let mut link = link(cli).await?;
    let tunnel = find(&mut link, &args.tunnel).await?;
    link.route(tunnel.tunnel, args.hostnames.clone()).await.map_err(failure)?;
    link.close().await;
    let dir = TunnelDir::new(Paths::new(&cli.edge)?.tunnel(&args.tunnel));
    if let Some((mut about, _)) = dir.load()?.filter(|(about, _)| about.tunnel == tunnel.tunnel) {
        let new = args.hostnames.iter().filter(|hostname| !about.hostnames.contains(hostname)).cloned();
        about.hostnames.extend(new.collect::<Vec<_>>());
        dir.save_about(&about)?;
    }
    let hostnames: Vec<_> = args.hostnames.iter().map(ToString::to_string).collect();
    say(&format!("Routed {} to the tunnel {}.", hostnames.join(", "), args.tunnel))
}

pub(crate) async fn rotate(cli: &Cli, args: &NamedTunnel) -> Result<(), Failure> {
    let dir = TunnelDir::new(Paths::new(&cli.edge)?.tunnel(&args.tunnel));
    let Some((about, _)) = dir.load()? else {
        return Err(Failure::failed(format!(
            "there are no credentials of a tunnel `{}` on this machine to replace",
            args.tunnel
        )));
    };
    let mut link = link(cli).await?;
    let key = KeyAndCsr::generate().map_err(Failure::failed)?;
    let renewed = link.rotate(about.tunnel, key.csr_pem).await.map_err(failure)?;
    link.close().await;
    let credentials = Credentials::new(about.zone.clone(), &renewed.ca, &renewed.certificate, key.key_pem);
    let credentials = credentials
        .map_err(|error| Failure::failed(format!("the edge answered with credentials that cannot be used: {error}")))?;
    dir.save(&about, &credentials)?;
    say(&format!("The tunnel {} has new credentials; connectors with the old ones were cut off.", args.tunnel))
}

pub(crate) async fn delete(cli: &Cli, args: &NamedTunnel) -> Result<(), Failure> {
    let mut link = link(cli).await?;
    let tunnel = find(&mut link, &args.tunnel).await?;
    link.delete(tunnel.tunnel).await.map_err(failure)?;
    link.close().await;
    let dir = TunnelDir::new(Paths::new(&cli.edge)?.tunnel(&args.tunnel));
    // Of the same name, and perhaps another edge's.
    if dir.load()?.is_some_and(|(about, _)| about.tunnel == tunnel.tunnel) {
        dir.remove()?;
    }
    say(&format!("Deleted the tunnel {}.", args.tunnel))
}

async fn link(cli: &Cli) -> Result<OperatorLink, Failure> {
    let paths = Paths::new(&cli.edge)?;
    let operator = Operator::load(&paths)?.ok_or_else(|| {
        Failure::failed(format!(
            "this machine has not logged in (there is no cert.pem in `{}`): use `connector login`, or on the edge's own \
             machine `edge admin tunnel`",
            paths.config().display()
        ))
    })?;
    operator.connect(operator.edge(cli.edge.edge.as_deref())?, now()).await
}

async fn find(link: &mut OperatorLink, name: &Name) -> Result<TunnelEntry, Failure> {
    let tunnels = link.list().await.map_err(failure)?;
    let found = tunnels.into_iter().find(|tunnel| tunnel.name == *name);
    found.ok_or_else(|| {
        Failure::failed(format!("there is no tunnel `{name}` of this machine; `connector list` shows those there are"))
    })
}

fn table(tunnels: &[TunnelEntry]) -> String {
    let rows = tunnels.iter().map(|tunnel| {
        let hostnames: Vec<_> = tunnel.hostnames.iter().map(ToString::to_string).collect();
        [tunnel.name.to_string(), tunnel.tunnel.to_string(), tunnel.links.to_string(), hostnames.join(", ")]
    });
    let head = ["NAME", "ID", "LINKS", "HOSTNAMES"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let name = rows.iter().map(|[name, ..]| name.len()).max().unwrap_or_default();
    let lines =
        rows.iter().map(|[first, id, links, hostnames]| format!("{first:name$}  {id:36}  {links:>5}  {hostnames}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints data. A reader that has had enough is no failure.
fn say(text: &str) -> Result<(), Failure> {
    match writeln!(stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write the answer: {error}")))
        }
        _ => Ok(()),
    }
}
