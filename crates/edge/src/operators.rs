//! What an operator's link asks for: tunnels and routes, inside what an administrator approved.

use std::net::IpAddr;

use tunnel_proto::{
    OperatorId, TunnelId,
    enrol::{CreateTunnel, EnrolProblem},
    identity::{CertRole, PeerIdentity},
    link::Control,
    message::{Done, Message, Rotate, Route, Tunnels, short_text},
};

use crate::tunnels::{self, Office, Principal, Problem, TunnelRef};

/// Serves the control stream of an operator's link until it ends, or until it sends what operators do not send. The caller
/// then closes the link.
pub async fn serve(office: &(impl Office + ?Sized), control: &mut Control, peer: &PeerIdentity, source: IpAddr) {
    while let Some(message) = control.next().await {
        let kind = message.kind();
        let Some(reply) = answer(office, peer, source, message).await else {
            tracing::debug!(?kind, role = %peer.role, "not for an operator to say");
            return;
        };
        if let Err(error) = control.send(reply).await {
            tracing::debug!(%error, role = %peer.role, "an operator did not wait for its answer");
            return;
        }
    }
}

/// Answers one message. `None` when it is not one that operators send.
///
/// The approval is read again for every message, so that what is withdrawn is withdrawn at once.
pub async fn answer(
    office: &(impl Office + ?Sized),
    peer: &PeerIdentity,
    source: IpAddr,
    message: Message,
) -> Option<Message> {
    let CertRole::Operator(operator) = peer.role else { return None };
    let asked = Asked::from(message)?;
    let answered = match principal(office, operator, peer).await {
        Ok(principal) => act(office, &principal, source, asked).await,
        Err(problem) => Err(problem),
    };
    Some(answered.unwrap_or_else(|problem| {
        let EnrolProblem { code, message } = problem.into();
        EnrolProblem { code, message: short_text(message) }.into()
    }))
}

enum Asked {
    Create(CreateTunnel),
    Route(Route),
    List,
    Delete(TunnelId),
    Rotate(Rotate),
}

impl Asked {
    fn from(message: Message) -> Option<Self> {
        Some(match message {
            Message::CreateTunnel(create) => Self::Create(create),
            Message::Route(route) => Self::Route(route),
            Message::List(_) => Self::List,
            Message::Delete(delete) => Self::Delete(delete.tunnel),
            Message::Rotate(rotate) => Self::Rotate(rotate),
            _ => return None,
        })
    }
}

async fn principal(
    office: &(impl Office + ?Sized),
    operator: OperatorId,
    peer: &PeerIdentity,
) -> Result<Principal, Problem> {
    let desk = office.desk(None);
    let revoked = desk.store.revoked_serials(desk.now).await?;
    let good = desk.now < peer.expires && !revoked.contains(&peer.serial_hex);
    let record = desk.store.operator(operator).await?.filter(|_| good);
    record.map(Principal::Operator).ok_or(Problem::UnknownOperator)
}

async fn act(
    office: &(impl Office + ?Sized),
    principal: &Principal,
    source: IpAddr,
    asked: Asked,
) -> Result<Message, Problem> {
    let source = Some(source);
    Ok(match asked {
        Asked::Create(request) => tunnels::create_or_reuse(office, source, principal, &request).await?.into(),
        Asked::Route(Route { tunnel, hostnames }) => {
            tunnels::route(office, source, principal, &TunnelRef::Id(tunnel), &hostnames).await?;
            Done {}.into()
        }
        Asked::List => Tunnels { tunnels: tunnels::list(office, principal).await? }.into(),
        Asked::Delete(tunnel) => {
            tunnels::delete(office, source, principal, &TunnelRef::Id(tunnel)).await?;
            Done {}.into()
        }
        Asked::Rotate(Rotate { tunnel, csr }) => {
            tunnels::rotate(office, source, principal, &TunnelRef::Id(tunnel), &csr).await?.into()
        }
    })
}
