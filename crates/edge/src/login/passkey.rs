//! Logging in by a passkey.
//!
//! A script on the login page fetches what to ask (`POST /.access/passkey/options`), has the browser ask it, and brings the
//! answer back (`POST /.access/callback/passkey`). What was asked is kept here, bound to the login cookie, and taken for one
//! answer, right or wrong. The script then goes to the login page again, which sends whoever is logged in on their way.
//!
//! A passkey that was added after another login counts only while that login is repeated now and then: who has left a
//! company is gone from its provider, but still has the key (O9). A login by passkey is no such repetition. Where the
//! provider is asked again about logins, a passkey counts for no longer than the login before it would without the
//! provider's word, and not at all once that is refused. What was begun by a passkey ends when the passkey counts no more.
//! Of people whose provider is not declared any more no passkey counts.

use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tunnel_auth::{
    ChallengeId,
    passkeys::{Authentication, CHALLENGE_LIFE, LoginAnswer, Passkey, PasskeyError, RelyingParty},
    secret,
};
use tunnel_policy::Attributes;
use tunnel_proto::{AppId, Identity, Name, UnixTime};

use crate::{
    Response,
    enroll::endpoint,
    gate::NEVER,
    pages::PasskeyProblem,
    store::{
        AuditEvent, AuditRecord, ISSUER_INVITED, LoginMethodKind, OnceKind, OneTime, PasskeyMethod, PasskeyRecord,
        PersonRecord, SecretHash, StoreError,
    },
};

use super::{Answer, Ask, Desk, form, limits, page::Step, proven};

/// The form on the login page whose place the script takes.
pub(super) const FORM: &str = "passkey";
/// What is begun here, as its limits name it.
const QUESTIONS: &str = "questions for passkeys";
/// How often an answer is judged anew because the same passkey was used in between.
const RETRIES: u32 = 3;

/// What the script wants to log in to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    app: String,
    request: String,
}

/// What the browser answered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    app: String,
    request: String,
    challenge: String,
    credential: LoginAnswer,
}

/// What a browser was asked, and for what.
#[derive(Serialize, Deserialize)]
struct Asked {
    app: AppId,
    asked: Authentication,
}

/// What a browser is to be asked.
#[derive(Serialize)]
struct Question<'a> {
    challenge: &'a str,
    options: &'a Value,
}

/// Where a script goes next.
#[derive(Serialize)]
struct Next<'a> {
    next: &'a str,
}

/// `POST /.access/passkey/options`: what to ask. `base` is how visitors come to the login host.
pub(crate) async fn begin(desk: &Desk<'_>, ask: &Ask<'_>, base: &str, body: Body) -> Answer<Response> {
    crate::faults::at("passkey");
    let (login, wanted): (_, Begin) = form::json_of_login(desk, ask, body, FORM).await?;
    let step = Step::read(desk, ask, &wanted.app, &wanted.request)?;
    method(desk, ask, &step)?;
    limits::begin(desk, ask, QUESTIONS, limits::QUESTIONS_IN_ALL).await?;
    let begun = party(desk, ask, base)?.begin_login();
    let (options, asked) = begun.map_err(|error| desk.fault(ask, &error))?;
    let asked = Asked { app: step.request.app, asked };
    let challenge = keep(desk, ask, OnceKind::PasskeyLogin, &login, &asked).await?;
    Ok(question(&challenge, &options))
}

