//! Certificates of tunnels after the first: renewed, rotated, revoked.

use tunnel_proto::{TunnelId, message::Renewed};

use crate::store::{AuditEvent, CertificateHolder, TunnelRecord};

use super::{Principal, Problem, TunnelRef, change::find, desk::Desk};

impl Desk<'_> {
    /// Revokes every certificate of a tunnel, which stays, with its routes. The caller closes its links.
    pub async fn revoke(&self, principal: &Principal, tunnel: &TunnelRef) -> Result<TunnelId, Problem> {
        let (_, declared) = self.store.declared().await?;
        let TunnelRecord { id, name, .. } = find(&declared, principal, tunnel)?.clone();
        let mut revoked = self.record(AuditEvent::Revoked, principal.actor(), &name);
        revoked.detail = Some("every certificate of the tunnel".to_owned());
        self.store.append_audit(&[revoked]).await?;
        self.store.revoke_certificates(&CertificateHolder::Tunnel(id), self.now).await?;
        Ok(id)
    }

    /// Revokes every certificate of a tunnel and issues a new one. The caller closes its links. A signing request that is
    /// not accepted revokes nothing.
    pub async fn rotate(
        &self,
        principal: &Principal,
        tunnel: &TunnelRef,
        csr: &str,
    ) -> Result<(TunnelId, Renewed), Problem> {
        let (_, declared) = self.store.declared().await?;
        let id = find(&declared, principal, tunnel)?.id;
        let (certificate, record) = self.certify(csr, CertificateHolder::Tunnel(id))?;
        let id = self.revoke(principal, &TunnelRef::Id(id)).await?;
        self.store.put_certificate(&record).await?;
        let mut issued = self.record(AuditEvent::CertificateIssued, principal.actor(), tunnel);
        issued.detail = Some(format!("serial {}, rotated", record.serial));
        self.store.append_audit(&[issued]).await?;
        Ok((id, Renewed { certificate, ca: self.ca.certificate_pem().to_owned() }))
    }

    /// Renews a tunnel's certificate over a link that was authenticated by the certificate with `serial`.
    pub async fn renew(&self, tunnel: TunnelId, serial: &str, csr: &str) -> Result<Renewed, Problem> {
        let (_, declared) = self.store.declared().await?;
        let unknown = || Problem::UnknownTunnel(tunnel.to_string());
        let name = declared.tunnel(tunnel).map(|tunnel| tunnel.name.clone()).ok_or_else(unknown)?;
        let (certificate, record) = self.certify(csr, CertificateHolder::Tunnel(tunnel))?;
        self.store.put_certificate(&record).await?;
        // A revocation before this line shows in the list; a later one finds the new certificate on record. Either way a
        // revoked connector cannot carry on with what it asked for in the last moment.
        if self.store.revoked_serials(self.now).await?.iter().any(|revoked| revoked == serial) {
            return Err(unknown());
        }
        let mut issued = self.record(AuditEvent::CertificateIssued, format!("tunnel:{name}"), &name);
        issued.detail = Some(format!("serial {}, renewed", record.serial));
        self.store.append_audit(&[issued]).await?;
        Ok(Renewed { certificate, ca: self.ca.certificate_pem().to_owned() })
    }
}
