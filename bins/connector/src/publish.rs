//! `connector --hostname H --url U`: create or reuse the tunnel, route the hostname, run. And `connector run`, which only
//! runs.

use tunnel_origin::{Credentials, Error, Service};
use tunnel_proto::{HostPattern, Name, UnixTime, message::LinkRefusal, message::TableRefusal};
use url::Url;

use crate::{
    cli::{Cli, NamedRun, PublishArgs, Published},
    edges,
    enrolled::{self, Source},
    failure::Failure,
    now,
    paths::Paths,
    run::{self, Ended, Plan},
    stored::{About, TunnelDir},
};

/// A certificate with less than this left is replaced rather than used.
const LEFT_MIN: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

pub(crate) async fn publish(cli: &Cli) -> Result<(), Failure> {
    let PublishArgs { hostname: hostnames, name, .. } = &cli.publish;
    let published = cli.publish.published()?;
    let (Some(first), Some(published)) = (hostnames.first(), &published) else {
        return Err(incomplete(hostnames.first(), published.as_ref()));
    };
    // What would not work is said before anything is made at the edge.
    published.origin.checked(hostnames, &published.service).map(drop)?;
    let name = name.clone().map_or_else(|| tunnel_name(first), Ok)?;
    let paths = Paths::new(&cli.edge)?;
    let dir = TunnelDir::new(paths.tunnel(&name));
    let source = Source::find(&paths, &cli.edge, hostnames).await?;
    let stored = dir.load()?;
    if let (Some((about, _)), Some(source)) = (&stored, &source)
        && about.zone != *source.zone()
    {
        return Err(Failure::failed(format!(
            "`{}` holds credentials of the zone `{}`, and the edge found here is that of `{}`: they are not overwritten. Use \
             another --name or --config-dir, or --data-dir or --edge to say which edge is meant",
            dir.path().display(),
            about.zone,
            source.zone()
        )));
    }
    let stored = stored.filter(|(about, credentials)| {
        let covered = hostnames.iter().all(|hostname| about.hostnames.contains(hostname));
        let issued = source.as_ref().is_none_or(|source| source.issued(about, credentials));
        covered && issued && is_fresh(credentials, now())
    });
    let reused = stored.is_some();
    let (about, credentials) = match (stored, &source) {
        (Some(stored), _) => stored,
        (None, Some(source)) => source.enrol(&cli.edge, &name, hostnames, &dir).await?,
        (None, None) => return Err(enrolled::nobody(&paths, Some(first))),
    };
    let ended = run::run(plan(cli, about, credentials, hostnames, published, &dir)?, &cli.run).await?;
    match (ended, source) {
        (Ended::Stopped, _) => Ok(()),
        // The tunnel or its routes were removed at the edge since; being asked to publish means to make them anew.
        (Ended::GaveUp(error), Some(source)) if reused && is_gone(&error, &source) => {
            tracing::info!(%error, "enrolling again");
            let (about, credentials) = source.enrol(&cli.edge, &name, hostnames, &dir).await?;
            match run::run(plan(cli, about, credentials, hostnames, published, &dir)?, &cli.run).await? {
                Ended::Stopped => Ok(()),
                Ended::GaveUp(error) => Err(edges::link_failure(error)),
            }
        }
        (Ended::GaveUp(error), _) => Err(edges::link_failure(error)),
    }
}

/// Runs a stored tunnel; nothing is created or routed.
pub(crate) async fn run_stored(cli: &Cli, args: &NamedRun) -> Result<(), Failure> {
    let asked = args.publish.published()?;
    let paths = Paths::new(&cli.edge)?;
    let name = args.tunnel.clone().or_else(|| args.publish.name.clone());
    let name = name.map_or_else(|| only_tunnel(&paths), Ok)?;
    let dir = TunnelDir::new(paths.tunnel(&name));
    let (about, credentials) = dir.load()?.ok_or_else(|| {
        Failure::failed(format!(
            "there are no credentials of a tunnel `{name}` in `{}`: `connector create {name}` makes it",
            dir.path().display()
        ))
    })?;
    let hostnames =
        if args.publish.hostname.is_empty() { about.hostnames.clone() } else { args.publish.hostname.clone() };
    if hostnames.is_empty() {
        return Err(Failure::usage(format!("the tunnel `{name}` has no hostname yet: say which with --hostname")));
    }
    let published = match (asked, &about.service) {
        (Some(published), _) => published,
        (None, Some(text)) => {
            // Flags are taken together, or else what was stored: a mixture would be neither.
            let said = &args.publish.origin;
            let origin = if said.is_default() { about.origin.clone() } else { said.clone() };
            Published { service: service(text)?, text: text.clone(), origin }
        }
        (None, None) => {
            return Err(Failure::usage(format!(
                "the tunnel `{name}` has published nothing yet: say what with --url http://HOST:PORT, or --bastion"
            )));
        }
    };
    match run::run(plan(cli, about, credentials, &hostnames, &published, &dir)?, &cli.run).await? {
        Ended::Stopped => Ok(()),
        Ended::GaveUp(error) => Err(edges::link_failure(error)),
    }
}

