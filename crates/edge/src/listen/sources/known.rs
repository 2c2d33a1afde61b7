//! What the process that takes this one's place is told of networks.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{SHUT_MOST, Table, network::Network};

/// Penalties that are handed over: those that last longest. One message has room for so many, and for the networks below.
const PENALTIES_MAX: usize = 256;
/// Networks of which it is told that somebody was admitted in them: those with most connections of theirs now, and then those
/// where the last of these ended latest. The wide ones that they are in follow from them.
const ADMITTED_MAX: usize = 512;

/// What another process is told of the networks that connect. Of what it does not say there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    #[serde(default)]
    penalties: Vec<Penalty>,
    /// Where somebody was admitted lately, and how many milliseconds ago.
    #[serde(default)]
    admitted: Vec<(Network, u64)>,
}

/// A network that is not let in, as another process is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Penalty {
    network: Network,
    /// How often it was shut out.
    times: u32,
    /// For how long it still is.
    millis: u64,
}

impl Table {
    pub(super) fn known(&self, now: Instant) -> Known {
        Known { penalties: self.penalties(now), admitted: self.admitted(now) }
    }

    pub(super) fn penalties(&self, now: Instant) -> Vec<Penalty> {
        // The next process does not know whose connections and links go on here, and would shut out all of them. Connectors
        // are handed to it, and it would refuse those that this process leaves alone.
        let out = self.sources.iter().filter(|(_, source)| source.is_out(now) && source.links == 0);
        let shut = out.filter_map(|(network, source)| {
            let left = source.shut.1?.checked_duration_since(now)?;
            Some(Penalty { network: *network, times: source.shut.0, millis: millis(left) })
        });
        let mut all: Vec<_> = shut.collect();
        all.sort_by_key(|penalty| Reverse(penalty.millis));
        all.truncate(PENALTIES_MAX);
        all
    }

    fn admitted(&self, now: Instant) -> Vec<(Network, u64)> {
        let narrow = self.sources.iter().filter(|(network, _)| !matches!(network, Network::Wide(_)));
        let lately =
            narrow.filter_map(|(network, source)| Some((source, (*network, millis(source.admitted_ago(now)?)))));
        let mut all: Vec<_> = lately.collect();
        all.sort_by_key(|(source, (_, ago))| (Reverse(source.kept + source.links), *ago));
        all.truncate(ADMITTED_MAX);
        all.into_iter().map(|(_, told)| told).collect()
    }

