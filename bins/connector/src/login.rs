//! `connector login`: this machine asks, an administrator approves in a browser, and the certificate comes back.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::time::sleep;
use tunnel_origin::{EdgeAddress, enrol::EnrolClient, pem};
use tunnel_proto::{
    Hostname, UnixTime,
    enrol::{EnrolAnswer, EnrolRequest, Operator},
    identity::KeyAndCsr,
};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::{
    AGENT,
    cli::{EdgeArgs, LoginArgs},
    edges,
    failure::Failure,
    files, now, operator,
    paths::Paths,
    platform,
};

pub(crate) async fn login(args: LoginArgs, edge_args: &EdgeArgs) -> Result<(), Failure> {
    let paths = Paths::new(edge_args)?;
    refuse_to_overwrite(&paths)?;
    let local = match paths.local_edge()? {
        Some(local) => local.info().await.ok(),
        None => None,
    };
    let named = edge_args.edge.as_deref().or_else(|| local.as_ref().map(|info| info.edge.as_str()));
    let named = named.ok_or_else(|| {
        Failure::usage(
            "name the edge to log in to: `connector login --edge https://access.ZONE`, with the zone's own name",
        )
    })?;
    let edge = EdgeAddress::parse(named, None).map_err(|error| Failure::usage(format!("--edge: {error}")))?;
    let trust = edges::trust(edge_args, &edge, local.as_ref())?;
    let shown = edge.url();
    let client = EnrolClient::new(edge.clone(), &trust).map_err(|error| edges::enrol_failure(error, &shown))?;
    files::private_dir(paths.config())?;
    let key = KeyAndCsr::generate().map_err(Failure::failed)?;
    let request = EnrolRequest::Login {
        machine: platform::machine_name(),
        software: format!("{AGENT}, {} {}", std::env::consts::OS, std::env::consts::ARCH),
        hostnames: args.hostname,
        csr: key.csr_pem,
    };
    let answer = client.ask(&request).await.map_err(|error| edges::enrol_failure(error, &shown))?;
    let EnrolAnswer::Started { url, code, secret, expires, interval } = answer else {
        return Err(unexpected(answer, &shown));
    };
    announce(&url, &code, edge.name());
    if !args.no_browser && platform::has_display() && may_open(&url, edge.name()) {
        open(&url);
    }
    let interval = Duration::from_secs(u64::from(interval.clamp(1, 30)));
    let approved = wait(&client, secret, expires, interval, &shown).await?;
    keep(&paths, &edge, &approved, key.key_pem)?;
    let hostnames: Vec<_> = approved.hostnames.iter().map(ToString::to_string).collect();
    eprintln!("This machine may now publish {} through {shown}.", listed(&hostnames));
    eprintln!("Its credentials are in {}.", paths.config().display());
    let example = hostnames.first().filter(|name| !name.contains('*')).map_or("HOST", String::as_str);
    eprintln!("Next: connector --hostname {example} --url http://localhost:3000");
    Ok(())
}

fn refuse_to_overwrite(paths: &Paths) -> Result<(), Failure> {
    let there = [paths.operator_certificate(), paths.operator_key()].into_iter().find(|path| path.exists());
    there.map_or(Ok(()), |path| {
        Err(Failure::failed(format!(
            "`{}` is there already: this machine has logged in before. Move cert.pem and key.pem away to log in anew, or \
             give another --config-dir",
            path.display()
        )))
    })
}

fn unexpected(answer: EnrolAnswer, edge: &str) -> Failure {
    match answer {
        EnrolAnswer::Refused { reason } => Failure::refused(reason),
        _ => Failure::failed(format!("the edge at {edge} answered something else than was asked")),
    }
}

/// The terminal shows text of the edge: nothing in it may move the cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn announce(url: &str, code: &str, login_host: &Hostname) {
    eprintln!(
        "An administrator of {login_host} lets this machine publish. Open\n\n    {}\n\nand check that the page shows the \
         code\n\n    {}\n",
        plain(url),
        plain(code)
    );
}

