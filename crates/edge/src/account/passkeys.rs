//! Adding a passkey, after a login or by an invitation; deleting one.
//!
//! Adding needs a login from a moment ago, or an invitation: whoever finds a browser open must not be able to make a key to
//! come back with. What the browser is asked is kept for one answer, bound to the session or, for an invitation, to the
//! login cookie.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use serde::{Deserialize, Serialize};
use tunnel_auth::{
    SessionId,
    passkeys::{Passkey, PasskeyError, Registration, RegistrationAnswer},
};
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Name, PersonId};

use crate::{
    Response,
    gate::NEVER,
    login::{
        Answer, Ask, Desk, form,
        passkey::{id, keep, limit, next, party, problem, question, take},
        proven, see_other,
    },
    mail::PasskeyMail,
    pages::{AddPasskey, DeletePasskey, Form, LoginRequired, PasskeyProblem},
    passkeys::is_by_passkey,
    session::{Session, cookie},
    store::{
        AuditEvent, AuditRecord, ISSUER_INVITED, InvitationRecord, Joined, Joining, LoginMethodKind, OnceKind,
        PASSKEYS_MAX, PasskeyKept, PasskeyRecord, RateLimit, SecretHash,
    },
};

use super::{PATH, invitation, line, number};

/// How long ago a login may be for a passkey to be added.
pub(super) const RECENT: Duration = Duration::from_secs(15 * 60);
/// The longest name of a passkey, in characters.
pub(super) const LABEL_MAX: usize = 64;
/// Mails about new passkeys of one person: enough to be warned, too few to fill a mailbox.
const MAILS: RateLimit = RateLimit { events: 10, window: Duration::from_secs(24 * 3600) };
/// Where one is added, and deleted.
const ADD_PATH: &str = "/.access/account/passkey";
const DELETE_PATH: &str = "/.access/account/delete";
/// The forms whose place the script takes: after a login, and by an invitation.
const ADD: &str = "add passkey";
pub(super) const JOIN: &str = "join";

/// What the script wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    /// The secret of an invitation; without it, whoever is logged in adds a passkey.
    #[serde(default)]
    invitation: String,
    /// Sent along, and not looked at yet.
    #[serde(default, rename = "label")]
    _label: String,
}

/// What the browser answered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    #[serde(default)]
    invitation: String,
    /// What the person calls the passkey.
    #[serde(default)]
    label: String,
    challenge: String,
    credential: RegistrationAnswer,
}

/// What a browser was asked, and for whom.
#[derive(Serialize, Deserialize)]
struct Asked {
    person: PersonId,
    asked: Registration,
}

/// Who is to have a passkey.
enum Owner {
    /// Whoever is logged in.
    Member(Arc<Session>),
    /// Whoever has an invitation, in the browser with this login cookie.
    Guest(InvitationRecord, SecretHash),
}

impl Owner {
    /// The owner that the script's words are about, if the form was theirs.
    async fn of(desk: &Desk<'_>, ask: &Ask<'_>, form: (&str, SecretHash), invitation: &str) -> Answer<Self> {
        match form {
            (JOIN, login) => {
                let found = invitation::find(desk, ask, invitation).await?;
                let found = found.ok_or_else(|| problem(desk, ask, &PasskeyProblem::InvitationGone))?;
                Ok(Self::Guest(found, login))
            }
            _ if !invitation.is_empty() => Err(Box::new(form::refused(desk, ask, PATH))),
            _ => Ok(Self::Member(desk.require_member(ask, ADD_PATH, None)?)),
        }
    }

    fn person(&self) -> PersonId {
        match self {
            Self::Member(session) => session.identity().person,
            Self::Guest(invitation, _) => invitation.person,
        }
    }

    fn email(&self) -> &EmailAddress {
        match self {
            Self::Member(session) => &session.identity().email,
            Self::Guest(invitation, _) => &invitation.email,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Member(session) => session.identity().email.as_str(),
            Self::Guest(invitation, _) => invitation.name.as_deref().unwrap_or(invitation.email.as_str()),
        }
    }

    /// What the question is bound to.
    fn bind(&self) -> &SecretHash {
        match self {
            Self::Member(session) => session.id(),
            Self::Guest(_, login) => login,
        }
    }
}

