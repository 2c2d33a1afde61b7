//! An admitted request on its way to the service, and the answer on its way back.

mod body;
mod frames;
pub(crate) mod head;
mod informational;
mod last_word;
mod loops;
mod pace;
mod send;
mod trailers;
mod upgrade;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use hyper::{
    body::{Body as _, Incoming},
    ext::ReasonPhrase,
};
use tokio::time::Instant;
use tunnel_proto::message::ServiceKind;

use crate::{
    Response, State, Visit,
    gate::Permit,
    listen::{Glitch, Place},
    pages::{BadRequest, Denied, Failure, PageContext, ServiceError},
    registry::Candidate,
    upstream::Lease,
};

pub(crate) use self::body::RequestBody;
use self::{
    body::{AnswerBody, Progress},
    send::Sending,
    trailers::{Taken, Trailers},
};
pub(crate) use self::{
    loops::LoopName,
    upgrade::{
        accept as accept_of, is_well_formed as is_well_formed_upgrade, named as named_upgrade, wants as wants_upgrade,
        wants_websocket,
    },
};

/// A request that was admitted.
pub(crate) struct Admitted<'a> {
    pub(crate) visit: &'a Visit,
    pub(crate) parts: &'a Parts,
    /// The links that serve its host and path, the least busy first.
    pub(crate) candidates: Vec<Candidate>,
    /// Whether it is to change the protocol of its connection, as it asks for.
    pub(crate) switches: bool,
    /// What a page needs, made once there is one to be shown.
    pub(crate) context: &'a (dyn Fn() -> PageContext + Sync),
}

/// Forwards one request by its permit. Always answers: with the service's answer, or with a page that says where the way
/// ends.
pub(crate) async fn forward(state: &Arc<State>, admitted: Admitted<'_>, permit: Permit, body: Incoming) -> Response {
    crate::faults::at("forward");
    let Admitted { visit, parts, mut candidates, switches, context } = admitted;
    let failed = |failure| {
        let (host, reference, at) = (visit.host.clone(), visit.reference, visit.now);
        ServiceError { failure, host, reference, at }.render(&context())
    };
    // Whatever else a tunnel's connectors announce for the host: a request goes to a web service and to nothing else.
    candidates.retain(|candidate| matches!(candidate.rule.kind, ServiceKind::Http | ServiceKind::H2c));
    if candidates.is_empty() {
        return failed(Failure::NoTunnel);
    }
    let outgoing = || outgoing(state, visit, &permit, parts);
    let Ok(mut head) = outgoing() else { return failed(Failure::BadAnswer) };
    if let Some(protocol) = upgrade::asked(parts).filter(|_| switches) {
        // HTTP/2 has no upgrades (RFC 9113 §8.6).
        candidates.retain(|candidate| candidate.rule.kind == ServiceKind::Http);
        if candidates.is_empty() {
            return failed(Failure::BadAnswer);
        }
        let asked = upgrade::Asked::new(parts, head, protocol);
        return match Box::pin(upgrade::forward(state, visit, permit, &candidates, asked)).await {
            Ok(response) => response,
            Err(failure) => failed(failure),
        };
    }
    let progress = Arc::new(Progress::default());
    let personal = ties_the_stream(&parts.headers, &header::AUTHORIZATION);
    let taken = Taken::by(parts);
    let sent_after = Trailers::of_request(parts, body.size_hint().exact().is_some());
    if let Some(announcement) = sent_after.announcement() {
        head.headers.insert(header::TRAILER, announcement);
    }
    let bodiless = body.is_end_stream();
    let place = parts.extensions.get::<Arc<Place>>();
    let grpc = is_call(&parts.headers);
    let paced = is_paced(grpc, candidates.iter().map(|candidate| candidate.rule.kind));
    let body = if bodiless {
        progress.end();
        RequestBody::empty()
    } else {
        let held_up = place.map(|place| place.held_up()).unwrap_or_default();
        let http2 = parts.version == Version::HTTP_2;
        RequestBody::new(body, progress.clone(), sent_after, held_up, http2, paced)
    };
    let request = head.into_request(body);
    // The same once more, of what has no body.
    let again = || outgoing().ok().filter(|_| bodiless).map(|head| head.into_request(RequestBody::empty()));
    let sending = Sending {
        visit,
        permit: &permit,
        candidates: &candidates,
        personal,
        place,
        repeatable: send::is_repeatable(bodiless, &parts.method),
        again: &again,
        grpc,
    };
    let sent = tokio::select! {
        sent = sending.send(state, request, &progress) => sent,
        // Dropping what was sent resets its stream: the service gets no more of it, and nobody its answer.
        () = turned_away(state, &permit) => {
            let mut response = Denied::of(visit).render(&context());
            close(response.headers_mut(), parts.version);
            return response;
        }
    };
    if sent.is_ok() {
        progress.note_answer();
    }
    match sent {
        // An answer that may end in two places is none: neither the visitor nor whoever has the stream next would know.
        Ok((response, _)) if !head::is_framed_once(response.headers()) => failed(Failure::BadAnswer),
        Ok((response, mut lease)) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
            let challenged = ties_the_stream(response.headers(), &header::WWW_AUTHENTICATE);
            if personal || challenged {
                let unanswered = challenged && response.status() == StatusCode::UNAUTHORIZED;
                lease.own(permit.holder().owner(), place.filter(|_| unanswered));
            }
            answer(state, permit, response, lease, progress, taken)
        }
        // A switch that nobody asked for: what follows on the stream is nothing that a visitor should get.
        Ok(_) => failed(Failure::BadAnswer),
        Err(_) if progress.has_failed() => {
            let mut response = BadRequest { reference: visit.reference, at: visit.now }.render(&context());
            if progress.is_late() {
                *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
                if let Some(place) = place {
                    place.note(Glitch::Late);
                }
            }
            close(response.headers_mut(), parts.version);
            response
        }
        Err(failure) => {
            let mut response = failed(failure);
            if !progress.has_ended() {
                close(response.headers_mut(), parts.version);
            }
            response
        }
    }
}

