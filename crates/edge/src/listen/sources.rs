//! What is remembered of the networks that connect: how many connections they have, how fast these come, and what they did
//! that no honest program does. Whoever goes on doing that is not let in for a while, each time for longer; slowly, while
//! somebody who was admitted is there.

mod glitch;
mod known;
mod level;
mod network;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub(crate) use self::{glitch::Glitch, known::Known};
use self::{
    level::{Level, Rate},
    network::Network,
};
use super::notice::Notice;

/// Connections of one network (an IPv4 address, or what one customer has of IPv6) that are not yet through their handshake. Trusted
/// proxies speak for many, and loopback is this machine.
const HANDSHAKES_PER_NETWORK: usize = 128;
/// New connections of one network: a house full of people who all come back at once, and then more than they need.
const ARRIVALS: Rate = Rate { burst: 1024, per_second: 64 };
/// As how many new connections one counts while its network would be shut out, were nobody admitted in it: an office is more than
/// whoever of it misbehaves.
const SLOWLY: u32 = 10;
/// What one network may do wrong, in points ([`Glitch::points`]).
const FAULTS: Rate = Rate { burst: 100, per_second: 10 };
/// Requests of one network that may be turned away. An application that asks in vain every second, in five hundred windows
/// whose logins have lapsed, stays below. So does what a page elsewhere can have its readers' browsers do: nobody's office is to be
/// shut out by what one of them reads.
const TURNED_AWAY: Rate = Rate { burst: 10_000, per_second: 1_000 };
/// For how long whoever was admitted keeps a network from being shut out for what a page elsewhere can have its readers' browsers
/// do: browsers end connections on which nothing is asked, and their people are still there.
const ADMITTED_LATELY: Duration = Duration::from_secs(60 * 60);
/// What may come from a /48 of IPv6 in all, in networks: whoever has one would otherwise be 256, and have every place there is.
/// Half of those are still to be had by a provider whose customers share one.
const NETWORKS_PER_WIDE: u32 = 8;
/// How long a network is not let in the first time; twice as long each further time.
const SHUT_FIRST: Duration = Duration::from_secs(10);
const SHUT_MOST: Duration = Duration::from_secs(5 * 60);
/// After this time without another, a network's penalties are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
/// Networks that are remembered at a time, at least.
const NETWORKS_MAX: usize = 65_536;
/// Where there are more places: networks for each of them. A visitor by IPv6 is in two, and links and handshakes are in some as well,
/// so that those that have connections are never more than are remembered.
const NETWORKS_PER_PLACE: usize = 4;

static TOO_FAST: Notice = Notice::new("a network opens connections faster than it may");
static TOO_MANY: Notice = Notice::new("a network has as many connections as it may");
static SLOWED: Notice =
    Notice::new("a network that went on misbehaving is let in slowly for a while: somebody in it was admitted");
static SHUT: Notice = Notice::new("a network that went on misbehaving is not let in for a while");

struct Source {
    /// As how many networks it counts.
    networks: u32,
    connections: usize,
    handshakes: usize,
    /// Connections of those who were admitted.
    kept: usize,
    /// Links of connectors.
    links: usize,
    /// When the last of these or those ended.
    admitted: Option<Instant>,
    arrivals: Level,
    faults: Level,
    turned_away: Level,
    /// How often it was shut out, and until when the last time.
    shut: (u32, Option<Instant>),
    /// Whether that was for nothing but what any page can have a browser do.
    mildly: bool,
}

impl Source {
    const fn new(networks: u32, now: Instant) -> Self {
        let empty = Level::empty(now);
        Self {
            networks,
            connections: 0,
            handshakes: 0,
            kept: 0,
            links: 0,
            admitted: None,
            arrivals: empty,
            faults: empty,
            turned_away: empty,
            shut: (0, None),
            mildly: false,
        }
    }

    fn is_shut(&self, now: Instant) -> bool {
        self.shut.1.is_some_and(|until| now < until)
    }

    /// Whether nobody new is let in: it is shut, and nobody in it was admitted. Where it is shut for what any page can have a
    /// browser do, its connectors count as well, and so does who was there a while ago.
    fn is_out(&self, now: Instant) -> bool {
        let is_spared = self.kept > 0 || self.mildly && self.admitted_ago(now).is_some();
        self.is_shut(now) && !is_spared
    }

