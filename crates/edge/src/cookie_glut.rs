//! More cookies than a request may bring. Any application of a zone can have browsers send its cookies to every other one and
//! to the login host, which would then never hear of their visitors again. So the answer that refuses such a request has the
//! browser forget the largest of them (S9, H15).

use std::{cmp::Reverse, collections::BTreeMap};

use http::{HeaderMap, HeaderValue, header};
use tunnel_proto::Hostname;

use crate::{session::cookie::is_ours, strict::HEAD_MAX};

/// What may be left of cookies that are not ours, in bytes. Whoever has no more loses none, also where it is something else that
/// is too large: nobody's cookies go by a link with a long address.
const LEFT: usize = HEAD_MAX / 4;
/// What may be said about it, in bytes.
const SAID_MAX: usize = 32 * 1024;
/// Paths for which it is said, and the longest of them in bytes. Every page of a login has fewer and shorter ones.
const PATHS_MAX: usize = 8;
const PATH_MAX: usize = 128;

/// Adds to the answer for `path` at `host` what makes a browser forget the largest cookies that it has sent, but for ours. Where
/// they were set is not known: it is tried for this host and for every domain above it, and for every path above that one.
pub(crate) fn forget(answer: &mut HeaderMap, asked: &HeaderMap, host: &Hostname, path: &str, https: bool) {
    let mut sizes: BTreeMap<&[u8], usize> = BTreeMap::new();
    for pair in asked.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b';')) {
        let pair = pair.trim_ascii();
        // One without a name is sent as its value alone.
        let name = pair.iter().position(|b| *b == b'=').and_then(|at| pair.get(..at)).unwrap_or_default().trim_ascii();
        if !is_ours(name) && !pair.is_empty() {
            let size = sizes.entry(name).or_default();
            *size = size.saturating_add(pair.len());
        }
    }
    let mut left: usize = sizes.values().sum();
    let mut largest: Vec<_> = sizes.into_iter().collect();
    largest.sort_by_key(|(_, size)| Reverse(*size));
    let (secure, mut said) = (if https { "; Secure" } else { "" }, 0_usize);
    for (name, size) in largest {
        if left <= LEFT {
            return;
        }
        left = left.saturating_sub(size);
        // RFC 6265bis §4.1.3.2: such a one has no domain, and no path of its own.
        let bound = name.to_ascii_lowercase().starts_with(b"__host-");
        let mut lines = Vec::new();
        for path in paths(path).take(if bound { 1 } else { PATHS_MAX }) {
            let end = format!("=0; Path={path}; Max-Age=0{secure}");
            lines.push([name, end.as_bytes()].concat());
            if !bound {
                let wide = |domain: &str| [name, end.as_bytes(), b"; Domain=".as_slice(), domain.as_bytes()].concat();
                lines.extend(domains(host).map(wide));
            }
        }
        for line in lines {
            said = said.saturating_add(line.len());
            if said > SAID_MAX {
                return;
            }
            if let Ok(line) = HeaderValue::from_bytes(&line) {
                answer.append(header::SET_COOKIE, line);
            }
        }
    }
}

/// A host and the domains above it, but for the last label: no browser takes a cookie for that.
fn domains(host: &Hostname) -> impl Iterator<Item = &str> {
    let all = std::iter::successors(Some(host.as_str()), |domain| domain.split_once('.').map(|(_, above)| above));
    all.take_while(|domain| domain.contains('.'))
}

