//! The store on SQLite: one file beside its write-ahead log, for one edge.
//!
//! There is one connection that writes and a few that read. What a method acknowledges is on disk (`synchronous = FULL`).
//! Statements are fixed texts with bound parameters. The queries of each journey have their own file below; this one
//! opens the database and binds the journeys to the trait.

mod audit;
mod certificates;
mod configuration;
mod copy;
mod failing;
mod mails;
mod once;
mod open;
mod passed;
mod passkeys;
mod pins;
mod revalidations;
mod secrets;
mod sessions;
mod values;
mod visitor_certificates;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqlx::SqlitePool;
use tunnel_proto::{EmailAddress, HostPattern, OperatorId, PersonId, Revision, TunnelId, UnixTime};

use super::{
    AuditRecord, CertificateHolder, CertificateRecord, Declared, HeldCertificate, HeldPasskey, InvitationRecord,
    Joined, Joining, MailLogEntry, MailOutcome, MailRecord, Met, OnceKind, OneTime, OperatorRecord, OrderFailed,
    PasskeyKept, PasskeyRecord, PersonRecord, PinAttempt, PinOutcome, PinRecord, RateLimit, Revalidation, SecretHash,
    SessionRecord, Store, StoreError, Told, Unwritable, VisitorCertificate,
};
use failing::{Change, Failing};

/// The store on SQLite. Cheap operations, each a transaction of its own.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// One connection: writers queue here, not in SQLite's busy loop.
    writer: SqlitePool,
    /// Connections that cannot write.
    readers: SqlitePool,
    failing: Failing,
}

impl SqliteStore {
    /// Opens the database at `path`, creating it (readable by its owner only) when there is none, and brings its schema
    /// up to date, after a copy of it was kept in `backups` beside it. Refuses a file that is damaged, belongs to something
    /// else, or was written by a newer program.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        open::open(path.as_ref(), open::Users::Unknown).await
    }

    /// The same for a database that another process of this edge has open: that one found it sound, which takes long where
    /// it is large, and is not done again.
    pub(crate) async fn open_beside(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        open::open(path.as_ref(), open::Users::Ours).await
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Recomputes the audit record's chain of hashes from the beginning; returns how many records there are. A record
    /// that was altered, removed from the middle or put in between is an error; removal at the end cannot be seen.
    pub async fn verify_audit(&self) -> Result<u64, StoreError> {
        audit::verify(&self.readers).await
    }

    /// Writes a consistent copy of the whole database to a new file at `path`, owner-only, while the store is in use, and looks
    /// at all of it; says which schema it has. What fails leaves no file.
    pub async fn backup(&self, path: &Path) -> Result<i64, StoreError> {
        copy::make(&self.path, path).await
    }

    /// Looks at all of a copy that [`SqliteStore::backup`] made; says which schema it has.
    pub async fn check_backup(path: &Path) -> Result<i64, StoreError> {
        copy::check(path).await
    }

    /// What is declared in the database at `path` if its schema is an older one, which it stays.
    pub(crate) async fn declared_before(path: &Path) -> Result<Option<(Revision, Declared)>, StoreError> {
        open::declared_before(path).await
    }

    /// A transaction that holds the write lock from its first statement, so that what it reads cannot change before it
    /// writes.
    async fn write(&self) -> Result<Change<'_>, StoreError> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let transaction = begun.inspect_err(|error| self.failing.failed(error))?;
        crate::faults::at("store");
        Ok(Change { transaction, failing: &self.failing, path: &self.path })
    }

    /// What became of a change of one statement.
    fn noted<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        failing::noted(&self.failing, &self.path, done)
    }
}

#[async_trait]
impl Store for SqliteStore {
    /// The last connection to close folds the write-ahead log into the file.
    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn unwritable(&self) -> Option<Unwritable> {
        self.failing.now()
    }

    async fn data_version(&self) -> Result<i64, StoreError> {
        // For this very connection the number changes with what others commit; of ours it is the only one that does.
        Ok(sqlx::query_scalar("PRAGMA data_version").fetch_one(&self.writer).await?)
    }

    async fn declared(&self) -> Result<(Revision, Declared), StoreError> {
        configuration::declared(&self.readers).await
    }

