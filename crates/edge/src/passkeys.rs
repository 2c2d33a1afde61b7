//! Passkeys, as an administrator sees them: whose they are, and how one is taken away from somebody.

use serde::{Deserialize, Serialize};
use tunnel_proto::{EmailAddress, Name, PersonId, UnixTime, enrol::EnrolProblem};

use crate::{
    socket::{Answer, problem},
    store::{
        AuditEvent, AuditRecord, HeldPasskey, LoginMethod, LoginMethodKind, SecretHash, SessionRecord, Store,
        StoreError,
    },
};

/// The fewest digits by which a passkey is named.
pub const PASSKEY_PREFIX_MIN: usize = 8;
/// The most passkeys that are listed at once.
const LISTED_MAX: u32 = 50_000;

/// Whose passkeys are to be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhosePasskeys {
    /// Of everybody who is known by this address; without it, of everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailAddress>,
}

/// Asks for passkeys to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovePasskeys {
    /// The address of the people, whoever vouches for them.
    pub email: EmailAddress,
    /// The beginning of the passkey's number (at least [`PASSKEY_PREFIX_MIN`] digits, and only one begins so); without it,
    /// all of these people's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A passkey as it is listed. Its number is of no use as a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyStatus {
    /// Its number, as links on its person's own page name it.
    pub id: String,
    /// Whose it is.
    pub person: PersonId,
    /// The person's address, at the last login that somebody vouched for.
    pub email: EmailAddress,
    /// The method of that login.
    pub method: Name,
    /// Who vouches for the person.
    pub issuer: String,
    /// What the person calls it.
    pub label: String,
    /// When it was added.
    pub created: UnixTime,
    /// When somebody last logged in by it.
    pub used: Option<UnixTime>,
}

impl From<&HeldPasskey> for PasskeyStatus {
    fn from(held: &HeldPasskey) -> Self {
        let HeldPasskey { passkey, email, method, issuer } = held;
        Self {
            id: data_encoding::HEXLOWER.encode(&passkey.id),
            person: passkey.person,
            email: email.clone(),
            method: method.clone(),
            issuer: issuer.clone(),
            label: passkey.label.clone(),
            created: passkey.created,
            used: passkey.used,
        }
    }
}

/// Passkeys as they are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyList {
    /// By address, the oldest first.
    pub passkeys: Vec<PasskeyStatus>,
    /// There are more, which are not among them.
    pub truncated: bool,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeysRemoved {
    /// The address.
    pub email: EmailAddress,
    /// The passkeys that open nothing any more.
    pub passkeys: Vec<PasskeyStatus>,
    /// Sessions that a passkey had begun, and that were ended.
    pub sessions: usize,
}

/// The passkeys of everybody, or of everybody who is known by an address.
pub(crate) async fn list(store: &dyn Store, whose: &WhosePasskeys) -> Answer<PasskeyList> {
    at_most(LISTED_MAX, store, whose).await
}

async fn at_most(limit: u32, store: &dyn Store, whose: &WhosePasskeys) -> Answer<PasskeyList> {
    let held = store.held_passkeys(whose.email.as_ref(), limit.saturating_add(1)).await.map_err(failed)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let passkeys = held.iter().take(limit).map(PasskeyStatus::from).collect();
    Ok(PasskeyList { passkeys, truncated: held.len() > limit })
}

/// Removes passkeys; gives what they were, and the people of whom every session that a passkey began is to be ended: which
/// of a person's passkeys it was is not known.
pub(crate) async fn remove(
    store: &dyn Store,
    request: &RemovePasskeys,
    now: UnixTime,
) -> Answer<(Vec<PasskeyStatus>, Vec<PersonId>)> {
    let email = &request.email;
    let mut people: Vec<_> =
        store.people_of(None, Some(email)).await.map_err(failed)?.into_iter().map(|person| person.id).collect();
    if people.is_empty() {
        let text = format!("nobody is known as `{email}`; `edge admin person list` shows who is");
        return Err(problem("unknown_person", text));
    }
    let mut held = store.held_passkeys(Some(email), LISTED_MAX).await.map_err(failed)?;
    if let Some(prefix) = &request.id {
        let one = named(&held, email, prefix)?;
        people = vec![one.passkey.person];
        held = vec![one];
    }
    let audit: Vec<_> = held
        .iter()
        .map(|one| AuditRecord {
            actor: Some("local".to_owned()),
            object: Some(email.to_string()),
            detail: Some(format!("`{}`, by an administrator", one.passkey.label)),
            ..AuditRecord::new(now, AuditEvent::PasskeyRemoved)
        })
        .collect();
    store.append_audit(&audit).await.map_err(failed)?;
    for HeldPasskey { passkey, .. } in &held {
        store.delete_passkey(passkey.person, &passkey.id).await.map_err(failed)?;
    }
    Ok((held.iter().map(PasskeyStatus::from).collect(), people))
}

