//! `identity`: who is logged in at this host.

use std::{collections::BTreeMap, net::IpAddr};

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tunnel_proto::UnixTime;

use crate::{
    Response,
    enroll::endpoint::json,
    known::Known,
    login::{Ask, Desk},
    pages::LoginRequired,
    session::Session,
    snapshot::Snapshot,
    store::{LoginMethodKind, OpenIdPreset},
};

/// Who is logged in, in the words that programs written for Cloudflare Access know. Holds nothing that opens anything.
#[derive(Serialize)]
struct Answer<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    user_uuid: String,
    idp: Idp<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo: Option<Geo<'a>>,
    iat: UnixTime,
    exp: UnixTime,
    ip: IpAddr,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    amr: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    oidc_fields: &'a BTreeMap<String, Value>,
}

#[derive(Serialize)]
struct Idp<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
}

#[derive(Serialize)]
struct Geo<'a> {
    country: &'a str,
}

/// Answers `identity`: 401 without a session at this host. Nobody may keep it.
pub(crate) fn answer(desk: &Desk<'_>, ask: &Ask<'_>) -> Response {
    crate::faults::at("identity");
    let Some(session) = desk.session(ask) else {
        return LoginRequired { login: None, reference: ask.visit.reference }.render(&desk.context(ask));
    };
    json(StatusCode::OK, &told(&session, desk.snapshot, &Known::of(&session, desk.countries), ask.visit.source))
}

fn told<'a>(session: &'a Session, snapshot: &Snapshot, known: &'a Known<'_>, source: IpAddr) -> Answer<'a> {
    let identity = session.identity();
    let method = snapshot.declared.login_methods.iter().find(|method| method.name == identity.method);
    let claims = &known.attributes.claims;
    Answer {
        email: identity.email.as_str(),
        name: claims.get("name").and_then(Value::as_str),
        user_uuid: identity.person.to_string(),
        idp: Idp { id: identity.method.as_str(), r#type: method.map(|method| kind(&method.kind)) },
        geo: known.country.as_ref().map(|country| Geo { country: country.as_str() }),
        iat: identity.authenticated,
        exp: session.expires(),
        ip: source,
        amr: &known.attributes.amr,
        groups: &known.attributes.groups,
        oidc_fields: claims,
    }
}

/// What Cloudflare Access calls a kind of login method.
pub(crate) const fn kind(kind: &LoginMethodKind) -> &'static str {
    match kind {
        LoginMethodKind::OneTimePin => "onetimepin",
        LoginMethodKind::Passkey(_) => "passkey",
        LoginMethodKind::Github(_) => "github",
        LoginMethodKind::OpenId(method) => match method.preset {
            OpenIdPreset::Entra => "azureAD",
            OpenIdPreset::Google => "google",
            OpenIdPreset::Okta => "okta",
            OpenIdPreset::Oidc | OpenIdPreset::Keycloak | OpenIdPreset::Auth0 | OpenIdPreset::Gitlab => "oidc",
        },
    }
}
