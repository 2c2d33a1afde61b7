//! Logging in by a one-time PIN: asking for a code, and typing it.

use std::net::IpAddr;

use axum::body::Body;
use http::header;
use tunnel_auth::{ChallengeId, Pin, pin};
use tunnel_policy::Circumstances;
use tunnel_proto::{AppId, EmailAddress, Hostname, Name};

use crate::{
    Response,
    pages::{EmailProblem, PinProblem, TooManyRequests},
    store::{AuditEvent, AuditRecord, PinAttempt, PinOutcome, PinRecord, RateLimit, SecretHash},
};

use super::{
    Answer, Ask, Desk,
    decision::{Opens, PinJob},
    form::{self, Fields},
    handover,
    page::Step,
    proven::{self, Proven},
    request::Challenge,
    see_other,
};

/// What is kept of a `User-Agent`.
const USER_AGENT_MAX: usize = 400;
/// What whoever asks too often is told to wait, in seconds.
const WAIT: u32 = 30;
const ADDRESS: &str = "pin address";

/// A code that is wanted.
pub(crate) struct Wanted {
    /// What it opens, as the challenge is bound to it.
    pub(crate) app: AppId,
    /// What it opens, as it is judged.
    pub(crate) opens: Opens,
    /// The name of that, for the record.
    pub(crate) name: String,
    /// The host that the mail names.
    pub(crate) host: Hostname,
    /// The address that was typed.
    pub(crate) email: EmailAddress,
    /// The login method.
    pub(crate) method: Name,
    /// The circumstances by which policies are judged.
    pub(crate) judged: Circumstances,
}

/// An address was typed (`method=pin`), or a new code is wanted (`method=pin-again`).
pub(super) async fn ask_for_code(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    login: &SecretHash,
    step: &Step<'_>,
    fields: &Fields,
) -> Answer<Response> {
    let method = step.destination.pin_method(desk.snapshot).ok_or_else(|| desk.start_again(ask, None))?;
    let email = match fields.get("method") {
        "pin" => {
            let typed = fields.get("email");
            match typed.trim().parse() {
                Ok(email) => email,
                Err(_) => {
                    let problem = Some(EmailProblem::NotAnAddress);
                    return Ok(step.choose(desk, ask, login, typed, problem));
                }
            }
        }
        "pin-again" => {
            let before = Challenge::open(desk.keys, login, fields.get("challenge"));
            before.ok_or_else(|| desk.start_again(ask, Some(&step.request)))?.email
        }
        _ => return Err(desk.start_again(ask, Some(&step.request))),
    };
    let wanted = Wanted {
        app: step.request.app,
        opens: Opens::Destination(step.request.app),
        name: step.destination.name().to_owned(),
        host: step.request.named().clone(),
        email,
        method,
        judged: step.request.here(ask.visit.now),
    };
    let challenge = open(desk, ask, login, wanted).await?;
    let sealed = challenge.seal(desk.keys, login);
    Ok(see_other(&ask.visit.url(desk.login_host, &step.address(Some(&sealed), ask))))
}

/// `POST /.access/callback/pin`: a code was typed.
pub(crate) async fn answer_code(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    crate::faults::at("code");
    let (login, fields) = form::of_login(desk, ask, body, "pin", "/").await?;
    let step = Step::read(desk, ask, fields.get("app"), fields.get("request"))?;
    let (sealed, typed) = (fields.get("challenge"), fields.get("code"));
    let challenge = Challenge::open(desk.keys, &login, sealed).filter(|one| one.app == step.request.app);
    let challenge = challenge.ok_or_else(|| desk.start_again(ask, Some(&step.request)))?;
    let method = step.destination.pin_method(desk.snapshot).ok_or_else(|| desk.start_again(ask, None))?;
    let name = step.destination.name();
    let email = match attempt(desk, ask, &login, &challenge, name, typed).await? {
        Ok(email) => email,
        Err(problem) => {
            return Ok(step.ask_code(desk, ask, &login, (&challenge, sealed), (typed, Some(problem))));
        }
    };
    let (session, id) = proven::log_in(desk, ask, Proven::mailbox(email, method), name).await?;
    let mut response = handover::proceed(desk, ask, step.destination, &step.request, &session).await?;
    proven::set_login(&mut response, &id);
    Ok(response)
}

/// Opens a challenge and puts the decision about its mail into the queue. The same steps for every address; when a limit is
/// reached, or the queue full, the page that says so does not depend on it either.
pub(crate) async fn open(desk: &Desk<'_>, ask: &Ask<'_>, login: &SecretHash, wanted: Wanted) -> Answer<Challenge> {
    let visit = ask.visit;
    let place = desk.pins.place().ok_or_else(|| too_many(desk, ask))?;
    let mailbox = pin::mailbox(&wanted.email);
    let limits: [(&str, &[u8], &[pin::Limit]); 3] = [
        ("pins of a source", &network(visit.source), &pin::PER_SOURCE),
        ("pins of an address", mailbox.as_bytes(), &pin::PER_ADDRESS),
        ("pins in all", &[], &pin::IN_ALL),
    ];
    for (what, key, limits) in limits {
        within(desk, ask, what, key, &rate(limits)).await?;
    }
    let id = ChallengeId::from_random(crate::random());
    let hash = id.hash();
    let record = PinRecord {
        id: hash,
        login: *login,
        app: wanted.app,
        email: desk.keys.seal(ADDRESS, &hash, wanted.email.as_str().as_bytes()),
        created: visit.now,
        expires: visit.now.plus(pin::LIFE_FROM_REQUEST),
    };
    desk.store.open_pin(&record).await.map_err(|error| desk.fault(ask, &error))?;
    desk.audit.record(AuditRecord {
        object: Some(wanted.name),
        detail: Some(format!("for {}", wanted.email)),
        ..desk.record(ask, AuditEvent::PinRequested)
    });
    let user_agent = ask.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    place.send(PinJob {
        challenge: hash,
        login: *login,
        opens: wanted.opens,
        host: wanted.host,
        email: wanted.email.clone(),
        method: wanted.method,
        judged: wanted.judged,
        source: visit.source,
        asked: visit.now,
        user_agent: user_agent.chars().take(USER_AGENT_MAX).collect(),
        lang: visit.lang,
        reference: visit.reference,
    });
    Ok(Challenge::new(&id, wanted.email, wanted.app))
}

