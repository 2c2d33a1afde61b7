//! WebSockets, and other upgrades that an application lists: the handshake forwarded and checked, then bytes both ways for as
//! long as the visitor is admitted.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::{
    Head, RequestBody, WATCH_EVERY, Watch,
    body::{AnswerBody, Progress},
    head, informational,
    last_word::{self, Followed},
    trailers::Trailers,
};
use crate::{
    Response, State, Visit,
    gate::Permit,
    listen::{Place, Switch, Switched},
    pages::Failure,
    registry::Candidate,
    request::carries_requests,
    upstream::{self, Whose},
};

/// What a connection is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A WebSocket.
    WebSocket,
    /// Another protocol, as the visitor wrote it.
    Named(HeaderValue),
}

impl Protocol {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::WebSocket => b"websocket",
            Self::Named(name) => name.as_bytes(),
        }
    }

    fn value(&self) -> HeaderValue {
        match self {
            Self::WebSocket => HeaderValue::from_static("websocket"),
            Self::Named(name) => name.clone(),
        }
    }
}

/// What a request asks for, in the one form that is forwarded: a WebSocket (RFC 6455 §4.1), or what [`named`] gives.
pub(super) fn asked(parts: &Parts) -> Option<Protocol> {
    if wants(parts) && is_well_formed(parts) {
        return Some(Protocol::WebSocket);
    }
    let name = named(parts)?;
    HeaderValue::from_str(name).ok().map(Protocol::Named)
}

/// The one protocol other than WebSocket that a request asks for: GET or POST, no body. Whether it may is the application's
/// to say.
pub(crate) fn named(parts: &Parts) -> Option<&str> {
    let mut fields = parts.headers.get_all(header::UPGRADE).iter();
    let one = fields.next().filter(|_| fields.next().is_none())?;
    let name = one.to_str().ok().filter(|name| !name.is_empty() && !name.contains([',', ' ', '\t']))?;
    let fits = wants(parts)
        && matches!(parts.method, Method::GET | Method::POST)
        && !is_framed(parts)
        && !carries_requests(name)
        && !name.eq_ignore_ascii_case("websocket");
    fits.then_some(name)
}

