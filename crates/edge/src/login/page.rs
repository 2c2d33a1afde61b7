//! `GET /.access/login` at the login host: the page for the step that a login is at. Never consumes anything.

use http::header;
use tunnel_proto::AppId;

use crate::{
    Response,
    pages::{EmailProblem, Form, Login, Pin, PinProblem},
    session::cookie::{self, LOGIN_COOKIE, LOGIN_LIFE},
    store::SecretHash,
};

use super::{
    Answer, Ask, Desk,
    destination::Destination,
    form::token,
    handover, login_of,
    request::{Challenge, Request},
};

/// A login under way, as its address or form says.
pub(super) struct Step<'a> {
    pub(super) destination: Destination<'a>,
    pub(super) request: Request,
    /// The request as it came.
    sealed: String,
}

impl<'a> Step<'a> {
    /// The login that `app` and `request` name, unless it is too old or its application is gone.
    pub(super) fn read(desk: &Desk<'a>, ask: &Ask<'_>, app: &str, request: &str) -> Answer<Self> {
        let sealed = request.to_owned();
        let request = Request::open(desk.keys, request).ok_or_else(|| desk.start_again(ask, None))?;
        let named = app.parse::<AppId>().is_ok_and(|app| app == request.app);
        let destination = Destination::find(desk.snapshot, desk.login_host, &request.app);
        match destination {
            Some(destination) if named && request.is_live(ask.visit.now) => Ok(Self { destination, request, sealed }),
            _ => Err(desk.start_again(ask, Some(&request))),
        }
    }

    /// The address at which the step can be fetched by GET.
    pub(super) fn address(&self, challenge: Option<&str>, ask: &Ask<'_>) -> String {
        format!("/.access/login?{}", self.query(challenge, ask))
    }

    fn query(&self, challenge: Option<&str>, ask: &Ask<'_>) -> String {
        let mut query = format!("app={}&request={}", self.request.app, self.sealed);
        if let Some(challenge) = challenge {
            query += "&challenge=";
            query += challenge;
        }
        // A language that was chosen by a link stays chosen.
        if ask.query.split('&').any(|pair| pair.starts_with("lang=")) {
            query += "&lang=";
            query += ask.visit.lang.tag();
        }
        query
    }

    fn form(&self, desk: &Desk<'_>, name: &str, login: &SecretHash) -> Form {
        Form::new(token(desk.keys, name, login))
            .with("app", self.request.app.to_string())
            .with("request", self.sealed.clone())
    }

    /// The page that asks for an address.
    pub(super) fn ask_email(
        &self,
        desk: &Desk<'_>,
        ask: &Ask<'_>,
        login: &SecretHash,
        email: &str,
        problem: Option<EmailProblem>,
    ) -> Response {
        let mut context = desk.context(ask);
        context.query = Some(self.query(None, ask));
        let page = Login {
            host: self.request.named().clone(),
            form: self.form(desk, "login", login),
            email: email.to_owned(),
            problem,
            mail_delayed: desk.mail_delayed,
        };
        page.render(&context)
    }

    /// The page that asks for the code.
    pub(super) fn ask_code(
        &self,
        desk: &Desk<'_>,
        ask: &Ask<'_>,
        login: &SecretHash,
        (challenge, sealed): (&Challenge, &str),
        (typed, problem): (&str, Option<PinProblem>),
    ) -> Response {
        let mut context = desk.context(ask);
        context.query = Some(self.query(Some(sealed), ask));
        let page = Pin {
            host: self.request.named().clone(),
            email: challenge.email.to_string(),
            form: self.form(desk, "pin", login).with("challenge", sealed),
            again: self.form(desk, "login", login).with("challenge", sealed),
            other: self.address(None, ask),
            typed: typed.to_owned(),
            problem,
            mail_delayed: desk.mail_delayed,
            target: self.request.origin(),
        };
        page.render(&context)
    }
}

/// Answers it.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    let step = Step::read(desk, ask, &ask.parameter("app"), &ask.parameter("request"))?;
    let session = desk.session(ask).filter(|session| step.destination.accepts(session.identity()));
    let login = login_of(ask.headers);
    let hash = login.hash();
    let mut response = match session {
        Some(session) => handover::proceed(desk, ask, step.destination, &step.request, &session).await?,
        None if step.destination.is_hopeless(desk.snapshot, step.request.here(ask.visit.now)) => {
            desk.denied(ask, step.request.named(), None, "no login could help from this address")
        }
        None if step.destination.pin_method(desk.snapshot).is_none() => {
            desk.denied(ask, step.request.named(), None, "no login method is declared for it")
        }
        None => {
            let sealed = ask.parameter("challenge");
            let challenge = Challenge::open(desk.keys, &hash, &sealed).filter(|one| one.app == step.request.app);
            match challenge {
                Some(challenge) => step.ask_code(desk, ask, &hash, (&challenge, &sealed), ("", None)),
                None => step.ask_email(desk, ask, &hash, "", None),
            }
        }
    };
    if !response.headers().contains_key(header::SET_COOKIE) {
        cookie::set(response.headers_mut(), LOGIN_COOKIE, &login.reveal(), LOGIN_LIFE);
    }
    Ok(response)
}
