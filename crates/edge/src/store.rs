//! What an edge keeps on disk, and the one door to it.
//!
//! [`Store`] is what SQLite implements today and PostgreSQL will: the same operations, each atomic. Nothing here is on the
//! path of an authorised request; edges serve from the [`Snapshot`](crate::snapshot::Snapshot) and the session table in
//! memory.

mod records;
pub mod sqlite;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tunnel_policy::{Rules, Selector};
use tunnel_proto::{EmailAddress, HostPattern, Hostname, Name, OperatorId, PersonId, Revision, TunnelId, UnixTime};

pub use records::*;

/// The name of the database in the data directory.
pub const DATABASE_NAME: &str = "edge.db";

/// How far ahead of now what is stored may have begun: an hour, for a leap of the clock that is taken back logs nobody out who
/// came meanwhile unless it was worse than that.
pub const FUTURE: Duration = Duration::from_secs(3600);

/// Durable state. Every method is one transaction: it happens whole or not at all.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Waits for what is under way and puts everything in its final place. Every later call fails.
    async fn close(&self);
    /// Why changes cannot be written, as far as was seen; nothing while they can.
    fn unwritable(&self) -> Option<Unwritable> {
        None
    }
    /// A number that is another one once another process has written.
    async fn data_version(&self) -> Result<i64, StoreError>;

    /// The whole declared configuration, with its revision.
    async fn declared(&self) -> Result<(Revision, Declared), StoreError>;

    /// Replaces the declared configuration if it is still at revision `expected`; the audit records are written in the
    /// same transaction, so that no change is ever unaudited. Returns the new revision.
    async fn replace_declared(
        &self,
        expected: Revision,
        declared: &Declared,
        audit: &[AuditRecord],
    ) -> Result<Revision, StoreError>;

    /// Keeps a session (a person's login, or its grants on one host) if the login that it came from is kept; replaces the
    /// one with the same id. Whether it is kept.
    async fn put_session(&self, session: &SessionRecord) -> Result<bool, StoreError>;
    /// Has a session come from another login, if both are kept; brings back neither. Whether they are.
    async fn move_session(&self, id: &SecretHash, login: &SecretHash) -> Result<bool, StoreError>;
    /// Every session that has not expired at `now`.
    async fn sessions(&self, now: UnixTime) -> Result<Vec<SessionRecord>, StoreError>;
    /// Ends sessions: those with these ids and every session whose parent is one of them, and forgets by what they would be
    /// confirmed.
    async fn end_sessions(&self, ids: &[SecretHash]) -> Result<(), StoreError>;

    /// Writes down when sessions were last used; ids that are gone are passed over.
    async fn touch_sessions(&self, uses: &[(SecretHash, UnixTime)]) -> Result<(), StoreError>;

    /// Keeps by what a login is confirmed later, in the place of what was kept before. False, and nothing kept, when the
    /// login is not there any more. It ends with the login.
    async fn put_revalidation(&self, revalidation: &Revalidation) -> Result<bool, StoreError>;
    /// By what each login is confirmed.
    async fn revalidations(&self) -> Result<Vec<Revalidation>, StoreError>;
    /// By what this login is confirmed.
    async fn revalidation(&self, login: &SecretHash) -> Result<Option<Revalidation>, StoreError>;
    /// Replaces what is sealed; false when it is not there any more.
    async fn rotate_revalidation(&self, login: &SecretHash, sealed: &[u8]) -> Result<bool, StoreError>;
    /// Notes that the provider vouched for a login at `now`, and what it says now (one atomic step). Sessions that are gone
    /// are passed over.
    async fn confirm_login(&self, login: &SecretHash, now: UnixTime, told: Option<Told<'_>>) -> Result<(), StoreError>;
    /// Forgets by what a login is confirmed.
    async fn forget_revalidation(&self, login: &SecretHash) -> Result<(), StoreError>;

    /// Remembers a login and says whose it is: the person that the issuer calls so, or a new one with `candidate` as id
    /// (one atomic step).
    async fn meet(&self, met: &Met<'_>) -> Result<PersonId, StoreError>;
    /// Nobody has vouched for a person any more, until the next login: their issuer says no. Who was invited is in by an
    /// administrator's word, and stays.
    async fn unvouch(&self, person: PersonId) -> Result<(), StoreError>;
    /// The person with this id.
    async fn person(&self, id: PersonId) -> Result<Option<PersonRecord>, StoreError>;
    /// Everybody who was ever met, the last first, at most `limit`.
    async fn people(&self, limit: u32) -> Result<Vec<PersonRecord>, StoreError>;
    /// Everybody for whom `issuer` vouches (`None`: whoever does) and who is known by `email` (`None`: by whatever address),
    /// by address, the oldest first.
    async fn people_of(
        &self,
        issuer: Option<&str>,
        email: Option<&EmailAddress>,
    ) -> Result<Vec<PersonRecord>, StoreError>;

    /// Keeps a new passkey of somebody who is known, unless they have [`PASSKEYS_MAX`].
    async fn put_passkey(&self, passkey: &PasskeyRecord) -> Result<PasskeyKept, StoreError>;
    /// A person's passkeys, oldest first.
    async fn passkeys(&self, person: PersonId) -> Result<Vec<PasskeyRecord>, StoreError>;
    /// The passkeys of everybody who is known by `email` (`None`: by whatever address), by address, the oldest first, at most
    /// `limit`.
    async fn held_passkeys(&self, email: Option<&EmailAddress>, limit: u32) -> Result<Vec<HeldPasskey>, StoreError>;
    /// The passkey with this id.
    async fn passkey(&self, id: &SecretHash) -> Result<Option<PasskeyRecord>, StoreError>;
    /// Somebody logged in by a passkey: its credential was `before` and is `after`. False, and nothing is written, when it
    /// is not `before` any more (another use was faster), or the passkey is gone.
    async fn use_passkey(&self, id: &SecretHash, before: &str, after: &str, now: UnixTime) -> Result<bool, StoreError>;
    /// Deletes a passkey if it is this person's; says whether it was.
    async fn delete_passkey(&self, person: PersonId, id: &SecretHash) -> Result<bool, StoreError>;

    /// Keeps an invitation. Earlier ones of the same address, and every passkey of the same person, are gone with it. False,
    /// and nothing is written, when somebody else was invited by this address and has joined.
    async fn put_invitation(&self, invitation: &InvitationRecord) -> Result<bool, StoreError>;
    /// The invitation with this key, unless it has lapsed at `now`. Looking does not use it up.
    async fn invitation(&self, key: &SecretHash, now: UnixTime) -> Result<Option<InvitationRecord>, StoreError>;
    /// Every invitation that has not lapsed at `now`, oldest first.
    async fn invitations(&self, now: UnixTime) -> Result<Vec<InvitationRecord>, StoreError>;
    /// Uses an invitation up: its person is known from now on, and has the passkey. All of it or nothing; of any number of
    /// callers exactly one succeeds.
    async fn join(&self, joining: &Joining<'_>) -> Result<Joined, StoreError>;
    /// Forgets a person: passkeys, invitations, and that anybody vouched for them. Sessions are the caller's to end.
    async fn forget_person(&self, person: PersonId) -> Result<(), StoreError>;

    /// Keeps a one-time thing until `expires`. `bind` must be presented again to take it.
    async fn put_once(&self, thing: &OneTime) -> Result<(), StoreError>;
    /// Takes a one-time thing in one atomic write: of any number of callers, exactly one gets the payload. A wrong
    /// `bind` or an expired thing gives `None`; a wrong `bind` does not consume it.
    async fn take_once(
        &self,
        kind: OnceKind,
        key: &SecretHash,
        bind: &SecretHash,
        now: UnixTime,
    ) -> Result<Option<Vec<u8>>, StoreError>;
    /// Takes a one-time thing as [`take_once`](Self::take_once) does, and keeps `next` in its place: both or neither.
    async fn exchange_once(
        &self,
        kind: OnceKind,
        key: &SecretHash,
        bind: &SecretHash,
        now: UnixTime,
        next: &OneTime,
    ) -> Result<Option<Vec<u8>>, StoreError>;
    /// Reads a one-time thing without consuming it.
    async fn peek_once(&self, kind: OnceKind, key: &SecretHash, now: UnixTime) -> Result<Option<Vec<u8>>, StoreError>;

    /// Opens a PIN challenge, and voids every earlier open one of the same login and application.
    async fn open_pin(&self, pin: &PinRecord) -> Result<(), StoreError>;
    /// Gives a challenge its code (keyed hash). False when it has one already, or a newer challenge voided it.
    async fn arm_pin(&self, id: &SecretHash, code: &SecretHash) -> Result<bool, StoreError>;
    /// Whether a code for this challenge could still be of use at `now`.
    async fn pin_waits(&self, id: &SecretHash, now: UnixTime) -> Result<bool, StoreError>;
    /// Marks the challenge's mail as handed over: from now the code lives until `expires`.
    async fn pin_sent(&self, id: &SecretHash, expires: UnixTime) -> Result<(), StoreError>;
    /// One try: counts it, judges it and, when right, consumes the challenge, all in one atomic step. The caller
    /// gives the keyed hash of what was typed. `login` and `app` must be those of the challenge.
    async fn try_pin(&self, attempt: &PinAttempt) -> Result<PinOutcome, StoreError>;

    /// Counts one event under `key` and says whether all `limits` (events within a window) still hold; when one does
    /// not, nothing is counted, and nobody who writes is made to wait.
    async fn count(&self, key: &SecretHash, now: UnixTime, limits: &[RateLimit]) -> Result<bool, StoreError>;

    /// Queues a mail (the body is sealed by the caller).
    async fn queue_mail(&self, mail: &MailRecord) -> Result<(), StoreError>;
    /// Mails that are due at `now`, oldest first, at most `limit`.
    async fn due_mails(&self, now: UnixTime, limit: u32) -> Result<Vec<MailRecord>, StoreError>;
    /// Notes what became of a mail; the sealed body is deleted unless it is deferred.
    async fn mail_outcome(&self, id: i64, outcome: &MailOutcome, now: UnixTime) -> Result<(), StoreError>;
    /// The newest delivery log entries, at most `limit`.
    async fn mail_log(&self, limit: u32) -> Result<Vec<MailLogEntry>, StoreError>;

    /// A named secret of this installation (sealed by the caller), or `None`.
    async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Keeps a named secret only if there is none yet; returns the one that is kept now.
    async fn put_secret_if_absent(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError>;
    /// Replaces a named secret if it is still `expected`, and writes the audit records in the same transaction. False, and
    /// nothing done, when it is another one by now, or there is none.
    async fn replace_secret(
        &self,
        name: &str,
        expected: &[u8],
        sealed: &[u8],
        audit: &[AuditRecord],
    ) -> Result<bool, StoreError>;

    /// Remembers a certificate that was issued.
    async fn put_certificate(&self, certificate: &CertificateRecord) -> Result<(), StoreError>;
    /// Revokes every certificate of a tunnel or an operator.
    async fn revoke_certificates(&self, holder: &CertificateHolder, now: UnixTime) -> Result<(), StoreError>;
    /// The tunnels that have a certificate which is neither revoked nor expired at `now`.
    async fn certified_tunnels(&self, now: UnixTime) -> Result<Vec<TunnelId>, StoreError>;
    /// Serial numbers (hexadecimal) of revoked certificates that have not expired at `now`.
    async fn revoked_serials(&self, now: UnixTime) -> Result<Vec<String>, StoreError>;

    /// Every certificate that visitors are shown, by name, and those that are wished for.
    async fn visitor_certificates(&self) -> Result<Vec<VisitorCertificate>, StoreError>;
    /// Claims the ordering of a certificate until `until`: of any number of claimants one has it (one atomic step). Whoever
    /// has it may claim it again, to have it for longer.
    async fn claim_visitor_certificate(
        &self,
        name: &HostPattern,
        claimant: &SecretHash,
        now: UnixTime,
        until: UnixTime,
    ) -> Result<bool, StoreError>;
    /// Keeps a certificate, the next not to be ordered before `next`, and gives the claim back; the audit record is written in the same transaction. False, and nothing
    /// done, when the claim went to somebody else.
    async fn put_visitor_certificate(
        &self,
        name: &HostPattern,
        claimant: &SecretHash,
        held: &HeldCertificate,
        next: UnixTime,
        audit: &[AuditRecord],
    ) -> Result<bool, StoreError>;
    /// Lets a certificate be replaced at once, whatever its age. False when there is none of this name, nor a wish for one.
    async fn renew_visitor_certificate(&self, name: &HostPattern) -> Result<bool, StoreError>;
    /// Notes that a certificate could not be had and gives the claim back, as
    /// [`put_visitor_certificate`](Self::put_visitor_certificate) does; the one that was kept stays.
    async fn fail_visitor_certificate(
        &self,
        name: &HostPattern,
        claimant: &SecretHash,
        failed: &OrderFailed<'_>,
        audit: &[AuditRecord],
    ) -> Result<bool, StoreError>;

    /// Keeps an operator and what it may publish.
    async fn put_operator(&self, operator: &OperatorRecord) -> Result<(), StoreError>;
    /// Every operator, oldest first.
    async fn operators(&self) -> Result<Vec<OperatorRecord>, StoreError>;
    /// The operator with this id.
    async fn operator(&self, id: OperatorId) -> Result<Option<OperatorRecord>, StoreError>;

    /// Appends audit records. They can never be changed or removed through this trait, nor by SQL (triggers refuse it).
    async fn append_audit(&self, records: &[AuditRecord]) -> Result<(), StoreError>;
    /// The newest audit records, at most `limit`, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// The audit records with this reference, newest first, at most `limit`.
    async fn audit_of(&self, reference: &str, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;
    /// The records of decisions since `since`, newest first, at most `limit`.
    async fn decisions(&self, since: UnixTime, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// The time that had passed for certain when that was last noted.
    async fn passed(&self) -> Result<Option<UnixTime>, StoreError>;
    /// Notes the time that has passed for certain.
    async fn note_passed(&self, at: UnixTime) -> Result<(), StoreError>;

    /// Removes what has expired at `now` (sessions, one-time things, challenges, counters, mails, invitations), and what a clock
    /// that was wrong made more than [`FUTURE`] after it: that would count for too long. What it only noted in sessions and
    /// revalidations is of `now` from then on.
    async fn sweep(&self, now: UnixTime) -> Result<(), StoreError>;
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else changed the configuration in between; read it again.
    #[error("the configuration changed meanwhile (it is at revision {0}); read it again and repeat the change")]
    Conflict(Revision),
    /// The database was written by a newer program.
    #[error(
        "the database has schema {found}, this program knows {known}; use the newer program{}",
        way_back(.before.as_deref())
    )]
    NewerSchema {
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
        /// What was kept of the database before its schema was newer, if that is there.
        before: Option<std::path::PathBuf>,
    },
    /// What is stored cannot be read as what it should be.
    #[error("stored {what} cannot be read: {reason}")]
    Corrupt {
        /// Which record.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// There is no database, or an empty one, and there was one.
    #[error("database `{}` is gone or empty, and `{}` shows that there was one; {mend}", .path.display(), .sign.display())]
    Gone {
        /// Where it is not.
        path: std::path::PathBuf,
        /// What shows that there was one.
        sign: std::path::PathBuf,
        /// What to do, with the newest backup.
        mend: String,
    },
    /// The schema is an older one, and no copy could be kept of it.
    #[error("the database is not brought up to date without a copy of it as it is, and none can be made: {0}")]
    NotKept(Box<StoreError>),
    /// The database itself failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Preparing the database file failed.
    #[error("database file `{path}`: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn way_back(before: Option<&std::path::Path>) -> String {
    let way = |path: &std::path::Path| format!(", or put back `{}`, which is from before", path.display());
    before.map(way).unwrap_or_default()
}

/// Less free than this, in bytes, and a disk counts as full: the next change may be the one that does not fit.
pub const ROOM: u64 = 1024 * 1024;

/// That changes cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// Since when.
    pub since: Instant,
    /// Why the last one failed.
    pub why: String,
}

/// A limit on how often something may happen: at most `events` within `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The most events.
    pub events: u32,
    /// The length of the sliding window.
    pub window: Duration,
}

/// Looks a tunnel up by name in the declared configuration.
impl Declared {
    /// The first group or policy with a rule about a country: its kind and its name.
    pub fn named_country(&self) -> Option<(&'static str, &Name)> {
        let groups = self.groups.iter().map(|group| ("group", &group.name, &group.rules));
        let policies = self.policies.iter().map(|policy| ("policy", &policy.name, &policy.rules));
        let country = |rules: &Rules| rules.selectors().any(|selector| matches!(selector, Selector::Country(_)));
        groups.chain(policies).find(|(_, _, rules)| country(rules)).map(|(kind, name, _)| (kind, name))
    }

    /// The tunnel with this id.
    pub fn tunnel(&self, id: TunnelId) -> Option<&TunnelRecord> {
        self.tunnels.iter().find(|tunnel| tunnel.id == id)
    }

    /// The tunnel with this name.
    pub fn tunnel_named(&self, name: &Name) -> Option<&TunnelRecord> {
        self.tunnels.iter().find(|tunnel| tunnel.name == *name)
    }

    /// The tunnel that `hostname` is routed to by a route naming exactly it.
    pub fn route(&self, hostname: &Hostname) -> Option<TunnelId> {
        let exact = |route: &&RouteRecord| route.hostname.exact().as_ref() == Some(hostname);
        self.routes.iter().find(exact).map(|route| route.tunnel)
    }
}
