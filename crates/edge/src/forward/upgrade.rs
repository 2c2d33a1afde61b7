//! WebSockets: the handshake forwarded and checked, then bytes both ways for as long as the visitor is admitted.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::{
    Head, RequestBody, WATCH_EVERY, Watch,
    body::{AnswerBody, Progress},
    head, informational,
};
use crate::{Response, State, Visit, gate::Permit, listen::Place, pages::Failure, registry::Candidate, upstream};

/// Whether a request asks for a WebSocket in the one form that is forwarded (RFC 6455 §4.1).
pub(super) fn is_asked(parts: &Parts) -> bool {
    wants(parts) && is_well_formed(parts)
}

/// Whether a request asks for any change of protocol.
pub(crate) fn wants(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts.headers.contains_key(header::UPGRADE)
        && lists(&parts.headers, &header::CONNECTION, b"upgrade")
}

/// Whether such a request is a WebSocket's: GET, version 13, one key, no body.
pub(crate) fn is_well_formed(parts: &Parts) -> bool {
    let one = |name| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let framed = parts.headers.contains_key(header::TRANSFER_ENCODING)
        || parts.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    parts.method == Method::GET
        && !framed
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

/// A WebSocket that was asked for.
pub(super) struct Asked {
    visitor: OnUpgrade,
    key: Option<HeaderValue>,
    head: Head,
    /// The visitor's place among the connections, which a WebSocket keeps.
    place: Option<Arc<Place>>,
}

impl Asked {
    pub(super) fn new(parts: Parts, mut head: Head) -> Self {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
        let place = parts.extensions.get::<Arc<Place>>().cloned();
        Self { visitor: hyper::upgrade::on(Request::from_parts(parts, ())), key, head, place }
    }
}

/// Forwards the handshake on a stream of its own. Bytes flow only after a 101 that answers this very key.
pub(super) async fn forward(
    state: &Arc<State>,
    visit: &Visit,
    permit: Permit,
    candidates: &[Candidate],
    asked: Asked,
) -> Result<Response, Failure> {
    let mut lease = upstream::connect(&state.pool, candidates, visit).await?;
    let mut request = asked.head.into_request(RequestBody::empty());
    super::name_host(&mut request, &lease);
    let too_many = informational::too_many(&mut request);
    let sending = lease.sender().send_request(request);
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
        // Not a WebSocket after all; the stream that was to become one is not used again.
        let (parts, body) = response.into_parts();
        let watch = Watch::new(state, permit);
        let mut answer = Response::new(Body::new(AnswerBody::new(body, lease, Arc::new(Progress::default()), watch)));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = head::response(&parts.headers);
        return Ok(answer);
    }
    let expected = asked.key.map(|key| accept(key.as_bytes())).ok_or(Failure::BadAnswer)?;
    let right = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value == expected.as_str())
        && lists(response.headers(), &header::UPGRADE, b"websocket");
    if !right {
        return Err(Failure::BadAnswer);
    }
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = head::response(response.headers());
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let service = hyper::upgrade::on(&mut response);
    tokio::spawn(carry(asked.visitor, service, Watch::new(state, permit), asked.place));
    Ok(answer)
}

/// Carries bytes both ways until either side ends, or the visitor is not admitted any more.
async fn carry(visitor: OnUpgrade, service: OnUpgrade, watch: Watch, place: Option<Arc<Place>>) {
    let (Ok(visitor), Ok(service)) = tokio::join!(visitor, service) else { return };
    let mut visitor = TokioIo::new(visitor) as TokioIo<Upgraded>;
    let mut service = TokioIo::new(service) as TokioIo<Upgraded>;
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
            Some(place) => place.cut().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = copy_bidirectional(&mut visitor, &mut service) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a WebSocket was cut");
            }
        }
        () = cut => {}
        () = revoked => tracing::debug!("a WebSocket was ended: its visitor is not admitted any more"),
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
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_specification() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
