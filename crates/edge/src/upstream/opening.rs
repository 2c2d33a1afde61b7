//! Opening a stream to a service: on which link, and what whoever asks waits for where services are down (F6).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::oneshot::{self, Receiver},
    time::timeout,
};
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

/// Links that are tried for one request, beside those that turn out to be over and the first of each connector that turns out to
/// be short of something.
const LINKS_TRIED: usize = 4;
/// How long a link may take to have room for another opening, before the next link is tried.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connector may take to connect to its service and say so; its own limit is 30 s.
const ANSWER_PATIENCE: Duration = Duration::from_secs(35);
/// How long whoever asks waits for services that are tried beside when nothing is left to be tried in turn: no longer than until
/// others may wait for the same.
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
    /// Its connector has no room for another connection.
    Short,
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
            Self::Short => Some(NotOpened::Busy),
            Self::OutOfReach(refused) => Some(NotOpened::Refused(refused)),
            Self::Ends(told) => Some(told),
        }
    }
}

/// Opens a stream on the first of `candidates` that takes it, and waits for the connector's answer. `opening` says what
/// the stream is for on a given link. What one connector cannot reach is asked of the next one; what none could reach a moment ago
/// is refused at once, but for the one who has it tried, once a second at most. Whichever has a stream first serves: what is tried
/// in turn, or what is tried beside.
pub(crate) async fn open(
    pool: &Arc<Pool>,
    candidates: &[Candidate],
    opening: impl Fn(&Candidate) -> Open,
) -> Result<Opened, NotOpened> {
    crate::faults::at("stream to a service");
    let asked = candidates.iter().map(|candidate| (candidate, Service::of(candidate)));
    let plan = plan(look_up(&pool.outages, asked, Instant::now()));
    let trying = plan.beside.into_iter().map(|service| {
        let links = candidates.iter().filter(|candidate| Service::of(candidate) == Some(service));
        let links = links.take(LINKS_TRIED).map(|link| (link.clone(), opening(link))).collect();
        try_beside(pool.clone(), service, links)
    });
    let mut beside: FuturesUnordered<_> = trying.collect();
    let mut tried = None;
    let told = tokio::select! {
        biased;
        outcome = in_turn(pool, plan.order, opening) => match outcome {
            Ok(opened) => return Ok(opened),
            Err(NotTaken::Ends(failure)) => return Err(failure),
            Err(not_taken) => not_taken.told(),
        },
        Some(opened) = first_back(&mut beside, &mut tried) => return Ok(opened),
    };
    // However long they take, whoever asks waits for a moment, and the trying goes on without them.
    let slow = match timeout(DOWN_PATIENCE, first_back(&mut beside, &mut tried)).await {
        Ok(Some(opened)) => return Ok(opened),
        Ok(None) => None,
        Err(_) => Some(NotOpened::Slow),
    };
    let down = plan.down.map(NotOpened::Down);
    Err(told.or(tried).or(down).or(slow).unwrap_or(NotOpened::NoTunnel))
}

/// Tries one after the other for whoever asks, until one takes it or no other would do better.
async fn in_turn(
    pool: &Pool,
    order: Vec<Way<&Candidate>>,
    opening: impl Fn(&Candidate) -> Open,
) -> Result<Opened, NotTaken> {
    let (mut tried, mut waited, mut told) = (0_usize, false, None);
    let (mut out_of_reach, mut short) = (Vec::new(), Vec::new());
    let mut left = VecDeque::from(order);
    while let Some(Way { candidate, service, standing }) = left.pop_front() {
        if tried >= LINKS_TRIED {
            break;
        }
        // Whoever has waited for one service to the end does not wait for another one that failed before, unless it is back by now.
        let is_hopeless = |service: Service| {
            out_of_reach.contains(&service) || (waited && standing.is_failing() && pool.outages.has_failed(service))
        };
        if service.is_some_and(is_hopeless) {
            continue;
        }
        match try_open(pool, candidate.clone(), opening(candidate)).await {
            Err(NotTaken::Unasked) => continue,
            Err(NotTaken::Passed(more)) => told = more.or(told),
            Err(NotTaken::Short) => {
                told = NotTaken::Short.told();
                let connector = candidate.uplink.instance;
                // Its other links will hardly do better: of those whose services have not failed they come last.
                if !short.contains(&connector) {
                    short.push(connector);
                    let place = |way: &Way<&Candidate>| {
                        (way.standing.is_failing(), short.contains(&way.candidate.uplink.instance))
                    };
                    left.make_contiguous().sort_by_key(place);
                    // One that nobody knew of yet is no try that others lack.
                    if standing != Standing::Short {
                        continue;
                    }
                }
            }
            Err(NotTaken::OutOfReach(refused)) => {
                waited |= refused.code == StreamRefusal::ServiceTimeout;
                told = Some(NotOpened::Refused(refused));
                out_of_reach.extend(service);
            }
            decided => return decided,
        }
        tried = tried.saturating_add(1);
    }
    Err(NotTaken::Passed(told))
}

