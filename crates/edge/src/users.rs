//! People whom no provider knows: an administrator invites them by a link, and they log in by a passkey.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_auth::secret;
use tunnel_proto::{EmailAddress, PersonId, UnixTime, enrol::EnrolProblem};

use crate::{
    socket::{Answer, problem},
    store::{
        AuditEvent, AuditRecord, Declared, ISSUER_INVITED, InvitationRecord, LoginMethodKind, PersonRecord, SecretHash,
        Store, StoreError,
    },
};

/// How long the link of an invitation is good for.
pub const INVITATION_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest name of a person, in characters.
pub const NAME_MAX: usize = 64;

/// Asks for an invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteUser {
    /// The person's address, by which policies know them.
    pub email: EmailAddress,
    /// The person's name, for their authenticator to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The invited person that something is to be done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedUser {
    /// The address.
    pub email: EmailAddress,
}

/// An invitation with its link: the only time that it is seen.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInvited {
    /// For whom.
    pub email: EmailAddress,
    /// The link, which is the only copy of its secret.
    pub url: String,
    /// When it lapses.
    pub expires: UnixTime,
    /// What is still to be done for it to be of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl std::fmt::Debug for UserInvited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserInvited")
            .field("email", &self.email)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// An invited person as they are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStatus {
    /// The address.
    pub email: EmailAddress,
    /// Since when the person is known; `None` before the first passkey.
    pub joined: Option<UnixTime>,
    /// How many passkeys there are.
    pub passkeys: usize,
    /// When one of them was last used.
    pub used: Option<UnixTime>,
    /// Until when a link waits to be opened.
    pub invited_until: Option<UnixTime>,
}

/// What somebody lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRemoved {
    /// Who.
    pub email: EmailAddress,
    /// Passkeys that open nothing any more.
    pub passkeys: usize,
    /// Sessions that were ended.
    pub sessions: usize,
}

/// Invites somebody. `base` is how visitors come to the login host.
pub(crate) async fn invite(store: &dyn Store, request: &InviteUser, base: &str, now: UnixTime) -> Answer<Issue> {
    let email = &request.email;
    if !find(store, email).await?.is_empty() {
        return Err(taken(email));
    }
    let name = request.name.as_deref().map(checked).transpose()?;
    let (person, subject) = (PersonId::from_random(crate::random()), number(&crate::random::<16>()));
    Ok(Issue::new(person, subject, email.clone(), name, (base, now)))
}

/// A new link for somebody who was invited, in the place of every passkey they have.
pub(crate) async fn reset(store: &dyn Store, request: &NamedUser, base: &str, now: UnixTime) -> Answer<Issue> {
    let email = &request.email;
    let known = find(store, email).await?;
    let Some(person) = known.into_iter().next() else {
        let waits = store.invitations(now).await.map_err(failed)?;
        let Some(invitation) = waits.into_iter().find(|one| one.email == *email) else { return Err(unknown(email)) };
        let InvitationRecord { person, subject, name, .. } = invitation;
        return Ok(Issue::new(person, subject, email.clone(), name, (base, now)));
    };
    Ok(Issue::new(person.id, person.subject, email.clone(), None, (base, now)))
}

/// An invitation that is decided, and not stored yet.
pub(crate) struct Issue {
    record: InvitationRecord,
    url: String,
}

impl Issue {
    fn new(
        person: PersonId,
        subject: String,
        email: EmailAddress,
        name: Option<String>,
        (base, now): (&str, UnixTime),
    ) -> Self {
        let secret = data_encoding::BASE64URL_NOPAD.encode(&crate::random::<32>());
        let url = format!("{base}/.access/invite?token={secret}");
        let expires = now.plus(INVITATION_LIFE);
        Self {
            record: InvitationRecord { key: key(&secret), person, subject, email, name, created: now, expires },
            url,
        }
    }

    /// Whom it is for.
    pub(crate) const fn person(&self) -> PersonId {
        self.record.person
    }

    /// Stores it with its record: `what` says what was done. Refuses it when somebody else joined by the address meanwhile.
    pub(crate) async fn store(self, store: &dyn Store, declared: &Declared, what: &str) -> Answer<UserInvited> {
        let Self { record, url } = self;
        note(store, AuditEvent::UserInvited, &record.email, what, record.created).await?;
        if !store.put_invitation(&record).await.map_err(failed)? {
            note(store, AuditEvent::UserInvited, &record.email, "refused: a user already", record.created).await?;
            return Err(taken(&record.email));
        }
        Ok(UserInvited { email: record.email, url, expires: record.expires, warning: warning(declared) })
    }
}

