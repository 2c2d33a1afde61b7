//! The set-up page: whoever has the link proves an address by a code, and is an administrator.

use axum::body::Body;
use tunnel_auth::secret;
use tunnel_proto::{AppId, EmailAddress};

use crate::{
    Response,
    pages::{EmailProblem, Form, PinProblem, SetupDone, SetupEmail, SetupLapsed, SetupPin},
    session::cookie::{self, LOGIN_COOKIE, LOGIN_LIFE},
    setup::{self, SetupError},
    store::SecretHash,
    tunnels,
};

use super::{Answer, Ask, Desk, decision::Opens, form, login_of, pin, proven, request::Challenge};

/// What the set-up needs beside the desk.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) tunnels: tunnels::Desk<'a>,
    /// The administrators that are not stored.
    pub(crate) configured: &'a [EmailAddress],
    /// Whether codes appear in the terminal of the edge.
    pub(crate) in_terminal: bool,
}

/// `GET /.access/setup?token=…`. Uses nothing up.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>, setup: &Setup<'_>) -> Answer<Response> {
    crate::faults::at("set-up");
    let link = ask.parameter("token");
    check(desk, ask, setup, &link).await?;
    let login = login_of(ask.headers);
    let mut response = ask_email(desk, ask, &login.hash(), &link, "", None);
    cookie::set(response.headers_mut(), LOGIN_COOKIE, &login.reveal(), LOGIN_LIFE);
    Ok(response)
}

/// `POST /.access/setup`: an address, or the code for it. Also says whether somebody became an administrator, so that a
/// new snapshot is due.
pub(crate) async fn submit(desk: &Desk<'_>, ask: &Ask<'_>, setup: &Setup<'_>, body: Body) -> Answer<(Response, bool)> {
    let (login, fields) = form::of_login(desk, ask, body, "setup", "/").await?;
    let link = fields.get("token");
    check(desk, ask, setup, link).await?;
    let sealed = fields.get("challenge");
    let method = "pin".parse().map_err(|error: tunnel_proto::name::NameError| desk.fault(ask, &error))?;
    let app = app(desk);
    if sealed.is_empty() {
        let typed = fields.get("email");
        let Ok(email) = typed.trim().parse() else {
            return Ok((ask_email(desk, ask, &login, link, typed, Some(EmailProblem::NotAnAddress)), false));
        };
        let wanted = pin::Wanted {
            app,
            opens: Opens::Setup,
            name: "set-up".to_owned(),
            host: desk.login_host.clone(),
            email,
            method,
            judged: ask.visit.here(),
        };
        let challenge = pin::open(desk, ask, &login, wanted).await?;
        return Ok((ask_code(desk, ask, setup, &login, link, (&challenge, "", None)), false));
    }
    let challenge = Challenge::open(desk.keys, &login, sealed).filter(|one| one.app == app);
    let challenge = challenge.ok_or_else(|| desk.start_again(ask, None))?;
    let typed = fields.get("code");
    let email = match pin::attempt(desk, ask, &login, &challenge, "set-up", typed).await? {
        Ok(email) => email,
        Err(problem) => {
            return Ok((ask_code(desk, ask, setup, &login, link, (&challenge, typed, Some(problem))), false));
        }
    };
    let done = setup::complete(&setup.tunnels, link, &email, setup.configured).await;
    done.map_err(|error| lapsed(desk, ask, &error))?;
    let (_, id) = proven::set_up(desk, ask, email.clone(), method).await?;
    let mut context = desk.context(ask);
    context.no_administrator_yet = false;
    let commands = vec!["connector --hostname www.localhost --url http://localhost:3000".to_owned()];
    let commands = if desk.quick_start { commands } else { Vec::new() };
    let mut response = SetupDone { email, commands }.render(&context);
    proven::set_login(&mut response, &id);
    Ok((response, true))
}

async fn check(desk: &Desk<'_>, ask: &Ask<'_>, setup: &Setup<'_>, link: &str) -> Answer<()> {
    let there_is_one = desk.snapshot.has_administrator();
    setup::check(&setup.tunnels, link, there_is_one).await.map_err(|error| lapsed(desk, ask, &error))
}

fn lapsed(desk: &Desk<'_>, ask: &Ask<'_>, error: &SetupError) -> Box<Response> {
    match error {
        SetupError::Gone | SetupError::Done => Box::new(SetupLapsed.render(&desk.context(ask))),
        SetupError::Problem(problem) => desk.fault(ask, problem),
    }
}

fn ask_email(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    login: &SecretHash,
    link: &str,
    email: &str,
    problem: Option<EmailProblem>,
) -> Response {
    let mut context = desk.context(ask);
    context.back = Some(address(link));
    let form = Form::new(form::token(desk.keys, "setup", login)).with("token", link);
    SetupEmail { form, email: email.to_owned(), problem }.render(&context)
}

fn ask_code(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    setup: &Setup<'_>,
    login: &SecretHash,
    link: &str,
    (challenge, typed, problem): (&Challenge, &str, Option<PinProblem>),
) -> Response {
    let mut context = desk.context(ask);
    context.back = Some(address(link));
    let form = Form::new(form::token(desk.keys, "setup", login)).with("token", link);
    let again = form.clone().with("email", challenge.email.to_string());
    let form = form.with("challenge", challenge.seal(desk.keys, login));
    let page = SetupPin {
        email: challenge.email.clone(),
        in_terminal: setup.in_terminal,
        form,
        again,
        other: address(link),
        typed: typed.to_owned(),
        problem,
    };
    page.render(&context)
}

/// The address of the first step.
fn address(link: &str) -> String {
    let link: String = url::form_urlencoded::byte_serialize(link.as_bytes()).collect();
    format!("/.access/setup?token={link}")
}

/// What the challenges of the set-up are bound to.
fn app(desk: &Desk<'_>) -> AppId {
    AppId::from_bytes(secret::hash("set-up", desk.login_host.as_str().as_bytes()))
}
