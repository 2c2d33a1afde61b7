//! The client: what it is made of, and how a host is opened.

mod applications;
mod builder;
mod credentials;
mod visit;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::broadcast, time::timeout};
use tunnel_proto::{
    Destination, GrantId, InstanceId, UnixTime,
    dial::EdgeAddress,
    link::{LinkEnd, OpenError},
    message::{GrantRefusal, Hello, OpenGrant, Role, StreamRefusal, StreamRefused},
};

pub use applications::Applications;
pub use builder::Builder;
use credentials::Place;

use crate::{
    auth::Auth,
    carrier::Carrier,
    descriptor::{App, discover},
    error::Error,
    event::Event,
    grants::LiveLink,
    host::AppHost,
    http::HttpConnector,
    stream::Stream,
    tcp::Tcp,
    text::plain,
    token::{Entry, Login, TokenStore},
};

/// Events that a slow listener may lag behind before it misses some.
const EVENTS_MAX: usize = 64;
/// How often opening is tried on another link, when the one that was chosen goes away meanwhile.
const ATTEMPTS: usize = 4;
/// Time for the answer to an opening: what a connector gives a service, and some room.
const OPEN_LIMIT: Duration = Duration::from_secs(40);

/// How long the word that a link is over may be behind the end of its streams.
const END_LAG: Duration = Duration::from_millis(100);

/// Reaches protected services through an edge. Cheap to clone; everything it has brought up is shared by the clones and
/// ends with the last of them.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    means: Arc<Means>,
    agent: String,
    instance: InstanceId,
    /// What is known about each host, and who is finding it out.
    places: Mutex<HashMap<AppHost, Arc<tokio::sync::Mutex<Place>>>>,
    hubs: Mutex<HashMap<EdgeAddress, Arc<Hub>>>,
}

/// What a client was made of: what a login takes, too, which may outlive whoever began it.
struct Means {
    carrier: Carrier,
    edge: Option<EdgeAddress>,
    pages: Option<String>,
    auth: Auth,
    store: Arc<dyn TokenStore>,
    computer: String,
    command: String,
    events: broadcast::Sender<Event>,
}

/// The links to one edge.
#[derive(Default)]
struct Hub {
    links: Mutex<Vec<Arc<LiveLink>>>,
    /// Held by whoever brings up the next link.
    connecting: tokio::sync::Mutex<()>,
}

impl Hub {
    fn usable(&self) -> Option<Arc<LiveLink>> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        // The streams on a link keep it; a link that takes no more of them is theirs alone.
        links.retain(|live| live.is_usable() || live.link.room() == 0);
        links.iter().find(|live| live.is_usable()).cloned()
    }
}

impl Client {
    /// A client in the making.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A TCP service behind `host`: `db.example.com`, where the edge is at another port `db.example.com:8443`.
    pub fn tcp(&self, host: &str) -> Tcp {
        Tcp::new(self.clone(), host)
    }

    /// Connections for an HTTP client such as the one of `hyper-util`: the host of each request is opened as an application.
    /// They go to hosts of one edge, the one of the first host: what a page leads to does not make another edge known.
    pub fn http_connector(&self) -> HttpConnector {
        HttpConnector::new(self.clone())
    }

