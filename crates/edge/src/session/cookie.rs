//! Our cookies: how they are found among others, set and cleared.

use http::{HeaderMap, HeaderValue, header};
use tunnel_auth::{LoginId, SessionId};
use tunnel_policy::SameSite;

use crate::Lang;

/// The session cookie: a person's login at the login host, or its session at an application's host.
pub const SESSION_COOKIE: &str = "__Host-access";
/// The login cookie: ties the steps of one login to one browser.
pub const LOGIN_COOKIE: &str = "__Host-access-login";
/// The cookie of a browser that was logged out at the login host, for a while: a page with only one way to log in is not
/// passed over then.
pub const OUT_COOKIE: &str = "__Host-access-out";
/// How long that is remembered, in seconds.
pub(crate) const OUT_LIFE: u64 = 10 * 60;
/// The language that was chosen by a link of a page at this host. No secret: one of a closed list.
pub const LANGUAGE_COOKIE: &str = "__Host-access-language";
/// The cookie that says whose the last session at this host was, sealed: for a form that arrives when it has ended.
pub const WRITER_COOKIE: &str = "__Host-access-writer";
/// Every cookie of ours. None goes on to an origin, and no origin sets one.
const OURS: [&str; 5] = [SESSION_COOKIE, LOGIN_COOKIE, OUT_COOKIE, LANGUAGE_COOKIE, WRITER_COOKIE];
/// How long a language is remembered, in seconds: a year.
pub(crate) const LANGUAGE_LIFE: u64 = 365 * 24 * 3600;
/// How long a login may take from its first step, in seconds.
pub const LOGIN_LIFE: u64 = 40 * 60;

/// Cookies of one name that are looked at; more are a sign of tossing (S2, S9).
const COOKIES_MAX: usize = 4;
/// The longest value that is looked at.
const VALUE_MAX: usize = 4096;

/// Whether a cookie is one of ours, by its name in any case.
pub(crate) fn is_ours(name: &[u8]) -> bool {
    OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

/// The values of our cookie `name` in the `Cookie` headers, in order. None when there are more than four or one is longer
/// than 4 KiB: no browser that is treated well sends that.
pub fn values<'a>(cookies: impl IntoIterator<Item = &'a HeaderValue>, name: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for pair in cookies.into_iter().flat_map(|value| value.as_bytes().split(|b| *b == b';')) {
        let pair = pair.trim_ascii();
        let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
            continue;
        };
        match std::str::from_utf8(value) {
            Ok(value) if value.len() <= VALUE_MAX && found.len() < COOKIES_MAX => found.push(value),
            _ => return Vec::new(),
        }
    }
    found
}

/// The sessions that the request names.
pub(crate) fn sessions<'a>(cookies: impl IntoIterator<Item = &'a HeaderValue>) -> Vec<SessionId> {
    values(cookies, SESSION_COOKIE).into_iter().filter_map(SessionId::parse).collect()
}

/// The logins that the request's browser is in.
pub(crate) fn logins(headers: &HeaderMap) -> Vec<LoginId> {
    values(headers.get_all(header::COOKIE), LOGIN_COOKIE).into_iter().filter_map(LoginId::parse).collect()
}

/// The language that the request's browser chose.
pub(crate) fn language(headers: &HeaderMap) -> Option<Lang> {
    values(headers.get_all(header::COOKIE), LANGUAGE_COOKIE).into_iter().find_map(Lang::of_tag)
}

/// Adds a cookie to an answer. A value that cannot stand in a header is an invariant broken: ours are base64url.
pub(crate) fn set(headers: &mut HeaderMap, name: &str, value: &str, life: u64) {
    write(headers, name, value, life, SameSite::Lax);
}

/// Adds the cookie of a session at an application's host. Without HTTPS it goes with no request that another site has a browser
/// make but for a followed link, whatever is said.
pub(crate) fn set_session(headers: &mut HeaderMap, value: &str, life: u64, same_site: SameSite, https: bool) {
    let same_site = if https { same_site } else { same_site.min(SameSite::Lax) };
    write(headers, SESSION_COOKIE, value, life, same_site);
}

fn write(headers: &mut HeaderMap, name: &str, value: &str, life: u64, same_site: SameSite) {
    let same_site = match same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    let line = format!("{name}={value}; Path=/; Max-Age={life}; Secure; HttpOnly; SameSite={same_site}");
    if let Ok(mut line) = HeaderValue::try_from(line) {
        line.set_sensitive(true);
        headers.append(header::SET_COOKIE, line);
    }
}

/// Clears session and login.
pub(crate) fn clear(headers: &mut HeaderMap) {
    set(headers, SESSION_COOKIE, "", 0);
    set(headers, LOGIN_COOKIE, "", 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(headers: &[&str]) -> Vec<String> {
        let headers: Vec<HeaderValue> = headers.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
        values(&headers, SESSION_COOKIE).into_iter().map(str::to_owned).collect()
    }

    // S2, S9
    #[test]
    fn only_cookies_of_exactly_our_name_are_found() {
        assert_eq!(found(&["a=1; __Host-access=x; b=2"]), ["x"]);
        assert_eq!(found(&["__Host-access=x;__Host-access=y", "__Host-access=z"]), ["x", "y", "z"]);
        assert_eq!(found(&["__Host-access=a=b"]), ["a=b"]);
        for other in [
            "__host-access=x",
            "__Host-access",
            "__Host-access =x",
            "__Host-access-login=x",
            "x__Host-access=x",
            "a=__Host-access=x",
            "=__Host-access=x",
            "",
            ";;;",
        ] {
            assert!(found(&[other]).is_empty(), "{other}");
        }
        assert_eq!(found(&["__Host-access=1; __Host-access=2; __Host-access=3; __Host-access=4"]).len(), 4);
        assert!(
            found(&["__Host-access=1; __Host-access=2; __Host-access=3; __Host-access=4; __Host-access=5"]).is_empty()
        );
        assert!(found(&[&format!("__Host-access={}", "x".repeat(VALUE_MAX + 1))]).is_empty());
    }

    // S4
    #[test]
    fn a_cookie_is_for_this_host_over_a_secure_channel_and_no_script() {
        let mut headers = HeaderMap::new();
        set(&mut headers, SESSION_COOKIE, "v", 60);
        let line = headers[header::SET_COOKIE].to_str().unwrap();
        assert_eq!(line, "__Host-access=v; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax");
    }

    // S4
    #[test]
    fn other_sites_have_the_cookie_of_a_session_sent_as_is_said_and_without_https_never_more_than_by_a_link() {
        for (same_site, https, expected) in [
            (SameSite::Strict, true, "Strict"),
            (SameSite::Lax, true, "Lax"),
            (SameSite::None, true, "None"),
            (SameSite::Strict, false, "Strict"),
            (SameSite::Lax, false, "Lax"),
            (SameSite::None, false, "Lax"),
        ] {
            let mut headers = HeaderMap::new();
            set_session(&mut headers, "v", 60, same_site, https);
            let line = headers[header::SET_COOKIE].to_str().unwrap();
            let expected = format!("__Host-access=v; Path=/; Max-Age=60; Secure; HttpOnly; SameSite={expected}");
            assert_eq!(line, expected, "{same_site:?} {https}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                prop_assert!(values([&value], SESSION_COOKIE).len() <= COOKIES_MAX);
            }
        }
    }
}
