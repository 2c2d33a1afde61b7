//! Opening a stream to a service: on which link, and what whoever asks waits for where services are down (F6).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::select_ok};
use tokio::task::JoinHandle;
use tunnel_proto::{
    link::{OpenError, Stream},
    message::{Open, StreamRefusal, StreamRefused},
};

use crate::{pages::Failure, registry::Candidate};

use super::{
    Pool,
    order::{Way, look_up, plan},
    outages::{Service, Standing},
};

/// Links that are tried for one request, beside those that turn out to be over.
const LINKS_TRIED: usize = 4;
/// How long a link may take to have room for another opening, before the next link is tried.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connector may take to connect to its service and say so; its own limit is 30 s.
const ANSWER_PATIENCE: Duration = Duration::from_secs(35);
/// How long whoever asks waits for services that are down and are tried beside: no longer than until others may wait for the same.
const DOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Why no stream to a service was opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// No link takes it.
    NoTunnel,
    /// Every link carries as many streams as it may, or its connector has no room for another connection to the service.
    Busy,
    /// The connector or its service did not answer in time.
    Slow,
    /// Something is wrong with the edge itself.
    Broken,
    /// The connector refused.
    Refused(StreamRefused),
    /// The service is known to be down, by what the connector said a moment ago.
    Down(StreamRefused),
}

impl From<NotOpened> for Failure {
    fn from(not_opened: NotOpened) -> Self {
        match not_opened {
            NotOpened::NoTunnel => Self::NoTunnel,
            NotOpened::Busy => Self::Busy,
            NotOpened::Slow => Self::Slow,
            NotOpened::Refused(refused) | NotOpened::Down(refused) if refused.code == StreamRefusal::ServiceTimeout => {
                Self::Slow
            }
            NotOpened::Broken | NotOpened::Refused(_) | NotOpened::Down(_) => Self::BadAnswer,
        }
    }
}

/// A stream, and where it was opened.
type Opened = (Candidate, Stream);

/// Why a candidate has opened no stream.
enum NotTaken {
    /// Its link is over or about to be; nobody was asked.
    Unasked,
    /// Not this one, maybe the next one.
    Passed(Option<NotOpened>),
    /// Its connector does not reach the service.
    OutOfReach(StreamRefused),
    /// No other one would do better.
    Ends(NotOpened),
}

impl NotTaken {
    /// What to say of it.
    fn told(self) -> Option<NotOpened> {
        match self {
            Self::Unasked => None,
            Self::Passed(told) => told,
            Self::OutOfReach(refused) => Some(NotOpened::Refused(refused)),
            Self::Ends(told) => Some(told),
        }
    }
}

/// Opens a stream on the first of `candidates` that takes it, and waits for the connector's answer. `opening` says what
/// the stream is for on a given link. What one connector cannot reach is asked of the next one; what none could reach a moment ago
/// is refused at once, but for the one who has it tried, once a second.
pub(crate) async fn open(
    pool: &Arc<Pool>,
    candidates: &[Candidate],
    opening: impl Fn(&Candidate) -> Open,
) -> Result<Opened, NotOpened> {
    crate::faults::at("stream to a service");
    let asked = candidates.iter().map(|candidate| (candidate, Service::of(candidate)));
    let plan = plan(look_up(&pool.outages, asked, Instant::now()));
    // Each in a task of its own: whether a service is back everybody wants to know, also when whoever asked goes away meanwhile.
    let trying = plan.beside.into_iter().map(|service| {
        let links = candidates.iter().filter(|candidate| Service::of(candidate) == Some(service));
        let links = links.take(LINKS_TRIED).map(|link| (link.clone(), opening(link))).collect();
        tokio::spawn(try_again(pool.clone(), links))
    });
    let beside: Vec<_> = trying.collect();
    let told = match in_turn(pool, plan.order, opening).await {
        Ok(opened) => return Ok(opened),
        Err(NotTaken::Ends(failure)) => return Err(failure),
        Err(not_taken) => not_taken.told(),
    };
    let down = plan.down.map(NotOpened::Down);
    first_back(beside).await.map_err(|tried| told.or(tried).or(down).unwrap_or(NotOpened::NoTunnel))
}