/// The first stream to a service that is tried beside. What is said of those that have none is in `told`, also when nobody waits
/// for the others any more.
async fn first_back(
    beside: &mut FuturesUnordered<Receiver<Result<Opened, NotTaken>>>,
    told: &mut Option<NotOpened>,
) -> Option<Opened> {
    while let Some(outcome) = beside.next().await {
        match outcome.unwrap_or(Err(NotTaken::Ends(NotOpened::Broken))) {
            Ok(opened) => return Some(opened),
            Err(not_taken) => *told = not_taken.told().or(told.take()),
        }
    }
    None
}

/// Has a task of its own try whether a service is back: everybody wants to know, also when whoever asked goes away meanwhile. A
/// stream that nobody waits for any more is closed.
fn try_beside(pool: Arc<Pool>, service: Service, links: Vec<(Candidate, Open)>) -> Receiver<Result<Opened, NotTaken>> {
    let (sender, outcome) = oneshot::channel();
    let trying = pool.outages.begin_try(service);
    tokio::spawn(async move {
        let tried = try_again(&pool, links).await;
        drop(trying);
        sender.send(tried).ok();
    });
    outcome
}

/// Tries whether a service is back, on the first of its `links` that takes the opening.
async fn try_again(pool: &Pool, links: Vec<(Candidate, Open)>) -> Result<Opened, NotTaken> {
    let mut outcome = Err(NotTaken::Unasked);
    for (candidate, opening) in links {
        outcome = try_open(pool, candidate, opening).await;
        if !matches!(outcome, Err(NotTaken::Unasked | NotTaken::Passed(_) | NotTaken::Short)) {
            break;
        }
    }
    outcome
}

