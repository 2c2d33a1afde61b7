//! Keeping one link up: connect, hand over to [`Live`], and connect again, for as long as the connector runs.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use futures::future::BoxFuture;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{info, warn};
use tunnel_proto::{
    InstanceId, LinkId,
    dial::{Backoff, EdgeAddress, RETRY_CAP, random},
    faults,
    link::{Connected, LinkEnd},
    message::{DrainReason, Hello, Role},
};

use crate::{
    credentials::Credentials,
    error::Error,
    live::{Live, Renewal, Site},
    status::Status,
};

/// One attempt to bring up a link.
pub(crate) type Establish =
    Box<dyn Fn(Credentials, Hello) -> BoxFuture<'static, Result<Connected, Error>> + Send + Sync>;

/// What the supervisors of a connector's links share.
pub(crate) struct Fleet {
    pub(crate) edge: EdgeAddress,
    /// Brings up a link; tests put a pipe here.
    pub(crate) establish: Establish,
    pub(crate) agent: String,
    pub(crate) instance: InstanceId,
    pub(crate) site: Arc<Site>,
    pub(crate) credentials: watch::Sender<Credentials>,
    pub(crate) wanted: usize,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) state: Mutex<State>,
}

/// Which links are up.
#[derive(Default)]
pub(crate) struct State {
    up: Vec<(LinkId, mpsc::Sender<Renewal>)>,
    was_up: bool,
    problem: Option<Arc<str>>,
}

impl Fleet {
    /// Keeps one link up until the connector stops. Fails only when trying again cannot help.
    pub(crate) async fn keep_one_up(self: Arc<Self>) -> Result<(), Error> {
        // The current link, and earlier ones that drain.
        let mut links: JoinSet<LinkEnd> = JoinSet::new();
        let mut backoff = Backoff::new();
        let stop = self.site.stop.clone();
        while !stop.is_cancelled() {
            faults::at("supervisor");
            let attempt = tokio::select! {
                attempt = self.attempt() => attempt,
                () = stop.cancelled() => break,
            };
            match attempt {
                Ok((live, renewals)) => {
                    let since = Instant::now();
                    let handed_on = self.hold(live, renewals, &mut links).await;
                    // A link that dies at once counts as a failure, or we would hammer the edge; but not one whose edge sends
                    // us to the process that takes its place.
                    if handed_on || since.elapsed() >= RETRY_CAP {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    let (was_up, is_new) = self.note_problem(&error);
                    // A certificate that ended meanwhile is not accepted by waiting.
                    let expired = self.credentials.borrow().expires() <= crate::renewal::now();
                    if error.is_final(was_up) || (expired && matches!(error, Error::Certificate { .. })) {
                        return Err(error);
                    }
                    if is_new {
                        warn!(edge = %self.edge, %error, "no link; trying again until there is one");
                    } else {
                        tracing::debug!(edge = %self.edge, %error, failures = backoff.failures(), "no link");
                    }
                }
            }
            let pause = backoff.next_pause(random().map_or(u64::MAX, u64::from_le_bytes));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
                // Nobody else takes the ends of links that drain.
                () = async { while links.join_next().await.is_some() {} std::future::pending().await } => {}
            }
        }
        while links.join_next().await.is_some() {}
        Ok(())
    }

    async fn attempt(&self) -> Result<(Live, mpsc::Sender<Renewal>), Error> {
        let credentials = self.credentials.borrow().clone();
        let hello = Hello::new(Role::Connector, self.agent.clone(), self.instance);
        let connected = (self.establish)(credentials, hello).await?;
        Live::announce(connected, self.site.clone()).await
    }

