//! Web servers that people have, each of which says how it read a request: nginx and Apache before a canary, those of
//! Node.js and Python with a small program.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use crate::{
    Canary, Head, Lab, Process,
    canary::{After, Manners},
    edge::listens,
    process::tool,
};

/// A running server.
#[derive(Debug)]
pub struct Reader {
    /// Its address as a service URL.
    pub url: String,
    /// How the `Server` field of its answers begins, also of those that refuse.
    pub server: &'static str,
    _process: Process,
    _behind: Option<Canary>,
}

/// How a server read a request, as it says in its answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Reading {
    /// The method.
    pub method: String,
    /// The target as it came.
    pub target: String,
    /// Every `Host`.
    pub host: Vec<String>,
    /// What it makes of the path, if that is one.
    pub path: Option<String>,
    /// The body, a character for each byte.
    pub body: String,
    /// How many requests it has read so far.
    pub answered: u64,
}

impl Reader {
    /// All of them, on ports of the lab from 8091 on.
    ///
    /// # Errors
    /// One did not start.
    pub async fn all(lab: &Lab) -> Result<[Self; 4]> {
        Ok([
            Self::nginx(lab, 8091).await?,
            Self::apache(lab, 8092).await?,
            Self::node(lab, 8093).await?,
            Self::python(lab, 8094).await?,
        ])
    }

    async fn nginx(lab: &Lab, port: u16) -> Result<Self> {
        let behind = Canary::answering(behind()).await?;
        let (root, url) = (lab.path("reader-nginx"), behind.url());
        let root = root.display();
        let config = format!(
            "daemon off; master_process off; user root; pid {root}/pid; error_log stderr info;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; \
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; proxy_http_version 1.1;\n\
             proxy_set_header Host $host; proxy_set_header Connection \"\"; proxy_set_header X-Reading $uri; }} }} }}\n"
        );
        let mut command = lab.command("/usr/sbin/nginx");
        command.arg("-c").arg(lab.write("reader-nginx/nginx.conf", &config)?);
        Self::listening("nginx", command, port, Some(behind)).await
    }

    async fn apache(lab: &Lab, port: u16) -> Result<Self> {
        let behind = Canary::answering(behind()).await?;
        let (root, url) = (lab.path("reader-apache"), behind.url());
        let root = root.display();
        let modules: String = ["mpm_event", "authz_core", "headers", "proxy", "proxy_http"]
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        // Ranges would be cut out of what it says.
        let config = format!(
            "ServerRoot {root}\nServerName reader\nPidFile {root}/pid\nDefaultRuntimeDir {root}\nErrorLog /dev/stderr\n\
             Listen 127.0.0.1:{port}\n{modules}User www-data\nGroup www-data\nAllowEncodedSlashes NoDecode\n\
             ProxyPreserveHost On\nProxyPass \"/\" \"{url}/\" nocanon\n\
             RequestHeader set X-Reading \"expr=%{{REQUEST_URI}}\"\nRequestHeader unset Range\n\
             RequestHeader set X-Line \"expr=%{{THE_REQUEST}}\"\n"
        );
        let mut command = lab.command("/usr/sbin/apache2");
        // One process, so that nothing is left of it.
        command.arg("-X").arg("-f").arg(lab.write("reader-apache/apache.conf", &config)?);
        Self::listening("Apache", command, port, Some(behind)).await
    }

    async fn node(lab: &Lab, port: u16) -> Result<Self> {
        let mut command = lab.command("node");
        command.arg(lab.write("reader-node.mjs", include_str!("../readers/node.mjs"))?).arg(port.to_string());
        Self::listening("reader-node", command, port, None).await
    }

    async fn python(lab: &Lab, port: u16) -> Result<Self> {
        let mut command = lab.command(tool("venv")?.join("bin/python"));
        command.arg(lab.write("reader-python.py", include_str!("../readers/python.py"))?).arg(port.to_string());
        Self::listening("reader-python", command, port, None).await
    }

    async fn listening(server: &'static str, command: Command, port: u16, behind: Option<Canary>) -> Result<Self> {
        let mut process = Process::start(server, command)?;
        listens(&mut process, ([127, 0, 0, 1], port).into()).await?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), server, _process: process, _behind: behind })
    }
}

/// Says what a server before it made of a request.
fn behind() -> Manners {
    let answered = AtomicU64::new(0);
    Arc::new(move |head: &Head| {
        let body: String = head.body.iter().map(|byte| char::from(*byte)).collect();
        let answered = answered.fetch_add(1, Relaxed) + 1;
        // Apache passes on what it made of the target.
        let line = head.all("x-line").first().map(|line| line.to_string());
        let received = line.as_ref().and_then(|line| line.split(' ').nth(1));
        let reading = json!({
            "method": head.method(),
            "target": received.unwrap_or_else(|| head.target()),
            "host": head.all("host"),
            "path": head.all("x-reading").first(),
            "body": body,
            "answered": answered,
        })
        .to_string();
        let length = reading.len();
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{reading}").into_bytes(), After::KeepAlive)
    })
}
