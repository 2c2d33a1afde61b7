//! Where a bastion may lead: what a visitor names, and what an administrator lets them name.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Hostname, message::DESTINATION_MAX};

/// A host and a port that a visitor names. The host is an IP address or a hostname, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Address(IpAddr),
    Name(Hostname),
}

impl Destination {
    /// The address, where the visitor named one and no name.
    pub const fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The name, where the visitor named one: whoever dials it must judge the addresses that it has.
    pub const fn name(&self) -> Option<&Hostname> {
        match &self.host {
            Host::Address(_) => None,
            Host::Name(name) => Some(name),
        }
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip().to_canonical()), port: address.port() }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    /// Reads `host:port`, `[2001:db8::1]:port`, or either within a URL (`rdp://host:port/path`), of which nothing else
    /// counts. A port is needed. What looks like a number is no hostname: resolvers would read `127.1` as an address.
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if text.len() > DESTINATION_MAX {
            return Err(DestinationError);
        }
        let authority = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
            Some(_) => return Err(DestinationError),
            None => text,
        };
        let (host, port) = authority.rsplit_once(':').ok_or(DestinationError)?;
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(DestinationError);
        }
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(DestinationError)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => Host::Address(IpAddr::V6(inner.parse().map_err(|_| DestinationError)?).to_canonical()),
            None => match host.parse::<Ipv4Addr>() {
                Ok(address) => Host::Address(address.into()),
                Err(_) => Host::Name(Hostname::parse(host).map_err(|_| DestinationError)?),
            },
        };
        Ok(Self { host, port })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// The text is not a [`Destination`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a destination: write HOST:PORT, for example 192.168.1.29:3389")]
pub struct DestinationError;

/// Addresses and ports that may be reached, written `192.168.1.0/24:3389`, `10.0.0.5:22`, `[2001:db8::/32]:443`,
/// `10.0.0.0/8:5900-5910` or `10.0.0.0/8:*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationRange {
    net: IpNet,
    first: u16,
    last: u16,
}

impl DestinationRange {
    /// Whether `address` may be reached. Addresses that lead to this machine, to its link or to a cloud's metadata, and
    /// those that only wrap an IPv4 address, are in no range: such a one must be written out by itself.
    pub fn contains(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let literal = self.net.prefix_len() == self.net.max_prefix_len();
        (self.first..=self.last).contains(&address.port()) && self.net.contains(&ip) && (literal || !is_special(ip))
    }

    /// Whether the range is this one address, written out.
    pub fn names(&self, address: SocketAddr) -> bool {
        self.net.prefix_len() == self.net.max_prefix_len() && self.contains(address)
    }

    /// Whether any address may be reached at this port.
    pub fn has_port(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether every address is in the range: seldom meant.
    pub fn is_everything(&self) -> bool {
        self.net.prefix_len() == 0
    }
}

/// Whether an address is one that nobody means by a range: loopback, unspecified, link-local (which holds the metadata
/// services of clouds), multicast, broadcast, known metadata addresses elsewhere, and IPv6 addresses that stand for an
/// IPv4 address (NAT64, 6to4, Teredo, compatible, translated) or are not routed at all.
pub fn is_special(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, ..] = v4.octets();
            a == 0 || a >= 224 || v4.is_loopback() || v4.is_link_local() || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            let wraps = matches!((a, b), (0x64, 0xff9b) | (0x2001, 0)) || a == 0x2002 || a == 0;
            let here = (a & 0xffc0) == 0xfe80 || (a & 0xffc0) == 0xfec0 || a >= 0xff00;
            let discard = (a, b, c) == (0x100, 0, 0);
            wraps || here || discard || METADATA_V6.contains(&v6)
        }
    }
}

/// Metadata services outside the link-local range: Alibaba's, that of Azure's platform, Oracle's.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// Amazon's (metadata, names, time), Google's.
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

impl FromStr for DestinationRange {
    type Err = DestinationRangeError;

    fn from_str(text: &str) -> Result<Self, DestinationRangeError> {
        let (net, ports) = text.rsplit_once(':').ok_or(DestinationRangeError)?;
        let (net, v6) = match net.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => (inner, true),
            None => (net, false),
        };
        let net = match net.parse::<IpNet>() {
            Ok(net) => net.trunc(),
            Err(_) => net.parse::<IpAddr>().map_err(|_| DestinationRangeError)?.into(),
        };
        if matches!(net, IpNet::V6(_)) != v6 {
            return Err(DestinationRangeError);
        }
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port != 0).ok_or(DestinationRangeError)
        };
        let (first, last) = match ports.split_once('-') {
            _ if ports == "*" => (1, u16::MAX),
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(ports)?, number(ports)?),
        };
        if first > last { Err(DestinationRangeError) } else { Ok(Self { net, first, last }) }
    }
}

