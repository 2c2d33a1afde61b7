//! The one canonical form of a hostname, and patterns over hostnames.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest hostname, in bytes (RFC 1035 §2.3.4, without the root's dot).
pub const HOSTNAME_MAX: usize = 253;
/// The longest label, in bytes (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;

/// A hostname in canonical form: lower-case ASCII labels (IDNA A-labels), no trailing dot, no port, not an IP address.
///
/// Two spellings of the same name are the same value, so that routing and policy can never disagree about a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Parses what a person wrote: any case, one trailing dot allowed, Unicode labels by IDNA (UTS 46).
    pub fn parse(text: &str) -> Result<Self, HostnameError> {
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii_strict(text).map_err(|_| HostnameError::Idna)?
        };
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        if name.is_empty() || name.len() > HOSTNAME_MAX {
            return Err(HostnameError::Length);
        }
        name.split('.').try_for_each(check_label)?;
        let top = name.rsplit('.').next().unwrap_or_default();
        if reads_as_number(top) {
            return Err(HostnameError::Address);
        }
        // Where one label is written from right to left, rules hold of all of them (RFC 5893 §2): browsers read no other name.
        if name.split('.').any(is_encoded) {
            idna::domain_to_unicode(name).1.map_err(|_| HostnameError::Idna)?;
        }
        Ok(Self(name.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether this is `zone` itself or a name below it, on a label boundary.
    pub fn is_within(&self, zone: &Hostname) -> bool {
        self.0.strip_suffix(zone.as_str()).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    }

    /// The name `label.self`.
    pub fn child(&self, label: &str) -> Result<Self, HostnameError> {
        Self::parse(&format!("{label}.{self}"))
    }
}

/// Whether a name that ends so is an IPv4 address to browsers and resolvers (WHATWG URL, "ends in a number"): `0x7f000001`
/// and `127.0x1` lead to this machine, like `2130706433`.
fn reads_as_number(label: &str) -> bool {
    let hexadecimal = |rest: &str| rest.bytes().all(|b| b.is_ascii_hexdigit());
    label.bytes().all(|b| b.is_ascii_digit()) || label.strip_prefix("0x").is_some_and(hexadecimal)
}

/// Whether it is an A-label, or none that anybody could have.
fn is_encoded(label: &str) -> bool {
    label.starts_with("xn--")
}

fn check_label(label: &str) -> Result<(), HostnameError> {
    if label.is_empty() || label.len() > LABEL_MAX {
        return Err(HostnameError::Length);
    }
    if !label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')) {
        return Err(HostnameError::Character);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(HostnameError::Hyphen);
    }
    // An A-label must decode to what encodes to it again, or one name would have two spellings (RUSTSEC-2024-0421).
    if is_encoded(label) {
        let (unicode, decoded) = idna::domain_to_unicode(label);
        decoded.map_err(|_| HostnameError::Idna)?;
        let again = idna::domain_to_ascii_strict(&unicode).map_err(|_| HostnameError::Idna)?;
        if again != label {
            return Err(HostnameError::Idna);
        }
    }
    Ok(())
}

impl FromStr for Hostname {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Hostname {
    type Error = HostnameError;

    fn try_from(text: String) -> Result<Self, HostnameError> {
        Self::parse(&text)
    }
}

impl From<Hostname> for String {
    fn from(host: Hostname) -> Self {
        host.0.as_ref().to_owned()
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Why a text is not a [`Hostname`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostnameError {
    /// Empty, a label of more than 63 bytes, or more than 253 bytes in all.
    #[error("a hostname has 1 to 253 characters, each label 1 to 63")]
    Length,
    /// Something that is not a letter, digit, hyphen or underscore.
    #[error("a hostname has only letters, digits, `-`, `_` and dots")]
    Character,
    /// A label that begins or ends with a hyphen.
    #[error("a label of a hostname neither begins nor ends with `-`")]
    Hyphen,
    /// Not valid under IDNA (UTS 46).
    #[error("not a valid internationalised hostname")]
    Idna,
    /// An IPv4 address, or a name that reads like one.
    #[error("an address is not a hostname")]
    Address,
}

/// A hostname in which each label may hold one `*`, standing for one or more characters of that label, never for a dot.
///
/// `*.example.com` is exactly one level below `example.com`; `*test.example.com` matches `alphatest.example.com` and,
/// as the compared product does, `test.example.com`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(Arc<str>);

impl HostPattern {
    /// The pattern as canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one hostname that this pattern names, when it holds no `*`.
    pub fn exact(&self) -> Option<Hostname> {
        if self.0.contains('*') { None } else { Some(Hostname(self.0.clone())) }
    }

    /// Whether `host` matches.
    pub fn matches(&self, host: &Hostname) -> bool {
        let mut ours = self.0.split('.');
        let mut theirs = host.labels();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(pattern), Some(label)) if label_matches(pattern, label) => {}
                _ => return false,
            }
        }
    }

    /// Orders patterns by how closely they describe a host: an exact label beats a wildcard, from the right; then the
    /// longer literal text. The greater value is the more specific pattern.
    pub fn specificity(&self) -> impl Ord + use<> {
        let exact: Vec<bool> = self.0.rsplit('.').map(|label| !label.contains('*')).collect();
        let literal = self.0.bytes().filter(|b| *b != b'*').count();
        (exact, literal)
    }
}

fn label_matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some(("", "")) => true,
        Some((head, tail)) => {
            label.len() >= head.len().saturating_add(tail.len()) && label.starts_with(head) && label.ends_with(tail)
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        if text.split('.').any(|label| label.matches('*').count() > 1) {
            return Err(HostnameError::Character);
        }
        // A digit stands in for `*`, so that what remains is judged by the one grammar of hostnames. It cannot make a
        // label valid that no match could have; the letter below does the same for a top label.
        let probe = Hostname::parse(&text.replace('*', "x"))?;
        let canonical = if text.contains('*') {
            if !text.is_ascii() {
                return Err(HostnameError::Idna);
            }
            let lower = text.to_ascii_lowercase();
            lower.strip_suffix('.').unwrap_or(&lower).to_owned()
        } else {
            probe.into()
        };
        Ok(Self(canonical.into()))
    }
}

impl From<Hostname> for HostPattern {
    fn from(host: Hostname) -> Self {
        Self(host.0)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostnameError;

    fn try_from(text: String) -> Result<Self, HostnameError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.0.as_ref().to_owned()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H2
    #[test]
    fn what_reads_like_an_address_is_no_hostname() {
        for text in ["127.0.0.1", "2130706433", "0x7f000001", "0X7F.1", "127.0x1", "a.0x", "1.0xg.7"] {
            assert_eq!(Hostname::parse(text), Err(HostnameError::Address), "{text}");
        }
        for text in ["0x7f000001.example", "0xg", "x0x1", "7.0xyz", "1e1"] {
            assert!(Hostname::parse(text).is_ok(), "{text}");
        }
    }

    // H2
    #[test]
    fn an_encoded_label_is_judged_with_all_of_the_name() {
        // Letters that are written from right to left, beside a label that begins with a digit (RFC 5893 §2).
        assert_eq!(Hostname::parse("xn--chbt.127.0.0.1pest"), Err(HostnameError::Idna));
        assert!(Hostname::parse("xn--chbt.pest").is_ok());
        assert!(Hostname::parse("_acme-challenge.xn--bcher-kva.example").is_ok());
    }
}
