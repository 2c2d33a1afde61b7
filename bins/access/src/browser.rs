//! Showing a person where to log in, and opening it in a browser.

use tunnel_client::{Prompt, plain};
use url::{Host, Url};

use crate::{platform, screen::Screen};

/// Whether a browser on this machine could be opened for the person at this terminal.
pub(crate) fn is_here() -> bool {
    platform::has_display() || std::env::var_os("BROWSER").is_some_and(|value| !value.is_empty())
}

/// Shows where to log in; opens it, if the browser has to be here.
pub(crate) fn show(screen: &Screen, prompt: &Prompt) {
    let (url, code) = (plain(&prompt.url), plain(&prompt.code));
    let (app, host, login_host) = (plain(prompt.app.as_str()), &prompt.host, &prompt.login_host);
    let what = match prompt.here {
        true => format!("and check that the page of {login_host} shows the code"),
        false => format!("on any device, and type there, at {login_host}, the code"),
    };
    screen.say(&format!("Log in to `{app}` ({host}). Open\n\n    {url}\n\n{what}\n\n    {code}\n"));
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
    use super::*;

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