/// `POST /.access/callback/passkey`: the answer.
pub(crate) async fn finish(desk: &Desk<'_>, ask: &Ask<'_>, base: &str, body: Body) -> Answer<Response> {
    let (login, answer): (_, Finish) = form::json_of_login(desk, ask, body, FORM).await?;
    let step = Step::read(desk, ask, &answer.app, &answer.request)?;
    let (method, terms) = method(desk, ask, &step)?;
    let asked = take::<Asked>(desk, ask, OnceKind::PasskeyLogin, &login, &answer.challenge).await?;
    let asked = asked.filter(|asked| asked.app == step.request.app);
    let asked = asked.ok_or_else(|| problem(desk, ask, &PasskeyProblem::Void))?;
    let name = step.destination.name();
    let failed = |who: Option<&PersonRecord>, why: &str| {
        let record = AuditRecord {
            actor: who.map(|person| person.email.to_string()),
            object: Some(name.to_owned()),
            detail: Some(format!("by {method}: {why}")),
            ..desk.record(ask, AuditEvent::LoginFailed)
        };
        // What anybody can cause is counted.
        match who {
            Some(_) => desk.audit.record(record),
            None => desk.audit.refused(record),
        }
    };
    let refused = || problem(desk, ask, &PasskeyProblem::Refused);
    let (record, passkey) = match prove(desk, ask, base, &asked.asked, &answer.credential).await? {
        Ok(proven) => proven,
        Err(Unproven { of, why }) => {
            let person = match of {
                Some(record) => desk.store.person(record.person).await.map_err(|error| desk.fault(ask, &error))?,
                None => None,
            };
            failed(person.as_ref(), &why);
            return Err(refused());
        }
    };
    let person = desk.store.person(record.person).await.map_err(|error| desk.fault(ask, &error))?;
    let Some(person) = person else {
        failed(None, "a passkey of nobody");
        return Err(refused());
    };
    if !desk.snapshot.vouches_for(&person.issuer) {
        failed(Some(&person), "no login method is declared any more by which the person was made known");
        return Err(refused());
    }
    if !step.destination.believes(desk.snapshot, method, &person.issuer) {
        failed(Some(&person), "the person is not known by a login method that counts there");
        let others = step.destination.methods(desk.snapshot).into_iter();
        let others = others.filter(|one| !matches!(one.kind, LoginMethodKind::Passkey(_)));
        let methods: Vec<_> = others.map(|one| one.name.clone()).collect();
        if methods.is_empty() {
            return Err(refused());
        }
        return Err(problem(desk, ask, &PasskeyProblem::Elsewhere { methods }));
    }
    let until = |person: &PersonRecord| until(person, terms, desk.snapshot.word_counts_for(&person.issuer));
    if ask.visit.now >= until(&person) {
        failed(Some(&person), "the login that the passkey was added after is too long ago, or was refused since");
        let renew = PasskeyProblem::Renew { method: person.method };
        return Err(problem(desk, ask, &renew));
    }
    let attributes = Attributes { amr: passkey.amr().map(str::to_owned).to_vec(), ..Attributes::default() };
    let who = (person.email.clone(), method.clone(), attributes);
    let vouched = (person.id, person.issuer.as_str());
    let (session, id) = proven::begin(desk, ask, vouched, who, name, until(&person)).await?;
    // Whoever deleted the passkey meanwhile, or no longer vouches for its person, has ended what passkeys had begun until
    // then, and may not have seen this one.
    let kept = desk.store.passkey(&record.id).await.map_err(|error| desk.fault(ask, &error))?;
    let known = desk.store.person(person.id).await.map_err(|error| desk.fault(ask, &error))?;
    let now = ask.visit.now;
    if kept.is_none() || known.is_none_or(|known| now >= until(&known)) {
        desk.sessions.end(&[*session.id()]).await.map_err(|error| desk.fault(ask, &error))?;
        failed(Some(&person), "the passkey was deleted meanwhile, or its person refused");
        return Err(refused());
    }
    let mut response = next(&step.address(None, ask));
    proven::set_login(&mut response, &id);
    Ok(response)
}

fn method<'a>(desk: &Desk<'a>, ask: &Ask<'_>, step: &Step<'_>) -> Answer<(&'a Name, &'a PasskeyMethod)> {
    let method = step.destination.passkey_method(desk.snapshot);
    method.ok_or_else(|| desk.start_again(ask, Some(&step.request)))
}

/// Until when a person's passkeys count, as long as the issuer is one that counts: an administrator vouches for who was
/// invited, until they are removed; anybody else's issuer has to have done so at a login not too long ago. Its word counts
/// for `word` where it is asked again.
fn until(person: &PersonRecord, terms: &PasskeyMethod, word: Option<Duration>) -> UnixTime {
    match person.issuer.as_str() {
        ISSUER_INVITED => NEVER,
        _ => person.seen.plus(word.map_or(terms.renew, |word| terms.renew.min(word))),
    }
}

/// Until when anything that comes from a login may last: where that was by a passkey, as long as the passkey counts. `None`
/// when there is nobody any more whose passkey it was.
pub(crate) async fn ends(desk: &Desk<'_>, login: &Identity) -> Result<Option<UnixTime>, StoreError> {
    let Some(terms) = desk.snapshot.passkeys(&login.method) else { return Ok(Some(NEVER)) };
    let person = desk.store.person(login.person).await?;
    Ok(person.map(|person| until(&person, terms, desk.snapshot.word_counts_for(&person.issuer))))
}

/// An answer that proves nothing.
struct Unproven {
    /// Whose passkey it was made by, as far as that is certain.
    of: Option<PasskeyRecord>,
    why: String,
}

/// The passkey that made an answer, if it proves that its person is there. What it counts is written down.
async fn prove(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    base: &str,
    asked: &Authentication,
    answer: &LoginAnswer,
) -> Answer<Result<(PasskeyRecord, Passkey), Unproven>> {
    let (party, id) = (party(desk, ask, base)?, id(answer.credential()));
    for _ in 0..RETRIES {
        let found = desk.store.passkey(&id).await.map_err(|error| desk.fault(ask, &error))?;
        // The authenticator remembers for whom it made the passkey; the two must agree (WebAuthn Level 3, §7.2, step 6).
        let Some(record) = found.filter(|record| answer.person() == Some(record.person)) else {
            return Ok(Err(Unproven { of: None, why: "an unknown passkey".to_owned() }));
        };
        let mut passkey: Passkey = serde_json::from_str(&record.credential).map_err(|error| desk.fault(ask, &error))?;
        if let Err(error) = party.authenticate(asked, answer, &mut passkey) {
            // A signature that was good is needed to see a copy by its counter.
            let of = matches!(error, PasskeyError::Copied).then_some(record);
            return Ok(Err(Unproven { of, why: error.to_string() }));
        }
        let after = serde_json::to_string(&passkey).map_err(|error| desk.fault(ask, &error))?;
        let written = desk.store.use_passkey(&id, &record.credential, &after, ask.visit.now).await;
        if written.map_err(|error| desk.fault(ask, &error))? {
            return Ok(Ok((record, passkey)));
        }
    }
    Ok(Err(Unproven { of: None, why: "the passkey was used elsewhere in the same moment".to_owned() }))
}

