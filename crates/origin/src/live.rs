//! A link that is up: announces the table, serves its streams, drains, renews the certificate.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use tunnel_proto::{
    LinkId, faults,
    link::{Connected, Control, Incoming, Link, LinkEnd},
    message::{DrainReason, Message, Renew, Renewed},
};

use crate::{
    error::Error,
    serve::{Rules, serve},
    status::Meters,
};

/// Time for the edge to take the table.
const TABLE_LIMIT: Duration = Duration::from_secs(10);
/// When stopping, openings that the edge sent before it heard of it are waited for this long at most.
const LINGER_MAX: Duration = Duration::from_millis(250);

/// How long what is in flight may take when stopping. May be changed until then.
#[derive(Clone, Debug)]
pub(crate) struct Grace(Arc<Mutex<Duration>>);

impl Grace {
    pub(crate) fn new(grace: Duration) -> Self {
        Self(Arc::new(Mutex::new(grace)))
    }

    pub(crate) fn get(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, grace: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = grace;
    }
}

/// What all links of a connector share.
pub(crate) struct Site {
    pub(crate) rules: Arc<Rules>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) grace: Grace,
    /// Cancelled when the connector is to stop in order.
    pub(crate) stop: CancellationToken,
}

/// A request for the next certificate, to be sent over some link.
pub(crate) struct Renewal {
    pub(crate) csr: String,
    pub(crate) reply: oneshot::Sender<Result<Renewed, String>>,
}

/// A link whose table the edge has taken.
pub(crate) struct Live {
    link: Link,
    incoming: Incoming,
    control: Control,
    site: Arc<Site>,
    renewals: mpsc::Receiver<Renewal>,
    waiting: Option<oneshot::Sender<Result<Renewed, String>>>,
}

impl Live {
    /// Announces what is published. Streams are served only once the edge has taken the table.
    pub(crate) async fn announce(
        connected: Connected,
        site: Arc<Site>,
    ) -> Result<(Self, mpsc::Sender<Renewal>), Error> {
        let Connected { link, incoming, mut control, .. } = connected;
        let table = site.rules.table();
        let revision = table.revision;
        let lost = async |link: &Link| Error::Lost(link.closed().await);
        if control.send(table).await.is_err() {
            return Err(lost(&link).await);
        }
        let answer = async {
            loop {
                match control.next().await {
                    Some(Message::TableAccepted(accepted)) if accepted.revision == revision => return Ok(()),
                    Some(Message::TableRefused(refused)) if refused.revision == revision => {
                        let hostname = refused.rule.and_then(|rule| site.rules.hostname(rule));
                        let hostname = hostname.map(ToString::to_string);
                        return Err(Error::Table { code: refused.code, text: refused.text, hostname });
                    }
                    Some(other) => debug!(kind = ?other.kind(), "ignored before the table is in force"),
                    None => return Err(lost(&link).await),
                }
            }
        };
        let late = || Error::Late { edge: "the other end of the link".to_owned(), limit: TABLE_LIMIT };
        timeout(TABLE_LIMIT, answer).await.map_err(|_| late())??;
        let (sender, renewals) = mpsc::channel(1);
        Ok((Self { link, incoming, control, site, renewals, waiting: None }, sender))
    }

    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    /// Serves the link until it is over. Drains when the edge asks for it or the connector stops. Dropping the future
    /// resets what is in flight.
    pub(crate) async fn run(mut self) -> LinkEnd {
        let id = self.link.id();
        let mut streams = JoinSet::new();
        let stop = self.site.stop.clone();
        let mut leaving = Leaving::default();
        let mut renewals_open = true;
        loop {
            tokio::select! {
                pending = self.incoming.next() => match pending {
                    Some(pending) => {
                        faults::at("link of a connector");
                        let site = &self.site;
                        streams.spawn(serve(pending, site.rules.clone(), site.meters.clone()));
                    }
                    None => return self.link.closed().await,
                },
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    if let Err(error) = ended {
                        warn!(link = %id, %error, "a stream's task failed");
                    }
                }
                message = self.control.next() => match message {
                    Some(message) => self.hear(id, message, &mut leaving),
                    None => return self.link.closed().await,
                },
                renewal = self.renewals.recv(), if renewals_open => match renewal {
                    Some(renewal) => self.renew(renewal).await,
                    None => renewals_open = false,
                },
                () = stop.cancelled(), if !leaving.stopping => {
                    let grace = self.site.grace.get();
                    self.link.drain(DrainReason::Shutdown, grace);
                    leaving.stop(Instant::now() + grace);
                    debug!(link = %id, streams = self.link.streams(), "draining");
                }
                // Pinned anew each turn; it only waits for a count to be zero.
                () = idle(&self.link), if leaving.when_idle() => {
                    self.link.close();
                    return self.link.closed().await;
                }
                () = sleep_until(leaving.by.unwrap_or_else(Instant::now)), if leaving.by.is_some() => {
                    info!(link = %id, streams = self.link.streams(), "cutting what did not end in time");
                    drop(streams);
                    self.link.close();
                    return self.link.closed().await;
                }
            }
        }
    }

    fn hear(&mut self, id: LinkId, message: Message, leaving: &mut Leaving) {
        match message {
            Message::Drain(drain) => {
                info!(link = %id, reason = %drain.reason, "the edge drains the link");
                let ours =
                    Instant::now() + Duration::from_secs(u64::from(drain.deadline_secs)).max(self.site.grace.get());
                leaving.drained(drain.reason, ours);
            }
            Message::Renewed(renewed) => self.answer_renewal(Ok(renewed)),
            Message::Problem(problem) => self.answer_renewal(Err(problem.message)),
            Message::TableRefused(refused) => {
                warn!(link = %id, code = %refused.code, text = refused.text, "the edge took the table back");
            }
            other => debug!(link = %id, kind = ?other.kind(), "ignored"),
        }
    }

    fn answer_renewal(&mut self, answer: Result<Renewed, String>) {
        match self.waiting.take() {
            // Whoever asked may have given up.
            Some(waiting) => drop(waiting.send(answer)),
            None => debug!(link = %self.link.id(), "an answer to no question"),
        }
    }

    async fn renew(&mut self, renewal: Renewal) {
        match self.control.send(Renew { csr: renewal.csr }).await {
            Ok(()) => self.waiting = Some(renewal.reply),
            Err(error) => drop(renewal.reply.send(Err(error.to_string()))),
        }
    }
}

/// How far a link is on its way out.
#[derive(Default)]
struct Leaving {
    /// When what has not ended is cut.
    by: Option<Instant>,
    /// The connector stops.
    stopping: bool,
    /// The edge may still open streams, and ends the link itself: another process takes its place.
    held: bool,
}

impl Leaving {
    fn drained(&mut self, reason: DrainReason, by: Instant) {
        self.by.get_or_insert(by);
        self.held = reason == DrainReason::Upgrade && !self.stopping;
    }

    fn stop(&mut self, by: Instant) {
        *self = Self { by: Some(self.by.map_or(by, |before| before.min(by))), stopping: true, held: false };
    }

    fn when_idle(&self) -> bool {
        self.by.is_some() && !self.held
    }
}

/// Waits until nothing is in flight, and what the edge may have sent meanwhile has had the time to arrive.
async fn idle(link: &Link) {
    loop {
        link.idle().await;
        let linger = link.rtt().unwrap_or(LINGER_MAX).saturating_mul(2).min(LINGER_MAX);
        tokio::time::sleep(linger).await;
        if link.streams() == 0 {
            return;
        }
    }
}
