//! `/.access/cli` at the login host: the page on which a person lets a program in. Looking grants nothing.

use std::{net::IpAddr, sync::Arc};

use axum::body::Body;
use tunnel_policy::Application;
use tunnel_proto::{UnixTime, access::CLI_PATH};

use crate::{
    Response,
    login::{
        Answer, Ask, Desk,
        destination::{Destination, Judged},
        form,
    },
    pages::{ApproveClient, BadRequest, ClientCode, ClientResult, Form, Missing, NotFound, Onward, Waiting},
    session::Session,
    store::{AuditEvent, AuditRecord},
};

use super::{
    Consent, application,
    ask::{Asked, Callback, ClientAsk},
    device::{self, Refusal, Said, Typed},
    token,
};

/// The name of the form.
const FORM: &str = "cli";

/// What is asked for, by whom, of which application.
struct Case<'a> {
    ask: ClientAsk,
    way: Way,
    app: &'a Application,
}

/// How the program hears of the answer.
enum Way {
    /// By the browser, which goes to a port of this computer.
    Here(Callback),
    /// By polling, somewhere else.
    Elsewhere { id: String, source: IpAddr, waiting: Waiting },
}

impl<'a> Case<'a> {
    /// The case that a query names: a page instead when it makes no sense, or there is nothing to answer.
    async fn read(desk: &Desk<'a>, ask: &Ask<'_>, query: &str) -> Answer<Self> {
        let (reference, at) = (ask.visit.reference, ask.visit.now);
        let context = desk.context(ask);
        let (wanted, way) = match Asked::parse(query) {
            Some(Asked::Here(wanted, callback)) => (wanted, Way::Here(callback)),
            Some(Asked::Elsewhere(id)) => {
                let wish = device::waiting(desk, &id, at).await.map_err(|error| desk.fault(ask, &error))?;
                let wish = wish.ok_or_else(|| Box::new(ClientResult::Lapsed.render(&context)))?;
                let waiting = Waiting { asked: wish.asked, lapses: wish.expires, now: at };
                (wish.ask, Way::Elsewhere { id, source: wish.source, waiting })
            }
            None => return Err(Box::new(BadRequest { reference, at }.render(&context))),
        };
        let app = application(desk.snapshot, &wanted.app, &wanted.host).ok_or_else(|| {
            let missing = Missing::Hostname(wanted.host.clone());
            Box::new(NotFound { missing, reference, at }.render(&context))
        })?;
        // Switched off since it asked.
        if matches!(way, Way::Elsewhere { .. }) && !app.device_login {
            return Err(Box::new(ClientResult::Lapsed.render(&context)));
        }
        Ok(Self { ask: wanted, way, app })
    }

    /// Who is logged in here and admitted to the application, and for how long; else the way to log in and come back to
    /// `query`, or the page that turns them away.
    fn person(&self, desk: &Desk<'_>, ask: &Ask<'_>, query: &str) -> Answer<Person> {
        let (destination, host) = (Destination::Client(self.app), &self.ask.host);
        let accepted = |session: &Arc<Session>| {
            session.parent().is_none() && destination.accepts(desk.snapshot, session.identity(), session.issuer())
        };
        let Some(session) = desk.session(ask).filter(accepted) else {
            let response = match destination.is_hopeless(desk.snapshot, ask.visit.here()) {
                true => desk.denied(ask, host, None, "no login could help from this address"),
                false => desk.begin_client(ask, self.app, host, &format!("{CLI_PATH}?{query}")),
            };
            return Err(Box::new(response));
        };
        // Services are asked about the person when the token is made.
        match destination.prospect(desk.snapshot, session.who(), ask.visit.here()) {
            Judged::Admitted(life) => Ok(Person { session, until: ask.visit.now.plus(life) }),
            Judged::Denied(reason) => Err(Box::new(desk.denied(ask, host, Some(&session), &reason))),
        }
    }

    /// The address that the program asked from.
    fn source(&self, ask: &Ask<'_>) -> IpAddr {
        match &self.way {
            Way::Here(_) => ask.visit.source,
            Way::Elsewhere { source, .. } => *source,
        }
    }

    fn record(&self, desk: &Desk<'_>, ask: &Ask<'_>, session: &Session, event: AuditEvent) -> AuditRecord {
        let ClientAsk { command, computer, .. } = &self.ask;
        AuditRecord {
            actor: Some(session.identity().email.to_string()),
            object: Some(self.app.name.to_string()),
            detail: Some(format!("`{command}` on {computer}, asked from {}", self.source(ask))),
            ..desk.record(ask, event)
        }
    }

