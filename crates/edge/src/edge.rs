//! An edge that runs: made from a configuration, stopped by its handle.

mod doors;
mod retire;

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock, Weak, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tunnel_proto::{
    Revision,
    identity::{CaError, TlsError},
};

use self::doors::Door;
use crate::{
    Clock, Config, State,
    acme::{self, AcmeError},
    assertions::Assertions,
    audit::Audit,
    backup::{self, Backups},
    certificates::{Certificates, Source},
    clock::{ClockWatch, Leaps},
    config::Smtp,
    connectors,
    countries::{Countries, CountriesError},
    evaluations::Evaluations,
    forward::LoopName,
    gate::Decisions,
    keys::{Keys, KeysError},
    listen::{Connections, Known, Takes},
    login::{
        decision::{self, PinWorker},
        provider::Providers,
    },
    mail::{Delivery, MailConfig, MailError, MailFrom, Mailer, PinSent, SmtpConfig, Terminal},
    memory::Memory,
    office::Office,
    pages::{Look, look::LogoError},
    platform::{self, Handle},
    registry::Registry,
    replace::{Ask, Asks, Predecessor, ReplaceError, Taken},
    revalidation,
    session::Sessions,
    snapshot::{BuiltIn, Snapshot, SnapshotError},
    socket::{Serving, Socket, SocketError},
    store::{
        AuditEvent, AuditRecord, DATABASE_NAME, Declared, LoginMethodKind, Store, StoreError, sqlite::SqliteStore,
    },
    task,
    tls::{self, CertificateError},
};

/// How often expired things are removed, and what is stored is read again.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often revoked certificates are read again, beside every change made through this edge.
const REVOKED_EVERY: Duration = Duration::from_secs(5);
/// How often what another process of this edge wrote is taken over: while one takes the other's place, a session that ends in
/// one ends in both.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// How long a process that was replaced serves on what it has without following: what ends in the one that serves would go
/// on here.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(5);
/// What to do about a clock that is wrong.
const CLOCK_HINT: &str = "logins, PINs and tokens are judged by it, but nothing that has expired comes back; see that \
                          something keeps it right; `edge admin health` shows what the edge goes by, and if the clock \
                          was wrong for long and is right again, `edge admin clock accept` has the edge believe it";
/// How long streams may go on when the edge stops.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// A running edge. Dropping it cuts everything; [`Edge::stop`] lets what is under way end first.
pub struct Edge {
    state: Arc<State>,
    connections: Connections,
    socket: Option<Serving>,
    listening: Vec<SocketAddr>,
    plain: Vec<SocketAddr>,
    /// Every listener, by the address that it was asked for by.
    doors: Vec<Door>,
    /// The owner's socket and the lock, for the process that takes this one's place.
    owners: Option<[Handle; 2]>,
    accepting: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    /// Those that go on while the edge is replaced.
    lasting: Vec<JoinHandle<()>>,
    rounds: Arc<Rounds>,
    _pins: PinWorker,
}

/// Where what is for the operator's eyes only is shown: codes in the quick start.
pub type Screen = Terminal;

impl Edge {
    /// Opens the data directory, binds every listener and starts to serve. Needs a tokio runtime.
    ///
    /// `screen` is where codes appear when there is no mail server (quick start only; never a log).
    pub async fn start(config: Config, clock: Clock, screen: Screen) -> Result<Self, StartError> {
        Self::start_on(&[], config, clock, screen).await
    }

    /// The same with connections in other runtimes than this one, in which everything else goes on: each of `cores` accepts at
    /// every listener, and a connection stays in one of them from its handshake to its end, with all that it spawns.
    /// [`tunnel_proto::cores::Cores`] makes such runtimes. They have to run until the edge has stopped. Without any, it is this
    /// one.
    pub async fn start_on(
        cores: &[runtime::Handle],
        config: Config,
        clock: Clock,
        screen: Screen,
    ) -> Result<Self, StartError> {
        Self::start_after(None, cores, config, clock, screen).await
    }

