//! What the edge answers itself on every host: `/.access/` and the aliases under `/cdn-cgi/access/`; and at the login host,
//! which is never an application's, `/` alone.
//!
//! Only the exact paths below exist. Every other reading of a reserved path, and every other path below the two prefixes, is
//! not found; none reaches an application.

use axum::body::Body;
use futures::future::BoxFuture;
use http::{Method, header, request::Parts};
use tunnel_proto::{
    EmailAddress, Hostname, Name,
    access::{APP_PATH, CLI_DEVICE_PATH, CLI_PATH, CLI_TOKEN_PATH},
    message::ServiceKind,
};

use crate::{
    Response, Visit, account, certs, client_login,
    enroll::{self, approval},
    identity,
    keys::Audience,
    language, launcher,
    login::{
        Answer, Ask, Desk, form, handover, offer, page, passkey, pin,
        provider::{self, trial},
        setup::{self, Setup},
    },
    logout,
    pages::{LANGUAGE_PATH, MethodNotAllowed, Missing, NotFound},
    renewal, tunnels,
};

/// What the reserved paths need of the edge.
#[derive(Clone, Copy)]
pub struct Reserved<'a> {
    /// For logging in and out.
    pub login: Desk<'a>,
    /// For enrolment and set-up.
    pub tunnels: tunnels::Desk<'a>,
    /// The administrators that are not stored: those of the configuration file and `--admin`.
    pub configured: &'a [EmailAddress],
    /// Whether codes appear in the terminal of the edge.
    pub in_terminal: bool,
    /// What the services at a host speak, if any connector serves it now.
    pub kind_at: &'a (dyn Fn(&Hostname) -> Option<ServiceKind> + Send + Sync),
    /// Replaces the snapshot by one of what is stored now.
    pub reload: &'a (dyn Fn() -> BoxFuture<'a, ()> + Send + Sync),
}

/// What the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint<'p> {
    Asset(&'p str),
    Language,
    Launcher,
    SignedIn,
    KeptForm,
    Login,
    PinCallback,
    Callback(&'p str),
    LoginTest,
    Authorized,
    Logout,
    Identity,
    Certs(Audience),
    Enroll,
    Setup,
    App,
    Client,
    ClientDevice,
    ClientToken,
    Account,
    AccountPasskey,
    AccountDelete,
    Invite,
    PasskeyOptions,
    PasskeyCallback,
    PasskeyRegister,
    PasskeyRegisterOptions,
}

impl<'p> Endpoint<'p> {
    fn of(path: &'p str, at_login_host: bool) -> Option<Self> {
        let endpoint = match path {
            "/.access/authorized" => Self::Authorized,
            "/.access/logout" | "/cdn-cgi/access/logout" => Self::Logout,
            "/.access/identity" | "/cdn-cgi/access/get-identity" => Self::Identity,
            "/.access/certs" => Self::Certs(Audience::All),
            "/cdn-cgi/access/certs" => Self::Certs(Audience::Compatible),
            LANGUAGE_PATH => Self::Language,
            renewal::SIGNED_IN_PATH => Self::SignedIn,
            renewal::SEND_PATH => Self::KeptForm,
            APP_PATH => Self::App,
            launcher::PATH if at_login_host => Self::Launcher,
            CLI_PATH if at_login_host => Self::Client,
            CLI_DEVICE_PATH if at_login_host => Self::ClientDevice,
            CLI_TOKEN_PATH if at_login_host => Self::ClientToken,
            "/.access/login" if at_login_host => Self::Login,
            "/.access/callback/pin" if at_login_host => Self::PinCallback,
            "/.access/login-test" if at_login_host => Self::LoginTest,
            "/.access/enroll" if at_login_host => Self::Enroll,
            "/.access/setup" if at_login_host => Self::Setup,
            "/.access/account" if at_login_host => Self::Account,
            "/.access/account/passkey" if at_login_host => Self::AccountPasskey,
            "/.access/account/delete" if at_login_host => Self::AccountDelete,
            "/.access/invite" if at_login_host => Self::Invite,
            "/.access/passkey/options" if at_login_host => Self::PasskeyOptions,
            "/.access/callback/passkey" if at_login_host => Self::PasskeyCallback,
            "/.access/passkey/register" if at_login_host => Self::PasskeyRegister,
            "/.access/passkey/register/options" if at_login_host => Self::PasskeyRegisterOptions,
            _ => match path.strip_prefix("/.access/callback/") {
                Some(method) if at_login_host && method.parse::<Name>().is_ok() => Self::Callback(method),
                _ => Self::Asset(path.strip_prefix("/.access/assets/")?),
            },
        };
        Some(endpoint)
    }

    /// The methods that it has. What works once is redeemed by GET alone: HEAD is what scanners send.
    const fn methods(self) -> &'static str {
        match self {
            Self::Login
            | Self::PinCallback
            | Self::LoginTest
            | Self::Logout
            | Self::Enroll
            | Self::Setup
            | Self::Client
            | Self::Account
            | Self::AccountDelete => "GET, HEAD, POST",
            Self::Asset(_)
            | Self::Language
            | Self::Launcher
            | Self::SignedIn
            | Self::Identity
            | Self::Certs(_)
            | Self::App
            | Self::AccountPasskey
            | Self::Invite => "GET, HEAD",
            Self::KeptForm
            | Self::ClientDevice
            | Self::ClientToken
            | Self::PasskeyOptions
            | Self::PasskeyCallback
            | Self::PasskeyRegister
            | Self::PasskeyRegisterOptions => "POST",
            Self::Authorized | Self::Callback(_) => "GET",
        }
    }
}

