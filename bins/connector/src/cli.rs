//! The command line. Every flag has a `TUNNEL_*` variable of the same meaning.
#![allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links, reason = "what stands here is shown in a terminal")]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tunnel_origin::{Service, enrol::Pin};
use tunnel_proto::{DestinationRange, HostPattern, Name};

use crate::{duration, failure::Failure, origin::OriginArgs};

const EXAMPLES: &str = "\
Examples:
  connector --hostname www.localhost --url http://localhost:3000
      Publish a web server through the edge on this machine.
  connector login --edge https://access.example.com --hostname www.example.com
      Enrol this machine with an edge elsewhere; an administrator approves in the browser.
  connector --hostname www.example.com --url unix:/run/app.sock --name app
      Then publish, here a web server at a Unix socket, as the tunnel `app`.
  connector --hostname ssh.example.com --url ssh://localhost
      Publish the SSH server of this machine. People reach it with `access ssh --hostname ssh.example.com`.
  connector --hostname jump.example.com --bastion --allow 192.168.1.0/24:3389
      A gateway to the remote desktops of a network; the visitor says to which of them.
  connector --hostname nas.example.com --url https://192.168.1.5 --origin-server-name nas.internal --origin-ca-pool ca.pem
      Publish a web server with TLS of its own, whose certificate is by a CA of your own and for another name.
  connector run app --hostname www.example.com --url unix:/run/app.sock
      Run a tunnel from the credentials that are stored, creating and routing nothing.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the edge.";

/// Publishes services of this machine through an edge. It dials out; nothing listens towards the internet.
#[derive(Debug, Parser)]
#[command(name = "connector", version, after_help = EXAMPLES, subcommand_precedence_over_arg = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) publish: PublishArgs,
    #[command(flatten)]
    pub(crate) edge: EdgeArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What is published.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PublishArgs {
    /// The hostname that visitors open; may be repeated
    #[arg(long, value_name = "HOST", env = "TUNNEL_HOSTNAME", value_delimiter = ',', value_parser = parse_hostname)]
    pub(crate) hostname: Vec<HostPattern>,
    /// The service behind it: http://HOST:PORT, https://HOST:PORT, unix:/PATH, unix+tls:/PATH, tcp://HOST:PORT,
    /// ssh://HOST, rdp://HOST, smb://HOST, http_status:NNN or hello_world
    #[arg(long, value_name = "SERVICE", env = "TUNNEL_URL", value_parser = parse_service)]
    pub(crate) url: Option<Published>,
    /// Be a gateway instead: the visitor names the destination, and --allow says which there may be
    #[arg(long, env = "TUNNEL_BASTION", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0, default_missing_value = "true", default_value = "false")]
    pub(crate) bastion: bool,
    /// A range of destinations that a bastion may lead to, CIDR:PORT; may be repeated
    #[arg(long, value_name = "CIDR:PORT", env = "TUNNEL_ALLOW", value_delimiter = ',')]
    pub(crate) allow: Vec<DestinationRange>,
    /// The name of the tunnel [default: its first hostname]
    #[arg(long, short, value_name = "NAME", env = "TUNNEL_NAME")]
    pub(crate) name: Option<Name>,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
}

impl PublishArgs {
    /// What is to be published: a service, or a bastion with the destinations that it may lead to.
    pub(crate) fn published(&self) -> Result<Option<Published>, Failure> {
        match (&self.url, self.bastion, self.allow.as_slice()) {
            (url, false, []) => Ok(url.clone().map(|url| Published { origin: self.origin.clone(), ..url })),
            (_, false, [..]) => {
                Err(Failure::usage("--allow says where a bastion may lead: add --bastion, or leave --allow out"))
            }
            (Some(_), true, _) => Err(Failure::usage(
                "--bastion and --url exclude each other: a bastion leads where the visitor says, within --allow",
            )),
            (None, true, []) => Err(Failure::usage(
                "--bastion needs to know where it may lead: say so with --allow CIDR:PORT, which may be repeated, for \
                 example\n\n  connector --hostname jump.example.com --bastion --allow 192.168.1.0/24:3389 --allow \
                 10.0.0.5:22\n\nNothing else can be reached through it, whatever the edge's policies say",
            )),
            (None, true, allow) => {
                let service = Service::Bastion(allow.into());
                Ok(Some(Published { text: service.to_string(), service, origin: self.origin.clone() }))
            }
        }
    }
}

/// A service, how it was written, and how it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) service: Service,
    pub(crate) text: String,
    pub(crate) origin: OriginArgs,
}

