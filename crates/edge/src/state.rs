//! What all of an edge's tasks share.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tunnel_proto::{Hostname, Revision, UnixTime, identity::Ca};

use crate::{
    Clock, Config,
    assertions::Assertions,
    audit::Audit,
    backup::Backups,
    certificates::Certificates,
    clients::ClientLinks,
    clock::Leaps,
    countries::Countries,
    evaluations::Evaluations,
    forward::LoopName,
    gate::{Decisions, Gate},
    keys::{Keys, KeysError},
    login::{
        self,
        decision::{PinOffice, PinQueue},
        provider::Providers,
    },
    mail::{Mailer, PasskeyMail, PinMail, QueueError},
    memory::Memory,
    operators::OperatorLinks,
    pages::Look,
    registry::Registry,
    replace::Asks,
    revalidation::Round,
    session::{Followed, Session, Sessions},
    snapshot::{BuiltIn, Snapshot, SnapshotError},
    store::{AuditEvent, AuditRecord, Store, StoreError},
    tunnels,
    upstream::Pool,
};

/// The edge's shared state. Each part has one owner, named by its type; the snapshot is replaced whole.
pub struct State {
    /// What the process was started with.
    pub config: Config,
    /// The wall clock.
    pub clock: Clock,
    /// What is kept on disk.
    pub store: Arc<dyn Store>,
    /// Copies of it.
    pub backups: Backups,
    /// Sealing, hashing and signing keys.
    pub keys: Keys,
    /// The edge's own certificate authority.
    pub ca: Ca,
    /// What is built in to every snapshot.
    pub built_in: BuiltIn,
    /// What is served from.
    pub snapshot: ArcSwap<Snapshot>,
    /// Told of every new snapshot, of what providers say anew, and of leaps of the wall clock: those who keep streams judge them
    /// again.
    pub changed: watch::Sender<Revision>,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Which links are up.
    pub registry: Arc<Registry>,
    /// How many links of access clients each person and machine has.
    pub client_links: Arc<ClientLinks>,
    /// Which links of operators are up.
    pub operator_links: Arc<OperatorLinks>,
    /// Serial numbers of revoked certificates.
    pub revoked: ArcSwap<HashSet<String>>,
    /// Decisions made before, for as long as they hold.
    pub decisions: Decisions,
    /// Assertions signed before, for as long as they are fresh.
    pub assertions: Assertions,
    /// By what a request is known that has been here before.
    pub(crate) loop_name: LoopName,
    /// Idle streams to services.
    pub pool: Arc<Pool>,
    /// Which country an address is in.
    pub countries: Countries,
    /// The append-only record.
    pub audit: Audit,
    /// What visitors are shown.
    pub certificates: Certificates,
    /// Outgoing mail.
    pub mail: Mailer,
    /// Codes that were asked for.
    pub pins: PinQueue,
    /// What is known of OpenID providers and GitHub.
    pub providers: Providers,
    /// Services that are asked about people, as far as they are known.
    pub evaluations: Evaluations,
    /// Cancelled once another process has taken this one's place, which then only goes on with what it has begun.
    pub replaced: CancellationToken,
    /// Who can have this process replaced.
    pub asks: Asks,
    /// How short memory is.
    pub(crate) memory: Memory,
    /// When the wall clock leaps.
    pub(crate) leaps: Leaps,
    /// What pages look like.
    pub look: Arc<Look>,
    /// What assertions name as their issuer.
    pub issuer: String,
    /// The base address that visitors use, with `HOST` where the hostname goes.
    pub visit_base: String,
}

impl State {
    /// The host at which people log in: `access.ZONE`.
    pub fn login_host(&self) -> &Hostname {
        &self.config.login_host
    }

    /// What the gate judges by.
    pub fn gate<'a>(&'a self, snapshot: &'a Arc<Snapshot>) -> Gate<'a> {
        Gate {
            snapshot,
            sessions: &self.sessions,
            decisions: &self.decisions,
            audit: &self.audit,
            login_host: &self.config.login_host,
        }
    }

    /// What logging in and out needs.
    pub fn login_desk<'a>(&'a self, snapshot: &'a Snapshot) -> login::Desk<'a> {
        login::Desk {
            zone: &self.config.zone,
            login_host: &self.config.login_host,
            issuer: &self.issuer,
            contact: self.config.brand.contact.as_ref().or_else(|| snapshot.declared.administrators.first()),
            quick_start: self.config.quick_start,
            mail_delayed: self.mail.is_delayed(),
            store: &*self.store,
            keys: &self.keys,
            sessions: &self.sessions,
            snapshot,
            countries: &self.countries,
            audit: &self.audit,
            pins: &self.pins,
            providers: &self.providers,
            evaluations: &self.evaluations,
            look: &self.look,
        }
    }

    /// What asking providers again about logins needs.
    pub fn round<'a>(&'a self, snapshot: &'a Snapshot) -> Round<'a> {
        Round {
            snapshot,
            store: &*self.store,
            keys: &self.keys,
            sessions: &self.sessions,
            providers: &self.providers,
            audit: &self.audit,
            clock: &self.clock,
            changed: &self.changed,
        }
    }