/// Whether a request is answered here.
pub(crate) fn is_ours(at_login_host: bool, path: &str) -> bool {
    tunnel_policy::is_reserved(path) || (at_login_host && path == launcher::PATH)
}

/// Whether a path is for everybody and costs nothing: what pages look like, and the keys by which services tell who comes.
pub(crate) fn is_for_all(path: &str) -> bool {
    matches!(Endpoint::of(path, false), Some(Endpoint::Asset(_) | Endpoint::Certs(_)))
}

/// Answers a request to a path of ours.
pub async fn answer(reserved: &Reserved<'_>, visit: &Visit, request: http::Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let get = parts.method.is_safe();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let ask = Ask { visit, headers: &parts.headers, get, path, query };
    dispatch(reserved, &ask, &parts, body).await.unwrap_or_else(|answer| *answer)
}

async fn dispatch(reserved: &Reserved<'_>, ask: &Ask<'_>, parts: &Parts, body: Body) -> Answer<Response> {
    let desk = &reserved.login;
    let at_login_host = ask.visit.host == *desk.login_host;
    let not_found = || {
        let page = NotFound { missing: Missing::Page, reference: ask.visit.reference, at: ask.visit.now };
        Box::new(page.render(&desk.context(ask)))
    };
    let endpoint = Endpoint::of(parts.uri.path(), at_login_host).ok_or_else(not_found)?;
    let allow = endpoint.methods();
    if !allow.split(", ").any(|method| method == parts.method.as_str()) {
        let page = MethodNotAllowed { allow, reference: ask.visit.reference, at: ask.visit.now };
        return Err(Box::new(page.render(&desk.context(ask))));
    }
    let post = parts.method == Method::POST;
    // What browsers call the login host, for passkeys.
    let base = || reserved.tunnels.visit_url(desk.login_host);
    let about = Setup { tunnels: reserved.tunnels, configured: reserved.configured, in_terminal: reserved.in_terminal };
    match endpoint {
        Endpoint::Asset(name) => desk.look.serve(name, parts.uri.query(), ask.headers).ok_or_else(not_found),
        Endpoint::Language => language::choose(desk, ask),
        Endpoint::Launcher => launcher::show(desk, ask, reserved.kind_at).await,
        Endpoint::SignedIn => renewal::signed_in(desk, ask),
        Endpoint::KeptForm => renewal::send(desk, ask, body).await,
        Endpoint::Login if post => page::submit(desk, ask, body).await,
        Endpoint::PinCallback if post => pin::answer_code(desk, ask, body).await,
        // Somebody must be there to be sent elsewhere: no scanner's HEAD, no page in another language.
        Endpoint::Login => page::show(desk, ask, parts.method == Method::GET).await,
        Endpoint::PinCallback => page::show(desk, ask, false).await,
        Endpoint::Callback(name) => {
            let mut methods = desk.snapshot.declared.login_methods.iter();
            let method = methods.find(|method| method.name.as_str() == name && offer::leads_elsewhere(method));
            provider::callback(desk, ask, method.ok_or_else(not_found)?).await
        }
        Endpoint::LoginTest if post => trial::begin(desk, ask, body).await,
        Endpoint::LoginTest => trial::show(desk, ask).await,
        Endpoint::Authorized => handover::redeem(desk, ask).await,
        Endpoint::Logout if post => logout::act(desk, ask, body).await,
        Endpoint::Logout => Ok(logout::ask(desk, ask)),
        Endpoint::Identity => Ok(identity::answer(desk, ask)),
        Endpoint::Certs(audience) => Ok(certs::answer(desk.keys, audience, ask.headers)),
        Endpoint::App => Ok(client_login::descriptor::answer(desk, ask)),
        Endpoint::Client if post => client_login::page::submit(desk, ask, body).await,
        Endpoint::Client => client_login::page::show(desk, ask).await,
        Endpoint::ClientDevice => Ok(client_login::endpoint::device(desk, ask, body, &base()).await),
        Endpoint::ClientToken => Ok(client_login::endpoint::token(desk, ask, body, reserved.kind_at).await),
        Endpoint::Account if post => account::submit(desk, ask, body).await,
        Endpoint::Account => account::show(desk, ask).await,
        Endpoint::AccountPasskey => account::passkeys::show_add(desk, ask),
        Endpoint::AccountDelete if post => account::passkeys::delete(desk, ask, body).await,
        Endpoint::AccountDelete => account::passkeys::ask_delete(desk, ask).await,
        Endpoint::Invite => account::invitation::show(desk, ask).await,
        Endpoint::PasskeyOptions => passkey::begin(desk, ask, &base(), body).await,
        Endpoint::PasskeyCallback => passkey::finish(desk, ask, &base(), body).await,
        Endpoint::PasskeyRegisterOptions => account::passkeys::begin(desk, ask, &base(), body).await,
        Endpoint::PasskeyRegister => account::passkeys::finish(desk, ask, &base(), body).await,
        Endpoint::Setup if post => {
            let (response, changed) = setup::submit(desk, ask, &about, body).await?;
            if changed {
                (reserved.reload)().await;
            }
            Ok(response)
        }
        Endpoint::Setup => setup::show(desk, ask, &about).await,
        Endpoint::Enroll if post && is_json(parts) => {
            let body = form::body(desk, ask, body).await?;
            Ok(enroll::endpoint::answer(&reserved.tunnels, ask.visit, &body).await)
        }
        Endpoint::Enroll if post => decide_enrolment(reserved, ask, body).await,
        Endpoint::Enroll => {
            let id = ask.parameter("id");
            let escaped: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
            let session = desk.require_administrator(ask, &format!("/.access/enroll?id={escaped}"))?;
            let token = form::token(desk.keys, "enroll", session.id());
            Ok(enroll::page::show(&reserved.tunnels, ask.visit, &desk.context(ask), &id, &token).await)
        }
    }
}

async fn decide_enrolment(reserved: &Reserved<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    let desk = &reserved.login;
    // Without a login the form cannot be ours, and its decision must not be kept for after one.
    let session = desk.session(ask).ok_or_else(|| Box::new(form::refused(desk, ask, "/")))?;
    let (_, fields) = form::bound_to(desk, ask, body, "enroll", "/", &[*session.id()]).await?;
    let session = desk.require_administrator(ask, "/")?;
    let token = form::token(desk.keys, "enroll", session.id());
    let form = approval::Form::parse(fields.raw());
    let (context, administrator) = (desk.context(ask), &session.identity().email);
    let submitted = enroll::page::submit(&reserved.tunnels, ask.visit, &context, administrator, form, &token);
    let (response, changed) = submitted.await;
    if changed {
        (reserved.reload)().await;
    }
    Ok(response)
}

fn is_json(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
