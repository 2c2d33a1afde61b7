//! Which links are up, and what they announced.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use regex_lite::{Regex, RegexBuilder};
use tokio::{
    runtime::{self, Handle},
    sync::watch,
    time::{Instant, timeout_at},
};
use tunnel_proto::{
    HostMap, HostPattern, Hostname, InstanceId, LinkId, Revision, RuleId, TunnelId, UnixTime,
    link::{FAR, Link},
    message::{HttpOptions, RULES_MAX, ServiceKind, Table, TableRefusal, TableRefused},
};

/// Links of one tunnel, over all its connectors.
pub const LINKS_PER_TUNNEL: usize = 64;
/// Links in all.
pub const LINKS_MAX: usize = 10_000;
/// The largest compiled path expression, in bytes (T10). The small engine keeps nothing beside its program, so that this and
/// [`PATHS_MAX`] bound what a table costs.
const PATH_PROGRAM_MAX: usize = 64 * 1024;
/// Path expressions in one table.
const PATHS_MAX: usize = 128;

/// A link that lives in another runtime than whoever asks is taken instead of one that lives in the same only if this one carries
/// more than twice as many streams and so many more: each of its reads and writes wakes another thread.
const NEARER: usize = 8;
/// Streams of one [group](CompiledRule::group) to a connector that is [`FAR`] go by one of its links as long as that carries fewer
/// than so many. Over a distance, several connections that each try how much there is room for fill the queues on the way, for each
/// other as well; one alone leaves them short, uses the path as well, and gives each of its streams the same. That is so where what
/// is sent goes by what arrives; else several get more where packets are lost. Another group has another link, as far as there are:
/// what somebody types does not wait behind what others copy.
const TOGETHER_MAX: usize = 256;
/// How long after its start an edge waits for a connector that somebody asks for: those of the process before it are on their
/// way.
const ARRIVAL_TIME: Duration = Duration::from_secs(10);

/// The links that are up. A plain map under a short lock.
#[derive(Default)]
pub struct Registry {
    links: Mutex<Links>,
    /// Told of every table that is announced.
    announced: watch::Sender<()>,
    /// Until when connectors are waited for, and of which tunnels none can come.
    awaited: OnceLock<(Instant, HashSet<TunnelId>)>,
}

/// Links by tunnel, and how many there are in all.
#[derive(Default)]
struct Links {
    tunnels: HashMap<TunnelId, Vec<Arc<Uplink>>>,
    count: usize,
}

impl Links {
    fn of(&self, tunnel: TunnelId) -> &[Arc<Uplink>] {
        self.tunnels.get(&tunnel).map_or(&[], Vec::as_slice)
    }

    fn has_room(&self, tunnel: TunnelId) -> bool {
        self.count < LINKS_MAX && self.of(tunnel).len() < LINKS_PER_TUNNEL
    }
}

/// A link to a connector, as the edge uses it.
pub struct Uplink {
    /// The link.
    pub link: Link,
    /// The tunnel that its certificate names.
    pub tunnel: TunnelId,
    /// The serial number of that certificate.
    pub serial: String,
    /// The connector process.
    pub instance: InstanceId,
    /// Where it came from.
    pub source: IpAddr,
    /// Since when it is up.
    pub since: UnixTime,
    /// The runtime that it lives in.
    pub home: runtime::Id,
    /// Whether both sides send by what arrives, and not by what is lost.
    pub paced: bool,
    /// What it announced last.
    pub table: ArcSwap<Rules>,
}

/// An announced table, checked and compiled.
#[derive(Debug, Default)]
pub struct Rules {
    /// Its revision.
    pub revision: Revision,
    rules: Vec<Arc<CompiledRule>>,
    /// Their places, by hostname.
    hosts: HostMap<usize>,
    /// The streams to web pages.
    web: Group,
}

