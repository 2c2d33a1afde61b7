//! Enrolment: a machine asks with `connector login`, an administrator approves, the machine fetches its certificate.
//!
//! The machine makes its key and sends a signing request; it gets an address for the administrator, a code that both sides
//! show, and a polling secret. The request is public to whoever has the address and is an administrator. The answer is for
//! the holder of the secret, once. Nothing is granted before an administrator has said, by POST, that the codes are the
//! same.

pub mod approval;
pub mod endpoint;
pub mod page;
mod wish;

use std::{net::IpAddr, time::Duration};

use tunnel_auth::secret::hash;
use tunnel_proto::{
    EmailAddress, HostPattern, OperatorId, TunnelId,
    enrol::{EnrolAnswer, Operator},
};

use crate::{
    store::{AuditEvent, CertificateHolder, OnceKind, OneTime, OperatorRecord, Promise, RateLimit, SecretHash},
    tunnels::{Desk, Problem},
};

pub use wish::{Ask, Wish};
pub(crate) use wish::{code, origin, plain};

/// How long a machine's wish waits for an administrator, and an answer for the machine.
pub const ENROL_LIFE: Duration = Duration::from_secs(5 * 60);
/// Seconds between two polls.
pub const POLL_INTERVAL: u32 = 2;
/// How often one source may begin. A person who mistypes does not come near it.
const PER_SOURCE: [RateLimit; 2] = [
    RateLimit { events: 5, window: Duration::from_secs(60) },
    RateLimit { events: 20, window: Duration::from_secs(3600) },
];
/// How many wishes may wait at a time, whoever asks: they live as long as this window.
const IN_ALL: [RateLimit; 1] = [RateLimit { events: 200, window: ENROL_LIFE }];
/// Nothing is to be shown beside the key.
pub(crate) const UNBOUND: SecretHash = [0; 32];

/// What the administrator said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The machine may publish these.
    Approve(Vec<Allowed>),
    /// It may not enrol.
    Refuse,
}

/// A hostname that an approved machine may publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The hostname.
    pub hostname: HostPattern,
    /// The tunnel that it may be taken from: the one the page named when the administrator ticked it.
    pub from: Option<TunnelId>,
}

/// Why enrolment did not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// Too many from this source, or in all.
    #[error("too many logins were begun lately; wait a few minutes and try again")]
    TooMany,
    /// The request names something it may not, or is too large.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Lapsed, answered already, or never made.
    #[error("this login has lapsed or was answered already; run `connector login` again")]
    Gone,
}

impl From<crate::store::StoreError> for EnrolError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Problem(error.into())
    }
}

/// Begins a login: the wish waits for an administrator.
pub async fn begin(desk: &Desk<'_>, ask: Ask, source: IpAddr) -> Result<EnrolAnswer, EnrolError> {
    let ask = ask.checked(desk.login_host)?;
    let counted =
        |key: SecretHash, limits: &'static [RateLimit]| async move { desk.store.count(&key, desk.now, limits).await };
    let origin = hash("enrol source", wish::origin(source).as_bytes());
    if !counted(origin, &PER_SOURCE).await? || !counted(hash("enrol in all", &[]), &IN_ALL).await? {
        return Err(EnrolError::TooMany);
    }
    // Certified and thrown away: a request that could not be granted must not reach an administrator.
    desk.certify(&ask.csr, CertificateHolder::Operator(OperatorId::from_random(crate::random())))?;
    let secret = data_encoding::BASE64URL_NOPAD.encode(&crate::random::<32>());
    let id = data_encoding::BASE64URL_NOPAD.encode(&crate::random::<16>());
    let code = wish::code(&mut crate::random::<1>);
    let expires = desk.now.plus(ENROL_LIFE);
    let wish = Wish { code: code.clone(), ask, source, asked: desk.now, expires, answer: answer_key(&secret) };
    let once = |kind, key, payload| OneTime { kind, key, bind: UNBOUND, payload, expires };
    // Marks the secret as that of a wish that was made, from now until it lapses or its answer is fetched.
    desk.store.put_once(&once(OnceKind::EnrolAnswer, pending_key(&secret), Vec::new())).await?;
    desk.store.put_once(&once(OnceKind::EnrolRequest, wish_key(&id), wish.to_bytes())).await?;
    let mut asked = desk.record(AuditEvent::EnrolRequested, String::new(), &wish.ask.machine);
    asked.actor = None;
    asked.detail = Some(wish.ask.software.clone());
    desk.store.append_audit(&[asked]).await?;
    let url = format!("{}/.access/enroll?id={id}", desk.visit_url(desk.login_host));
    Ok(EnrolAnswer::Started { url, code, secret, expires, interval: POLL_INTERVAL })
}