fn is_framed(parts: &Parts) -> bool {
    parts.headers.contains_key(header::TRANSFER_ENCODING)
        || parts.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Whether a request asks for any change of protocol.
pub(crate) fn wants(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts.headers.contains_key(header::UPGRADE)
        && lists(&parts.headers, &header::CONNECTION, b"upgrade")
}

/// Whether a request asks for a WebSocket, whatever else it asks for, and however.
pub(crate) fn wants_websocket(parts: &Parts) -> bool {
    wants(parts) && lists(&parts.headers, &header::UPGRADE, b"websocket")
}

/// Whether such a request is a WebSocket's: GET, version 13, one key, no body.
pub(crate) fn is_well_formed(parts: &Parts) -> bool {
    let one = |name| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    parts.method == Method::GET
        && !is_framed(parts)
        && one(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && one(header::SEC_WEBSOCKET_VERSION).is_some_and(|value| value == "13")
        && one(header::SEC_WEBSOCKET_KEY).is_some_and(|value| value.len() == 24)
}

fn lists(headers: &HeaderMap, name: &header::HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

/// An upgrade that was asked for.
pub(super) struct Asked {
    switch: Option<Arc<Switch>>,
    protocol: Protocol,
    key: Option<HeaderValue>,
    head: Head,
    /// The visitor's place among the connections: somebody who was admitted by name keeps it since, whoever is let in
    /// without being asked may lose it to somebody else.
    place: Option<Arc<Place>>,
}

impl Asked {
    pub(super) fn new(parts: &Parts, mut head: Head, protocol: Protocol) -> Self {
        head.headers.remove(header::TE);
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(header::UPGRADE, protocol.value());
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
        let place = parts.extensions.get::<Arc<Place>>().cloned();
        Self { switch: parts.extensions.get().cloned(), protocol, key, head, place }
    }
}

/// Forwards the handshake on a stream of its own. Bytes flow only after a 101 that names the protocol that was asked for, and,
/// for a WebSocket, answers this very key.
pub(super) async fn forward(
    state: &Arc<State>,
    visit: &Visit,
    permit: Permit,
    candidates: &[Candidate],
    asked: Asked,
) -> Result<Response, Failure> {
    let mut lease = upstream::connect(&state.pool, candidates, visit, Whose::Everybodys).await?;
    let Asked { switch, protocol, key, head, place } = asked;
    let mut request = head.into_request(RequestBody::empty());
    super::send::address(&mut request, &lease).map_err(|_| Failure::BadAnswer)?;
    let too_many = informational::too_many(&mut request);
    let sending = lease.send(request);
    let response = tokio::select! {
        biased;
        () = too_many => return Err(Failure::BadAnswer),
        response = tokio::time::timeout(state.config.response_timeout, sending) => response,
    };
    let mut response = response.map_err(|_| Failure::Slow)?.map_err(|_| Failure::BadAnswer)?;
    if !head::is_framed_once(response.headers()) {
        return Err(Failure::BadAnswer);
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Not upgraded after all; the stream that was to be is not used again.
        let (parts, body) = response.into_parts();
        let (progress, watch) = (Arc::new(Progress::default()), Arc::new(Watch::new(state, permit)));
        let mut answer = Response::new(Body::new(AnswerBody::new(body, lease, progress, watch, Trailers::Dropped)));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = head::response(parts.headers);
        return Ok(answer);
    }
    if !is_fitting(&protocol, key.as_ref(), response.headers()) {
        return Err(Failure::BadAnswer);
    }
    lease.switch();
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = head::response(std::mem::take(response.headers_mut()));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(header::UPGRADE, protocol.value());
    let service = hyper::upgrade::on(&mut response);
    let visitor = Switch::taken(switch.as_ref());
    tokio::spawn(carry((visitor, service), protocol, Watch::new(state, permit), place));
    Ok(answer)
}

/// Whether a 101 answers what was asked for.
fn is_fitting(protocol: &Protocol, key: Option<&HeaderValue>, answer: &HeaderMap) -> bool {
    let mut named = answer.get_all(header::UPGRADE).iter();
    let one = named.next().filter(|_| named.next().is_none());
    match protocol {
        Protocol::WebSocket => {
            let expected = key.map(|key| accept(key.as_bytes()));
            let accepts = answer.get(header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
            accepts.is_some()
                && accepts == expected.as_ref().map(|expected| expected.as_bytes())
                && lists(answer, &header::UPGRADE, b"websocket")
        }
        named => one.is_some_and(|one| one.as_bytes().eq_ignore_ascii_case(named.as_bytes())),
    }
}

/// Carries bytes both ways until either side ends, or the visitor is not admitted any more.
async fn carry(
    (visitor, service): (oneshot::Receiver<Switched>, OnUpgrade),
    protocol: Protocol,
    watch: Watch,
    place: Option<Arc<Place>>,
) {
    crate::faults::at("websocket");
    let (Ok(visitor), Ok(service)) = tokio::join!(visitor, service) else { return };
    let visitor = Followed::new(visitor, &protocol);
    let revoked = async {
        let mut tick = tokio::time::interval(WATCH_EVERY);
        loop {
            tick.tick().await;
            if !watch.holds() {
                return;
            }
        }
    };
    let cut = async {
        match &place {
            Some(place) => tokio::select! {
                () = place.cut_http() => {}
                () = place.lost() => tracing::debug!("an upgraded connection lost its place"),
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = last_word::carry(visitor, TokioIo::new(service), revoked) => {}
        () = cut => {}
    }
}

/// The answer to a key (RFC 6455 §4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    let mut text = key.to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    data_encoding::BASE64.encode(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(method: Method, lines: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(());
        *request.method_mut() = method;
        for (name, value) in lines {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    #[test]
    fn an_upgrade_names_one_protocol_and_brings_no_body() {
        // H8
        let connection = ("connection", "keep-alive, Upgrade");
        for method in [Method::GET, Method::POST] {
            assert_eq!(named(&request(method, &[connection, ("upgrade", "tcp")])), Some("tcp"));
        }
        for (method, lines) in [
            (Method::PUT, &[connection, ("upgrade", "tcp")][..]),
            (Method::GET, &[("upgrade", "tcp")]),
            (Method::GET, &[connection, ("upgrade", "tcp, h2c")]),
            (Method::GET, &[connection, ("upgrade", "tcp"), ("upgrade", "tcp")]),
            (Method::GET, &[connection, ("upgrade", "WebSocket")]),
            (Method::GET, &[connection, ("upgrade", "h2c")]),
            (Method::GET, &[connection, ("upgrade", "TLS/1.0")]),
            (Method::GET, &[connection, ("upgrade", "")]),
            (Method::POST, &[connection, ("upgrade", "tcp"), ("content-length", "1")]),
            (Method::POST, &[connection, ("upgrade", "tcp"), ("transfer-encoding", "chunked")]),
        ] {
            assert_eq!(named(&request(method.clone(), lines)), None, "{method} {lines:?}");
        }
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_specification() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