/// The login host as browsers and authenticators know it.
pub(crate) fn party(desk: &Desk<'_>, ask: &Ask<'_>, base: &str) -> Answer<RelyingParty> {
    // In the quick start visitors come by plain HTTP, and by HTTPS too.
    let party = RelyingParty::new(desk.login_host, desk.zone.as_str(), &[base, desk.issuer]);
    party.map_err(|error| desk.fault(ask, &error))
}

/// The id under which a passkey is kept.
pub(crate) fn id(credential: &[u8]) -> SecretHash {
    secret::hash("passkey", credential)
}

/// Counts one question to somebody who is known; the page to answer with when there were too many.
pub(crate) async fn limit(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<()> {
    limits::of_source(desk, ask, QUESTIONS).await
}

const PURPOSE: &str = "passkey challenge";

/// Keeps what a browser is asked, for one answer of whoever presents `bind` again; returns what names it.
pub(crate) async fn keep(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    kind: OnceKind,
    bind: &SecretHash,
    asked: &impl Serialize,
) -> Answer<String> {
    let id = ChallengeId::from_random(crate::random());
    let key = id.hash();
    let plain = serde_json::to_vec(asked).map_err(|error| desk.fault(ask, &error))?;
    let payload = desk.keys.seal(PURPOSE, &key, &plain);
    let thing = OneTime { kind, key, bind: *bind, payload, expires: ask.visit.now.plus(CHALLENGE_LIFE) };
    desk.store.put_once(&thing).await.map_err(|error| desk.fault(ask, &error))?;
    Ok(id.reveal().to_string())
}

/// Takes what was kept under this name, once.
pub(crate) async fn take<T: DeserializeOwned>(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    kind: OnceKind,
    bind: &SecretHash,
    challenge: &str,
) -> Answer<Option<T>> {
    let Some(key) = ChallengeId::parse(challenge).map(|id| id.hash()) else { return Ok(None) };
    let now = ask.visit.now;
    // Made-up names cost a look, not a write.
    let waits = desk.store.peek_once(kind, &key, now).await.map_err(|error| desk.fault(ask, &error))?;
    if waits.is_none() {
        return Ok(None);
    }
    let taken = desk.store.take_once(kind, &key, bind, now).await.map_err(|error| desk.fault(ask, &error))?;
    let Some(sealed) = taken else { return Ok(None) };
    let plain = desk.keys.open(PURPOSE, &key, &sealed).map_err(|error| desk.fault(ask, &error))?;
    serde_json::from_slice(plain.expose()).map(Some).map_err(|error| desk.fault(ask, &error))
}

/// What a browser is to be asked, for our script.
pub(crate) fn question(challenge: &str, options: &Value) -> Response {
    endpoint::json(StatusCode::OK, &Question { challenge, options })
}

/// Where our script goes next.
pub(crate) fn next(address: &str) -> Response {
    endpoint::json(StatusCode::OK, &Next { next: address })
}

/// What our script tells the person instead.
pub(crate) fn problem(desk: &Desk<'_>, ask: &Ask<'_>, problem: &PasskeyProblem) -> Box<Response> {
    Box::new(problem.render(&desk.context(ask), &ask.visit.reference))
}

#[cfg(test)]
mod tests {
    use tunnel_proto::PersonId;

    use super::*;
    use crate::store::ISSUER_MAILBOX;

    // O9
    #[test]
    fn a_passkey_counts_as_long_as_somebody_vouches_for_its_person() {
        let person = |issuer: &str| PersonRecord {
            id: PersonId::from_bytes([1; 16]),
            issuer: issuer.to_owned(),
            subject: "1".into(),
            email: "ann@example.com".parse().unwrap(),
            method: "pin".parse().unwrap(),
            attributes: Attributes::default(),
            created: UnixTime(0),
            seen: UnixTime(1000),
            source: None,
        };
        let terms = PasskeyMethod { renew: Duration::from_secs(60) };
        for (issuer, word, ends) in [
            ("https://a.example", None, UnixTime(1060)),
            ("https://a.example", Some(20), UnixTime(1020)),
            ("https://a.example", Some(100), UnixTime(1060)),
            (ISSUER_MAILBOX, None, UnixTime(1060)),
            (ISSUER_INVITED, None, NEVER),
            (ISSUER_INVITED, Some(20), NEVER),
        ] {
            assert_eq!(until(&person(issuer), &terms, word.map(Duration::from_secs)), ends, "{issuer}, {word:?}");
        }
    }
}