    pub(super) fn go_on_with(&mut self, known: Known, now: Instant) {
        for Penalty { network, times, millis } in known.penalties.into_iter().take(PENALTIES_MAX) {
            let left = Duration::from_millis(millis).min(SHUT_MOST);
            self.source(network, now).shut = (times, Some(now + left));
        }
        for (network, ago) in known.admitted.into_iter().take(ADMITTED_MAX) {
            let admitted = now.checked_sub(Duration::from_millis(ago));
            for one in network.with_wide() {
                let source = self.source(one, now);
                // Several are in the same wide one, where the last of them counts.
                source.admitted = source.admitted.max(admitted);
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::sources::{
        ADMITTED_LATELY, Glitch, NETWORKS_PER_WIDE, Refused, SHUT_FIRST, Standing, TURNED_AWAY,
    };

    const NETWORK: Network = Network::V4([192, 0, 2, 1]);

    /// What `before` tells, as it arrives.
    fn told(before: &Table, now: Instant) -> Known {
        serde_json::from_str(&serde_json::to_string(&before.known(now)).unwrap()).unwrap()
    }

    // F3, H13
    #[test]
    fn whom_one_process_does_not_let_in_the_next_one_does_not_either() {
        let (mut before, mut after, now) = (Table::default(), Table::default(), Instant::now());
        let [once, twice] = [NETWORK, Network::V6([0x20, 1, 0xd, 0xb8, 0, 1, 2])];
        while before.fault(once, Glitch::Flood, now).0 != Standing::Out {}
        while before.fault(twice, Glitch::Flood, now).0 != Standing::Out {}
        let again = now + SHUT_FIRST;
        while before.fault(twice, Glitch::Flood, again).0 != Standing::Out {}
        let later = again + Duration::from_secs(1);
        after.go_on_with(told(&before, later), later);
        assert_eq!(after.arrive(twice, later), Err(Refused::Shut));
        assert!(after.arrive(once, later).is_ok(), "its time was over");
        let over = again + SHUT_FIRST * 2;
        assert!(after.arrive(twice, over).is_ok());
        // How often it was shut out is known as well.
        assert_eq!((0..1000).find_map(|_| after.fault(twice, Glitch::Flood, over).1), Some(SHUT_FIRST * 4));
    }

    // F3, H13
    #[test]
    fn where_somebody_was_admitted_lately_in_one_process_the_next_one_knows_it() {
        let (mut before, mut after, start) = (Table::default(), Table::default(), Instant::now());
        let [gone, here, nobody] = [1, 2, 3].map(|last| Network::V4([192, 0, 2, last]));
        before.keep(gone, start).unwrap();
        before.leave(gone, start, |source| source.kept = source.kept.saturating_sub(1));
        before.link(here, start).unwrap();
        let later = start + ADMITTED_LATELY / 2;
        after.go_on_with(told(&before, later), later);
        let shuts_out = |table: &mut Table, network, now| {
            (0..=TURNED_AWAY.burst).any(|_| table.fault(network, Glitch::TurnedAway, now).0 == Standing::Out)
        };
        assert_eq!([gone, here, nobody].map(|one| shuts_out(&mut after, one, later)), [false, false, true]);
        let over = start + ADMITTED_LATELY;
        assert_eq!([gone, here].map(|one| shuts_out(&mut after, one, over)), [true, false], "a while is over");
        // Another version may say nothing of either.
        assert_eq!(serde_json::from_str::<Known>("{}").unwrap(), Known::default());
    }

    // F3, H13
    #[test]
    fn a_network_that_is_shut_out_while_a_connector_is_up_in_it_is_let_in_by_the_next_process() {
        let (mut before, mut after, now) = (Table::default(), Table::default(), Instant::now());
        let network = |n: u8| Network::V6([0x20, 1, 0xd, 0xb8, 0, 1, n]);
        before.link(network(0), now).unwrap();
        // So many that the wide one is shut out as well.
        for n in 0..u8::try_from(NETWORKS_PER_WIDE).unwrap() {
            while before.fault(network(n), Glitch::Flood, now).0 != Standing::Out {}
        }
        assert_eq!([0, 1, 100].map(|n| before.arrive(network(n), now)), [Err(Refused::Shut); 3]);
        after.go_on_with(told(&before, now), now);
        assert!(after.arrive(network(0), now).is_ok(), "a connector of it is handed over");
        assert_eq!(after.arrive(network(1), now), Err(Refused::Shut), "others of the wide one are none of its affair");
        assert!(after.arrive(network(100), now).is_ok(), "the connector is in the wide one, too");
    }

    // F3, H13
    #[test]
    fn of_more_networks_than_can_be_told_those_are_where_somebody_is_and_then_where_somebody_was_last() {
        let (mut before, mut after, start) = (Table::default(), Table::default(), Instant::now());
        let network = |n: u16| {
            let [a, b] = n.to_be_bytes();
            Network::V6([0x20, 1, 0xd, 0xb8, a, b, 0])
        };
        let [most, some] = [u16::MAX - 1, u16::MAX].map(network);
        [most, some, most].into_iter().for_each(|one| before.keep(one, start).unwrap());
        let gone = u16::try_from(ADMITTED_MAX).unwrap();
        for n in 0..gone {
            before.keep(network(n), start).unwrap();
            let left = start + Duration::from_millis(n.into());
            before.leave(network(n), left, |source| source.kept = source.kept.saturating_sub(1));
        }
        let now = start + ADMITTED_LATELY / 2;
        let told = told(&before, now);
        let networks: Vec<_> = told.admitted.iter().map(|(network, _)| *network).collect();
        let last_first = (2..gone).rev().map(network);
        assert_eq!(networks, [most, some].into_iter().chain(last_first).collect::<Vec<_>>());
        after.go_on_with(told, now);
        let mut known = |one: Network| one.with_wide().all(|one| after.source(one, now).admitted_ago(now).is_some());
        assert_eq!([most, some, network(2), network(1)].map(&mut known), [true, true, true, false]);
    }

    // F3, H13
    #[test]
    fn where_somebody_was_admitted_lately_in_a_wide_network_follows_from_those_that_are_in_it() {
        let (mut before, mut after, start) = (Table::default(), Table::default(), Instant::now());
        let now = start + Duration::from_secs(60);
        let [first, last] = [1, 2].map(|n| Network::V6([0x20, 1, 0xd, 0xb8, 0, 1, n]));
        for (network, at) in [(first, 10), (last, 20)] {
            let left = start + Duration::from_secs(at);
            before.keep(network, start).unwrap();
            before.leave(network, left, |source| source.kept = source.kept.saturating_sub(1));
        }
        let told = told(&before, now);
        assert_eq!(told.admitted, [(last, 40_000), (first, 50_000)]);
        after.go_on_with(told, now);
        let wide = Network::Wide([0x20, 1, 0xd, 0xb8, 0, 1]);
        let ago = [first, last, wide].map(|one| after.source(one, now).admitted_ago(now));
        assert_eq!(ago, [50, 40, 40].map(|seconds| Some(Duration::from_secs(seconds))));
    }

    #[test]
    fn as_much_is_told_as_a_message_has_room_for() {
        let (mut table, start) = (Table::default(), Instant::now());
        let now = start + ADMITTED_LATELY - Duration::from_millis(1);
        for n in 0..=u16::MAX {
            let [a, b] = n.to_be_bytes();
            let source = table.source(Network::V6([255, 255, 255, 255, 255, a, b]), start);
            (source.shut, source.admitted) = ((u32::MAX, Some(now + SHUT_MOST)), Some(start));
        }
        let known = table.known(now);
        assert_eq!((known.penalties.len(), known.admitted.len()), (PENALTIES_MAX, ADMITTED_MAX));
        let told = serde_json::to_vec(&known).unwrap();
        assert!(told.len() < 48 * 1024, "{} bytes", told.len());
    }
}
