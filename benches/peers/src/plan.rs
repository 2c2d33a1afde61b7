//! What is measured, in which order, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing that is measured on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Memory of each process before anything was carried.
    Resident,
    /// Memory for each connection that is open and silent.
    Idle,
    /// Single bytes there and back.
    Echo,
    /// One stream to the service.
    OneUp,
    /// One stream from it.
    OneDown,
    /// Eight streams to it.
    EightUp,
    /// Eight from it.
    EightDown,
    /// Single bytes there and back while another connection downloads.
    Beside,
    /// Connections that are opened, used for a byte, and closed.
    Connect,
    /// Requests for 1 KiB.
    Small,
    /// Requests for 1 MiB.
    Large,
}

impl What {
    /// What is measured on a way to a TCP service, in this order: memory first, while nothing else has left any behind.
    pub(crate) const TCP: [Self; 9] = [
        Self::Resident,
        Self::Idle,
        Self::Echo,
        Self::OneUp,
        Self::OneDown,
        Self::EightUp,
        Self::EightDown,
        Self::Beside,
        Self::Connect,
    ];
    /// What is measured on a way to a web server.
    pub(crate) const WEB: [Self; 3] = [Self::Resident, Self::Small, Self::Large];

    /// In a few words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Resident => "resident memory",
            Self::Idle => "idle connections",
            Self::Echo => "echo",
            Self::OneUp => "1 stream up",
            Self::OneDown => "1 stream down",
            Self::EightUp => "8 streams up",
            Self::EightDown => "8 streams down",
            Self::Beside => "echo beside a bulk stream",
            Self::Connect => "new connections",
            Self::Small => "1 KiB requests",
            Self::Large => "1 MiB requests",
        }
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How often everything is measured.
    pub(crate) rounds: u32,
    /// Of bulk and of HTTP.
    pub(crate) bulk: Duration,
    /// Of echoes and of connections.
    pub(crate) short: Duration,
    /// How many idle connections.
    pub(crate) idle: usize,
}

impl Plan {
    /// The whole.
    pub(crate) const WHOLE: Self =
        Self { rounds: 5, bulk: Duration::from_secs(2), short: Duration::from_millis(1500), idle: 1000 };
    /// A look.
    pub(crate) const QUICK: Self =
        Self { rounds: 1, bulk: Duration::from_millis(600), short: Duration::from_millis(400), idle: 200 };

    /// The most connections that are opened one after the other: their ports rest for a minute.
    pub(crate) const CONNECTIONS_MAX: u64 = 8000;
    /// How many are opened at once.
    pub(crate) const CONNECTIONS_AT_ONCE: usize = 16;

    /// What a way that is measured for `what` may take, roughly.
    pub(crate) fn expected(&self, what: &[What]) -> Duration {
        let start = Duration::from_secs(2);
        what.iter().fold(start, |sum, what| {
            sum + match what {
                What::Resident => Duration::ZERO,
                What::Idle => Duration::from_millis(self.idle as u64 * 2) + SETTLE,
                What::Echo | What::Beside | What::Connect => self.short,
                What::OneUp | What::OneDown | What::EightUp | What::EightDown => self.bulk,
                What::Small | What::Large => self.bulk,
            }
        })
    }
}

/// How long memory may take to settle.
pub(crate) const SETTLE: Duration = Duration::from_millis(700);