    fn standing(&self, now: Instant) -> Standing {
        match self.is_shut(now) {
            true if self.is_out(now) => Standing::Out,
            true => Standing::Slowly,
            false => Standing::Open,
        }
    }

    /// How long ago whoever was admitted, or a connector, was last there, if that was lately.
    fn admitted_ago(&self, now: Instant) -> Option<Duration> {
        if self.kept + self.links > 0 {
            return Some(Duration::ZERO);
        }
        let ago = now.saturating_duration_since(self.admitted?);
        (ago < ADMITTED_LATELY).then_some(ago)
    }

    /// Whether nothing would change if it were forgotten.
    fn is_at_rest(&mut self, now: Instant) -> bool {
        self.is_blameless(now) && self.admitted_ago(now).is_none()
    }

    /// Whether nothing would change if it were forgotten, but that somebody was admitted lately.
    fn is_blameless(&mut self, now: Instant) -> bool {
        self.arrivals.settle(ARRIVALS.times(self.networks), now);
        self.faults.settle(FAULTS.times(self.networks), now);
        self.turned_away.settle(TURNED_AWAY.times(self.networks), now);
        let forgiven = self.shut.1.is_none_or(|until| now.saturating_duration_since(until) >= FORGOTTEN_AFTER);
        !self.is_here() && self.arrivals.filled + self.faults.filled + self.turned_away.filled == 0 && forgiven
    }

    const fn is_here(&self) -> bool {
        self.connections > 0 || self.handshakes > 0 || self.kept > 0 || self.links > 0
    }

    /// Whether there are fewer than so many for each network.
    const fn has_room(&self, taken: usize, each: usize) -> bool {
        taken < each.saturating_mul(self.networks as usize)
    }

    fn arrive(&mut self, now: Instant) -> Result<(), Refused> {
        if self.is_out(now) {
            return Err(Refused::Shut);
        }
        let cost = if self.is_shut(now) { SLOWLY } else { 1 };
        if !self.has_room(self.handshakes, HANDSHAKES_PER_NETWORK) {
            return Err(Refused::TooMany);
        }
        if !self.arrivals.pour(cost, ARRIVALS.times(self.networks), now) {
            return Err(Refused::TooFast);
        }
        Ok(())
    }

    /// Enters a fault; for how long the network is shut out for it, if it is one too many.
    fn fault(&mut self, glitch: Glitch, now: Instant) -> Option<Duration> {
        let is_mild = matches!(glitch, Glitch::TurnedAway | Glitch::GivenUp);
        let fits = match is_mild {
            true => self.turned_away.pour(glitch.points(), TURNED_AWAY.times(self.networks), now),
            false => self.faults.pour(glitch.points(), FAULTS.times(self.networks), now),
        };
        if fits {
            return None;
        }
        // One that was shut for nothing but what any page can have a browser do, and then does what no browser does, is shut anew.
        if self.is_shut(now) && (is_mild || !self.mildly) {
            return None;
        }
        self.mildly = is_mild;
        let (times, last) = self.shut;
        let fresh = last.is_some_and(|until| now.saturating_duration_since(until) < FORGOTTEN_AFTER);
        let times = if fresh { times } else { 0 };
        let long = SHUT_FIRST.saturating_mul(1 << times.min(16)).min(SHUT_MOST);
        self.shut = (times.saturating_add(1), Some(now + long));
        Some(long)
    }
}

/// How a network stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Like any other.
    Open,
    /// It is shut, and still let in slowly: somebody in it was admitted.
    Slowly,
    /// Nobody new is let in.
    Out,
}

struct Table {
    sources: HashMap<Network, Source>,
    /// Visitors' connections that one network may have at a time, and what no network may have more of, a wide one neither.
    connections: (usize, usize),
    /// How many networks are remembered at a time.
    remembered: usize,
}

impl Table {
    /// One network may have so many of all `places`, and no more than half of them.
    fn new(connections: usize, places: usize) -> Self {
        let most = (places / 2).max(1);
        let remembered = NETWORKS_MAX.max(places.saturating_mul(NETWORKS_PER_PLACE));
        Self { sources: HashMap::new(), connections: (connections, most), remembered }
    }