/// Which edge, and where its credentials are.
#[derive(Clone, Debug, Args)]
pub(crate) struct EdgeArgs {
    /// The edge: https://access.ZONE[:PORT], or HOST:PORT to dial another address
    #[arg(long, global = true, value_name = "EDGE", env = "TUNNEL_EDGE")]
    pub(crate) edge: Option<String>,
    /// Trust this CA (PEM file) at first contact, instead of the web's
    #[arg(long, global = true, value_name = "FILE", env = "TUNNEL_EDGE_CA", conflicts_with = "edge_pin")]
    pub(crate) edge_ca: Option<PathBuf>,
    /// Trust the certificate with this fingerprint (sha256:…) at first contact
    #[arg(long, global = true, value_name = "PIN", env = "TUNNEL_EDGE_PIN")]
    pub(crate) edge_pin: Option<Pin>,
    /// The data directory of an edge on this machine [default: $XDG_STATE_HOME/tunnel or ~/.local/state/tunnel]
    #[arg(long, global = true, value_name = "DIR", env = "TUNNEL_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where credentials are kept [default: $XDG_CONFIG_HOME/tunnel or ~/.config/tunnel]
    #[arg(long, global = true, value_name = "DIR", env = "TUNNEL_CONFIG_DIR")]
    pub(crate) config_dir: Option<PathBuf>,
}

/// How a tunnel runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Links to the edge
    #[arg(long, global = true, value_name = "N", env = "TUNNEL_CONNECTIONS", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) connections: u8,
    /// How long requests in flight may take when stopping
    #[arg(long, global = true, value_name = "TIME", env = "TUNNEL_GRACE_PERIOD", default_value = "30s",
          value_parser = duration::parse_grace)]
    pub(crate) grace_period: Duration,
    /// How to reach the edge
    #[arg(long, global = true, env = "TUNNEL_PROTOCOL", value_enum, default_value_t = Protocol::Auto)]
    pub(crate) protocol: Protocol,
    /// Serve /ready and /metrics here (a bare port means this machine only)
    #[arg(long, global = true, value_name = "ADDR", env = "TUNNEL_METRICS", value_parser = parse_metrics)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Write the process id to this file once the first link is up
    #[arg(long, global = true, value_name = "FILE", env = "TUNNEL_PIDFILE")]
    pub(crate) pidfile: Option<PathBuf>,
}

/// How to reach the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// What works best
    Auto,
    /// TLS over TCP
    Tls,
    /// Not built yet
    #[value(hide = true)]
    Quic,
}

/// What is logged, where and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// The least that is logged
    #[arg(long, global = true, env = "TUNNEL_LOGLEVEL", value_enum, default_value_t = Level::Info, alias = "log-level")]
    pub(crate) loglevel: Level,
    /// How log lines are written
    #[arg(long, global = true, env = "TUNNEL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Append the log to this file instead of writing it to the terminal
    #[arg(long, global = true, value_name = "FILE", env = "TUNNEL_LOGFILE")]
    pub(crate) logfile: Option<PathBuf>,
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

