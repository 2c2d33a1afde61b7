//! `access curl`: curl with the login of an application, for this application and for nothing else.

mod options;

use std::{
    ffi::OsStr,
    process::{ExitCode, Stdio},
};

use tokio::{io::AsyncWriteExt, process::Command};
use tunnel_client::AppHost;
use url::Url;
use zeroize::Zeroizing;

use crate::{cli::CurlArgs, failure::Failure, platform, settings::Settings};

/// Who gets the login: not whatever has this name in the current directory.
const PROGRAM: &str = "curl";
/// Before everything else: no file of options, and no pattern in the address.
const AT_FIRST: [&str; 2] = ["-q", "-g"];
/// What curl reads its secret from, so that nobody sees it in its arguments. Before what else it reads.
const FROM_INPUT: [&str; 2] = ["--header", "@-"];
/// After everything else: what is followed to another host would take the login there.
const AT_LAST: [&str; 4] = ["--max-redirs", "0", "--proto", "=https"];
/// A variable that leads curl to a file of options.
const CURL_HOME: &str = "CURL_HOME";
/// What the names of our own variables begin with; a secret may be among them.
const OUR_VARIABLES: &str = "TUNNEL_";

/// What was asked for: one page of one host, and how.
struct Asked {
    host: AppHost,
    url: Url,
    options: Vec<String>,
}

pub(crate) async fn curl(settings: &Settings, args: CurlArgs) -> Result<ExitCode, Failure> {
    let Asked { host, mut url, options } = understand(&args.words)?;
    let program = platform::find(PROGRAM).ok_or_else(|| {
        Failure::failed("there is no curl in the directories of PATH that are named from the root; install it")
    })?;
    let service_token = settings.service_token()?;
    let (client, hosts) = settings.client(&format!("access curl {host}"), vec![host]).await?;
    let host = hosts.into_iter().next().ok_or_else(|| Failure::failed("there is no host"))?;
    // The edge on this machine may be at a port that was not written.
    url.set_port(host.port()).ok();
    let secret = match service_token {
        Some((id, secret)) => {
            // Nothing is sent before it is known whose host this is.
            client.settle(&host).await?;
            let lines = Zeroizing::new(format!("Cf-Access-Client-Id: {id}\nCf-Access-Client-Secret: {}\n", *secret));
            if lines.lines().count() != 2 || lines.contains('\r') {
                return Err(Failure::usage("the service token has several lines: an id and a secret have one each"));
            }
            lines
        }
        None => {
            let login = client.login_for_now(&host).await?;
            Zeroizing::new(format!("Cf-Access-Token: {}\n", login.token.reveal()))
        }
    };
    let mut command = Command::new(program);
    command.args(AT_FIRST).args(FROM_INPUT).args(options);
    if let Some(ca) = settings.edge_ca() {
        command.arg("--cacert").arg(ca);
    }
    if let Some(edge) = settings.edge()? {
        // Where the host was asked for, too.
        command.arg("--connect-to").arg(format!("::{}", edge.target()));
    }
    command.args(AT_LAST).arg("--url").arg(url.as_str()).stdin(Stdio::piped());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_kept_back(name)) {
        command.env_remove(name);
    }
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot run curl: {error}"));
    let mut child = command.spawn().map_err(cannot)?;
    if let Some(mut input) = child.stdin.take() {
        // curl may have ended already, and says why.
        input.write_all(secret.as_bytes()).await.ok();
        input.shutdown().await.ok();
    }
    let status = child.wait().await.map_err(cannot)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Whether a variable is not for curl.
fn is_kept_back(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    name == CURL_HOME || name.starts_with(OUR_VARIABLES)
}

fn understand(words: &[String]) -> Result<Asked, Failure> {
    let Some((page, rest)) = words.split_first().filter(|(first, _)| first.starts_with("https://")) else {
        return Err(Failure::usage(
            "write the page first: `access curl https://HOST/PATH`, then what curl is to be told",
        ));
    };
    let url = read_page(page).ok_or_else(|| {
        Failure::usage(format!("`{}` is not the address of a page: write https://HOST/PATH", page.escape_debug()))
    })?;
    let host: AppHost = url.as_str().parse()?;
    Ok(Asked { host, url, options: options::read(rest).map_err(Failure::usage)? })
}

/// Reads an address that every program reads alike. What is returned, and not what was written, is for curl.
fn read_page(text: &str) -> Option<Url> {
    if text.chars().any(|c| c == '\\' || c.is_control() || c.is_whitespace()) {
        return None;
    }
    let authority = text.strip_prefix("https://")?.split(['/', '?', '#']).next()?;
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    // It would not be sent, and what curl adds to the query belongs before it.
    url.set_fragment(None);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    // C3
    #[test]
    fn the_login_goes_to_its_own_host_alone() {
        for (good, url) in [
            ("https://a.example.com/x", "https://a.example.com/x"),
            ("https://a.example.com -X POST -d x=1", "https://a.example.com/"),
            ("https://A.example.com:443/a/../b?c#d", "https://a.example.com/b?c"),
            ("https://a.example.com:8443/{a,b}[1-9]", "https://a.example.com:8443/%7Ba,b%7D[1-9]"),
            ("https://a.example.com?x=@evil.example", "https://a.example.com/?x=@evil.example"),
        ] {
            assert_eq!(understand(&words(good)).unwrap().url.as_str(), url, "{good}");
        }
        for bad in [
            "",
            "-v https://a.example.com",
            "http://a.example.com",
            "HTTPS:a.example.com",
            "https:///a.example.com",
            "https://a.example.com https://evil.example/",
            "https://a.example.com https://a.example.com/y",
            "https://a.example.com evil.example",
            "https://a.example.com -K /tmp/x",
            "https://a.example.com -d @-",
            "https://a.example.com --next",
            "https://a.example.com --connect-to ::evil.example:443",
            "https://a.example.com\\@evil.example/",
            "https://a.example.com\\.evil.example/",
            "https://evil.example\\@a.example.com/",
            "https://ann@a.example.com/",
            "https://ann:x@a.example.com/",
            "https://@a.example.com/",
            "https://a.example.com/\t",
            "https://a.example.com/\r\nHost:evil.example",
            "https://evil\u{a0}.example/",
            "https://{a.example.com,evil.example}/",
            "https://192.0.2.1/",
        ] {
            assert_eq!(understand(&words(bad)).map(drop).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn our_own_variables_are_not_for_curl() {
        for name in ["TUNNEL_SERVICE_TOKEN_SECRET", "TUNNEL_EDGE", "CURL_HOME", "tunnel_x"] {
            assert!(is_kept_back(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HTTPS_PROXY", "HOME"] {
            assert!(!is_kept_back(OsStr::new(name)), "{name}");
        }
    }
}
