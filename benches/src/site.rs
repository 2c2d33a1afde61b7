//! The whole way of a browser's request: a real edge with somebody logged in, a real connector, a web server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use hyper::{Method, StatusCode, Version};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::runtime::Runtime;
use tunnel_auth::SessionId;
use tunnel_edge::{
    Clock, Config, Edge, State, declare,
    edge::Screen,
    session::cookie::SESSION_COOKIE,
    socket::{Administration as _, Client},
    store::{Grant, ISSUER_MAILBOX, SessionKind, SessionRecord},
};
use tunnel_origin::{Connector, Credentials, EdgeAddress, Service};
use tunnel_proto::{
    HostPattern, Hostname, Identity, PersonId,
    enrol::{CreateTunnel, EnrolProblem},
    identity::{KeyAndCsr, provider},
};

use crate::{
    Visitor,
    plan::SMALL,
    role::Role,
    web::{Filler, Web},
};

/// Whom the policy admits is decided by the domain of the address, for every request.
const ACCESS: &str = "\
login_methods: [{name: pin, type: one_time_pin}]
policies: [{name: staff, action: allow, include: [{email_domain: example.test}]}]
applications: [{name: bench, hostnames: [bench.localhost], policies: [staff]}]
";
/// How long the session lasts; longer than any bench.
const SESSION: Duration = Duration::from_secs(3600);

/// A running site. Dropped, everything ends and its data is gone.
pub struct Site {
    /// Where the edge takes HTTPS.
    pub address: SocketAddr,
    /// Trusts the edge's CA; without ALPN.
    pub tls: ClientConfig,
    /// Of somebody whom the policy admits, as it stands in the field `Cookie`.
    pub cookie: String,
    /// The web server.
    pub web: Web,
    connector: Option<Connector>,
    edge: Option<Edge>,
    edge_runtime: Arc<Runtime>,
    _connector_runtime: Arc<Runtime>,
    _data: tempfile::TempDir,
}

impl Site {
    /// The published hostname.
    pub const HOST: &str = "bench.localhost";

    /// Starts everything, and makes sure that the policy is what admits.
    ///
    /// # Errors
    /// A part does not start, or who should not be admitted is.
    pub fn start() -> Result<Self> {
        Self::on(|role| Ok(Arc::new(role.runtime()?)))
    }

    /// The same on one thread, which is whoever's that waits on the runtime: what is done there is everything that is done.
    ///
    /// # Errors
    /// A part does not start, or who should not be admitted is.
    pub fn on_one_thread() -> Result<(Self, Arc<Runtime>)> {
        let one = Arc::new(Role::Visitor.runtime()?);
        Ok((Self::on(|_| Ok(one.clone()))?, one))
    }

    fn on(runtime: impl Fn(Role) -> Result<Arc<Runtime>>) -> Result<Self> {
        let (edge_runtime, connector_runtime) = (runtime(Role::Edge)?, runtime(Role::Connector)?);
        let data = tempfile::Builder::new().prefix("tunnel-bench-").tempdir()?;
        let mut config = Config::quick_start(data.path().to_owned(), vec!["admin@example.test".parse()?]);
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        config.http_listen = Vec::new();
        // Codes go nowhere: nobody types one here.
        let edge = edge_runtime.block_on(Edge::start(config, Clock::System, Screen::new(std::io::sink())))?;
        let web = Web::start(runtime(Role::Origin)?)?;
        let credentials = edge_runtime.block_on(enrol(&edge))?;
        let address = EdgeAddress::parse(&edge.state().issuer, None)?;
        let service = Service::Http(web.address.to_string().parse()?);
        let connector = Connector::builder().edge(address).credentials(credentials);
        let connector = connector.service(Self::HOST.parse::<HostPattern>()?, service).connections(1);
        let connector = connector_runtime.block_on(connector.connect())?;
        let cookie = edge_runtime.block_on(log_in(edge.state(), "somebody@example.test"))?;
        let outsider = edge_runtime.block_on(log_in(edge.state(), "somebody@elsewhere.test"))?;
        let site = Self {
            address: *edge.listening().first().context("a listener")?,
            tls: trusting(edge.state().ca.certificate_pem())?,
            cookie,
            web,
            connector: Some(connector),
            edge: Some(edge),
            edge_runtime,
            _connector_runtime: connector_runtime,
            _data: data,
        };
        runtime(Role::Visitor)?.block_on(site.check(&outsider))?;
        Ok(site)
    }

