//! Forms of ours as they come back: small, from our own page, in the browser it was made for.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use tunnel_auth::form;

use crate::{
    Visit,
    keys::Keys,
    pages::{BadRequest, ForgedForm},
    session::cookie,
    store::{AuditEvent, AuditRecord, SecretHash},
};

use super::{Answer, Ask, Desk};

/// The largest body that any page of ours takes.
pub(crate) const BODY_MAX: usize = 64 * 1024;
/// How long a body may take to arrive.
pub(crate) const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// The header in which a script of ours brings the token of its form.
pub(crate) const TOKEN_HEADER: &str = "x-form-token";

/// The fields of a form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    raw: bytes::Bytes,
    pairs: Vec<(String, String)>,
}

impl Fields {
    /// Reads `application/x-www-form-urlencoded`.
    fn parse(raw: bytes::Bytes) -> Self {
        let pairs = url::form_urlencoded::parse(&raw);
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Self { raw, pairs }
    }

    /// The body as it came.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The first value of a field; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// The body, at most 64 KiB and not forever.
pub(crate) async fn body(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<bytes::Bytes> {
    let read = tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, BODY_MAX)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) | Err(_) => {
            let page = BadRequest { reference: ask.visit.reference, at: ask.visit.now };
            Err(Box::new(page.render(&desk.context(ask))))
        }
    }
}

/// The fields of the form called `name`, and the hash of the login that it was made for; 403 unless it came from our own
/// page in that browser. `link` is where the form can be fetched anew.
pub(crate) async fn of_login(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    from: Body,
    name: &str,
    link: &str,
) -> Answer<(SecretHash, Fields)> {
    let logins: Vec<SecretHash> = cookie::logins(ask.headers).iter().map(tunnel_auth::LoginId::hash).collect();
    bound_to(desk, ask, from, name, link, &logins).await
}

/// The same for a form made for a session, or for whatever else has one of the hashes `binds`.
pub(crate) async fn bound_to(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    from: Body,
    name: &str,
    link: &str,
    binds: &[SecretHash],
) -> Answer<(SecretHash, Fields)> {
    if is_same_origin(ask.visit, ask.headers) && is_form(ask.headers) {
        let fields = Fields::parse(body(desk, ask, from).await?);
        let token = fields.get(crate::pages::FORM_TOKEN);
        let bind = binds.iter().find(|bind| form::verify(desk.keys.hash_key(), name, bind, token));
        if let Some(bind) = bind {
            return Ok((*bind, fields));
        }
    }
    Err(Box::new(refused(desk, ask, link)))
}

