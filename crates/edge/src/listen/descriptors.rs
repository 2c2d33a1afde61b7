//! Descriptors, of which a system gives a program only so many (F20).

use std::{fs::File, time::Duration};

use tokio::{net::TcpListener, time::timeout};

use crate::platform;

/// Kept back for everything that is no connection: the store, mail, questions to providers, the edge's own socket.
const KEPT_BACK: usize = 64;
/// What each core beside the first has for itself: to be told of what its sockets do, and woken.
const OF_A_CORE: usize = 4;
/// What it has for each listener: the listener, and a spare one.
const OF_A_LISTENER: usize = 2;
/// How long turning somebody away may take: the listener has one waiting, or another edge has taken it.
const AT_ONCE: Duration = Duration::from_millis(10);

/// How many connections of each kind there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) visitors: usize,
    pub(super) handshakes: usize,
    pub(super) links: usize,
}

/// What is wanted, or less where the system gives less or so many `cores` that each have so many `listeners` take it.
pub(super) fn shares(wanted: Shares, cores: usize, listeners: usize) -> Shares {
    let of_each = listeners.saturating_mul(OF_A_LISTENER).saturating_add(OF_A_CORE);
    let of_cores = cores.saturating_sub(1).saturating_mul(of_each);
    of(platform::descriptors().map(|descriptors| descriptors.saturating_sub(of_cores)), wanted)
}

fn of(descriptors: Option<usize>, Shares { visitors, handshakes, links }: Shares) -> Shares {
    let free = descriptors.unwrap_or(usize::MAX).saturating_sub(KEPT_BACK);
    let visitors = visitors.min(free / 2).max(1);
    let handshakes = handshakes.min(free / 8).max(1);
    let left = free.saturating_sub(visitors).saturating_sub(handshakes);
    Shares { visitors, handshakes, links: links.min(left).max(1) }
}

/// A descriptor kept for when there is no other: whoever connects then is turned away at once and not left to wait.
pub(super) struct Spare(Option<File>);

impl Spare {
    pub(super) fn new() -> Self {
        Self(platform::spare_descriptor())
    }

    /// Accepts and closes one connection by the descriptor that was kept; whether that was possible.
    pub(super) async fn turn_away(&mut self, listener: &TcpListener) -> bool {
        if self.0.take().is_none() {
            // Somebody else was quicker the last time.
            self.0 = platform::spare_descriptor();
            return false;
        }
        let turned = timeout(AT_ONCE, listener.accept()).await;
        let accepted = matches!(turned, Ok(Ok(_)));
        drop(turned);
        self.0 = platform::spare_descriptor();
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F20
    #[test]
    fn a_system_that_gives_little_leaves_something_for_everything() {
        let most = Shares { visitors: 8192, handshakes: 1024, links: 10_000 };
        assert_eq!(of(None, most), most);
        assert_eq!(of(Some(20_000), most), most);
        for descriptors in [0, 64, 80, 256, 1024, 4096] {
            let shares = of(Some(descriptors), most);
            assert!(shares.visitors > 0 && shares.handshakes > 0 && shares.links > 0);
            let all = shares.visitors + shares.handshakes + shares.links;
            assert!(all + KEPT_BACK <= descriptors.max(KEPT_BACK + 3), "{descriptors}: {shares:?}");
        }
        assert_eq!(of(Some(256), most), Shares { visitors: 96, handshakes: 24, links: 72 });
    }
}
