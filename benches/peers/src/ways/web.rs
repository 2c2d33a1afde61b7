//! Web servers and reverse proxies.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Result, ensure};

use super::{System, Tools, tcp::HAPROXY};
use crate::process::{Running, finish, free};

/// The files that are asked for, and how long each is.
pub(crate) const FILES: [(&str, usize); 2] = [("small", 1024), ("large", 1024 * 1024)];

impl System {
    pub(super) async fn web_loopback(&mut self, tools: &Tools) -> Result<()> {
        let origin = self.origin(tools).await?;
        self.url = format!("http://localhost:{}", origin.port());
        self.until_served().await
    }

    /// The web server with TLS of its own.
    pub(super) async fn nginx(&mut self, tools: &Tools) -> Result<()> {
        self.files()?;
        let (tls, root) = (listen_tls(self.door, tools), self.path("www"));
        let text = nginx(&self.path(""), &format!("server {{ {tls} root {}; }}", root.display()));
        self.run_nginx(tools, "nginx", &text)?;
        self.url = format!("https://localhost:{}", self.door.port());
        self.until_served().await
    }

    pub(super) async fn nginx_proxy(&mut self, tools: &Tools) -> Result<()> {
        let (origin, tls) = (self.origin(tools).await?, listen_tls(self.door, tools));
        let server = format!(
            "upstream origin {{ server {origin}; keepalive 64; keepalive_requests 100000000; }}\n\
             server {{ {tls} location / {{ proxy_pass http://origin; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}"
        );
        let text = nginx(&self.path(""), &server);
        self.run_nginx(tools, "nginx", &text)?;
        self.url = format!("https://localhost:{}", self.door.port());
        self.until_served().await
    }

    pub(super) async fn haproxy_proxy(&mut self, tools: &Tools) -> Result<()> {
        let origin = self.origin(tools).await?;
        self.haproxy_to(tools, origin).await
    }

    pub(super) async fn haproxy_rathole(&mut self, tools: &Tools) -> Result<()> {
        let (origin, between) = (self.origin(tools).await?, free()?);
        self.rathole_to(tools, &origin.to_string(), &between.to_string())?;
        self.haproxy_to(tools, between).await
    }

    async fn haproxy_to(&mut self, tools: &Tools, origin: SocketAddr) -> Result<()> {
        let text = format!(
            "{HAPROXY}  mode http\n  http-reuse always\n\nlisten bench\n  bind {} ssl crt {}/both.pem\n  server bench {origin}\n",
            self.door,
            tools.identity.display()
        );
        self.run_haproxy(tools, "haproxy", &text)?;
        self.url = format!("https://localhost:{}", self.door.port());
        self.until_served().await
    }

    /// The web server behind, which every way has alike.
    pub(super) async fn origin(&mut self, tools: &Tools) -> Result<SocketAddr> {
        self.files()?;
        let (address, place) = (free()?, self.path("origin"));
        fs::create_dir(&place)?;
        let server = format!("server {{ listen {address}; root {}; }}", self.path("www").display());
        let (text, program) = (nginx(&place, &server), tools.find("nginx")?);
        let file = self.write("origin.conf", &text)?;
        let origin = Running::start(self.place.path(), "origin", &program, |command| {
            command.arg("-e").arg(place.join("error.log")).arg("-c").arg(file)
        })?;
        self.services.push(origin);
        self.until("the web server listens", async |_| {
            std::net::TcpStream::connect(address).map(drop).map_err(Into::into)
        })
        .await?;
        Ok(address)
    }

    fn files(&self) -> Result<()> {
        fs::create_dir(self.path("www"))?;
        for (name, length) in FILES {
            let text: Vec<u8> = (0..length).map(|at| b'a' + (at * 7 % 26) as u8).collect();
            fs::write(self.path("www").join(name), text)?;
        }
        Ok(())
    }

    fn run_nginx(&mut self, tools: &Tools, name: &'static str, text: &str) -> Result<()> {
        let (file, log) = (self.write("nginx.conf", text)?, self.path("error.log"));
        let program = tools.find("nginx")?;
        self.run(name, &program, |command| command.arg("-e").arg(log).arg("-c").arg(file))
    }

    /// Waits until both files come as they are.
    pub(super) async fn until_served(&mut self) -> Result<()> {
        self.until("files are served", async |system: &Self| {
            for (name, _) in FILES {
                let came = system.path("came");
                let status = system.ask(name, &system.headers, &came)?;
                ensure!(status == "200", "{name}: status {status}");
                ensure!(fs::read(&came)? == fs::read(system.path("www").join(name))?, "{name} came changed");
            }
            Ok(())
        })
        .await
    }

    /// The status of an answer, whose body goes to a file.
    pub(super) fn ask(&self, name: &str, headers: &[String], into: &Path) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "--http1.1", "--max-time", "5", "-w", "%{http_code}", "--cacert"])
            .arg(&self.ca);
        for header in headers {
            curl.args(["-H", header]);
        }
        curl.arg("-o").arg(into).arg(format!("{}/{name}", self.url));
        finish(curl)
    }
}

fn listen_tls(door: SocketAddr, tools: &Tools) -> String {
    let identity = tools.identity.display();
    format!(
        "listen {door} ssl; ssl_certificate {identity}/cert.pem; ssl_certificate_key {identity}/key.pem; \
         ssl_protocols TLSv1.2 TLSv1.3;"
    )
}

/// A configuration that serves for ever, writes no log of requests and keeps its files in `place`.
fn nginx(place: &Path, servers: &str) -> String {
    let place = place.display();
    let user = if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        "user root;\n"
    } else {
        ""
    };
    format!(
        "{user}daemon off;\nworker_processes auto;\npid {place}/nginx.pid;\nevents {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\nkeepalive_requests 100000000;\n\
         client_body_temp_path {place}/body;\nproxy_temp_path {place}/proxy;\nfastcgi_temp_path {place}/fastcgi;\n\
         uwsgi_temp_path {place}/uwsgi;\nscgi_temp_path {place}/scgi;\n{servers}\n}}\n"
    )
}
