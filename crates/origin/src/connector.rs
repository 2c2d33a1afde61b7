//! A running connector, and how it is made.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tunnel_proto::{
    HostPattern, InstanceId,
    dial::{EdgeAddress, random},
    identity::CertRole,
    task::anew,
};

use crate::{
    credentials::{CredentialStore, Credentials},
    error::Error,
    establish::establish,
    live::{Grace, Site},
    options::ServiceOptions,
    reach::SERVICE_CONNECT_LIMIT,
    renewal::keep_renewed,
    serve::Rules,
    service::Service,
    status::{Counters, Meters, Status},
    supervise::Fleet,
};

/// Links of a connector, unless told otherwise.
pub const CONNECTIONS: usize = 4;
/// The most links of a connector.
pub const CONNECTIONS_MAX: usize = 16;
/// How long what is in flight may take when stopping, unless told otherwise.
pub const GRACE: Duration = Duration::from_secs(30);

/// A connector that runs: it keeps its links to the edge up and serves what the edge sends.
///
/// It runs in tasks of the runtime it was started in, or, where it was given some, its links in others ([`Builder::cores`]).
/// Dropping it ends them abruptly: what is in flight is cut.
#[derive(Debug)]
pub struct Connector {
    status: watch::Receiver<Status>,
    meters: Arc<Meters>,
    instance: InstanceId,
    stopper: Stopper,
    task: Task,
}

impl Connector {
    /// Begins to describe a connector.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How it is doing, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Counters since it started.
    pub fn counters(&self) -> Counters {
        self.meters.read()
    }

    /// A reader of the counters that outlives borrows of the connector.
    pub fn counter_reader(&self) -> impl Fn() -> Counters + Send + Sync + Clone + use<> {
        let meters = self.meters.clone();
        move || meters.read()
    }

    /// The id of this process among the replicas of its tunnel.
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Waits until it is over, which without [`Connector::stop`] means that it gave up: trying again would not help.
    /// Cancel safe.
    pub async fn ended(&mut self) -> Result<(), Error> {
        match &mut self.task.0 {
            Some(task) => {
                let ended = task.await;
                self.task.0 = None;
                ended.unwrap_or_else(|error| Err(Error::Internal { reason: error.to_string() }))
            }
            None => Ok(()),
        }
    }

    /// What asks it to stop, from elsewhere.
    pub(crate) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Stops in order: tells the edge, finishes what is in flight within the grace period, closes the links.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stopper.stop();
        self.ended().await
    }

    /// Runs until `shutdown`, then stops in order; or until the connector gives up.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::select! {
            ended = self.ended() => ended,
            () = shutdown => self.stop().await,
        }
    }
}

/// Asks a connector to stop in order. It outlives the connector, and then does nothing.
#[derive(Clone, Debug)]
pub(crate) struct Stopper {
    stop: CancellationToken,
    grace: Grace,
}

impl Stopper {
    fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn stop_within(&self, grace: Duration) {
        self.grace.set(grace);
        self.stop();
    }
}

/// The task of a connector; aborted when dropped.
#[derive(Debug)]
struct Task(Option<JoinHandle<Result<(), Error>>>);

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Describes a connector. An edge, credentials and at least one service are needed.
#[derive(Default)]
#[must_use]
pub struct Builder {
    edge: Option<EdgeAddress>,
    credentials: Option<Credentials>,
    store: Option<Arc<dyn CredentialStore>>,
    services: Vec<(HostPattern, Service, ServiceOptions)>,
    connections: Option<usize>,
    cores: Vec<Handle>,
    grace: Option<Duration>,
    service_limit: Option<Duration>,
    agent: Option<String>,
}

impl Builder {
    /// The edge to connect to.
    pub fn edge(mut self, edge: EdgeAddress) -> Self {
        self.edge = Some(edge);
        self
    }