/// One try at a code: the address that it proves, or what was the matter.
pub(crate) async fn attempt(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    login: &SecretHash,
    challenge: &Challenge,
    name: &str,
    typed: &str,
) -> Answer<Result<EmailAddress, PinProblem>> {
    let Some(pin) = Pin::from_typed(typed) else { return Ok(Err(PinProblem::NotDigits)) };
    let id = challenge.hash().ok_or_else(|| desk.start_again(ask, None))?;
    let mailbox = pin::mailbox(&challenge.email);
    within(desk, ask, "tries of a source", &network(ask.visit.source), &rate(&pin::TRIES_PER_SOURCE)).await?;
    within(desk, ask, "tries of an address", mailbox.as_bytes(), &rate(&pin::TRIES_PER_ADDRESS)).await?;
    let code = pin.hash(desk.keys.hash_key(), &id, login);
    let (app, now) = (challenge.app, ask.visit.now);
    let attempt = PinAttempt { id, login: *login, app, code, now, max_tries: pin::MAX_TRIES };
    let outcome = desk.store.try_pin(&attempt).await.map_err(|error| desk.fault(ask, &error))?;
    let (problem, why) = match outcome {
        PinOutcome::Right(sealed) => {
            let opened = desk.keys.open(ADDRESS, &id, &sealed).map_err(|error| desk.fault(ask, &error))?;
            let email = std::str::from_utf8(opened.expose()).ok().and_then(|text| text.parse().ok());
            return email.map(Ok).ok_or_else(|| desk.fault(ask, &"a sealed address cannot be read"));
        }
        PinOutcome::Wrong(left) => (PinProblem::Wrong { left }, "wrong code"),
        PinOutcome::Void => (PinProblem::Void, "void code"),
        PinOutcome::Expired => (PinProblem::Expired, "expired code"),
        PinOutcome::Unknown => (PinProblem::Void, "unknown code"),
    };
    desk.audit.record(AuditRecord {
        object: Some(name.to_owned()),
        detail: Some(format!("{why} for {}", challenge.email)),
        ..desk.record(ask, AuditEvent::PinFailed)
    });
    Ok(Err(problem))
}

/// Counts one event; the page to answer with when there were too many.
pub(super) async fn within(desk: &Desk<'_>, ask: &Ask<'_>, what: &str, key: &[u8], limits: &[RateLimit]) -> Answer<()> {
    let key = desk.keys.keyed_hash("limit", &[what.as_bytes(), key]);
    let held = desk.store.count(&key, ask.visit.now, limits).await.map_err(|error| desk.fault(ask, &error))?;
    if held {
        return Ok(());
    }
    tracing::debug!(what, reference = %ask.visit.reference, "a limit is reached");
    desk.audit
        .refused(AuditRecord { detail: Some(format!("too many {what}")), ..desk.record(ask, AuditEvent::Refused) });
    Err(too_many(desk, ask))
}

fn rate(limits: &[pin::Limit]) -> Vec<RateLimit> {
    limits.iter().map(|limit| RateLimit { events: limit.events, window: limit.window }).collect()
}

fn too_many(desk: &Desk<'_>, ask: &Ask<'_>) -> Box<Response> {
    let page = TooManyRequests { retry_after: WAIT, reference: ask.visit.reference, at: ask.visit.now };
    Box::new(page.render(&desk.context(ask)))
}

/// The network that shares the limits of a source: a /24 of IPv4, a /56 of IPv6.
pub(super) fn network(source: IpAddr) -> Vec<u8> {
    match source.to_canonical() {
        IpAddr::V4(v4) => v4.octets().iter().take(3).copied().collect(),
        // What one customer of a provider has at least (RFC 6177).
        IpAddr::V6(v6) => v6.octets().iter().take(7).copied().collect(),
    }
}

/// The network that one holder may have many of the former in: a /16 of IPv4, a /48 of IPv6.
pub(super) fn wide_network(source: IpAddr) -> Vec<u8> {
    match source.to_canonical() {
        IpAddr::V4(v4) => v4.octets().iter().take(2).copied().collect(),
        // What whoever asks for one gets (RFC 6177).
        IpAddr::V6(v6) => v6.octets().iter().take(6).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // P3
    #[test]
    fn neighbours_share_the_limits_of_their_network() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.7"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:ff::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:100::1"));
        let wide = |text: &str| wide_network(text.parse().unwrap());
        assert_eq!(wide("192.0.2.1"), wide("::ffff:192.0.255.7"));
        assert_ne!(wide("192.0.2.1"), wide("192.1.2.1"));
        assert_eq!(wide("2001:db8::1"), wide("2001:db8:0:ffff::1"));
        assert_ne!(wide("2001:db8::1"), wide("2001:db8:1::1"));
    }
}