    async fn replace_declared(
        &self,
        expected: Revision,
        declared: &Declared,
        records: &[AuditRecord],
    ) -> Result<Revision, StoreError> {
        let mut tx = self.write().await?;
        let revision = configuration::replace(&mut tx, expected, declared).await?;
        audit::append(&mut tx, records, Some(revision)).await?;
        tx.commit().await?;
        Ok(revision)
    }

    async fn put_session(&self, session: &SessionRecord) -> Result<bool, StoreError> {
        self.noted(sessions::put(&self.writer, session).await)
    }

    async fn move_session(&self, id: &SecretHash, login: &SecretHash) -> Result<bool, StoreError> {
        self.noted(sessions::move_to(&self.writer, id, login).await)
    }

    async fn sessions(&self, now: UnixTime) -> Result<Vec<SessionRecord>, StoreError> {
        sessions::live(&self.readers, now).await
    }

    async fn end_sessions(&self, ids: &[SecretHash]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sessions::end(&mut tx, ids).await?;
        Ok(tx.commit().await?)
    }

    async fn touch_sessions(&self, uses: &[(SecretHash, UnixTime)]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sessions::touch(&mut tx, uses).await?;
        Ok(tx.commit().await?)
    }

    async fn put_revalidation(&self, revalidation: &Revalidation) -> Result<bool, StoreError> {
        self.noted(revalidations::put(&self.writer, revalidation).await)
    }

    async fn revalidations(&self) -> Result<Vec<Revalidation>, StoreError> {
        revalidations::all(&self.readers).await
    }

    async fn revalidation(&self, login: &SecretHash) -> Result<Option<Revalidation>, StoreError> {
        revalidations::one(&self.readers, login).await
    }

    async fn rotate_revalidation(&self, login: &SecretHash, sealed: &[u8]) -> Result<bool, StoreError> {
        self.noted(revalidations::rotate(&self.writer, login, sealed).await)
    }

    async fn confirm_login(&self, login: &SecretHash, now: UnixTime, told: Option<Told<'_>>) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        revalidations::confirm(&mut tx, login, now, told).await?;
        Ok(tx.commit().await?)
    }

    async fn forget_revalidation(&self, login: &SecretHash) -> Result<(), StoreError> {
        self.noted(revalidations::forget(&self.writer, login).await)
    }

    async fn meet(&self, met: &Met<'_>) -> Result<PersonId, StoreError> {
        self.noted(sessions::meet(&self.writer, met).await)
    }

    async fn unvouch(&self, person: PersonId) -> Result<(), StoreError> {
        self.noted(sessions::unvouch(&self.writer, person).await)
    }

    async fn person(&self, id: PersonId) -> Result<Option<PersonRecord>, StoreError> {
        sessions::person(&self.readers, id).await
    }

    async fn people(&self, limit: u32) -> Result<Vec<PersonRecord>, StoreError> {
        sessions::people(&self.readers, limit).await
    }

    async fn people_of(
        &self,
        issuer: Option<&str>,
        email: Option<&EmailAddress>,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        sessions::people_of(&self.readers, issuer, email).await
    }

    async fn put_passkey(&self, passkey: &PasskeyRecord) -> Result<PasskeyKept, StoreError> {
        let mut tx = self.write().await?;
        let kept = passkeys::put(&mut tx, passkey).await?;
        tx.commit().await?;
        Ok(kept)
    }

    async fn passkeys(&self, person: PersonId) -> Result<Vec<PasskeyRecord>, StoreError> {
        passkeys::of_person(&self.readers, person).await
    }

    async fn held_passkeys(&self, email: Option<&EmailAddress>, limit: u32) -> Result<Vec<HeldPasskey>, StoreError> {
        passkeys::held(&self.readers, email, limit).await
    }

    async fn passkey(&self, id: &SecretHash) -> Result<Option<PasskeyRecord>, StoreError> {
        passkeys::find(&self.readers, id).await
    }

    async fn use_passkey(&self, id: &SecretHash, before: &str, after: &str, now: UnixTime) -> Result<bool, StoreError> {
        self.noted(passkeys::used(&self.writer, id, before, after, now).await)
    }

    async fn delete_passkey(&self, person: PersonId, id: &SecretHash) -> Result<bool, StoreError> {
        self.noted(passkeys::delete(&self.writer, person, id).await)
    }

