//! Requests that somebody with bad intentions would send: generated from a seed, marked, and judged by a reference that
//! knows nothing of the product.
//!
//! Every request carries its mark (`~c17~`) in its target and in a field; what is hidden in it carries another of the same
//! number (`~s17~`), and so does the honest request that follows on the connection (`~f17~`).

use regex::bytes::Regex;

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
  - {name: www, hostnames: [www.example.test], policies: [staff, machines]}
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

impl Credentials {
    /// Whose credentials stand in a request, whole.
    fn of(&self, bytes: &[u8]) -> Vec<Who> {
        let has = |text: &str| crate::raw::find(bytes, text.as_bytes()).is_some();
        let value = |cookie: &str| cookie.split_once('=').map_or(String::new(), |(_, value)| value.to_owned());
        let mut whose = Vec::new();
        for (who, cookie) in [Who::Ann, Who::Boss, Who::BossAtApp].into_iter().zip(&self.cookies) {
            if has(&value(cookie)) {
                whose.push(who);
            }
        }
        if has(&self.token.0) && has(&self.token.1) {
            whose.push(Who::Machine);
        }
        whose
    }
}

/// The most that a request may mean, in the eyes of somebody who reads it without any leniency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The word before its target.
    pub method: String,
    /// Its target, without scheme and authority.
    pub target: String,
    /// Hosts that its `Host` fields and its target name.
    pub hosts: Vec<&'static str>,
    /// Whose credentials it has.
    pub whose: Vec<Who>,
}

impl Meaning {
    /// Of an HTTP/1 request.
    pub fn of(bytes: &[u8], credentials: &Credentials) -> Self {
        let head = crate::raw::find(bytes, b"\r\n\r\n").filter(|at| *at > 0).map_or(bytes, |end| &bytes[..end]);
        let text = String::from_utf8_lossy(head);
        let mut lines = text.strip_prefix("\r\n").unwrap_or(&text).split('\n').map(|l| l.trim_end_matches('\r'));
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let values =
            lines.filter_map(|line| line.split_once(':')).filter(|(n, _)| n.trim().eq_ignore_ascii_case("host"));
        let mut named: Vec<String> = values.map(|(_, value)| value.to_owned()).collect();
        let (authority, target) = origin_form(target);
        named.extend(authority);
        Self { method: method.into(), target, hosts: known(&named), whose: credentials.of(bytes) }
    }

    /// Of the fields of an HTTP/2 request. A fragment in its path is cut off before anything of ours sees it.
    pub fn of_fields(fields: &[Field], credentials: &Credentials) -> Self {
        let all = |name: &'static str| fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.clone());
        let named: Vec<String> = all(":authority").chain(all("host")).collect();
        let path = all(":path").next().unwrap_or_default();
        let (_, target) = origin_form(path.split('#').next().unwrap_or_default());
        let bytes: Vec<u8> = fields.iter().flat_map(|(_, value)| value.bytes().chain([b'\n'])).collect();
        let method = all(":method").next().unwrap_or_default();
        Self { method, target, hosts: known(&named), whose: credentials.of(&bytes) }
    }

    /// Whose request it may be at `host`: nobody's (`None`) where everybody is let in. Nothing, if it may not be there at all.
    pub fn allowed(&self, host: &str) -> Vec<Option<Who>> {
        let is_below = |path: &str| {
            lenient(&self.target).iter().any(|reading| reading == path || reading.starts_with(&format!("{path}/")))
        };
        let is_ours = is_below("/.access") || is_below("/cdn-cgi/access");
        if is_ours || !self.hosts.contains(&host) || matches!(self.method.as_str(), "CONNECT" | "TRACE") {
            return Vec::new();
        }
        let may: &[Who] = match host {
            OPEN => return vec![None],
            APP => &[Who::BossAtApp],
            WWW if is_below(ADMIN) => &[Who::Boss],
            WWW => &[Who::Ann, Who::Boss, Who::Machine],
            _ => &[],
        };
        self.whose.iter().filter(|who| may.contains(who)).map(|who| Some(*who)).collect()
    }

    /// Whether the target, as it is written, is the boss's at [`WWW`].
    pub fn is_admin(&self) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        path == ADMIN || path.starts_with("/admin/")
    }
}

fn known(named: &[String]) -> Vec<&'static str> {
    let is_named = |host: &&str| named.iter().any(|name| name.to_ascii_lowercase().contains(host));
    [WWW, APP, OPEN].into_iter().filter(is_named).collect()
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
            cookies: ["a=annsecret", "a=bosssecret", "a=appsecret"].map(str::to_owned),
            token: ("the-id".into(), "the-secret".into()),
        }
    }

    fn allowed(request: &str, host: &str) -> Vec<Option<Who>> {
        Meaning::of(request.as_bytes(), &credentials()).allowed(host)
    }

    #[test]
    fn the_reference_lets_in_what_is_declared_and_nothing_else() {
        let get = |target: &str, host: &str, who: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {who}\r\n\r\n")
        };
        assert_eq!(allowed(&get("/x", WWW, "a=annsecret"), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&get("/x", "WWW.example.test:443", "a=annsecret"), WWW), [Some(Who::Ann)]);
        assert_eq!(allowed(&get("https://www.example.test/x", WWW, "the-id the-secret"), WWW), [Some(Who::Machine)]);
        assert_eq!(allowed(&get("/x/..%2fadmin", WWW, "a=bosssecret"), WWW), [Some(Who::Boss)]);
        assert_eq!(allowed(&get("/", OPEN, ""), OPEN), [None]);
        for (request, host) in [
            (get("/x", WWW, ""), WWW),
            (get("/x/..%2fadmin", WWW, "a=annsecret"), WWW),
            (get("/x", WWW, "a=annsecret"), APP),
            (get("/x", WWW, "a=appsecret"), WWW),
            (get("/x", APP, "a=annsecret"), APP),
            (get("/%2eaccess/x", OPEN, ""), OPEN),
            (get("/x", WWW, "").replace("GET", "TRACE") + "a=annsecret", WWW),
            (format!("GET / HTTP/1.1\r\nX: {OPEN}\r\n\r\nHost: {OPEN}"), OPEN),
        ] {
            assert!(allowed(&request, host).is_empty(), "{request}");
        }
        assert_eq!(marks(b"~c17~ ~c~ x~s4~f3~"), [('c', 17), ('s', 4)]);
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