/// Whether a request says that it is a call of gRPC.
fn is_call(headers: &HeaderMap) -> bool {
    let grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    headers.get(header::CONTENT_TYPE).is_some_and(grpc)
}

/// Whether a body has to come at a pace. A call of gRPC may be silent for as long as it likes, on either side, where the service
/// speaks what gRPC needs: of another one it would be the visitor's word alone.
fn is_paced(grpc: bool, mut services: impl Iterator<Item = ServiceKind>) -> bool {
    !grpc || services.any(|kind| kind != ServiceKind::H2c)
}

/// After an answer that did not wait for the request's end, the connection's next bytes are nobody's request.
fn close(headers: &mut HeaderMap, version: Version) {
    if version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// An outgoing head.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    fn into_request<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Builds the head that the service sees: the method and target as judged, one `Host`, the visitor's fields that may go
/// on, and then our own.
fn outgoing(state: &State, visit: &Visit, permit: &Permit, parts: &Parts) -> Result<Head, http::Error> {
    let mut headers = head::request(&parts.headers);
    headers.append(loops::CDN_LOOP, state.loop_name.value().clone());
    if trailers::asks(&parts.headers) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let authority = match visit.port {
        Some(port) => HeaderValue::try_from(format!("{}:{port}", visit.host))?,
        None => HeaderValue::from_str(visit.host.as_str())?,
    };
    headers.insert(header::HOST, authority.clone());
    headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(visit.source.to_string())?);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if visit.https { "https" } else { "http" }));
    headers.insert(X_FORWARDED_HOST, authority);
    let email =
        permit.holder().identity().map(|identity| HeaderValue::try_from(identity.email.as_str())).transpose()?;
    if let Some(assertion) = state.assertions.of(state, permit, visit.now) {
        if permit.compatible_headers() {
            headers.insert(CF_ACCESS_ASSERTION, assertion.clone());
            if let Some(email) = email.clone() {
                headers.insert(CF_ACCESS_EMAIL, email);
            }
        }
        headers.insert(ACCESS_ASSERTION, assertion);
    }
    if let Some(email) = email {
        headers.insert(ACCESS_EMAIL, email);
    }
    let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Ok(Head { method: parts.method.clone(), uri: Uri::from(target), headers })
}