/// Only a page of the login host that this program has verified, over HTTPS or on this machine.
fn may_open(url: &str, login_host: &Hostname) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = matches!(url.host(), Some(Host::Domain(host)) if host == login_host.as_str());
    let local = login_host.as_str().ends_with(".localhost");
    host && (url.scheme() == "https" || (url.scheme() == "http" && local))
}

fn open(url: &str) {
    let url = url.to_owned();
    // A thread of its own: a browser may take its time, and nothing waits for it.
    std::thread::spawn(move || {
        let mut options = webbrowser::BrowserOptions::new();
        options.with_suppress_output(true);
        if let Err(error) = webbrowser::open_browser_with_options(webbrowser::Browser::Default, &url, &options) {
            tracing::debug!(%error, "no browser was opened");
        }
    });
}

async fn wait(
    client: &EnrolClient,
    secret: String,
    expires: UnixTime,
    interval: Duration,
    edge: &str,
) -> Result<Operator, Failure> {
    let terminal = stderr().is_terminal();
    let left = |now: UnixTime| expires.since(now).as_secs();
    if !terminal {
        eprintln!("Waiting for the approval, for {} s.", left(now()));
    }
    let poll = EnrolRequest::Poll { secret };
    loop {
        if terminal {
            eprint!("\rWaiting for the approval: {}:{:02} left ", left(now()) / 60, left(now()) % 60);
            stderr().flush().ok();
        }
        sleep(interval).await;
        let answer = client.ask(&poll).await;
        if terminal {
            eprint!("\r\x1b[K");
        }
        match answer {
            Ok(EnrolAnswer::Approved(operator)) => return Ok(operator),
            Ok(EnrolAnswer::Pending) => {}
            Ok(other) => return Err(unexpected(other, edge)),
            // The network may have a bad moment; the login lives on at the edge.
            Err(error) if error.is_retryable() => tracing::debug!(%error, "asking again"),
            Err(error) => return Err(edges::enrol_failure(error, edge)),
        }
        if left(now()) == 0 {
            return Err(Failure::refused("nobody approved in time: run `connector login` again"));
        }
    }
}

fn keep(paths: &Paths, edge: &EdgeAddress, approved: &Operator, key: Zeroizing<String>) -> Result<(), Failure> {
    let strange =
        |reason: String| Failure::failed(format!("the edge answered with a certificate that cannot be used: {reason}"));
    let certificates = format!("{}\n{}\n", approved.certificate.trim_end(), approved.ca.trim_end());
    pem::with_key(approved.zone.clone(), &certificates, key.clone()).map_err(strange)?;
    let about =
        operator::About { zone: approved.zone.clone(), edge: edge.url(), hostnames: approved.hostnames.clone() };
    let about = serde_json::to_string_pretty(&about).map_err(Failure::failed)?;
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot store the credentials: {error}"));
    let (certificate_path, key_path) = (paths.operator_certificate(), paths.operator_key());
    // The keys first: of two logins at once, the one that comes too late changes nothing.
    files::create_all(&[(&key_path, key.as_bytes()), (&certificate_path, certificates.as_bytes())]).map_err(cannot)?;
    files::replace(&paths.operator_about(), format!("{about}\n").as_bytes()).map_err(cannot)
}

fn listed(hostnames: &[String]) -> String {
    match hostnames {
        [] => "nothing yet (no hostname was approved)".to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // C4
    #[test]
    fn only_pages_of_the_verified_login_host_are_opened() {
        let host = Hostname::parse("access.example.com").unwrap();
        assert!(may_open("https://access.example.com/.access/enroll?id=x", &host));
        for url in [
            "http://access.example.com/",
            "https://access.example.com.evil.example/",
            "https://evil.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "--help",
            "$(reboot)",
            "",
        ] {
            assert!(!may_open(url, &host), "{url}");
        }
        assert!(may_open("http://access.localhost:8080/x", &Hostname::parse("access.localhost").unwrap()));
    }

    #[test]
    fn the_edges_text_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2J\r\nb"), "a[2Jb");
    }
}