/// The only passkey whose number begins so.
fn named(held: &[HeldPasskey], email: &EmailAddress, prefix: &str) -> Answer<HeldPasskey> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.len() < PASSKEY_PREFIX_MIN {
        let text = format!("give at least {PASSKEY_PREFIX_MIN} digits of the passkey's number");
        return Err(problem("bad_request", text));
    }
    let mut found =
        held.iter().filter(|one| data_encoding::HEXLOWER.encode(&one.passkey.id).starts_with(prefix.as_str()));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => {
            let text =
                format!("`{email}` has no passkey `{prefix}`; `edge admin passkey list {email}` shows those there are");
            Err(problem("unknown_passkey", text))
        }
        (Some(_), Some(_)) => {
            let text = format!("more than one passkey begins with `{prefix}`; give more digits");
            Err(problem("bad_request", text))
        }
    }
}

/// The sessions of these people that were begun by a passkey.
pub(crate) fn begun(sessions: &[SessionRecord], people: &[PersonId], methods: &[LoginMethod]) -> Vec<SecretHash> {
    let theirs = sessions.iter().filter(|one| people.contains(&one.identity.person));
    theirs.filter(|one| is_by_passkey(one, methods)).map(|one| one.id).collect()
}

/// Whether a session was begun by a passkey: its method says so, or, where that is built in or declared no more, what the
/// login said of itself (RFC 8176, and `swk` for a key that is synced).
pub(crate) fn is_by_passkey(session: &SessionRecord, methods: &[LoginMethod]) -> bool {
    match methods.iter().find(|method| method.name == session.identity.method) {
        Some(method) => matches!(method.kind, LoginMethodKind::Passkey(_)),
        None => session.attributes.amr.iter().any(|way| way == "hwk" || way == "swk"),
    }
}

fn failed(error: StoreError) -> EnrolProblem {
    problem("store", error.to_string())
}

#[cfg(test)]
mod tests {
    use tunnel_policy::Attributes;

    use super::*;
    use crate::store::{ISSUER_MAILBOX, Met, PasskeyKept, PasskeyRecord, sqlite::SqliteStore};

    #[tokio::test]
    async fn a_list_that_is_cut_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("edge.db")).await.unwrap();
        let (email, method, now) = ("a@example.com".parse().unwrap(), "pin".parse().unwrap(), UnixTime(1));
        let met = Met {
            issuer: ISSUER_MAILBOX,
            subject: "a@example.com",
            email: &email,
            method: &method,
            attributes: &Attributes::default(),
            candidate: PersonId::from_bytes([1; 16]),
            now,
            source: None,
        };
        let person = store.meet(&met).await.unwrap();
        for id in 1..=3_u8 {
            let (label, credential) = (format!("Key {id}"), "{}".into());
            let passkey = PasskeyRecord { id: [id; 32], person, label, credential, created: now, used: None };
            assert_eq!(store.put_passkey(&passkey).await.unwrap(), PasskeyKept::Yes);
        }
        for whose in [WhosePasskeys { email: None }, WhosePasskeys { email: Some(email.clone()) }] {
            for (limit, listed, truncated) in [(2, 2, true), (3, 3, false), (4, 3, false)] {
                let list = at_most(limit, &store, &whose).await.unwrap();
                assert_eq!((list.passkeys.len(), list.truncated), (listed, truncated), "{limit}: {whose:?}");
            }
        }
    }
}
