//! `access ssh-config`: the lines for `~/.ssh/config` that lead `ssh HOST` through the edge.

use std::path::{Path, PathBuf, absolute};

use clap::ValueEnum;
use tunnel_client::AppHost;

use crate::{
    cli::{CommonArgs, Level},
    failure::Failure,
    print::print,
};

/// Prints the lines. What was said to this command about the edge, the logins and the service token is said in them, too;
/// secrets are not.
pub(crate) fn ssh_config(common: &CommonArgs, host: &AppHost) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(format!("where am I? {error}")))?;
    if common.service_token_secret.is_some() {
        return Err(Failure::usage(
            "--service-token-secret is not written into a configuration that others may read: give \
             --service-token-secret-file",
        ));
    }
    if common.service_token_id.is_some() && common.service_token_secret_file.is_none() {
        eprintln!("access: ssh will find the service token's secret only where TUNNEL_SERVICE_TOKEN_SECRET is set");
    }
    print(&block(&program, common, host)?)
}

fn block(program: &Path, common: &CommonArgs, host: &AppHost) -> Result<String, Failure> {
    let mut command = vec![written(path(program)?)?, "ssh".to_owned(), "--hostname".to_owned(), host.to_string()];
    for (flag, value) in context(common)? {
        command.push(flag.to_owned());
        command.extend(value.map(written).transpose()?);
    }
    Ok(format!("Host {}\n  ProxyCommand {}", host.hostname(), command.join(" ")))
}

/// The flags that `ssh` must say again, each with its value. Files are named so that it does not matter from where.
fn context(common: &CommonArgs) -> Result<Vec<(&'static str, Option<String>)>, Failure> {
    let file = |path: &Option<PathBuf>| path.as_deref().map(anywhere).transpose();
    let level = common.loglevel.to_possible_value().map(|level| level.get_name().to_owned());
    let values = [
        ("--edge", common.edge.clone()),
        ("--edge-ca", file(&common.edge_ca)?),
        ("--edge-pin", common.edge_pin.as_ref().map(ToString::to_string)),
        ("--data-dir", file(&common.data_dir)?),
        ("--config-dir", file(&common.config_dir)?),
        ("--service-token-id", common.service_token_id.clone()),
        ("--service-token-secret-file", file(&common.service_token_secret_file)?),
        ("--loglevel", level.filter(|_| common.loglevel != Level::Warn)),
    ];
    let mut flags: Vec<_> = values.into_iter().filter(|(_, value)| value.is_some()).collect();
    if common.no_browser {
        flags.push(("--no-browser", None));
    }
    Ok(flags)
}

fn anywhere(relative: &Path) -> Result<String, Failure> {
    let cannot = |error| Failure::failed(format!("`{}`: {error}", relative.display()));
    path(&absolute(relative).map_err(cannot)?)
}

fn path(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| unwritable(&path.display()))
}

fn unwritable(what: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!(
        "`{what}` cannot be written into a configuration of ssh: it has characters that ssh or a shell takes for others"
    ))
}

/// A word of a `ProxyCommand`. `ssh` reads it three times: it looks whether quotes and backslashes of the line are in pairs
/// (`readconf.c`), puts something in the place of each `%`, and hands the rest to a shell.
fn written(word: String) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._:,+=@-".contains(c) || (cfg!(windows) && c == '\\');
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(word);
    }
    if word.chars().any(char::is_control) {
        return Err(unwritable(&word.escape_debug()));
    }
    if cfg!(windows) {
        // A backslash before the last quote would take it away.
        let whole = !word.contains('"') && !word.ends_with('\\');
        return if whole { Ok(format!("\"{}\"", word.replace('%', "%%"))) } else { Err(unwritable(&word)) };
    }
    if word.contains('\\') {
        return Err(unwritable(&word));
    }
    Ok(format!("'{}'", word.replace('\'', r"'\''").replace('%', "%%")))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn printed(words: &[&str]) -> Result<String, Failure> {
        let words = ["access", "ssh-config", "--hostname", "a.example.com:8443"].iter().chain(words);
        block(Path::new("/opt/access"), &Cli::parse_from(words).common, &"a.example.com:8443".parse().unwrap())
    }

    #[test]
    fn what_leads_to_the_edge_is_said_again_and_secrets_are_not() {
        let plain = "Host a.example.com\n  ProxyCommand /opt/access ssh --hostname a.example.com:8443";
        assert_eq!(printed(&[]).unwrap(), plain);
        let pin = format!("sha256:{}", "0a".repeat(32));
        for (words, more) in [
            (&["--edge", "https://access.example.com"][..], "--edge https://access.example.com"),
            (&["--edge-ca", "/etc/ca.pem"], "--edge-ca /etc/ca.pem"),
            (&["--edge-pin", &pin], &format!("--edge-pin {pin}")),
            (&["--data-dir", "/var/lib/tunnel"], "--data-dir /var/lib/tunnel"),
            (&["--config-dir", "/home/a b"], "--config-dir '/home/a b'"),
            (&["--no-browser"], "--no-browser"),
            (
                &["--service-token-id", "x", "--service-token-secret-file", "/s"],
                "--service-token-id x --service-token-secret-file /s",
            ),
            (&["--loglevel", "debug"], "--loglevel debug"),
        ] {
            assert_eq!(printed(words).unwrap(), format!("{plain} {more}"));
        }
        let here = std::env::current_dir().unwrap();
        let relative = printed(&["--edge-ca", "ca.pem"]).unwrap();
        assert!(relative.contains(&*here.join("ca.pem").to_string_lossy()), "{relative}");
    }

    /// Read by a shell after `ssh` has put `%` in the place of `%%`, it is what it was.
    #[test]
    fn every_word_comes_out_of_the_shell_as_it_went_in() {
        for word in
            ["/a b", "it's", "''", "100%h", "$HOME `id` $(id)", "a;b&c|d>e", "\"q\"", "#x", "*?[a]{b}~!", "日本", ""]
        {
            let line = format!("printf %%s {}", written(word.to_owned()).unwrap()).replace("%%", "%");
            let shell = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), word, "{line}");
        }
        for word in ["a\nb", "a\rb", "a\0b", "a\\b", "a\u{1b}[0m"] {
            let refused = written(word.to_owned()).unwrap_err();
            assert_eq!(refused.exit_code(), 1);
            assert!(!refused.to_string().contains(char::is_control), "{refused}");
        }
    }
}