    async fn put_invitation(&self, invitation: &InvitationRecord) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let kept = passkeys::invite(&mut tx, invitation).await?;
        tx.commit().await?;
        Ok(kept)
    }

    async fn invitation(&self, key: &SecretHash, now: UnixTime) -> Result<Option<InvitationRecord>, StoreError> {
        passkeys::invitation(&self.readers, key, now).await
    }

    async fn invitations(&self, now: UnixTime) -> Result<Vec<InvitationRecord>, StoreError> {
        passkeys::invitations(&self.readers, now).await
    }

    async fn join(&self, joining: &Joining<'_>) -> Result<Joined, StoreError> {
        let mut tx = self.write().await?;
        let joined = passkeys::join(&mut tx, joining).await?;
        match joined {
            Joined::Yes => tx.commit().await?,
            Joined::Gone | Joined::Taken => tx.rollback().await?,
        }
        Ok(joined)
    }

    async fn forget_person(&self, person: PersonId) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        passkeys::forget(&mut tx, person).await?;
        Ok(tx.commit().await?)
    }

    async fn put_once(&self, thing: &OneTime) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        once::put(&mut tx, thing).await?;
        Ok(tx.commit().await?)
    }

    async fn take_once(
        &self,
        kind: OnceKind,
        key: &SecretHash,
        bind: &SecretHash,
        now: UnixTime,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut tx = self.write().await?;
        let taken = once::take(&mut tx, kind, key, bind, now).await?;
        tx.commit().await?;
        Ok(taken)
    }

    async fn exchange_once(
        &self,
        kind: OnceKind,
        key: &SecretHash,
        bind: &SecretHash,
        now: UnixTime,
        next: &OneTime,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut tx = self.write().await?;
        let taken = once::take(&mut tx, kind, key, bind, now).await?;
        if taken.is_some() {
            once::put(&mut tx, next).await?;
        }
        tx.commit().await?;
        Ok(taken)
    }

    async fn peek_once(&self, kind: OnceKind, key: &SecretHash, now: UnixTime) -> Result<Option<Vec<u8>>, StoreError> {
        once::peek(&self.readers, kind, key, now).await
    }

    async fn open_pin(&self, pin: &PinRecord) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        pins::open(&mut tx, pin).await?;
        Ok(tx.commit().await?)
    }

    async fn arm_pin(&self, id: &SecretHash, code: &SecretHash) -> Result<bool, StoreError> {
        self.noted(pins::arm(&self.writer, id, code).await)
    }

    async fn pin_waits(&self, id: &SecretHash, now: UnixTime) -> Result<bool, StoreError> {
        pins::waits(&self.readers, id, now).await
    }

    async fn pin_sent(&self, id: &SecretHash, expires: UnixTime) -> Result<(), StoreError> {
        self.noted(pins::sent(&self.writer, id, expires).await)
    }

    async fn try_pin(&self, attempt: &PinAttempt) -> Result<PinOutcome, StoreError> {
        let mut tx = self.write().await?;
        let outcome = pins::attempt(&mut tx, attempt).await?;
        tx.commit().await?;
        Ok(outcome)
    }

    async fn count(&self, key: &SecretHash, now: UnixTime, limits: &[RateLimit]) -> Result<bool, StoreError> {
        // A flood of what is refused anyway does not queue where others write. Events only become more meanwhile.
        let mut reader = self.readers.acquire().await?;
        if once::is_reached(&mut reader, key, now, limits).await? {
            return Ok(false);
        }
        drop(reader);
        let mut tx = self.write().await?;
        let within = once::count(&mut tx, key, now, limits).await?;
        tx.commit().await?;
        Ok(within)
    }

    async fn queue_mail(&self, mail: &MailRecord) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        mails::queue(&mut tx, mail).await?;
        Ok(tx.commit().await?)
    }

    async fn due_mails(&self, now: UnixTime, limit: u32) -> Result<Vec<MailRecord>, StoreError> {
        mails::due(&self.readers, now, limit).await
    }

    async fn mail_outcome(&self, id: i64, outcome: &MailOutcome, now: UnixTime) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        mails::outcome(&mut tx, id, outcome, now).await?;
        Ok(tx.commit().await?)
    }

    async fn mail_log(&self, limit: u32) -> Result<Vec<MailLogEntry>, StoreError> {
        mails::log(&self.readers, limit).await
    }

    async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        secrets::secret(&self.readers, name).await
    }

    async fn put_secret_if_absent(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.noted(secrets::put_if_absent(&self.writer, name, sealed).await)
    }

    async fn replace_secret(
        &self,
        name: &str,
        expected: &[u8],
        sealed: &[u8],
        records: &[AuditRecord],
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        if !secrets::replace(&mut tx, name, expected, sealed).await? {
            return Ok(false);
        }
        audit::append(&mut tx, records, None).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn put_certificate(&self, certificate: &CertificateRecord) -> Result<(), StoreError> {
        self.noted(certificates::put(&self.writer, certificate).await)
    }

    async fn revoke_certificates(&self, holder: &CertificateHolder, now: UnixTime) -> Result<(), StoreError> {
        self.noted(certificates::revoke(&self.writer, holder, now).await)
    }

    async fn certified_tunnels(&self, now: UnixTime) -> Result<Vec<TunnelId>, StoreError> {
        certificates::certified(&self.readers, now).await
    }

    async fn revoked_serials(&self, now: UnixTime) -> Result<Vec<String>, StoreError> {
        certificates::revoked(&self.readers, now).await
    }

    async fn visitor_certificates(&self) -> Result<Vec<VisitorCertificate>, StoreError> {
        visitor_certificates::all(&self.readers).await
    }

    async fn claim_visitor_certificate(
        &self,
        name: &HostPattern,
        claimant: &SecretHash,
        now: UnixTime,
        until: UnixTime,
    ) -> Result<bool, StoreError> {
        self.noted(visitor_certificates::claim(&self.writer, name, claimant, now, until).await)
    }

    async fn put_visitor_certificate(
        &self,
        name: &HostPattern,
        claimant: &SecretHash,
        held: &HeldCertificate,
        next: UnixTime,
        records: &[AuditRecord],
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        if !visitor_certificates::put(&mut tx, name, claimant, held, next).await? {
            return Ok(false);
        }
        audit::append(&mut tx, records, None).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn renew_visitor_certificate(&self, name: &HostPattern) -> Result<bool, StoreError> {
        self.noted(visitor_certificates::renew(&self.writer, name).await)
    }

    async fn fail_visitor_certificate(
        &self,
        name: &HostPattern,
        claimant: &SecretHash,
        failed: &OrderFailed<'_>,
        records: &[AuditRecord],
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        if !visitor_certificates::failed(&mut tx, name, claimant, failed).await? {
            return Ok(false);
        }
        audit::append(&mut tx, records, None).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn put_operator(&self, operator: &OperatorRecord) -> Result<(), StoreError> {
        self.noted(certificates::put_operator(&self.writer, operator).await)
    }

    async fn operators(&self) -> Result<Vec<OperatorRecord>, StoreError> {
        certificates::operators(&self.readers).await
    }

    async fn operator(&self, id: OperatorId) -> Result<Option<OperatorRecord>, StoreError> {
        certificates::operator(&self.readers, id).await
    }

    async fn append_audit(&self, records: &[AuditRecord]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        audit::append(&mut tx, records, None).await?;
        Ok(tx.commit().await?)
    }

    async fn audit_of(&self, reference: &str, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        audit::of_reference(&self.readers, reference, limit).await
    }

    async fn decisions(&self, since: UnixTime, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        audit::decisions(&self.readers, since, limit).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        audit::newest(&self.readers, limit).await
    }

    async fn passed(&self) -> Result<Option<UnixTime>, StoreError> {
        passed::passed(&self.readers).await
    }

    async fn note_passed(&self, at: UnixTime) -> Result<(), StoreError> {
        self.noted(passed::note(&self.writer, at).await)
    }

    async fn sweep(&self, now: UnixTime) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sessions::sweep(&mut tx, now).await?;
        revalidations::sweep(&mut tx, now).await?;
        once::sweep(&mut tx, now).await?;
        pins::sweep(&mut tx, now).await?;
        mails::sweep(&mut tx, now).await?;
        certificates::sweep(&mut tx, now).await?;
        passkeys::sweep(&mut tx, now).await?;
        visitor_certificates::sweep(&mut tx, now).await?;
        Ok(tx.commit().await?)
    }
}
