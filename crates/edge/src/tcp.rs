//! The way to services that are no web pages: judged for every stream, opened on a link of the tunnel, and for bastions
//! only after the destination's addresses are known.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tunnel_proto::{
    Destination,
    link::{Link, Stream},
    message::{Open, ServiceKind, StreamRefusal, StreamRefused, short_text},
};

use crate::{
    State, Visit,
    gate::{self, Permit, STREAM_PATH, Turnaway},
    holder::Holder,
    memory::Shortage,
    registry::Candidate,
    store::{AuditEvent, AuditRecord},
    upstream::{self, NotOpened},
};

/// A stream to a service, and the leave to keep it.
pub(crate) struct Opened {
    /// The stream, accepted by the connector.
    pub(crate) stream: Stream,
    /// Judged again while it lives.
    pub(crate) permit: Permit,
    /// The connector's link that it is on.
    pub(crate) connector: Link,
}

/// How long all of it may take: whoever asked waits no longer.
const OPEN_TIME: Duration = Duration::from_secs(40);

/// Opens a stream for `holder` to the service at the visit's host, or, where that is a bastion, to `destination` behind it.
/// What is refused says which side refused, and why, for the person who asked; it is in the audit record, too.
pub(crate) async fn open(
    state: &Arc<State>,
    visit: &Visit,
    holder: &Holder,
    destination: Option<&str>,
) -> Result<Opened, StreamRefused> {
    let opening = tokio::time::timeout(OPEN_TIME, open_in_time(state, visit, holder, destination));
    let late = |_| edge(StreamRefusal::ServiceTimeout, "the service did not answer in time");
    opening.await.map_err(late)?
}

async fn open_in_time(
    state: &Arc<State>,
    visit: &Visit,
    holder: &Holder,
    destination: Option<&str>,
) -> Result<Opened, StreamRefused> {
    if state.memory.shortage() == Shortage::Severe {
        return Err(edge(StreamRefusal::TooManyStreams, "the edge is short of memory; try again later"));
    }
    let snapshot = state.snapshot.load_full();
    // Before anything is said about what is there: nobody learns more than they are admitted to.
    let permit = gate::admit_stream(state.gate(&snapshot), visit, holder, None).map_err(not_admitted)?;
    let Some(tunnel) = permit.tunnel() else { return Err(no_tunnel()) };
    state.registry.arrival(tunnel, &visit.host, STREAM_PATH).await;
    let candidates = state.registry.candidates(tunnel, &visit.host, STREAM_PATH);
    let kind = candidates.first().map(|candidate| candidate.rule.kind).ok_or_else(no_tunnel)?;
    let candidates: Vec<Candidate> = candidates.into_iter().filter(|one| one.rule.kind == kind).collect();
    match (kind, destination) {
        (ServiceKind::Http | ServiceKind::H2c, _) => {
            Err(edge(StreamRefusal::WrongKind, "this is a web page: open it in a browser"))
        }
        (ServiceKind::Tcp, Some(_)) => Err(edge(
            StreamRefusal::WrongKind,
            "this application has one destination of its own: leave the destination away",
        )),
        (ServiceKind::Tcp, None) => {
            let opening = |on: &Candidate| opening(on, visit, holder);
            let (on, stream) = upstream::open(&state.pool, &candidates, opening)
                .await
                .map_err(|error| told(state, visit, holder, error))?;
            Ok(Opened { stream, permit, connector: on.uplink.link.clone() })
        }
        (ServiceKind::Bastion, None) => Err(edge(
            StreamRefusal::DestinationRequired,
            "this application leads to many machines: name one as the destination, HOST:PORT",
        )),
        (ServiceKind::Bastion, Some(text)) => {
            let destination: Destination = text
                .parse()
                .map_err(|error| edge(StreamRefusal::DestinationRequired, format!("`{text}` is {error}")))?;
            bastion(state, visit, holder, &candidates, &destination).await
        }
    }
}

/// Every address that the destination has must be admitted by the policy, as the connector has already found each of them
/// on its own list; then they are tried in their order.
async fn bastion(
    state: &Arc<State>,
    visit: &Visit,
    holder: &Holder,
    candidates: &[Candidate],
    destination: &Destination,
) -> Result<Opened, StreamRefused> {
    let snapshot = state.snapshot.load_full();
    let addresses = match destination.address() {
        Some(address) => vec![address],
        // What names mean on the connector's network is not for everybody to find out.
        None if !gate::may_lead(state.gate(&snapshot), visit, holder, destination.port()) => {
            return Err(unwelcome(state, visit, holder, destination));
        }
        None => resolve(state, visit, holder, candidates, destination).await?,
    };
    let mut permits = Vec::with_capacity(addresses.len());
    for address in addresses {
        let admitted = gate::admit_stream(state.gate(&snapshot), visit, holder, Some(address));
        let permit = admitted.map_err(|turnaway| match turnaway {
            // The address of a name is in the record, and not for whoever asked.
            Turnaway::Denied(_) => edge(StreamRefusal::NotAdmitted, denial(destination)),
            other => not_admitted(other),
        })?;
        permits.push((address, permit));
    }
    let mut last = edge(StreamRefusal::ServiceUnreachable, format!("{destination} has no address"));
    for (address, permit) in permits {
        let opening = |on: &Candidate| Open {
            destination: Some(Destination::from(address).to_string()),
            ..opening(on, visit, holder)
        };
        match upstream::open(&state.pool, candidates, opening).await {
            Ok((on, stream)) => return Ok(Opened { stream, permit, connector: on.uplink.link.clone() }),
            Err(error) => {
                last = told(state, visit, holder, error);
                let next_may_do = matches!(
                    last.code,
                    StreamRefusal::ServiceRefused | StreamRefusal::ServiceUnreachable | StreamRefusal::ServiceTimeout
                );
                if !next_may_do {
                    break;
                }
            }
        }
    }
    Err(last)
}