#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enrol this machine with an edge elsewhere
    Login(LoginArgs),
    /// Run a tunnel from its stored credentials
    Run(Box<NamedRun>),
    /// Create a tunnel and store its credentials
    Create(CreateArgs),
    /// List the tunnels that this machine may manage
    List(ListArgs),
    /// Route a hostname to a tunnel
    Route(RouteArgs),
    /// Replace the credentials of a tunnel; earlier ones stop working
    Rotate(NamedTunnel),
    /// Delete a tunnel and its stored credentials
    Delete(NamedTunnel),
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// A hostname this machine would like to publish; may be repeated
    #[arg(long, value_name = "HOST", env = "TUNNEL_HOSTNAME", value_delimiter = ',', value_parser = parse_hostname)]
    pub(crate) hostname: Vec<HostPattern>,
    /// Only print the address to open
    #[arg(long, env = "TUNNEL_NO_BROWSER", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0, default_missing_value = "true", default_value = "false")]
    pub(crate) no_browser: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NamedRun {
    /// The tunnel [default: the only one that is stored, or `--name`]
    #[arg(value_name = "NAME")]
    pub(crate) tunnel: Option<Name>,
    #[command(flatten)]
    pub(crate) publish: PublishArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name of the tunnel
    #[arg(value_name = "NAME")]
    pub(crate) tunnel: Name,
    /// Route this hostname to it; may be repeated
    #[arg(long, value_name = "HOST", env = "TUNNEL_HOSTNAME", value_delimiter = ',', value_parser = parse_hostname)]
    pub(crate) hostname: Vec<HostPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// The tunnel
    #[arg(value_name = "NAME")]
    pub(crate) tunnel: Name,
    /// The hostnames to route to it
    #[arg(value_name = "HOSTNAME", required = true, value_parser = parse_hostname)]
    pub(crate) hostnames: Vec<HostPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct NamedTunnel {
    /// The tunnel
    #[arg(value_name = "NAME")]
    pub(crate) tunnel: Name,
}

fn parse_hostname(text: &str) -> Result<HostPattern, String> {
    if text.contains("://") {
        return Err("a hostname has no scheme: write www.example.com".to_owned());
    }
    if text.contains(':') {
        return Err("a hostname has no port: visitors come by the edge's own".to_owned());
    }
    text.parse().map_err(|error: tunnel_proto::hostname::HostnameError| error.to_string())
}

fn parse_service(text: &str) -> Result<Published, String> {
    let service: Service = text.parse().map_err(|error: tunnel_origin::ServiceError| error.to_string())?;
    if let Service::Bastion(_) = service {
        return Err("use --bastion and --allow CIDR:PORT in its place".to_owned());
    }
    // `ssh://localhost` says more than the `tcp://localhost:22` that it means.
    let text = match service {
        Service::Handler { .. } | Service::Tcp(_) => text.to_owned(),
        _ => service.to_string(),
    };
    Ok(Published { service, text, origin: OriginArgs::default() })
}

fn parse_metrics(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "write ADDRESS:PORT, or a port of this machine".to_owned())
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
    fn every_flag_has_a_variable_of_its_name() {
        for argument in Cli::command().get_arguments().filter(|a| !matches!(a.get_id().as_str(), "help" | "version")) {
            let long = argument.get_long().unwrap();
            let variable = format!("TUNNEL_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()), "--{long}");
        }
    }

    #[test]
    fn a_bastion_says_where_it_may_lead_and_nothing_else_does() {
        let args = |words: &[&str]| Cli::try_parse_from([&["connector"], words].concat()).unwrap().publish;
        let published = args(&["--bastion", "--allow", "10.0.0.5:22", "--allow", "192.168.1.0/24:3389"]).published();
        let Published { service, text, .. } = published.unwrap().unwrap();
        assert!(matches!(&service, Service::Bastion(allow) if allow.len() == 2), "{service}");
        assert_eq!(text, "bastion:10.0.0.5:22,192.168.1.0/24:3389");
        assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        for (words, part) in [
            (&["--bastion"][..], "--allow 192.168.1.0/24:3389"),
            (&["--allow", "10.0.0.5:22"], "add --bastion"),
            (&["--url", "http://localhost:1", "--allow", "10.0.0.5:22"], "add --bastion"),
            (&["--bastion", "--allow", "10.0.0.5:22", "--url", "http://localhost:1"], "exclude each other"),
        ] {
            let failure = args(words).published().unwrap_err();
            assert!(failure.exit_code() == 2 && failure.to_string().contains(part), "{words:?}: {failure}");
        }
        assert!(args(&[]).published().unwrap().is_none());
        for bad in ["10.0.0.0/8", "nas.lan:22", "10.0.0.0/8:0"] {
            assert!(Cli::try_parse_from(["connector", "--bastion", "--allow", bad]).is_err(), "{bad}");
        }
        assert!(parse_service("bastion:10.0.0.5:22").unwrap_err().contains("--bastion"));
    }

    #[test]
    fn services_of_one_port_keep_the_word_that_was_written() {
        for text in
            ["ssh://localhost", "rdp://192.168.1.29", "smb://nas:445", "tcp://127.0.0.1:5432", "http_status:404"]
        {
            assert_eq!(parse_service(text).unwrap().text, text);
        }
        assert_eq!(parse_service("http://LOCALHOST:80/").unwrap().text, "http://localhost:80");
        assert_eq!(parse_service("wss://LOCALHOST").unwrap().text, "https://localhost:443");
    }

    #[test]
    fn a_bare_metrics_port_is_on_this_machine_only() {
        for (text, address) in [
            ("9000", "127.0.0.1:9000"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:1", "[::1]:1"),
            ("0.0.0.0:2", "0.0.0.0:2"),
        ] {
            assert_eq!(parse_metrics(text).unwrap().to_string(), address);
        }
        assert!(parse_metrics("example.com:1").is_err() && parse_metrics("").is_err());
    }
}
