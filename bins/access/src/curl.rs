//! `access curl`: curl with the login of an application, for this application and for nothing else.

use std::process::{ExitCode, Stdio};

use tokio::{io::AsyncWriteExt, process::Command};
use tunnel_client::AppHost;
use url::Url;
use zeroize::Zeroizing;

use crate::{cli::CurlArgs, failure::Failure, settings::Settings};

/// What curl reads its secret from, so that nobody sees it in its arguments.
const FROM_INPUT: [&str; 2] = ["--header", "@-"];
/// After everything else: what is followed to another host would take the login there.
const AT_LAST: [&str; 4] = ["--max-redirs", "0", "--proto", "=https"];
/// What would send the login elsewhere, or takes the input that the login comes by.
const REFUSED: [&str; 9] =
    ["-K", "--config", "--next", "-:", "@-", "--location-trusted", "--connect-to", "--resolve", "--proto-default"];

pub(crate) async fn curl(settings: &Settings, args: CurlArgs) -> Result<ExitCode, Failure> {
    let (host, words) = understand(&args.words)?;
    let secret = match settings.service_token()? {
        Some((id, secret)) => {
            Zeroizing::new(format!("Cf-Access-Client-Id: {id}\nCf-Access-Client-Secret: {}\n", *secret))
        }
        None => {
            let (client, hosts) = settings.client(&format!("access curl {host}"), vec![host]).await?;
            let host = hosts.into_iter().next().ok_or_else(|| Failure::failed("there is no host"))?;
            let login = client.login(&host).await?.login;
            let login = login.ok_or_else(|| Failure::refused(format!("there is no login for `{host}`")))?;
            Zeroizing::new(format!("Cf-Access-Token: {}\n", login.token.reveal()))
        }
    };
    let mut command = Command::new("curl");
    command.args(FROM_INPUT).args(words);
    if let Some(ca) = settings.edge_ca() {
        command.arg("--cacert").arg(ca);
    }
    command.args(AT_LAST).stdin(Stdio::piped());
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

/// The host that the words are about, all of them, and the words.
fn understand(words: &[String]) -> Result<(AppHost, &[String]), Failure> {
    let first = words.first().filter(|first| first.starts_with("https://"));
    let first = first.ok_or_else(|| {
        Failure::usage("write the page first: `access curl https://HOST/PATH`, then what curl is to be told")
    })?;
    let host: AppHost = first.parse()?;
    for word in words.iter().skip(1) {
        let option = word.split('=').next().unwrap_or_default();
        if REFUSED.contains(&option) || word.ends_with("@-") || (option.starts_with("-K") && !option.starts_with("--"))
        {
            return Err(Failure::usage(format!("`{word}` cannot be used here: it could send the login elsewhere")));
        }
        if let Ok(url) = Url::parse(word)
            && url.has_host()
            && url.host_str() != Some(host.hostname().as_str())
        {
            return Err(Failure::usage(format!("`{word}` is another host: the login is for `{host}` alone")));
        }
    }
    Ok((host, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    // C3
    #[test]
    fn the_login_goes_to_its_own_host_alone() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for good in [
            "https://a.example.com/x",
            "https://a.example.com/ -X POST -d x=1",
            "https://a.example.com https://a.example.com/y",
        ] {
            assert!(understand(&words(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-v https://a.example.com",
            "http://a.example.com",
            "https://a.example.com https://evil.example/",
            "https://a.example.com -K /tmp/x",
            "https://a.example.com -d @-",
            "https://a.example.com --next",
            "https://a.example.com --connect-to ::evil.example:443",
        ] {
            assert_eq!(understand(&words(bad)).map(drop).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
