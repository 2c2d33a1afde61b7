//! `edge demo`: the quick start with a page of our own behind it.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use tunnel_edge::{
    Config, Edge, declare,
    edge::DRAIN_PATIENCE,
    socket::{Administration as _, Client},
};
use tunnel_origin::{Connector, Credentials, EdgeAddress, hello};
use tunnel_proto::{Hostname, enrol::CreateTunnel, identity::KeyAndCsr};

use super::{failed, serve};

const HOST: &str = "hello.localhost";
const ACCESS: &str = "\
login_methods: [{name: pin, type: one_time_pin}]
policies: [{name: demo-everyone, action: allow, include: [everyone]}]
applications: [{name: hello, hostnames: [hello.localhost], policies: [demo-everyone]}]
";

/// Serves the demo until SIGINT or SIGTERM.
pub(crate) async fn run(config: Config) -> ExitCode {
    let (edge, _cores) = match serve::start(None, config).await {
        Ok(started) => started,
        Err(error) => return failed(&error),
    };
    let connector = match publish(&edge).await {
        Ok(connector) => connector,
        Err(error) => return failed(&format!("the demo page cannot be published: {error:#}")),
    };
    let host = Hostname::parse(HOST).expect("a hostname");
    let config = &edge.state().config;
    println!("The demo is ready. Open this in a browser on this machine:\n");
    println!("  {}\n", config.visit_url(&host, "/"));
    println!(
        "Type any e-mail address; the code appears here. (By HTTPS, with the edge's own CA: https://{HOST}:{}/)",
        config.https_port()
    );
    println!("\nNext, publish a web server of yours: stop this (Ctrl+C), run `edge`, and in a second terminal\n");
    println!("  connector --hostname www.localhost --url http://localhost:3000\n");
    let _ = std::io::stdout().flush();
    serve::stopped().await;
    drop(connector);
    edge.stop(DRAIN_PATIENCE).await;
    ExitCode::SUCCESS
}

/// Enrols a connector inside this process, the way another program on this machine would, and opens the page to everyone
/// who proves an address.
async fn publish(edge: &Edge) -> anyhow::Result<Connector> {
    let config = &edge.state().config;
    let client = Client::find(&config.data_dir).await?.context("the edge does not answer on its socket")?;
    let said = |problem: tunnel_proto::enrol::EnrolProblem| anyhow::anyhow!(problem.message);
    let key = KeyAndCsr::generate()?;
    let request = CreateTunnel { name: "demo".parse()?, hostnames: vec![HOST.parse()?], csr: key.csr_pem.clone() };
    let created = client.create_tunnel(request).await.map_err(said)?;
    let declared = declare::Request { file: "demo".to_owned(), text: ACCESS.to_owned(), ..declare::Request::default() };
    client.apply(declared).await.map_err(said)?;
    let address = EdgeAddress::parse(&edge.state().issuer, None)?;
    let credentials = Credentials::new(config.zone.clone(), &created.ca, &created.certificate, key.key_pem)?;
    let connector = Connector::builder()
        .edge(address)
        .credentials(credentials)
        .service(HOST.parse::<tunnel_proto::HostPattern>()?, hello::service())
        .connections(1)
        .connect()
        .await?;
    Ok(connector)
}
