//! The ways that are measured, each set up from configuration files in a folder of its own, on loopback.

mod ours;
mod tcp;
mod web;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    plan::What,
    process::{self, Running},
    results::{Family, WayRow},
    wire,
};

/// How long the programs of a way may take until they serve.
const START: Duration = Duration::from_secs(20);

/// Where programs are.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Our programs, and under which name others of them are measured beside these.
    pub(crate) ours: Vec<(String, PathBuf)>,
    /// What `cargo install` put.
    pub(crate) peers: PathBuf,
    /// A certificate for `localhost`, made once for all of them.
    pub(crate) identity: PathBuf,
}

impl Tools {
    fn find(&self, name: &str) -> Result<PathBuf> {
        process::find(name, &self.peers)
    }
}

/// How a way is set up.
#[derive(Clone, Debug)]
enum Maker {
    Loopback,
    Rathole,
    Bore,
    Ssh,
    Stunnel,
    Haproxy,
    /// With so many links; by default as many as the connector has by itself.
    Tunnel(PathBuf, Option<u32>),
    Access(PathBuf, Option<u32>),
    WebLoopback,
    Nginx,
    NginxProxy,
    HaproxyProxy,
    HaproxyRathole,
    Https(PathBuf),
}

/// A way, and what is measured on it.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// As tables show it.
    pub(crate) row: WayRow,
    /// In this order.
    pub(crate) what: Vec<What>,
    maker: Maker,
}

impl Way {
    fn new(id: &str, title: &str, maker: Maker, what: &[What], words: [&str; 3]) -> Self {
        let family = match maker {
            Maker::Loopback | Maker::WebLoopback => Family::Bare,
            Maker::Tunnel(..) | Maker::Access(..) | Maker::Https(_) => Family::Ours,
            _ => Family::Peer,
        };
        let [about, protected, shared] = words.map(str::to_owned);
        let row = WayRow { id: id.into(), title: title.into(), family, about, protected, shared };
        Self { row, what: what.to_vec(), maker }
    }
}

/// All ways, in the order of tables.
pub(crate) fn all(tools: &Tools) -> Vec<Way> {
    let bare: Vec<What> = What::TCP.into_iter().filter(|what| !matches!(what, What::Resident | What::Idle)).collect();
    let mut ways = vec![Way::new(
        "loopback",
        "bare loopback",
        Maker::Loopback,
        &bare,
        ["the load straight to the service, nothing in between", "nothing", "no"],
    )];
    for (label, bin) in &tools.ours {
        ways.extend(our_tcp(label, bin));
    }
    ways.extend(peers_tcp());
    ways.push(Way::new(
        "web-loopback",
        "bare loopback, HTTP",
        Maker::WebLoopback,
        &[What::Small, What::Large],
        ["wrk straight to nginx, by plain HTTP", "nothing", "no"],
    ));
    for (label, bin) in &tools.ours {
        let (id, title) = named(label, "https", "HTTPS → edge → connector → nginx");
        let words = [
            "HTTP is parsed, a policy judges each request by its service token, headers about the visitor are set",
            "TLS 1.3 twice",
            "links of the connector",
        ];
        ways.push(Way::new(&id, &title, Maker::Https(bin.clone()), &What::WEB, words));
    }
    ways.extend(peers_web());
    ways
}

fn named(label: &str, id: &str, title: &str) -> (String, String) {
    match label {
        "" => (id.to_owned(), title.to_owned()),
        _ => (format!("{id}@{label}"), format!("{title} ({label})")),
    }
}

fn our_tcp(label: &str, bin: &Path) -> Vec<Way> {
    let door = "a plain TCP port, an edge's end of links (`door`, a small program that is no product) → connector";
    let path = "access client → edge, with a policy that judges each connection → connector";
    let one = |text: &str| format!("{text}; one link, so that everything shares it");
    let mut ways = Vec::new();
    let mut way = |id, title, maker, what: &[What], about: &str, protected| {
        let (id, title) = named(label, id, title);
        ways.push(Way::new(&id, &title, maker, what, [about, protected, "links"]));
    };
    let bin = || bin.to_owned();
    way("tunnel", "tunnel, one TLS leg", Maker::Tunnel(bin(), None), &What::TCP, door, "TLS 1.3");
    let maker = Maker::Tunnel(bin(), Some(1));
    way("tunnel-1", "tunnel, one link", maker, &[What::Beside], &one(door), "TLS 1.3");
    let title = "access client → edge → connector";
    way("access", title, Maker::Access(bin(), None), &What::TCP, path, "TLS 1.3 twice");
    let title = "access, one link";
    way("access-1", title, Maker::Access(bin(), Some(1)), &[What::Beside], &one(path), "TLS 1.3 twice");
    ways
}

fn peers_tcp() -> Vec<Way> {
    let way =
        |id, title, maker, about, protected, shared| Way::new(id, title, maker, &What::TCP, [about, protected, shared]);
    let own = "no: one of its own for each";
    vec![
        way("rathole", "rathole, TLS", Maker::Rathole, "rathole server → rathole client", "TLS", own),
        way("bore", "bore (no encryption)", Maker::Bore, "bore server → bore local", "nothing", own),
        way("ssh", "ssh -R, aes128-gcm", Maker::Ssh, "sshd → ssh -R", "SSH", "one"),
        way(
            "stunnel",
            "stunnel pair",
            Maker::Stunnel,
            "stunnel client → stunnel server; no tunnel: both listen",
            "TLS",
            own,
        ),
        way(
            "haproxy",
            "haproxy TLS pair",
            Maker::Haproxy,
            "haproxy → haproxy, TCP mode; no tunnel: both listen",
            "TLS",
            own,
        ),
    ]
}

