//! The setup link: it makes the first administrator, once.
//!
//! The quick start prints one while there is no administrator; `edge admin setup-link` makes one at any time. Whoever has
//! the link types an e-mail address, and proves by a PIN that it is theirs. Only that uses the link up: opening it, and
//! typing a wrong code, do not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_auth::secret::hash;
use tunnel_proto::EmailAddress;

use crate::{
    enroll::UNBOUND,
    store::{AuditEvent, AuditRecord, OnceKind, OneTime, SecretHash, StoreError},
    tunnels::{Desk, Problem},
};

/// How long a setup link is good for.
pub const SETUP_LIFE: Duration = Duration::from_secs(3600);
/// The longest token that is looked at; ours have 43 characters.
const TOKEN_MAX: usize = 64;

/// Who made a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeBy {
    /// The quick start, at its start. Worthless once there is an administrator.
    QuickStart,
    /// The command of somebody who owns the machine. Adds a further administrator, too.
    Command,
}

/// Why a setup link does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Used, lapsed, or never made.
    #[error("this setup link was used or has lapsed; `edge admin setup-link` makes a new one")]
    Gone,
    /// There is an administrator by now.
    #[error("this edge has an administrator already; `edge admin setup-link` makes a link for another one")]
    Done,
    /// The edge could not store it.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl From<StoreError> for SetupError {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

/// Makes a setup link. Its address is the only copy of its token.
pub async fn make_link(desk: &Desk<'_>, made_by: MadeBy) -> Result<String, SetupError> {
    let token = data_encoding::BASE64URL_NOPAD.encode(&crate::random::<32>());
    let payload = serde_json::to_vec(&made_by).unwrap_or_default();
    let (kind, expires) = (OnceKind::Setup, desk.now.plus(SETUP_LIFE));
    desk.store.put_once(&OneTime { kind, key: key(&token), bind: UNBOUND, payload, expires }).await?;
    let made = AuditRecord {
        actor: Some("local".to_owned()),
        object: Some("a set-up link".to_owned()),
        detail: Some("whoever opens it within an hour becomes an administrator".to_owned()),
        ..AuditRecord::new(desk.now, AuditEvent::ConfigurationChanged)
    };
    desk.store.append_audit(&[made]).await?;
    Ok(format!("{}/.access/setup?token={token}", desk.visit_url(desk.login_host)))
}

/// Whether a link would still make an administrator. Looking does not use it up. `there_is_one` says whether the edge has
/// an administrator now.
pub async fn check(desk: &Desk<'_>, token: &str, there_is_one: bool) -> Result<(), SetupError> {
    if token.len() > TOKEN_MAX {
        return Err(SetupError::Gone);
    }
    let payload = desk.store.peek_once(OnceKind::Setup, &key(token), desk.now).await?.ok_or(SetupError::Gone)?;
    judge(&payload, there_is_one)
}

/// Uses a link up and makes `email`, which its holder has proven to own, an administrator. Of any number of callers one
/// succeeds. The caller reloads the snapshot afterwards.
///
/// `configured` are the administrators that are not stored: those of the configuration file and `--admin`.
pub async fn complete(
    desk: &Desk<'_>,
    token: &str,
    email: &EmailAddress,
    configured: &[EmailAddress],
) -> Result<(), SetupError> {
    // Judged first, so that a link which may not be used is left as it is.
    let there_is_one = || async {
        let (_, declared) = desk.store.declared().await?;
        Ok::<_, StoreError>(!configured.is_empty() || !declared.administrators.is_empty())
    };
    check(desk, token, there_is_one().await?).await?;
    let taken = desk.store.take_once(OnceKind::Setup, &key(token), &UNBOUND, desk.now).await?;
    let payload = taken.ok_or(SetupError::Gone)?;
    let mut record = desk.record(AuditEvent::SetUp, email.to_string(), email);
    record.detail = Some("made an administrator by setup link".to_owned());
    // Two links of the quick start must not make two administrators: the last look is inside the change.
    let made = desk.administrator(email, record, |declared| {
        judge(&payload, !configured.is_empty() || !declared.administrators.is_empty()).is_ok()
    });
    if made.await? { Ok(()) } else { Err(SetupError::Done) }
}

fn judge(payload: &[u8], there_is_one: bool) -> Result<(), SetupError> {
    match serde_json::from_slice(payload) {
        Ok(MadeBy::Command) => Ok(()),
        Ok(MadeBy::QuickStart) if !there_is_one => Ok(()),
        Ok(MadeBy::QuickStart) => Err(SetupError::Done),
        Err(_) => Err(SetupError::Gone),
    }
}

fn key(token: &str) -> SecretHash {
    hash("setup link", token.as_bytes())
}
