//! What is going on: a line for each port that stays up to date at a terminal, plain lines elsewhere.

use std::time::Duration;

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, MissedTickBehavior, interval},
};
use tunnel_client::{AppHost, Client, Error, Event, Forward, plain};
use tunnel_proto::{Destination, Hostname, message::RevokedReason};

use crate::{
    failure::Failure,
    platform,
    screen::Screen,
    status::{self, Row, State},
};

/// How often the lines are brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// Shows local ports until the person has enough of them.
pub(crate) struct Show {
    // Keeps the links while nobody is connected.
    _client: Client,
    events: Receiver<Event>,
    screen: Screen,
    ports: Vec<Port>,
    /// When the lines were brought up to date.
    before: Instant,
}

/// A local port, and what was seen of it.
pub(crate) struct Port {
    host: Hostname,
    name: String,
    forward: Forward,
    /// Whether a person was asked to log in, and has not yet.
    login: bool,
    /// Why the last connection did not get through, and how many had until then.
    failed: Option<(String, u64)>,
    /// Bytes when the lines were last brought up to date.
    bytes: u64,
    /// Whether it was said that a connection got through.
    told: bool,
}

impl Port {
    pub(crate) fn new(host: &AppHost, destination: Option<&Destination>, forward: Forward) -> Self {
        let through = destination.map(|destination| format!(" ({destination})")).unwrap_or_default();
        let name = format!("{host}{through} → {}", forward.local_addr());
        let host = host.hostname().clone();
        Self { host, name, forward, login: false, failed: None, bytes: 0, told: false }
    }

    fn row(&mut self, passed: Duration) -> Row {
        let counters = self.forward.counters();
        let (up, down) = (counters.sent(), counters.received());
        let bytes = up.saturating_add(down);
        let since = bytes.saturating_sub(std::mem::replace(&mut self.bytes, bytes));
        let state = state(self.login && counters.open() > 0, self.failed.as_ref(), counters.connected());
        let (open, total, rate) = (counters.open(), counters.total(), rate(since, passed));
        Row { name: self.name.clone(), open, total, up, down, rate, state }
    }
}

/// How a port is of which `connected` connections got through.
fn state(login: bool, failed: Option<&(String, u64)>, connected: u64) -> State {
    match failed {
        _ if login => State::Login,
        Some((reason, until)) if *until == connected => State::Failed(reason.clone()),
        _ if connected > 0 => State::Up,
        _ => State::Ready,
    }
}

/// Bytes in a second.
fn rate(bytes: u64, passed: Duration) -> u64 {
    let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / passed
}

impl Show {
    pub(crate) fn new(client: &Client, screen: &Screen, ports: Vec<Port>) -> Self {
        let events = client.events();
        Self { _client: client.clone(), events, screen: screen.clone(), ports, before: Instant::now() }
    }

    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        for port in &self.ports {
            self.screen.say(&port.name);
        }
        let mut tick = interval(TICK);
        // A machine that slept is no reason to hurry.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = platform::stopped();
        tokio::pin!(stopped);
        let ended = loop {
            tokio::select! {
                ended = &mut stopped => break ended.map_err(Failure::failed),
                _ = tick.tick() => self.look(),
                event = self.events.recv() => match event {
                    Ok(event) => {
                        self.hear(&event);
                        if let Some(failure) = ends(self.ports.len(), &event) {
                            break Err(failure);
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break Ok(()),
                },
            }
        };
        self.screen.clear();
        for port in &self.ports {
            let counters = port.forward.counters();
            let carried = status::carried(counters.total(), counters.sent(), counters.received());
            self.screen.say(&format!("{}: {carried}", port.name));
        }
        ended
    }

    /// Brings the lines up to date.
    fn look(&mut self) {
        let passed = std::mem::replace(&mut self.before, Instant::now()).elapsed();
        let rows: Vec<_> = self.ports.iter_mut().map(|port| port.row(passed)).collect();
        if self.screen.is_live() {
            return self.screen.draw(status::lines(&rows, self.screen.size()));
        }
        for port in self.ports.iter_mut().filter(|port| !port.told && port.forward.counters().connected() > 0) {
            port.told = true;
            self.screen.say(&format!("{}: the first connection is through", port.name));
        }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::LoginNeeded(prompt) => self.login(&prompt.host, true),
            Event::LoginElsewhere { host } => self.login(host, true),
            Event::LoggedIn { host, .. } | Event::LoginFailed { host, .. } => self.login(host, false),
            Event::Revoked { host, .. } => {
                let said = said(event).unwrap_or_default();
                for port in self.ports.iter_mut().filter(|port| port.host == *host) {
                    port.failed = Some((said.clone(), port.forward.counters().connected()));
                }
            }
            Event::Failed { local, error, .. } => {
                for port in self.ports.iter_mut().filter(|port| port.forward.local_addr() == *local) {
                    port.failed = Some((error.to_string(), port.forward.counters().connected()));
                }
            }
            _ => {}
        }
        if let Some(line) = line(event) {
            self.screen.say(&plain(&line));
        }
    }

