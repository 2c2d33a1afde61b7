//! What a program asks for, as it comes, is checked and goes on.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tunnel_proto::{
    AppId, Hostname,
    access::{CLAIM_MAX, DeviceRequest},
};

use crate::enroll::plain;

/// The longest query that is looked at. A login on the way to the page carries it as where to return to.
const QUERY_MAX: usize = 3 * 1024;
/// How long base64url of 32 bytes is: a challenge and a state.
const B64_LEN: usize = 43;
/// The fewest and the most characters of the callback's path.
const PATH_LEN: std::ops::RangeInclusive<usize> = 16..=64;
/// The longest public id of a wish that is looked at; ours have 22 characters.
const ID_MAX: usize = 64;

/// What a program wants, and what it says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClientAsk {
    /// The application.
    pub(super) app: AppId,
    /// Its host.
    pub(super) host: Hostname,
    /// The code that both sides show.
    pub(super) code: String,
    /// What the computer calls itself: its own claim.
    pub(super) computer: String,
    /// The command that was typed: its own claim.
    pub(super) command: String,
}

impl ClientAsk {
    /// What a program elsewhere asks for. Its claims lose what could disguise them on a page.
    pub(super) fn of_device(request: DeviceRequest, code: String) -> Self {
        let DeviceRequest { app, host, computer, command } = request;
        Self { app, host, code, computer: plain(&computer, CLAIM_MAX), command: plain(&command, CLAIM_MAX) }
    }
}

/// How a program on the same computer hears of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Callback {
    /// Where the browser goes: a port of the loopback address.
    pub(super) redirect_uri: String,
    /// base64url(SHA-256(verifier)).
    pub(super) challenge: String,
    /// Comes back as it is.
    pub(super) state: String,
}

impl Callback {
    /// The address with an answer.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        format!("{}?{name}={value}&state={}", self.redirect_uri, self.state)
    }
}

/// What the query of the page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A program on the same computer asks.
    Here(ClientAsk, Callback),
    /// A program elsewhere asks; this is the public id of its wish.
    Elsewhere(String),
}

impl Asked {
    /// Reads a query. Each parameter must be there once and no other may (but `lang`, which is the page's own).
    pub(super) fn parse(query: &str) -> Option<Self> {
        if query.len() > QUERY_MAX || !query.bytes().all(|b| matches!(b, 0x21..=0x7e)) {
            return None;
        }
        let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "lang");
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = pairs.collect();
        let mut take = |name: &str| {
            let at = pairs.iter().position(|(key, _)| key == name)?;
            Some(pairs.swap_remove(at).1.into_owned())
        };
        let asked = match take("device") {
            Some(id) => {
                let good = !id.is_empty() && id.len() <= ID_MAX && is_base64url(&id);
                Self::Elsewhere(Some(id).filter(|_| good)?)
            }
            None => {
                let (app, host) = (take("app")?.parse().ok()?, take("host")?.parse().ok()?);
                let (computer, command) = (plain(&take("computer")?, CLAIM_MAX), plain(&take("command")?, CLAIM_MAX));
                let code = take("code").filter(|code| is_code(code))?;
                let method = take("code_challenge_method")?;
                let callback = Callback {
                    redirect_uri: take("redirect_uri").filter(|uri| is_loopback(uri))?,
                    challenge: take("code_challenge").filter(|text| is_256_bits(text) && method == "S256")?,
                    state: take("state").filter(|text| is_256_bits(text))?,
                };
                Self::Here(ClientAsk { app, host, code, computer, command }, callback)
            }
        };
        pairs.is_empty().then_some(asked)
    }
}