    /// The same in the place of an edge that started this process for it: what that one has open is gone on with.
    pub async fn start_after(
        mut predecessor: Option<&mut Predecessor>,
        cores: &[runtime::Handle],
        mut config: Config,
        clock: Clock,
        screen: Screen,
    ) -> Result<Self, StartError> {
        let dir = config.data_dir.clone();
        platform::private_dir(&dir).map_err(|source| StartError::DataDir { path: dir.clone(), source })?;
        let Taken { socket, listeners, known: networks } = match &mut predecessor {
            Some(predecessor) => predecessor.take(&dir).await?,
            None => Taken { socket: Socket::bind(&dir).await?, listeners: Vec::new(), known: Known::default() },
        };
        let owners = socket.handles().ok();
        let (listeners, plain, links_only) = doors::bind_all(&mut config, listeners)?;
        let database = dir.join(DATABASE_NAME);
        let built_in = BuiltIn {
            administrators: config.administrators.clone(),
            quick_start: config.quick_start,
            login_host: Some(config.login_host.clone()),
            administrator_methods: config.administrator_methods.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
        };
        let store = match &predecessor {
            Some(_) => {
                // Before a step of the schema is taken, which stays if this process does not serve after all.
                check_files(&config)?;
                // What cannot be read so is read when the step is taken.
                if let Ok(Some((revision, declared))) = SqliteStore::declared_before(&database).await {
                    servable(&config, &built_in, revision, declared)?;
                }
                SqliteStore::open_beside(&database).await?
            }
            None => SqliteStore::open(&database).await?,
        };
        let store = Arc::new(store);
        let backups = Backups::new(store.clone(), &dir, config.backups);
        let store: Arc<dyn Store> = store;
        // Whatever is written from here on by another process is followed.
        let mut known = store.data_version().await?;
        let clock = clock.lasting(store.passed().await?);
        if let Some(behind) = clock.status().behind() {
            tracing::error!(
                "the clock of this machine is {} seconds behind the time at which the edge was here last: {CLOCK_HINT}",
                behind.as_secs()
            );
        }
        let keys = Keys::load(&dir, &*store, clock.now()).await?;
        let ca = keys.authority(&*store, &config.zone, clock.now()).await?;
        let (revision, declared) = store.declared().await?;
        let snapshot = servable(&config, &built_in, revision, declared)?;
        for warning in built_in.warnings(&snapshot.declared) {
            tracing::warn!("{warning}");
        }
        let countries = Countries::load(config.country_file.as_deref())?;
        let look = Look::load(&config.brand)?;
        let sessions = Sessions::load(store.clone(), clock.now()).await?;
        let revoked: HashSet<String> = store.revoked_serials(clock.now()).await?.into_iter().collect();
        let certificates = Certificates::load(&config, clock.clone())?;
        if let Some(acme) = certificates.acme() {
            acme.serve(&store.visitor_certificates().await?, &keys, clock.now());
        }
        let fixed = Arc::new(tls::Fixed::new(&ca, &config.login_host, clock.now())?);
        let link_tls = Arc::new(tls::for_links(&ca, fixed.clone(), clock.clone())?);
        let mail = mail_config(&config, &snapshot, screen)?;
        let (pins, jobs) = decision::queue();
        let (issuer, visit_base) = (config.issuer(), config.visit());
        let audit = Audit::start(store.clone(), clock.clone());
        let told: Arc<OnceLock<Weak<State>>> = Arc::default();
        let tell = told.clone();
        let observer = Arc::new(move |sent: &PinSent| {
            if let Some(state) = tell.get().and_then(Weak::upgrade) {
                state.audit.record(AuditRecord {
                    actor: Some(sent.to.to_string()),
                    source: Some(sent.source),
                    object: Some(sent.host.to_string()),
                    reference: Some(sent.reference.clone()),
                    ..AuditRecord::new(sent.at, AuditEvent::PinSent)
                });
            }
        });
        if let Some(predecessor) = &mut predecessor {
            predecessor.ready().await?;
        }
        // From here on the one before hands no mail over, and asks no provider.
        let mail = Mailer::start(mail, store.clone(), &keys, clock.clone(), observer)?;
        let loop_name = LoopName::of(&keys);
        let state = Arc::new(State {
            config,
            clock,
            store,
            backups,
            keys,
            ca,
            built_in,
            snapshot: ArcSwap::from_pointee(snapshot),
            changed: watch::Sender::new(revision),
            sessions,
            registry: Arc::new(Registry::default()),
            client_links: Arc::default(),
            operator_links: Arc::default(),
            revoked: ArcSwap::from_pointee(revoked),
            decisions: Decisions::default(),
            assertions: Assertions::default(),
            loop_name,
            pool: Arc::default(),
            countries,
            audit,
            certificates,
            mail,
            pins,
            providers: Providers::default(),
            evaluations: Evaluations::default(),
            replaced: CancellationToken::new(),
            asks: Asks::default(),
            memory: Memory::default(),
            leaps: Leaps::default(),
            look,
            issuer,
            visit_base,
        });
        told.set(Arc::downgrade(&state)).ok();
        state.end_unvouched().await;
        let visitors = state.certificates.resolver(Arc::downgrade(&state));
        let access = Arc::new(tls::for_access(visitors.clone()).map_err(StartError::Tls)?);
        let visitors = Arc::new(tls::for_visitors(visitors).map_err(StartError::Tls)?);
        // What the one before wrote while this one got ready.
        state.follow(&mut known).await.map_err(|error| StartError::Follow(error.into()))?;
        let challenges = state.certificates.challenges().map_err(StartError::Tls)?;
        let connections = Connections::new(state.clone(), cores);
        connections.go_on_with(networks);
        let addresses = |doors: &[Door]| doors.iter().filter_map(|(_, one)| one.local_addr().ok()).collect();
        let (listening, plain_addresses) = (addresses(&listeners), addresses(&plain));
        let everything = Takes::Everything { visitors, links: link_tls.clone(), access, challenges };
        let (mut doors, mut opened) = (Vec::new(), Vec::new());
        let (mut accepting, mut tasks) = (Vec::new(), Vec::new());
        // Without a certificate nobody can come.
        let certified: HashSet<_> = state.store.certified_tunnels(state.now()).await?.into_iter().collect();
        let tunnels = state.snapshot.load_full();
        let absent = tunnels.declared.tunnels.iter().map(|tunnel| tunnel.id).filter(|id| !certified.contains(id));
        state.registry.await_arrivals(absent.collect());
        let all = listeners
            .into_iter()
            .map(|one| (one, everything.clone()))
            .chain(plain.into_iter().map(|one| (one, Takes::Plain)))
            .chain(links_only.into_iter().map(|one| (one, Takes::Links(link_tls.clone()))));
        for (door, takes) in all {
            opened.push((doors::registered(&door, connections.runtimes())?, takes));
            doors.push(door);
        }
        // From here on nothing fails.
        for (listeners, takes) in opened {
            accepting.extend(listeners.into_iter().map(|one| doors::accept(&connections, one, &takes)));
        }
        let weak = Arc::downgrade(&state);
        let own = weak.clone();
        tasks.push(task::keep("sweep", move || sweep(own.clone(), fixed.clone())));
        let own = weak.clone();
        tasks.push(task::keep("backup", move || backup::run(own.clone())));
        let own = weak.clone();
        tasks.push(task::keep("revoked", move || follow_revoked(own.clone())));
        let rounds = Arc::<Rounds>::default();
        let lasting = vec![
            task::keep("revalidate", {
                let (own, rounds) = (weak.clone(), rounds.clone());
                move || revalidate(own.clone(), rounds.clone())
            }),
            task::keep("follow", {
                let (own, cut) = (weak.clone(), connections.cut.clone());
                move || follow(own.clone(), known, cut.clone())
            }),
            task::keep("memory", {
                let connections = connections.clone();
                move || connections.clone().govern()
            }),
        ];
        match &state.certificates.0 {
            Source::Internal => {}
            Source::Files(files) => {
                let (files, clock) = (files.clone(), state.clock.clone());
                tasks.push(task::keep("certificates", move || tls::watch(files.clone(), clock.clone())));
            }
            Source::Acme(acme) => {
                let acme = acme.clone();
                tasks.push(task::keep("acme", move || acme::run(weak.clone(), acme.clone())));
            }
        }
        let worker = PinWorker::start(jobs, Arc::downgrade(&state));
        let socket = socket.serve(Arc::new(Office::new(state.clone())));
        if let Some(predecessor) = predecessor {
            predecessor.serving().await;
        }
        Ok(Self {
            state,
            connections,
            socket: Some(socket),
            listening,
            plain: plain_addresses,
            doors,
            owners,
            accepting,
            tasks,
            lasting,
            rounds,
            _pins: worker,
        })
    }