    fn source(&mut self, network: Network, now: Instant) -> &mut Source {
        if self.sources.len() >= self.remembered && !self.sources.contains_key(&network) {
            self.sources.retain(|_, source| !source.is_at_rest(now));
            // Where somebody was admitted a while ago is easier forgotten than who is to be watched.
            if self.sources.len() > self.remembered / 4 * 3 {
                self.sources.retain(|_, source| !source.is_blameless(now));
            }
            if self.sources.len() > self.remembered / 4 * 3 {
                // More networks than can be remembered: what they did before is forgotten, not that they are here.
                self.sources.retain(|_, source| source.is_here());
            }
        }
        self.sources.entry(network).or_insert_with(|| Source::new(network.networks(), now))
    }

    fn arrive(&mut self, network: Network, now: Instant) -> Result<(), Refused> {
        // What a network may not do is no matter of the wide one's.
        network.with_wide().try_for_each(|one| self.source(one, now).arrive(now))?;
        network.with_wide().for_each(|one| self.source(one, now).handshakes += 1);
        Ok(())
    }

    fn stay(&mut self, network: Network, now: Instant) -> Result<(), Refused> {
        let (each, most) = self.connections;
        for one in network.with_wide() {
            let source = self.source(one, now);
            if source.connections >= most || !source.has_room(source.connections, each) {
                return Err(Refused::TooMany);
            }
        }
        network.with_wide().for_each(|one| self.source(one, now).connections += 1);
        Ok(())
    }

    fn keep(&mut self, network: Network, now: Instant) -> Result<(), Refused> {
        network.with_wide().for_each(|one| self.source(one, now).kept += 1);
        Ok(())
    }

    fn link(&mut self, network: Network, now: Instant) -> Result<(), Refused> {
        network.with_wide().for_each(|one| self.source(one, now).links += 1);
        Ok(())
    }

    /// Enters a fault; how the network stands then, and for how long it is shut if that began by this one.
    fn fault(&mut self, network: Network, glitch: Glitch, now: Instant) -> (Standing, Option<Duration>) {
        let (mut standing, mut long) = (Standing::Open, None);
        for one in network.with_wide() {
            let source = self.source(one, now);
            let was_shut = source.is_shut(now);
            long = long.max(source.fault(glitch, now));
            standing = standing.max(source.standing(now));
            // What its connections from before go on doing is no matter of the wide one's: its neighbours are in there.
            if was_shut {
                break;
            }
        }
        (standing, long)
    }

    /// Undoes what `undo` says; networks at rest are forgotten.
    fn leave(&mut self, network: Network, now: Instant, undo: impl Fn(&mut Source)) {
        for one in network.with_wide() {
            if let Some(source) = self.sources.get_mut(&one) {
                let admitted = source.kept + source.links;
                undo(source);
                if source.kept + source.links < admitted {
                    source.admitted = Some(now);
                }
                if source.is_at_rest(now) {
                    self.sources.remove(&one);
                }
            }
        }
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Shut,
    TooMany,
    TooFast,
}

/// Every network that is remembered.
pub(crate) struct Sources(Mutex<Table>);

impl Sources {
    /// None yet; each may have so many connections of visitors at a time, and no more than half of all `places`.
    pub(super) fn new(connections: usize, places: usize) -> Self {
        Self(Mutex::new(Table::new(connections, places)))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is not let in now, and where somebody was admitted lately.
    pub(super) fn known(&self) -> Known {
        self.table().known(Instant::now())
    }

    /// Takes over what the process before knew.
    pub(super) fn go_on_with(&self, known: Known) {
        self.table().go_on_with(known, Instant::now());
    }

    /// Where a connection comes from. Whoever speaks for many is not counted.
    pub(super) fn origin(self: &Arc<Self>, peer: IpAddr, speaks_for_many: bool) -> Origin {
        Origin { sources: self.clone(), peer, network: (!speaks_for_many).then(|| peer.into()) }
    }
}

/// Where a connection comes from.
#[derive(Clone)]
pub(crate) struct Origin {
    sources: Arc<Sources>,
    peer: IpAddr,
    network: Option<Network>,
}

impl Origin {
    /// Counts a new connection, whose handshake begins. `None` when it is one too many.
    pub(super) fn arrive(&self) -> Option<Counted> {
        self.count(Table::arrive, |source| source.handshakes = source.handshakes.saturating_sub(1))
    }

