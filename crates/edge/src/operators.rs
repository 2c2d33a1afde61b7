//! What an operator's link asks for: tunnels and routes, inside what an administrator approved.

mod links;

use tunnel_proto::{
    OperatorId, TunnelId,
    message::{Done, Message, Tunnels, short_text},
};

pub(crate) use self::links::OPERATOR_LINKS_MAX;
pub use self::links::OperatorLinks;
use crate::tunnels::{Desk, Principal, Problem, TunnelRef};

/// What an answered message asks of the edge besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing changed.
    Nothing,
    /// The configuration changed: build a new snapshot.
    Reload,
    /// Certificates of this tunnel were revoked: close its links, and build a new snapshot.
    Close(TunnelId),
}

/// Answers one message of the operator whose certificate has the serial number `serial`. `None` when the message is not
/// one that operators send: the link is to be closed.
///
/// The approval is read again for every message, so that what is withdrawn is withdrawn at once.
pub async fn answer(
    desk: &Desk<'_>,
    operator: OperatorId,
    serial: &str,
    message: Message,
    links: impl Fn(TunnelId) -> u32 + Send,
) -> Option<(Message, After)> {
    let asked = Asked::from(message)?;
    let answered = match principal(desk, operator, serial).await {
        Ok(principal) => act(desk, &principal, asked, links).await,
        Err(problem) => Err(problem),
    };
    Some(answered.unwrap_or_else(|problem| {
        let mut wire = tunnel_proto::enrol::EnrolProblem::from(problem);
        wire.message = short_text(wire.message);
        (wire.into(), After::Nothing)
    }))
}

enum Asked {
    Create(tunnel_proto::enrol::CreateTunnel),
    Route(tunnel_proto::message::Route),
    List,
    Delete(TunnelId),
    Rotate(tunnel_proto::message::Rotate),
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

async fn principal(desk: &Desk<'_>, operator: OperatorId, serial: &str) -> Result<Principal, Problem> {
    let revoked = desk.store.revoked_serials(desk.now).await?;
    let record = desk.store.operator(operator).await?.filter(|_| !revoked.iter().any(|one| one == serial));
    record.map(Principal::Operator).ok_or(Problem::UnknownOperator)
}

async fn act(
    desk: &Desk<'_>,
    principal: &Principal,
    asked: Asked,
    links: impl Fn(TunnelId) -> u32 + Send,
) -> Result<(Message, After), Problem> {
    Ok(match asked {
        Asked::Create(request) => (desk.create_or_reuse(principal, &request).await?.into(), After::Reload),
        Asked::Route(route) => {
            desk.route(principal, &TunnelRef::Id(route.tunnel), &route.hostnames).await?;
            (Done {}.into(), After::Reload)
        }
        Asked::List => (Tunnels { tunnels: desk.list(principal, links).await? }.into(), After::Nothing),
        Asked::Delete(tunnel) => {
            let tunnel = desk.delete(principal, &TunnelRef::Id(tunnel)).await?;
            (Done {}.into(), After::Close(tunnel))
        }
        Asked::Rotate(rotate) => {
            let (tunnel, renewed) = desk.rotate(principal, &TunnelRef::Id(rotate.tunnel), &rotate.csr).await?;
            (renewed.into(), After::Close(tunnel))
        }
    })
}