    /// What the edge shares.
    ///
    /// # Panics
    /// Never: there is an edge until this is dropped.
    pub fn state(&self) -> &Arc<State> {
        self.edge.as_ref().map(Edge::state).unwrap()
    }

    async fn check(&self, outsider: &str) -> Result<()> {
        let cookies = [(Some(&*self.cookie), StatusCode::OK), (Some(outsider), StatusCode::FORBIDDEN)];
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for (cookie, expected) in cookies.into_iter().chain([(None, StatusCode::UNAUTHORIZED)]) {
                let mut visitor = Visitor::through(self, version, cookie).await?;
                let answer = visitor.ask(Method::GET, &format!("/{SMALL}"), Filler::new(0)).await?;
                ensure!(answer.status() == expected, "{version:?}: {} instead of {expected}", answer.status());
            }
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.connector = None;
        if let Some(edge) = self.edge.take() {
            self.edge_runtime.block_on(edge.stop(Duration::from_secs(1)));
        }
    }
}

/// Creates the tunnel and declares who may go where, as somebody on the edge's machine would.
async fn enrol(edge: &Edge) -> Result<Credentials> {
    let config = &edge.state().config;
    let client = Client::find(&config.data_dir).await?.context("the edge does not answer on its socket")?;
    let said = |problem: EnrolProblem| anyhow::anyhow!(problem.message);
    let key = KeyAndCsr::generate()?;
    let hostnames = vec![Site::HOST.parse()?];
    let request = CreateTunnel { name: "bench".parse()?, hostnames, csr: key.csr_pem.clone() };
    let created = client.create_tunnel(request).await.map_err(said)?;
    let access = declare::Request { file: "bench".into(), text: ACCESS.into(), ..declare::Request::default() };
    client.apply(access).await.map_err(said)?;
    Ok(Credentials::new(config.zone.clone(), &created.ca, &created.certificate, key.key_pem)?)
}

/// Begins the sessions with which a login ends: one at the login host, and one for the application that came from it.
async fn log_in(state: &State, email: &str) -> Result<String> {
    let host = Hostname::parse(Site::HOST)?;
    let snapshot = state.snapshot.load_full();
    let app = snapshot.policies.applications_for(&host, "/").required().context("the application")?.0.id;
    let (now, expires) = (state.now(), state.now().plus(SESSION));
    let identity = Identity {
        person: PersonId::from_random(random()?),
        email: email.parse()?,
        method: "pin".parse()?,
        authenticated: now,
    };
    let (login, session) = (SessionId::from_random(random()?), SessionId::from_random(random()?));
    let record = SessionRecord {
        id: login.hash(),
        kind: SessionKind::Browser,
        device: None,
        source: None,
        host: state.login_host().clone(),
        parent: None,
        identity,
        issuer: ISSUER_MAILBOX.to_owned(),
        attributes: Default::default(),
        created: now,
        seen: now,
        expires,
        grants: Vec::new(),
    };
    let grants = vec![Grant { app, expires }];
    let child = SessionRecord { id: session.hash(), host, parent: Some(login.hash()), grants, ..record.clone() };
    state.sessions.start(record, now).await?;
    state.sessions.start(child, now).await?;
    Ok(format!("{SESSION_COOKIE}={}", *session.reveal()))
}

fn trusting(ca: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = provider().secure_random.fill(&mut bytes);
    filled.ok().context("the system's random source works")?;
    Ok(bytes)
}