fn denial(destination: &Destination) -> String {
    format!("the edge's policy does not admit you to {destination}; an administrator can change that")
}

/// Refuses a name that no policy could lead to, for the record as well.
fn unwelcome(state: &State, visit: &Visit, holder: &Holder, destination: &Destination) -> StreamRefused {
    refused(state, visit, holder, format!("to {destination}: no policy that admits lists this port"));
    edge(StreamRefusal::NotAdmitted, denial(destination))
}

/// Asks the connector, on whose network the name means something, which addresses it has. All of them are on its list, or
/// it refuses.
async fn resolve(
    state: &Arc<State>,
    visit: &Visit,
    holder: &Holder,
    candidates: &[Candidate],
    destination: &Destination,
) -> Result<Vec<SocketAddr>, StreamRefused> {
    let opening = |on: &Candidate| Open {
        destination: Some(destination.to_string()),
        resolve: true,
        ..opening(on, visit, holder)
    };
    let (_, stream) = upstream::open(&state.pool, candidates, opening).await.map_err(|error| {
        let refused = told(state, visit, holder, error);
        match refused.code {
            // Nothing else was to be reached.
            StreamRefusal::ServiceUnreachable => {
                edge(refused.code, format!("it finds no address for the name in {destination}"))
            }
            _ => refused,
        }
    })?;
    let lost = |_| edge(StreamRefusal::NoTunnel, "the connector went away; try again");
    let addresses = stream.resolved().await.map_err(lost)?;
    Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip.to_canonical(), destination.port())).collect())
}

fn opening(on: &Candidate, visit: &Visit, holder: &Holder) -> Open {
    Open {
        identity: holder.identity().cloned(),
        service_token: holder.machine().map(|machine| machine.name().clone()),
        ..Open::new(on.revision, on.rule.id, visit.source, crate::random())
    }
}

/// What the edge itself refuses.
fn edge(code: StreamRefusal, text: impl Into<String>) -> StreamRefused {
    StreamRefused { code, text: short_text(text) }
}

fn no_tunnel() -> StreamRefused {
    edge(StreamRefusal::NoTunnel, "no connector of this application is connected to the edge; try again later")
}

fn not_admitted(turnaway: Turnaway) -> StreamRefused {
    match turnaway {
        Turnaway::Unknown => {
            edge(StreamRefusal::NotAdmitted, "the edge has no application with this hostname any more")
        }
        Turnaway::Login(_) | Turnaway::BadCredential => edge(StreamRefusal::NotGranted, "the login has ended"),
        Turnaway::Denied(_) | Turnaway::ForeignOrigin => {
            edge(StreamRefusal::NotAdmitted, "the edge's policy does not admit you here")
        }
    }
}

/// What the connector, or the way to it, refuses: told to the person, and kept.
fn told(state: &State, visit: &Visit, holder: &Holder, error: NotOpened) -> StreamRefused {
    let (whose, refused) = match error {
        NotOpened::NoTunnel => return no_tunnel(),
        // Not as the connector said it: to the client that would mean that this very link is full.
        NotOpened::Busy => return edge(StreamRefusal::NoTunnel, "the connector is busy; try again later"),
        NotOpened::Slow => return edge(StreamRefusal::ServiceTimeout, "the connector did not answer in time"),
        NotOpened::Broken => {
            return edge(StreamRefusal::Internal, "something is wrong with the edge; its log says what");
        }
        NotOpened::Refused(refused) => ("by the connector", refused),
        NotOpened::Down(refused) => ("as the service is down; a moment ago by the connector", refused),
    };
    self::refused(state, visit, holder, format!("{whose}: {} ({})", refused.code, refused.text));
    let (code, text) = match refused.code {
        // About what the person asked for; everything else is about a network that is none of theirs.
        StreamRefusal::DestinationDenied => (refused.code, format!("the connector refused: {}", refused.text)),
        StreamRefusal::ServiceRefused => {
            (refused.code, "the service refused the connection; is it running?".to_owned())
        }
        StreamRefusal::ServiceTimeout => (refused.code, "the service did not answer in time".to_owned()),
        StreamRefusal::ServiceUnreachable => {
            (refused.code, "it cannot reach the service, or the service's name has no address".to_owned())
        }
        // What only an edge says would mean something else to the client than a connector can mean by it.
        code => (StreamRefusal::Internal, format!("the connector refused ({code})")),
    };
    edge(code, text)
}

fn refused(state: &State, visit: &Visit, holder: &Holder, why: String) {
    state.audit.refused(AuditRecord {
        actor: Some(holder.actor()),
        source: Some(visit.source),
        object: Some(visit.host.to_string()),
        detail: Some(why),
        reference: Some(visit.reference.to_string()),
        ..AuditRecord::new(visit.now, AuditEvent::Refused)
    });
}
