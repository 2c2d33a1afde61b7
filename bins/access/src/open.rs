//! `access tcp` and its like: a service at a local port, or on standard input and output; several with `access forward`.

use std::net::SocketAddr;

use tunnel_client::{AppHost, Client, Forward, ForwardOptions};
use tunnel_proto::Destination;
use url::Url;

use crate::{
    cli::{ForwardArgs, OpenArgs},
    failure::Failure,
    file::{self, Wanted},
    platform,
    settings::Settings,
    show::{Port, Show},
};

/// Below this, a port takes rights that a user does not have.
const FIRST_FREE_PORT: u16 = 1024;

/// Opens what the flags name, as `action` (`tcp`, `ssh`, `rdp` or `smb`: the same thing by different names).
pub(crate) async fn open(settings: &Settings, action: &str, args: OpenArgs) -> Result<(), Failure> {
    let command = format!("access {action} --hostname {}", args.hostname);
    let local = args.url.as_deref().map(|url| listen_address(url, action)).transpose()?;
    let (client, hosts) = settings.client_with(&command, vec![args.hostname], &args.header).await?;
    let Some(host) = hosts.into_iter().next() else { return Err(Failure::failed("there is no host")) };
    let Some(local) = local else {
        let tcp = to(&client, &host, args.destination.as_ref());
        return Ok(tcp.stdio(tokio::io::stdin(), platform::Output::new()).await?);
    };
    let options = ForwardOptions::default();
    let options = if args.listen_anyone { options.dangerously_for_everyone() } else { options };
    let forward = begin(&client, &host, args.destination.as_ref(), &local, options).await?;
    if args.listen_anyone {
        eprintln!("access: anybody who reaches {} acts as you", forward.local_addr());
    } else if cfg!(target_os = "linux") {
        let local = forward.local_addr();
        eprintln!("access: all of your programs on this machine reach {local} as you; other users are refused");
    } else {
        eprintln!("access: other users of this machine could use {}, as you", forward.local_addr());
    }
    Show::new(&client, settings.screen(), vec![Port::new(&host, args.destination.as_ref(), forward)]).run().await
}

/// Opens what a file names.
pub(crate) async fn forward(settings: &Settings, args: ForwardArgs) -> Result<(), Failure> {
    let wanted = file::read(&args.file)?;
    let locals = wanted.iter().map(|Wanted { url, .. }| listen_address(url, "tcp")).collect::<Result<Vec<_>, _>>()?;
    let hosts = wanted.iter().map(|wanted| wanted.hostname.clone()).collect();
    let (client, hosts) = settings.client("access forward", hosts).await?;
    let mut ports = Vec::new();
    for ((host, local), wanted) in hosts.into_iter().zip(&locals).zip(&wanted) {
        let forward = begin(&client, &host, wanted.destination.as_ref(), local, ForwardOptions::default()).await?;
        ports.push(Port::new(&host, wanted.destination.as_ref(), forward));
    }
    Show::new(&client, settings.screen(), ports).run().await
}

fn to(client: &Client, host: &AppHost, destination: Option<&Destination>) -> tunnel_client::Tcp {
    let tcp = client.tcp(&host.to_string());
    match destination {
        Some(destination) => tcp.destination(destination.to_string()),
        None => tcp,
    }
}

async fn begin(
    client: &Client,
    host: &AppHost,
    destination: Option<&Destination>,
    local: &str,
    options: ForwardOptions,
) -> Result<Forward, Failure> {
    let begun = to(client, host, destination).forward_with(local, options).await;
    begun.map_err(|error| match error {
        tunnel_client::Error::Listen { .. } => {
            let mend = mend(local, &error.to_string());
            Failure::failed(format!("{error}{mend}"))
        }
        other => other.into(),
    })
}

/// What to do about an address that cannot be listened at.
fn mend(local: &str, reason: &str) -> String {
    let port = local.parse::<SocketAddr>().map(|address| address.port()).unwrap_or_default();
    if reason.contains("other machines") {
        return ", or mean it with --listen-anyone".to_owned();
    }
    match platform::holder(port) {
        Some(holder) => format!("; {holder} listens there: end it, or choose another port with --url"),
        None if port < FIRST_FREE_PORT && port > 0 => {
            format!("; ports below {FIRST_FREE_PORT} take rights that you may not have: choose another one with --url")
        }
        None => "; choose another port with --url".to_owned(),
    }
}

/// Reads a local address as people write it: with a scheme, by name, or without a port where the action has a usual one.
fn listen_address(text: &str, action: &str) -> Result<String, Failure> {
    let wrong = || Failure::usage(format!("--url: `{text}` is not a local address: write 127.0.0.1:PORT"));
    let whole = if text.contains("://") { text.to_owned() } else { format!("tcp://{text}") };
    let url = Url::parse(&whole).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() || !matches!(url.path(), "" | "/") {
        return Err(wrong());
    }
    let usual = match action {
        "rdp" => Some(3389),
        "smb" => Some(445),
        "ssh" => Some(2222),
        _ => None,
    };
    let port = url.port().or(usual).ok_or_else(wrong)?;
    match url.host_str() {
        None | Some("") => Err(wrong()),
        Some("localhost") => Ok(format!("127.0.0.1:{port}")),
        Some(host) => Ok(format!("{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_as_people_write_them() {
        for (text, action, address) in [
            ("127.0.0.1:5432", "tcp", "127.0.0.1:5432"),
            ("localhost:1", "tcp", "127.0.0.1:1"),
            ("rdp://127.0.0.1:9002", "rdp", "127.0.0.1:9002"),
            ("[::1]:22", "ssh", "[::1]:22"),
            ("localhost", "rdp", "127.0.0.1:3389"),
            ("127.0.0.1:0", "tcp", "127.0.0.1:0"),
        ] {
            assert_eq!(listen_address(text, action).ok().as_deref(), Some(address), "{text}");
        }
        for text in ["", "localhost", "a b:1", "tcp://user@127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:1/path"] {
            assert_eq!(listen_address(text, "tcp").unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