/// One announced rule.
#[derive(Debug)]
pub struct CompiledRule {
    /// What a stream names.
    pub id: RuleId,
    /// What the service speaks.
    pub kind: ServiceKind,
    /// How to speak HTTP to it.
    pub http: HttpOptions,
    /// The streams on this link that belong together: those of the rule, or those of all web pages, so that a page that is seldom
    /// opened finds a link that is warm.
    pub(crate) group: Group,
    hostname: HostPattern,
    path: Option<Regex>,
}

/// How many streams of a link belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group(Arc<AtomicUsize>);

impl Group {
    /// Counts one more, for as long as what is returned lives.
    pub(crate) fn one_more(&self) -> impl Send + Sync + 'static {
        struct One(Arc<AtomicUsize>);
        impl Drop for One {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        self.0.fetch_add(1, Relaxed);
        One(self.0.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl CompiledRule {
    /// Where it answers.
    fn place(&self) -> (&HostPattern, Option<&str>) {
        (&self.hostname, self.path.as_ref().map(Regex::as_str))
    }

    const fn is_web(&self) -> bool {
        matches!(self.kind, ServiceKind::Http | ServiceKind::H2c)
    }
}

impl Rules {
    /// Checks a table that follows `before`.
    pub fn compile(table: &Table, before: &Self) -> Result<Self, TableRefused> {
        let refuse = |rule: Option<RuleId>, code, text: &str| TableRefused {
            revision: table.revision,
            rule,
            code,
            text: text.to_owned(),
        };
        if table.revision <= before.revision {
            return Err(refuse(None, TableRefusal::StaleRevision, "the revision has to grow"));
        }
        if table.rules.len() > RULES_MAX {
            return Err(refuse(None, TableRefusal::TooManyRules, "too many rules"));
        }
        let paths = table.rules.iter().filter(|rule| rule.path.is_some()).count();
        if paths > PATHS_MAX {
            return Err(refuse(None, TableRefusal::TooManyRules, "too many rules with a path"));
        }
        let mut rules: Vec<Arc<CompiledRule>> = Vec::with_capacity(table.rules.len());
        let (mut hosts, mut ids) = (HostMap::default(), HashSet::new());
        // Streams stay where they are when a table changes.
        // Of several rules in one place the first answers.
        let groups: HashMap<_, _> =
            before.rules.iter().rev().filter(|rule| !rule.is_web()).map(|rule| (rule.place(), &rule.group)).collect();
        let web = before.web.clone();
        for rule in &table.rules {
            if !ids.insert(rule.id) {
                return Err(refuse(Some(rule.id), TableRefusal::DuplicateRule, "two rules with one id"));
            }
            let host = rule.http.host_header.as_deref();
            if host.is_some_and(|host| crate::request::Authority::parse(host.as_bytes()).is_none()) {
                return Err(refuse(Some(rule.id), TableRefusal::BadHostHeader, "not a host"));
            }
            let compile = |path: &String| RegexBuilder::new(path).size_limit(PATH_PROGRAM_MAX).build();
            let path = rule.path.as_ref().map(compile).transpose();
            let path = path
                .map_err(|_| refuse(Some(rule.id), TableRefusal::BadPath, "not a regular expression, or too large"))?;
            hosts.insert(rule.hostname.clone(), rules.len());
            let (http, hostname) = (rule.http.clone(), rule.hostname.clone());
            let mut rule = CompiledRule { id: rule.id, kind: rule.kind, http, group: web.clone(), hostname, path };
            if !rule.is_web() {
                rule.group = groups.get(&rule.place()).copied().cloned().unwrap_or_default();
            }
            rules.push(Arc::new(rule));
        }
        Ok(Self { revision: table.revision, rules, hosts, web })
    }

    /// The first rule that answers for `host` and `path`.
    pub fn find(&self, host: &Hostname, path: &str) -> Option<Arc<CompiledRule>> {
        let mut places: Vec<usize> = self.hosts.matching(host).map(|(_, place)| *place).collect();
        places.sort_unstable();
        let answers = |rule: &&Arc<CompiledRule>| rule.path.as_ref().is_none_or(|regex| regex.is_match(path));
        places.into_iter().filter_map(|place| self.rules.get(place)).find(answers).cloned()
    }
}

/// A link and the rule on it that a request goes to.
#[derive(Clone)]
pub struct Candidate {
    /// The link.
    pub uplink: Arc<Uplink>,
    /// The revision of the table in which the rule stands.
    pub revision: Revision,
    /// The rule.
    pub rule: Arc<CompiledRule>,
}

impl Registry {
    /// Adds a link; it is removed when the guard is dropped. `None` when there are too many.
    pub fn register(self: &Arc<Self>, uplink: Arc<Uplink>) -> Option<Registered> {
        let mut links = self.links_now();
        if !links.has_room(uplink.tunnel) {
            return None;
        }
        let first = links.of(uplink.tunnel).is_empty();
        links.tunnels.entry(uplink.tunnel).or_default().push(uplink.clone());
        links.count = links.count.saturating_add(1);
        drop(links);
        Some(Registered { registry: self.clone(), uplink, first })
    }

    /// The links of `tunnel` that serve `host` and `path` now, the least busy first, and of those that are about as busy the ones
    /// that live in the caller's runtime; of a connector that is far, all but the one of this group come later, and last those
    /// whose peer does not answer just now. Announcements narrow, they never
    /// widen: the caller gets the tunnel from an administrator's route.
    pub fn candidates(&self, tunnel: TunnelId, host: &Hostname, path: &str) -> Vec<Candidate> {
        let links = self.links_now().of(tunnel).to_vec();
        let found: Vec<Candidate> = links
            .into_iter()
            .filter(|uplink| !uplink.link.is_draining())
            .filter_map(|uplink| {
                let rules = uplink.table.load();
                let rule = rules.find(host, path)?;
                Some(Candidate { revision: rules.revision, rule, uplink: uplink.clone() })
            })
            .collect();
        let here = Handle::try_current().ok().map(|here| here.id());
        let look = |Candidate { uplink, rule, .. }: &Candidate| Look {
            streams: uplink.link.streams(),
            alike: rule.group.count(),
            is_near: here.is_none_or(|here| here == uplink.home),
            is_doubtful: uplink.link.is_doubtful(),
            connector: uplink.instance,
            round_trip: if uplink.paced { uplink.link.shortest_round_trip() } else { None },
        };
        in_order(found, look)
    }

    /// From now on for a while, connectors are waited for, but not those of tunnels that are `absent`.
    pub(crate) fn await_arrivals(&self, absent: HashSet<TunnelId>) {
        // Once; the edge starts once.
        let _ = self.awaited.set((Instant::now() + ARRIVAL_TIME, absent));
    }

    /// Until when a link of `tunnel` may be on its way, as the edge has just started; nothing when none is.
    pub(crate) fn awaited(&self, tunnel: TunnelId) -> Option<Instant> {
        let (until, absent) = self.awaited.get()?;
        (Instant::now() < *until && !absent.contains(&tunnel)).then_some(*until)
    }

    /// A link has announced something.
    pub(crate) fn note_announced(&self) {
        self.announced.send_replace(());
    }

    /// Waits for a link of `tunnel` that serves `host` and `path`, if the edge has just started and one can be on its way;
    /// else not at all. Whether anything was waited for.
    pub(crate) async fn arrival(&self, tunnel: TunnelId, host: &Hostname, path: &str) -> bool {
        let Some(until) = self.awaited(tunnel) else { return false };
        let (mut announced, mut waited) = (self.announced.subscribe(), false);
        while self.candidates(tunnel, host, path).is_empty() {
            waited = true;
            if !matches!(timeout_at(until, announced.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        waited
    }

    /// What the services behind `host` and `path` speak: `None` when no link of `tunnel` serves them now.
    pub fn kind(&self, tunnel: TunnelId, host: &Hostname, path: &str) -> Option<ServiceKind> {
        self.candidates(tunnel, host, path).first().map(|candidate| candidate.rule.kind)
    }

    /// Whether another link of `tunnel` would be taken.
    pub fn has_room(&self, tunnel: TunnelId) -> bool {
        self.links_now().has_room(tunnel)
    }

    /// How many links a tunnel has.
    pub fn links(&self, tunnel: TunnelId) -> u32 {
        u32::try_from(self.links_now().of(tunnel).len()).unwrap_or(u32::MAX)
    }

    /// Closes every link of a tunnel.
    pub fn close_tunnel(&self, tunnel: TunnelId) {
        let links = self.links_now().of(tunnel).to_vec();
        links.iter().for_each(|uplink| uplink.link.close());
    }

    /// Closes every link that `wanted` does not want.
    pub fn retain(&self, wanted: impl Fn(&Uplink) -> bool) {
        self.all().iter().filter(|uplink| !wanted(uplink)).for_each(|uplink| uplink.link.close());
    }

    /// The other links of the connector at the other end of `uplink`.
    pub(crate) fn beside(&self, uplink: &Uplink) -> Vec<Arc<Uplink>> {
        let id = uplink.link.id();
        let mut links = self.links_now().of(uplink.tunnel).to_vec();
        links.retain(|other| other.instance == uplink.instance && other.link.id() != id);
        links
    }

    /// Every link.
    pub fn all(&self) -> Vec<Arc<Uplink>> {
        self.links_now().tunnels.values().flatten().cloned().collect()
    }

    fn links_now(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link's place in the registry. Dropping it takes the link out, whichever way it ended.
pub struct Registered {
    registry: Arc<Registry>,
    uplink: Arc<Uplink>,
    first: bool,
}

impl Registered {
    /// Whether it was the tunnel's first link: the tunnel came up with it.
    pub const fn was_first(&self) -> bool {
        self.first
    }

    /// The link.
    pub const fn uplink(&self) -> &Arc<Uplink> {
        &self.uplink
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let id: LinkId = self.uplink.link.id();
        let mut links = self.registry.links_now();
        let Links { tunnels, count } = &mut *links;
        if let Some(links) = tunnels.get_mut(&self.uplink.tunnel) {
            let before = links.len();
            links.retain(|other| other.link.id() != id);
            *count = count.saturating_sub(before.saturating_sub(links.len()));
            if links.is_empty() {
                tunnels.remove(&self.uplink.tunnel);
            }
        }
    }
}

/// What the choice between links goes by.
#[derive(Clone, Copy, Debug)]
struct Look {
    streams: usize,
    /// How many of these are of the same group.
    alike: usize,
    /// It lives in the runtime of whoever asks.
    is_near: bool,
    is_doubtful: bool,
    /// Whose it is.
    connector: InstanceId,
    /// How far that is, where all that both sides send goes by what arrives.
    round_trip: Option<Duration>,
}

/// In which order links are tried, and of those alike how busy each counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is used.
    Serves(usize),
    /// Another one of its connector is used.
    StandsBy(usize),
    /// Its peer does not answer just now.
    Doubtful(usize),
}

/// Why a group should have a link: it carries no other, it carries most of this one, it carries least.
type Claim = (bool, usize, Reverse<usize>);

/// What the links of a connector are like together.
#[derive(Clone, Copy, Debug, Default)]
struct Together {
    links: usize,
    streams: usize,
    round_trip: Option<Duration>,
    /// Of those that take another stream the one with the best claim, and where it is.
    leads: Option<(Claim, usize)>,
}

impl Together {
    fn add(&mut self, at: usize, link: &Look) {
        self.links = self.links.saturating_add(1);
        self.streams = self.streams.saturating_add(link.streams);
        self.round_trip = self.round_trip.into_iter().chain(link.round_trip).min();
        let may_lead = !link.is_doubtful && link.streams < TOGETHER_MAX;
        let claim = (link.alike >= link.streams, link.alike, Reverse(link.streams));
        if may_lead && self.leads.is_none_or(|(best, _)| claim > best) {
            self.leads = Some((claim, at));
        }
    }

    /// Which of a far connector's links streams of this group go by, if any.
    fn leader(&self) -> Option<usize> {
        self.leads.filter(|_| self.round_trip.is_some_and(|trip| trip >= FAR)).map(|(_, at)| at)
    }
}

/// Sorts links by their ranks. Each is looked at once: what it carries changes meanwhile, and a sort that looks twice may find no
/// order and panic.
fn in_order<T>(found: Vec<T>, look: impl Fn(&T) -> Look) -> Vec<T> {
    let looks: Vec<Look> = found.iter().map(look).collect();
    // Of few: a tunnel has at most `LINKS_PER_TUNNEL` links.
    let mut connectors: Vec<(InstanceId, Together)> = Vec::new();
    for (at, link) in looks.iter().enumerate() {
        match connectors.iter_mut().find(|(id, _)| *id == link.connector) {
            Some((_, together)) => together.add(at, link),
            None => {
                let mut together = Together::default();
                together.add(at, link);
                connectors.push((link.connector, together));
            }
        }
    }
    let rank = |(at, link): (usize, &Look)| {
        let together =
            connectors.iter().find(|(id, _)| *id == link.connector).map_or_else(Together::default, |(_, of)| *of);
        let weight = if link.is_near { link.streams } else { link.streams.saturating_mul(2).saturating_add(NEARER) };
        match together.leader() {
            _ if link.is_doubtful => Rank::Doubtful(weight),
            // It stands for all of them, beside connectors each of whose links stands for itself.
            Some(leads) if leads == at => {
                Rank::Serves(together.streams.checked_div(together.links).unwrap_or_default())
            }
            Some(_) => Rank::StandsBy(weight),
            None => Rank::Serves(weight),
        }
    };
    let mut ranked: Vec<_> = looks.iter().enumerate().map(rank).zip(found).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, found)| found).collect()
}

#[cfg(test)]
mod tests {
    use tunnel_proto::message::Rule;

    use super::*;

    // F3
    #[tokio::test(start_paused = true)]
    async fn a_connector_is_waited_for_only_after_a_start_and_only_if_one_can_come() {
        let (registry, host) = (Registry::default(), Hostname::parse("www.example.test").unwrap());
        let waited = async |tunnel: u8| {
            let begun = Instant::now();
            registry.arrival(TunnelId::from_bytes([tunnel; 16]), &host, "/").await;
            begun.elapsed()
        };
        assert_eq!(waited(1).await, Duration::ZERO, "no edge has started");
        registry.await_arrivals(HashSet::from([TunnelId::from_bytes([2; 16])]));
        assert_eq!(waited(2).await, Duration::ZERO, "none can be on its way");
        let awaited = |tunnel: u8| registry.awaited(TunnelId::from_bytes([tunnel; 16])).is_some();
        assert_eq!((awaited(1), awaited(2)), (true, false));
        assert!(waited(1).await >= ARRIVAL_TIME);
        assert!(!awaited(1));
        assert_eq!(waited(1).await, Duration::ZERO, "nor after that time");
    }

    #[test]
    fn a_link_of_another_core_is_taken_only_where_those_of_the_own_are_far_busier() {
        let first = |links: &[(usize, bool)]| {
            in_order(links.to_vec(), |&(streams, is_near)| Look { is_near, ..look(streams) })[0]
        };
        assert_eq!(first(&[(0, false), (8, true)]), (0, false), "equally heavy ones stay in their order");
        assert_eq!(first(&[(0, false), (7, true)]), (7, true));
        assert_eq!(first(&[(40, false), (87, true)]), (87, true));
        assert_eq!(first(&[(40, false), (89, true)]), (40, false));
        assert_eq!(first(&[(3, true), (2, true), (0, false)]), (2, true));
        assert_eq!(first(&[(3, false), (2, false)]), (2, false), "without any of the own, it is the least busy one");
    }

    #[test]
    fn the_rule_that_answers_is_the_first_one_that_looking_at_all_of_them_finds() {
        let hosts = ["www.a.test", "*.a.test", "w*.a.test", "*.test", "*.*.test", "a.test"];
        let (kind, http) = (ServiceKind::Http, HttpOptions::default());
        let all: Vec<Rule> = (0..200_u32)
            .map(|id| {
                let at = usize::try_from(id * 7 % 11).unwrap();
                let hostname = hosts[at % hosts.len()].parse().unwrap();
                let path = (id % 3 > 0).then(|| format!("^/{}", id % 29));
                Rule { id: RuleId(id), hostname, path, kind, http: http.clone() }
            })
            .collect();
        for from in (0..all.len()).step_by(9) {
            let rules = all[from..all.len().min(from + 100)].to_vec();
            let table = Table { revision: Revision(1), rules: rules.clone() };
            let compiled = Rules::compile(&table, &Rules::default()).unwrap();
            for host in ["www.a.test", "x.a.test", "a.test", "b.test", "x.y.test", "elsewhere"] {
                let host = Hostname::parse(host).unwrap();
                for path in ["/", "/1", "/12/x", "/28"] {
                    let slow = rules.iter().find(|rule| {
                        let fits = |path_rule: &String| Regex::new(path_rule).unwrap().is_match(path);
                        rule.hostname.matches(&host) && rule.path.as_ref().is_none_or(fits)
                    });
                    let found = compiled.find(&host, path).map(|rule| rule.id);
                    assert_eq!(found, slow.map(|rule| rule.id), "{host}{path} from {from}");
                }
            }
        }
    }

    // F22
    #[test]
    fn links_whose_streams_come_and_go_while_they_are_sorted_are_all_there_afterwards() {
        let state = std::cell::Cell::new(1_u64);
        let busy = |_: &usize| {
            let next = state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.set(next);
            (next >> 60) as usize
        };
        for count in 0..200 {
            let mut links = in_order((0..count).collect(), |link| look(busy(link)));
            links.sort_unstable();
            assert!(links.into_iter().eq(0..count));
        }
        assert_eq!(in_order(vec![3, 1, 2], |link| look(*link)), [1, 2, 3]);
    }

    /// Streams, all of them of the same group, and of which connector: those from 10 on are far.
    fn order(links: &[(usize, u8)]) -> Vec<(usize, u8)> {
        in_order(links.to_vec(), |&(streams, connector)| of(connector, look(streams)))
    }

    /// The one of a far connector's links that comes first, by streams of this group and of others.
    fn leads(links: &[(usize, usize)]) -> usize {
        let look = |&at: &usize| {
            let (alike, others) = links[at];
            Look { alike, ..of(11, look(alike + others)) }
        };
        in_order((0..links.len()).collect(), look)[0]
    }

    #[test]
    fn groups_have_a_link_each_as_far_as_a_connector_that_is_far_has_some() {
        assert_eq!(leads(&[(0, 3), (0, 0), (0, 0)]), 1, "one that carries nothing");
        assert_eq!(leads(&[(0, 3), (1, 0), (0, 0)]), 1, "and it stays that one");
        assert_eq!(leads(&[(0, 3), (1, 0), (5, 0)]), 2, "or the one with more, if there are two");
        assert_eq!(leads(&[(0, 3), (1, 9), (0, 0)]), 2, "those that met go apart");
        assert_eq!(leads(&[(0, 3), (1, 9), (0, 1)]), 1, "where all are taken it stays with its own");
        assert_eq!(leads(&[(0, 3), (0, 2), (0, 7)]), 1, "or comes to where least is carried");
        assert_eq!(leads(&[(2, 254), (1, 0), (0, 0)]), 1, "the one it has takes no more");
    }

    #[test]
    fn streams_are_counted_by_group_over_a_change_of_the_table() {
        let rule = |id: u32, host: &str, path: Option<&str>, kind: ServiceKind| Rule {
            id: RuleId(id),
            hostname: host.parse().unwrap(),
            path: path.map(str::to_owned),
            kind,
            http: HttpOptions::default(),
        };
        let compile = |revision, rules: Vec<Rule>, before: &Rules| {
            Rules::compile(&Table { revision: Revision(revision), rules }, before).unwrap()
        };
        let counts = |rules: &Rules| rules.rules.iter().map(|rule| rule.group.count()).collect::<Vec<_>>();
        let (tcp, http, h2c) = (ServiceKind::Tcp, ServiceKind::Http, ServiceKind::H2c);
        let rules = vec![
            rule(0, "a.test", None, tcp),
            rule(1, "b.test", None, tcp),
            rule(2, "www.test", None, http),
            rule(3, "wiki.test", None, h2c),
        ];
        let first = compile(1, rules, &Rules::default());
        let kept = [0, 1, 1, 2, 3, 3].map(|at: usize| first.rules[at].group.one_more());
        assert_eq!(counts(&first), [1, 2, 3, 3], "web pages share one link");
        // Their numbers change places; one is new, one is for another path.
        let rules = vec![
            rule(0, "new.test", None, tcp),
            rule(1, "a.test", Some("^/x"), tcp),
            rule(2, "b.test", None, tcp),
            rule(3, "new-www.test", None, http),
            rule(4, "wiki.test", None, tcp),
        ];
        let second = compile(2, rules, &first);
        assert_eq!(counts(&second), [0, 0, 2, 3, 0]);
        drop((first, kept));
        assert_eq!(counts(&second), [0; 5]);
    }

    #[test]
    fn streams_to_a_connector_that_is_far_go_by_one_of_its_links() {
        assert_eq!(order(&[(0, 11), (7, 11), (0, 11)]), [(7, 11), (0, 11), (0, 11)]);
        assert_eq!(order(&[(0, 1), (7, 1), (0, 1)]), [(0, 1), (0, 1), (7, 1)], "near, all of them are used");
        let idle = in_order(vec!["first", "second"], |_| of(11, look(0)));
        assert_eq!(idle, ["first", "second"], "the first of them is the one, and stays it");
        assert_eq!(order(&[(0, 11), (256, 11), (0, 11)]), [(0, 11), (0, 11), (256, 11)], "it is full");
        assert_eq!(order(&[(300, 11), (256, 11)]), [(256, 11), (300, 11)], "all are");
    }

    #[test]
    fn connectors_have_equal_shares_wherever_they_are() {
        let links = [(9, 11), (0, 11), (0, 11), (2, 1), (2, 1), (2, 1)];
        assert_eq!(order(&links)[0], (2, 1), "three each, and two");
        let links = [(5, 11), (0, 11), (0, 11), (2, 1), (2, 1), (2, 1)];
        assert_eq!(order(&links)[0], (5, 11), "one and two thirds, and two");
        assert_eq!(order(&[(7, 11), (9, 12), (0, 11), (0, 12)]), [(7, 11), (9, 12), (0, 11), (0, 12)]);
        // One link of them was measured while much was going on.
        let far = Look { round_trip: Some(FAR * 2), ..of(1, look(3)) };
        assert_eq!(in_order(vec![Look { streams: 4, ..far }, of(1, look(3))], |link| *link)[0].streams, 3);
    }

    // F4
    #[test]
    fn a_link_whose_peer_does_not_answer_comes_last_and_leads_no_more() {
        for connector in [1, 11] {
            let doubtful = Look { is_doubtful: true, ..of(connector, look(9)) };
            let all = vec![doubtful, of(connector, look(20)), of(connector, look(10))];
            let streams = |link: Look| link.streams;
            let order: Vec<usize> = in_order(all, |link| *link).into_iter().map(streams).collect();
            assert_eq!(order, if connector == 1 { [10, 20, 9] } else { [20, 10, 9] });
        }
    }

    /// A link of a connector that is not known to be far.
    fn look(streams: usize) -> Look {
        let connector = InstanceId::from_random([0; 16]);
        Look { streams, alike: streams, is_near: true, is_doubtful: false, connector, round_trip: None }
    }

    fn of(connector: u8, link: Look) -> Look {
        let round_trip = if connector > 10 { FAR } else { FAR / 2 };
        Look { connector: InstanceId::from_random([connector; 16]), round_trip: Some(round_trip), ..link }
    }
}