fn warning(declared: &Declared) -> Option<String> {
    let passkeys = declared.login_methods.iter().any(|method| matches!(method.kind, LoginMethodKind::Passkey(_)));
    let text = "no login method by passkey is declared yet, and without one the link is of no use; add \
                `{name: passkey, type: passkey}` to `login_methods` and use `edge apply`";
    (!passkeys).then(|| text.to_owned())
}

/// Everybody who was invited, by address.
pub(crate) async fn list(store: &dyn Store, now: UnixTime) -> Answer<Vec<UserStatus>> {
    let mut waits = store.invitations(now).await.map_err(failed)?;
    let mut all = Vec::new();
    for person in store.people_of(Some(ISSUER_INVITED), None).await.map_err(failed)? {
        let passkeys = store.passkeys(person.id).await.map_err(failed)?;
        let waiting = waits.iter().position(|one| one.person == person.id).map(|at| waits.swap_remove(at));
        all.push(UserStatus {
            email: person.email,
            joined: Some(person.created),
            passkeys: passkeys.len(),
            used: passkeys.iter().filter_map(|passkey| passkey.used).max(),
            invited_until: waiting.map(|one| one.expires),
        });
    }
    all.extend(waits.into_iter().map(|one| UserStatus {
        email: one.email,
        joined: None,
        passkeys: 0,
        used: None,
        invited_until: Some(one.expires),
    }));
    all.sort_by(|one, other| one.email.cmp(&other.email));
    Ok(all)
}

/// Removes whoever was invited by this address, joined or not; gives the people whose sessions are to be ended, and how
/// many passkeys there were.
pub(crate) async fn remove(store: &dyn Store, request: &NamedUser, now: UnixTime) -> Answer<(Vec<PersonId>, usize)> {
    let email = &request.email;
    let waits = store.invitations(now).await.map_err(failed)?;
    let waits = waits.into_iter().filter(|one| one.email == *email).map(|one| one.person);
    let mut people: Vec<PersonId> =
        find(store, email).await?.into_iter().map(|person| person.id).chain(waits).collect();
    people.sort();
    people.dedup();
    if people.is_empty() {
        return Err(unknown(email));
    }
    note(store, AuditEvent::UserRemoved, email, "with every passkey and session", now).await?;
    let mut passkeys = 0usize;
    for person in &people {
        passkeys = passkeys.saturating_add(store.passkeys(*person).await.map_err(failed)?.len());
        store.forget_person(*person).await.map_err(failed)?;
    }
    Ok((people, passkeys))
}

/// The key of an invitation.
pub(crate) fn key(secret: &str) -> SecretHash {
    secret::hash("invitation", secret.as_bytes())
}

async fn find(store: &dyn Store, email: &EmailAddress) -> Answer<Vec<PersonRecord>> {
    store.people_of(Some(ISSUER_INVITED), Some(email)).await.map_err(failed)
}

fn taken(email: &EmailAddress) -> EnrolProblem {
    let text = format!("`{email}` is a user already; `edge admin user reset {email}` gives them a new link");
    problem("name_taken", text)
}

async fn note(store: &dyn Store, event: AuditEvent, email: &EmailAddress, what: &str, now: UnixTime) -> Answer<()> {
    let record = AuditRecord {
        actor: Some("local".to_owned()),
        object: Some(email.to_string()),
        detail: Some(what.to_owned()),
        ..AuditRecord::new(now, event)
    };
    store.append_audit(&[record]).await.map_err(failed)
}

fn checked(name: &str) -> Answer<String> {
    let name = name.trim();
    let good = !name.is_empty() && name.chars().count() <= NAME_MAX && !name.chars().any(char::is_control);
    let text = format!("a name has between 1 and {NAME_MAX} characters, all of them printable");
    if good { Ok(name.to_owned()) } else { Err(problem("bad_request", text)) }
}

fn number(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn unknown(email: &EmailAddress) -> EnrolProblem {
    let text = format!("nobody was invited as `{email}`; `edge admin user list` shows who was");
    problem("unknown_user", text)
}

fn failed(error: StoreError) -> EnrolProblem {
    problem("store", error.to_string())
}
