//! `GET /.access/login` at the login host: the page for the step that a login is at. Never consumes anything.

use axum::body::Body;
use http::header;
use tunnel_auth::secret;
use tunnel_proto::{AppId, Name};

use crate::{
    Response,
    pages::{EmailProblem, Form, Leaving, Login, MethodChoice, PasskeyButton, Pin, PinProblem},
    session::cookie::{self, LOGIN_COOKIE, LOGIN_LIFE, OUT_COOKIE},
    store::{LoginMethod, SecretHash},
};

use super::{
    Answer, Ask, Desk,
    destination::Destination,
    form::{self, token},
    handover, login_of, offer, passkey, pin, provider,
    request::{Challenge, Request},
    see_other,
};

/// A login under way, as its address or form says.
pub(super) struct Step<'a> {
    pub(super) destination: Destination<'a>,
    pub(super) request: Request,
    /// The request as it came.
    pub(super) sealed: String,
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

    /// The login that a sealed request names.
    pub(super) fn resume(desk: &Desk<'a>, ask: &Ask<'_>, request: &str) -> Answer<Self> {
        let app = Request::open(desk.keys, request).map(|request| request.app.to_string()).unwrap_or_default();
        Self::read(desk, ask, &app, request)
    }

    /// The address at which the step can be fetched by GET.
    pub(super) fn address(&self, challenge: Option<&str>, ask: &Ask<'_>) -> String {
        format!("/.access/login?{}", self.query(challenge, !ask.parameter(CHOOSE).is_empty()))
    }

    /// The address of the page on which one chooses how to log in, which is then not passed over.
    pub(super) fn address_to_choose(&self) -> String {
        format!("/.access/login?{}", self.query(None, true))
    }

    fn query(&self, challenge: Option<&str>, choose: bool) -> String {
        let mut query = format!("app={}&request={}", self.request.app, self.sealed);
        if let Some(challenge) = challenge {
            query += "&challenge=";
            query += challenge;
        }
        if choose {
            query += "&";
            query += CHOOSE;
            query += "=1";
        }
        query
    }

    pub(super) fn form(&self, desk: &Desk<'_>, name: &str, login: &SecretHash) -> Form {
        Form::new(token(desk.keys, name, login))
            .with("app", self.request.app.to_string())
            .with("request", self.sealed.clone())
    }

    /// The methods that the page offers beside a PIN, without one.
    pub(super) fn others(&self, desk: &Desk<'_>, without: &Name) -> Vec<MethodChoice> {
        let offered = self.destination.methods(desk.snapshot);
        offer::choices(&offered, &desk.snapshot.declared.login_methods, Some(without))
    }

    /// The only way to log in, if it leads to somebody else and the page that offers it may be passed over.
    fn only_way(&self, desk: &Desk<'a>, ask: &Ask<'_>) -> Option<&'a LoginMethod> {
        let [only] = self.destination.methods(desk.snapshot)[..] else { return None };
        let asked = !ask.parameter(CHOOSE).is_empty() || desk.context(ask).json || has_left(desk, ask);
        let asked = asked || !form::is_navigation(ask.headers);
        let request = secret::hash("login request", self.sealed.as_bytes());
        (offer::leads_elsewhere(only) && !asked && desk.providers.skip(request)).then_some(only)
    }

    /// The page on which one chooses how to log in, and types an address for a PIN.
    pub(super) fn choose(
        &self,
        desk: &Desk<'_>,
        ask: &Ask<'_>,
        login: &SecretHash,
        email: &str,
        problem: Option<EmailProblem>,
    ) -> Response {
        let mut context = desk.context(ask);
        context.back = Some(self.address(None, ask));
        let offered = self.destination.methods(desk.snapshot);
        let page = Login {
            host: self.request.named().clone(),
            form: self.form(desk, "login", login),
            methods: offer::choices(&offered, &desk.snapshot.declared.login_methods, None),
            pin: self.destination.pin_method(desk.snapshot).is_some(),
            passkey: self.passkey_button(desk, login),
            email: email.to_owned(),
            problem,
            mail_delayed: desk.mail_delayed,
        };
        page.render(&context)
    }

    /// What the page needs to offer a login by passkey, where there is such a method.
    pub(super) fn passkey_button(&self, desk: &Desk<'_>, login: &SecretHash) -> Option<PasskeyButton> {
        let (name, _) = self.destination.passkey_method(desk.snapshot)?;
        Some(PasskeyButton { name: name.clone(), form: self.form(desk, passkey::FORM, login) })
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
        context.back = Some(self.address(Some(sealed), ask));
        let page = Pin {
            host: self.request.named().clone(),
            email: challenge.email.to_string(),
            form: self.form(desk, "pin", login).with("challenge", sealed),
            again: self.form(desk, "login", login).with("challenge", sealed),
            other: self.address_to_choose(),
            typed: typed.to_owned(),
            problem,
            mail_delayed: desk.mail_delayed,
        };
        page.render(&context)
    }
}

