//! What a program has that publishes things of its own: an edge, a tunnel, and what goes through it.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};
use tunnel_proto::{
    HostPattern, Name,
    dial::{EdgeAddress, LocalEdge, Trust},
    enrol::CreateTunnel,
    identity::KeyAndCsr,
};

use crate::{
    connector::{Connector, Stopper},
    credentials::{CredentialStore, Credentials},
    error::Error,
    listener::Listener,
    options::ServiceOptions,
    published::{Http, Published, Tcp},
    service::Service,
    status::Status,
    stored::StoredTunnel,
    verifier::Verifier,
};

/// Links of each thing that is published, unless told otherwise.
pub const LINKS_EACH: usize = 2;
/// How much longer than its grace period draining may take: closing the links.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// A tunnel through which a program publishes what it has. Clones are the same one.
///
/// Each thing that is published has links of its own, which come up when it is published and end when what publishing
/// gave is dropped. What is in flight is cut then; [`Origin::drain`] first lets it end.
#[derive(Clone)]
pub struct Origin {
    shared: Arc<Shared>,
}

struct Shared {
    edge: EdgeAddress,
    trust: Vec<Trust>,
    source: Source,
    connections: usize,
    agent: Option<String>,
    live: Mutex<Vec<Live>>,
    status: watch::Sender<Status>,
}

/// Where credentials come from.
enum Source {
    Given(Credentials, Option<Arc<dyn CredentialStore>>),
    Local(LocalEdge, Option<Name>),
}

/// One thing that is published.
struct Live {
    stopper: Stopper,
    status: watch::Receiver<Status>,
}

/// Takes the connections of the web service `hostname`, by the edge of the same user that keeps its data in `data_dir`:
/// the short form of [`Origin::builder`], [`Builder::local`] and [`Http::listen`].
pub async fn listen(data_dir: impl Into<PathBuf>, hostname: &str) -> Result<Listener, Error> {
    Origin::builder().local(data_dir).connect().await?.http(hostname).listen().await
}

impl Origin {
    /// Begins to describe an origin.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Publishes a web service at `hostname`.
    pub fn http(&self, hostname: &str) -> Http {
        Http::new(self.clone(), hostname.parse())
    }

    /// Publishes a TCP service at `hostname`.
    pub fn tcp(&self, hostname: &str) -> Tcp {
        Tcp::new(self.clone(), hostname.parse())
    }

    /// Publishes any [`Service`] at `hostname`, and waits until the edge can reach it.
    pub async fn publish(&self, hostname: HostPattern, service: Service) -> Result<Published, Error> {
        self.publish_with(hostname, service, ServiceOptions::default()).await
    }

    /// [`Origin::publish`], reached as `options` say.
    pub async fn publish_with(
        &self,
        hostname: HostPattern,
        service: Service,
        options: ServiceOptions,
    ) -> Result<Published, Error> {
        // Before a tunnel is made for it.
        options.check(&hostname, &service)?;
        let shared = &self.shared;
        let mut builder = Connector::builder().edge(shared.edge.clone()).connections(shared.connections);
        builder = match &shared.source {
            Source::Given(credentials, None) => builder.credentials(credentials.clone()),
            Source::Given(credentials, Some(store)) => {
                builder.credentials(credentials.clone()).credential_store(store.clone())
            }
            Source::Local(local, name) => builder.credentials(enrol(local, name.as_ref(), &hostname).await?),
        };
        if let Some(agent) = &shared.agent {
            builder = builder.agent(agent.clone());
        }
        let connector = builder.service_with(hostname.clone(), service, options).connect().await?;
        self.follow(&connector);
        Ok(Published::new(connector, hostname))
    }

    /// How everything that is published is doing together: online when all of it is, degraded when only some of it can be
    /// reached or with less redundancy.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// Checks who sent requests for `hostname`.
    pub fn verifier(&self, hostname: &HostPattern) -> Verifier {
        Verifier::new(self.shared.edge.clone(), self.shared.trust.clone(), hostname.clone(), None)
    }