    /// What the connector proves itself with.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Keeps renewed credentials. Without it they last as long as the process.
    pub fn credential_store(mut self, store: impl CredentialStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Publishes `service` at `hostname`; earlier services take precedence.
    pub fn service(self, hostname: impl Into<HostPattern>, service: Service) -> Self {
        self.service_with(hostname, service, ServiceOptions::default())
    }

    /// [`Builder::service`], reached as `options` say.
    pub fn service_with(mut self, hostname: impl Into<HostPattern>, service: Service, options: ServiceOptions) -> Self {
        self.services.push((hostname.into(), service, options));
        self
    }

    /// How many links are kept up: 1 to [`CONNECTIONS_MAX`], [`CONNECTIONS`] by default.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Deals the links out to these runtimes: each lives in one of them with its streams and the connections to services, also
    /// when it is brought up anew. They have to run for as long as the connector. Without any, it is the runtime in which the
    /// connector is started. [`tunnel_proto::cores::Cores`] makes such that have one thread each.
    pub fn cores(mut self, cores: &[Handle]) -> Self {
        self.cores = cores.to_vec();
        self
    }

    /// How long what is in flight may take when stopping; [`GRACE`] by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// How long a service may take to accept a connection; [`SERVICE_CONNECT_LIMIT`] by default.
    pub fn service_connect_limit(mut self, limit: Duration) -> Self {
        self.service_limit = Some(limit);
        self
    }

    /// Program and version, as the edge shows them.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Starts the connector in the current runtime, without waiting for a link. With services in TLS it first reads whom the
    /// system trusts, and blocks for as long as the file system takes.
    pub fn start(self) -> Result<Connector, Error> {
        let edge = self.edge.ok_or(Error::Incomplete { what: "an edge" })?;
        let credentials = self.credentials.ok_or(Error::Incomplete { what: "credentials" })?;
        if !matches!(credentials.role(), CertRole::Connector(_)) {
            return Err(Error::Incomplete { what: "the credentials of a tunnel, not of an operator" });
        }
        if self.services.is_empty() {
            return Err(Error::Incomplete { what: "a service" });
        }
        if self.services.len() > tunnel_proto::message::RULES_MAX {
            let what = format!("a connector publishes at most {} services", tunnel_proto::message::RULES_MAX);
            return Err(Error::Limit { what });
        }
        let wanted = self.connections.unwrap_or(CONNECTIONS);
        if !(1..=CONNECTIONS_MAX).contains(&wanted) {
            return Err(Error::Limit { what: format!("a connector keeps 1 to {CONNECTIONS_MAX} links, not {wanted}") });
        }
        let random = random().map_err(|error| Error::Internal { reason: error.to_string() })?;
        let instance = InstanceId::from_random(random);
        let stop = CancellationToken::new();
        let meters = Arc::new(Meters::default());
        let grace = Grace::new(self.grace.unwrap_or(GRACE));
        let limit = self.service_limit.unwrap_or(SERVICE_CONNECT_LIMIT);
        let site = Arc::new(Site {
            rules: Arc::new(Rules::new(self.services, limit)?),
            meters: meters.clone(),
            grace: grace.clone(),
            stop: stop.clone(),
        });
        let (sender, status) = watch::channel(Status::Connecting { problem: None });
        let dialled = edge.clone();
        let fleet = Arc::new(Fleet {
            edge,
            establish: Box::new(move |credentials, hello| {
                let edge = dialled.clone();
                Box::pin(async move { establish(&edge, &credentials, hello).await })
            }),
            agent: self.agent.unwrap_or_else(|| concat!("tunnel-origin ", env!("CARGO_PKG_VERSION")).to_owned()),
            instance,
            site,
            credentials: watch::Sender::new(credentials),
            wanted,
            status: sender,
            state: std::sync::Mutex::default(),
        });
        let task = tokio::spawn(run(fleet, self.store, self.cores));
        Ok(Connector { status, meters, instance, stopper: Stopper { stop, grace }, task: Task(Some(task)) })
    }

    /// Starts the connector and waits for the first link. Fails when trying again would not help; until then it tries.
    pub async fn connect(self) -> Result<Connector, Error> {
        let mut connector = self.start()?;
        let mut status = connector.status();
        let ready = async { status.wait_for(Status::is_ready).await.is_ok() };
        tokio::select! {
            true = ready => {}
            ended = connector.ended() => {
                ended?;
                return Err(Error::Internal { reason: "the connector ended without a reason".to_owned() });
            }
        }
        Ok(connector)
    }
}

async fn run(fleet: Arc<Fleet>, store: Option<Arc<dyn CredentialStore>>, mut cores: Vec<Handle>) -> Result<(), Error> {
    if cores.is_empty() {
        cores.push(Handle::current());
    }
    let mut supervisors = JoinSet::new();
    for core in cores.iter().cycle().take(fleet.wanted) {
        let fleet = fleet.clone();
        let kept_up = async move {
            let ended = anew("supervisor", move || fleet.clone().keep_one_up()).await;
            ended.unwrap_or_else(|error| Err(Error::Internal { reason: error.to_string() }))
        };
        supervisors.spawn_on(kept_up, core);
    }
    let over = async {
        let mut result = Ok(());
        while let Some(ended) = supervisors.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(Error::Internal { reason: error.to_string() }));
            if ended.is_err() && result.is_ok() {
                // What one link was refused for good, the others will be as well; what they serve is finished.
                fleet.site.stop.cancel();
                result = ended;
            }
        }
        result
    };
    let stopping = async {
        fleet.site.stop.cancelled().await;
        let state = fleet.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        fleet.publish(&state);
    };
    let renewing = async {
        let fleet = fleet.clone();
        anew("renewal", move || keep_renewed(fleet.clone(), store.clone())).await.ok();
        std::future::pending::<()>().await;
    };
    tokio::pin!(over, renewing, stopping);
    let mut stopped = false;
    let result = loop {
        tokio::select! {
            result = &mut over => break result,
            () = &mut renewing => {}
            () = &mut stopping, if !stopped => stopped = true,
        }
    };
    fleet.status.send_replace(Status::Ended);
    result
}