    /// Counts a visitor's connection. `None` when it is one too many.
    pub(super) fn stay(&self) -> Option<Counted> {
        self.count(Table::stay, |source| source.connections = source.connections.saturating_sub(1))
    }

    /// Counts the connection of somebody who was admitted.
    pub(super) fn keep(&self) -> Option<Counted> {
        self.count(Table::keep, |source| source.kept = source.kept.saturating_sub(1))
    }

    /// Counts the link of a connector that is up.
    pub(crate) fn link(&self) -> Option<Counted> {
        self.count(Table::link, |source| source.links = source.links.saturating_sub(1))
    }

    fn count(
        &self,
        enter: impl Fn(&mut Table, Network, Instant) -> Result<(), Refused>,
        undo: fn(&mut Source),
    ) -> Option<Counted> {
        let refused = self.network.map(|network| enter(&mut self.sources.table(), network, Instant::now()));
        match refused {
            None | Some(Ok(())) => return Some(Counted { origin: self.clone(), undo }),
            Some(Err(Refused::TooFast)) => TOO_FAST.note(),
            Some(Err(Refused::TooMany)) => TOO_MANY.note(),
            // Said when it began.
            Some(Err(Refused::Shut)) => {}
        }
        tracing::debug!(peer = %self.peer, ?refused, "a connection was refused");
        None
    }

    /// Enters a fault; how the network stands then.
    pub(crate) fn note(&self, glitch: Glitch) -> Standing {
        let Some(network) = self.network else { return Standing::Open };
        let now = Instant::now();
        let (standing, long) = self.sources.table().fault(network, glitch, now);
        if let Some(long) = long {
            if standing == Standing::Out {
                SHUT.note()
            } else {
                SLOWED.note()
            }
            tracing::debug!(peer = %self.peer, ?glitch, seconds = long.as_secs(), ?standing, "a network is shut");
        }
        standing
    }
}

/// Something counted with its network, until dropped.
pub(crate) struct Counted {
    origin: Origin,
    undo: fn(&mut Source),
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(network) = self.origin.network {
            self.origin.sources.table().leave(network, Instant::now(), self.undo);
        }
    }
}

#[cfg(test)]
mod tests {
    use tunnel_proto::link::{AcceptError, LinkEnd};

    use super::*;
    use crate::config::{CONNECTIONS, CONNECTIONS_PER_NETWORK, CONNECTIONS_PER_NETWORK_MAX};

    const NETWORK: Network = Network::V4([192, 0, 2, 1]);

    impl Default for Table {
        fn default() -> Self {
            Self::new(CONNECTIONS_PER_NETWORK, CONNECTIONS)
        }
    }