fn service(text: &str) -> Result<Service, Failure> {
    text.parse().map_err(|error| Failure::failed(format!("the stored service cannot be used: {error}")))
}

fn plan(
    cli: &Cli,
    mut about: About,
    credentials: Credentials,
    hostnames: &[HostPattern],
    published: &Published,
    dir: &TunnelDir,
) -> Result<Plan, Failure> {
    let edge = edges::address(cli.edge.edge.as_deref(), &about.edge, &about.zone)?;
    let options = published.origin.checked(hostnames, &published.service)?;
    if about.service.as_deref() != Some(&published.text) || about.origin != published.origin {
        about.service = Some(published.text.clone());
        about.origin = published.origin.clone();
        dir.save_about(&about)?;
    }
    let urls = addresses(hostnames, &about.urls);
    Ok(Plan {
        edge,
        credentials,
        dir: dir.clone(),
        name: about.name,
        hostnames: hostnames.to_vec(),
        service: published.service.clone(),
        service_text: published.text.clone(),
        options,
        urls,
    })
}

/// Where visitors open these hostnames: what the edge said, or the ordinary address.
fn addresses(hostnames: &[HostPattern], urls: &[String]) -> Vec<String> {
    let of = |hostname: &HostPattern| {
        let said = urls.iter().filter(|url| {
            let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
            host.as_deref() == Some(hostname.as_str())
        });
        let said: Vec<String> = said.cloned().collect();
        if said.is_empty() { vec![format!("https://{hostname}")] } else { said }
    };
    hostnames.iter().flat_map(of).collect()
}

fn is_fresh(credentials: &Credentials, now: UnixTime) -> bool {
    credentials.expires().since(now) > LEFT_MIN
}

/// Whether being asked to publish means to enrol anew. Not after a revocation, and not after somebody elsewhere deleted the
/// tunnel: that was meant, and is undone by people. On the edge's own machine the same user decides both.
fn is_gone(error: &Error, source: &Source) -> bool {
    match error {
        Error::Refused { code: LinkRefusal::CertificateExpired, .. } | Error::Certificate { .. } => true,
        Error::Refused { code: LinkRefusal::UnknownTunnel, .. }
        | Error::Table { code: TableRefusal::NotRouted, .. } => matches!(source, Source::Local(..)),
        _ => false,
    }
}

/// The name of a tunnel that was given none: its first hostname.
fn tunnel_name(hostname: &HostPattern) -> Result<Name, Failure> {
    hostname.as_str().replace('*', "any").parse().map_err(|_| {
        Failure::usage(format!(
            "`{hostname}` is too long to be the name of the tunnel as well: give it one with --name"
        ))
    })
}

fn only_tunnel(paths: &Paths) -> Result<Name, Failure> {
    let entries = std::fs::read_dir(paths.tunnels()).into_iter().flatten().flatten();
    let mut names: Vec<Name> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => {
            Err(Failure::usage("no tunnel is stored on this machine: `connector --hostname HOST --url URL` makes one"))
        }
        names => {
            let names: Vec<_> = names.iter().map(Name::as_str).collect();
            Err(Failure::usage(format!("say which tunnel to run: {}", names.join(", "))))
        }
    }
}

fn incomplete(hostname: Option<&HostPattern>, published: Option<&Published>) -> Failure {
    Failure::usage(match (hostname, published) {
        (Some(hostname), _) => {
            format!("--url is missing: say what is behind `{hostname}`, for example --url http://localhost:3000")
        }
        (None, Some(published)) => {
            format!(
                "--hostname is missing: say where `{}` is reached, for example --hostname www.localhost",
                published.text
            )
        }
        (None, None) => "say what to publish, for example:\n\n  connector --hostname www.localhost --url \
                         http://localhost:3000\n\nor see `connector --help`"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(names: &[&str]) -> Vec<HostPattern> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_tunnel_is_named_after_its_first_hostname() {
        let name = |host: &str| tunnel_name(&host.parse().unwrap()).map(|name| name.to_string());
        assert_eq!(name("www.localhost").unwrap(), "www.localhost");
        assert_eq!(name("*.example.com").unwrap(), "any.example.com");
        let long = format!("{}.{}.example.com", "a".repeat(40), "b".repeat(40));
        assert_eq!(name(&long).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_addresses_are_those_the_edge_said_for_these_hostnames() {
        let urls = ["https://www.localhost:8443", "http://www.localhost:8080", "https://a.www.localhost:8443"];
        let urls = urls.map(str::to_owned);
        assert_eq!(addresses(&patterns(&["www.localhost"]), &urls), urls[..2]);
        assert_eq!(addresses(&patterns(&["x.example.com"]), &urls), ["https://x.example.com"]);
    }
}