/// A JSON body that a script of ours sent from one of these forms, by name and what it is made for, with the form that it
/// was; 403 unless it came from our own page in that browser. The token stands in a header of its own, which no other
/// origin can send.
pub(crate) async fn json<T: DeserializeOwned>(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    from: Body,
    forms: &[(&'static str, SecretHash)],
) -> Answer<(&'static str, SecretHash, T)> {
    let token = ask.headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let good = is_same_origin(ask.visit, ask.headers) && is_kind(ask.headers, "application/json");
    let mut forms = forms.iter().filter(|_| good);
    let form = forms.find(|(name, bind)| form::verify(desk.keys.hash_key(), name, bind, token));
    let Some((name, bind)) = form else { return Err(Box::new(refused(desk, ask, "/"))) };
    let body = body(desk, ask, from).await?;
    let read = serde_json::from_slice(&body).map_err(|error: serde_json::Error| {
        // Where, and not what: the error itself may quote.
        tracing::debug!(column = error.column(), reference = %ask.visit.reference, "a script's words cannot be read");
        let page = BadRequest { reference: ask.visit.reference, at: ask.visit.now };
        Box::new(page.render(&desk.context(ask)))
    })?;
    Ok((name, *bind, read))
}

/// [`json`] from the form called `name` in the browser with this login.
pub(crate) async fn json_of_login<T: DeserializeOwned>(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    from: Body,
    name: &'static str,
) -> Answer<(SecretHash, T)> {
    let forms: Vec<_> = cookie::logins(ask.headers).iter().map(|login| (name, login.hash())).collect();
    json(desk, ask, from, &forms).await.map(|(_, login, read)| (login, read))
}

/// The page for a form that is not from our own page.
pub(crate) fn refused(desk: &Desk<'_>, ask: &Ask<'_>, link: &str) -> crate::Response {
    desk.audit.refused(AuditRecord {
        detail: Some("a form that is not from our own page, or too old".to_owned()),
        ..desk.record(ask, AuditEvent::Refused)
    });
    let page = ForgedForm { link: link.to_owned(), reference: ask.visit.reference, at: ask.visit.now };
    page.render(&desk.context(ask))
}

/// The token for the form called `name` in the browser with this hash.
pub(crate) fn token(keys: &Keys, name: &str, bind: &SecretHash) -> String {
    form::token(keys.hash_key(), name, bind)
}

/// Whether a request comes from a page of the same origin: by `Sec-Fetch-Site`, which scripts cannot set; by an equal
/// `Origin` where the browser does not send it. A page of ours sends `Origin: null`, since it has no referrer.
pub(crate) fn is_same_origin(visit: &Visit, headers: &HeaderMap) -> bool {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Ok(Some(value.as_bytes())),
            (Some(_), Some(_)) => Err(()),
        }
    };
    match (only("sec-fetch-site"), only(header::ORIGIN.as_str())) {
        (Ok(Some(site)), Ok(_)) => site == b"same-origin",
        (Ok(None), Ok(Some(origin))) => origin == visit.origin(&visit.host).as_bytes(),
        _ => false,
    }
}

/// Whether a request may be a person's going to a page, and is none that a browser calls something else: a picture, a frame,
/// a script's. A browser that says nothing is believed.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    let only = |name: &str, value: &[u8]| headers.get_all(name).iter().all(|found| found.as_bytes() == value);
    only("sec-fetch-mode", b"navigate") && only("sec-fetch-dest", b"document")
}

fn is_form(headers: &HeaderMap) -> bool {
    is_kind(headers, "application/x-www-form-urlencoded")
}

fn is_kind(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tunnel_proto::{Hostname, UnixTime};

    use super::*;
    use crate::{Lang, Reference};

    // A1
    #[test]
    fn a_form_must_come_from_a_page_of_the_same_origin() {
        let visit = |https, port| Visit {
            host: Hostname::parse("www.example.com").unwrap(),
            https,
            port,
            source: "192.0.2.1".parse().unwrap(),
            country: None,
            now: UnixTime(0),
            reference: Reference::from_random([0; 6]),
            lang: Lang::En,
        };
        let https = visit(true, None);
        for (headers, good) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (&[("sec-fetch-site", "same-site"), ("origin", "https://www.example.com")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "https://www.example.com")], true),
            (&[("origin", "http://www.example.com")], false),
            (&[("origin", "https://www.example.com:8443")], false),
            (&[("origin", "https://www.example.com.evil.example")], false),
            (&[("origin", "https://app.example.com")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://www.example.com"), ("origin", "https://www.example.com")], false),
            (&[("referer", "https://www.example.com/")], false),
            (&[], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_same_origin(&https, &map), good, "{headers:?}");
        }
        let mut map = HeaderMap::new();
        map.insert("origin", HeaderValue::from_static("http://www.example.com:8080"));
        assert!(is_same_origin(&visit(false, Some(8080)), &map));
        assert!(!is_same_origin(&visit(true, Some(8080)), &map));
    }

    // O1
    #[test]
    fn pictures_frames_and_scripts_are_no_navigation() {
        for (headers, good) in [
            (&[("sec-fetch-mode", "navigate")][..], true),
            (&[], true),
            (&[("sec-fetch-dest", "document")], true),
            (&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")], false),
            (&[("sec-fetch-mode", "no-cors")], false),
            (&[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], false),
            (&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], false),
            (&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "object")], false),
            (&[("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "cors")], false),
            (&[("sec-fetch-mode", "")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_navigation(&map), good, "{headers:?}");
        }
    }
}
