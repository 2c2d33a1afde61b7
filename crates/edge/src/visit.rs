//! One request's circumstances, established once, before anything is decided.

use std::{fmt, net::IpAddr};

use tunnel_policy::{Circumstances, Country};
use tunnel_proto::{Hostname, UnixTime};

/// Who comes from where to which host, by which door. Made from the connection and the canonical authority only.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The canonical host of the request.
    pub host: Hostname,
    /// Whether the visitor came by TLS.
    pub https: bool,
    /// The port that the visitor used, unless it is the scheme's own.
    pub port: Option<u16>,
    /// The visitor's address: the socket's peer, or what a trusted proxy says.
    pub source: IpAddr,
    /// The country of that address, where it is known.
    pub country: Option<Country>,
    /// When the request arrived.
    pub now: UnixTime,
    /// What the visitor and the administrator quote to each other about this request.
    pub reference: Reference,
    /// The language for pages.
    pub lang: Lang,
}

impl Visit {
    /// Where and when the request is made, as policies see it.
    pub const fn here(&self) -> Circumstances {
        Circumstances { source: self.source, country: self.country, now: self.now }
    }

    /// The address of `path` (beginning with `/`) on `host`, by the scheme and port the visitor came by.
    pub fn url(&self, host: &Hostname, path: &str) -> String {
        format!("{}{path}", self.origin(host))
    }

    /// The origin (`scheme://host[:port]`) of `host`, by the scheme and port the visitor came by.
    pub fn origin(&self, host: &Hostname) -> String {
        let scheme = if self.https { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }
}

/// A reference printed on pages and kept in the audit log, for example `7F3A-92C1-E08B`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference([u8; 6]);

impl Reference {
    /// A reference from random bytes.
    pub const fn from_random(random: [u8; 6]) -> Self {
        Self(random)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}{b:02X}-{c:02X}{d:02X}-{e:02X}{g:02X}")
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

/// A language that pages and mails are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Japanese.
    Ja,
}

impl Lang {
    /// The language's tag, for `lang` and `hreflang`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ja => "ja",
        }
    }

    /// The language with exactly this tag.
    pub fn of_tag(tag: &str) -> Option<Self> {
        [Self::En, Self::Ja].into_iter().find(|lang| lang.tag() == tag)
    }

    /// The first language of an `Accept-Language` value that pages are written in, by quality (RFC 9110 §12.5.4).
    pub fn accepted(accept: &str) -> Option<Self> {
        let mut best = (0u32, None);
        for item in accept.split(',').take(32) {
            let mut parts = item.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let quality = parts.find_map(|p| p.trim().strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
            let quality = quality.filter(|q| (0.0..=1.0).contains(q)).map_or(0, |q| (q * 1000.0) as u32);
            let primary = tag.split('-').next().unwrap_or_default();
            let is_of = |lang: &Self| primary.eq_ignore_ascii_case(lang.tag());
            let Some(lang) = [Self::En, Self::Ja].into_iter().find(is_of) else { continue };
            if quality > best.0 {
                best = (quality, Some(lang));
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_languages_that_a_browser_accepts_the_one_that_it_likes_best_is_chosen() {
        for (accept, chosen) in [
            ("ja", Some(Lang::Ja)),
            ("en, ja", Some(Lang::En)),
            ("ja, en", Some(Lang::Ja)),
            ("JA-JP,ja;q=0.9,en-US;q=0.8", Some(Lang::Ja)),
            ("en;q=0.1, ja", Some(Lang::Ja)),
            ("ja ; q=0.1 , en", Some(Lang::En)),
            ("en;q=0.5,ja;q=0.7", Some(Lang::Ja)),
            ("fr, ja;q=0.2, de;q=0.9", Some(Lang::Ja)),
            // What is not wanted at all, and what is no quality.
            ("ja;q=0", None),
            ("ja;q=0.000, en;q=0.001", Some(Lang::En)),
            ("ja;q=2, en;q=0.1", Some(Lang::En)),
            ("ja;q=x, en;q=0.1", Some(Lang::En)),
            ("ja;q=-1", None),
            ("ja;q=NaN", None),
            // Anything, or nothing that there is: the operator's own.
            ("*", None),
            ("fr, *;q=0.5", None),
            ("*, ja;q=0", None),
            ("jab, english", None),
            ("", None),
            (";,", None),
        ] {
            assert_eq!(Lang::accepted(accept), chosen, "{accept}");
        }
    }
}