    fn login(&mut self, host: &Hostname, waiting: bool) {
        for port in self.ports.iter_mut().filter(|port| port.host == *host) {
            port.login = waiting;
        }
    }
}

/// Why everything ends with an event, if so. A person who refuses the only login there is to be wants no more of it: the next
/// connection would ask them again.
fn ends(ports: usize, event: &Event) -> Option<Failure> {
    match event {
        Event::LoginFailed { error: error @ Error::LoginRefused { .. }, .. } if ports == 1 => {
            Some(error.clone().into())
        }
        _ => None,
    }
}

/// What is said about an event, if anything.
fn line(event: &Event) -> Option<String> {
    let about: &dyn std::fmt::Display = match event {
        Event::LinkUp { edge, .. } | Event::LinkDown { edge, .. } => edge,
        Event::LoginElsewhere { host }
        | Event::LoggedIn { host, .. }
        | Event::Revoked { host, .. }
        | Event::Failed { host, .. }
        | Event::Stranger { host, .. } => host,
        // Whoever asks for a login shows it; whoever waits for one that fails says so.
        _ => return None,
    };
    said(event).map(|said| format!("{about}: {said}"))
}

fn said(event: &Event) -> Option<String> {
    Some(match event {
        Event::LoginElsewhere { .. } => "waiting for a login that another process has begun".to_owned(),
        Event::LoggedIn { email, .. } => format!("logged in as {email}"),
        Event::LinkUp { carrier, .. } => format!("connected ({carrier})"),
        Event::LinkDown { reason, .. } => format!("the link is over: {reason}"),
        Event::Revoked { reason: RevokedReason::Expired, .. } => {
            "the login is over; the next connection asks for a new one".to_owned()
        }
        Event::Revoked { .. } => "the edge ended the access".to_owned(),
        Event::Failed { error, .. } => Failure::from(error.clone()).to_string(),
        Event::Stranger { user, .. } => format!("the user {user} tried to connect, and was refused"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_as_its_last_connection_was() {
        let failed = ("no".to_owned(), 3);
        for (login, failed, connected, expected) in [
            (false, None, 0, State::Ready),
            (true, None, 0, State::Login),
            (false, None, 1, State::Up),
            (false, Some(&failed), 3, State::Failed("no".to_owned())),
            (true, Some(&failed), 3, State::Login),
            (false, Some(&failed), 4, State::Up),
        ] {
            assert_eq!(state(login, failed, connected), expected);
        }
    }

    #[test]
    fn a_refused_login_ends_what_has_no_other_port() {
        let host: Hostname = "a.example.com".parse().unwrap();
        let failed = |error| Event::LoginFailed { host: host.clone(), error };
        let refused = failed(Error::LoginRefused { host: host.to_string(), reason: "it was refused".to_owned() });
        assert_eq!(ends(1, &refused).unwrap().exit_code(), 3);
        assert!(ends(2, &refused).is_none());
        // Nobody decided anything.
        assert!(ends(1, &failed(Error::LoginLapsed { host: host.to_string() })).is_none());
    }

    #[test]
    fn a_rate_is_for_a_second_however_long_it_took() {
        assert_eq!(rate(1000, Duration::from_millis(500)), 2000);
        assert_eq!(rate(1000, Duration::from_secs(2)), 500);
        assert_eq!(rate(5, Duration::ZERO), 5000);
    }
}