/// Tries one after the other for whoever asks, until one takes it or no other would do better.
async fn in_turn(
    pool: &Pool,
    order: Vec<Way<&Candidate>>,
    opening: impl Fn(&Candidate) -> Open,
) -> Result<Opened, NotTaken> {
    let (mut tried, mut out_of_reach, mut waited, mut told) = (0_usize, Vec::new(), false, None);
    for Way { candidate, service, standing } in order {
        if tried >= LINKS_TRIED {
            break;
        }
        // Whoever has waited for one service to the end does not wait for another one of which no good is known.
        let is_hopeless = out_of_reach.contains(&service) || (waited && standing != Standing::Fine);
        if service.is_some() && is_hopeless {
            continue;
        }
        match try_open(pool, candidate.clone(), opening(candidate)).await {
            Err(NotTaken::Unasked) => continue,
            Err(NotTaken::Passed(more)) => told = more.or(told),
            Err(NotTaken::OutOfReach(refused)) => {
                waited |= refused.code == StreamRefusal::ServiceTimeout;
                told = Some(NotOpened::Refused(refused));
                out_of_reach.push(service);
            }
            decided => return decided,
        }
        tried = tried.saturating_add(1);
    }
    Err(NotTaken::Passed(told))
}

/// The first of the services tried beside that is back. However long they take, whoever asks waits for a moment, and the trying
/// goes on without them.
async fn first_back(beside: Vec<JoinHandle<Result<Opened, NotTaken>>>) -> Result<Opened, Option<NotOpened>> {
    if beside.is_empty() {
        return Err(None);
    }
    let outcomes = beside.into_iter().map(|trying| {
        trying.map(|outcome| outcome.unwrap_or(Err(NotTaken::Ends(NotOpened::Broken))).map_err(NotTaken::told))
    });
    match tokio::time::timeout(DOWN_PATIENCE, select_ok(outcomes)).await {
        Ok(Ok((opened, _others))) => Ok(opened),
        Ok(Err(told)) => Err(told),
        Err(_) => Err(None),
    }
}

/// Tries whether a service is back, on the first of its `links` that takes the opening.
async fn try_again(pool: Arc<Pool>, links: Vec<(Candidate, Open)>) -> Result<Opened, NotTaken> {
    let mut outcome = Err(NotTaken::Unasked);
    for (candidate, opening) in links {
        outcome = try_open(&pool, candidate, opening).await;
        if !matches!(outcome, Err(NotTaken::Unasked | NotTaken::Passed(_))) {
            break;
        }
    }
    outcome
}

/// Opens a stream on one candidate, and remembers whether its service was reached.
async fn try_open(pool: &Pool, candidate: Candidate, opening: Open) -> Result<Opened, NotTaken> {
    let opened = tokio::time::timeout(OPEN_PATIENCE, candidate.uplink.link.open(opening)).await;
    let mut stream = match opened.unwrap_or(Err(OpenError::TooManyStreams)) {
        Ok(stream) => stream,
        Err(OpenError::TooManyStreams) => return Err(NotTaken::Passed(Some(NotOpened::Busy))),
        Err(OpenError::Closed | OpenError::Draining) => return Err(NotTaken::Unasked),
        Err(error) => {
            tracing::error!(%error, "a stream cannot be opened");
            return Err(NotTaken::Ends(NotOpened::Broken));
        }
    };
    let service = Service::of(&candidate);
    let answer = match tokio::time::timeout(ANSWER_PATIENCE, stream.accepted()).await {
        Ok(Ok(())) => {
            service.inspect(|service| pool.outages.note_success(*service));
            return Ok((candidate, stream));
        }
        Err(_) => return Err(NotTaken::Ends(NotOpened::Slow)),
        Ok(Err(error)) => error,
    };
    let Some(refused) = refusal(&answer) else { return Err(NotTaken::Passed(None)) };
    tracing::debug!(code = %refused.code, tunnel = %candidate.uplink.tunnel, "a stream was refused");
    match refused.code {
        StreamRefusal::TooManyStreams => Err(NotTaken::Passed(Some(NotOpened::Busy))),
        StreamRefusal::Draining | StreamRefusal::StaleTable | StreamRefusal::UnknownRule => Err(NotTaken::Passed(None)),
        _ if service.is_some_and(|service| pool.outages.note_refusal(service, refused, Instant::now())) => {
            Err(NotTaken::OutOfReach(refused.clone()))
        }
        _ => Err(NotTaken::Ends(NotOpened::Refused(refused.clone()))),
    }
}

