//! Requests that somebody with bad intentions would send: generated from a seed, marked, and judged by a reference that
//! knows nothing of the product.
//!
//! Every request carries its mark (`~c17~`) in its target and in a field; what is hidden in it carries another of the same
//! number (`~s17~`), and so does the honest request that follows on the connection (`~f17~`).

use regex::bytes::Regex;

use crate::{
    http2::{FRAME_MAX, block},
    visitor::SESSION_COOKIE,
};

mod browsers;
mod making;
mod streams;
pub mod words;

pub use making::{ACCEPT, Recipe, follow_up};
pub use streams::{Field, Streamed};

/// The host with an application for the staff, one for the boss at [`ADMIN`], and both for machines but the latter.
pub const WWW: &str = "www.example.test";
/// The host for the boss alone.
pub const APP: &str = "app.example.test";
/// The host for everybody.
pub const OPEN: &str = "db.example.test";
/// The path at [`WWW`] that is the boss's.
pub const ADMIN: &str = "/admin";
/// Of whose pages the application at [`WWW`] lets browsers ask, but not the one at [`ADMIN`].
pub const DESK: &str = "https://desk.example.test";
/// What no origin may ever hear: it stands in everything that a visitor says about itself.
pub const FORGED: &str = "forged-by-the-visitor";

/// What is declared for all that.
pub const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.test}]}
  - {name: boss, action: allow, include: [{email: boss@example.test}]}
  - {name: machines, action: service_auth, include: [{service_token: backup}]}
  - {name: public, action: bypass, include: [everyone]}
applications:
  - name: www
    hostnames: [www.example.test]
    policies: [staff, machines]
    cors: {allowed_origins: ['https://desk.example.test'], allowed_methods: [PUT]}
  - {name: admin, hostnames: [www.example.test/admin], policies: [boss]}
  - {name: app, hostnames: [app.example.test], policies: [boss]}
  - {name: open, hostnames: [db.example.test], policies: [public]}
";

/// Whose credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody of the staff, at [`WWW`].
    Ann,
    /// The boss, at [`WWW`].
    Boss,
    /// The boss, at [`APP`].
    BossAtApp,
    /// A machine, at [`WWW`].
    Machine,
}

/// The secrets of all of them.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Session cookies, as `name=value`: Ann's, the boss's at [`WWW`], the boss's at [`APP`].
    pub cookies: [String; 3],
    /// A service token's id and secret.
    pub token: (String, String),
}

/// By which programs present what they have.
const TOKENS: [&str; 3] = ["cf-access-token", "cf-access-client-id", "cf-access-client-secret"];
/// Cookies of our name, and the longest value of one, that are more or longer than any browser has (S9, H15).
const OURS_MAX: usize = 4;
const VALUE_MAX: usize = 4096;
/// What a head may have in all: bytes (of HTTP/2 as RFC 9113 §6.5.2 counts them), and fields (H15).
const HEAD_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;

impl Credentials {
    /// Whose credentials stand in the fields of a request, names in lower case: each whole, in the field that is for it, the
    /// first one first. Beside a program's token no cookie counts.
    fn of(&self, fields: &[Field]) -> Vec<Who> {
        let [token, id, secret] = TOKENS.map(|name| values(fields, name).collect::<Vec<_>>());
        if !(token.is_empty() && id.is_empty() && secret.is_empty()) {
            let is_machine = token.is_empty() && id == [self.token.0.as_str()] && secret == [self.token.1.as_str()];
            return if is_machine { vec![Who::Machine] } else { Vec::new() };
        }
        let name = format!("{SESSION_COOKIE}=");
        let pairs = values(fields, "cookie").flat_map(|value| value.split(';')).map(str::trim_ascii);
        let ours: Vec<&str> = pairs.filter(|pair| pair.starts_with(&name)).collect();
        if ours.len() > OURS_MAX || ours.iter().any(|pair| pair.len() > name.len() + VALUE_MAX) {
            return Vec::new();
        }
        let known = [Who::Ann, Who::Boss, Who::BossAtApp].into_iter().zip(&self.cookies);
        ours.into_iter()
            .filter_map(|pair| known.clone().find(|(_, cookie)| *cookie == pair))
            .map(|(who, _)| who)
            .collect()
    }
}

