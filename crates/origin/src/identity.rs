//! Who sent a request: by the assertion that the edge signs for each, checked with the keys that the edge publishes.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tunnel_auth::{AppError, AssertionError, Jwks, app_issuer, verify_app};
use tunnel_proto::{
    AppId, EmailAddress, HostPattern, Hostname, PersonId, UnixTime,
    access::{APP_PATH, SignedApp},
    dial::{AskError, EdgeAddress, Trust, dial_edge, exchange},
};

use crate::renewal::now;

/// The header of the assertion.
pub const ASSERTION_HEADER: &str = "access-jwt-assertion";
/// Where an edge publishes its keys.
const CERTS_PATH: &str = "/.access/certs";
/// How long keys count before they are fetched again.
const KEYS_LIFE: Duration = Duration::from_secs(10 * 60);
/// Keys are not fetched more often than this, however many assertions name one that is not known.
const FETCH_EVERY: Duration = Duration::from_secs(5);
/// How long fetching the keys may take.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Who sent a request, as the edge signed it for this request and this application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    email: EmailAddress,
    person: PersonId,
    app: AppId,
    until: UnixTime,
}

impl Identity {
    /// The verified address.
    pub const fn email(&self) -> &EmailAddress {
        &self.email
    }

    /// The person, stable across logins.
    pub const fn person(&self) -> PersonId {
        self.person
    }

    /// The application that the edge admitted the person to.
    pub const fn app(&self) -> AppId {
        self.app
    }

    /// When the statement ends. It is about one request; a session of its own must ask again.
    pub const fn until(&self) -> UnixTime {
        self.until
    }
}

/// Checks assertions about requests for one hostname. Clones share what they know.
///
/// Keys come from the edge over verified HTTPS when they are first needed, and again when they are old or an assertion
/// names one that is not known. The application is the one that the edge says is at the hostname, unless it was given.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    edge: EdgeAddress,
    trust: Vec<Trust>,
    hostname: HostPattern,
    app: Option<AppId>,
    known: RwLock<Option<Arc<Known>>>,
    last_fetch: tokio::sync::Mutex<Option<Instant>>,
}

struct Known {
    keys: Jwks,
    issuer: String,
    app: AppId,
    at: Instant,
}

impl Verifier {
    pub(crate) fn new(edge: EdgeAddress, trust: Vec<Trust>, hostname: HostPattern, app: Option<AppId>) -> Self {
        let (known, last_fetch) = Default::default();
        Self(Arc::new(Inner { edge, trust, hostname, app, known, last_fetch }))
    }

    /// The same for an application that is known: one below a path of the hostname, or behind a wildcard.
    #[must_use]
    pub fn for_app(&self, app: AppId) -> Self {
        Self::new(self.0.edge.clone(), self.0.trust.clone(), self.0.hostname.clone(), Some(app))
    }