/// The parameter of an address by which the page is asked for that could be passed over.
const CHOOSE: &str = "choose";

/// Whether this browser has just been logged out here: whoever did that does not want to be back at once.
fn has_left(desk: &Desk<'_>, ask: &Ask<'_>) -> bool {
    let cookies = || ask.headers.get_all(header::COOKIE);
    !cookie::values(cookies(), OUT_COOKIE).is_empty() || desk.sessions.has_ended(cookies())
}

/// Answers it. `skip` lets a page be passed over on which there is only one way to choose.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>, skip: bool) -> Answer<Response> {
    crate::faults::at("login page");
    let step = Step::read(desk, ask, &ask.parameter("app"), &ask.parameter("request"))?;
    let session = desk.session(ask).filter(|session| {
        let identity = session.identity();
        step.destination.accepts(desk.snapshot, identity, session.issuer())
            && step.request.is_served_by(identity.authenticated)
    });
    let login = login_of(ask.headers);
    let hash = login.hash();
    let mut response = match session {
        Some(session) => handover::proceed(desk, ask, step.destination, &step.request, &session).await?,
        None if step.destination.is_hopeless(desk.snapshot, step.request.here(ask.visit.now)) => {
            desk.denied(ask, step.request.named(), None, "no login could help from this address")
        }
        None if step.destination.methods(desk.snapshot).is_empty() => {
            desk.denied(ask, step.request.named(), None, "no login method is declared for it")
        }
        None => {
            let sealed = ask.parameter("challenge");
            let challenge = Challenge::open(desk.keys, &hash, &sealed).filter(|one| one.app == step.request.app);
            let challenge = challenge.filter(|_| step.destination.pin_method(desk.snapshot).is_some());
            match challenge {
                Some(challenge) => step.ask_code(desk, ask, &hash, (&challenge, &sealed), ("", None)),
                None => match skip.then(|| step.only_way(desk, ask)).flatten() {
                    Some(only) => provider::start(desk, ask, &step, &hash, only, false)
                        .await?
                        .map_or_else(|failed| *failed, |url| see_other(&url)),
                    None => step.choose(desk, ask, &hash, "", None),
                },
            }
        }
    };
    if !response.headers().contains_key(header::SET_COOKIE) {
        cookie::set(response.headers_mut(), LOGIN_COOKIE, &login.reveal(), LOGIN_LIFE);
    }
    Ok(response)
}

/// `POST /.access/login`: a way was chosen.
pub(crate) async fn submit(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    crate::faults::at("login form");
    let (login, fields) = form::of_login(desk, ask, body, "login", "/").await?;
    let step = Step::read(desk, ask, fields.get("app"), fields.get("request"))?;
    let chosen = fields.get("method");
    if let "pin" | "pin-again" = chosen {
        return pin::ask_for_code(desk, ask, &login, &step, &fields).await;
    }
    let offered = step.destination.methods(desk.snapshot);
    let method = offered.into_iter().find(|method| method.name.as_str() == chosen && offer::leads_elsewhere(method));
    let method = method.ok_or_else(|| desk.start_again(ask, Some(&step.request)))?;
    // Whoever has left, or was told that this account will not do, means another one.
    let other = !fields.get("account").is_empty() || has_left(desk, ask);
    let sent = provider::start(desk, ask, &step, &login, method, other).await?;
    let label = provider::label(desk, method);
    Ok(sent.map_or_else(|failed| *failed, |url| Leaving { label, url }.render(&desk.context(ask))))
}
