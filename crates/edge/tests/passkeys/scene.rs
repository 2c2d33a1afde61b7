//! People with authenticators, and what our script does for them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tunnel_edge::{
    pages::FORM_TOKEN,
    session::{
        Session,
        cookie::{LOGIN_COOKIE, SESSION_COOKIE},
    },
    store::{
        ISSUER_MAILBOX, InvitationRecord, LoginMethod, LoginMethodKind, Met, OpenIdMethod, OpenIdPreset, PasskeyMethod,
        SealedSecret,
    },
};
use tunnel_policy::Attributes;
use tunnel_proto::{Name, PersonId};

use crate::passkeys::{
    authenticator::Authenticator,
    site::{Answer, HOME, LOGIN_HOST, Site, query},
};

pub(crate) const OPTIONS: &str = "/.access/passkey/options";
pub(crate) const CALLBACK: &str = "/.access/callback/passkey";
pub(crate) const REGISTER_OPTIONS: &str = "/.access/passkey/register/options";
pub(crate) const REGISTER: &str = "/.access/passkey/register";
pub(crate) const ACCOUNT: &str = "/.access/account";
pub(crate) const ADD: &str = "/.access/account/passkey";
/// How long a passkey counts without the login before it.
pub(crate) const RENEW: u64 = 30 * 24 * 3600;

/// A provider that nobody asks.
pub(crate) const PROVIDER: &str = "https://id.example.net";

pub(crate) fn method() -> Name {
    "passkey".parse().unwrap()
}

/// The site with a login method by passkey.
pub(crate) async fn open() -> Arc<Site> {
    let site = Site::open().await;
    let kind = LoginMethodKind::Passkey(PasskeyMethod { renew: Duration::from_secs(RENEW) });
    site.change(|declared| declared.login_methods.push(LoginMethod { name: method(), kind }));
    site
}

pub(crate) fn authenticator() -> Authenticator {
    Authenticator::new("https://access.example.com", LOGIN_HOST)
}

pub(crate) fn person(name: &str) -> PersonId {
    PersonId::from_bytes([name.as_bytes()[0]; 16])
}

/// A login method by an OpenID provider, asked again every so many seconds.
pub(crate) fn provider(name: &str, revalidate: Option<u64>) -> LoginMethod {
    let method = OpenIdMethod {
        preset: OpenIdPreset::Oidc,
        issuer: PROVIDER.to_owned(),
        client_id: "edge".to_owned(),
        client_secret: SealedSecret(vec![]),
        scopes: vec![],
        email_claim: None,
        groups_claim: None,
        groups: false,
        graph: None,
        claims: vec![],
        hosted_domain: None,
        authoritative_for: vec![],
        private_address: false,
        revalidate: revalidate.map(Duration::from_secs),
        ca: None,
    };
    LoginMethod { name: name.parse().unwrap(), kind: LoginMethodKind::OpenId(Box::new(method)) }
}

/// A login of `name@example.com` by PIN, as of now: its cookie.
pub(crate) async fn log_in_by_pin(site: &Site, name: &str) -> String {
    met(site, name, ISSUER_MAILBOX).await;
    site.log_in(name).await
}

/// `issuer` vouches for `name@example.com` now.
async fn met(site: &Site, name: &str, issuer: &str) {
    let email = format!("{name}@example.com").parse().unwrap();
    let (method, attributes) =
        ("pin".parse().unwrap(), Attributes { groups: vec!["g".into()], ..Attributes::default() });
    let met = Met {
        issuer,
        subject: &format!("{name}@example.com"),
        email: &email,
        method: &method,
        attributes: &attributes,
        candidate: person(name),
        now: site.clock.now(),
        source: None,
    };
    assert_eq!(site.store.meet(&met).await.unwrap(), person(name));
}

/// What our script sends, as a browser sends it.
pub(crate) async fn post(site: &Site, path: &str, cookie: &str, token: &str, body: &Value) -> Answer {
    post_from(site, HOME, path, (cookie, token), body).await
}

async fn post_from(site: &Site, source: IpAddr, path: &str, (cookie, token): (&str, &str), body: &Value) -> Answer {
    let request = Request::post(path)
        .header("accept", "application/json")
        .header("sec-fetch-mode", "cors")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/json")
        .header("x-form-token", token)
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("cookie", cookie);
    site.send(LOGIN_HOST, source, request.body(Body::from(body.to_string())).unwrap()).await
}

pub(crate) fn read(answer: &Answer) -> Value {
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json", "{}", answer.body);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    serde_json::from_str(&answer.body).unwrap()
}