/// Whether `uri` is `http://127.0.0.1:PORT/RANDOM` or `http://[::1]:PORT/RANDOM`, spelled exactly so.
pub(crate) fn is_loopback(uri: &str) -> bool {
    let rest = uri.strip_prefix("http://127.0.0.1:").or_else(|| uri.strip_prefix("http://[::1]:"));
    let Some((port, path)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
    let digits = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
    digits && port.parse::<u16>().is_ok() && PATH_LEN.contains(&path.len()) && is_base64url(path)
}

fn is_base64url(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_256_bits(text: &str) -> bool {
    text.len() == B64_LEN && data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).is_ok()
}

fn is_code(code: &str) -> bool {
    code.len() == 4 && code.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANDOM: &str = "abcdefghijklmnop";

    // C5, H12
    #[test]
    fn an_answer_goes_to_a_loopback_address_or_nowhere() {
        for good in [
            format!("http://127.0.0.1:1/{RANDOM}"),
            format!("http://127.0.0.1:65535/{}", "x".repeat(64)),
            format!("http://[::1]:49152/{RANDOM}"),
            "http://127.0.0.1:8080/AZaz09-_AZaz09-_".into(),
        ] {
            assert!(is_loopback(&good), "{good}");
        }
        for bad in [
            String::new(),
            format!("https://127.0.0.1:8080/{RANDOM}"),
            format!("HTTP://127.0.0.1:8080/{RANDOM}"),
            format!("http://localhost:8080/{RANDOM}"),
            format!("http://127.0.0.2:8080/{RANDOM}"),
            format!("http://127.1:8080/{RANDOM}"),
            format!("http://0:8080/{RANDOM}"),
            format!("http://2130706433:8080/{RANDOM}"),
            format!("http://0x7f000001:8080/{RANDOM}"),
            format!("http://[::]:8080/{RANDOM}"),
            format!("http://[0:0:0:0:0:0:0:1]:8080/{RANDOM}"),
            format!("http://[::ffff:127.0.0.1]:8080/{RANDOM}"),
            format!("http://[::1%25lo]:8080/{RANDOM}"),
            format!("http://127.0.0.1/{RANDOM}"),
            format!("http://127.0.0.1:/{RANDOM}"),
            format!("http://127.0.0.1:0/{RANDOM}"),
            format!("http://127.0.0.1:080/{RANDOM}"),
            format!("http://127.0.0.1:65536/{RANDOM}"),
            format!("http://127.0.0.1:+80/{RANDOM}"),
            format!("http://127.0.0.1:8080{RANDOM}"),
            format!("http://127.0.0.1:8080//{RANDOM}"),
            format!("http://127.0.0.1:8080/{RANDOM}/"),
            format!("http://127.0.0.1:8080/{RANDOM}?a=b"),
            format!("http://127.0.0.1:8080/{RANDOM}#a"),
            format!("http://127.0.0.1:8080/{RANDOM}/../x"),
            format!("http://127.0.0.1:8080/{RANDOM}%2f"),
            format!("http://127.0.0.1:8080\\@evil.example/{RANDOM}"),
            format!("http://127.0.0.1:8080@evil.example/{RANDOM}"),
            format!("http://user@127.0.0.1:8080/{RANDOM}"),
            format!("http://127.0.0.1.evil.example:8080/{RANDOM}"),
            format!("http://127.0.0.1:8080.evil.example/{RANDOM}"),
            format!("http://evil.example/http://127.0.0.1:8080/{RANDOM}"),
            format!("//127.0.0.1:8080/{RANDOM}"),
            format!(" http://127.0.0.1:8080/{RANDOM}"),
            format!("http://127.0.0.1:8080/{RANDOM}\r\n"),
            format!("http://127.0.0.1:8080/{RANDOM}é"),
            "http://127.0.0.1:8080/short".into(),
            format!("http://127.0.0.1:8080/{}", "x".repeat(65)),
            "javascript:alert(1)//127.0.0.1:8080/abcdefghijklmnop".into(),
            "file:///abcdefghijklmnop".into(),
        ] {
            assert!(!is_loopback(&bad), "{bad}");
        }
    }

    fn query(change: impl FnOnce(&mut Vec<(&'static str, String)>)) -> String {
        let mut pairs = vec![
            ("app", AppId::from_bytes([7; 32]).to_string()),
            ("host", "rdp.example.com".into()),
            ("redirect_uri", format!("http://127.0.0.1:4711/{RANDOM}")),
            ("code_challenge", "A".repeat(43)),
            ("code_challenge_method", "S256".into()),
            ("state", "E".repeat(42) + "A"),
            ("code", "7492".into()),
            ("computer", "ann\u{202e}-laptop".into()),
            ("command", "access rdp --hostname rdp.example.com".into()),
        ];
        change(&mut pairs);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        query.finish()
    }

    #[test]
    fn a_whole_query_is_understood_in_any_order() {
        for query in [query(|_| ()), query(|pairs| pairs.reverse()), query(|_| ()) + "&lang=ja"] {
            let Some(Asked::Here(ask, callback)) = Asked::parse(&query) else { panic!("{query}") };
            assert_eq!((ask.host.as_str(), ask.computer.as_str()), ("rdp.example.com", "ann-laptop"));
            let expected = format!("http://127.0.0.1:4711/{RANDOM}?code=X&state={}", callback.state);
            assert_eq!(callback.with("code", "X"), expected);
        }
        assert_eq!(Asked::parse("device=abc-_123"), Some(Asked::Elsewhere("abc-_123".into())));
    }

    // C5
    #[test]
    fn a_query_with_anything_missing_twice_odd_or_unknown_is_refused() {
        let fields = [
            "app",
            "host",
            "redirect_uri",
            "code_challenge",
            "code_challenge_method",
            "state",
            "code",
            "computer",
            "command",
        ];
        for field in fields {
            let missing = query(|pairs| pairs.retain(|(name, _)| *name != field));
            assert_eq!(Asked::parse(&missing), None, "without {field}");
            let twice = query(|pairs| {
                let again = pairs.iter().find(|(name, _)| *name == field).unwrap().clone();
                pairs.push(again);
            });
            assert_eq!(Asked::parse(&twice), None, "{field} twice");
        }
        for (field, value) in [
            ("app", "x".to_owned()),
            ("host", "a..b".into()),
            ("redirect_uri", "https://evil.example/abcdefghijklmnop".into()),
            ("code_challenge", "A".repeat(42)),
            ("code_challenge", "A".repeat(44)),
            ("code_challenge", "+".repeat(43)),
            ("code_challenge_method", "plain".into()),
            ("code_challenge_method", "s256".into()),
            ("state", String::new()),
            ("state", "&".repeat(43)),
            ("code", "123".into()),
            ("code", "12345".into()),
            ("code", "١٢٣٤".into()),
            ("command", "x".repeat(QUERY_MAX)),
        ] {
            let odd = query(|pairs| {
                pairs.iter_mut().find(|(name, _)| *name == field).unwrap().1 = value.clone();
            });
            assert_eq!(Asked::parse(&odd), None, "{field} = {value}");
        }
        let unknown = query(|pairs| pairs.push(("scope", "all".into())));
        let both = query(|pairs| pairs.push(("device", "abc".into())));
        for odd in [unknown.as_str(), both.as_str(), "", "device=", "device=a%20b", "device=a&device=b", "device=é"] {
            assert_eq!(Asked::parse(odd), None, "{odd}");
        }
        assert_eq!(Asked::parse(&format!("device={}", "a".repeat(65))), None);
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "[a-z_=&%0-9A-F+]{0,200}") {
            let _ = Asked::parse(&query);
        }

        #[test]
        fn every_accepted_address_is_of_the_loopback(uri in "http://(127\\.0\\.0\\.1|\\[::1\\]|[a-z@.]{1,9}):[0-9]{1,6}/[a-z/?#%.]{0,3}[a-z]{16}") {
            if is_loopback(&uri) {
                let url = url::Url::parse(&uri).unwrap();
                prop_assert!(matches!(url.host_str(), Some("127.0.0.1" | "[::1]")));
                prop_assert!(url.query().is_none() && url.fragment().is_none() && url.username().is_empty());
            }
        }
    }
}
