//! People, as an administrator sees them: who is known, who is banned.

use serde::{Deserialize, Serialize};
use tunnel_proto::{EmailAddress, Name, PersonId, UnixTime};

use crate::{
    change::{change, failed},
    socket::{Answer, RevokeApplication, problem},
    store::{Ban, PersonRecord, SecretHash, SessionRecord, Store},
    trial::PEOPLE_MAX,
};

/// The most bans there are.
const BANS_MAX: usize = 10_000;
/// The longest reason, in characters.
const REASON_MAX: usize = 200;

/// Somebody who is known, as they are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonStatus {
    /// The person.
    pub person: PersonId,
    /// The address at the last login.
    pub email: EmailAddress,
    /// The method of the last login.
    pub method: Name,
    /// Who vouches.
    pub issuer: String,
    /// The groups that were named then.
    pub groups: Vec<String>,
    /// When the person was first seen.
    pub created: UnixTime,
    /// When the person last logged in; zero since their provider refused them.
    pub seen: UnixTime,
    /// How many sessions the person has.
    pub sessions: usize,
    /// Since when the person is banned.
    pub banned: Option<UnixTime>,
}

/// Asks for somebody to be banned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanPerson {
    /// The address.
    pub email: EmailAddress,
    /// Why, for other administrators.
    pub reason: Option<String>,
}

/// Asks for a ban to be lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnbanPerson {
    /// The address.
    pub email: EmailAddress,
}

/// What a ban did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banned {
    /// The address.
    pub email: EmailAddress,
    /// How many known people it is about.
    pub people: usize,
    /// How many sessions ended.
    pub ended: usize,
}

/// Everybody who is known, the last first.
pub(crate) async fn list(store: &dyn Store, sessions: &[SessionRecord]) -> Answer<Vec<PersonStatus>> {
    let (_, declared) = store.declared().await.map_err(failed)?;
    let people = store.people(PEOPLE_MAX).await.map_err(failed)?;
    let status = |person: PersonRecord| PersonStatus {
        sessions: sessions.iter().filter(|session| session.identity.person == person.id).count(),
        banned: declared.bans.iter().find(|ban| ban.covers(person.id, &person.email)).map(|ban| ban.since),
        person: person.id,
        email: person.email,
        method: person.method,
        issuer: person.issuer,
        groups: person.attributes.groups,
        created: person.created,
        seen: person.seen,
    };
    Ok(people.into_iter().map(status).collect())
}

/// Bans an address and everybody known by it; says which sessions are theirs, for the caller to end.
pub(crate) async fn ban(
    store: &dyn Store,
    request: &BanPerson,
    sessions: &[SessionRecord],
    now: UnixTime,
) -> Answer<(Banned, Vec<SecretHash>)> {
    let BanPerson { email, reason } = request;
    let reason = reason.as_ref().map(|text| crate::enroll::plain(text, REASON_MAX));
    let known = store.people_of(None, Some(email)).await.map_err(failed)?;
    let people: Vec<_> = known.iter().map(|person| person.id).collect();
    let ban = Ban { email: email.clone(), people, since: now, reason };
    change(store, email.as_str(), "banned", now, |declared| {
        if declared.administrators.contains(email) {
            let text = format!("`{email}` is an administrator; take that away first");
            return Err(problem("in_use", text));
        }
        if declared.bans.len() >= BANS_MAX {
            return Err(problem("too_many", format!("there are {BANS_MAX} bans; lift some first")));
        }
        declared.bans.retain(|other| other.email != *email);
        declared.bans.push(ban.clone());
        Ok(())
    })
    .await?;
    let theirs = sessions.iter().filter(|session| ban.covers(session.identity.person, &session.identity.email));
    let ids: Vec<_> = theirs.map(|session| session.id).collect();
    Ok((Banned { email: email.clone(), people: ban.people.len(), ended: ids.len() }, ids))
}

/// Makes people log in anew for an application: logins before now do not count for it.
pub(crate) async fn revoke_application(store: &dyn Store, request: &RevokeApplication, now: UnixTime) -> Answer<()> {
    let name = &request.application;
    change(store, name.as_str(), "everybody has to log in anew", now, |declared| {
        let app = declared.applications.iter_mut().find(|app| app.name == *name).ok_or_else(|| {
            problem(
                "unknown_application",
                format!("there is no application `{name}`; `edge export` shows those there are"),
            )
        })?;
        app.since = Some(now);
        Ok(())
    })
    .await
}

/// Lifts a ban.
pub(crate) async fn unban(store: &dyn Store, request: &UnbanPerson, now: UnixTime) -> Answer<()> {
    let email = &request.email;
    change(store, email.as_str(), "ban lifted", now, |declared| {
        let before = declared.bans.len();
        declared.bans.retain(|ban| ban.email != *email);
        match declared.bans.len() < before {
            true => Ok(()),
            false => {
                let text = format!("`{email}` is not banned; `edge admin person list` shows who is");
                Err(problem("unknown_person", text))
            }
        }
    })
    .await
}
