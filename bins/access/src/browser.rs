//! Showing a person where to log in, and opening it in a browser.

use std::ffi::OsStr;

use tunnel_client::{Prompt, plain};
use url::{Host, Url};

use crate::platform;

/// Whether a browser on this machine could be opened for the person at this terminal.
pub(crate) fn is_here() -> bool {
    let named = std::env::var_os("BROWSER").is_some_and(|value| !value.is_empty());
    (platform::has_display() || named) && SEARCHED.into_iter().all(|name| is_fixed(std::env::var_os(name).as_deref()))
}

/// The variables that lead to a browser.
const SEARCHED: [&str; 2] = ["PATH", "XDG_DATA_DIRS"];

/// Whether a list of directories leads to the same places wherever it is read. In an empty or relative one, which is the
/// current directory or below it, somebody else may have left a browser.
fn is_fixed(list: Option<&OsStr>) -> bool {
    list.is_none_or(|list| list.is_empty() || std::env::split_paths(list).all(|place| place.is_absolute()))
}

/// Shows where to log in; opens it, if the browser has to be here.
pub(crate) fn show(prompt: &Prompt) {
    let (url, code) = (plain(&prompt.url), plain(&prompt.code));
    eprintln!(
        "Log in to `{}` ({}). Open\n\n    {url}\n\nand check that the page of {} shows the code\n\n    {code}\n",
        plain(prompt.app.as_str()),
        prompt.host,
        prompt.login_host
    );
    if prompt.here && may_open(&prompt.url, prompt.login_host.as_str()) {
        open(&prompt.url);
    }
}

/// Only a page of the login host that was verified, over HTTPS or on this machine.
fn may_open(url: &str, login_host: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = matches!(url.host(), Some(Host::Domain(host)) if host == login_host);
    let local = login_host.ends_with(".localhost");
    host && (url.scheme() == "https" || (url.scheme() == "http" && local))
}

fn open(url: &str) {
    let url = url.to_owned();
    // A thread of its own: a browser may take its time, and nothing waits for it. No shell reads the address.
    std::thread::spawn(move || {
        let mut options = webbrowser::BrowserOptions::new();
        options.with_suppress_output(true);
        if let Err(error) = webbrowser::open_browser_with_options(webbrowser::Browser::Default, &url, &options) {
            tracing::debug!(%error, "no browser was opened");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    // C4
    #[test]
    fn a_browser_is_looked_for_at_fixed_places_only() {
        let separator = if cfg!(windows) { ';' } else { ':' };
        let list = |places: &[&str]| OsString::from(places.join(&separator.to_string()));
        let (one, other) = if cfg!(windows) { (r"C:\bin", r"D:\bin") } else { ("/bin", "/usr/bin") };
        assert!(is_fixed(None) && is_fixed(Some(&list(&[one, other]))) && is_fixed(Some(OsStr::new(""))));
        for places in [&["", one][..], &[one, ""], &[one, "", other], &[".", one], &[one, "bin"]] {
            assert!(!is_fixed(Some(&list(places))), "{places:?}");
        }
    }

    // C4
    #[test]
    fn only_pages_of_the_verified_login_host_are_opened() {
        assert!(may_open("https://access.example.com/.access/cli?app=x", "access.example.com"));
        assert!(may_open("http://access.localhost:8080/x", "access.localhost"));
        for url in [
            "http://access.example.com/",
            "https://access.example.com.evil.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "--help",
            "$(reboot)",
            "",
        ] {
            assert!(!may_open(url, "access.example.com"), "{url}");
        }
    }
}