    /// The page; `wrong` when the code that was typed was another one.
    fn page(&self, desk: &Desk<'_>, ask: &Ask<'_>, person: &Person, query: &str, wrong: bool) -> ApproveClient {
        let Person { session, until } = person;
        let (code, waiting, same) = match &self.way {
            Way::Here(_) => (ClientCode::Compare(self.ask.code.clone()), None, None),
            // Who was sent a link has the page, but not the terminal in which the code stands.
            Way::Elsewhere { source, waiting, .. } => {
                let same = source.to_canonical() == ask.visit.source.to_canonical();
                (ClientCode::Type { wrong }, Some(*waiting), Some(same))
            }
        };
        ApproveClient {
            host: self.ask.host.clone(),
            app: self.app.name.clone(),
            email: session.identity().email.clone(),
            code,
            computer: self.ask.computer.clone(),
            command: self.ask.command.clone(),
            address: self.source(ask),
            same,
            waiting,
            until: *until,
            form: Form::new(form::token(desk.keys, FORM, session.id())).with("query", query),
        }
    }
}

/// Who decides.
struct Person {
    session: Arc<Session>,
    /// Until when the application admits them.
    until: UnixTime,
}

/// Shows it. Who is not logged in logs in for that application first.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    crate::faults::at("client page");
    let case = Case::read(desk, ask, ask.query).await?;
    let person = case.person(desk, ask, ask.query)?;
    if matches!(case.way, Way::Here(_)) {
        // A wish from elsewhere was recorded when it came.
        desk.audit.record(case.record(desk, ask, &person.session, AuditEvent::ClientAsked));
    }
    Ok(case.page(desk, ask, &person, ask.query, false).render(&desk.context(ask)))
}

/// Acts on its form. Everything but an explicit `approve` refuses.
pub(crate) async fn submit(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    // Without a login the form cannot be ours, and its decision must not be kept for after one.
    let session = desk.session(ask).ok_or_else(|| Box::new(form::refused(desk, ask, "/")))?;
    let (_, fields) = form::bound_to(desk, ask, body, FORM, "/", &[*session.id()]).await?;
    let query = fields.get("query");
    let case = Case::read(desk, ask, query).await?;
    let person = case.person(desk, ask, query)?;
    let session = &person.session;
    let approved = fields.get("answer") == "approve";
    let consent = || Consent {
        app: case.app.id,
        host: case.ask.host.clone(),
        login: *session.id(),
        identity: session.identity().clone(),
        issuer: session.issuer().to_owned(),
        attributes: Box::new(session.attributes().clone()),
        computer: case.ask.computer.clone(),
        elsewhere: matches!(case.way, Way::Elsewhere { .. }),
    };
    let event = if approved { AuditEvent::ClientApproved } else { AuditEvent::ClientRefused };
    let record = || desk.audit.record(case.record(desk, ask, session, event));
    match &case.way {
        Way::Here(callback) if approved => {
            let code = token::code_for(desk, ask, &consent(), callback).await;
            let code = code.map_err(|error| desk.fault(ask, &error))?;
            record();
            Ok(desk.lead(ask, Onward::Program, callback.with("code", &code.reveal())))
        }
        Way::Here(callback) => {
            record();
            Ok(desk.lead(ask, Onward::Program, callback.with("error", "access_denied")))
        }
        Way::Elsewhere { id, .. } => {
            if approved {
                let typed = device::compare(desk, id, &case.ask.code, fields.get("code"), ask.visit.now).await;
                let typed = typed.map_err(|error| desk.fault(ask, &error))?;
                if typed != Typed::TheCode {
                    let record = case.record(desk, ask, session, AuditEvent::Refused);
                    desk.audit.refused(AuditRecord {
                        detail: record.detail.map(|is| format!("{is}: another code was typed")),
                        ..record
                    });
                    let mut context = desk.context(ask);
                    context.back = Some(format!("{CLI_PATH}?{query}"));
                    if typed == Typed::Another {
                        return Ok(case.page(desk, ask, &person, query, true).render(&context));
                    }
                    // The program is told, and need not wait for what cannot come any more.
                    let told = device::decide(desk, id, &Said::No(Refusal::Guessed), ask.visit.now).await;
                    told.map_err(|error| desk.fault(ask, &error))?;
                    return Ok(
                        ClientResult::Guessed { reference: ask.visit.reference, at: ask.visit.now }.render(&context)
                    );
                }
            }
            let said = if approved { Said::Yes(Box::new(consent())) } else { Said::No(Refusal::Refused) };
            let decided = device::decide(desk, id, &said, ask.visit.now).await;
            let result = match decided.map_err(|error| desk.fault(ask, &error))? {
                None => ClientResult::Lapsed,
                Some(wish) => {
                    record();
                    match approved {
                        true => ClientResult::Approved {
                            computer: wish.ask.computer,
                            host: wish.ask.host,
                            until: person.until,
                        },
                        false => ClientResult::Refused,
                    }
                }
            };
            Ok(result.render(&desk.context(ask)))
        }
    }
}