/// The forms that the request's browser may send: of its session, and of its login cookies.
fn forms(desk: &Desk<'_>, ask: &Ask<'_>) -> Vec<(&'static str, SecretHash)> {
    let member = desk.session(ask).map(|session| (ADD, *session.id()));
    member.into_iter().chain(cookie::logins(ask.headers).iter().map(|login| (JOIN, login.hash()))).collect()
}

/// The login method by passkey, if one is declared.
pub(super) fn method<'a>(desk: &Desk<'a>) -> Option<&'a Name> {
    let mut methods = desk.snapshot.declared.login_methods.iter();
    methods.find(|method| matches!(method.kind, LoginMethodKind::Passkey(_))).map(|method| &method.name)
}

/// `GET /.access/account/passkey`: the page on which one is added. Asks for a login that is recent.
pub(crate) fn show_add(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    let session = desk.require_member(ask, ADD_PATH, Some(RECENT))?;
    if method(desk).is_none() {
        return Ok(see_other(&ask.visit.url(desk.login_host, PATH)));
    }
    let page = AddPasskey {
        email: session.identity().email.clone(),
        label: super::browser(ask),
        form: Form::new(form::token(desk.keys, ADD, session.id())),
    };
    Ok(page.render(&desk.context(ask)))
}

/// `POST /.access/passkey/register/options`: what to ask.
pub(crate) async fn begin(desk: &Desk<'_>, ask: &Ask<'_>, base: &str, body: Body) -> Answer<Response> {
    let forms = forms(desk, ask);
    if forms.is_empty() {
        let (login, reference) = (Some(ask.visit.url(desk.login_host, PATH)), ask.visit.reference);
        return Err(Box::new(LoginRequired { login, reference }.render(&desk.context(ask))));
    }
    let (form, bind, wanted): (_, _, Begin) = form::json(desk, ask, body, &forms).await?;
    let owner = Owner::of(desk, ask, (form, bind), &wanted.invitation).await?;
    method(desk).ok_or_else(|| problem(desk, ask, &PasskeyProblem::NoMethod))?;
    if let Owner::Member(session) = &owner
        && ask.visit.now.since(session.identity().authenticated) > RECENT
    {
        return Err(problem(desk, ask, &PasskeyProblem::SignInAgain { link: ADD_PATH }));
    }
    limit(desk, ask).await?;
    let held = desk.store.passkeys(owner.person()).await.map_err(|error| desk.fault(ask, &error))?;
    if u32::try_from(held.len()).unwrap_or(u32::MAX) >= PASSKEYS_MAX {
        return Err(problem(desk, ask, &PasskeyProblem::TooMany));
    }
    let held: Result<Vec<Passkey>, _> = held.iter().map(|one| serde_json::from_str(&one.credential)).collect();
    let held = held.map_err(|error| desk.fault(ask, &error))?;
    let begun = party(desk, ask, base)?.begin_registration(owner.person(), owner.email(), owner.name(), &held);
    let (options, asked) = begun.map_err(|error| desk.fault(ask, &error))?;
    let asked = Asked { person: owner.person(), asked };
    let challenge = keep(desk, ask, OnceKind::PasskeyAdd, owner.bind(), &asked).await?;
    Ok(question(&challenge, &options))
}