/// What stands in the way, by its code.
pub(crate) fn code(answer: &Answer) -> String {
    assert!(!answer.status.is_success(), "{}", answer.body);
    assert!(answer.cookie(SESSION_COOKIE).is_none(), "nobody is logged in by a refusal");
    let json = read(answer);
    assert!(json["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
    json["error"].as_str().unwrap().to_owned()
}

/// The form on a page, in the browser with a cookie.
pub(crate) struct Form {
    pub(crate) cookie: String,
    pub(crate) token: String,
    pub(crate) fields: Value,
}

impl Form {
    /// Our script's first question.
    pub(crate) async fn ask(&self, site: &Site, path: &str) -> Answer {
        post(site, path, &self.cookie, &self.token, &self.fields).await
    }

    /// The question for a login, from somewhere else.
    pub(crate) async fn ask_from(&self, site: &Site, source: IpAddr) -> StatusCode {
        post_from(site, source, OPTIONS, (&self.cookie, &self.token), &self.fields).await.status
    }

    /// What it sends when the browser has answered.
    pub(crate) fn answer(&self, asked: &Value, credential: Value) -> Value {
        let mut body = self.fields.clone();
        body["challenge"] = asked["challenge"].clone();
        body["credential"] = credential;
        body
    }

    /// The whole way of making a passkey.
    pub(crate) async fn make(&self, site: &Site, authenticator: &mut Authenticator) -> Answer {
        let asked = self.ask(site, REGISTER_OPTIONS).await;
        if asked.status != StatusCode::OK {
            return asked;
        }
        let asked = read(&asked);
        let body = self.answer(&asked, authenticator.create(&asked["options"]));
        post(site, REGISTER, &self.cookie, &self.token, &body).await
    }

    /// The whole way of logging in.
    pub(crate) async fn log_in(&self, site: &Site, authenticator: &mut Authenticator) -> Answer {
        let asked = self.ask(site, OPTIONS).await;
        if asked.status != StatusCode::OK {
            return asked;
        }
        let asked = read(&asked);
        let body = self.answer(&asked, authenticator.get(&asked["options"]));
        post(site, CALLBACK, &self.cookie, &self.token, &body).await
    }
}

/// The page on which whoever has `cookie` adds a passkey.
pub(crate) async fn adding(site: &Site, cookie: &str) -> Form {
    let page = site.get(ADD, cookie).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    Form { cookie: cookie.to_owned(), token: page.field(FORM_TOKEN), fields: json!({"label": "Laptop"}) }
}

/// The login page, in a browser without cookies, that leads back to one's account.
pub(crate) async fn login_page(site: &Site) -> Form {
    logging_in(site, ACCOUNT).await
}

/// The same for letting a program in to an application.
pub(crate) async fn login_page_of(site: &Site, app: &str) -> Form {
    logging_in(site, &format!("/.access/cli?{}", query(app, |_| ()))).await
}

async fn logging_in(site: &Site, target: &str) -> Form {
    let begun = site.get(target, "").await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.body);
    let login = begun.cookie(LOGIN_COOKIE).unwrap();
    let page = site.get(begun.location().strip_prefix("https://access.example.com").unwrap(), &login).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    // Beside the form for providers, which has a token of its own.
    let body = page.body.split_once("data-passkey=\"").unwrap().1.to_owned();
    let page = Answer { body, ..page };
    let fields = json!({"app": page.field("app"), "request": page.field("request")});
    Form { cookie: login, token: page.field(FORM_TOKEN), fields }
}

/// The page that an invitation leads to, in a browser without cookies.
pub(crate) async fn invited(site: &Site, secret: &str) -> Form {
    let page = site.get(&format!("/.access/invite?token={secret}"), "").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let cookie = page.cookie(LOGIN_COOKIE).unwrap();
    Form { cookie, token: page.field(FORM_TOKEN), fields: json!({"invitation": page.field("invitation")}) }
}

/// Somebody with a passkey that was added after a login by PIN.
pub(crate) async fn furnished(site: &Site, name: &str) -> Authenticator {
    furnished_by(site, name, ISSUER_MAILBOX).await
}

/// The same for whom `issuer` vouched.
pub(crate) async fn furnished_by(site: &Site, name: &str, issuer: &str) -> Authenticator {
    let mut authenticator = authenticator();
    met(site, name, issuer).await;
    let cookie = site.log_in(name).await;
    let made = adding(site, &cookie).await.make(site, &mut authenticator).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    assert_eq!(read(&made)["next"], ACCOUNT);
    authenticator
}

/// The session that an answer began.
pub(crate) fn begun(site: &Site, answer: &Answer) -> Arc<Session> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let cookie = answer.cookie(SESSION_COOKIE).unwrap();
    let header = http::HeaderValue::from_str(&cookie).unwrap();
    site.sessions.find(&LOGIN_HOST.parse().unwrap(), [&header], site.clock.now()).expect("a session began")
}

/// An invitation of `name@example.com` with this link.
pub(crate) async fn invite(site: &Site, name: &str, secret: &str) -> InvitationRecord {
    let record = InvitationRecord {
        key: tunnel_auth::secret::hash("invitation", secret.as_bytes()),
        person: person(name),
        subject: format!("subject of {name}"),
        email: format!("{name}@example.com").parse().unwrap(),
        name: None,
        created: site.clock.now(),
        expires: site.clock.now().plus(tunnel_edge::users::INVITATION_LIFE),
    };
    site.store.put_invitation(&record).await.unwrap();
    record
}