    /// What happens from now on. A listener that is more than 64 events late misses some.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.means.events.subscribe()
    }

    /// What is at `host`, as its edge vouches for it. Needs no login.
    pub async fn app(&self, host: &AppHost) -> Result<App, Error> {
        let known = self.inner.means.store.load(host.hostname())?.map(|entry| entry.issuer);
        self.inner.means.discover(host, known.as_deref()).await
    }

    /// The same, once it is settled that this client's credential may be shown for it: for a program that shows it itself.
    pub async fn settle(&self, host: &AppHost) -> Result<App, Error> {
        self.inner.place(host).lock().await.app(&self.inner.means, host).await
    }

    /// Logs in to `host`, if there is no login yet that lasts. Returns what is remembered then.
    pub async fn login(&self, host: &AppHost) -> Result<Entry, Error> {
        self.inner.place(host).lock().await.login(&self.inner.means, host).await
    }

    /// Logs in to `host`, if there is no login yet that lasts. The login may be one that the store did not take: it is good for
    /// as long as this client lives, and [`Client::login`] fails.
    pub async fn login_for_now(&self, host: &AppHost) -> Result<Login, Error> {
        self.inner.place(host).lock().await.login_for_now(&self.inner.means, host).await
    }

    /// Ends the login to `host`, here and at its edge; whether there was one.
    pub async fn logout(&self, host: &AppHost) -> Result<bool, Error> {
        self.inner.place(host).lock().await.logout(&self.inner.means, host).await
    }

    /// What the person of the stored logins may open at the edge `issuer` (`https://LOGIN-HOST[:port]`, as an
    /// [`Entry`] has it). Asked with a login that this edge issued; [`Error::NoLogin`] where none is left.
    pub async fn applications(&self, issuer: &str) -> Result<Applications, Error> {
        self.inner.means.applications(issuer).await
    }

    /// Opens a connection to `host`, and waits until it is one.
    pub(crate) async fn open(&self, host: &AppHost, destination: Option<&Destination>) -> Result<Stream, Error> {
        let mut last = Error::Internal { reason: "no link would take the connection".to_owned() };
        for attempt in 0..ATTEMPTS {
            let (live, grant) = self.granted(host).await?;
            let opening = OpenGrant { grant, destination: destination.map(ToString::to_string) };
            let opened = async {
                let mut stream = live.link.open(opening).await?;
                let answered = timeout(OPEN_LIMIT, stream.accepted()).await;
                Ok((stream, answered))
            };
            let opened = tokio::select! {
                opened = opened => opened,
                // The first time: a new link is given the time that it takes.
                () = live.silence(), if attempt == 0 => {
                    live.leave();
                    last = Error::Lost(LinkEnd::PeerSilent);
                    continue;
                }
            };
            let (stream, answered) = match opened {
                Ok(opened) => opened,
                Err(OpenError::Invalid(error)) => return Err(Error::internal(error)),
                Err(OpenError::Closed) => {
                    live.leave();
                    last = Error::Lost(live.link.closed().await);
                    continue;
                }
                Err(_) => continue,
            };
            let Err(error) = answered.map_err(|_| Error::Late { at: host.to_string() })? else {
                return Ok(Stream::new(stream, live, grant, host.hostname().clone()));
            };
            match error.get_ref().and_then(|inner| inner.downcast_ref::<StreamRefused>()) {
                // The edge ended the grant a moment ago, or forgot it: presented anew, the credential is judged anew.
                Some(StreamRefused { code: StreamRefusal::NotGranted, text }) => {
                    live.forget(host.hostname(), grant);
                    last = refused(host, StreamRefusal::NotGranted, text);
                }
                // Its word was faster than the Drain that goes with it.
                Some(StreamRefused {
                    code: code @ (StreamRefusal::Draining | StreamRefusal::TooManyStreams),
                    text,
                }) => {
                    live.leave();
                    last = refused(host, *code, text);
                }
                Some(refusal) => return Err(refused(host, refusal.code, &refusal.text)),
                // Nothing was sent on it, so if the link is over, another one may do the same.
                None => match timeout(END_LAG, live.link.closed()).await {
                    Ok(end) => {
                        live.leave();
                        last = Error::Lost(end);
                    }
                    Err(_) => return Err(Error::Unreachable { at: host.to_string(), reason: error.to_string() }),
                },
            }
        }
        Err(last)
    }

    /// A link on which `host` may be opened.
    async fn granted(&self, host: &AppHost) -> Result<(Arc<LiveLink>, GrantId), Error> {
        let place = self.inner.place(host);
        let began = tokio::time::Instant::now();
        let mut place = place.lock().await;
        place.shared_failure(began)?;
        let outcome = self.grant(&mut place, host).await;
        place.note(&outcome);
        outcome
    }

    async fn grant(&self, place: &mut Place, host: &AppHost) -> Result<(Arc<LiveLink>, GrantId), Error> {
        // Each once: a new login when the one there was is over, and a new link when the one there was is dead.
        let (mut renewed, mut relinked) = (false, false);
        loop {
            let app = place.app(&self.inner.means, host).await?;
            let live = self.link(&app.edge).await?;
            if let Some(grant) = live.grant(host.hostname(), now()) {
                return Ok((live, grant));
            }
            let (credential, token) = place.credential(&self.inner.means, host).await?;
            let presented = tokio::select! {
                presented = live.present(host.hostname(), credential) => presented,
                () = live.silence(), if !relinked => Err(Error::Lost(LinkEnd::PeerSilent)),
            };
            match presented {
                Ok(grant) => return Ok((live, grant)),
                Err(Error::Refused { code: GrantRefusal::BadCredential, .. })
                    if !renewed && self.inner.means.auth.is_person() =>
                {
                    renewed = true;
                    if let Some(token) = token {
                        place.forget_login(&self.inner.means, host, &token).await?;
                    }
                }
                Err(Error::Lost(_)) if !relinked => {
                    relinked = true;
                    live.leave();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A link to `edge` that takes another stream.
    async fn link(&self, edge: &EdgeAddress) -> Result<Arc<LiveLink>, Error> {
        let hub = self.inner.hub(edge);
        if let Some(live) = hub.usable() {
            return Ok(live);
        }
        let connecting = hub.connecting.lock().await;
        if let Some(live) = hub.usable() {
            return Ok(live);
        }
        let hello = Hello::new(Role::Access, &self.inner.agent, self.inner.instance);
        let (connected, carrier) = self.inner.means.carrier.link(edge, hello).await?;
        let live = LiveLink::new(connected, edge.url(), self.inner.means.events.clone());
        hub.links.lock().unwrap_or_else(PoisonError::into_inner).push(live.clone());
        self.tell(Event::LinkUp { edge: edge.url(), carrier });
        drop(connecting);
        Ok(live)
    }

    pub(crate) fn tell(&self, event: Event) {
        self.inner.means.tell(event);
    }
}

impl Means {
    async fn discover(&self, host: &AppHost, known: Option<&str>) -> Result<App, Error> {
        discover(&self.carrier, host, known, self.edge.as_ref(), now()).await
    }

    fn tell(&self, event: Event) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

impl Inner {
    fn place(&self, host: &AppHost) -> Arc<tokio::sync::Mutex<Place>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(host.clone()).or_default().clone()
    }

    fn hub(&self, edge: &EdgeAddress) -> Arc<Hub> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.entry(edge.clone()).or_default().clone()
    }
}

fn refused(host: &AppHost, code: StreamRefusal, text: &str) -> Error {
    Error::Stream { host: host.to_string(), code, text: plain(text) }
}

/// The wall clock.
pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("auth", &self.inner.means.auth).finish_non_exhaustive()
    }
}