    /// From now on the edge can be asked to be replaced; whoever takes the asks answers them, by [`Edge::replace`].
    pub fn asks(&self) -> mpsc::Receiver<Ask> {
        self.state.asks.listen()
    }

    /// What all parts share.
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Where HTTPS and links are taken.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Where plain HTTP is taken.
    pub fn plain(&self) -> &[SocketAddr] {
        &self.plain
    }

    /// Accepts no more, lets what is under way end within `patience`, writes what is to be kept.
    pub async fn stop(mut self, patience: Duration) {
        self.connections.stopping.cancel();
        self.shut_doors().await;
        self.connections.tasks.close();
        let ends = self.connections.tasks.wait();
        let drained = async {
            connectors::drain(&self.state, patience).await;
            ends.await;
        };
        // Links have ended by now; what else goes on for longer is cut.
        tokio::time::timeout(patience.saturating_add(Duration::from_secs(1)), drained).await.ok();
        self.connections.cut.cancel();
        if let Some(socket) = self.socket.take() {
            socket.stop().await;
        }
        self.abort_tasks();
        if let Some(acme) = self.state.certificates.acme() {
            acme.cleared().await;
        }
        if let Err(error) = self.state.sessions.write_uses().await {
            tracing::error!(%error, "when sessions were last used is not written down");
        }
        self.state.note_time().await;
        if let Err(error) = self.state.audit.flush().await {
            tracing::error!(%error, "audit records are lost");
        }
        self.state.store.close().await;
    }

