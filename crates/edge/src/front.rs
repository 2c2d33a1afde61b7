//! Where a request enters: its head is checked, its circumstances established; then it is answered by the edge itself, or
//! judged at the gate and forwarded.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header, request::Parts};
use hyper::body::Incoming;
use tunnel_proto::{Hostname, access::LINK_PATH, message::ServiceKind};

use crate::{
    Lang, Reference, Response, State, Visit, cookie_glut,
    cors::{self, Listed},
    forward::{self, Admitted, X_FORWARDED_FOR},
    gate::{self, Asked, Permit, Presented, Turnaway},
    listen::{Glitch, Place},
    login::Ask,
    memory::Shortage,
    pages::{
        BadRequest, Denied, EdgeFault, LoginRequired, Looped, Missing, NotFound, Overloaded, PageContext,
        StreamProblem, TcpOnly, TooLong, is_grpc, wants_json,
    },
    registry::Candidate,
    renewal,
    request::{self, Authority, Malformed},
    reserved::{self, Reserved},
    session::cookie,
    store::{AuditEvent, AuditRecord},
    task, tcp, websocket,
};

/// The door by which a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// By TLS.
    pub(crate) https: bool,
    /// The peer of the socket.
    pub(crate) peer: IpAddr,
    /// The socket's own port.
    pub(crate) port: u16,
}

/// By which programs present credentials: a client token, or the id and the secret of a service token.
const TOKEN: HeaderName = HeaderName::from_static("cf-access-token");
const SERVICE_ID: HeaderName = HeaderName::from_static("cf-access-client-id");
const SERVICE_SECRET: HeaderName = HeaderName::from_static("cf-access-client-secret");
/// By which they name the destination behind a bastion.
const DESTINATION: &str = "cf-access-jump-destination";

/// The credential of a request. Strict: one that is incomplete, repeated, or beside one of the other kind is none.
fn presented(headers: &HeaderMap) -> Presented {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap_or_default());
        (first, values.next().is_some())
    };
    let (token, id, secret) = (one(TOKEN), one(SERVICE_ID), one(SERVICE_SECRET));
    if token.1 || id.1 || secret.1 {
        return Presented::Malformed;
    }
    match (token.0, id.0, secret.0) {
        (None, None, None) => Presented::Cookies,
        (Some(token), None, None) => Presented::client_token(token),
        (None, Some(id), Some(secret)) => {
            Presented::ServiceToken { id: id.to_owned(), secret: secret.to_owned().into() }
        }
        _ => Presented::Malformed,
    }
}

/// Whether these links lead to no web service, as far as a connector says so now.
fn is_tcp(candidates: &[Candidate]) -> bool {
    let kind = candidates.first().map(|candidate| candidate.rule.kind);
    matches!(kind, Some(ServiceKind::Tcp | ServiceKind::Bastion))
}

/// The door to TCP services for clients that open a WebSocket for each connection.
async fn tcp_door(state: &Arc<State>, visit: &Visit, context: &PageContext, permit: Permit, parts: Parts) -> Response {
    let mut named = parts.headers.get_all(DESTINATION).iter();
    let destination = match (named.next().map(HeaderValue::to_str), named.next()) {
        (None, _) => None,
        (Some(Ok(text)), None) => Some(text.to_owned()),
        _ => return BadRequest { reference: visit.reference, at: visit.now }.render(context),
    };
    let holder = permit.holder().clone();
    match tcp::open(state, visit, &holder, destination.as_deref()).await {
        Ok(opened) => websocket::carry(state, parts, opened),
        Err(refused) => StreamProblem { refused, reference: visit.reference }.render(context),
    }
}

/// Answers one request.
pub(crate) async fn serve(state: Arc<State>, door: Door, request: Request<Incoming>) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let (json, version) = (wants_json(&parts.headers), parts.version);
    // What breaks here is this request, and neither its connection nor what others ask on it.
    let answered = task::contain("request", answer(&state, door, parts, body)).await;
    let mut response = answered.unwrap_or_else(|| broken(&state, json, version));
    if door.https && !response.headers().contains_key(header::STRICT_TRANSPORT_SECURITY) && !state.config.quick_start {
        let hsts = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    Ok(response)
}