/// Every value of a field, by its name as it is written.
fn values<'a>(fields: &'a [Field], name: &'static str) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// Fields that may not be in HTTP/2 (RFC 9113 §8.2.2).
const OF_CONNECTIONS: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// The most that a request may mean, in the eyes of somebody who reads it without any leniency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The word before its target.
    pub method: String,
    /// Its target, without scheme and authority.
    pub target: String,
    /// The host that it names in every place where it names one, if that is one of ours.
    pub host: Option<&'static str>,
    /// Whose credentials it has, the first one first.
    pub whose: Vec<Who>,
    /// Whether a browser asks by it what a page of [`DESK`] may ask.
    is_preflight: bool,
    /// Whether its head is larger than any that is taken.
    is_too_large: bool,
}

impl Meaning {
    /// Of an HTTP/1 request.
    pub fn of(bytes: &[u8], credentials: &Credentials) -> Self {
        // An empty line before a request is passed over (RFC 9112 §2.2).
        let plain = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let head = crate::raw::find(plain, b"\r\n\r\n").map_or(plain, |end| &plain[..end]);
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fields: Vec<Field> = lines.map(|line| line.split_once(':').unwrap_or((line, ""))).map(lower).collect();
        let (authority, target) = origin_form(target);
        let hosts: Vec<_> = values(&fields, "host").collect();
        let host = match hosts[..] {
            [host] => the_host(authority.iter().map(String::as_str).chain([host])),
            _ => None,
        };
        let size = bytes.len() - plain.len() + head.len() + b"\r\n\r\n".len();
        Self {
            method: method.into(),
            target,
            host,
            whose: credentials.of(&fields),
            is_preflight: is_preflight(method, &fields),
            is_too_large: size > HEAD_MAX || fields.len() > FIELDS_MAX,
        }
    }

    /// Of the fields of an HTTP/2 request. A fragment in its path is cut off before anything of ours sees it.
    pub fn of_fields(fields: &[Field], credentials: &Credentials) -> Self {
        let first = |name: &'static str| values(fields, name).next().unwrap_or_default();
        // Of a head in several frames the library forgets what may not be there, and leaves it out.
        let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let counted = if block(&pairs).len() > FRAME_MAX { 1 } else { usize::MAX };
        let named: Vec<&str> = values(fields, ":authority").take(counted).chain(values(fields, "host")).collect();
        let is_once = |name: &'static str| values(fields, name).take(counted).count() <= 1;
        let is_clear = is_once(":authority") && values(fields, "host").count() <= 1;
        let host = if is_clear { the_host(named.into_iter()) } else { None };
        let path = first(":path").split('#').next().unwrap_or_default();
        let cut = first(":path").len() - path.len();
        let bytes = |(name, value): &Field| name.len() + value.len() + 32;
        let second = fields.iter().filter(|(name, _)| name == ":authority").skip(counted);
        let forgotten = fields.iter().filter(|(name, _)| counted == 1 && OF_CONNECTIONS.contains(&name.as_str()));
        let left_out: usize = second.chain(forgotten).map(bytes).sum();
        let size = fields.iter().map(bytes).sum::<usize>() - left_out;
        // Cookies may come in fields of their own, and are one (RFC 9113 §8.2.3).
        let cookies = values(fields, "cookie").count();
        let count = fields.iter().filter(|(name, _)| !name.starts_with(':')).count() - cookies.saturating_sub(1);
        Self {
            method: first(":method").into(),
            target: origin_form(path).1,
            host,
            whose: credentials.of(fields),
            is_preflight: is_preflight(first(":method"), fields),
            is_too_large: size - cut > HEAD_MAX || count > FIELDS_MAX,
        }
    }