    fn abort_tasks(&self) {
        self.accepting.iter().chain(&self.tasks).chain(&self.lasting).for_each(JoinHandle::abort);
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.connections.stopping.cancel();
        self.connections.cut.cancel();
        self.abort_tasks();
    }
}

/// Reads every file that a configuration names, as [`Edge::start`] will: certificates, the mail server's password and CA, the
/// logo.
pub fn check_files(config: &Config) -> Result<(), StartError> {
    Certificates::load(config, Clock::System)?;
    Countries::load(config.country_file.as_deref())?;
    Look::load(&config.brand)?;
    config.smtp.as_ref().map_or(Ok(()), |smtp| smtp_delivery(smtp).map(drop))
}

/// What is declared, as far as it can be served with what the process was started with.
fn servable(
    config: &Config,
    built_in: &BuiltIn,
    revision: Revision,
    declared: Declared,
) -> Result<Snapshot, StartError> {
    let pin = declared.login_methods.iter().any(|method| matches!(method.kind, LoginMethodKind::OneTimePin));
    if pin && config.smtp.is_none() && !config.quick_start {
        return Err(StartError::NoMail);
    }
    if !config.has_countries() && declared.named_country().is_some() {
        return Err(StartError::NoCountries);
    }
    Ok(Snapshot::new(revision, declared, built_in)?)
}