async fn answer(state: &Arc<State>, door: Door, parts: Parts, body: Incoming) -> Response {
    crate::faults::at("request");
    // Refused before it was read: what came in its place is nobody's.
    if let Some(fault) = parts.extensions.get::<Malformed>().copied() {
        return malformed(state, door, &parts, fault);
    }
    let authority = match request::check(&parts, door.https) {
        Ok(authority) => authority,
        Err(fault) => return malformed(state, door, &parts, fault),
    };
    let visit = visit(state, door, &parts, authority);
    if !door.https && !state.config.quick_start {
        if let Some(answer) = challenge(state, &visit, &parts) {
            return answer;
        }
        return to_https(state, &visit, &parts);
    }
    let shortage = state.memory.shortage();
    if shortage == Shortage::Severe {
        return overloaded(state, &visit, &parts);
    }
    let snapshot = state.snapshot.load_full();
    let path = parts.uri.path();
    let desk = state.login_desk(&snapshot);
    if path == LINK_PATH && visit.host == *state.login_host() && forward::wants_upgrade(&parts) {
        // No access client has an origin. What a page elsewhere says in its reader's browser is not to count as theirs.
        if parts.headers.contains_key(header::ORIGIN) {
            if let Some(place) = parts.extensions.get::<Arc<Place>>() {
                place.note(Glitch::TurnedAway);
            }
            return Denied::of(&visit).render(&context(state, &parts, visit.lang));
        }
        if !forward::is_well_formed_upgrade(&parts) || !websocket::wants_link(&parts.headers) {
            return malformed(state, door, &parts, Malformed::Framing);
        }
        return websocket::link(state, &visit, parts);
    }
    if reserved::is_ours(visit.host == *state.login_host(), path) {
        let query = parts.uri.query().unwrap_or_default();
        let ask = Ask { visit: &visit, headers: &parts.headers, get: parts.method.is_safe(), path, query };
        if shortage >= Shortage::Slight && !reserved::is_for_all(path) && desk.session(&ask).is_none() {
            return overloaded(state, &visit, &parts);
        }
        let tunnels = state.tunnel_desk(Some(visit.source));
        let reload = || -> futures::future::BoxFuture<'_, ()> { Box::pin(state.reload_or_log()) };
        let kind_at = |host: &Hostname| {
            let tunnel = snapshot.tunnel_for(host)?;
            state.registry.kind(tunnel, host, gate::STREAM_PATH)
        };
        let reserved = Reserved {
            login: desk,
            tunnels,
            configured: &state.config.administrators,
            in_terminal: state.mail.is_terminal(),
            kind_at: &kind_at,
            reload: &reload,
        };
        let request = Request::from_parts(parts, Body::new(body));
        return Box::pin(reserved::answer(&reserved, &visit, request)).await;
    }
    if cors::is_preflight(&parts)
        && let Some(page) = Listed::find(state, &snapshot, &visit, &parts)
    {
        return page.preflight();
    }
    if state.loop_name.goes_round(&parts.headers) {
        return Looped { host: visit.host.clone(), reference: visit.reference, at: visit.now }
            .render(&context(state, &parts, visit.lang));
    }
    let credential = presented(&parts.headers);
    let program = !matches!(credential, Presented::Cookies);
    let websocket = forward::wants_websocket(&parts);
    if websocket && !forward::is_well_formed_upgrade(&parts) {
        return malformed(state, door, &parts, Malformed::Framing);
    }
    let upgrade = forward::named_upgrade(&parts);
    let query = parts.uri.query().unwrap_or_default();
    let ask = Ask { visit: &visit, headers: &parts.headers, get: parts.method.is_safe(), path, query };
    // Whoever shows a token is a program: it gets an answer and no way to a login, and a cookie beside it does not count.
    let context = || {
        let mut context = desk.context(&ask);
        context.json |= program;
        context
    };
    let asked = Asked { visit: &visit, path, headers: &parts.headers, credential: &credential, websocket, upgrade };
    let mut admitted = gate::admit(state.gate(&snapshot), asked);
    match (&admitted, parts.extensions.get::<Arc<Place>>()) {
        (Ok(permit), Some(place)) if !permit.is_public() => place.keep(),
        (Err(_), Some(place)) => place.note(Glitch::TurnedAway),
        _ => {}
    }
    let stranger = matches!(admitted, Err(Turnaway::BadCredential | Turnaway::Login(_) | Turnaway::Unknown));
    if shortage >= Shortage::Slight && stranger {
        return overloaded(state, &visit, &parts);
    }
    let mut candidates = Vec::new();
    if let Some(tunnel) = admitted.as_ref().ok().and_then(Permit::tunnel) {
        if state.registry.arrival(tunnel, &visit.host, path).await {
            let (snapshot, now) = (state.snapshot.load_full(), state.now());
            let holds = |permit: &Permit| permit.still_holds(state.gate(&snapshot), now);
            // Much may have changed while a connector was waited for.
            admitted =
                admitted.and_then(|permit| if holds(&permit) { Ok(permit) } else { Err(Turnaway::Denied(None)) });
        }
        candidates = state.registry.candidates(tunnel, &visit.host, path);
    }
    let reader = if admitted.is_err() { Listed::find(state, &snapshot, &visit, &parts) } else { None };
    let mut response = match admitted {
        // Asked only of those who are admitted: nobody else learns what is there.
        Ok(permit) if is_tcp(&candidates) => match (websocket, program || permit.is_public()) {
            (true, true) => {
                drop(candidates);
                let context = context();
                Box::pin(tcp_door(state, &visit, &context, permit, parts)).await
            }
            // The door to TCP services takes no cookie.
            (true, false) => LoginRequired { login: None, reference: visit.reference }.render(&context()),
            (false, _) => TcpOnly::of(&visit).render(&context()),
        },
        Ok(permit) => {
            // Whoever asks for another protocol takes the same one, too (RFC 9110 §7.8).
            let switches = websocket || upgrade.is_some_and(|name| permit.lists_upgrade(name));
            let admitted = Admitted { visit: &visit, parts: &parts, candidates, switches, context: &context };
            forward::forward(state, admitted, permit, body).await
        }
        Err(Turnaway::BadCredential) => LoginRequired { login: None, reference: visit.reference }.render(&context()),
        Err(Turnaway::Login(app)) => match snapshot.policies.application(&app) {
            Some(app) => {
                let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
                let context = context();
                let kept = parts.method == Method::POST && !context.json;
                if kept && renewal::is_own_form(&visit, &parts.headers) {
                    let keeping = renewal::keep(&context, &state.keys, &visit, &parts.headers, target, Body::new(body));
                    return Box::pin(keeping).await;
                }
                desk.begin(&ask, app, target)
            }
            None => unknown(&visit, &context()),
        },
        Err(Turnaway::Denied(session)) => {
            let form = session.as_ref().map(|session| crate::logout::form(&state.keys, session));
            let by = session.as_ref().and_then(|session| desk.label_of(&session.identity().method));
            let signed_in = session.map(|session| session.identity().email.clone());
            let (host, reference, at) = (visit.host.clone(), visit.reference, visit.now);
            Denied { host, signed_in, by, form, reference, at }.render(&context())
        }
        Err(Turnaway::ForeignOrigin) => Denied::of(&visit).render(&context()),
        Err(Turnaway::Unknown) => {
            let mut context = context();
            context.admin_contact = state.config.brand.contact.clone();
            state.audit.refused(AuditRecord {
                source: Some(visit.source),
                // Not the hostname: whoever makes up a new one for each request would fill the record with them.
                detail: Some("no application has the hostname".to_owned()),
                reference: Some(visit.reference.to_string()),
                ..AuditRecord::new(visit.now, AuditEvent::Refused)
            });
            unknown(&visit, &context)
        }
    };
    if let Some(page) = reader {
        page.let_read(response.headers_mut());
    }
    response
}

