//! A real certificate authority that speaks ACME (Pebble, Let's Encrypt's test server), and the name servers it believes.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::{net::UdpSocket, time::timeout};

use crate::{Door, Lab, PATIENCE, Process, edge::ZONE, edge::listens, process::finish};

/// Where the authority's interface is.
const API: &str = "127.0.0.1:14000";
/// Where it tells about itself.
const MANAGEMENT: &str = "127.0.0.1:15000";
/// The name server that says of every name that it is here, and takes TXT records by HTTP.
const STAND_IN: &str = "127.0.0.1:8053";
/// Where it takes them.
pub const RECORDS: &str = "http://127.0.0.1:8055";
/// The real name server of the zone.
pub const NAME_SERVER: &str = "127.0.0.1:5300";
/// The key of its updates.
pub const UPDATE_KEY: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=";

/// What an authority does.
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// Where it looks for TLS-ALPN-01.
    pub tls_port: u16,
    /// Where it looks for HTTP-01.
    pub http_port: u16,
    /// How long its certificates are good, in seconds.
    pub life: Option<u64>,
    /// Whom it asks for names.
    pub resolver: &'static str,
    /// The account that one has to have with it already: the id of its key, and the key (base64url).
    pub bound: Option<(&'static str, &'static str)>,
}

impl Default for AuthorityConfig {
    fn default() -> Self {
        Self { tls_port: 443, http_port: 80, life: None, resolver: STAND_IN, bound: None }
    }
}

/// A running authority. It forgets everything when it ends.
#[derive(Debug)]
pub struct Authority {
    /// Pebble.
    pub process: Process,
    _names: Process,
    certificate: PathBuf,
}

impl Authority {
    /// Starts it, with the name server beside it.
    ///
    /// # Errors
    /// It did not start; or `tests/run` has not installed it.
    pub async fn start(lab: &Lab, config: AuthorityConfig) -> Result<Self> {
        let (certificate, key) = self_signed(lab, "authority", &["localhost"]).await?;
        let mut text = format!(
            "{{\"pebble\":{{\"listenAddress\":\"{API}\",\"managementListenAddress\":\"{MANAGEMENT}\",\"certificate\":{certificate:?},\
             \"privateKey\":{key:?},\"httpPort\":{},\"tlsPort\":{},\"ocspResponderURL\":\"\",\
             \"externalAccountBindingRequired\":{}",
            config.http_port,
            config.tls_port,
            config.bound.is_some()
        );
        if let Some((id, key)) = config.bound {
            text += &format!(",\"externalAccountMACKeys\":{{{id:?}:{key:?}}}");
        }
        if let Some(life) = config.life {
            text += &format!(",\"certificateValidityPeriod\":{life}");
        }
        let file = lab.write("pebble.json", &(text + "}}"))?;
        let mut names = lab.command("pebble-challtestsrv");
        names.args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-dns01",
            STAND_IN,
            "-http01",
            "",
            "-https01",
            "",
        ]);
        names.args(["-tlsalpn01", "", "-management", RECORDS.trim_start_matches("http://")]);
        let mut names = Process::start("pebble-challtestsrv", names)?;
        listens(&mut names, RECORDS.trim_start_matches("http://").parse()?).await?;
        let mut command = lab.command("pebble");
        command.arg("-config").arg(file).args(["-dnsserver", config.resolver]);
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        let mut process = Process::start("pebble", command)?;
        for address in [API, MANAGEMENT] {
            listens(&mut process, address.parse()?).await?;
        }
        Ok(Self { process, _names: names, certificate })
    }

    /// The `[tls]` lines of an edge that orders here; `rest` follows `[tls.acme]`'s own.
    pub fn tls(&self, rest: &str) -> String {
        let (port, ca) = (API.rsplit_once(':').map_or("", |(_, port)| port), &self.certificate);
        format!(
            "mode = \"acme\"\nemail = \"admin@{ZONE}\"\n[tls.acme]\ndirectory = \"https://localhost:{port}/dir\"\n\
             ca_file = {ca:?}\n{rest}"
        )
    }

    /// What visitors have to trust (PEM).
    ///
    /// # Errors
    /// It does not answer.
    pub async fn root(&self) -> Result<String> {
        let door = Door::tls(MANAGEMENT.parse()?, &fs::read_to_string(&self.certificate)?, "localhost", &["http/1.1"])?;
        let request = b"GET /roots/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        Ok(door.ask(request).await?.text())
    }

    /// How many orders it has had.
    pub fn orders(&self) -> usize {
        self.process.log.text().matches("Added order").count()
    }
}

/// The name server of the zone (Knot DNS), which takes signed updates (RFC 2136) at [`NAME_SERVER`].
///
/// # Errors
/// It did not start; or `tests/run` has not installed it.
pub async fn name_server(lab: &Lab) -> Result<Process> {
    let dir = lab.path("knot");
    fs::create_dir_all(dir.join("db"))?;
    let (address, at) = (NAME_SERVER.replace(':', "@"), dir.display());
    lab.write(
        "knot/zone",
        &format!("{ZONE}. 60 SOA ns.{ZONE}. admin.{ZONE}. 1 60 60 600 60\n{ZONE}. 60 NS ns.{ZONE}.\nns.{ZONE}. 60 A 127.0.0.1\n"),
    )?;
    let config = format!(
        "server:\n    rundir: \"{at}\"\n    listen: {address}\nlog:\n  - target: stderr\n    any: info\ndatabase:\n    \
         storage: \"{at}/db\"\nkey:\n  - id: edge\n    algorithm: hmac-sha256\n    secret: {UPDATE_KEY}\nacl:\n  - id: update\n    \
         key: edge\n    action: update\nzone:\n  - domain: {ZONE}\n    file: \"{at}/zone\"\n    acl: update\n"
    );
    let file = lab.write("knot/knot.conf", &config)?;
    let mut command = lab.command("/usr/sbin/knotd");
    command.arg("-c").arg(file);
    let mut process = Process::start("knotd", command)?;
    let address: SocketAddr = NAME_SERVER.parse()?;
    listens(&mut process, address).await?;
    Ok(process)
}

/// How many TXT records the name server of the zone has at a name.
///
/// # Errors
/// It does not answer, or not as the server of the zone.
pub async fn records_at(name: &str) -> Result<u16> {
    // RFC 1035 §4.1: a number, no wish, one question, and nothing else.
    let mut question = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.bytes());
    }
    // The root, TXT, IN.
    question.extend([0, 0, 16, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(NAME_SERVER).await?;
    socket.send(&question).await?;
    let mut answer = [0; 4096];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.context("the name server does not answer")??;
    ensure!(length >= 12 && answer[..2] == question[..2], "{:?}", &answer[..length]);
    // It is an answer, and the server's own; all is well, or there is no such name.
    ensure!(answer[2] & 0x84 == 0x84 && matches!(answer[3] & 0x0f, 0 | 3), "{:?}", &answer[..length]);
    Ok(u16::from_be_bytes([answer[6], answer[7]]))
}

/// A certificate that stands for itself, and its key: files below the lab's directory.
///
/// # Errors
/// It could not be made.
pub async fn self_signed(lab: &Lab, name: &str, hosts: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (lab.path(format!("{name}.pem")), lab.path(format!("{name}.key")));
    let hosts: Vec<_> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
    let mut make = lab.command("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90"]);
    make.args(["-subj", &format!("/CN={name}"), "-addext", "basicConstraints=critical,CA:FALSE"]);
    make.args(["-addext", &format!("subjectAltName={}", hosts.join(","))]);
    make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    finish(make).await?.ok().context("openssl")?;
    Ok((certificate, key))
}
