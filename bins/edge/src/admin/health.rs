//! `edge admin health` and `edge admin clock …`.

use clap::Subcommand;
use tunnel_edge::socket::{Administration, Answer, ClockStatus, Health};

use super::{output::when, show};

/// What `edge admin clock` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum ClockCommand {
    /// Go by what the clock shows from now on, though more time has passed: after it was wrong for a day or longer
    ///
    /// What has expired since the time that it shows counts again, as far as it is still there. Who logged in later than that
    /// logs in anew.
    Accept,
}

pub(super) async fn show_health(office: &dyn Administration, json: bool) -> Answer<()> {
    let health = office.health().await?;
    show(json, &health, || words(&health))
}

pub(super) async fn clock(command: ClockCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    let health = match command {
        ClockCommand::Accept => office.accept_clock().await?,
    };
    show(json, &health, || words(&health))
}

fn words(health: &Health) -> String {
    clock_words(&health.clock)
}

fn clock_words(clock: &ClockStatus) -> String {
    let shown = when(clock.shown);
    if let Some(behind) = clock.behind() {
        let (now, behind) = (when(clock.now), behind.as_secs());
        return format!(
            "clock: WRONG. It shows {shown}, {behind} s before time that has passed already; the edge goes by {now}.\n  Set it \
             right. If it is right now, and was wrong before: edge admin clock accept"
        );
    }
    if let Some(ahead) = clock.ahead() {
        let ahead = ahead.as_secs();
        return format!(
            "clock: it shows {shown}, and has leapt forward by {ahead} s, or the edge was away for so long.\n  If that is wrong, \
             set it right within a day."
        );
    }
    format!("clock: it shows {shown}, as it should")
}

#[cfg(test)]
mod tests {
    use tunnel_proto::UnixTime;

    use super::*;

    // F16
    #[test]
    fn a_clock_that_is_wrong_is_told_with_what_to_do() {
        let clock = |shown, now, passed| {
            clock_words(&ClockStatus { shown: UnixTime(shown), now: UnixTime(now), passed: UnixTime(passed) })
        };
        assert!(clock(1000, 1060, 1060).contains("as it should"));
        assert!(clock(1000, 4600, 4600).contains("3600 s before") && clock(1000, 4600, 4600).contains("clock accept"));
        assert!(clock(9000, 9000, 5400).contains("forward by 3600 s"));
    }
}