    /// Stops everything that is published in order: tells the edge, takes nothing new, lets what is in flight end within
    /// `grace`, then cuts it.
    pub async fn drain(&self, grace: Duration) {
        let mut ends = JoinSet::new();
        for live in self.shared.live().drain(..) {
            live.stopper.stop_within(grace);
            let mut status = live.status;
            ends.spawn(async move {
                // Gone without a word is over as well.
                status.wait_for(|status| *status == Status::Ended).await.ok();
            });
        }
        let all = async { while ends.join_next().await.is_some() {} };
        tokio::time::timeout(grace.saturating_add(DRAIN_SLACK), all).await.ok();
        self.shared.status.send_replace(Status::Ended);
    }

    fn follow(&self, connector: &Connector) {
        let mut status = connector.status();
        self.shared.live().push(Live { stopper: connector.stopper(), status: status.clone() });
        let shared = Arc::downgrade(&self.shared);
        Shared::tell(&shared);
        tokio::spawn(async move {
            // Ends with the connector, whose side of the channel goes with it.
            while status.changed().await.is_ok() && Shared::tell(&shared) {}
            Shared::tell(&shared);
        });
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, Vec<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the status of everything, if there is somebody to tell.
    fn tell(shared: &Weak<Self>) -> bool {
        let Some(shared) = shared.upgrade() else { return false };
        let mut live = shared.live();
        live.retain(|live| live.status.has_changed().is_ok() && *live.status.borrow() != Status::Ended);
        let each: Vec<Status> = live.iter().map(|live| live.status.borrow().clone()).collect();
        drop(live);
        let together = together(&each);
        shared.status.send_if_modified(|status| {
            let differs = *status != together;
            *status = together;
            differs
        });
        true
    }
}

/// One status for many.
fn together(each: &[Status]) -> Status {
    let links = each.iter().map(Status::links).sum();
    let problem = each.iter().find_map(|status| match status {
        Status::Connecting { problem } | Status::Degraded { problem, .. } => problem.clone(),
        _ => None,
    });
    if links == 0 {
        return match each {
            [Status::Draining, ..] => Status::Draining,
            _ => Status::Connecting { problem },
        };
    }
    match each.iter().all(|status| matches!(status, Status::Online { .. })) {
        true => Status::Online { links },
        false => Status::Degraded { links, problem },
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("edge", &self.shared.edge).finish_non_exhaustive()
    }
}

/// Makes a tunnel at an edge of the same user, or takes the one of this name, and routes `hostname` to it.
async fn enrol(local: &LocalEdge, name: Option<&Name>, hostname: &HostPattern) -> Result<Credentials, Error> {
    let info = local.info().await.map_err(Error::Enrol)?;
    let internal = |error: &dyn fmt::Display| Error::Internal { reason: error.to_string() };
    let key = KeyAndCsr::generate().map_err(|error| internal(&error))?;
    let name = match name {
        Some(name) => name.clone(),
        None => hostname.as_str().replace('*', "any").parse().map_err(|_| Error::Limit {
            what: format!("`{hostname}` is too long to be the name of its tunnel: give the origin a name"),
        })?,
    };
    let request = CreateTunnel { name, hostnames: vec![hostname.clone()], csr: key.csr_pem };
    let created = local.create_tunnel(&request).await.map_err(Error::Enrol)?;
    Ok(Credentials::new(info.zone, &created.ca, &created.certificate, key.key_pem)?)
}

/// Describes an origin. It needs a way to credentials: an edge on this machine ([`Builder::local`]), a stored tunnel
/// ([`Builder::stored`]), or credentials from elsewhere with the edge that issued them.
#[derive(Default)]
#[must_use]
pub struct Builder {
    edge: Option<EdgeAddress>,
    trust: Option<Trust>,
    data_dir: Option<PathBuf>,
    dir: Option<PathBuf>,
    credentials: Option<Credentials>,
    store: Option<Arc<dyn CredentialStore>>,
    name: Option<Name>,
    connections: Option<usize>,
    agent: Option<String>,
}

impl Builder {
    /// Asks the edge of the same user on this machine, by the socket in its data directory, for a tunnel with each
    /// hostname that is published.
    pub fn local(mut self, data_dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(data_dir.into());
        self
    }

