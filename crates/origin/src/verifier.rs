//! Checking the assertion that the edge signs for each request, with the keys that the edge publishes.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_rustls::TlsConnector;
use tunnel_auth::{AssertionError, Jwks, app_issuer, assertion::Claims, verify_app};
use tunnel_proto::{
    AppId, HostPattern, Hostname,
    access::{APP_PATH, SignedApp},
    dial::{AddressError, AskError, EdgeAddress, SocketTarget, Trust, dial_edge, exchange},
};

use crate::{
    fresh::Fresh,
    identity::{Identity, IdentityError, Machine, Sender},
    renewal::now,
};

/// The header of the assertion.
pub const ASSERTION_HEADER: &str = "access-jwt-assertion";
/// The same by the name that software for Cloudflare Access knows. The edge sends both, unless told otherwise.
pub const COMPATIBLE_HEADER: &str = "cf-access-jwt-assertion";
/// Where an edge publishes its keys.
const CERTS_PATH: &str = "/.access/certs";
/// How often what the edge says is at a hostname is asked again, however many assertions are for something else.
const APP_AGAIN: Duration = Duration::from_secs(5);
/// How often keys are fetched again, however many assertions name one that is not known.
const KEYS_AGAIN: Duration = Duration::from_secs(60);

/// Checks assertions about requests. Clones share what they know.
///
/// Keys come from the edge over verified HTTPS when they are first needed, and again when they are old or an assertion
/// names one that is not known. The application is the one that the edge says is at the hostname, unless it was given.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    source: Source,
    known: Fresh<Known>,
}

/// Where it is known from by whom and for what assertions have to be.
#[derive(Clone)]
enum Source {
    /// From an edge, and what it says is at a hostname; or from it, for this application.
    Hostname { edge: EdgeAddress, trust: Vec<Trust>, hostname: HostPattern, app: Option<AppId> },
    /// From the edge that is the issuer, for these applications.
    Issuer { edge: EdgeAddress, trust: Trust, issuer: String, apps: Vec<AppId> },
    /// From the caller.
    Given(Known),
}

#[derive(Clone)]
struct Known {
    keys: Jwks,
    issuer: String,
    apps: Vec<AppId>,
}

impl Verifier {
    pub(crate) fn new(edge: EdgeAddress, trust: Vec<Trust>, hostname: HostPattern, app: Option<AppId>) -> Self {
        Self::of(Source::Hostname { edge, trust, hostname, app }, APP_AGAIN)
    }

    fn of(source: Source, again: Duration) -> Self {
        Self(Arc::new(Inner { source, known: Fresh::new(again) }))
    }

    /// Checks assertions of the edge with the address `issuer`, `https://access.ZONE[:port]`, for one of these applications:
    /// the ids that `edge admin application list` shows. For a server that is not in the process of its connector.
    ///
    /// The edge must prove who it is to the roots of this machine; [`Verifier::trusting`] has others. Keys that are not known
    /// are fetched at most once a minute, and those that are, are kept for a day while the edge cannot be reached.
    pub fn of_issuer(issuer: &str, apps: impl IntoIterator<Item = AppId>) -> Result<Self, AddressError> {
        let edge = EdgeAddress::parse(issuer, None)?;
        let (issuer, apps) = (edge.url(), apps.into_iter().collect());
        Ok(Self::of(Source::Issuer { edge, trust: Trust::Web, issuer, apps }, KEYS_AGAIN))
    }

    /// The same with keys that the caller has, and keeps up to date: the edge changes them every six weeks.
    pub fn with_keys(issuer: &str, apps: impl IntoIterator<Item = AppId>, keys: Jwks) -> Self {
        let issuer = issuer.trim_end_matches('/').to_owned();
        Self::of(Source::Given(Known { keys, issuer, apps: apps.into_iter().collect() }), KEYS_AGAIN)
    }

    /// The same for an application that is known: one below a path of the hostname, or behind a wildcard.
    #[must_use]
    pub fn for_app(&self, app: AppId) -> Self {
        match self.0.source.clone() {
            Source::Hostname { edge, trust, hostname, .. } => Self::new(edge, trust, hostname, Some(app)),
            Source::Issuer { edge, trust, issuer, .. } => {
                Self::of(Source::Issuer { edge, trust, issuer, apps: vec![app] }, KEYS_AGAIN)
            }
            Source::Given(known) => Self::of(Source::Given(Known { apps: vec![app], ..known }), KEYS_AGAIN),
        }
    }

    /// The same for an edge that proves who it is otherwise: by its own CA, or a pinned certificate.
    #[must_use]
    pub fn trusting(&self, trust: Trust) -> Self {
        self.reaching(|source| match source {
            Source::Issuer { trust: before, .. } => *before = trust,
            Source::Hostname { trust: before, .. } => *before = vec![trust],
            Source::Given(_) => {}
        })
    }

    /// The same for an edge that is reached from here at another place than its name leads to. It proves its name there.
    #[must_use]
    pub fn dialling(&self, target: SocketTarget) -> Self {
        self.reaching(|source| match source {
            Source::Issuer { edge, .. } | Source::Hostname { edge, .. } => {
                *edge = EdgeAddress::new(target, edge.name().clone());
            }
            Source::Given(_) => {}
        })
    }

    fn reaching(&self, change: impl FnOnce(&mut Source)) -> Self {
        let mut source = self.0.source.clone();
        change(&mut source);
        let again = if matches!(source, Source::Hostname { .. }) { APP_AGAIN } else { KEYS_AGAIN };
        Self::of(source, again)
    }