/// Opens a stream on one candidate, and remembers whether its service was reached.
async fn try_open(pool: &Pool, candidate: Candidate, opening: Open) -> Result<Opened, NotTaken> {
    let began = Instant::now();
    // Before it is there, so that those that are opened at the same time go the same way.
    let counted = candidate.rule.group.one_more();
    let opened = timeout(OPEN_PATIENCE, candidate.uplink.link.open(opening)).await;
    let mut stream = match opened.unwrap_or(Err(OpenError::TooManyStreams)) {
        Ok(stream) => stream,
        Err(OpenError::TooManyStreams) => return Err(NotTaken::Passed(Some(NotOpened::Busy))),
        Err(OpenError::Closed | OpenError::Draining) => return Err(NotTaken::Unasked),
        Err(error) => {
            tracing::error!(%error, "a stream cannot be opened");
            return Err(NotTaken::Ends(NotOpened::Broken));
        }
    };
    stream.keep(counted);
    let service = Service::of(&candidate);
    let answer = match timeout(ANSWER_PATIENCE, stream.accepted()).await {
        Ok(Ok(())) => {
            service.inspect(|service| pool.outages.note_success(*service, Instant::now()));
            return Ok((candidate, stream));
        }
        Err(_) => return Err(NotTaken::Ends(NotOpened::Slow)),
        Ok(Err(error)) => error,
    };
    let Some(refused) = refusal(&answer) else { return Err(NotTaken::Passed(None)) };
    tracing::debug!(code = %refused.code, tunnel = %candidate.uplink.tunnel, "a stream was refused");
    match refused.code {
        StreamRefusal::TooManyStreams => {
            service.inspect(|service| pool.outages.note_shortage(*service, Instant::now()));
            Err(NotTaken::Short)
        }
        StreamRefusal::Draining | StreamRefusal::StaleTable | StreamRefusal::UnknownRule => Err(NotTaken::Passed(None)),
        _ if service.is_some_and(|service| pool.outages.note_refusal(service, refused, began, Instant::now())) => {
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
        /// It has no descriptor, port or memory for a connection.
        Short,
        /// It accepts a moment later.
        AcceptsLate,
        /// It says a moment later that the service does not answer.
        TimesOut,
        /// It says a moment later that it has another table, which is nothing to tell.
        OtherTable,
    }

    /// After which a late one answers.
    const MOMENT: Duration = Duration::from_millis(500);

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
                let greeting =
                    link::accept(tokio::io::BufReader::new(far), Role::Connector, Settings::for_edge()).await.unwrap();
                greeting.welcome(LinkId::from_random([number; 16]), Limits::default(), vec![]).await.unwrap()
            });
            let hello = Hello::new(Role::Connector, "test", InstanceId::from_random([number; 16]));
            let connector = link::connect(tokio::io::BufReader::new(near), hello, Settings::default()).await.unwrap();
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
                        Answer::Short => pending.refuse(StreamRefusal::TooManyStreams, "no descriptor").await,
                        Answer::AcceptsLate => {
                            tokio::time::sleep(MOMENT).await;
                            accepted.extend(pending.accept().await.ok());
                        }
                        Answer::TimesOut => {
                            tokio::time::sleep(MOMENT).await;
                            pending.refuse(StreamRefusal::ServiceTimeout, "no answer").await;
                        }
                        Answer::OtherTable => {
                            tokio::time::sleep(MOMENT).await;
                            pending.refuse(StreamRefusal::StaleTable, "another table").await;
                        }
                    }
                }
            });
            let host: Hostname = "db.example.test".parse().unwrap();
            let hostname = "db.example.test".parse().unwrap();
            let rule =
                Rule { id: RuleId(0), hostname, path: None, kind: ServiceKind::Tcp, http: HttpOptions::default() };
            let rules = Rules::compile(&Table { revision: Revision(1), rules: vec![rule] }, &Rules::default()).unwrap();
            let rule = rules.find(&host, "/").unwrap();
            let uplink = Uplink {
                link,
                tunnel: TunnelId::from_bytes([1; 16]),
                serial: "1".to_owned(),
                instance: hello.instance,
                source: [192, 0, 2, 1].into(),
                since: UnixTime(0),
                home: tokio::runtime::Handle::current().id(),
                paced: false,
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

        /// One whose service failed once, when it was tried at that time.
        async fn failing(pool: &Pool, number: u8, answer: Answer, tried: Instant) -> Self {
            let connector = Self::new(number, answer).await;
            let said = refused(StreamRefusal::ServiceTimeout);
            assert!(pool.outages.note_refusal(connector.service(), &said, tried, tried));
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

    /// How long anything may take that is to come.
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn ask(pool: &Arc<Pool>, connectors: &[&Connector]) -> Result<Service, NotOpened> {
        let candidates: Vec<_> = connectors.iter().map(|connector| connector.candidate.clone()).collect();
        let opening = |on: &Candidate| Open::new(on.revision, on.rule.id, [192, 0, 2, 1].into(), [0; 16]);
        let (on, _stream) = open(pool, &candidates, opening).await?;
        Ok(Service::of(&on).unwrap())
    }

    // F6
    #[tokio::test(start_paused = true)]
    async fn who_asks_is_served_by_one_that_serves_while_others_are_tried_beside_and_come_back() {
        let pool = Arc::<Pool>::default();
        let back = Connector::down(&pool, 1, Answer::AcceptsLate, long_ago()).await;
        let silent = Connector::down(&pool, 2, Answer::Nothing, long_ago()).await;
        let fine = Connector::new(3, Answer::Accepts).await;
        let all = [&back, &silent, &fine];
        assert_eq!(ask(&pool, &all).await.unwrap(), fine.service());
        let is_back = async {
            while back.tries() == 0 || pool.outages.has_failed(back.service()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            while back.candidate.uplink.link.streams() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, is_back).await.expect("what was tried beside is back, and its stream is kept for nobody");
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
    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_one_that_failed_is_served_by_another_that_is_back() {
        let pool = Arc::<Pool>::default();
        let silent = Connector::failing(&pool, 1, Answer::Nothing, long_ago()).await;
        let back = Connector::failing(&pool, 2, Answer::Accepts, long_ago()).await;
        let served = timeout(PATIENCE, ask(&pool, &[&silent, &back])).await.expect("nobody waits for the silent one");
        assert_eq!(served.unwrap(), back.service());
        assert_eq!(back.tries(), 1);
    }

    // F6
    #[tokio::test(start_paused = true)]
    async fn whoever_has_waited_for_one_to_the_end_is_served_by_another_that_came_back_meanwhile() {
        let pool = Arc::<Pool>::default();
        let slow = Connector::failing(&pool, 1, Answer::TimesOut, late()).await;
        let other = Connector::failing(&pool, 2, Answer::Accepts, late()).await;
        let told = ask(&pool, &[&slow, &other]).await;
        assert!(matches!(&told, Err(NotOpened::Refused(_))), "{told:?}");
        assert_eq!((slow.tries(), other.tries()), (1, 0), "one is waited for");
        let comes_back = async {
            tokio::time::sleep(MOMENT / 2).await;
            pool.outages.note_success(other.service(), Instant::now());
        };
        let all = [&slow, &other];
        let (served, ()) = tokio::join!(ask(&pool, &all), comes_back);
        assert_eq!(served.unwrap(), other.service());
        assert_eq!((slow.tries(), other.tries()), (2, 1));
    }

    // F6
    #[tokio::test]
    async fn connectors_that_are_short_of_something_use_up_no_tries_and_come_after_one_that_serves() {
        let pool = Arc::<Pool>::default();
        let mut short = Vec::new();
        for number in [1, 1, 2, 2] {
            short.push(Connector::new(number, Answer::Short).await);
        }
        let fine = Connector::new(3, Answer::Accepts).await;
        let all: Vec<_> = short.iter().chain([&fine]).collect();
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(ask(&pool, &all).await.unwrap(), fine.service());
        }
        let (tries, seconds) = (short.iter().map(Connector::tries).sum::<usize>(), begun.elapsed().as_secs());
        let most = 2 * usize::try_from(seconds + 1).unwrap();
        assert!((2..=most).contains(&tries), "{tries} tries in {seconds} s, each second one of each connector at most");
        *fine.answer.lock().unwrap() = Answer::Short;
        let told = ask(&pool, &all).await;
        assert!(matches!(&told, Err(NotOpened::Busy)), "{told:?}");
        // Nothing is known to be down: whoever asks next is served, by whichever link has room.
        *short[3].answer.lock().unwrap() = Answer::Accepts;
        assert_eq!(ask(&pool, &all).await.unwrap(), short[3].service());
    }

    // F6
    #[tokio::test]
    async fn of_connectors_that_are_known_to_be_short_no_more_are_tried_than_of_others() {
        let pool = Arc::<Pool>::default();
        let mut short = Vec::new();
        for number in 1..=6 {
            short.push(Connector::new(number, Answer::Short).await);
        }
        let all: Vec<_> = short.iter().collect();
        let tries = || short.iter().map(Connector::tries).sum::<usize>();
        let told = ask(&pool, &all).await;
        assert!(matches!(&told, Err(NotOpened::Busy)), "{told:?}");
        assert_eq!(tries(), short.len(), "nobody knew");
        short.iter().for_each(|connector| pool.outages.note_shortage(connector.service(), late()));
        let told = ask(&pool, &all).await;
        assert!(matches!(&told, Err(NotOpened::Busy)), "{told:?}");
        assert_eq!(tries(), short.len() + LINKS_TRIED);
    }

    // F6
    #[tokio::test(start_paused = true)]
    async fn another_link_of_a_connector_that_is_short_comes_before_a_service_that_failed() {
        let pool = Arc::<Pool>::default();
        let full = Connector::new(1, Answer::Short).await;
        let silent = Connector::failing(&pool, 2, Answer::Nothing, late()).await;
        let free = Connector::new(1, Answer::Accepts).await;
        let served =
            timeout(PATIENCE, ask(&pool, &[&full, &silent, &free])).await.expect("nobody waits for the silent one");
        assert_eq!(served.unwrap(), free.service());
        assert_eq!([&full, &silent, &free].map(Connector::tries), [1, 0, 1]);
    }

    // F6
    #[tokio::test(start_paused = true)]
    async fn whether_one_that_is_down_is_back_is_asked_by_another_link_where_one_has_no_room() {
        let pool = Arc::<Pool>::default();
        let full = Connector::down(&pool, 1, Answer::Short, long_ago()).await;
        let free = Connector::new(1, Answer::Accepts).await;
        assert_eq!(ask(&pool, &[&full, &free]).await.unwrap(), free.service());
        assert_eq!((full.tries(), free.tries()), (1, 1));
    }

    // F6
    #[tokio::test(start_paused = true)]
    async fn what_is_tried_beside_is_tried_once_and_what_is_said_of_it_is_told() {
        let pool = Arc::<Pool>::default();
        let stale = Connector::new(1, Answer::OtherTable).await;
        let dead = Connector::failing(&pool, 2, Answer::Refuses, long_ago()).await;
        let told = ask(&pool, &[&dead, &stale]).await;
        assert!(matches!(&told, Err(NotOpened::Refused(_))), "it was said before the other one answered: {told:?}");
        assert_eq!((dead.tries(), stale.tries()), (1, 1));
        let pool = Arc::<Pool>::default();
        let dead = Connector::failing(&pool, 2, Answer::Refuses, long_ago()).await;
        let silent = Connector::failing(&pool, 3, Answer::Nothing, long_ago()).await;
        let told = ask(&pool, &[&dead, &silent, &stale]).await;
        assert!(matches!(&told, Err(NotOpened::Refused(_))), "whatever else is waited for: {told:?}");
        assert_eq!((dead.tries(), silent.tries(), stale.tries()), (1, 1, 2));
        let pool = Arc::<Pool>::default();
        let silent = Connector::failing(&pool, 3, Answer::Nothing, long_ago()).await;
        let told = ask(&pool, &[&silent, &stale]).await;
        assert!(matches!(&told, Err(NotOpened::Slow)), "nothing is said: {told:?}");
        assert_eq!((silent.tries(), stale.tries()), (1, 3));
    }

    // F6
    #[tokio::test]
    async fn what_one_connector_cannot_reach_is_asked_of_the_next_one_and_goes_behind_it() {
        let pool = Arc::<Pool>::default();
        let (dead, fine) = (Connector::new(1, Answer::Refuses).await, Connector::new(2, Answer::Accepts).await);
        let all = [&dead, &fine];
        let begun = Instant::now();
        for _ in 0..50 {
            assert_eq!(ask(&pool, &all).await.unwrap(), fine.service());
        }
        let (tries, seconds) = (dead.tries(), begun.elapsed().as_secs());
        let most = usize::try_from(seconds + 1).unwrap();
        assert!((1..=most).contains(&tries), "{tries} tries in {seconds} s, and it is behind the one that serves");
        // Where nothing is known to be down, however long that took.
        let pool = Arc::<Pool>::default();
        *fine.answer.lock().unwrap() = Answer::Refuses;
        let told = ask(&pool, &all).await;
        assert!(matches!(&told, Err(NotOpened::Refused(_))), "{told:?}");
        assert!(dead.tries() > tries, "it is not known to be down, and nobody serves");
        *dead.answer.lock().unwrap() = Answer::Accepts;
        assert_eq!(ask(&pool, &all).await.unwrap(), dead.service());
    }
}
