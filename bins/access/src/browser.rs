//! Showing a person where to log in, and opening it in a browser.

use std::{ffi::OsStr, time::Duration};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};
use tunnel_client::{Event, Prompt, plain};
use tunnel_proto::Hostname;
use url::{Host, Url};

use crate::{platform, screen::Screen};

/// How long a login is waited for in silence.
const SILENCE: Duration = Duration::from_secs(20);
const REMINDER: &str =
    "access: waiting for the login in the browser; if it says that you are not admitted, press Ctrl+C";

/// Whether a browser on this machine could be opened for the person at this terminal.
pub(crate) fn is_here() -> bool {
    could_be() && misleading().is_none()
}

fn could_be() -> bool {
    platform::has_display() || std::env::var_os("BROWSER").is_some_and(|value| !value.is_empty())
}

/// The variable that would have a browser looked for in the current directory.
fn misleading() -> Option<&'static str> {
    SEARCHED.into_iter().find(|name| !is_fixed(std::env::var_os(name).as_deref()))
}

/// The variables that lead to a browser.
const SEARCHED: [&str; 2] = ["PATH", "XDG_DATA_DIRS"];

/// Whether a list of directories leads to the same places wherever it is read. In an empty or relative one, which is the
/// current directory or below it, somebody else may have left a browser.
fn is_fixed(list: Option<&OsStr>) -> bool {
    list.is_none_or(|list| std::env::split_paths(list).all(|place| place.is_absolute()))
}

/// Shows where to log in; opens it, if the browser has to be here. `wanted` says whether one was to be opened if possible.
pub(crate) fn show(screen: &Screen, prompt: &Prompt, wanted: bool) {
    let (url, code) = (plain(&prompt.url), plain(&prompt.code));
    let (app, host, login_host) = (plain(prompt.app.as_str()), &prompt.host, &prompt.login_host);
    let what = match prompt.here {
        true => format!("and check that the page of {login_host} shows the code"),
        false => format!("on any device, and type there, at {login_host}, the code"),
    };
    if let Some(name) = misleading().filter(|_| wanted && !prompt.here && could_be()) {
        screen.say(&format!(
            "access: no browser is opened, because {name} would have one looked for in the current directory"
        ));
    }
    screen.say(&format!("Log in to `{app}` ({host}). Open\n\n    {url}\n\n{what}\n\n    {code}\n"));
    if prompt.here && may_open(&prompt.url, prompt.login_host.as_str()) {
        open(&prompt.url);
    }
}

/// Says once, when a login takes its time, what to do if nothing will come of it: a browser that was turned away does not come
/// back. Ends with the client whose events these are.
pub(crate) async fn remind(events: Receiver<Event>, say: impl Fn(&str)) {
    let login = |event: Event| match event {
        Event::LoginNeeded(prompt) => Some((prompt.host, true)),
        Event::LoggedIn { host, .. } | Event::LoginFailed { host, .. } => Some((host, false)),
        _ => None,
    };
    remind_after(SILENCE, events, login, say).await;
}

/// The same; `login` says of which host something is, and whether a login to it is waited for from then on.
async fn remind_after<E: Clone>(
    after: Duration,
    mut events: Receiver<E>,
    login: impl Fn(E) -> Option<(Hostname, bool)>,
    say: impl Fn(&str),
) {
    // The host whose login is waited for, and until when in silence.
    let mut waiting: Option<(Hostname, Instant)> = None;
    loop {
        let silence = async {
            match &waiting {
                Some((_, until)) => sleep_until(*until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => match login(event) {
                    Some((host, true)) => waiting = Some((host, Instant::now() + after)),
                    Some((host, false)) => waiting = waiting.filter(|(other, _)| *other != host),
                    None => {}
                },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = silence => return say(REMINDER),
        }
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
    use std::{
        ffi::OsString,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use tokio::{sync::broadcast, time::timeout};

    use super::*;

    #[tokio::test]
    async fn who_waits_long_for_a_login_is_told_once_what_to_do() {
        const AFTER: Duration = Duration::from_millis(100);
        let read = |(host, waiting): (&str, bool)| Some((host.parse().unwrap(), waiting));
        for (said, events) in [
            (1, &[("a.example.com", true)][..]),
            (
                1,
                &[("a.example.com", true), ("a.example.com", false), ("b.example.com", true), ("a.example.com", false)],
            ),
            (0, &[("a.example.com", true), ("a.example.com", false)]),
            (0, &[]),
        ] {
            let sender = broadcast::Sender::new(10);
            let told = AtomicUsize::new(0);
            let reminding = remind_after(AFTER, sender.subscribe(), read, |text| {
                assert!(text.contains("Ctrl+C"));
                told.fetch_add(1, SeqCst);
            });
            events.iter().for_each(|event| drop(sender.send(*event)));
            timeout(AFTER * 4, reminding).await.ok();
            assert_eq!(told.load(SeqCst), said, "{events:?}");
            let reminding = remind_after(AFTER, sender.subscribe(), read, |_| panic!("nothing is waited for"));
            drop(sender);
            timeout(Duration::from_secs(5), reminding).await.unwrap();
        }
    }

    // C4
    #[test]
    fn a_browser_is_looked_for_at_fixed_places_only() {
        let separator = if cfg!(windows) { ';' } else { ':' };
        let list = |places: &[&str]| OsString::from(places.join(&separator.to_string()));
        let (one, other) = if cfg!(windows) { (r"C:\bin", r"D:\bin") } else { ("/bin", "/usr/bin") };
        assert!(is_fixed(None) && is_fixed(Some(&list(&[one, other]))));
        assert!(!is_fixed(Some(OsStr::new(""))), "one place, which is the current directory");
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
