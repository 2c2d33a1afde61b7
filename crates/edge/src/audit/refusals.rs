//! Refusals that repeat are counted, so that knocking at a door cannot fill the record.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tunnel_proto::UnixTime;

use crate::store::{AuditEvent, AuditRecord};

/// Within this time refusals of one application, source and reason are one record.
pub const REFUSAL_WINDOW: Duration = Duration::from_secs(60);
/// How many of these are told apart at a time; the rest is counted together.
const KEYS_MAX: usize = 4_096;

/// What makes two refusals alike: application, source, reason. Whoever has one address of IPv6 has a whole network of them.
type Key = (AuditEvent, Option<String>, Option<IpAddr>, Option<String>);

/// Refusals of the last window.
#[derive(Default)]
pub(super) struct Refusals {
    seen: HashMap<Key, Seen>,
    /// Those beyond what is told apart.
    others: Option<AuditRecord>,
}

struct Seen {
    since: UnixTime,
    /// The last of those that followed the first, with their count.
    more: Option<AuditRecord>,
}

impl Refusals {
    /// Gives the record back when it is the first of its kind in a window; counts it otherwise.
    pub(super) fn note(&mut self, record: AuditRecord) -> Option<AuditRecord> {
        let full = self.seen.len() >= KEYS_MAX;
        let source = record.source.map(network);
        match self.seen.entry((record.event, record.object.clone(), source, record.detail.clone())) {
            Entry::Occupied(mut seen) => {
                add(&mut seen.get_mut().more, record);
                None
            }
            Entry::Vacant(_) if full => {
                let detail = Some("from more sources than are told apart".to_owned());
                add(
                    &mut self.others,
                    AuditRecord { detail, count: record.count, ..AuditRecord::new(record.at, record.event) },
                );
                None
            }
            Entry::Vacant(place) => {
                place.insert(Seen { since: record.at, more: None });
                Some(record)
            }
        }
    }

    /// The counts of the windows that have ended at `now`.
    pub(super) fn due(&mut self, now: UnixTime) -> Vec<AuditRecord> {
        let mut counted = Vec::new();
        self.seen.retain(|_, seen| {
            let over = now.since(seen.since) >= REFUSAL_WINDOW || now < seen.since;
            if over {
                counted.extend(seen.more.take());
            }
            !over
        });
        if self.others.as_ref().is_some_and(|others| now.since(others.at) >= REFUSAL_WINDOW || now < others.at) {
            counted.extend(self.others.take());
        }
        counted.sort_by_key(|record| record.at);
        counted
    }

    /// All counts, whether their windows have ended or not. The windows go on.
    pub(super) fn all(&mut self) -> Vec<AuditRecord> {
        let mut counted: Vec<_> = self.seen.values_mut().filter_map(|seen| seen.more.take()).collect();
        counted.extend(self.others.take());
        counted.sort_by_key(|record| record.at);
        counted
    }
}

/// What tells sources apart: the address itself, of IPv6 its /56.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 56)).into(),
        v4 => v4,
    }
}

/// Keeps the newest particulars and the sum; the time is that of the first that was counted.
fn add(sum: &mut Option<AuditRecord>, record: AuditRecord) {
    let (at, count) = sum.as_ref().map_or((record.at, 0), |sum| (sum.at, sum.count));
    *sum = Some(AuditRecord { at, count: count.saturating_add(record.count), ..record });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(at: u64, object: &str, source: u32, detail: &str) -> AuditRecord {
        AuditRecord {
            object: Some(object.to_owned()),
            source: Some(IpAddr::V4(source.into())),
            detail: Some(detail.to_owned()),
            ..AuditRecord::new(UnixTime(at), AuditEvent::Refused)
        }
    }

    #[test]
    fn the_first_refusal_is_recorded_at_once_and_the_rest_of_its_minute_as_a_count() {
        let mut refusals = Refusals::default();
        assert!(refusals.note(refusal(100, "www", 1, "default")).is_some());
        for at in 101..151 {
            assert!(refusals.note(refusal(at, "www", 1, "default")).is_none());
        }
        assert_eq!(refusals.due(UnixTime(159)), []);
        assert_eq!(refusals.due(UnixTime(160)), [AuditRecord { count: 50, ..refusal(101, "www", 1, "default") }]);
        assert!(refusals.note(refusal(161, "www", 1, "default")).is_some(), "a new window");
    }

    #[test]
    fn refusals_of_another_application_source_or_reason_are_told_apart() {
        let mut refusals = Refusals::default();
        for (object, source, detail) in
            [("www", 1, "default"), ("wiki", 1, "default"), ("www", 2, "default"), ("www", 1, "block")]
        {
            assert!(refusals.note(refusal(100, object, source, detail)).is_some());
        }
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_one_source() {
        let mut refusals = Refusals::default();
        let mut told = |source: &str| {
            let source = Some(source.parse().unwrap());
            refusals.note(AuditRecord { source, ..refusal(100, "www", 1, "default") }).is_some()
        };
        assert!(told("2001:db8::1"));
        assert!(!told("2001:db8::2") && !told("2001:db8:0:ff:ffff::1"));
        assert!(told("2001:db8:0:100::1") && told("192.0.2.1") && told("192.0.2.2"));
        assert!(!told("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_flood_from_ever_new_sources_is_bounded_and_none_of_it_goes_uncounted() {
        let mut refusals = Refusals::default();
        let mut told = 0u32;
        for source in 0..100_000u32 {
            told += refusals.note(refusal(100, "www", source, "default")).map_or(0, |r| r.count);
        }
        let counted: u32 = refusals.all().iter().map(|r| r.count).sum();
        assert_eq!((told as usize, told + counted), (KEYS_MAX, 100_000));
    }
}