    /// Whose request it may be at `host`: nobody's (`None`) where everybody is let in. Nothing, if it may not be there at all.
    pub fn allowed(&self, host: &str) -> Vec<Option<Who>> {
        let is_below = |path: &str| {
            lenient(&self.target).iter().any(|reading| reading == path || reading.starts_with(&format!("{path}/")))
        };
        let is_ours = is_below("/.access") || is_below("/cdn-cgi/access");
        let is_refused = self.is_too_large || matches!(self.method.as_str(), "CONNECT" | "TRACE");
        if is_ours || is_refused || self.host != Some(host) || self.is_answered_by_the_edge(host) {
            return Vec::new();
        }
        // Of the credentials that are good at a host the first one counts, whatever the others might do.
        let good: &[Who] = match host {
            OPEN => return vec![None],
            APP => &[Who::BossAtApp, Who::Machine],
            WWW => &[Who::Ann, Who::Boss, Who::Machine],
            _ => return Vec::new(),
        };
        let may: &[Who] = match host {
            APP => &[Who::BossAtApp],
            _ if is_below(ADMIN) => &[Who::Boss],
            _ => good,
        };
        let first = self.whose.iter().find(|who| good.contains(who));
        first.filter(|who| may.contains(who)).map(|who| Some(*who)).into_iter().collect()
    }

    /// H9: whether the edge answers it instead of the service, since its application lists the page's origin. Said of paths only
    /// that nobody takes for another application's.
    fn is_answered_by_the_edge(&self, host: &str) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        let is_plain = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_lowercase() || b == b'/');
        self.is_preflight && host == WWW && is_plain && !path.contains("admin")
    }

    /// Whether the target, as it is written, is the boss's at [`WWW`].
    pub fn is_admin(&self) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        path == ADMIN || path.starts_with("/admin/")
    }
}

/// A field of HTTP/1: its name in lower case, its value without what stands around it (RFC 9110 §5.5).
fn lower((name, value): (&str, &str)) -> Field {
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
}

/// Whether a browser asks by a request what a page of [`DESK`] may ask (Fetch §4.8).
fn is_preflight(method: &str, fields: &[Field]) -> bool {
    let asks = values(fields, "access-control-request-method").count() == 1;
    method == "OPTIONS" && asks && values(fields, "origin").eq([DESK])
}

/// The one host of ours that all of these name.
fn the_host<'a>(named: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let named: Vec<Option<String>> = named.map(plain_host).collect();
    let first = named.first()?.as_deref()?;
    let is_same = named.iter().all(|other| other.as_deref() == Some(first));
    [WWW, APP, OPEN].into_iter().find(|host| is_same && *host == first)
}

/// The host of an authority that is nothing but a host, in letters of any case, with the dot of the root behind it or without,
/// and a port or none.
pub(crate) fn plain_host(authority: &str) -> Option<String> {
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| {
        let is_number = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        is_number && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (port.is_none_or(is_port) && host.split('.').all(is_label)).then_some(host)
}

/// A target in origin form, and the authority that it had before.
fn origin_form(target: &str) -> (Option<String>, String) {
    let lower = target.to_ascii_lowercase();
    let Some(scheme) = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme)) else {
        return (None, target.to_owned());
    };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let path = if rest[end..].starts_with('/') { rest[end..].to_owned() } else { format!("/{}", &rest[end..]) };
    (Some(rest[..end].to_owned()), path)
}

/// A mark: what it is on, and its number.
pub type Mark = (char, u64);

/// Every mark in some bytes, in order.
pub fn marks(bytes: &[u8]) -> Vec<Mark> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    mark().captures_iter(bytes).filter_map(|found| Some((char::from(found[1][0]), number(&found[2])?))).collect()
}

fn mark() -> &'static Regex {
    static MARK: std::sync::LazyLock<Regex> = std::sync::LazyLock::new(|| Regex::new("~([cfs])([0-9]+)~").unwrap());
    &MARK
}

/// What a lenient origin might take a path for. Written apart from the product's own readings, and wider.
pub fn lenient(path: &str) -> Vec<String> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let decode = |text: &str| {
        let bytes = text.as_bytes();
        let (mut out, mut i) = (String::new(), 0);
        while i < bytes.len() {
            let hex = (bytes[i] == b'%')
                .then(|| text.get(i + 1..i + 3))
                .flatten()
                .and_then(|h| u8::from_str_radix(h, 16).ok());
            match hex {
                Some(byte) => {
                    out.push(char::from(byte));
                    i += 3;
                }
                None => {
                    out.push(char::from(bytes[i]));
                    i += 1;
                }
            }
        }
        out
    };
    let once = decode(path);
    let twice = decode(&once);
    let mut readings = Vec::new();
    for decoded in [path.to_owned(), once, twice] {
        for slashes in [decoded.clone(), decoded.replace('\\', "/")] {
            let cut = |s: &str| {
                s.split('/').map(|part| part.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
            };
            for plain in [slashes.clone(), cut(&slashes)] {
                let (mut merging, mut keeping): (Vec<&str>, Vec<&str>) = Default::default();
                for part in plain.split('/').skip(1) {
                    match part.trim_end() {
                        ".." => {
                            merging.pop();
                            keeping.pop();
                        }
                        "." => {}
                        "" => keeping.push(""),
                        part => {
                            merging.push(part);
                            keeping.push(part);
                        }
                    }
                }
                readings.extend([merging.join("/"), keeping.join("/")].map(|p| format!("/{}", p.to_lowercase())));
            }
        }
    }
    readings
}

