//! `identity`: who is logged in at this host. `certs`: the keys that assertions are checked with.

use axum::body::Body;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{
    Response,
    enroll::endpoint::json,
    keys::Keys,
    login::{Ask, Desk},
    pages::LoginRequired,
};

/// Who is logged in, in the words that programs written for Cloudflare Access know. Holds nothing that opens anything.
#[derive(Serialize)]
struct Answer<'a> {
    email: &'a str,
    user_uuid: String,
    idp: Idp<'a>,
    iat: u64,
    exp: u64,
    ip: String,
}

#[derive(Serialize)]
struct Idp<'a> {
    id: &'a str,
    r#type: &'static str,
}

/// Answers `identity`: 401 without a session at this host.
pub(crate) fn answer(desk: &Desk<'_>, ask: &Ask<'_>) -> Response {
    let Some(session) = desk.session(ask) else {
        return LoginRequired { reference: ask.visit.reference }.render(&desk.context(ask));
    };
    let identity = session.identity();
    let answer = Answer {
        email: identity.email.as_str(),
        user_uuid: identity.person.to_string(),
        idp: Idp { id: identity.method.as_str(), r#type: "onetimepin" },
        iat: identity.authenticated.0,
        exp: session.expires().0,
        ip: ask.visit.source.to_string(),
    };
    json(StatusCode::OK, &answer)
}

/// Answers `certs`. May be kept for five minutes, which is how long a new key is published before it signs.
pub(crate) fn certs(keys: &Keys) -> Response {
    let mut response = Response::new(Body::from(keys.jwks().to_json()));
    let fixed = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