fn peers_web() -> Vec<Way> {
    let way = |id, title, maker, about| Way::new(id, title, maker, &What::WEB, [about, "TLS", "no tunnel"]);
    let mut chain = way(
        "haproxy-rathole",
        "haproxy + rathole, TLS",
        Maker::HaproxyRathole,
        "haproxy ends HTTPS → rathole server → rathole client → nginx; no login, no policy",
    );
    chain.row.protected = "TLS twice".into();
    chain.row.shared = "connections are kept and used again".into();
    vec![
        chain,
        way("nginx", "nginx alone, HTTPS", Maker::Nginx, "the web server itself ends HTTPS, nothing behind it"),
        way(
            "nginx-proxy",
            "nginx as reverse proxy",
            Maker::NginxProxy,
            "nginx ends HTTPS → nginx; no login, no policy",
        ),
        way(
            "haproxy-proxy",
            "haproxy as reverse proxy",
            Maker::HaproxyProxy,
            "haproxy ends HTTPS → nginx; no login, no policy",
        ),
    ]
}

/// A way that is up. Dropped, all its programs end.
#[derive(Debug)]
pub(crate) struct System {
    /// Where a TCP connection goes in.
    pub(crate) door: SocketAddr,
    /// Where HTTP goes in.
    pub(crate) url: String,
    /// What requests carry.
    pub(crate) headers: Vec<String>,
    /// What is measured: the programs between the load and the service.
    pub(crate) programs: Vec<Running>,
    /// The services behind.
    services: Vec<Running>,
    ca: PathBuf,
    place: tempfile::TempDir,
}

impl System {
    fn new(tools: &Tools) -> Result<Self> {
        Ok(Self {
            door: process::free()?,
            url: String::new(),
            headers: Vec::new(),
            programs: Vec::new(),
            services: Vec::new(),
            ca: tools.identity.join("cert.pem"),
            place: tempfile::Builder::new().prefix("compare-").tempdir()?,
        })
    }

    /// Sets a way up and makes sure that what goes in comes out as it was.
    ///
    /// # Errors
    /// A program is missing or does not serve; the message has what it said.
    pub(crate) async fn start(way: &Way, tools: &Tools) -> Result<Self> {
        let mut system = Self::new(tools)?;
        let set_up = async {
            match &way.maker {
                Maker::Loopback => system.loopback().await,
                Maker::Rathole => system.rathole(tools).await,
                Maker::Bore => system.bore(tools).await,
                Maker::Ssh => system.ssh(tools).await,
                Maker::Stunnel => system.stunnel(tools).await,
                Maker::Haproxy => system.haproxy(tools).await,
                Maker::Tunnel(bin, links) => system.tunnel(bin, *links).await,
                Maker::Access(bin, links) => system.access(bin, *links).await,
                Maker::WebLoopback => system.web_loopback(tools).await,
                Maker::Nginx => system.nginx(tools).await,
                Maker::NginxProxy => system.nginx_proxy(tools).await,
                Maker::HaproxyProxy => system.haproxy_proxy(tools).await,
                Maker::HaproxyRathole => system.haproxy_rathole(tools).await,
                Maker::Https(bin) => system.https(bin, tools).await,
            }
        };
        set_up.await?;
        Ok(system)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn run(
        &mut self,
        name: &'static str,
        program: &Path,
        set: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<()> {
        self.programs.push(Running::start(self.place.path(), name, program, set)?);
        Ok(())
    }

    /// The service that answers as [`wire`] has it.
    async fn service(&mut self) -> Result<SocketAddr> {
        let address = process::free()?;
        let program = std::env::current_exe()?;
        let service = Running::start(self.place.path(), "service", &program, |command| {
            command.args(["serve", &address.to_string()])
        })?;
        self.services.push(service);
        self.until("the service answers", async |_| wire::check(address).await).await?;
        Ok(address)
    }

    /// Tries until something works, as long as all programs run.
    async fn until(&mut self, what: &str, works: impl AsyncFn(&Self) -> Result<()>) -> Result<()> {
        let end = Instant::now() + START;
        loop {
            let Err(error) = works(self).await else { return Ok(()) };
            self.lives()?;
            if Instant::now() > end {
                let said: Vec<_> = self.programs.iter().map(|one| format!("{}: {}", one.name, one.said())).collect();
                bail!("{what}: not within {START:?}: {error:#}; {}", said.join("; "));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An error if a program has ended.
    ///
    /// # Errors
    /// One has; the message has what it said.
    pub(crate) fn lives(&mut self) -> Result<()> {
        self.programs.iter_mut().chain(&mut self.services).try_for_each(Running::lives)
    }

    async fn until_carried(&mut self) -> Result<()> {
        let door = self.door;
        self.until("bytes go through", async |_| wire::check(door).await).await
    }

    async fn until_said(&mut self, at: usize, what: &str) -> Result<()> {
        self.until(what, async |system: &Self| {
            let program = system.programs.get(at).context("a program")?;
            program.has_said(what).then_some(()).context("it is not said")
        })
        .await
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Who came last knows the one before.
        while self.programs.pop().is_some() {}
    }
}

/// Makes a certificate for `localhost` in `place`, for the programs that are given one.
///
/// # Errors
/// openssl failed.
pub(crate) fn make_identity(place: &Path) -> Result<()> {
    tcp::make_identity(place)
}

/// The files that are asked for, and how long each is.
pub(crate) use web::FILES;