/// `POST /.access/passkey/register`: the answer.
pub(crate) async fn finish(desk: &Desk<'_>, ask: &Ask<'_>, base: &str, body: Body) -> Answer<Response> {
    let (form, bind, answer): (_, _, Finish) = form::json(desk, ask, body, &forms(desk, ask)).await?;
    let owner = Owner::of(desk, ask, (form, bind), &answer.invitation).await?;
    let method = method(desk).ok_or_else(|| problem(desk, ask, &PasskeyProblem::NoMethod))?;
    let asked = take::<Asked>(desk, ask, OnceKind::PasskeyAdd, owner.bind(), &answer.challenge).await?;
    let asked = asked.filter(|asked| asked.person == owner.person());
    let asked = asked.ok_or_else(|| problem(desk, ask, &PasskeyProblem::Void))?;
    let passkey = party(desk, ask, base)?.register(&asked.asked, &answer.credential).map_err(|error| {
        tracing::debug!(%error, reference = %ask.visit.reference, "a new passkey is not accepted");
        match error {
            PasskeyError::NotDiscoverable => problem(desk, ask, &PasskeyProblem::NotKept),
            _ => problem(desk, ask, &PasskeyProblem::NotMade),
        }
    })?;
    let record = PasskeyRecord {
        id: id(passkey.credential()),
        person: owner.person(),
        label: label(&answer.label).unwrap_or_else(|| super::browser(ask)),
        credential: serde_json::to_string(&passkey).map_err(|error| desk.fault(ask, &error))?,
        created: ask.visit.now,
        used: None,
    };
    // Before it is stored: from then on until the mail is queued nothing is waited for, where the request could be given up.
    let mail = mail(desk, ask, owner.email(), &record).await;
    match &owner {
        Owner::Member(session) => add(desk, ask, session, &record, mail).await,
        Owner::Guest(invitation, _) => join(desk, ask, invitation, method, (&passkey, &record), mail).await,
    }
}

/// The mail by which the person is told that there is a passkey, which may not be theirs. Whatever comes of it, the passkey is
/// added.
async fn mail(desk: &Desk<'_>, ask: &Ask<'_>, to: &EmailAddress, record: &PasskeyRecord) -> Option<PasskeyMail> {
    let key = desk.keys.keyed_hash("limit", &[b"mails about passkeys".as_slice(), record.person.as_bytes().as_slice()]);
    match desk.store.count(&key, ask.visit.now, &[MAILS]).await {
        Ok(true) => {
            return Some(PasskeyMail {
                to: to.clone(),
                label: record.label.clone(),
                added: record.created,
                source: ask.visit.source,
                user_agent: super::user_agent(ask).to_owned(),
                lang: ask.visit.lang,
            });
        }
        Ok(false) => tracing::debug!(reference = %ask.visit.reference, "enough mails about new passkeys"),
        Err(error) => tracing::error!(%error, reference = %ask.visit.reference, "nobody is told of a new passkey"),
    }
    None
}

async fn add(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    session: &Session,
    record: &PasskeyRecord,
    mail: Option<PasskeyMail>,
) -> Answer<Response> {
    let kept = desk.store.put_passkey(record).await.map_err(|error| desk.fault(ask, &error))?;
    match kept {
        PasskeyKept::Yes => {}
        PasskeyKept::TooMany => return Err(problem(desk, ask, &PasskeyProblem::TooMany)),
        PasskeyKept::Taken | PasskeyKept::NoPerson => return Err(problem(desk, ask, &PasskeyProblem::NotMade)),
    }
    let identity = session.identity();
    note(desk, ask, AuditEvent::PasskeyAdded, &identity.email, (record, &format!("logged in by {}", identity.method)));
    mail.into_iter().for_each(|mail| desk.pins.tell(mail));
    Ok(next(PATH))
}

async fn join(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    invitation: &InvitationRecord,
    method: &Name,
    (passkey, record): (&Passkey, &PasskeyRecord),
    mail: Option<PasskeyMail>,
) -> Answer<Response> {
    let (email, now, source) = (&invitation.email, ask.visit.now, Some(ask.visit.source));
    let joining = Joining { key: &invitation.key, passkey: record, method, now, source };
    match desk.store.join(&joining).await.map_err(|error| desk.fault(ask, &error))? {
        Joined::Yes => {}
        Joined::Gone => return Err(problem(desk, ask, &PasskeyProblem::InvitationGone)),
        Joined::Taken => return Err(problem(desk, ask, &PasskeyProblem::NotMade)),
    }
    note(desk, ask, AuditEvent::PasskeyAdded, email, (record, "by invitation"));
    mail.into_iter().for_each(|mail| desk.pins.tell(mail));
    // The answer proves the same as one at a login does.
    let attributes = Attributes { amr: passkey.amr().map(str::to_owned).to_vec(), ..Attributes::default() };
    let who = (email.clone(), method.clone(), attributes);
    let person = (invitation.person, ISSUER_INVITED);
    let (session, id): (_, SessionId) = proven::begin(desk, ask, person, who, "account", NEVER).await?;
    // Whoever removed the person meanwhile, or sent a new link, has ended every session but this one.
    if desk.store.passkey(&record.id).await.map_err(|error| desk.fault(ask, &error))?.is_none() {
        desk.sessions.end(&[*session.id()]).await.map_err(|error| desk.fault(ask, &error))?;
        return Err(problem(desk, ask, &PasskeyProblem::InvitationGone));
    }
    let mut response = next(PATH);
    proven::set_login(&mut response, &id);
    Ok(response)
}