/// A generator of numbers that always makes the same ones of the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// One for the request of a number, by a seed.
    pub fn new(seed: u64, number: u64) -> Self {
        Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("below n")
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    /// One of several.
    pub fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            cookies: [ANN, BOSS, BOSS_AT_APP].map(str::to_owned),
            token: ("the-id".into(), "the-secret".into()),
        }
    }

    const NOBODYS: [Option<Who>; 0] = [];
    const ANN: &str = "__Host-access=annsecret";
    const BOSS: &str = "__Host-access=bosssecret";
    const BOSS_AT_APP: &str = "__Host-access=appsecret";
    const MACHINE: &str = "Cf-Access-Client-Id: the-id\r\nCf-Access-Client-Secret: the-secret";

    fn allowed(request: &str, host: &str) -> Vec<Option<Who>> {
        Meaning::of(request.as_bytes(), &credentials()).allowed(host)
    }

    fn of_fields(fields: &[(&str, &str)]) -> Meaning {
        let fields: Vec<Field> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Meaning::of_fields(&fields, &credentials())
    }

    /// With a line of its own, or several.
    fn with(target: &str, host: &str, line: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{line}\r\n\r\n")
    }

    fn get(target: &str, host: &str, cookie: &str) -> String {
        with(target, host, &format!("Cookie: {cookie}"))
    }

    #[test]
    fn the_reference_lets_in_what_is_declared_and_nothing_else() {
        assert_eq!(allowed(&get("/x", WWW, ANN), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&get("/x", "WWW.example.test:443", ANN), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&get("/x", "www.example.test.\t", ANN), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&format!("\r\n{}", get("/x", WWW, ANN)), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&with("https://www.example.test/x", WWW, MACHINE), WWW), [Some(Who::Machine)]);
        assert_eq!(allowed(&get("/x/..%2fadmin", WWW, BOSS), WWW), [Some(Who::Boss)]);
        assert_eq!(allowed(&get("/", OPEN, ""), OPEN), [None]);
        for (request, host) in [
            (get("/x", WWW, ""), WWW),
            (get("/x/..%2fadmin", WWW, ANN), WWW),
            (get("/x", WWW, ANN), APP),
            (get("/x", WWW, BOSS_AT_APP), WWW),
            (get("/x", APP, ANN), APP),
            (with("/x", APP, MACHINE), APP),
            (get("/%2eaccess/x", OPEN, ""), OPEN),
            (get("/x", WWW, ANN).replace("GET", "TRACE"), WWW),
            (format!("GET / HTTP/1.1\r\nX: {OPEN}\r\n\r\nHost: {OPEN}"), OPEN),
        ] {
            assert!(allowed(&request, host).is_empty(), "{request}");
        }
        assert_eq!(marks(b"~c17~ ~c~ x~s4~f3~"), [('c', 17), ('s', 4)]);
    }

    #[test]
    fn a_host_is_named_by_nothing_but_itself() {
        for host in [
            "",
            "x.www.example.test",
            "xwww.example.test",
            "www.example.test.evil.test",
            "user@www.example.test",
            "www.example.test@evil.test",
            "www.example.test..",
            ".www.example.test",
            "www.example.test:",
            "www.example.test:0",
            "www.example.test:65536",
            "www.example.test:+443",
            "www.example.test:443:443",
            "www.example.test, www.example.test",
            "www.example.test/x",
            "\"www.example.test\"",
            "www%2eexample.test",
        ] {
            assert_eq!(allowed(&get("/x", host, ANN), WWW), NOBODYS, "{host}");
            let fields = [(":method", "GET"), (":authority", host), (":path", "/x"), ("cookie", ANN)];
            assert_eq!(of_fields(&fields).allowed(WWW), NOBODYS, "{host}");
        }
        // Nor by one of two.
        for request in [
            get("/x", &format!("{WWW}\r\nHost: {WWW}"), ANN),
            get("/x", &format!("{WWW}\r\nHost: {APP}"), ANN),
            get("https://app.example.test/x", WWW, ANN),
            get("https://user@www.example.test/x", WWW, ANN),
            get("https://www.example.test/x", WWW, ANN).replace("Host:", "X-Host:"),
        ] {
            assert_eq!(allowed(&request, WWW), NOBODYS, "{request}");
        }
        let good = [(":method", "GET"), (":authority", WWW), (":path", "/x#y"), ("cookie", ANN)];
        assert_eq!(of_fields(&good).allowed(WWW), [Some(Who::Ann)]);
        for more in [("host", APP), (":authority", WWW), (":authority", APP)] {
            assert_eq!(of_fields(&[&good[..], &[more]].concat()).allowed(WWW), NOBODYS, "{more:?}");
        }
    }

    #[test]
    fn a_credential_counts_where_it_stands_whole_in_the_field_that_is_for_it() {
        let two = format!("a=b; {BOSS_AT_APP};{BOSS}; {ANN}");
        assert_eq!(allowed(&get("/x", WWW, &two), WWW), [Some(Who::Boss)], "the first that is good there");
        assert_eq!(allowed(&get("/x", APP, &two), APP), [Some(Who::BossAtApp)]);
        assert_eq!(allowed(&get("/x", WWW, &format!("__Host-access=old; {ANN}")), WWW), [Some(Who::Ann)]);
        let long = |more: usize| format!("__Host-access={}", "x".repeat(VALUE_MAX + more));
        assert_eq!(allowed(&get("/x", WWW, &format!("{}; {ANN}", long(0))), WWW), [Some(Who::Ann)]);
        for line in [
            "Cookie: annsecret".to_owned(),
            format!("Cookie: {ANN}x"),
            format!("Cookie: x{ANN}"),
            "Cookie: __HOST-access=annsecret".to_owned(),
            format!("X-Cookie: {ANN}"),
            format!("Cookie : {ANN}"),
            format!("X: y\r\n Cookie: {ANN}"),
            format!("X: y\r\n\r\nCookie: {ANN}"),
            format!("X: y\r\n\r\nGET /x HTTP/1.1\r\nHost: {WWW}\r\nCookie: {ANN}"),
            format!("Cookie: {}{ANN}", "__Host-access=x; ".repeat(OURS_MAX)),
            format!("Cookie: {}; {ANN}", long(1)),
            format!("Cookie: {ANN}\r\nCf-Access-Token: x"),
            format!("Cookie: {ANN}\r\nCf-Access-Client-Id: the-id"),
            "Cookie: the-id the-secret".to_owned(),
            "Cf-Access-Client-Id: the-id the-secret".to_owned(),
            MACHINE.replace("the-secret", "the-secrets"),
            format!("{MACHINE}\r\nCf-Access-Client-Id: the-id"),
            format!("{MACHINE}\r\nCf-Access-Token: x"),
        ] {
            assert_eq!(allowed(&with("/x", WWW, &line), WWW), NOBODYS, "{line}");
        }
        // The first one counts, also where another one would do.
        assert_eq!(allowed(&get("/admin", WWW, &format!("{ANN}; {BOSS}")), WWW), NOBODYS);
        let bytes = format!("POST /x HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 99\r\n\r\nCookie: {ANN}\r\n\r\n");
        assert_eq!(allowed(&bytes, WWW), NOBODYS);
    }

    // H9
    #[test]
    fn a_preflight_of_a_listed_page_is_the_edges_to_answer() {
        let asks = format!("Cookie: {BOSS}\r\nOrigin: {DESK}\r\nAccess-Control-Request-Method: PUT");
        let preflight = |target: &str, line: &str| with(target, WWW, line).replace("GET", "OPTIONS");
        assert_eq!(allowed(&preflight("/x?y", &asks), WWW), NOBODYS);
        let boss = [Some(Who::Boss)];
        for request in [
            with("/x", WWW, &asks),
            preflight("/admin", &asks),
            preflight("/x", &asks.replace("desk", "desks")),
            preflight("/x", &format!("{asks}\r\nOrigin: {DESK}")),
            preflight("/x", &asks.replace("Access-Control-Request-Method", "X")),
        ] {
            assert_eq!(allowed(&request, WWW), boss, "{request}");
        }
        assert_eq!(allowed(&preflight("/x", &asks.replace(BOSS, "")).replace("desk", "desks"), WWW), NOBODYS);
    }

    // H15
    #[test]
    fn a_head_that_is_too_large_is_nobodys() {
        let sized = |size: usize| {
            let small = get("/x", WWW, &format!("{ANN}; b="));
            small.replace("b=", &format!("b={}", "x".repeat(size - small.len())))
        };
        assert_eq!(allowed(&sized(HEAD_MAX), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&sized(HEAD_MAX + 1), WWW), NOBODYS);
        let crowd = |count: usize| get("/x", WWW, &format!("{ANN}{}", "\r\nX: y".repeat(count)));
        assert_eq!(allowed(&crowd(FIELDS_MAX - 2), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&crowd(FIELDS_MAX - 1), WWW), NOBODYS);
        let streamed = |value: usize, count: usize| {
            let value = "x".repeat(value);
            let mut fields = vec![(":method", "GET"), (":authority", WWW), (":path", "/x"), ("cookie", ANN)];
            fields.extend([("cookie", "a=b"), ("cookie", "c=d")]);
            fields.extend((0..count).map(|_| ("x", value.as_str())));
            of_fields(&fields).allowed(WWW)
        };
        assert_eq!(streamed(HEAD_MAX - 1024, 1), [Some(Who::Ann)]);
        assert_eq!(streamed(HEAD_MAX - 33, 1), NOBODYS);
        assert_eq!(streamed(1, FIELDS_MAX - 1), [Some(Who::Ann)]);
        assert_eq!(streamed(1, FIELDS_MAX), NOBODYS);
    }

    #[test]
    fn the_same_seed_makes_the_same_requests_and_each_has_its_mark() {
        let recipe = Recipe { seed: 7, credentials: credentials() };
        let (mut differing, mut plain) = (std::collections::HashSet::new(), 0);
        for number in 0..2000 {
            let made = recipe.request(number);
            assert_eq!(made, recipe.request(number));
            assert!(marks(&made).contains(&('c', number)), "{}", String::from_utf8_lossy(&made));
            assert!(marks(&made).iter().all(|(_, n)| *n == number));
            plain += usize::from(!Meaning::of(&made, &credentials()).whose.is_empty());
            differing.insert(made);
        }
        assert!(differing.len() == 2000 && plain > 800, "{} {plain}", differing.len());
    }

    #[test]
    fn streams_of_http_2_have_their_mark_too_and_some_of_everything() {
        let recipe = Recipe { seed: 7, credentials: credentials() };
        let (mut bodies, mut trailers, mut given_up, mut overtaken, mut tunnels, mut crowds) = (0, 0, 0, 0, 0, 0);
        for number in 0..2000 {
            let made = recipe.streamed(number);
            assert_eq!(made, recipe.streamed(number));
            let words = made.fields.iter().chain(&made.trailers).flat_map(|(name, value)| [name, value]);
            let all: Vec<u8> = words.flat_map(|word| word.bytes().chain([b'\n'])).chain(made.body.concat()).collect();
            assert!(marks(&all).contains(&('c', number)), "{made:?}");
            assert!(marks(&all).iter().all(|(_, n)| *n == number), "{made:?}");
            assert!(!made.body.is_empty() || (made.trailers.is_empty() && made.ends && !made.overtaken), "{made:?}");
            bodies += usize::from(!made.body.is_empty());
            trailers += usize::from(!made.trailers.is_empty());
            given_up += usize::from(!made.ends);
            overtaken += usize::from(made.overtaken);
            tunnels += usize::from(made.fields.contains(&(":method".into(), "CONNECT".into())));
            crowds += usize::from(made.fields.iter().filter(|(name, _)| name == "cookie").count() > 20);
        }
        let counts = [bodies, trailers, given_up, overtaken, tunnels, crowds];
        assert!(bodies > 300 && counts.iter().all(|count| *count > 5), "{counts:?}");
    }
}
