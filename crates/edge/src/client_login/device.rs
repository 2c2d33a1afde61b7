//! A program without a browser: its wish waits for a person on another device, and the answer for the program.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tunnel_auth::secret::hash;
use tunnel_proto::{
    UnixTime,
    access::{CLI_PATH, DeviceRequest, DeviceStarted},
};

use crate::{
    enroll::{self, UNBOUND},
    login::{Ask, Desk},
    store::{AuditEvent, AuditRecord, OnceKind, OneTime, RateLimit, SecretHash, StoreError},
};

use super::{CONSENT, ClientError, Consent, DEVICE_LIFE, LAPSED, POLL_INTERVAL, application, ask::ClientAsk};

/// How often one network may begin. A person who mistypes does not come near it.
const PER_SOURCE: [RateLimit; 2] = [
    RateLimit { events: 5, window: std::time::Duration::from_secs(60) },
    RateLimit { events: 20, window: std::time::Duration::from_secs(3600) },
];
/// How many wishes may wait at a time, whoever asks: they live as long as this window.
const IN_ALL: [RateLimit; 1] = [RateLimit { events: 200, window: DEVICE_LIFE }];
/// How often a code may be typed for one wish, and how often another one may be before the last time.
const TRIES: [RateLimit; 1] = [RateLimit { events: 3, window: DEVICE_LIFE }];
const SLIPS: [RateLimit; 1] = [RateLimit { events: 2, window: DEVICE_LIFE }];
/// The longest polling secret that is looked at; ours have 43 characters.
const SECRET_MAX: usize = 64;

/// A program's wish, while it waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    /// What it asks for.
    pub(super) ask: ClientAsk,
    /// Where it asked from, as seen by the edge.
    pub(super) source: IpAddr,
    /// When.
    pub(super) asked: UnixTime,
    /// When it lapses.
    pub(super) expires: UnixTime,
    /// Where its answer will wait.
    answer: SecretHash,
}

/// What became of a wish.
#[derive(Serialize, Deserialize)]
pub(super) enum Said {
    /// The program may open it as a person.
    Yes(Box<Consent>),
    /// It may not, and why.
    No(Refusal),
}

/// Why a wish came to nothing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// A person said so.
    Refused,
    /// Other codes were typed too often.
    Guessed,
}

impl Refusal {
    /// For whoever runs the program.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Refused => "the person refused this login",
            Self::Guessed => "another code was typed three times; begin anew, and type the one that is shown here",
        }
    }
}

/// What a person typed for the code of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// The code.
    TheCode,
    /// Something else.
    Another,
    /// Something else for the last time, or whatever it is after that.
    TooOften,
}

/// How a wish stands.
pub(super) enum Standing {
    /// Nobody has said anything.
    Waits,
    /// Somebody has. This is said once.
    Answered(Said),
}

/// Begins: the wish waits for a person. `base` is the origin at which people reach the login host.
pub(super) async fn begin(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    request: DeviceRequest,
    base: &str,
) -> Result<DeviceStarted, ClientError> {
    let (now, source) = (ask.visit.now, ask.visit.source);
    let origin = hash("client source", enroll::origin(source).as_bytes());
    let within = desk.store.count(&origin, now, &PER_SOURCE).await?
        && desk.store.count(&hash("clients in all", &[]), now, &IN_ALL).await?;
    if !within {
        return Err(ClientError::TooMany);
    }
    let app = application(desk.snapshot, &request.app, &request.host)
        .ok_or(ClientError::Gone("this application is no longer at this hostname; start again"))?;
    if !app.device_login {
        return Err(ClientError::Refused(
            "this application takes no login from another device; run `access` where a browser is, or use a service token",
        ));
    }
    let secret = data_encoding::BASE64URL_NOPAD.encode(&crate::random::<32>());
    let id = data_encoding::BASE64URL_NOPAD.encode(&crate::random::<16>());
    let code = enroll::code(&mut crate::random::<1>);
    let expires = now.plus(DEVICE_LIFE);
    let wanted = ClientAsk::of_device(request, code.clone());
    let detail = format!("`{}` on {}", wanted.command, wanted.computer);
    let wish = Wish { ask: wanted, source, asked: now, expires, answer: answer_key(&secret) };
    let payload = serde_json::to_vec(&wish).map_err(|_| ClientError::Internal)?;
    let once = |kind, key, payload| OneTime { kind, key, bind: UNBOUND, payload, expires };
    // Marks the secret as that of a wish that was made, from now until it lapses or its answer is fetched.
    desk.store.put_once(&once(OnceKind::ClientAnswer, pending_key(&secret), Vec::new())).await?;
    desk.store.put_once(&once(OnceKind::ClientRequest, wish_key(&id), payload)).await?;
    desk.audit.record(AuditRecord {
        object: Some(app.name.to_string()),
        detail: Some(detail),
        ..desk.record(ask, AuditEvent::ClientAsked)
    });
    let url = format!("{base}{CLI_PATH}?device={id}");
    Ok(DeviceStarted { url, code, secret, expires, interval: POLL_INTERVAL })
}