fn unknown(visit: &Visit, context: &PageContext) -> Response {
    let missing = Missing::Hostname(visit.host.clone());
    NotFound { missing, reference: visit.reference, at: visit.now }.render(context)
}

fn visit(state: &State, door: Door, parts: &Parts, authority: Authority) -> Visit {
    let forwarded = parts.headers.get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?"));
    let forwarded: Vec<Option<IpAddr>> = forwarded.flat_map(|line| line.split(',')).map(forwarded_address).collect();
    let source = state.config.source(door.peer, forwarded.into_iter());
    Visit {
        host: authority.host,
        https: door.https,
        port: authority.port,
        source,
        country: state.countries.of(source),
        now: state.now(),
        reference: Reference::from_random(crate::random()),
        lang: lang(state, parts),
    }
}

/// One entry of `X-Forwarded-For`: an address, with a port or without.
fn forwarded_address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

/// What was chosen at this host; else what the browser accepts; else the operator's own.
fn lang(state: &State, parts: &Parts) -> Lang {
    let accepted = || parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let chosen = cookie::language(&parts.headers);
    chosen.or_else(|| accepted().and_then(Lang::accepted)).unwrap_or_else(|| state.look.lang())
}

/// The page for a request that has no host to be judged by. Its connection is not used again.
fn malformed(state: &State, door: Door, parts: &Parts, fault: Malformed) -> Response {
    crate::faults::at("malformed request");
    tracing::debug!(peer = %door.peer, %fault, "a request was refused");
    if let Some(place) = parts.extensions.get::<Arc<Place>>() {
        place.note(glitch(fault));
    }
    let (reference, at) = (Reference::from_random(crate::random()), state.now());
    let context = context(state, parts, lang(state, parts));
    let mut response = match fault {
        Malformed::Address => NotFound { missing: Missing::Page, reference, at }.render(&context),
        Malformed::TargetTooLong => TooLong { of_target: true, reference, at }.render(&context),
        Malformed::HeadTooLarge => {
            let mut response = TooLong { of_target: false, reference, at }.render(&context);
            let named = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
            let named = named.or_else(|| parts.uri.authority().map(|authority| authority.as_str().as_bytes()));
            if let Some(authority) = named.and_then(Authority::parse) {
                let (path, https) = (parts.uri.path(), door.https);
                cookie_glut::forget(response.headers_mut(), &parts.headers, &authority.host, path, https);
            }
            response
        }
        _ => BadRequest { reference, at }.render(&context),
    };
    if fault == Malformed::Method {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if parts.version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// How a request that is refused counts. Any page elsewhere can have browsers ask for targets that are none, by names that are
/// none or addresses, with too much in a head, or by TLS at the door for plain HTTP.
const fn glitch(fault: Malformed) -> Glitch {
    match fault {
        Malformed::Method | Malformed::Framing => Glitch::Malformed,
        Malformed::Host
        | Malformed::Address
        | Malformed::Target
        | Malformed::Syntax
        | Malformed::HeadTooLarge
        | Malformed::TargetTooLong => Glitch::TurnedAway,
    }
}

/// The page for a request that we are at fault with. Its connection is not used again.
fn broken(state: &State, json: bool, version: Version) -> Response {
    let mut context = PageContext::new(state.config.zone.clone(), state.look.lang());
    context.look = state.look.clone();
    context.json = json;
    let page = EdgeFault { reference: Reference::from_random(crate::random()), at: state.now() };
    tracing::error!(reference = %page.reference, "a request was given up");
    let mut response = page.render(&context);
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Memory is too short for this request (F21). Its connection is not used again.
fn overloaded(state: &State, visit: &Visit, parts: &Parts) -> Response {
    let context = context(state, parts, visit.lang);
    let mut response = Overloaded { reference: visit.reference, at: visit.now }.render(&context);
    if parts.version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The context of a page for a request that gets no further than this door.
fn context(state: &State, parts: &Parts, lang: Lang) -> PageContext {
    let mut context = PageContext::new(state.config.zone.clone(), lang);
    context.look = state.look.clone();
    context.grpc = is_grpc(&parts.headers);
    context.json = context.grpc || wants_json(&parts.headers);
    let snapshot = state.snapshot.load();
    // Whose request it is, nobody knows: no person's address is for everybody.
    context.admin_contact = state.config.brand.contact.clone();
    context.no_administrator_yet = !snapshot.has_administrator();
    context
}

/// What an authority looks for at a host whose certificate is being ordered (RFC 8555 §8.3); nothing for anybody else.
fn challenge(state: &State, visit: &Visit, parts: &Parts) -> Option<Response> {
    let acme = state.certificates.acme()?;
    let get = parts.method == http::Method::GET;
    let content = acme.answers.file(&visit.host, parts.uri.path()).filter(|_| get)?;
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(response)
}

/// The plain port of a configured zone: the same address by HTTPS, for hosts that the edge serves.
fn to_https(state: &State, visit: &Visit, parts: &Parts) -> Response {
    crate::faults::at("redirect");
    let context = context(state, parts, visit.lang);
    if !crate::tls::serves(state, &visit.host) {
        return unknown(visit, &context);
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let port = match state.config.https_port() {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(format!("https://{}{port}{target}", visit.host)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    // H13
    #[test]
    fn what_any_page_can_have_a_browser_send_counts_as_what_is_turned_away_and_nothing_else_does() {
        for (fault, counts) in [
            (Malformed::Method, Glitch::Malformed),
            (Malformed::Framing, Glitch::Malformed),
            (Malformed::Host, Glitch::TurnedAway),
            (Malformed::Address, Glitch::TurnedAway),
            (Malformed::Target, Glitch::TurnedAway),
            (Malformed::Syntax, Glitch::TurnedAway),
            (Malformed::HeadTooLarge, Glitch::TurnedAway),
            (Malformed::TargetTooLong, Glitch::TurnedAway),
        ] {
            assert_eq!(glitch(fault), counts, "{fault:?}");
        }
    }
}