/// Tells the holder of a polling secret how its login stands. A final answer is given once.
pub async fn poll(desk: &Desk<'_>, secret: &str) -> Result<EnrolAnswer, EnrolError> {
    let kind = OnceKind::EnrolAnswer;
    let (answer, pending) = (answer_key(secret), pending_key(secret));
    // Looked at before it is taken, so that waiting and guessing cost no write.
    if desk.store.peek_once(kind, &answer, desk.now).await?.is_some()
        && let Some(payload) = desk.store.take_once(kind, &answer, &UNBOUND, desk.now).await?
    {
        desk.store.take_once(kind, &pending, &UNBOUND, desk.now).await?;
        return Ok(wish::answer_from(&payload)?);
    }
    match desk.store.peek_once(kind, &pending, desk.now).await? {
        Some(_) => Ok(EnrolAnswer::Pending),
        None => Ok(EnrolAnswer::Refused { reason: EnrolError::Gone.to_string() }),
    }
}

/// The wish with this public id, if it still waits.
pub async fn waiting(desk: &Desk<'_>, id: &str) -> Result<Option<Wish>, EnrolError> {
    let payload = desk.store.peek_once(OnceKind::EnrolRequest, &wish_key(id), desk.now).await?;
    Ok(payload.map(|bytes| Wish::from_bytes(&bytes)).transpose()?)
}

/// Answers a wish, once: of any number of administrators, the first decides.
///
/// The caller reloads the snapshot afterwards.
pub async fn decide(
    desk: &Desk<'_>,
    administrator: &EmailAddress,
    id: &str,
    verdict: &Verdict,
) -> Result<Wish, EnrolError> {
    if let Verdict::Approve(allowed) = verdict {
        wish::check_hostnames(desk.login_host, allowed.iter().map(|one| &one.hostname))?;
    }
    let taken = desk.store.take_once(OnceKind::EnrolRequest, &wish_key(id), &UNBOUND, desk.now).await?;
    let wish = Wish::from_bytes(&taken.ok_or(EnrolError::Gone)?)?;
    let answer = match verdict {
        Verdict::Approve(allowed) => EnrolAnswer::Approved(approve(desk, administrator, &wish, allowed).await?),
        Verdict::Refuse => {
            let refused = desk.record(AuditEvent::EnrolRefused, administrator.to_string(), &wish.ask.machine);
            desk.store.append_audit(&[refused]).await?;
            EnrolAnswer::Refused { reason: "an administrator refused this login".to_owned() }
        }
    };
    let (kind, expires) = (OnceKind::EnrolAnswer, desk.now.plus(ENROL_LIFE));
    let payload = wish::answer_bytes(&answer);
    desk.store.put_once(&OneTime { kind, key: wish.answer, bind: UNBOUND, payload, expires }).await?;
    Ok(wish)
}

async fn approve(
    desk: &Desk<'_>,
    administrator: &EmailAddress,
    wish: &Wish,
    allowed: &[Allowed],
) -> Result<Operator, EnrolError> {
    let id = OperatorId::from_random(crate::random());
    let (certificate, record) = desk.certify(&wish.ask.csr, CertificateHolder::Operator(id))?;
    let hostnames: Vec<HostPattern> = allowed.iter().map(|one| one.hostname.clone()).collect();
    let operator = OperatorRecord {
        id,
        machine: wish.ask.machine.clone(),
        hostnames: hostnames.clone(),
        approved_by: administrator.clone(),
        approved: desk.now,
    };
    desk.store.put_certificate(&record).await?;
    desk.store.put_operator(&operator).await?;
    let promised = |one: &Allowed| one.from.map(|from| Promise { hostname: one.hostname.clone(), operator: id, from });
    let promises: Vec<Promise> = allowed.iter().filter_map(promised).collect();
    let mut enrolled = desk.record(AuditEvent::Enrolled, administrator.to_string(), &wish.ask.machine);
    let list =
        |hosts: &mut dyn Iterator<Item = &HostPattern>| hosts.map(HostPattern::as_str).collect::<Vec<_>>().join(", ");
    enrolled.detail = Some(format!(
        "operator {id}, serial {}; may publish {}; may take over {}; asked from {}",
        record.serial,
        list(&mut hostnames.iter()),
        list(&mut promises.iter().map(|promise| &promise.hostname)),
        wish.source,
    ));
    desk.promise(promises, enrolled).await?;
    let (zone, ca) = (desk.ca.zone().clone(), desk.ca.certificate_pem().to_owned());
    Ok(Operator { id, zone, certificate, ca, hostnames })
}

fn wish_key(id: &str) -> SecretHash {
    hash("enrol request", id.as_bytes())
}

fn answer_key(secret: &str) -> SecretHash {
    hash("enrol answer", secret.as_bytes())
}

fn pending_key(secret: &str) -> SecretHash {
    hash("enrol pending", secret.as_bytes())
}