    /// Where tunnels are changed, for a request from `source` (or of a program on this machine).
    pub fn tunnel_desk(&self, source: Option<IpAddr>) -> tunnels::Desk<'_> {
        tunnels::Desk {
            store: &*self.store,
            ca: &self.ca,
            login_host: &self.config.login_host,
            quick_start: self.config.quick_start,
            visit: &self.visit_base,
            now: self.clock.now(),
            source,
        }
    }

    /// Replaces the snapshot by one of what is stored now. What cannot be served is refused, and the last good one kept.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (revision, declared) = self.store.declared().await?;
        // What is served already need not be made again, whoever asks for it.
        if revision != self.snapshot.load().revision {
            let built_in = self.built_in.clone();
            // Of thousands of applications that takes a while: not where everybody is served.
            let made = spawn_blocking(move || Snapshot::new(revision, declared, &built_in)).await;
            let snapshot = Arc::new(made.map_err(|_| ReloadError::Broken)??);
            self.snapshot.rcu(|before| {
                // A slower reload must not undo a faster one.
                if before.revision > snapshot.revision { before.clone() } else { snapshot.clone() }
            });
        }
        self.changed.send_if_modified(|known| std::mem::replace(known, revision.max(*known)) < revision);
        self.end_unvouched().await;
        self.reload_revoked().await
    }

    /// Ends every session by a login method that is gone or is another issuer's now. Nothing admits them any more; but were
    /// the method declared as before once more, they would be back.
    pub(crate) async fn end_unvouched(&self) {
        let (snapshot, now) = (self.snapshot.load_full(), self.now());
        let unvouched = |session: &Arc<Session>| !snapshot.stands_by(&session.identity().method, session.issuer());
        let all = self.sessions.list(now).into_iter().filter(unvouched);
        let ids: Vec<_> = all.map(|session| *session.id()).collect();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.sessions.end(&ids).await {
            tracing::error!(%error, "sessions that count no more are still stored");
        }
        self.audit.record(AuditRecord {
            actor: Some("edge".to_owned()),
            detail: Some(format!("sessions ended: {}; the login method is gone, or another issuer's now", ids.len())),
            ..AuditRecord::new(now, AuditEvent::Revoked)
        });
    }

    /// Reads which certificates are revoked, and closes the links of those, and of tunnels that are gone.
    pub async fn reload_revoked(&self) -> Result<(), ReloadError> {
        let serials = self.store.revoked_serials(self.clock.now()).await?;
        let revoked: Arc<HashSet<String>> = Arc::new(serials.into_iter().collect());
        // First for those who come, then for those who are there: nobody slips in between.
        self.revoked.store(revoked.clone());
        self.operator_links.end(&revoked);
        let snapshot = self.snapshot.load();
        self.registry.retain(|uplink| snapshot.tunnel(uplink.tunnel).is_some() && !revoked.contains(&uplink.serial));
        Ok(())
    }

    /// Takes over what another process of this edge wrote, if it wrote anything since `known`, which follows; and notices leaps of
    /// the clock.
    pub(crate) async fn follow(&self, known: &mut i64) -> Result<(), FollowError> {
        // One look for all who wait until some moment.
        if self.leaps.noticed(self.now(), Instant::now()) {
            self.changed.send_modify(|_| ());
        }
        let version = self.store.data_version().await?;
        if version == *known {
            return Ok(());
        }
        // What ends something comes first, and none of these waits until another one works.
        let time = self.follow_time().await;
        let sessions = self.sessions.follow(self.now()).await;
        if matches!(sessions, Ok(Followed::Changed)) {
            // Who keeps streams judges them again.
            self.changed.send_modify(|_| ());
        }
        let revoked = self.reload_revoked().await;
        let declared = self.follow_declared().await;
        let keys = self.keys.tend(&*self.store, self.now()).await;
        self.mail.wake();
        time?;
        let followed = sessions?;
        revoked?;
        declared?;
        keys?;
        // While this process changes sessions itself, what is stored is looked at again soon.
        if followed != Followed::Busy {
            *known = version;
        }
        Ok(())
    }

    /// What an administrator says of the clock is said to the process that serves.
    async fn follow_time(&self) -> Result<(), StoreError> {
        if self.replaced.is_cancelled()
            && let Some(noted) = self.store.passed().await?
            && self.clock.follow(noted)
        {
            tracing::info!("the clock is believed, as in the process that serves");
            self.sessions.sweep(self.now());
        }
        Ok(())
    }

    async fn follow_declared(&self) -> Result<(), ReloadError> {
        let (revision, _) = self.store.declared().await?;
        let newer = revision > self.snapshot.load().revision;
        if newer { self.reload().await } else { Ok(()) }
    }

    /// [`State::reload`], for callers that have nobody to tell.
    pub async fn reload_or_log(&self) {
        if let Err(error) = self.reload().await {
            tracing::error!(%error, "the configuration cannot be reloaded; the last good one is served");
        }
    }

    /// Notes the time that has passed for certain, for the next process.
    pub(crate) async fn note_time(&self) {
        // What an administrator says of the clock is said to the process that serves.
        if self.replaced.is_cancelled() {
            return;
        }
        if let Err(error) = self.store.note_passed(self.clock.status().passed).await {
            tracing::error!(%error, "the time that has passed cannot be noted");
        }
    }

    /// Now.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }
}

/// Why what is stored is not served.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It makes no sense.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something is wrong with the edge itself.
    #[error("what is stored could not be made ready")]
    Broken,
}

/// Why what another process wrote was not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// What is declared.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// The keys that sign assertions.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[async_trait]
impl PinOffice for State {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn login_host(&self) -> &Hostname {
        &self.config.login_host
    }

    async fn post(&self, mail: PinMail) -> Result<(), QueueError> {
        self.mail.queue_pin(mail).await
    }

    async fn tell(&self, mail: PasskeyMail) -> Result<(), QueueError> {
        self.mail.queue_passkey(&mail).await
    }
}
