//! Lists that rules name: e-mail addresses, and address ranges.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tunnel_proto::{EmailAddress, Name};

/// A reusable list of e-mail addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailList {
    /// Its stable name.
    pub name: Name,
    /// The addresses.
    pub emails: Vec<EmailAddress>,
}

/// A reusable list of address ranges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpList {
    /// Its stable name.
    pub name: Name,
    /// The ranges.
    pub ranges: Vec<IpNet>,
}

/// Address ranges as intervals in order that do not touch, so that a look-up is a binary search.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    pub(crate) fn new(ranges: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match canonical(range) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: merge(v4), v6: merge(v6) }
    }

    /// Whether the address, in its canonical form, is in one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => within(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => within(&self.v6, v6.to_bits()),
        }
    }

    /// Whether every IPv4 address is.
    pub(crate) fn has_all_v4(&self) -> bool {
        self.v4 == [(u32::MIN, u32::MAX)]
    }

    /// Whether every IPv6 address is.
    pub(crate) fn has_all_v6(&self) -> bool {
        self.v6 == [(u128::MIN, u128::MAX)]
    }
}

/// Whether the range holds the address, which is in its canonical form.
pub(crate) fn contains(range: &IpNet, address: IpAddr) -> bool {
    canonical(range).contains(&address)
}

/// A range of IPv4 addresses in IPv6 clothes (`::ffff:0:0/96`, and narrower) is one of IPv4 addresses.
fn canonical(range: &IpNet) -> IpNet {
    let mapped = |net: &ipnet::Ipv6Net| {
        let length = net.prefix_len().checked_sub(96)?;
        ipnet::Ipv4Net::new(net.network().to_ipv4_mapped()?, length).ok()
    };
    match range {
        IpNet::V6(net) => mapped(net).map_or(*range, IpNet::V4),
        IpNet::V4(_) => *range,
    }
}

fn merge<T: Copy + Ord + Next>(mut intervals: Vec<(T, T)>) -> Vec<(T, T)> {
    intervals.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(intervals.len());
    for (start, end) in intervals {
        match merged.last_mut() {
            Some((_, last)) if start <= last.next() => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn within<T: Copy + Ord>(intervals: &[(T, T)], at: T) -> bool {
    let after = intervals.partition_point(|(start, _)| *start <= at);
    after.checked_sub(1).and_then(|before| intervals.get(before)).is_some_and(|(_, end)| at <= *end)
}

trait Next {
    fn next(self) -> Self;
}

impl Next for u32 {
    fn next(self) -> Self {
        self.saturating_add(1)
    }
}

impl Next for u128 {
    fn next(self) -> Self {
        self.saturating_add(1)
    }
}