    /// Holds a link until it is over or drains; a link that drains lives on in `links`. Whether another process of the edge
    /// waits for us.
    async fn hold(self: &Arc<Self>, live: Live, renewals: mpsc::Sender<Renewal>, links: &mut JoinSet<LinkEnd>) -> bool {
        let link = live.link().clone();
        let id = link.id();
        let up = Up::new(self.clone(), id, renewals);
        info!(link = %id, edge = %self.edge, "link up");
        let task = links.spawn(async move { live.run().await });
        let over = async {
            while let Some(ended) = links.join_next_with_id().await {
                let (ended_id, end) = match ended {
                    Ok((task_id, end)) => (task_id, Some(end)),
                    Err(error) => (error.id(), None),
                };
                if ended_id == task.id() {
                    return end;
                }
            }
            None
        };
        tokio::select! {
            end = over => {
                let end = end.map_or_else(|| "its task failed".to_owned(), |end| end.to_string());
                if !self.site.stop.is_cancelled() {
                    warn!(link = %id, reason = end, "link lost");
                    up.down(Some(end));
                }
                false
            }
            reason = link.draining() => {
                up.down(None);
                reason == DrainReason::Upgrade
            }
        }
    }

    /// Remembers what keeps a link from coming up; whether any link was up before, and whether the problem is new.
    fn note_problem(&self, error: &Error) -> (bool, bool) {
        self.site.meters.links_failed.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = error.to_string();
        let is_new = state.problem.as_deref() != Some(problem.as_str());
        state.problem = Some(problem.into());
        self.publish(&state);
        (state.was_up, is_new)
    }

    /// Tells those who watch, if anything changed.
    pub(crate) fn publish(&self, state: &State) {
        let problem = state.problem.clone();
        let status = match state.up.len() {
            _ if self.site.stop.is_cancelled() => Status::Draining,
            0 => Status::Connecting { problem },
            links if links >= self.wanted => Status::Online { links },
            links => Status::Degraded { links, problem },
        };
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
    }

    /// Asks over any link that is up.
    pub(crate) fn renewals(&self) -> Option<mpsc::Sender<Renewal>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.up.first().map(|(_, renewals)| renewals.clone())
    }
}

/// A link counts as up for as long as this lives.
struct Up {
    fleet: Arc<Fleet>,
    link: LinkId,
}

impl Up {
    fn new(fleet: Arc<Fleet>, link: LinkId, renewals: mpsc::Sender<Renewal>) -> Self {
        {
            let mut state = fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.up.push((link, renewals));
            state.was_up = true;
            if state.up.len() >= fleet.wanted {
                state.problem = None;
            }
            fleet.site.meters.links_established.fetch_add(1, Ordering::Relaxed);
            fleet.publish(&state);
        }
        Self { fleet, link }
    }

    fn down(self, problem: Option<String>) {
        if let Some(problem) = problem {
            let mut state = self.fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.problem = Some(problem.into());
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let mut state = self.fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.up.retain(|(link, _)| *link != self.link);
        self.fleet.publish(&state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;
    use tunnel_proto::{
        Hostname, TunnelId, UnixTime,
        identity::{Ca, CertRole, KeyAndCsr},
        link::{self, Settings},
        message::{Limits, LinkRefusal, Message, TableAccepted},
    };

    use super::*;
    use crate::{serve::Rules, status::Meters};
    use tunnel_proto::dial::FIRST_RETRY_JITTER;

    fn credentials() -> Credentials {
        let (zone, now) = (Hostname::parse("example.com").unwrap(), UnixTime(1_790_000_000));
        let ca = Ca::generate(&zone, now).unwrap();
        let key = KeyAndCsr::generate().unwrap();
        let issued = ca.issue(&key.csr_pem, CertRole::Connector(TunnelId::from_random([1; 16])), now).unwrap();
        Credentials::new(zone, ca.certificate_pem(), &issued.certificate_pem, key.key_pem).unwrap()
    }

    /// A connector of one link, and the times of its attempts.
    fn fleet(
        attempt: impl Fn(Hello) -> BoxFuture<'static, Result<Connected, Error>> + Send + Sync + 'static,
    ) -> Arc<Fleet> {
        Arc::new(Fleet {
            edge: EdgeAddress::parse("https://access.example.com", None).unwrap(),
            establish: Box::new(move |_, hello| attempt(hello)),
            agent: "test".to_owned(),
            instance: InstanceId::from_random([2; 16]),
            site: Arc::new(Site {
                rules: Arc::new(Rules::new(Vec::new(), Duration::from_secs(1)).unwrap()),
                meters: Arc::new(Meters::default()),
                grace: crate::live::Grace::new(Duration::from_secs(30)),
                stop: CancellationToken::new(),
            }),
            credentials: watch::Sender::new(credentials()),
            wanted: 1,
            status: watch::Sender::new(Status::Connecting { problem: None }),
            state: Mutex::default(),
        })
    }

    fn unreachable() -> Error {
        Error::Unreachable { edge: "e".to_owned(), reason: "r".to_owned() }
    }

    fn refused(retryable: bool) -> Error {
        Error::Refused { code: LinkRefusal::Revoked, text: "revoked".to_owned(), retryable }
    }

    /// An edge at the other end of a pipe, which takes the table and then ends the link after `life`.
    async fn edge_for(life: Duration, hello: Hello) -> Result<Connected, Error> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let greeting =
                link::accept(tokio::io::BufReader::new(far), Role::Connector, Settings::for_edge()).await.unwrap();
            let mut edge = greeting.welcome(LinkId::from_random([3; 16]), Limits::default(), vec![]).await.unwrap();
            let Some(Message::Table(table)) = edge.control.next().await else { return };
            edge.control.send(TableAccepted { revision: table.revision }).await.unwrap();
            sleep(life).await;
            edge.link.close();
        });
        link::connect(tokio::io::BufReader::new(near), hello, Settings::default()).await.map_err(|_| unreachable())
    }

