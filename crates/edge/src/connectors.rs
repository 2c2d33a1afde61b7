//! Links from connectors and operators, from the TLS handshake to their end.

mod tables;

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::FutureExt;
use tokio::{runtime::Handle, time::Instant};
use tunnel_proto::{
    LinkId, OperatorId, TunnelId,
    identity::{CertRole, PeerIdentity, peer_identity, speaks_link},
    link::{self, Control, FEATURE_PACED, Greeting, LinkSocket, Settings, Welcomed},
    message::{DrainReason, Limits, LinkRefusal, Message},
    tls::TlsStream,
};

use crate::{
    State,
    listen::{Entering, Glitch, Origin},
    operators::{self, After},
    registry::{LINKS_PER_TUNNEL, Rules, Uplink},
    store::{AuditEvent, AuditRecord},
};

/// Whether a link whose TLS handshake is done is an operator's.
pub(crate) fn is_operators(state: &State, tls: &TlsStream<LinkSocket>) -> bool {
    let certificate = tls.agreed().certificates.first();
    let peer = certificate.and_then(|certificate| peer_identity(&state.config.zone, certificate).ok());
    peer.is_some_and(|peer| matches!(peer.role, CertRole::Operator(_)))
}

/// Takes a link whose TLS handshake is done, and serves it until it ends. It is entering until it has said who it is.
pub(crate) async fn serve(state: Arc<State>, tls: TlsStream<LinkSocket>, source: IpAddr, entering: Entering) {
    if !speaks_link(tls.agreed().alpn.as_deref()) {
        return;
    }
    let certificate = tls.agreed().certificates.first();
    let peer = certificate.map(|certificate| peer_identity(&state.config.zone, certificate));
    let peer = match peer {
        Some(Ok(peer)) => peer,
        Some(Err(error)) => return tracing::debug!(%source, %error, "a link's certificate was refused"),
        None => return,
    };
    let origin = entering.origin();
    let paced = tls.io().is_paced();
    let greeting = match entering.or_lost(link::accept(tls, peer.role.role(), Settings::for_edge())).await {
        Some(Ok(greeting)) => greeting,
        Some(Err(error)) => {
            origin.note(Glitch::of_a_greeting(&error));
            return tracing::debug!(%source, %error, "a link was not greeted");
        }
        None => return,
    };
    drop(entering);
    if peer.expires <= state.now() {
        return greeting.refuse(LinkRefusal::CertificateExpired, "the certificate has expired", false).await;
    }
    if state.revoked.load().contains(&peer.serial_hex) {
        refused(&state, &peer, source, "a revoked certificate");
        return greeting.refuse(LinkRefusal::Revoked, "the certificate was revoked", false).await;
    }
    match peer.role {
        CertRole::Connector(tunnel) => connector(&state, greeting, peer, tunnel, (source, origin, paced)).await,
        CertRole::Operator(operator) => operator_link(&state, greeting, peer, operator, source).await,
        CertRole::Edge(_) => {
            greeting.refuse(LinkRefusal::RoleMismatch, "links between edges are not served yet", false).await;
        }
    }
}

