//! The running edge behind a desk: what has to follow a change.

use std::net::IpAddr;

use async_trait::async_trait;
use tunnel_proto::{
    HostPattern, TunnelId,
    enrol::{CreateTunnel, TunnelCreated},
    message::{Renewed, TunnelEntry},
};

use super::{Desk, Principal, Problem, TunnelRef};

/// What changes of tunnels need of the running edge.
#[async_trait]
pub trait Office: Send + Sync {
    /// The desk for a request from `source` that arrives now.
    fn desk(&self, source: Option<IpAddr>) -> Desk<'_>;
    /// How many links a tunnel has.
    fn links(&self, tunnel: TunnelId) -> u32;
    /// Serves from what is stored now: configuration and revoked certificates.
    async fn reload(&self);
    /// Closes every link of a tunnel whose certificate is revoked by now; `reload` came before.
    async fn close_tunnel(&self, tunnel: TunnelId);
}

/// Makes a tunnel or takes the one of this name; see [`Desk::create_or_reuse`].
pub async fn create_or_reuse(
    office: &(impl Office + ?Sized),
    source: Option<IpAddr>,
    principal: &Principal,
    request: &CreateTunnel,
) -> Result<TunnelCreated, Problem> {
    let created = office.desk(source).create_or_reuse(principal, request).await?;
    office.reload().await;
    Ok(created)
}

/// Routes hostnames; see [`Desk::route`].
pub async fn route(
    office: &(impl Office + ?Sized),
    source: Option<IpAddr>,
    principal: &Principal,
    tunnel: &TunnelRef,
    wanted: &[HostPattern],
) -> Result<Vec<HostPattern>, Problem> {
    let hostnames = office.desk(source).route(principal, tunnel, wanted).await?;
    office.reload().await;
    Ok(hostnames)
}

/// The tunnels that `principal` may act on; see [`Desk::list`].
pub async fn list(office: &(impl Office + ?Sized), principal: &Principal) -> Result<Vec<TunnelEntry>, Problem> {
    office.desk(None).list(principal, |tunnel| office.links(tunnel)).await
}

/// Deletes a tunnel and closes its links; see [`Desk::delete`].
pub async fn delete(
    office: &(impl Office + ?Sized),
    source: Option<IpAddr>,
    principal: &Principal,
    tunnel: &TunnelRef,
) -> Result<TunnelId, Problem> {
    let id = office.desk(source).delete(principal, tunnel).await?;
    closed(office, id).await;
    Ok(id)
}

/// Revokes a tunnel's certificates and closes its links; see [`Desk::revoke`].
pub async fn revoke(
    office: &(impl Office + ?Sized),
    source: Option<IpAddr>,
    principal: &Principal,
    tunnel: &TunnelRef,
) -> Result<TunnelId, Problem> {
    let id = office.desk(source).revoke(principal, tunnel).await?;
    closed(office, id).await;
    Ok(id)
}

/// Replaces a tunnel's certificates by a new one and closes its links; see [`Desk::rotate`].
pub async fn rotate(
    office: &(impl Office + ?Sized),
    source: Option<IpAddr>,
    principal: &Principal,
    tunnel: &TunnelRef,
    csr: &str,
) -> Result<Renewed, Problem> {
    let (id, renewed) = office.desk(source).rotate(principal, tunnel, csr).await?;
    closed(office, id).await;
    Ok(renewed)
}

/// Renews a tunnel's certificate over a link authenticated by `serial`; see [`Desk::renew`].
pub async fn renew(
    office: &(impl Office + ?Sized),
    source: Option<IpAddr>,
    tunnel: TunnelId,
    serial: &str,
    csr: &str,
) -> Result<Renewed, Problem> {
    office.desk(source).renew(tunnel, serial, csr).await
}

async fn closed(office: &(impl Office + ?Sized), tunnel: TunnelId) {
    office.reload().await;
    office.close_tunnel(tunnel).await;
}
