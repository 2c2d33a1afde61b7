//! The way of a connection through the access client: a local port, a link to a real edge with its policies, a real
//! connector, a TCP service.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tokio::{net::TcpStream, runtime::Runtime};
use tunnel_client::{Auth, Client, Forward, Trust};
use tunnel_edge::{
    Clock, Config, Edge, declare,
    edge::Screen,
    service_tokens::{CreateServiceToken, LIFE_DEFAULT},
    socket::{Administration as _, Client as Socket},
};
use tunnel_origin::{Connector, Credentials, EdgeAddress, Service};
use tunnel_proto::{
    HostPattern,
    enrol::{CreateTunnel, EnrolProblem},
    identity::KeyAndCsr,
};

use crate::{bulk, role::Role};

/// A machine's token, so that nobody has to log in.
const ACCESS: &str = "\
policies: [{name: machines, action: service_auth, include: [{service_token: bench}]}]
applications: [{name: bench, hostnames: [bench.localhost], policies: [machines]}]
";
const HOST: &str = "bench.localhost";

/// A running site. Dropped, everything ends and its data is gone.
pub struct Reach {
    /// The local port that leads to the service.
    pub port: SocketAddr,
    /// The service itself.
    pub service: bulk::Service,
    /// Where whoever connects works.
    pub caller: Runtime,
    forward: Option<Forward>,
    connector: Option<Connector>,
    edge: Option<Edge>,
    edge_runtime: Runtime,
    _connector_runtime: Runtime,
    _client_runtime: Runtime,
    _data: tempfile::TempDir,
}

impl Reach {
    /// Starts everything.
    ///
    /// # Errors
    /// A part does not start.
    pub fn start() -> Result<Self> {
        let (edge_runtime, connector_runtime) = (Role::Edge.runtime()?, Role::Connector.runtime()?);
        let client_runtime = Role::Client.runtime()?;
        let data = tempfile::Builder::new().prefix("tunnel-bench-").tempdir()?;
        let mut config = Config::quick_start(data.path().to_owned(), vec!["admin@example.test".parse()?]);
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        config.http_listen = Vec::new();
        let edge = edge_runtime.block_on(Edge::start(config, Clock::System, Screen::new(std::io::sink())))?;
        let service = bulk::Service::start()?;
        let (credentials, id, secret) = edge_runtime.block_on(enrol(&edge))?;
        let address = EdgeAddress::parse(&edge.state().issuer, None)?;
        let connector = Connector::builder().edge(address.clone()).credentials(credentials);
        let target = Service::Tcp(service.address.to_string().parse()?);
        let connector = connector.service(HOST.parse::<HostPattern>()?, target).connections(1);
        let connector = connector_runtime.block_on(connector.connect())?;
        let trust = Trust::Ca(edge.state().ca.certificate_pem().to_owned());
        let client = Client::builder().edge(address).trust(trust).auth(Auth::service_token(id, secret)).build()?;
        let forward = client_runtime.block_on(client.tcp(HOST).forward("127.0.0.1:0"))?;
        Ok(Self {
            port: forward.local_addr(),
            service,
            caller: Role::Visitor.runtime()?,
            forward: Some(forward),
            connector: Some(connector),
            edge: Some(edge),
            edge_runtime,
            _connector_runtime: connector_runtime,
            _client_runtime: client_runtime,
            _data: data,
        })
    }

    /// Connects to an address, for something to be said there.
    ///
    /// # Errors
    /// Nothing listens.
    pub async fn connect(address: SocketAddr) -> Result<bulk::Caller<TcpStream>> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(bulk::Caller::new(socket))
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        self.forward = None;
        self.connector = None;
        if let Some(edge) = self.edge.take() {
            self.edge_runtime.block_on(edge.stop(Duration::from_secs(1)));
        }
    }
}

/// Creates the tunnel and the service token and declares who may go where, as somebody on the edge's machine would.
async fn enrol(edge: &Edge) -> Result<(Credentials, String, String)> {
    let config = &edge.state().config;
    let office = Socket::find(&config.data_dir).await?.context("the edge does not answer on its socket")?;
    let said = |problem: EnrolProblem| anyhow::anyhow!(problem.message);
    let key = KeyAndCsr::generate()?;
    let request = CreateTunnel { name: "bench".parse()?, hostnames: vec![HOST.parse()?], csr: key.csr_pem.clone() };
    let created = office.create_tunnel(request).await.map_err(said)?;
    let token = CreateServiceToken { name: "bench".parse()?, life: LIFE_DEFAULT.as_secs() };
    let token = office.create_service_token(token).await.map_err(said)?;
    let access = declare::Request { file: "bench".into(), text: ACCESS.into(), ..declare::Request::default() };
    office.apply(access).await.map_err(said)?;
    let credentials = Credentials::new(config.zone.clone(), &created.ca, &created.certificate, key.key_pem)?;
    Ok((credentials, token.id, token.secret))
}