async fn connector(
    state: &Arc<State>,
    greeting: Greeting,
    peer: PeerIdentity,
    tunnel: TunnelId,
    (source, origin, paced): (IpAddr, Origin, bool),
) {
    crate::faults::at("connector");
    let snapshot = state.snapshot.load_full();
    let Some(name) = snapshot.tunnel(tunnel).map(|tunnel| tunnel.name.clone()) else {
        refused(state, &peer, source, "a tunnel that there is not any more");
        return greeting.refuse(LinkRefusal::UnknownTunnel, "there is no such tunnel any more", false).await;
    };
    if !state.registry.has_room(tunnel) {
        tracing::debug!(tunnel = %name, "a link was refused: the tunnel has {LINKS_PER_TUNNEL} already");
        return greeting.refuse(LinkRefusal::TooManyLinks, "the tunnel has as many links as it may", true).await;
    }
    let id = LinkId::from_random(crate::random());
    let Ok(Welcomed { link, incoming: _incoming, mut control, hello }) =
        greeting.welcome(id, Limits::default(), Vec::new()).await
    else {
        return;
    };
    let uplink = Arc::new(Uplink {
        link: link.clone(),
        tunnel,
        serial: peer.serial_hex.clone(),
        instance: hello.instance,
        source,
        since: state.now(),
        home: Handle::current().id(),
        paced: paced && hello.features.iter().any(|feature| feature == FEATURE_PACED),
        table: ArcSwap::from_pointee(Rules::default()),
    });
    let Some(registered) = state.registry.register(uplink.clone()) else {
        return link.close();
    };
    // What was revoked or deleted while the link was greeted was not yet among those that such a change closes.
    let gone = state.snapshot.load().tunnel(tunnel).is_none();
    if gone || state.revoked.load().contains(&peer.serial_hex) {
        return link.close();
    }
    let _counted = origin.link();
    // How far it is decides by which of its links streams go.
    link.ask();
    tracing::info!(tunnel = %name, link = %id, %source, agent = hello.agent, "a connector's link is up");
    if registered.was_first() {
        audit(state, AuditEvent::TunnelUp, &name, source);
    }
    let lapse = Duration::from_secs(peer.expires.0.saturating_sub(state.now().0));
    let rotate = async {
        // Links of one certificate are asked to go one after the other, so that the next ones are there before these end.
        let spread = u64::from_be_bytes(crate::random()) % ROTATE_BEFORE.as_secs();
        tokio::time::sleep(lapse.saturating_sub(ROTATE_BEFORE.saturating_add(Duration::from_secs(spread)))).await;
        if lapse > ROTATE_BEFORE.saturating_mul(2) {
            link.drain(DrainReason::Rotation, ROTATE_BEFORE);
            state.pool.forget(id);
        }
        std::future::pending::<()>().await;
    };
    let replaced = async {
        state.replaced.cancelled().await;
        // What visitors of this process still ask goes by this link; theirs end, then it does.
        link.hand_on(state.config.drain_tcp);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = converse(state, &mut control, &uplink, &peer) => {}
        () = doubt(state, &uplink) => {}
        () = rotate => {}
        () = replaced => {}
        () = tokio::time::sleep(lapse) => tracing::info!(tunnel = %name, link = %id, "a link's certificate expired"),
        _ = link.closed() => {}
    }
    // Whichever of these noticed it first.
    if let Some(end) = link.closed().now_or_never() {
        tracing::debug!(link = %id, %end, "a connector's link ended");
        if let Some(glitch) = Glitch::of_an_end(&end) {
            origin.note(glitch);
        }
    }
    link.close();
    state.pool.forget(id);
    drop(registered);
    tracing::info!(tunnel = %name, link = %id, "a connector's link is down");
    // Those of the next process are not known here.
    if state.registry.links(tunnel) == 0 && !state.replaced.is_cancelled() {
        audit(state, AuditEvent::TunnelDown, &name, source);
    }
}

/// How long before its certificate ends a link is asked to go, at least; at most twice that.
const ROTATE_BEFORE: Duration = Duration::from_secs(3600);
/// Certificates that one link may ask for.
const RENEWALS_MAX: u32 = 8;

/// Whenever a link leaves a question unanswered, asks its connector by its other links, too: if that is frozen or gone without a
/// word, no request is to find out of one after the other (F4). It lasts for as long as it is waited for.
async fn doubt(state: &State, uplink: &Uplink) {
    loop {
        uplink.link.doubted().await;
        state.registry.beside(uplink).iter().for_each(|other| other.link.ask());
    }
}

/// Refused at the door, for the record.
fn refused(state: &State, peer: &PeerIdentity, source: IpAddr, why: &str) {
    state.audit.refused(AuditRecord {
        actor: Some(format!("certificate {}", peer.serial_hex)),
        source: Some(source),
        object: Some(peer.role.uri(&state.config.zone)),
        detail: Some(why.to_owned()),
        ..AuditRecord::new(state.now(), AuditEvent::Refused)
    });
}

fn audit(state: &State, event: AuditEvent, name: &tunnel_proto::Name, source: IpAddr) {
    state.audit.record(AuditRecord {
        actor: Some(format!("tunnel:{name}")),
        source: Some(source),
        object: Some(name.to_string()),
        ..AuditRecord::new(state.now(), event)
    });
}

