//! What is going on: a few lines that stay up to date at a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, interval},
};
use tunnel_client::{AppHost, Client, Event, Forward, plain};
use tunnel_proto::message::RevokedReason;

use crate::{failure::Failure, platform};

/// How often the lines are brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// Shows local ports until the person has enough of them.
pub(crate) struct Show {
    // Keeps the links while nobody is connected.
    _client: Client,
    events: Receiver<Event>,
    forwards: Vec<(AppHost, Forward)>,
    before: (Instant, u64),
    drawn: bool,
}

impl Show {
    pub(crate) fn new(client: &Client, forwards: Vec<(AppHost, Forward)>) -> Self {
        let before = (Instant::now(), 0);
        Self { _client: client.clone(), events: client.events(), forwards, before, drawn: false }
    }

    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        for (host, forward) in &self.forwards {
            eprintln!("{} leads to {host}", forward.local_addr());
        }
        let live = stderr().is_terminal();
        let mut tick = interval(TICK);
        let stopped = platform::stopped();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                ended = &mut stopped => {
                    self.clear();
                    return ended.map_err(Failure::failed);
                }
                _ = tick.tick(), if live => self.draw(),
                event = self.events.recv() => match event {
                    Ok(event) => self.say(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }

    fn say(&mut self, event: &Event) {
        let line = match event {
            Event::LoginNeeded(_) => {
                // It is shown already, by whoever asks; what is drawn comes below it.
                self.drawn = false;
                return;
            }
            Event::LoginElsewhere { host } => format!("{host}: waiting for a login that another process has begun"),
            Event::LoggedIn { host, email, .. } => format!("{host}: logged in as {email}"),
            Event::LinkUp { edge, carrier } => format!("{edge}: connected ({carrier})"),
            Event::LinkDown { edge, reason } => format!("{edge}: the link is over: {reason}"),
            Event::Revoked { host, reason: RevokedReason::Expired } => {
                format!("{host}: the login is over; the next connection asks for a new one")
            }
            Event::Revoked { host, .. } => format!("{host}: the edge ended the access"),
            Event::Failed { host, reason } => format!("{host}: {reason}"),
            Event::Stranger { host, user } => format!("{host}: the user {user} tried to connect, and was refused"),
            _ => return,
        };
        self.clear();
        eprintln!("{}", plain(&line));
    }

    fn clear(&mut self) {
        if self.drawn {
            eprint!("\r\x1b[K");
            stderr().flush().ok();
            self.drawn = false;
        }
    }

    fn draw(&mut self) {
        let (mut open, mut total, mut sent, mut received) = (0_usize, 0_u64, 0_u64, 0_u64);
        for (_, forward) in &self.forwards {
            let counters = forward.counters();
            open = open.saturating_add(counters.open());
            total = total.saturating_add(counters.total());
            sent = sent.saturating_add(counters.sent());
            received = received.saturating_add(counters.received());
        }
        let (then, bytes) = std::mem::replace(&mut self.before, (Instant::now(), sent.saturating_add(received)));
        let passed = u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = sent.saturating_add(received).saturating_sub(bytes).saturating_mul(1000) / passed;
        eprint!(
            "\r\x1b[K{open} open, {total} in all, {} sent, {} received, {}/s",
            size(sent),
            size(received),
            size(rate)
        );
        stderr().flush().ok();
        self.drawn = true;
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000_u64), ("MB", 1_000_000), ("kB", 1000)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10)),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (3_250_000_000, "3.2 GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
