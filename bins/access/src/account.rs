//! Logins: making, ending and printing them.

use std::time::SystemTime;

use tunnel_client::{AppHost, TokenStore};
use tunnel_proto::UnixTime;

use crate::{failure::Failure, print::print, settings::Settings};

pub(crate) async fn login(settings: &Settings, host: AppHost) -> Result<(), Failure> {
    let (client, hosts) = settings.client(&format!("access login {host}"), vec![host]).await?;
    for host in hosts {
        let entry = client.login(&host).await?;
        if let Some(login) = entry.login {
            eprintln!("Logged in to {} as {}, for {}.", entry.host, login.email, left(login.expires, now()));
        }
    }
    Ok(())
}

pub(crate) async fn logout(settings: &Settings, host: AppHost) -> Result<(), Failure> {
    let (client, hosts) = settings.client("access logout", vec![host]).await?;
    for host in hosts {
        match client.logout(&host).await? {
            true => eprintln!("Logged out of {}.", host.hostname()),
            false => eprintln!("There was no login for {}.", host.hostname()),
        }
    }
    Ok(())
}

/// Prints the token of a login that there is, and nothing else.
pub(crate) fn token(settings: &Settings, host: &AppHost) -> Result<(), Failure> {
    let entry = settings.store().load(host.hostname())?;
    let login = entry.and_then(|entry| entry.login).filter(|login| login.expires > now());
    match login {
        Some(login) => print(login.token.reveal()),
        None => Err(Failure::refused(format!("there is no login for `{host}`: `access login {host}` makes one"))),
    }
}

/// How long a login lasts.
pub(crate) fn left(expires: UnixTime, now: UnixTime) -> String {
    let seconds = expires.since(now).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}

/// The wall clock.
pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}
