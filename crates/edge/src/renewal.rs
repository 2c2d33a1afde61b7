//! An application in a browser, when its session has ended meanwhile: a form that arrives is kept in a page until its person
//! has logged in again, in another window.
//!
//! Only what a page of the application itself sends is kept. The page that keeps it is of the application's origin, so what
//! is sent from there counts as the application's own: anybody else's form would be turned into one. And it is sent only as
//! the person who filled it in ([`writer`]): whoever logs in meanwhile in the same browser is somebody else's hand.

pub(crate) mod writer;

use std::borrow::Cow;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;

use tunnel_proto::EmailAddress;

use self::writer::{Kept, Last};
use crate::{
    Response, Visit,
    gate::granted,
    keys::Keys,
    login::{
        Answer, Ask, Desk,
        form::{self, BODY_MAX, BODY_PATIENCE, is_navigation, is_same_origin},
    },
    pages::{FormKept, FormLost, Missing, NotFound, PageContext, SignedIn, way_back},
};

/// Where one logs in to an application in a window of its own, on every host.
pub(crate) const SIGNED_IN_PATH: &str = "/.access/signed-in";
/// Where a kept form is sent from its page, on every host.
pub(crate) const SEND_PATH: &str = "/.access/form";
/// The most fields of a form that is kept: each costs more in the page than in the form.
const FIELDS_MAX: usize = 1000;
/// How much of a form that cannot be kept is read, to nobody's use: a browser shows no answer before it has sent its form.
const UNREAD_MAX: usize = 16 * 1024 * 1024;

/// The path at which one logs in to what is at `target` of the same host.
pub(crate) fn sign_in(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let path: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    format!("{SIGNED_IN_PATH}?path={path}")
}

/// `GET /.access/signed-in?path=/x`: says so to whoever is logged in to what is at `path`, and has all others log in first.
pub(crate) fn signed_in(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    let path = ask.parameter("path");
    let path = way_back(&path).filter(|path| !path.contains('?')).unwrap_or("/");
    let matched = desk.snapshot.policies.applications_for(&ask.visit.host, path);
    let Some((_, mut all)) = matched.required() else {
        let page = NotFound { missing: Missing::Page, reference: ask.visit.reference, at: ask.visit.now };
        return Err(Box::new(page.render(&desk.context(ask))));
    };
    let session = desk.session(ask);
    let session = session.as_deref();
    let closed = all.find(|app| session.and_then(|one| granted(desk.snapshot, one, app, ask.visit.now)).is_none());
    Ok(match closed {
        Some(app) => desk.begin(ask, app, &sign_in(path)),
        None => SignedIn { host: ask.visit.host.clone() }.render(&desk.context(ask)),
    })
}

/// Whether a POST without a session is a form that a person sent from a page of the application. A form from elsewhere is
/// forgotten, as it always was, and its sender logs in.
pub(crate) fn is_own_form(visit: &Visit, headers: &HeaderMap) -> bool {
    is_same_origin(visit, headers) && is_navigation(headers)
}

/// The page for such a form, sent to `target` (path and query).
pub(crate) async fn keep(
    context: &PageContext,
    keys: &Keys,
    visit: &Visit,
    headers: &HeaderMap,
    target: &str,
    body: Body,
) -> Response {
    let writer = match writer::last(keys, &visit.host, headers) {
        Last::Unknown => None,
        Last::Of(person) => Some(person),
        Last::SignedOut => {
            // To nobody's use, as what is too large.
            tokio::time::timeout(BODY_PATIENCE, read(body)).await.ok();
            let (host, sign_in) = (visit.host.clone(), sign_in(target));
            return FormLost { host, sign_in, signed_out: true }.render(context);
        }
    };
    let kept = Kept { writer, target: target.to_owned() };
    page(context, keys, visit, kept, sent(headers, body).await, None)
}

/// `POST /.access/form?kept=…`: what was kept goes on to where it was sent first, if whoever filled it in is logged in again.
/// Anybody else reads whose it is, and it stays where it is.
pub(crate) async fn send(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    let visit = ask.visit;
    let kept = Kept::open(desk.keys, &visit.host, &ask.parameter("kept"));
    let Some(kept) = kept.filter(|_| is_own_form(visit, ask.headers)) else {
        return Err(Box::new(form::refused(desk, ask, "/")));
    };
    let here = desk.session(ask).map(|session| session.identity().email.clone());
    if here.is_some() && here == kept.writer {
        // To nobody's use: the browser sends it once more.
        tokio::time::timeout(BODY_PATIENCE, read(body)).await.ok();
        return Ok(same_again(&visit.url(&visit.host, &kept.target)));
    }
    let fields = sent(ask.headers, body).await;
    Ok(page(&desk.context(ask), desk.keys, visit, kept, fields, here))
}

/// The page for a form with these fields, if it can be kept; `other` is logged in and did not fill it in.
fn page(
    context: &PageContext,
    keys: &Keys,
    visit: &Visit,
    kept: Kept,
    fields: Option<Vec<(String, String)>>,
    other: Option<EmailAddress>,
) -> Response {
    let (host, sign_in) = (visit.host.clone(), sign_in(&kept.target));
    match fields.zip(kept.path(keys, &host)) {
        Some((fields, path)) => {
            // With scheme and host: a path may begin with `//`, which alone names another host.
            let target = visit.url(&host, &path);
            FormKept { target, host, fields, sign_in, writer: kept.writer, other }.render(context)
        }
        None => FormLost { host, sign_in, signed_out: false }.render(context),
    }
}