    /// Uses a tunnel that the program `connector` has stored in this directory, or `edge admin tunnel create` has written.
    /// Only hostnames that are routed to it can be published. Renewed credentials are kept there.
    pub fn stored(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Uses these credentials of a tunnel.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Keeps renewed credentials. Without it those that were given last as long as the process.
    pub fn credential_store(mut self, store: impl CredentialStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// The edge, where it is not known from the credentials, or is to be dialled elsewhere.
    pub fn edge(mut self, edge: EdgeAddress) -> Self {
        self.edge = Some(edge);
        self
    }

    /// By whose word the edge's keys are believed, with which [`Verifier`] checks who sent a request. By default the edge's
    /// own CA and the web's.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The name of the tunnel at the edge of this machine. By default each hostname has a tunnel of its own.
    pub fn name(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    /// How many links each thing that is published keeps up: 1 to [`CONNECTIONS_MAX`](crate::CONNECTIONS_MAX),
    /// [`LINKS_EACH`] by default.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Program and version, as the edge shows them.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Finds edge and credentials. Links come up with the first thing that is published.
    pub async fn connect(self) -> Result<Origin, Error> {
        let address = |source: tunnel_proto::dial::AddressError| Error::Internal { reason: source.to_string() };
        let (edge, ca, source) = match (self.credentials, self.dir, self.data_dir) {
            (Some(credentials), ..) => {
                let edge = self.edge.map_or_else(|| EdgeAddress::of_zone(credentials.zone()), Ok).map_err(address)?;
                (edge, credentials.ca_pem().to_owned(), Source::Given(credentials, self.store))
            }
            (None, Some(dir), _) => {
                let read = tokio::task::spawn_blocking(|| StoredTunnel::read(dir)).await;
                let stored = read.map_err(|error| Error::Internal { reason: error.to_string() })??;
                let edge = self.edge.map_or_else(|| stored.edge(), Ok)?;
                let credentials = stored.credentials().clone();
                let store = self.store.unwrap_or_else(|| Arc::new(stored));
                (edge, credentials.ca_pem().to_owned(), Source::Given(credentials, Some(store)))
            }
            (None, None, Some(data_dir)) => {
                let local = LocalEdge::find(&data_dir).ok_or(Error::NoLocalEdge { data_dir })?;
                let info = local.info().await.map_err(Error::Enrol)?;
                let edge = self.edge.map_or_else(|| EdgeAddress::parse(&info.edge, None), Ok).map_err(address)?;
                (edge, info.ca, Source::Local(local, self.name))
            }
            (None, None, None) => return Err(Error::Incomplete { what: "a way to its credentials" }),
        };
        let trust = match self.trust {
            Some(trust) => vec![trust],
            None => vec![Trust::Ca(ca), Trust::Web],
        };
        let shared = Shared {
            edge,
            trust,
            source,
            connections: self.connections.unwrap_or(LINKS_EACH),
            agent: self.agent,
            live: Mutex::default(),
            status: watch::Sender::new(Status::Connecting { problem: None }),
        };
        Ok(Origin { shared: Arc::new(shared) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_online_only_when_every_part_is() {
        let online = |links| Status::Online { links };
        let lost = || Status::Connecting { problem: Some("gone".into()) };
        assert_eq!(together(&[]), Status::Connecting { problem: None });
        assert_eq!(together(&[online(2), online(2)]), online(4));
        assert_eq!(together(&[online(2), lost()]), Status::Degraded { links: 2, problem: Some("gone".into()) });
        assert_eq!(together(&[lost(), lost()]), lost());
        assert_eq!(together(&[Status::Draining]), Status::Draining);
    }

    #[tokio::test]
    async fn an_origin_says_what_is_missing() {
        let error = Origin::builder().connect().await.unwrap_err();
        assert_eq!(error.code(), "incomplete");
        let dir = tempfile::tempdir().unwrap();
        let error = Origin::builder().local(dir.path()).connect().await.unwrap_err();
        assert!(error.code() == "no_local_edge" && error.is_retryable(), "{error}");
        assert_eq!(Origin::builder().stored(dir.path()).connect().await.unwrap_err().code(), "stored");
    }
}