fn mail_config(config: &Config, snapshot: &Snapshot, screen: Screen) -> Result<MailConfig, StartError> {
    let delivery = match &config.smtp {
        Some(smtp) => smtp_delivery(smtp)?,
        None if config.quick_start => Delivery::Console { terminal: screen, folder: config.data_dir.join("mail") },
        None => Delivery::None,
    };
    Ok(MailConfig {
        zone: config.zone.clone(),
        name: config.brand.name.clone(),
        login_host: config.login_host.clone(),
        contact: config.brand.contact.clone().or_else(|| snapshot.declared.administrators.first().cloned()),
        delivery,
    })
}

fn smtp_delivery(smtp: &Smtp) -> Result<Delivery, StartError> {
    let invalid = |key: &'static str, reason: String| StartError::Smtp { key, reason };
    let read = |key: &'static str, path: &PathBuf| {
        std::fs::read(path).map_err(|error| invalid(key, format!("`{}` cannot be read: {error}", path.display())))
    };
    let password = smtp.password_file.as_ref().map(|path| read("smtp.password_file", path)).transpose()?;
    let password = password.map(|bytes| tunnel_auth::SecretBytes::new(bytes.trim_ascii_end().to_vec()));
    let ca = smtp.ca_file.as_ref().map(|path| read("smtp.ca_file", path)).transpose()?;
    let server = SmtpConfig::new(smtp.url.as_str(), password, ca.as_deref())
        .map_err(|error| invalid("smtp.url", error.to_string()))?;
    let from: MailFrom =
        smtp.from.parse().map_err(|error: crate::mail::MailFromError| invalid("smtp.from", error.to_string()))?;
    Ok(Delivery::Smtp { server, from })
}

/// Removes what has expired, now and then.
async fn sweep(state: Weak<State>, links: Arc<tls::Fixed>) {
    crate::faults::at("sweep");
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    let mut watch: Option<ClockWatch> = None;
    loop {
        tick.tick().await;
        let Some(state) = state.upgrade() else { return };
        let (wall, steady) = (state.clock.shown(), Instant::now());
        if let Some((seconds, forward)) = watch.get_or_insert(ClockWatch::new(wall, steady)).look(wall, steady) {
            let direction = if forward { "forward, or the machine slept," } else { "back, or stands still," };
            tracing::error!("the clock of this machine has leapt {direction} by {seconds} seconds: {CLOCK_HINT}");
        }
        state.note_time().await;
        // Also what was stored by somebody who went away before it was read; and it ends logins that were on their way while
        // their method went ([`State::end_unvouched`]).
        state.reload_or_log().await;
        if let Err(error) = links.refresh(&state.ca, &state.config.login_host, state.now()) {
            tracing::error!(%error, "the certificate for links cannot be renewed");
        }
        // The file may be large: not where everybody is served.
        let countries = state.clone();
        match tokio::task::spawn_blocking(move || countries.countries.refresh()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the file of countries cannot be read anew; the last one serves"),
            Err(error) => tracing::error!(%error, "the file of countries cannot be read anew; the last one serves"),
        }
        if let Err(error) = state.keys.tend(&*state.store, state.now()).await {
            tracing::error!(%error, "the keys that sign assertions cannot be looked after");
        }
        state.pool.sweep();
        if let Err(error) = state.sessions.write_uses().await {
            tracing::error!(%error, "when sessions were last used cannot be written down");
        }
        state.sessions.sweep(state.now());
        if let Err(error) = state.store.sweep(state.now()).await {
            tracing::error!(%error, "what has expired cannot be removed");
        }
    }
}

/// Follows revocations that were made on the store while links were up.
async fn follow_revoked(state: Weak<State>) {
    crate::faults::at("revoked");
    let mut tick = tokio::time::interval(REVOKED_EVERY);
    loop {
        tick.tick().await;
        let Some(state) = state.upgrade() else { return };
        if let Err(error) = state.reload_revoked().await {
            tracing::error!(%error, "revoked certificates cannot be read");
        }
    }
}