/// The same request again, there (RFC 9110 §15.4.8). As from the page: many ask forms where they come from.
fn same_again(url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    if let Ok(url) = HeaderValue::from_str(url) {
        headers.insert(header::LOCATION, url);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// The fields of a form that was sent, if a page can repeat them.
async fn sent(headers: &HeaderMap, body: Body) -> Option<Vec<(String, String)>> {
    let read = tokio::time::timeout(BODY_PATIENCE, read(body)).await.ok().flatten();
    read.filter(|_| is_plain_form(headers)).and_then(|body| fields(&body))
}

/// The body, unless it is larger than a page should repeat.
async fn read(mut body: Body) -> Option<Bytes> {
    let (mut kept, mut length) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > UNREAD_MAX {
            return None;
        }
        if length <= BODY_MAX {
            kept.extend_from_slice(&data);
        }
    }
    (length <= BODY_MAX).then(|| kept.freeze())
}

/// Whether the form is written as a page repeats it: pairs, in UTF-8.
fn is_plain_form(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or_default());
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let mut parts = kind.split(';').map(str::trim);
    let plain = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let utf8 = |part: &str| {
        let charset = part.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"')));
        charset.is_some_and(|(name, value)| name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8"))
    };
    plain && parts.all(utf8)
}

/// The fields of a form in order, if a browser sends the same when they stand in hidden inputs.
fn fields(body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    let decoded = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
    };
    let mut found = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        // What HTML cannot hold, and what browsers fill in themselves (HTML §4.10.22.4).
        let kept = !name.is_empty() && !name.contains('\0') && !value.contains('\0');
        let kept = kept && (!name.eq_ignore_ascii_case("_charset_") || value.eq_ignore_ascii_case("utf-8"));
        if !kept || found.len() >= FIELDS_MAX {
            return None;
        }
        found.push((name, value));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        time::Duration,
    };

    use futures::StreamExt as _;
    use tokio::time::{Instant, timeout};

    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_doubles() {
        let pairs = |body: &[u8]| {
            let found = fields(body)?;
            Some(found.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("|"))
        };
        for (body, expected) in [
            (&b""[..], Some("")),
            (b"b=2&a=1&b=3", Some("b=2|a=1|b=3")),
            (b"a=1+2%2B3&&b", Some("a=1 2+3|b=")),
            (b"text=%E4%BE%8B%0D%0Ax", Some("text=\u{4f8b}\r\nx")),
            (b"a%5B%5D=%22%3E%3Cscript%3E", Some("a[]=\"><script>")),
            (b"a=b=c", Some("a=b=c")),
            (b"a=100%", Some("a=100%")),
            (b"_charset_=UTF-8&a=1", Some("_charset_=UTF-8|a=1")),
            (b"_charset_=Shift_JIS&a=1", None),
            (b"=1", None),
            (b"a=%00", None),
            (b"a=%83%65", None),
            (b"a=\xff", None),
        ] {
            assert_eq!(pairs(body).as_deref(), expected, "{}", String::from_utf8_lossy(body));
        }
        assert!(fields("a=1&".repeat(FIELDS_MAX).as_bytes()).is_some());
        assert!(fields("a=1&".repeat(FIELDS_MAX + 1).as_bytes()).is_none());
    }

    #[test]
    fn only_a_plain_form_in_utf_8_is_kept() {
        for (kinds, good) in [
            (&["application/x-www-form-urlencoded"][..], true),
            (&["Application/X-WWW-Form-Urlencoded; charset=UTF-8"], true),
            (&["application/x-www-form-urlencoded;charset=\"utf-8\""], true),
            (&["application/x-www-form-urlencoded; charset=Shift_JIS"], false),
            (&["application/x-www-form-urlencoded; x=y"], false),
            (&["multipart/form-data; boundary=x"], false),
            (&["text/plain"], false),
            (&["application/x-www-form-urlencoded", "text/plain"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for kind in kinds {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            assert_eq!(is_plain_form(&headers), good, "{kinds:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_read_and_forgotten() {
        let read = |length: usize| futures::executor::block_on(read(Body::from(vec![b'x'; length])));
        assert_eq!(read(BODY_MAX).map(|body| body.len()), Some(BODY_MAX));
        assert!(read(BODY_MAX + 1).is_none());
    }

    #[test]
    fn what_is_larger_still_is_not_read_on() {
        const PIECE: usize = 1024 * 1024;
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let pieces = std::iter::repeat_with(move || {
            counted.fetch_add(1, Relaxed);
            Ok::<_, Infallible>(Bytes::from(vec![b'x'; PIECE]))
        });
        let endless = Body::from_stream(futures::stream::iter(pieces));
        assert!(futures::executor::block_on(read(endless)).is_none());
        assert_eq!(asked.load(Relaxed), UNREAD_MAX / PIECE + 1);
    }

    // H13
    #[tokio::test(start_paused = true)]
    async fn a_form_that_does_not_come_is_not_waited_for() {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let first = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"a=1"))]);
        let whole = sent(&headers, Body::from_stream(first.clone())).await;
        assert_eq!(whole, Some(vec![("a".to_owned(), "1".to_owned())]));
        let begun = Instant::now();
        let stalled = sent(&headers, Body::from_stream(first.chain(futures::stream::pending())));
        assert_eq!(timeout(BODY_PATIENCE * 2, stalled).await, Ok(None));
        assert!(begun.elapsed() < BODY_PATIENCE + Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}
