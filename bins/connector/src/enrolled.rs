//! Who can give this machine a tunnel, and getting one: from the edge on this machine, or by the machine's login.

use tunnel_origin::{
    Credentials, EdgeAddress,
    enrol::{EnrolError, LocalEdge},
};
use tunnel_proto::{
    HostPattern, Hostname, Name,
    enrol::{CreateTunnel, EdgeInfo, TunnelCreated},
    identity::KeyAndCsr,
};

use crate::{
    cli::EdgeArgs,
    edges,
    failure::Failure,
    now,
    operator::{self, Operator},
    origin::OriginArgs,
    paths::Paths,
    stored::{About, TunnelDir},
};

/// Who can give this machine a tunnel.
pub(crate) enum Source {
    /// An edge on this machine, of the same user.
    Local(LocalEdge, EdgeInfo),
    /// An edge elsewhere, by an administrator's approval.
    Operator(Operator),
}

impl Source {
    /// Finds whom to ask for tunnels with these hostnames. An edge on this machine needs no login; the login is preferred
    /// where the names are not of that edge's zone.
    pub(crate) async fn find(
        paths: &Paths,
        args: &EdgeArgs,
        hostnames: &[HostPattern],
    ) -> Result<Option<Self>, Failure> {
        let local = match paths.local_edge()? {
            Some(local) => ask_local(local, paths.names_local_edge()).await?,
            None => None,
        };
        if let Some((local, info)) = local {
            let elsewhere = args.edge.as_deref().is_some_and(|edge| {
                edge.contains("://") && EdgeAddress::parse(edge, None).is_ok_and(|edge| edge.url() != info.edge)
            });
            if paths.names_local_edge() {
                return Ok(Some(Self::Local(local, info)));
            }
            let operator = Operator::load(paths)?;
            return Ok(match operator {
                Some(operator) if elsewhere || !names_of(hostnames, &info.zone) => Some(Self::Operator(operator)),
                None if elsewhere => None,
                _ => Some(Self::Local(local, info)),
            });
        }
        Ok(Operator::load(paths)?.map(Self::Operator))
    }

    /// The zone that the edge serves.
    pub(crate) fn zone(&self) -> &Hostname {
        match self {
            Self::Local(_, info) => &info.zone,
            Self::Operator(operator) => &operator.about.zone,
        }
    }

    /// The edge to connect to.
    pub(crate) fn edge(&self, args: &EdgeArgs) -> Result<EdgeAddress, Failure> {
        match self {
            Self::Local(_, info) => edges::address(args.edge.as_deref(), &info.edge, &info.zone),
            Self::Operator(operator) => operator.edge(args.edge.as_deref()),
        }
    }

    /// Whether stored credentials are of this edge, and not of one that was set up anew.
    pub(crate) fn issued(&self, about: &About, credentials: &Credentials) -> bool {
        let (zone, ca) = match self {
            Self::Local(_, info) => (&info.zone, info.ca.as_str()),
            Self::Operator(operator) => (&operator.about.zone, operator.ca_pem()),
        };
        about.zone == *zone && credentials.ca_pem().trim() == ca.trim()
    }

    /// Creates the tunnel or reuses it, routes the hostnames to it, and stores its credentials.
    pub(crate) async fn enrol(
        &self,
        args: &EdgeArgs,
        name: &Name,
        hostnames: &[HostPattern],
        dir: &TunnelDir,
    ) -> Result<(About, Credentials), Failure> {
        let edge = self.edge(args)?;
        let key = KeyAndCsr::generate().map_err(Failure::failed)?;
        let request = CreateTunnel { name: name.clone(), hostnames: hostnames.to_vec(), csr: key.csr_pem };
        let (zone, created) = match self {
            Self::Local(local, info) => {
                let created = local.create_tunnel(&request).await;
                let created =
                    created.map_err(|error| edges::enrol_failure(error, &local.path().display().to_string()))?;
                (info.zone.clone(), created)
            }
            Self::Operator(operator) => {
                let mut link = operator.connect(edge.clone(), now()).await?;
                let created = link.create(request).await.map_err(operator::failure)?;
                link.close().await;
                (operator.about.zone.clone(), created)
            }
        };
        let TunnelCreated { tunnel, name, certificate, ca, hostnames, urls } = created;
        let credentials = Credentials::new(zone.clone(), &ca, &certificate, key.key_pem).map_err(|error| {
            Failure::failed(format!("the edge answered with credentials that cannot be used: {error}"))
        })?;
        // Where `--edge` only dials elsewhere, the stored address is still the one that works without it.
        let known = match self {
            Self::Local(_, info) => info.edge.clone(),
            Self::Operator(operator) => operator.about.edge.clone(),
        };
        let about =
            About { tunnel, name, zone, edge: known, hostnames, urls, service: None, origin: OriginArgs::default() };
        dir.save(&about, &credentials)?;
        Ok((about, credentials))
    }
}

fn names_of(hostnames: &[HostPattern], zone: &Hostname) -> bool {
    let below = format!(".{zone}");
    hostnames.iter().any(|name| name.as_str() == zone.as_str() || name.as_str().ends_with(&below))
}

/// An edge that left its socket behind is no edge, unless it was named.
async fn ask_local(local: LocalEdge, named: bool) -> Result<Option<(LocalEdge, EdgeInfo)>, Failure> {
    match local.info().await {
        Ok(info) => Ok(Some((local, info))),
        Err(EnrolError::Socket { source, .. }) if !named => {
            tracing::debug!(path = %local.path().display(), error = %source, "no edge answers on this machine");
            Ok(None)
        }
        Err(EnrolError::Socket { path, source }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Failure::failed(format!(
                "`{}` belongs to an edge of another user: run as that user, or use `connector login`",
                path.display()
            )))
        }
        Err(EnrolError::Socket { path, source }) => Err(Failure::failed(format!(
            "no edge answers at `{}` ({source}): start it with `edge`, then try again",
            path.display()
        ))),
        Err(error) => Err(edges::enrol_failure(error, &local.path().display().to_string())),
    }
}

/// What to say when nobody can give this machine a tunnel.
pub(crate) fn nobody(paths: &Paths, hostname: Option<&HostPattern>) -> Failure {
    let hostname = hostname.map_or_else(|| "HOST".to_owned(), ToString::to_string);
    Failure::failed(format!(
        "this machine is not enrolled with an edge. If the edge runs elsewhere: `connector login --edge https://access.ZONE \
         --hostname {hostname}`. If it runs on this machine: start it first, as this user (no edge answers in `{}`; \
         --data-dir names another place)",
        paths.local_edge_hint()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_a_zone_on_label_boundaries() {
        let zone = Hostname::parse("localhost").unwrap();
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<HostPattern>>();
        assert!(names_of(&names(&["www.localhost"]), &zone));
        assert!(names_of(&names(&["*.localhost"]), &zone));
        assert!(!names_of(&names(&["www.example.com", "notlocalhost"]), &zone));
    }
}
