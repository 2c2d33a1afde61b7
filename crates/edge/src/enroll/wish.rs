//! What a machine asks for, as it is checked, kept and shown.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use tunnel_proto::{HostPattern, Hostname, UnixTime, enrol::EnrolAnswer};

use crate::{
    store::{SecretHash, StoreError},
    tunnels::Problem,
};

/// The longest name a machine may give itself, in characters.
const MACHINE_MAX: usize = 64;
/// The longest description of its software, in characters.
const SOFTWARE_MAX: usize = 128;
/// The most hostnames one login may ask for, and one approval may give: as many as a person reads.
const HOSTNAMES_MAX: usize = 64;
/// The symbols of a code: no vowels, so that no word appears, and none that looks like another.
const SYMBOLS: &[u8; 24] = b"BCDFGHJKLMNPQRSTVWXZ3479";

/// What a machine asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// What it calls itself: its own claim.
    pub machine: String,
    /// Program and version: its own claim.
    pub software: String,
    /// The hostnames it would like to publish.
    pub hostnames: Vec<HostPattern>,
    /// The signing request (PEM).
    pub csr: String,
}

/// A machine's wish to enrol, while it waits for an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The code that both sides show.
    pub code: String,
    /// What it asks for.
    #[serde(flatten)]
    pub ask: Ask,
    /// Where it asked from, as seen by the edge.
    pub source: IpAddr,
    /// When.
    pub asked: UnixTime,
    /// When it lapses.
    pub expires: UnixTime,
    /// Where its answer will wait.
    pub(super) answer: SecretHash,
}

impl Ask {
    /// Holds every part to its limit. Names lose what could disguise them on a page or a terminal.
    pub(super) fn checked(mut self, login_host: &Hostname) -> Result<Self, Problem> {
        self.machine = plain(&self.machine, MACHINE_MAX);
        self.software = plain(&self.software, SOFTWARE_MAX);
        self.hostnames.sort();
        self.hostnames.dedup();
        check_hostnames(login_host, self.hostnames.iter())?;
        Ok(self)
    }
}

/// Whether these hostnames can be given to a machine.
pub(super) fn check_hostnames<'a>(
    login_host: &Hostname,
    hostnames: impl ExactSizeIterator<Item = &'a HostPattern>,
) -> Result<(), Problem> {
    if hostnames.len() > HOSTNAMES_MAX {
        return Err(Problem::TooMany { what: "hostnames in one login", most: HOSTNAMES_MAX });
    }
    let mut reserved = hostnames.filter(|pattern| pattern.exact().as_ref() == Some(login_host));
    reserved.next().map_or(Ok(()), |pattern| Err(Problem::Reserved(pattern.clone())))
}

impl Wish {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes)
            .map_err(|error| StoreError::Corrupt { what: "enrolment request", reason: error.to_string() })
    }
}

pub(super) fn answer_bytes(answer: &EnrolAnswer) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

pub(super) fn answer_from(bytes: &[u8]) -> Result<EnrolAnswer, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|error| StoreError::Corrupt { what: "enrolment answer", reason: error.to_string() })
}

/// A code such as `KXBT-3MRQ`, each symbol equally likely; `random` gives one random byte at a time.
pub(crate) fn code(random: &mut dyn FnMut() -> [u8; 1]) -> String {
    let mut symbol = || loop {
        let [byte] = random();
        // 240 is the greatest multiple of 24 in a byte: what is above it would favour the first symbols.
        if byte < 240 {
            let at = usize::from(byte) % SYMBOLS.len();
            break SYMBOLS.get(at).copied().map_or('B', char::from);
        }
    };
    let mut code = String::with_capacity(9);
    for place in 0..8 {
        if place == 4 {
            code.push('-');
        }
        code.push(symbol());
    }
    code
}

/// The network that shares one rate: an IPv4 address, or the /56 that a customer has of IPv6.
pub(crate) fn origin(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            // What one customer of a provider has at least (RFC 6177).
            let network = Ipv6Addr::from_bits(address.to_bits() >> 72 << 72);
            format!("{network}/56")
        }
    }
}

/// At most `max` characters that show as what they are: letters of any script, digits, punctuation and single spaces.
/// Control, formatting (bidirectional) and invisible characters go.
pub(crate) fn plain(text: &str, max: usize) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}')
    };
    let shown: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !hidden(*c)).collect();
    shown.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_eight_unambiguous_symbols() {
        let mut byte = 0u8;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let code = code(&mut || {
                byte = byte.wrapping_add(7);
                [byte]
            });
            assert_eq!(code.len(), 9);
            assert_eq!(code.as_bytes()[4], b'-');
            seen.extend(code.bytes().filter(|b| *b != b'-'));
        }
        assert_eq!(seen, SYMBOLS.iter().copied().collect());
        assert!("AEIOU0125681Y".bytes().all(|b| !seen.contains(&b)));
    }

    // C5
    #[test]
    fn a_machine_cannot_disguise_its_name() {
        for (claimed, shown) in [
            ("nas-office", "nas-office"),
            ("事務所のNAS", "事務所のNAS"),
            ("a\u{202e}b\u{200b}c\u{feff}", "abc"),
            ("line\nbreak\ttab  two", "line break tab two"),
            ("\u{1b}[31mred", "[31mred"),
            ("\0", ""),
        ] {
            assert_eq!(plain(claimed, 64), shown);
        }
        assert_eq!(plain(&"あ".repeat(100), 64).chars().count(), 64);
    }

    #[test]
    fn one_host_is_one_source_whatever_addresses_it_makes_up() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:200::1"), of("2001:db8:1:2ff:ffff::2"));
        assert_ne!(of("2001:db8:1:200::1"), of("2001:db8:1:300::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