/// What a person may call a passkey: no more than so long, and nothing that turns the writing round.
fn label(text: &str) -> Option<String> {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let kept: String = text.trim().chars().filter(|c| !c.is_control() && !turns(*c)).take(LABEL_MAX).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// `GET /.access/account/delete?id=…`: asks.
pub(crate) async fn ask_delete(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    let session = desk.require_member(ask, PATH, None)?;
    let mine = desk.store.passkeys(session.identity().person).await.map_err(|error| desk.fault(ask, &error))?;
    let wanted = ask.parameter("id");
    let Some(passkey) = mine.iter().find(|one| number(&one.id) == wanted) else {
        return Ok(see_other(&ask.visit.url(desk.login_host, PATH)));
    };
    let page = DeletePasskey {
        passkey: line(passkey),
        last: mine.len() == 1,
        form: Form::new(form::token(desk.keys, super::FORM, session.id())).with("id", wanted),
    };
    Ok(page.render(&desk.context(ask)))
}

/// `POST /.access/account/delete`: deletes.
pub(crate) async fn delete(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    let session = desk.session(ask).ok_or_else(|| Box::new(form::refused(desk, ask, PATH)))?;
    let (_, fields) = form::bound_to(desk, ask, body, super::FORM, DELETE_PATH, &[*session.id()]).await?;
    let session = desk.require_member(ask, PATH, None)?;
    let (person, wanted) = (session.identity().person, fields.get("id"));
    let mine = desk.store.passkeys(person).await.map_err(|error| desk.fault(ask, &error))?;
    if let Some(record) = mine.iter().find(|one| number(&one.id) == wanted) {
        let deleted = desk.store.delete_passkey(person, &record.id).await;
        if deleted.map_err(|error| desk.fault(ask, &error))? {
            note(desk, ask, AuditEvent::PasskeyRemoved, &session.identity().email, (record, "by the person"));
        }
    }
    // Also when it is gone already: whoever deleted it may not have come as far as this.
    end_others(desk, ask, &session).await?;
    Ok(see_other(&ask.visit.url(desk.login_host, PATH)))
}

/// Ends what passkeys of this person have begun: a passkey is deleted because its device is in other hands, and which of them
/// began what is not known. The login that deletes it, and what came from it, goes on.
async fn end_others(desk: &Desk<'_>, ask: &Ask<'_>, here: &Session) -> Answer<()> {
    let methods = &desk.snapshot.declared.login_methods;
    let elsewhere = |one: &Session| one.id() != here.id() && one.parent() != Some(here.id());
    let ids: Vec<SecretHash> = super::of_person(desk, here.identity().person, ask.visit.now)
        .iter()
        .filter(|one| elsewhere(one) && is_by_passkey(one.record(), methods))
        .map(|one| *one.id())
        .collect();
    desk.sessions.end(&ids).await.map_err(|error| desk.fault(ask, &error))
}

fn note(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    event: AuditEvent,
    email: &EmailAddress,
    (passkey, how): (&PasskeyRecord, &str),
) {
    desk.audit.record(AuditRecord {
        actor: Some(email.to_string()),
        object: Some(email.to_string()),
        detail: Some(format!("`{}`, {how}", passkey.label)),
        ..desk.record(ask, event)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_reads_in_one_direction() {
        for (typed, kept) in [
            (" My laptop ", Some("My laptop")),
            ("a\u{202e}b\nc\u{0}d", Some("abcd")),
            ("", None),
            (" \n\u{2066} ", None),
            ("鍵", Some("鍵")),
        ] {
            assert_eq!(label(typed).as_deref(), kept, "{typed:?}");
        }
        assert_eq!(label(&"é".repeat(500)).unwrap().chars().count(), LABEL_MAX);
    }
}