    /// Who sent the request with these headers.
    pub async fn verify(&self, headers: &HeaderMap) -> Result<Identity, IdentityError> {
        let mut assertions = headers.get_all(ASSERTION_HEADER).iter();
        let token = match (assertions.next(), assertions.next()) {
            (Some(only), None) => only.to_str().map_err(|_| AssertionError::Malformed)?,
            _ => return Err(IdentityError::Missing),
        };
        let known = self.known();
        let known = match known {
            Some(known) if known.at.elapsed() < KEYS_LIFE => known,
            // Keys that were good are better than none while the edge cannot be asked.
            stale => match self.fetched(stale.as_ref()).await {
                Ok(known) => known,
                Err(error) => stale.ok_or(error)?,
            },
        };
        match known.judge(token) {
            // The key may be new, or the application another one by now.
            Err(AssertionError::UnknownKey | AssertionError::Audience | AssertionError::Issuer) => {}
            judged => return Ok(judged?),
        }
        Ok(self.fetched(Some(&known)).await?.judge(token)?)
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the edge says now; or what somebody else has fetched since `seen`, or too short a time ago to ask again.
    async fn fetched(&self, seen: Option<&Arc<Known>>) -> Result<Arc<Known>, IdentityError> {
        let mut last = self.0.last_fetch.lock().await;
        let known = self.known();
        let newer = match (&known, seen) {
            (Some(known), Some(seen)) => !Arc::ptr_eq(known, seen),
            (known, _) => known.is_some(),
        };
        if newer || last.is_some_and(|last| last.elapsed() < FETCH_EVERY) {
            return known.ok_or(IdentityError::Keys { reason: "the edge did not answer a moment ago".to_owned() });
        }
        *last = Some(Instant::now());
        let fetched = tokio::time::timeout(FETCH_LIMIT, self.0.fetch()).await;
        let fetched = Arc::new(fetched.map_err(|_| AskError::Timeout)??);
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
        Ok(fetched)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("hostname", &self.0.hostname).finish_non_exhaustive()
    }
}

impl Known {
    fn judge(&self, token: &str) -> Result<Identity, AssertionError> {
        let claims = self.keys.verify(token, &self.issuer, &self.app, now())?;
        Ok(Identity { email: claims.email, person: claims.sub, app: self.app, until: claims.exp })
    }
}

impl Inner {
    async fn fetch(&self) -> Result<Known, IdentityError> {
        let keys: serde_json::Value = self.ask(self.edge.name(), CERTS_PATH).await?;
        let keys = keys.to_string();
        let unreadable = |_| IdentityError::Keys { reason: "what the edge published are no keys".to_owned() };
        let set = Jwks::from_json(&keys).map_err(unreadable)?;
        let at = Instant::now();
        if let Some(app) = self.app {
            return Ok(Known { keys: set, issuer: self.edge.url(), app, at });
        }
        let hostname = self.hostname.exact().ok_or(IdentityError::NoApp)?;
        let SignedApp { descriptor } = self.ask(&hostname, APP_PATH).await?;
        let issuer = app_issuer(&descriptor)?;
        // It may be dialled at another port than people use; it is the same edge if it has the name.
        if EdgeAddress::parse(&issuer, None).is_ok_and(|edge| edge.name() == self.edge.name()) {
            let claims = verify_app(&descriptor, &keys, &hostname, now())?;
            Ok(Known { keys: set, issuer: claims.iss, app: claims.aud, at })
        } else {
            Err(IdentityError::Keys { reason: format!("`{hostname}` is in the care of another edge, `{issuer}`") })
        }
    }

    /// Asks the edge, as whatever host, by the first trust under which it proves who it is.
    async fn ask<T: serde::de::DeserializeOwned>(&self, host: &Hostname, path: &str) -> Result<T, AskError> {
        let edge = EdgeAddress::new(self.edge.target().clone(), host.clone());
        let mut failed = AskError::Name;
        for trust in &self.trust {
            match ask_by(&edge, trust, path).await {
                Err(error @ AskError::Tls(_)) => failed = error,
                answer => return answer,
            }
        }
        Err(failed)
    }
}

async fn ask_by<T: serde::de::DeserializeOwned>(edge: &EdgeAddress, trust: &Trust, path: &str) -> Result<T, AskError> {
    let mut config = trust.client_config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(edge.name().as_str().to_owned()).map_err(|_| AskError::Name)?;
    let tcp = dial_edge(edge.target()).await?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(AskError::Tls)?;
    exchange(tls, Method::GET, &edge.authority(), path, None).await
}

/// Why nobody is known to have sent a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not exactly one assertion: the request did not come through the edge.
    #[error("the request has no assertion of the edge")]
    Missing,
    /// The assertion is not one, or not for here and now, or is about no person.
    #[error("the assertion is not believed: {0}")]
    Assertion(#[from] AssertionError),
    /// The edge's keys cannot be had.
    #[error("the edge's keys cannot be had: {reason}")]
    Keys {
        /// What happened.
        reason: String,
    },
    /// What the edge says is at the hostname is not believed.
    #[error("what the edge says of the hostname is not believed: {0}")]
    App(#[from] AppError),
    /// The hostname is a pattern, so that the edge cannot be asked which application it is.
    #[error("the hostname is a wildcard: say which application it is")]
    NoApp,
}

impl From<AskError> for IdentityError {
    fn from(error: AskError) -> Self {
        Self::Keys { reason: error.to_string() }
    }
}