/// The fields of that head, for whoever measures what it costs.
pub(crate) fn fields(state: &State, visit: &Visit, permit: &Permit, parts: &Parts) -> Result<HeaderMap, http::Error> {
    outgoing(state, visit, permit, parts).map(|head| head.headers)
}

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const ACCESS_ASSERTION: HeaderName = HeaderName::from_static("access-jwt-assertion");
const ACCESS_EMAIL: HeaderName = HeaderName::from_static("access-user-email");
const CF_ACCESS_ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");
const CF_ACCESS_EMAIL: HeaderName = HeaderName::from_static("cf-access-authenticated-user-email");

/// Waits until the visitor is not admitted any more, which whoever has the permit was a moment ago.
async fn turned_away(state: &State, permit: &Permit) {
    let mut tick = tokio::time::interval_at(Instant::now() + WATCH_EVERY, WATCH_EVERY);
    loop {
        tokio::select! {
            () = permit.holder().ended() => return,
            _ = tick.tick() => {
                let snapshot = state.snapshot.load_full();
                if !permit.still_holds(state.gate(&snapshot), state.clock.now()) {
                    return;
                }
            }
        }
    }
}

/// Whether a field names a scheme that authenticates the connection and not the request (RFC 4559 §6): the stream is then
/// one person's for good. A list of several schemes counts, too.
fn ties_the_stream(headers: &HeaderMap, name: &HeaderName) -> bool {
    let word = |word: &[u8]| word.eq_ignore_ascii_case(b"ntlm") || word.eq_ignore_ascii_case(b"negotiate");
    let ties = |value: &HeaderValue| value.as_bytes().split(|b| matches!(b, b' ' | b',' | b'\t')).any(word);
    headers.get_all(name).iter().any(ties)
}

/// The service's answer as the visitor gets it.
fn answer(
    state: &Arc<State>,
    permit: Permit,
    response: http::Response<Incoming>,
    lease: Lease,
    progress: Arc<Progress>,
    taken: Taken,
) -> Response {
    let (parts, body) = response.into_parts();
    let trailers = Trailers::of_answer(taken, &parts.headers);
    let mut headers = head::response(parts.headers);
    if let Some(announcement) = trailers.announcement() {
        headers.insert(header::TRAILER, announcement);
    }
    let watch = Arc::new(Watch::new(state, permit));
    progress.watch(watch.clone());
    let mut answer = Response::new(Body::new(AnswerBody::new(body, lease, progress, watch, trailers)));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = headers;
    // By HTTP/2 there is no such thing, and the library leaves it out.
    if let Some(reason) = parts.extensions.get::<ReasonPhrase>() {
        answer.extensions_mut().insert(reason.clone());
    }
    answer
}

/// Whether what was admitted still is, looked at while a stream lives.
pub(super) struct Watch {
    state: Arc<State>,
    permit: Permit,
}

/// How often a living stream is judged again.
const WATCH_EVERY: Duration = Duration::from_millis(250);

impl Watch {
    fn new(state: &Arc<State>, permit: Permit) -> Self {
        Self { state: state.clone(), permit }
    }

    fn holds(&self) -> bool {
        let snapshot = self.state.snapshot.load_full();
        self.permit.still_holds(self.state.gate(&snapshot), self.state.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_to_services_that_speak_http_2_may_be_silent() {
        // H13
        use ServiceKind::{H2c, Http};
        for (kind, services, paced) in [
            ("application/grpc", &[H2c][..], false),
            ("application/grpc+proto", &[H2c, H2c], false),
            ("application/grpc", &[H2c, Http], true),
            ("application/grpc", &[Http], true),
            ("application/json", &[H2c], true),
            ("text/plain, application/grpc", &[H2c], true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_paced(is_call(&headers), services.iter().copied()), paced, "{kind} {services:?}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }
}
