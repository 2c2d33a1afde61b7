//! `edge admin health` and `edge admin clock …`.

use clap::Subcommand;
use tunnel_edge::socket::{Administration, Answer, BackupStatus, ClockStatus, Health};

use super::{
    output::{clean, when},
    show,
};

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
    format!("{}\n{}", clock_words(&health.clock), backup_words(&health.backups))
}

fn backup_words(backups: &BackupStatus) -> String {
    let newest = match (&backups.newest, backups.made) {
        (Some(path), Some(made)) => format!("{}; the newest is of {}: {}", backups.count, when(made), path.display()),
        _ => "none yet".to_owned(),
    };
    let failed = backups.failed.as_ref().map(|why| format!("\n  The last one FAILED: {}", clean(why)));
    format!("backups: {newest}{}", failed.unwrap_or_default())
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

    // F18
    #[test]
    fn a_backup_that_failed_is_told_beside_the_newest_one() {
        let backups = BackupStatus { count: 3, newest: Some("/b/x.db".into()), made: Some(UnixTime(0)), failed: None };
        assert_eq!(backup_words(&backups), "backups: 3; the newest is of 1970-01-01T00:00:00Z: /b/x.db");
        let failed = BackupStatus { failed: Some("no room".into()), ..BackupStatus::default() };
        assert_eq!(backup_words(&failed), "backups: none yet\n  The last one FAILED: no room");
    }

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