    // H13
    #[test]
    fn a_network_opens_so_many_connections_at_once_and_so_many_a_second() {
        let (mut table, start) = (Table::default(), Instant::now());
        let mut arrive = |now| {
            let arrived = table.arrive(NETWORK, now);
            table.leave(NETWORK, now, |source| source.handshakes = source.handshakes.saturating_sub(1));
            arrived
        };
        let burst = usize::try_from(ARRIVALS.burst).unwrap();
        assert!((0..burst).all(|_| arrive(start).is_ok()));
        assert_eq!(arrive(start), Err(Refused::TooFast));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..burst).filter(|_| arrive(later).is_ok()).count(), 64);
        assert!(table.arrive(Network::V4([192, 0, 2, 2]), start).is_ok(), "another network has its own");
    }

    // T6
    #[test]
    fn a_link_that_floods_counts_as_a_flood_and_one_that_breaks_off_in_the_middle_does_not() {
        let text = String::new;
        for (end, glitch) in [
            (LinkEnd::Protocol(text()), Some(Glitch::Flood)),
            (LinkEnd::OverBudget, Some(Glitch::Flood)),
            (LinkEnd::Late(text()), Some(Glitch::Late)),
            (LinkEnd::PeerSilent, None),
            (LinkEnd::Lost(text()), None),
        ] {
            assert_eq!(Glitch::of_an_end(&end), glitch, "{end}");
            let greeting = Glitch::of_a_greeting(&AcceptError::Lost(end));
            assert_eq!(greeting, glitch.unwrap_or(Glitch::Handshake));
        }
    }

    // H13
    #[test]
    fn handshakes_and_connections_of_a_network_are_few_at_a_time() {
        let (mut table, now) = (Table::default(), Instant::now());
        assert!((0..HANDSHAKES_PER_NETWORK).all(|_| table.arrive(NETWORK, now).is_ok()));
        assert_eq!(table.arrive(NETWORK, now), Err(Refused::TooMany));
        assert!((0..CONNECTIONS_PER_NETWORK).all(|_| table.stay(NETWORK, now).is_ok()));
        assert_eq!(table.stay(NETWORK, now), Err(Refused::TooMany));
    }

    // H14
    #[test]
    fn whoever_goes_on_is_shut_out_each_time_for_longer_and_forgiven_in_the_end() {
        let (mut source, mut now) = (Source::new(1, Instant::now()), Instant::now());
        let mut flood = |now| (0..1000).find_map(|_| source.fault(Glitch::Flood, now));
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            let long = flood(now);
            assert_eq!(long, Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        now += FORGOTTEN_AFTER;
        assert_eq!(flood(now), Some(SHUT_FIRST));
        assert_eq!(flood(now), None, "shut out already");
    }

    #[test]
    fn what_honest_programs_do_now_and_then_shuts_nobody_out() {
        let (mut source, mut now) = (Source::new(1, Instant::now()), Instant::now());
        for _ in 0..600 {
            assert!((0..5).all(|_| source.fault(Glitch::Handshake, now).is_none()));
            assert!((0..500).all(|_| source.fault(Glitch::TurnedAway, now).is_none()));
            now += Duration::from_secs(1);
        }
    }

    // H13
    #[test]
    fn what_no_browser_does_shuts_a_network_out_by_the_hundred_and_what_a_page_elsewhere_has_it_do_by_the_thousand() {
        use Glitch::{Flood, GivenUp, Handshake, Late, Malformed, TurnedAway};
        // How often each is borne at once, as docs/edge-toml.md says.
        let single = [Handshake, Malformed, Late].map(|glitch| (glitch, 100));
        for (glitch, borne) in single.into_iter().chain([(Flood, 4), (GivenUp, 20), (TurnedAway, 10_000)]) {
            let (mut source, now) = (Source::new(1, Instant::now()), Instant::now());
            assert!((0..borne).all(|_| source.fault(glitch, now).is_none()), "{glitch:?}");
            assert_eq!(source.fault(glitch, now), Some(SHUT_FIRST), "{glitch:?}");
        }
    }

    // H13, H14
    #[test]
    fn a_network_in_which_somebody_was_admitted_is_let_in_slowly_whatever_others_in_it_do() {
        let network = Network::V6([0x20, 1, 0xd, 0xb8, 0, 1, 1]);
        let neighbour = Network::V6([0x20, 1, 0xd, 0xb8, 0, 1, 2]);
        let (mut table, start) = (Table::default(), Instant::now());
        let arrive = |table: &mut Table, now| {
            let arrived = table.arrive(network, now);
            if arrived.is_ok() {
                table.leave(network, now, |source| source.handshakes = source.handshakes.saturating_sub(1));
            }
            arrived
        };
        table.keep(network, start).unwrap();
        let floods: Vec<_> = (0..1000).map(|_| table.fault(network, Glitch::Flood, start)).collect();
        assert!(floods.iter().all(|(standing, _)| *standing != Standing::Out));
        let begins = floods.iter().position(|(_, long)| long.is_some()).unwrap();
        // What those who were there before do is told to be done in a network that is shut.
        assert!(floods.iter().skip(begins).all(|(standing, _)| *standing == Standing::Slowly));
        let let_in = (0..2000).filter(|_| arrive(&mut table, start).is_ok()).count();
        assert_eq!(let_in, usize::try_from(ARRIVALS.burst / SLOWLY).unwrap());
        assert_eq!(arrive(&mut table, start), Err(Refused::TooFast));
        let later = start + Duration::from_secs(5);
        assert_eq!((0..1000).filter(|_| arrive(&mut table, later).is_ok()).count(), 32, "a tenth of 64 a second");
        assert!(table.penalties(later).is_empty(), "the next process would shut out all of it");
        // Whoever was admitted goes, and what the others did is remembered.
        table.leave(network, later, |source| source.kept = source.kept.saturating_sub(1));
        assert_eq!(arrive(&mut table, later), Err(Refused::Shut));
        assert!(table.arrive(neighbour, later).is_ok());
        assert!(arrive(&mut table, start + SHUT_FIRST).is_ok());
    }

    // H13
    #[test]
    fn a_network_in_which_somebody_was_admitted_lately_is_not_shut_out_for_what_a_page_elsewhere_has_browsers_do() {
        let leave_link = |source: &mut Source| source.links = source.links.saturating_sub(1);
        let leave_kept = |source: &mut Source| source.kept = source.kept.saturating_sub(1);
        let provoked = |table: &mut Table, now| {
            for _ in 0..=TURNED_AWAY.burst {
                table.fault(NETWORK, Glitch::TurnedAway, now);
            }
        };
        let (mut table, start) = (Table::default(), Instant::now());
        table.link(NETWORK, start).unwrap();
        provoked(&mut table, start);
        assert!(table.arrive(NETWORK, start).is_ok(), "a connector is there");
        assert!(table.penalties(start).is_empty(), "the next process would shut out all of it");
        table.leave(NETWORK, start, leave_link);
        assert!(table.arrive(NETWORK, start).is_ok(), "and may come back");
        // What no browser does shuts it out all the same, unless somebody who was admitted is there now.
        assert!((0..5).any(|_| table.fault(NETWORK, Glitch::Flood, start).0 == Standing::Out));
        assert_eq!(table.arrive(NETWORK, start), Err(Refused::Shut));

        let mut table = Table::default();
        table.keep(NETWORK, start).unwrap();
        table.leave(NETWORK, start, leave_kept);
        let later = start + ADMITTED_LATELY - Duration::from_secs(1);
        provoked(&mut table, later);
        let let_in = (0..2000).filter(|_| table.arrive(NETWORK, later).is_ok()).count();
        assert_eq!(let_in, usize::try_from(ARRIVALS.burst / SLOWLY).unwrap(), "slowly");
        assert_eq!(table.arrive(NETWORK, later + Duration::from_secs(2)), Err(Refused::Shut), "a while is over");
    }

    // H13
    #[test]
    fn a_network_that_is_let_in_slowly_and_then_does_what_no_browser_does_is_shut_anew() {
        let (mut table, start) = (Table::default(), Instant::now());
        table.link(NETWORK, start).unwrap();
        let mild = (0..=TURNED_AWAY.burst).find_map(|_| table.fault(NETWORK, Glitch::TurnedAway, start).1);
        assert_eq!(mild, Some(SHUT_FIRST));
        let later = start + SHUT_FIRST - Duration::from_secs(1);
        let begun: Vec<_> = (0..1000).filter_map(|_| table.fault(NETWORK, Glitch::Flood, later).1).collect();
        assert_eq!(begun, [SHUT_FIRST * 2], "once, and as the second time");
        let last = later + SHUT_FIRST * 2 - Duration::from_secs(1);
        assert_eq!(table.arrive(NETWORK, last), Err(Refused::Shut), "for all of that time");
        assert!(table.arrive(NETWORK, last + Duration::from_secs(1)).is_ok());
    }

    // T6
    #[test]
    fn whoever_presents_in_vain_on_one_link_after_the_other_is_shut_out() {
        let (mut source, mut now) = (Source::new(1, Instant::now()), Instant::now());
        // As many links as a network may open in a second, on each as many credentials as it may present in vain.
        let presents = ARRIVALS.per_second * crate::clients::REFUSED_MAX;
        let mut second = || {
            now += Duration::from_secs(1);
            (0..presents).any(|_| source.fault(Glitch::TurnedAway, now).is_some())
        };
        assert!((0..5).any(|_| second()));
    }

    #[test]
    fn the_table_stays_bounded_and_remembers_whoever_is_there() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.stay(NETWORK, now).unwrap();
        for n in 0..200_000_u32 {
            let [a, b, c, d] = n.to_be_bytes();
            table.source(Network::V6([0x20, 1, 0xd, a, b, c, d]), now).fault(Glitch::Malformed, now);
            assert!(table.sources.len() <= NETWORKS_MAX);
        }
        assert_eq!(table.sources.get(&NETWORK).unwrap().connections, 1);
    }

    // H13
    #[test]
    fn where_somebody_was_admitted_lately_is_forgotten_before_what_others_did() {
        let (mut table, now) = (Table::default(), Instant::now());
        while table.fault(NETWORK, Glitch::Flood, now).0 != Standing::Out {}
        for n in 0..u32::try_from(NETWORKS_MAX).unwrap() {
            let [a, b, c, d] = n.to_be_bytes();
            table.source(Network::V6([0x20, 1, 0xd, a, b, c, d]), now).admitted = Some(now);
        }
        assert!(table.sources.len() < 10, "{}", table.sources.len());
        assert_eq!(table.arrive(NETWORK, now), Err(Refused::Shut));
    }

    // H13
    #[test]
    fn whoever_has_a_wide_network_of_ipv6_is_eight_networks_and_not_every_one_that_is_in_it() {
        let network = |n: u8| Network::V6([0x20, 1, 0xd, 0xb8, 0, 1, n]);
        let elsewhere = Network::V6([0x20, 1, 0xd, 0xb8, 0, 2, 0]);
        let (mut table, now) = (Table::default(), Instant::now());
        let stay = |table: &mut Table, n| (0..CONNECTIONS_PER_NETWORK).all(|_| table.stay(network(n), now).is_ok());
        assert!((0..8).all(|n| stay(&mut table, n)));
        assert_eq!(table.stay(network(8), now), Err(Refused::TooMany));
        assert!(table.stay(elsewhere, now).is_ok());
        table.leave(network(0), now, |source| source.connections = source.connections.saturating_sub(1));
        assert!(table.stay(network(8), now).is_ok(), "a place is free again for all of them");
        // However many each may have, the wide one has no more than half of all there are.
        let wanted = CONNECTIONS_PER_NETWORK_MAX;
        for (places, most) in [(CONNECTIONS, wanted), (480, 240), (1, 1)] {
            let mut table = Table::new(wanted, places);
            assert!((0..most).all(|_| table.stay(network(0), now).is_ok()), "{places}");
            assert_eq!([0, 1].map(|n| table.stay(network(n), now)), [Err(Refused::TooMany); 2], "{places}");
        }

        let (mut table, now) = (Table::default(), Instant::now());
        let arrive = |table: &mut Table, n| (0..HANDSHAKES_PER_NETWORK).all(|_| table.arrive(network(n), now).is_ok());
        assert!((0..8).all(|n| arrive(&mut table, n)));
        assert_eq!(table.arrive(network(8), now), Err(Refused::TooMany));
        assert!(table.arrive(elsewhere, now).is_ok());
    }

    // H14
    #[test]
    fn a_wide_network_is_shut_out_when_many_that_are_in_it_misbehave_and_not_for_one() {
        let network = |n: u8| Network::V6([0x20, 1, 0xd, 0xb8, 0, 1, n]);
        let (mut table, now) = (Table::default(), Instant::now());
        while table.fault(network(0), Glitch::Flood, now).0 != Standing::Out {}
        assert_eq!(table.arrive(network(0), now), Err(Refused::Shut));
        assert!(table.arrive(network(100), now).is_ok(), "its neighbours are let in");
        // As many connections as it may have, which were there before and all flood.
        let mut flood = || table.fault(network(0), Glitch::Flood, now).0;
        (0..CONNECTIONS_PER_NETWORK).for_each(|_| assert_eq!(flood(), Standing::Out));
        assert!(table.arrive(network(101), now).is_ok(), "whatever one does");
        // Four floods are what one may do, and one more is too many.
        let mut misbehave = |n| (0..5).any(|_| table.fault(network(n), Glitch::Flood, now).0 == Standing::Out);
        assert!((1..=8).all(&mut misbehave));
        assert_eq!(table.arrive(network(200), now), Err(Refused::Shut));
        assert!(table.arrive(Network::V6([0x20, 1, 0xd, 0xb8, 0, 2, 0]), now).is_ok(), "others are");
    }

    #[test]
    fn a_customer_of_ipv6_is_one_network() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("2001:db8:0:12::1"), network("2001:db8:0:99:2::"));
        assert_ne!(network("2001:db8:0:100::1"), network("2001:db8:0:99::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
