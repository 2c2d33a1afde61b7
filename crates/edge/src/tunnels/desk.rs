//! Where changes of tunnels are made: what they need of the edge, and the one way to store them.

use std::net::IpAddr;

use tunnel_proto::{
    EmailAddress, Hostname, UnixTime,
    identity::{Ca, CaError, CertRole},
};

use crate::store::{
    AuditEvent, AuditRecord, CertificateHolder, CertificateRecord, Declared, Promise, Store, StoreError,
};

use super::Problem;

/// What changes of tunnels and routes need of the edge, for one request.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// Where they are stored.
    pub store: &'a dyn Store,
    /// What signs certificates.
    pub ca: &'a Ca,
    /// The host that can never be published.
    pub login_host: &'a Hostname,
    /// Whether publishing a hostname of the zone also makes a provisional application.
    pub quick_start: bool,
    /// The base address that visitors use, with `HOST` where the hostname goes.
    pub visit: &'a str,
    /// Now.
    pub now: UnixTime,
    /// Where the request came from, for the audit.
    pub source: Option<IpAddr>,
}

/// A change that is decided but not stored.
pub(super) struct Change<T> {
    pub(super) answer: T,
    pub(super) audit: Vec<AuditRecord>,
    pub(super) certificate: Option<CertificateRecord>,
}

/// How often a change is decided anew because others came first. Each time somebody's change was stored, so this many
/// failures mean that as many others went through.
const RETRIES: u32 = 1000;

impl Desk<'_> {
    /// Decides a change on the newest configuration and stores it, as often as others come in between.
    ///
    /// A certificate is on record before anybody can have it: one that is revoked in the same moment is revoked for good.
    pub(super) async fn change<T>(
        &self,
        decide: impl Fn(&mut Declared) -> Result<Change<T>, Problem> + Send,
    ) -> Result<T, Problem> {
        for _ in 0..RETRIES {
            let (revision, before) = self.store.declared().await?;
            let mut after = before.clone();
            let change = decide(&mut after)?;
            if let Some(certificate) = &change.certificate {
                self.store.put_certificate(certificate).await?;
            }
            let stored = if after == before && change.audit.is_empty() {
                Ok(())
            } else if after == before {
                self.store.append_audit(&change.audit).await
            } else {
                self.store.replace_declared(revision, &after, &change.audit).await.map(drop)
            };
            match stored {
                Ok(()) => return Ok(change.answer),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        tracing::error!("a change lost against {RETRIES} others");
        Err(Problem::Internal)
    }

    /// Keeps an administrator's promises to an operator, with the record of its approval.
    pub(crate) async fn promise(&self, promises: Vec<Promise>, approval: AuditRecord) -> Result<(), Problem> {
        let kept = self.change(|declared| {
            declared.promises.extend(promises.iter().cloned());
            Ok(Change { answer: (), audit: vec![approval.clone()], certificate: None })
        });
        kept.await
    }

    /// Makes `email` an administrator if `may` agrees to it on the newest configuration; says whether it did.
    pub(crate) async fn administrator(
        &self,
        email: &EmailAddress,
        record: AuditRecord,
        may: impl Fn(&Declared) -> bool + Send + Sync,
    ) -> Result<bool, Problem> {
        let made = self.change(|declared| {
            let answer = may(declared);
            if answer && !declared.administrators.contains(email) {
                declared.administrators.push(email.clone());
            }
            let audit = if answer { vec![record.clone()] } else { Vec::new() };
            Ok(Change { answer, audit, certificate: None })
        });
        made.await
    }

    /// Certifies the key of a signing request. The certificate must be put on record before it is handed out.
    pub(crate) fn certify(&self, csr: &str, holder: CertificateHolder) -> Result<(String, CertificateRecord), Problem> {
        let role = match holder {
            CertificateHolder::Tunnel(id) => CertRole::Connector(id),
            CertificateHolder::Operator(id) => CertRole::Operator(id),
        };
        let issued = self.ca.issue(csr, role, self.now).map_err(|error| match error {
            CaError::Request | CaError::Signature | CaError::Algorithm => Problem::Csr,
            ours => {
                tracing::error!(error = %ours, "no certificate could be made");
                Problem::Internal
            }
        })?;
        let (serial, expires) = (issued.serial_hex, issued.expires);
        Ok((issued.certificate_pem, CertificateRecord { serial, holder, issued: self.now, expires }))
    }

    /// An audit record of something that `actor` did here.
    pub(crate) fn record(&self, event: AuditEvent, actor: String, object: &impl ToString) -> AuditRecord {
        AuditRecord {
            actor: Some(actor),
            source: self.source,
            object: Some(object.to_string()),
            ..AuditRecord::new(self.now, event)
        }
    }

    /// The address at which a visitor opens `host`.
    pub(crate) fn visit_url(&self, host: &Hostname) -> String {
        self.visit.replace("HOST", host.as_str())
    }
}
