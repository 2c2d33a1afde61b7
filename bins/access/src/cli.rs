//! The command line.
#![allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links, reason = "what stands here is shown in a terminal")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tunnel_client::{AppHost, Pin};
use tunnel_proto::Destination;

const EXAMPLES: &str = "\
Examples:
  access tcp --hostname db.example.com --url 127.0.0.1:5432
      Open the database behind db.example.com at a local port.
  access rdp --hostname desk.example.com --destination 192.168.1.29:3389 --url 127.0.0.1:3389
      Reach one desktop through a bastion.
  ssh -o ProxyCommand='access ssh --hostname %h' shell.example.com
      Without a local port: standard input and output.
  access forward -f forwards.yaml
      Several local ports at once.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by policy or login.";

/// Opens protected services on this machine, as the person who logs in or with a service token.
#[derive(Debug, Parser)]
#[command(name = "access", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommonArgs {
    /// The edge, where a hostname does not lead to it: https://access.ZONE[:PORT]
    #[arg(long, global = true, value_name = "EDGE", env = "TUNNEL_EDGE")]
    pub(crate) edge: Option<String>,
    /// Trust this CA (PEM file) instead of the web's
    #[arg(long, global = true, value_name = "FILE", env = "TUNNEL_EDGE_CA", conflicts_with = "edge_pin")]
    pub(crate) edge_ca: Option<PathBuf>,
    /// Trust the certificate with this fingerprint (sha256:…)
    #[arg(long, global = true, value_name = "PIN", env = "TUNNEL_EDGE_PIN")]
    pub(crate) edge_pin: Option<Pin>,
    /// The data directory of an edge on this machine, whose CA is trusted [default: $XDG_STATE_HOME/tunnel or ~/.local/state/tunnel]
    #[arg(long, global = true, value_name = "DIR", env = "TUNNEL_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where logins are kept [default: $XDG_CONFIG_HOME/tunnel or ~/.config/tunnel]
    #[arg(long, global = true, value_name = "DIR", env = "TUNNEL_CONFIG_DIR")]
    pub(crate) config_dir: Option<PathBuf>,
    /// Do not open a browser: show an address and a code for a browser anywhere
    #[arg(long, global = true, env = "TUNNEL_NO_BROWSER", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0, default_missing_value = "true", default_value = "false")]
    pub(crate) no_browser: bool,
    /// Log in as a machine: the id of a service token
    #[arg(long, alias = "id", global = true, value_name = "ID", env = "TUNNEL_SERVICE_TOKEN_ID")]
    pub(crate) service_token_id: Option<String>,
    /// The secret of the service token; other users see it here, so better a file or TUNNEL_SERVICE_TOKEN_SECRET
    #[arg(long, alias = "secret", global = true, value_name = "SECRET")]
    pub(crate) service_token_secret: Option<String>,
    /// A file that holds the secret of the service token
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TUNNEL_SERVICE_TOKEN_SECRET_FILE",
        conflicts_with = "service_token_secret"
    )]
    pub(crate) service_token_secret_file: Option<PathBuf>,
    /// The least that is logged
    #[arg(long, alias = "log-level", global = true, env = "TUNNEL_LOGLEVEL", value_enum, default_value_t = Level::Warn)]
    pub(crate) loglevel: Level,
}

#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open a TCP service at a local port, or on standard input and output
    Tcp(OpenArgs),
    /// The same for SSH, for example as ProxyCommand
    Ssh(OpenArgs),
    /// The same for remote desktops
    Rdp(OpenArgs),
    /// The same for file shares
    Smb(OpenArgs),
    /// Open the local ports that a file names
    Forward(ForwardArgs),
    /// Log in to an application
    Login(HostArgs),
    /// Log out of an application
    Logout(HostArgs),
    /// Print the token of a login; never logs in
    Token(TokenArgs),
    /// Run curl with the login of the application at URL
    Curl(CurlArgs),
    /// List what this user may open at the edges that they are logged in to
    List(ListArgs),
    /// Print what belongs into ~/.ssh/config
    SshConfig(SshArgs),
}

/// What is opened.
#[derive(Clone, Debug, Args)]
pub(crate) struct OpenArgs {
    /// The hostname of the application, with the port of its edge where that is not 443
    #[arg(long, alias = "tunnel-host", short_alias = 'T', value_name = "HOST[:PORT]", env = "TUNNEL_SERVICE_HOSTNAME")]
    pub(crate) hostname: AppHost,
    /// The local address to listen at; without it, standard input and output
    #[arg(long, alias = "listener", short_alias = 'L', value_name = "ADDRESS:PORT", env = "TUNNEL_SERVICE_URL")]
    pub(crate) url: Option<String>,
    /// Where to, for a bastion
    #[arg(long, value_name = "HOST:PORT", env = "TUNNEL_SERVICE_DESTINATION")]
    pub(crate) destination: Option<Destination>,
    /// A header field for the request that opens a WebSocket, where nothing else gets through: other users see it here, and
    /// `@FILE` reads such lines from a file
    // Read later: a refusal by the command line's parser would repeat the value.
    #[arg(long, short = 'H', value_name = "NAME: VALUE | @FILE")]
    pub(crate) header: Vec<String>,
    /// Let other machines and users use the port, as you
    #[arg(long, requires = "url")]
    pub(crate) listen_anyone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// The file: `forwards:` with `hostname`, `url` and perhaps `destination` each
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// The application: its hostname or URL
    #[arg(value_name = "URL")]
    pub(crate) url: AppHost,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The application: its hostname or URL
    #[arg(long, value_name = "URL")]
    pub(crate) app: AppHost,
}

#[derive(Debug, Args)]
pub(crate) struct CurlArgs {
    /// The page, then what else curl is to be told
    #[arg(value_name = "URL", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// The hostname of the application
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) hostname: AppHost,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_habits_of_other_programs_are_understood() {
        let words = "access tcp -T db.example.com:8443 -L 127.0.0.1:1 -H X-A:b --header X-C:d --id x --destination rdp://10.0.0.5:22/some/path";
        let cli = Cli::try_parse_from(words.split(' ')).unwrap();
        let Command::Tcp(open) = cli.command else { panic!("tcp") };
        assert_eq!(open.hostname.to_string(), "db.example.com:8443");
        assert_eq!(open.destination.unwrap().to_string(), "10.0.0.5:22");
        assert_eq!(open.header, ["X-A:b", "X-C:d"]);
        assert_eq!((open.url.as_deref(), cli.common.service_token_id.as_deref()), (Some("127.0.0.1:1"), Some("x")));
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        for words in [
            "access",
            "access tcp",
            "access tcp --hostname http://x.example.com",
            "access tcp --hostname x.example.com --destination nowhere",
            "access tcp --hostname x.example.com --listen-anyone",
            "access forward",
            "access curl",
            "access login",
            "access nothing",
        ] {
            assert!(Cli::try_parse_from(words.split(' ')).is_err(), "{words}");
        }
    }
}