/// The wish with this public id, if it still waits.
pub(super) async fn waiting(desk: &Desk<'_>, id: &str, now: UnixTime) -> Result<Option<Wish>, StoreError> {
    let payload = desk.store.peek_once(OnceKind::ClientRequest, &wish_key(id), now).await?;
    payload.map(|bytes| read(&bytes)).transpose()
}

/// Compares what was typed to the code of a wish. Every try counts before it is looked at, so that many at once are no more
/// than one after the other.
pub(super) async fn compare(
    desk: &Desk<'_>,
    id: &str,
    code: &str,
    typed: &str,
    now: UnixTime,
) -> Result<Typed, StoreError> {
    if !desk.store.count(&hash("client code typed", id.as_bytes()), now, &TRIES).await? {
        return Ok(Typed::TooOften);
    }
    if folded(typed) == folded(code) {
        return Ok(Typed::TheCode);
    }
    Ok(match desk.store.count(&hash("client code mistyped", id.as_bytes()), now, &SLIPS).await? {
        true => Typed::Another,
        false => Typed::TooOften,
    })
}

/// A code as people may type it: in small letters, and with or without what parts it.
fn folded(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect()
}

/// Answers a wish, once: of any number of people, the first decides. `None` when somebody did, or it lapsed.
pub(super) async fn decide(desk: &Desk<'_>, id: &str, said: &Said, now: UnixTime) -> Result<Option<Wish>, StoreError> {
    let taken = desk.store.take_once(OnceKind::ClientRequest, &wish_key(id), &UNBOUND, now).await?;
    let Some(wish) = taken.map(|bytes| read(&bytes)).transpose()? else { return Ok(None) };
    let plain = serde_json::to_vec(said).map_err(|error| corrupt(&error))?;
    let payload = desk.keys.seal(CONSENT, &wish.answer, &plain);
    let (kind, expires) = (OnceKind::ClientAnswer, now.plus(DEVICE_LIFE));
    desk.store.put_once(&OneTime { kind, key: wish.answer, bind: UNBOUND, payload, expires }).await?;
    Ok(Some(wish))
}

/// Tells the holder of a polling secret how its wish stands.
pub(super) async fn poll(desk: &Desk<'_>, secret: &str, now: UnixTime) -> Result<Standing, ClientError> {
    let kind = OnceKind::ClientAnswer;
    let (answer, pending) = (answer_key(secret), pending_key(secret));
    if secret.len() > SECRET_MAX {
        return Err(ClientError::Gone(LAPSED));
    }
    // Looked at before it is taken, so that waiting and guessing cost no write.
    if desk.store.peek_once(kind, &answer, now).await?.is_some()
        && let Some(sealed) = desk.store.take_once(kind, &answer, &UNBOUND, now).await?
    {
        desk.store.take_once(kind, &pending, &UNBOUND, now).await?;
        let plain = desk.keys.open(CONSENT, &answer, &sealed).map_err(|_| ClientError::Internal)?;
        return Ok(Standing::Answered(serde_json::from_slice(plain.expose()).map_err(|error| corrupt(&error))?));
    }
    match desk.store.peek_once(kind, &pending, now).await? {
        Some(_) => Ok(Standing::Waits),
        None => Err(ClientError::Gone(LAPSED)),
    }
}

fn read(bytes: &[u8]) -> Result<Wish, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| corrupt(&error))
}

fn corrupt(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: "access client's request", reason: error.to_string() }
}

fn wish_key(id: &str) -> SecretHash {
    hash("client request", id.as_bytes())
}

fn answer_key(secret: &str) -> SecretHash {
    hash("client answer", secret.as_bytes())
}

fn pending_key(secret: &str) -> SecretHash {
    hash("client pending", secret.as_bytes())
}