impl fmt::Display for DestinationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let literal = self.net.prefix_len() == self.net.max_prefix_len();
        match (self.net, literal) {
            (IpNet::V4(net), true) => write!(f, "{}", net.addr())?,
            (IpNet::V4(net), false) => write!(f, "{net}")?,
            (IpNet::V6(net), true) => write!(f, "[{}]", net.addr())?,
            (IpNet::V6(net), false) => write!(f, "[{net}]")?,
        }
        match (self.first, self.last) {
            (1, u16::MAX) => f.write_str(":*"),
            (first, last) if first == last => write!(f, ":{first}"),
            (first, last) => write!(f, ":{first}-{last}"),
        }
    }
}

impl Serialize for DestinationRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DestinationRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a [`DestinationRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a range of destinations: write CIDR:PORT, for example 192.168.1.0/24:3389")]
pub struct DestinationRangeError;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> DestinationRange {
        text.parse().unwrap()
    }

    #[test]
    fn destinations_are_read_as_people_and_other_clients_write_them() {
        for (text, again) in [
            ("192.168.1.29:3389", "192.168.1.29:3389"),
            ("rdp://192.168.1.29:3389", "192.168.1.29:3389"),
            ("ssh://10.0.0.5:22/some/path?x#y", "10.0.0.5:22"),
            ("NAS.lan:445", "nas.lan:445"),
            ("[2001:DB8::1]:22", "[2001:db8::1]:22"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), again, "{text}");
        }
        for bad in [
            "",
            "nas",
            "nas:",
            "nas:0",
            "nas:65536",
            "nas:+22",
            "127.1:80",
            "2130706433:80",
            "0x7f000001:80",
            "0x7f.1:80",
            "0177.0.0.1:80",
            "::1:80",
            "[127.0.0.1]:80",
            "user@nas:22",
            "a b:1",
            "rdp:/nas:1",
            "://nas:1",
            "nas:22:33",
            "[fe80::1%eth0]:22",
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad}: {:?}", bad.parse::<Destination>());
        }
        assert!(format!("{}.example:1", "a".repeat(300)).parse::<Destination>().is_err());
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let office = range("192.168.1.0/24:3389");
        assert!(office.contains("192.168.1.29:3389".parse().unwrap()));
        assert!(office.contains("[::ffff:192.168.1.29]:3389".parse().unwrap()), "IPv4 in IPv6 clothes is IPv4");
        for other in ["192.168.1.29:22", "192.168.2.29:3389", "[2001:db8::1]:3389"] {
            assert!(!office.contains(other.parse().unwrap()), "{other}");
        }
        assert!(range("10.0.0.0/8:5900-5910").contains("10.1.2.3:5905".parse().unwrap()));
        assert!(range("[2001:db8::/32]:*").contains("[2001:db8::9]:1".parse().unwrap()));
        for text in ["192.168.1.0/24:3389", "10.0.0.5:22", "[2001:db8::/32]:443", "10.0.0.0/8:5900-5910", "0.0.0.0/0:*"]
        {
            assert_eq!(range(text).to_string(), text);
        }
        for bad in [
            "",
            "10.0.0.0/8",
            "10.0.0.0/8:",
            "10.0.0.0/33:1",
            "2001:db8::/32:443",
            "[10.0.0.1]:1",
            "h:1",
            "1.2.3.4:0",
            "1.2.3.4:9-1",
        ] {
            assert!(bad.parse::<DestinationRange>().is_err(), "{bad}");
        }
    }

    // T8
    #[test]
    fn special_addresses_are_in_no_range_unless_written_out() {
        let everything = ["0.0.0.0/0:*", "[::/0]:*", "127.0.0.0/8:*", "169.254.0.0/16:*", "[fe80::/10]:*", "[::/1]:*"];
        for special in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::253",
            "::1",
            "::",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "100::1",
        ] {
            let ip: IpAddr = special.parse().unwrap();
            let address = SocketAddr::new(ip, 80);
            for wide in everything {
                assert!(!range(wide).contains(address), "{special} in {wide}");
            }
            let literal = DestinationRange { net: ip.to_canonical().into(), first: 80, last: 80 };
            assert!(literal.contains(address), "{special} written out");
        }
        for plain in ["192.168.1.1", "10.0.0.1", "8.8.8.8", "100.64.0.1"] {
            assert!(range("0.0.0.0/0:*").contains(SocketAddr::new(plain.parse().unwrap(), 80)), "{plain}");
        }
        for plain in ["2001:db8::1", "fd00::1", "2606:4700::1"] {
            assert!(range("[::/0]:*").contains(SocketAddr::new(plain.parse().unwrap(), 80)), "{plain}");
        }
    }
}