fn refusal(error: &std::io::Error) -> Option<&StreamRefused> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use arc_swap::ArcSwap;
    use tunnel_proto::{
        Hostname, InstanceId, LinkId, Revision, RuleId, TunnelId, UnixTime,
        link::{self, Settings, Welcomed},
        message::{Hello, HttpOptions, Limits, Role, Rule, ServiceKind, Table},
    };

    use super::*;
    use crate::{
        registry::{Rules, Uplink},
        upstream::outages::tests::{go_down, refused},
    };

    /// What a connector answers to openings.
    #[derive(Clone, Copy)]
    enum Answer {
        Accepts,
        Refuses,
        Nothing,
    }

    /// A connector at the other end of a link in memory.
    struct Connector {
        candidate: Candidate,
        answer: Arc<Mutex<Answer>>,
        tries: Arc<AtomicUsize>,
    }

    impl Connector {
        async fn new(number: u8, answer: Answer) -> Self {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let edge = tokio::spawn(async move {
                let greeting = link::accept(far, Role::Connector, Settings::for_edge()).await.unwrap();
                greeting.welcome(LinkId::from_random([number; 16]), Limits::default(), vec![]).await.unwrap()
            });
            let hello = Hello::new(Role::Connector, "test", InstanceId::from_random([number; 16]));
            let connector = link::connect(near, hello, Settings::default()).await.unwrap();
            let Welcomed { link, incoming, control, hello } = edge.await.unwrap();
            let (answer, tries) = (Arc::new(Mutex::new(answer)), Arc::<AtomicUsize>::default());
            let (answers, counted) = (answer.clone(), tries.clone());
            tokio::spawn(async move {
                // Both ends stay for as long as somebody opens streams.
                let (_edge, mut connector) = ((incoming, control), connector);
                let (mut accepted, mut unanswered) = (Vec::new(), Vec::new());
                while let Some(pending) = connector.incoming.next().await {
                    counted.fetch_add(1, Relaxed);
                    let answer = *answers.lock().unwrap();
                    match answer {
                        Answer::Accepts => accepted.extend(pending.accept().await.ok()),
                        Answer::Refuses => pending.refuse(StreamRefusal::ServiceRefused, "refused").await,
                        Answer::Nothing => unanswered.push(pending),
                    }
                }
            });
            let host: Hostname = "db.example.test".parse().unwrap();
            let hostname = "db.example.test".parse().unwrap();
            let rule =
                Rule { id: RuleId(0), hostname, path: None, kind: ServiceKind::Tcp, http: HttpOptions::default() };
            let rules = Rules::compile(&Table { revision: Revision(1), rules: vec![rule] }, Revision(0)).unwrap();
            let rule = rules.find(&host, "/").unwrap();
            let uplink = Uplink {
                link,
                tunnel: TunnelId::from_bytes([1; 16]),
                serial: "1".to_owned(),
                instance: hello.instance,
                source: [192, 0, 2, 1].into(),
                since: UnixTime(0),
                table: ArcSwap::from_pointee(rules),
            };
            let candidate = Candidate { uplink: Arc::new(uplink), revision: Revision(1), rule };
            Self { candidate, answer, tries }
        }

        /// One whose service is down, and was tried last at that time.
        async fn down(pool: &Pool, number: u8, answer: Answer, tried: Instant) -> Self {
            let connector = Self::new(number, answer).await;
            go_down(&pool.outages, connector.service(), tried);
            connector
        }

        fn service(&self) -> Service {
            Service::of(&self.candidate).unwrap()
        }

        fn tries(&self) -> usize {
            self.tries.load(Relaxed)
        }
    }

    /// Long ago enough for another try.
    fn long_ago() -> Instant {
        Instant::now().checked_sub(Duration::from_secs(2)).unwrap()
    }

    /// So late that there is no other try in this test.
    fn late() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    async fn ask(pool: &Arc<Pool>, connectors: &[&Connector]) -> Result<Service, NotOpened> {
        let candidates: Vec<_> = connectors.iter().map(|connector| connector.candidate.clone()).collect();
        let opening = |on: &Candidate| Open::new(on.revision, on.rule.id, [192, 0, 2, 1].into(), [0; 16]);
        let (on, _stream) = open(pool, &candidates, opening).await?;
        Ok(Service::of(&on).unwrap())
    }

    // F6
    #[tokio::test]
    async fn who_asks_is_served_by_one_that_serves_while_others_are_tried_beside_and_come_back() {
        let pool = Arc::<Pool>::default();
        let back = Connector::down(&pool, 1, Answer::Accepts, long_ago()).await;
        let silent = Connector::down(&pool, 2, Answer::Nothing, long_ago()).await;
        let fine = Connector::new(3, Answer::Accepts).await;
        let all = [&back, &silent, &fine];
        assert_eq!(ask(&pool, &all).await.unwrap(), fine.service());
        let is_back = async {
            while pool.outages.ask(back.service(), Instant::now()) != Standing::Fine {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_back).await.expect("what was tried beside is back");
        assert_eq!(back.tries(), 1, "once");
        assert_eq!(ask(&pool, &all).await.unwrap(), back.service(), "it is used again");
    }

    // F6
    #[tokio::test]
    async fn where_all_are_down_the_one_who_has_them_tried_is_served_by_the_one_that_is_back() {
        let pool = Arc::<Pool>::default();
        let dead = Connector::down(&pool, 1, Answer::Refuses, long_ago()).await;
        let back = Connector::down(&pool, 2, Answer::Accepts, long_ago()).await;
        assert_eq!(ask(&pool, &[&dead, &back]).await.unwrap(), back.service());
        assert_eq!(ask(&pool, &[&dead, &back]).await.unwrap(), back.service());
    }

    // F6
    #[tokio::test]
    async fn where_all_are_down_whoever_else_asks_is_told_at_once_and_tries_nothing() {
        let pool = Arc::<Pool>::default();
        let one = Connector::down(&pool, 1, Answer::Accepts, late()).await;
        let other = Connector::down(&pool, 2, Answer::Nothing, late()).await;
        let told = ask(&pool, &[&one, &other]).await;
        assert!(
            matches!(&told, Err(NotOpened::Down(said)) if *said == refused(StreamRefusal::ServiceRefused)),
            "{told:?}"
        );
        assert_eq!((one.tries(), other.tries()), (0, 0));
    }

    // F6
    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_answer_is_waited_for_for_a_moment_by_one_of_those_who_ask() {
        let pool = Arc::<Pool>::default();
        let slow = Connector::down(&pool, 1, Answer::Nothing, long_ago()).await;
        let begun = tokio::time::Instant::now();
        let timed = async || (ask(&pool, &[&slow]).await, begun.elapsed());
        let ((first, waited), (second, told)) = tokio::join!(timed(), timed());
        assert!(matches!(&first, Err(NotOpened::Down(_))), "{first:?}");
        assert!(matches!(&second, Err(NotOpened::Down(_))), "{second:?}");
        assert!(told < DOWN_PATIENCE, "{told:?}");
        assert!((DOWN_PATIENCE..ANSWER_PATIENCE).contains(&waited), "{waited:?}");
        assert_eq!(slow.tries(), 1);
    }

    // F6
    #[tokio::test]
    async fn what_one_connector_cannot_reach_is_asked_of_the_next_one_and_goes_behind_it() {
        let pool = Arc::<Pool>::default();
        let (dead, fine) = (Connector::new(1, Answer::Refuses).await, Connector::new(2, Answer::Accepts).await);
        let all = [&dead, &fine];
        for _ in 0..50 {
            assert_eq!(ask(&pool, &all).await.unwrap(), fine.service());
        }
        let tries = dead.tries();
        assert!((1..25).contains(&tries), "{tries} tries, and it is behind the one that serves");
        *fine.answer.lock().unwrap() = Answer::Refuses;
        let told = ask(&pool, &all).await;
        assert!(matches!(&told, Err(NotOpened::Refused(_))), "{told:?}");
        assert!(dead.tries() > tries, "it is not known to be down, and nobody serves");
        *dead.answer.lock().unwrap() = Answer::Accepts;
        assert_eq!(ask(&pool, &all).await.unwrap(), dead.service());
    }
}