/// Answers a connector's control messages until its link ends or it says something it may not.
async fn converse(state: &Arc<State>, control: &mut Control, uplink: &Uplink, peer: &PeerIdentity) {
    crate::faults::at("control stream");
    let (mut renewals, mut budget) = (0_u32, tables::Budget::default());
    while let Some(message) = control.next().await {
        let answer: Message = match message {
            Message::Table(table) => {
                tokio::time::sleep(budget.spend(Instant::now())).await;
                tables::take(state, uplink, table).await
            }
            Message::Renew(_) if renewals >= RENEWALS_MAX => {
                return tracing::debug!("a connector asks for certificates without end");
            }
            Message::Renew(renew) => {
                renewals = renewals.saturating_add(1);
                let desk = state.tunnel_desk(None);
                match desk.renew(uplink.tunnel, &peer.serial_hex, &renew.csr).await {
                    Ok(renewed) => renewed.into(),
                    Err(problem) => {
                        let mut wire = tunnel_proto::enrol::EnrolProblem::from(problem);
                        wire.message = tunnel_proto::message::short_text(wire.message);
                        wire.into()
                    }
                }
            }
            // The link itself takes notice; nothing is to be answered. Streams that only wait for use are not waited for.
            Message::Drain(_) => {
                state.pool.forget(uplink.link.id());
                continue;
            }
            other => return tracing::debug!(kind = ?other.kind(), "a connector said what only others may"),
        };
        if control.send(answer).await.is_err() {
            return;
        }
    }
}

/// Serves an operator: its control messages, one after the other.
async fn operator_link(
    state: &Arc<State>,
    greeting: Greeting,
    peer: PeerIdentity,
    operator: OperatorId,
    source: IpAddr,
) {
    let Some(one) = state.operator_links.another(operator, &peer.serial_hex) else {
        return greeting.refuse(LinkRefusal::TooManyLinks, "the machine has as many links as it may", true).await;
    };
    // One that was revoked meanwhile was not yet among those that are ended.
    if state.revoked.load().contains(&peer.serial_hex) {
        return greeting.refuse(LinkRefusal::Revoked, "the certificate was revoked", false).await;
    }
    let id = LinkId::from_random(crate::random());
    let Ok(Welcomed { link, incoming: _incoming, mut control, .. }) =
        greeting.welcome(id, Limits::default(), Vec::new()).await
    else {
        return;
    };
    let lapse = Duration::from_secs(peer.expires.0.saturating_sub(state.now().0));
    tokio::select! {
        () = manage(state, &mut control, &peer, operator, source) => {}
        () = tokio::time::sleep(lapse) => {}
        () = one.over() => {}
        _ = link.closed() => {}
    }
    link.close();
}

async fn manage(state: &Arc<State>, control: &mut Control, peer: &PeerIdentity, operator: OperatorId, source: IpAddr) {
    while let Some(message) = control.next().await {
        let desk = state.tunnel_desk(Some(source));
        let links = |tunnel| state.registry.links(tunnel);
        let Some((answer, after)) = operators::answer(&desk, operator, &peer.serial_hex, message, links).await else {
            return;
        };
        if let Message::Problem(problem) = &answer {
            refused(state, peer, source, &format!("{}: {}", problem.code, problem.message));
        }
        match after {
            After::Nothing => {}
            After::Reload => state.reload_or_log().await,
            After::Close(tunnel) => {
                state.reload_or_log().await;
                state.registry.close_tunnel(tunnel);
            }
        }
        if control.send(answer).await.is_err() {
            return;
        }
    }
}

/// Asks every connector to open no more here, and waits until its streams have ended, at most `patience`.
pub(crate) async fn drain(state: &State, patience: Duration) {
    let all = state.registry.all();
    all.iter().for_each(|uplink| uplink.link.drain(DrainReason::Shutdown, patience));
    // Streams that only wait for use are not waited for.
    all.iter().for_each(|uplink| state.pool.forget(uplink.link.id()));
    let idle = futures::future::join_all(all.iter().map(|uplink| uplink.link.idle()));
    if tokio::time::timeout(patience, idle).await.is_err() {
        tracing::info!("streams are cut: they did not end in time");
    }
    all.iter().for_each(|uplink| uplink.link.close());
}