/// Takes over what another process of this edge wrote. When a process that was replaced cannot, everything that it carries
/// is `cut`.
async fn follow(state: Weak<State>, mut known: i64, cut: CancellationToken) {
    crate::faults::at("follow");
    let mut tick = tokio::time::interval(FOLLOW_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut failing, mut last) = (false, tokio::time::Instant::now());
    loop {
        tick.tick().await;
        let Some(state) = state.upgrade() else { return };
        let late = async {
            state.replaced.cancelled().await;
            tokio::time::sleep_until(last + FOLLOW_PATIENCE).await;
        };
        let followed = tokio::select! {
            biased;
            followed = state.follow(&mut known) => Some(followed),
            () = late => None,
        };
        match &followed {
            Some(Ok(())) => last = tokio::time::Instant::now(),
            // Said once, until it works again.
            Some(Err(error)) if !failing => {
                tracing::error!(%error, "what another process of this edge wrote cannot be taken over");
            }
            Some(Err(_)) | None => {}
        }
        failing = !matches!(followed, Some(Ok(())));
        if failing && state.replaced.is_cancelled() && last.elapsed() >= FOLLOW_PATIENCE {
            tracing::error!("everything of the edge before is cut: it does not learn what ends in the one that serves");
            cut.cancel();
            return;
        }
    }
}

/// Rounds in which providers are asked: of one process at a time, for what a provider answers is good once.
#[derive(Default)]
struct Rounds {
    rest: std::sync::atomic::AtomicBool,
    under_way: tokio::sync::Mutex<()>,
}

/// Asks providers whether they still vouch for logins. The first round asks at once: while the edge was away nobody did.
async fn revalidate(state: Weak<State>, rounds: Arc<Rounds>) {
    crate::faults::at("revalidate");
    let mut tick = tokio::time::interval(revalidation::EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(state) = state.upgrade() else { return };
        let _under_way = rounds.under_way.lock().await;
        if !rounds.rest.load(Relaxed) {
            let snapshot = state.snapshot.load_full();
            state.round(&snapshot).run_unless(&rounds.rest).await;
        }
    }
}

/// Why an edge does not start. Each names what is wrong; the program adds what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data directory `{path}`: {source}", path = .path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A listener cannot be bound.
    #[error("cannot listen on {address}: {source}{hint}", hint = doors::hint(.address, .source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The place of another edge cannot be taken.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// What the edge before wrote last cannot be taken over.
    #[error("what the edge before this one wrote: {0}")]
    Follow(Box<dyn std::error::Error + Send + Sync>),
    /// The quick start is for this machine only.
    #[error("the quick start listens on loopback only; write an edge.toml with your zone and give it with `--config`")]
    NotLoopback,
    /// A rule names a country, and no file says where addresses are: what it blocks would not be blocked.
    #[error("a rule names a country, but there is no country file in the configuration; add it")]
    NoCountries,
    /// PINs without a mail server.
    #[error("a login method sends PINs by e-mail, but there is no `[smtp]` in the configuration; add it")]
    NoMail,
    /// The mail server's settings make no sense.
    #[error("`{key}`: {reason}")]
    Smtp {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The owner's socket, or another edge on this data directory.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file of countries.
    #[error("`country_file`: {0}")]
    Countries(#[from] CountriesError),
    /// The file of the logo.
    #[error("`brand.logo`: {0}")]
    Logo(#[from] LogoError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What is stored makes no sense.
    #[error("the stored configuration cannot be served: {0}")]
    Snapshot(#[from] SnapshotError),
    /// A certificate from a file.
    #[error("`tls.files`: {0}")]
    Certificate(#[from] CertificateError),
    /// What ordering certificates needs.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// The edge's own certificate.
    #[error("the edge's own certificate cannot be made: {0}")]
    Ca(#[from] CaError),
    /// The configuration for links.
    #[error("TLS for links: {0}")]
    LinkTls(#[from] TlsError),
    /// The configuration for visitors.
    #[error("TLS for visitors: {0}")]
    Tls(#[source] rustls::Error),
    /// Outgoing mail.
    #[error(transparent)]
    Mail(#[from] MailError),
}