/// Where cookies may have been set that come with a request for `path` (RFC 6265 §5.1.4), the widest first.
fn paths(path: &str) -> impl Iterator<Item = &str> {
    let folders = path.match_indices('/').flat_map(|(at, _)| [at, at.saturating_add(1)]);
    let itself = Some(path.len()).filter(|_| !path.ends_with('/'));
    let below = folders.chain(itself).filter_map(move |end| path.get(..end));
    // What stands behind a semicolon would be said of the cookie, and is in no cookie's path.
    let below =
        below.filter(|path| path.len() > 1 && path.len() <= PATH_MAX && path.starts_with('/') && !path.contains(';'));
    std::iter::once("/").chain(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgotten(cookies: &[&str], host: &str, https: bool) -> Vec<String> {
        forgotten_at("/", cookies, host, https)
    }

    fn forgotten_at(path: &str, cookies: &[&str], host: &str, https: bool) -> Vec<String> {
        let (mut asked, mut answer) = (HeaderMap::new(), HeaderMap::new());
        for cookie in cookies {
            asked.append(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        forget(&mut answer, &asked, &Hostname::parse(host).unwrap(), path, https);
        answer.get_all(header::SET_COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_largest_cookies_are_forgotten_wherever_they_were_set_and_ours_never() {
        // S9, H15
        let (large, larger) = ("l".repeat(LEFT), "x".repeat(LEFT + 100));
        let ours = format!("__Host-access={larger}; small=1; a={larger}");
        let lines = forgotten(&[&ours, &format!("__Secure-b={large}")], "www.example.test", true);
        let of = |name: &str| {
            let end = "=0; Path=/; Max-Age=0; Secure";
            let wide = |domain: &str| format!("{name}{end}; Domain={domain}");
            [format!("{name}{end}"), wide("www.example.test"), wide("example.test")]
        };
        assert_eq!(lines, [of("a"), of("__Secure-b")].concat());
        let lines = forgotten(&[&format!("__host-c={larger}; {larger}")], "hello.localhost", false);
        let bound = "__host-c=0; Path=/; Max-Age=0";
        let nameless = ["=0; Path=/; Max-Age=0", "=0; Path=/; Max-Age=0; Domain=hello.localhost"];
        assert_eq!(lines, [&[bound][..], &nameless].concat());
    }

    #[test]
    fn a_cookie_of_a_path_above_is_forgotten_there_too() {
        // S9, H15
        let all = |path: &'static str| paths(path).collect::<Vec<_>>();
        assert_eq!(all("/"), ["/"]);
        assert_eq!(all("*"), ["/"]);
        assert_eq!(all("/.access/login"), ["/", "/.access", "/.access/", "/.access/login"]);
        assert_eq!(all("/a/"), ["/", "/a", "/a/"]);
        assert_eq!(all("//a"), ["/", "//", "//a"]);
        assert_eq!(all("/a;Domain=test/b"), ["/"]);
        let (large, larger) = ("l".repeat(LEFT), "x".repeat(LEFT + 100));
        let lines = forgotten_at("/.access/login", &[&format!("a={larger}; __Host-b={large}")], "a.test", true);
        let at = |path: &str| {
            let line = format!("a=0; Path={path}; Max-Age=0; Secure");
            [line.clone(), format!("{line}; Domain=a.test")]
        };
        let everywhere = ["/", "/.access", "/.access/", "/.access/login"].map(at).concat();
        assert_eq!(lines, [&everywhere[..], &["__Host-b=0; Path=/; Max-Age=0; Secure".to_owned()]].concat());
        let long = format!("/{}", "a/".repeat(500));
        let lines = forgotten_at(&long, &[&format!("a={larger}")], "a.test", true);
        assert_eq!(lines.len(), PATHS_MAX * 2);
    }

    #[test]
    fn whoever_has_few_cookies_loses_none_and_of_very_many_no_more_is_said_than_fits() {
        // S9
        let few = format!("a={}; __Host-access={}", "x".repeat(LEFT - 2), "y".repeat(LEFT));
        assert!(forgotten(&[&few, "", ";;"], "www.example.test", true).is_empty());
        let many: Vec<String> = (0..5_000).map(|n| format!("c{n}={n}")).collect();
        let lines = forgotten(&[&many.join("; ")], "www.example.test", true);
        let said: usize = lines.iter().map(String::len).sum();
        assert!(said > SAID_MAX / 2 && said <= SAID_MAX, "{said}");
    }
}