    /// Which person sent the request with these headers. A machine is refused.
    pub async fn verify(&self, headers: &HeaderMap) -> Result<Identity, IdentityError> {
        match self.sender(headers).await? {
            Sender::Person(identity) => Ok(identity),
            Sender::Machine(_) => Err(IdentityError::NoPerson),
        }
    }

    /// Who sent the request with these headers, be it a person or a machine.
    pub async fn sender(&self, headers: &HeaderMap) -> Result<Sender, IdentityError> {
        let token = assertion(headers)?;
        if let Source::Given(known) = &self.0.source {
            return Ok(known.judge(token)?);
        }
        let known = self.0.known.get(self.0.source.fetch()).await?;
        match known.value.judge(token) {
            // The key may be new, or the application another one by now.
            Err(AssertionError::UnknownKey | AssertionError::Audience | AssertionError::Issuer) => {}
            judged => return Ok(judged?),
        }
        Ok(self.0.known.newer(&known, self.0.source.fetch()).await?.value.judge(token)?)
    }
}

/// The one assertion of a request. Several, even under two names, are of several minds: then nobody is known.
fn assertion(headers: &HeaderMap) -> Result<&str, IdentityError> {
    let mut found = None;
    for name in [ASSERTION_HEADER, COMPATIBLE_HEADER] {
        let mut of_name = headers.get_all(name).iter();
        match (of_name.next(), of_name.next(), found) {
            (None, ..) => {}
            (Some(only), None, None) => found = Some(only),
            (Some(only), None, Some(other)) if only == other => {}
            _ => return Err(IdentityError::Missing),
        }
    }
    let assertion = found.ok_or(IdentityError::Missing)?;
    Ok(assertion.to_str().map_err(|_| AssertionError::Malformed)?)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Verifier");
        match &self.0.source {
            Source::Hostname { hostname, .. } => debug.field("hostname", hostname),
            Source::Issuer { issuer, .. } | Source::Given(Known { issuer, .. }) => debug.field("issuer", issuer),
        };
        debug.finish_non_exhaustive()
    }
}

impl Known {
    fn judge(&self, token: &str) -> Result<Sender, AssertionError> {
        let claims = self.keys.verify_any(token, &self.issuer, &self.apps, now())?;
        let aud = match &claims {
            Claims::Person(claims) => &claims.aud,
            Claims::Machine(claims) => &claims.aud,
        };
        let app = self.apps.iter().find(|app| aud.contains(app)).copied().ok_or(AssertionError::Audience)?;
        Ok(match claims {
            Claims::Person(claims) => Sender::Person(Identity::new(claims, app)),
            Claims::Machine(claims) => Sender::Machine(Machine::new(claims, app)),
        })
    }
}

impl Source {
    async fn fetch(&self) -> Result<Known, IdentityError> {
        match self {
            Self::Given(known) => Ok(known.clone()),
            Self::Issuer { edge, trust, issuer, apps } => {
                let (keys, _) = fetch_keys(edge, std::slice::from_ref(trust)).await?;
                Ok(Known { keys, issuer: issuer.clone(), apps: apps.clone() })
            }
            Self::Hostname { edge, trust, hostname, app } => at_hostname(edge, trust, hostname, *app).await,
        }
    }
}

async fn at_hostname(
    edge: &EdgeAddress,
    trust: &[Trust],
    hostname: &HostPattern,
    app: Option<AppId>,
) -> Result<Known, IdentityError> {
    let (keys, json) = fetch_keys(edge, trust).await?;
    if let Some(app) = app {
        return Ok(Known { keys, issuer: edge.url(), apps: vec![app] });
    }
    let hostname = hostname.exact().ok_or(IdentityError::NoApp)?;
    let SignedApp { descriptor } = ask(edge, trust, &hostname, APP_PATH).await?;
    let issuer = app_issuer(&descriptor)?;
    // It may be dialled at another port than people use; it is the same edge if it has the name.
    if EdgeAddress::parse(&issuer, None).is_ok_and(|named| named.name() == edge.name()) {
        let claims = verify_app(&descriptor, &json, &hostname, now())?;
        Ok(Known { keys, issuer: claims.iss, apps: vec![claims.aud] })
    } else {
        Err(IdentityError::Keys { reason: format!("`{hostname}` is in the care of another edge, `{issuer}`") })
    }
}

async fn fetch_keys(edge: &EdgeAddress, trust: &[Trust]) -> Result<(Jwks, String), IdentityError> {
    let keys: Value = ask(edge, trust, edge.name(), CERTS_PATH).await?;
    let keys = keys.to_string();
    let unreadable = |_| IdentityError::Keys { reason: "what the edge published are no keys".to_owned() };
    Ok((Jwks::from_json(&keys).map_err(unreadable)?, keys))
}

/// Asks the edge, as whatever host, by the first trust under which it proves who it is.
async fn ask<T: DeserializeOwned>(
    edge: &EdgeAddress,
    trust: &[Trust],
    host: &Hostname,
    path: &str,
) -> Result<T, AskError> {
    let edge = EdgeAddress::new(edge.target().clone(), host.clone());
    let mut failed = AskError::Name;
    for trust in trust {
        match ask_by(&edge, trust, path).await {
            Err(error @ AskError::Tls(_)) => failed = error,
            answer => return answer,
        }
    }
    Err(failed)
}

async fn ask_by<T: DeserializeOwned>(edge: &EdgeAddress, trust: &Trust, path: &str) -> Result<T, AskError> {
    let mut config = trust.client_config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(edge.name().as_str().to_owned()).map_err(|_| AskError::Name)?;
    let tcp = dial_edge(edge.target()).await?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(AskError::Tls)?;
    exchange(tls, Method::GET, &edge.authority(), path, None).await
}
