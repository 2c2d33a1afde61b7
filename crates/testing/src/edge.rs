//! The edge of a test.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_rustls::rustls::ClientConfig;
use tunnel_client::{Auth, MemoryStore};
use tunnel_edge::{
    Clock, Config,
    declare::Request,
    edge::{DRAIN_PATIENCE, Screen as Terminal},
    socket::{Administration as _, Client as Office},
};
use tunnel_origin::{Origin, OriginBuilder};
use tunnel_proto::{dial::Trust, enrol::EdgeInfo};

use crate::{Error, screen::Screen, visitor::Visitor};

/// A declaration that lets people log in by a code.
const LOGIN_BY_CODE: &str = "login_methods: [{name: pin, type: one_time_pin}]\n";

/// A real edge, of the zone `localhost`, on ports of this machine that the system chose. Its state is in a directory that
/// goes away with it. Dropping it cuts everything.
pub struct Edge {
    edge: tunnel_edge::Edge,
    dir: TempDir,
    office: Office,
    info: EdgeInfo,
    screen: Screen,
    tls: Arc<ClientConfig>,
}

impl Edge {
    /// Starts an edge at which people log in by a code, and may go nowhere yet.
    pub async fn start() -> Result<Self, Error> {
        Self::start_at(Clock::System).await
    }

    /// The same with a clock that the test moves. Waiting is not moved with it.
    pub async fn start_at(clock: Clock) -> Result<Self, Error> {
        Self::begin(&[], clock).await
    }

    /// The same with connections in these runtimes, as [`tunnel_edge::Edge::start_on`] has them.
    pub async fn start_on(cores: &[Handle]) -> Result<Self, Error> {
        Self::begin(cores, Clock::System).await
    }

    async fn begin(cores: &[Handle], clock: Clock) -> Result<Self, Error> {
        let dir = TempDir::with_prefix("tunnel-")?;
        // Pages would ask for an administrator otherwise.
        let administrator = "administrator@example.com".parse().map_err(|_| std::io::ErrorKind::InvalidInput);
        let administrator = administrator.map_err(std::io::Error::from)?;
        let mut config = Config::quick_start(dir.path().join("edge"), vec![administrator]);
        // Of one family: the two of the quick start would have two ports.
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let screen = Screen::new();
        let edge = tunnel_edge::Edge::start_on(cores, config, clock, Terminal::new(screen.clone())).await?;
        let socket = |error: &dyn std::fmt::Display| Error::Socket(error.to_string());
        let office = Office::find(&edge.state().config.data_dir).await;
        let office = office.map_err(|error| socket(&error))?.ok_or_else(|| socket(&"there is none"))?;
        let info = office.info().await.map_err(Error::Refused)?;
        let tls = Trust::Ca(info.ca.clone()).client_config().map_err(|error| socket(&error))?;
        let edge = Self { edge, dir, office, info, screen, tls: Arc::new(tls) };
        edge.declare(LOGIN_BY_CODE).await?;
        Ok(edge)
    }

    /// The edge itself.
    pub const fn inner(&self) -> &tunnel_edge::Edge {
        &self.edge
    }

    /// The directory that goes away with the edge; there is room for a test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The edge's own CA (PEM), by which everything here is verified.
    pub fn ca_pem(&self) -> &str {
        &self.info.ca
    }

    /// Where `hostname` is opened, by HTTPS.
    pub fn url(&self, hostname: &str, path: &str) -> String {
        format!("https://{}{path}", self.host(hostname))
    }

    /// `hostname` with the edge's port, as clients name an application.
    pub fn host(&self, hostname: &str) -> String {
        format!("{hostname}:{}", self.edge.state().config.https_port())
    }

    /// Applies a declaration, as `edge apply` does; what it does not name stays.
    pub async fn declare(&self, yaml: &str) -> Result<(), Error> {
        let request = Request { file: "test".to_owned(), text: yaml.to_owned(), ..Request::default() };
        self.office.apply(request).await.map(drop).map_err(Error::Refused)
    }

    /// Lets these people, by their addresses, reach `hostname`.
    pub async fn admit(&self, hostname: &str, emails: &[&str]) -> Result<(), Error> {
        let people: Vec<_> = emails.iter().map(|email| format!("{{email: {email}}}")).collect();
        self.open(hostname, &people.join(", ")).await
    }

    /// Lets everybody who proves an address reach `hostname`.
    pub async fn admit_everyone(&self, hostname: &str) -> Result<(), Error> {
        self.open(hostname, "everyone").await
    }

    async fn open(&self, hostname: &str, include: &str) -> Result<(), Error> {
        self.declare(&format!(
            "policies: [{{name: {hostname}, action: allow, include: [{include}]}}]\n\
             applications: [{{name: {hostname}, hostnames: [{hostname}], policies: [{hostname}]}}]\n"
        ))
        .await
    }

    /// An origin at this edge, which needs nothing more.
    pub fn origin(&self) -> OriginBuilder {
        Origin::builder().local(&self.edge.state().config.data_dir).trust(Trust::Ca(self.info.ca.clone()))
    }

    /// Somebody with a browser who has not logged in.
    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.tls.clone(), self.screen.clone())
    }

    /// Somebody who has logged in at `hostname`, by the real pages and the code from the mail.
    pub async fn login_as(&self, hostname: &str, email: &str) -> Result<Visitor, Error> {
        let mut visitor = self.visitor();
        visitor.login(&self.url(hostname, "/"), email).await?;
        Ok(visitor)
    }

    /// A client program of `email`, who logs in and approves it by the real pages as soon as it asks.
    pub fn client(&self, email: &str) -> tunnel_client::Builder {
        let (visitor, email) = (self.visitor(), email.to_owned());
        let auth = Auth::device_code(move |prompt| {
            let (mut visitor, email) = (visitor.clone(), email.clone());
            let (url, code) = (prompt.url.clone(), prompt.code.clone());
            // Not approved is what the client is told of in any case.
            tokio::spawn(async move { visitor.approve(&url, &code, &email).await });
        });
        tunnel_client::Client::builder()
            .trust(Trust::Ca(self.info.ca.clone()))
            .auth(auth)
            .token_store(MemoryStore::default())
    }

    /// Stops in order: what is under way may end first.
    pub async fn stop(self) {
        self.edge.stop(DRAIN_PATIENCE).await;
    }
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("listening", &self.edge.listening()).finish_non_exhaustive()
    }
}