    /// Runs until the attempt with the number `last`, which is refused for good, and returns the gaps between attempts.
    async fn gaps(last: usize, life: Option<Duration>) -> Vec<Duration> {
        let times = Arc::new(Mutex::new(Vec::new()));
        let seen = times.clone();
        let fleet = fleet(move |hello| {
            let mut seen = seen.lock().unwrap();
            seen.push(Instant::now());
            let done = seen.len() == last;
            Box::pin(async move {
                match life {
                    _ if done => Err(refused(false)),
                    Some(life) => edge_for(life, hello).await,
                    None => Err(unreachable()),
                }
            })
        });
        let ended = fleet.keep_one_up().await;
        assert!(matches!(ended, Err(Error::Refused { code: LinkRefusal::Revoked, .. })), "{ended:?}");
        let times = times.lock().unwrap();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    // F12
    #[tokio::test(start_paused = true)]
    async fn an_edge_that_is_away_is_tried_at_once_and_then_within_the_cap() {
        let gaps = gaps(60, None).await;
        // Timers are a millisecond coarse.
        let tick = Duration::from_millis(2);
        assert!(gaps[0] <= FIRST_RETRY_JITTER + tick, "{gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= RETRY_CAP + tick), "{gaps:?}");
        assert!(gaps.iter().sum::<Duration>() > Duration::from_secs(20), "it hammers: {gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn links_that_die_at_once_are_not_hammered() {
        let gaps = gaps(60, Some(Duration::ZERO)).await;
        assert!(gaps.iter().sum::<Duration>() > Duration::from_secs(20), "{gaps:?}");
    }

    // F12
    #[tokio::test(start_paused = true)]
    async fn a_link_that_lasted_is_replaced_at_once() {
        let life = Duration::from_secs(60);
        let gaps = gaps(6, Some(life)).await;
        assert!(gaps.iter().all(|gap| *gap <= life + FIRST_RETRY_JITTER + Duration::from_secs(1)), "{gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_may_pass_is_tried_again() {
        let count = Arc::new(Mutex::new(0));
        let counted = count.clone();
        let fleet = fleet(move |_| {
            let mut count = counted.lock().unwrap();
            *count += 1;
            let retryable = *count < 5;
            Box::pin(async move { Err(refused(retryable)) })
        });
        let mut status = fleet.status.subscribe();
        assert!(fleet.keep_one_up().await.is_err());
        assert_eq!(*count.lock().unwrap(), 5);
        let problem =
            |status: &Status| matches!(status, Status::Connecting { problem: Some(text) } if text.contains("revoked"));
        assert!(problem(&status.borrow_and_update()));
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_does_not_wait_for_the_next_attempt() {
        let fleet = fleet(|_| Box::pin(std::future::pending()));
        let running = tokio::spawn(fleet.clone().keep_one_up());
        tokio::task::yield_now().await;
        let before = Instant::now();
        fleet.site.stop.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
