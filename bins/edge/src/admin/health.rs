//! `edge admin health` and `edge admin clock …`.

use clap::Subcommand;
use tunnel_edge::socket::{
    Administration, Answer, AuditStatus, BackupStatus, CertificateTrouble, ClockStatus, Health, PanicStatus, Running,
    Shortage, problem,
};

use super::{
    output::{clean, when},
    show,
};

/// The code for an edge with which something is wrong.
pub(super) const UNWELL: &str = "unwell";

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
    show(json, &health, || words(&health))?;
    if health.is_well() {
        return Ok(());
    }
    Err(problem(UNWELL, "something is wrong with the edge or its machine; it is told above"))
}

pub(super) async fn clock(command: ClockCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    let health = match command {
        ClockCommand::Accept => office.accept_clock().await?,
    };
    show(json, &health, || words(&health))
}

fn words(health: &Health) -> String {
    let mut lines = vec![clock_words(&health.clock), backup_words(&health.backups)];
    if let Some(running) = &health.running {
        lines.extend(running_words(running));
    }
    lines.join("\n")
}

fn running_words(running: &Running) -> Vec<String> {
    let mut lines = vec![match &running.unwritable {
        Some(it) => format!(
            "store: CANNOT BE WRITTEN since {}: {}\n  Whoever is logged in works on; logins and changes are refused.",
            when(it.since),
            clean(&it.why)
        ),
        None => "store: it can be written".to_owned(),
    }];
    lines.extend(running.room.map(|room| match running.is_full() {
        true => format!("disk: FULL: {} KiB are free where the data is; make room", room / 1024),
        false => format!("disk: {} MiB are free where the data is", room / (1024 * 1024)),
    }));
    lines.push(audit_words(&running.audit));
    lines.push(match running.memory {
        Shortage::None => "memory: enough".to_owned(),
        Shortage::Slight => "memory: SHORT: strangers are refused".to_owned(),
        Shortage::Serious => "memory: SHORT: strangers are refused, and idle connections end".to_owned(),
        Shortage::Severe => "memory: SHORT: nothing new is begun".to_owned(),
    });
    lines.extend(running.descriptors.as_ref().map(|it| {
        let short = if it.is_short() { "SHORT: " } else { "" };
        format!("descriptors: {short}{} of {} are open", it.open, it.limit)
    }));
    lines.extend(running.certificates.iter().map(certificate_words));
    if running.certificates.is_empty() {
        lines.push("certificates: nothing is wrong with them".to_owned());
    }
    let down: Vec<_> = running.tunnels_down.iter().map(|name| format!("`{name}`")).collect();
    lines.push(match down.is_empty() {
        true => "tunnels: all are up".to_owned(),
        false => format!("tunnels: DOWN: no connector of {} is here", down.join(", ")),
    });
    lines.push(panic_words(&running.panics));
    lines
}

fn audit_words(audit: &AuditStatus) -> String {
    let lost = if audit.lost > 0 { format!("; {} are LOST", audit.lost) } else { String::new() };
    match audit.held_since {
        Some(since) => {
            format!("audit record: {} are HELD in memory, not written since {}{lost}", audit.waiting, when(since))
        }
        None if audit.is_held() => format!("audit record: it is written again{lost}"),
        None => "audit record: it is written".to_owned(),
    }
}

fn panic_words(panics: &PanicStatus) -> String {
    let (count, last) = (panics.count, panics.last.map(when).unwrap_or_default());
    match count {
        0 => "panics: none".to_owned(),
        _ if panics.recent => format!(
            "panics: {count} HAPPENED since the edge was started, the last one at {last}\n  \
             Each is a defect of this program, and its log has where: please report it."
        ),
        _ => format!("panics: {count} since the edge was started, the last one at {last}"),
    }
}

fn certificate_words(trouble: &CertificateTrouble) -> String {
    let names: Vec<_> = trouble.names.iter().map(ToString::to_string).collect();
    let why = trouble.why.as_ref().map(|why| format!("\n  {}", clean(why))).unwrap_or_default();
    let what = match (trouble.until, &trouble.why) {
        (Some(until), Some(_)) => format!("CANNOT BE RENEWED; the present one is good until {}", when(until)),
        (Some(until), None) => format!("HAS ENDED at {}", when(until)),
        (None, _) => "CANNOT BE HAD".to_owned(),
    };
    format!("certificate of {}: {what}{why}", names.join(" "))
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
    use tunnel_edge::socket::{DescriptorStatus, UnwritableStatus};
    use tunnel_proto::UnixTime;

    use super::*;

    // F17
    #[test]
    fn an_edge_that_is_well_says_so_in_every_line() {
        let running = Running {
            room: Some(5 << 30),
            descriptors: Some(DescriptorStatus { open: 40, limit: 1024 }),
            ..Running::default()
        };
        assert_eq!(
            running_words(&running),
            [
                "store: it can be written",
                "disk: 5120 MiB are free where the data is",
                "audit record: it is written",
                "memory: enough",
                "descriptors: 40 of 1024 are open",
                "certificates: nothing is wrong with them",
                "tunnels: all are up",
                "panics: none",
            ]
        );
    }

    // F17
    #[test]
    fn whatever_is_wrong_is_told_in_capitals_with_why_and_since_when() {
        let why = "database or disk is full\u{1b}[2J".to_owned();
        let trouble = |until, why: Option<&str>| CertificateTrouble {
            names: vec!["www.example.com".parse().unwrap()],
            until,
            why: why.map(str::to_owned),
        };
        let running = Running {
            unwritable: Some(UnwritableStatus { since: UnixTime(0), why }),
            room: Some(4096),
            audit: AuditStatus { waiting: 12, held_since: Some(UnixTime(60)), lost: 3 },
            memory: Shortage::Severe,
            descriptors: Some(DescriptorStatus { open: 1000, limit: 1024 }),
            certificates: vec![
                trouble(Some(UnixTime(0)), Some("refused")),
                trouble(Some(UnixTime(0)), None),
                trouble(None, Some("refused")),
            ],
            tunnels_down: vec!["home".parse().unwrap(), "office".parse().unwrap()],
            panics: PanicStatus { count: 2, last: Some(UnixTime(60)), recent: true },
        };
        assert_eq!(
            running_words(&running),
            [
                "store: CANNOT BE WRITTEN since 1970-01-01T00:00:00Z: database or disk is full\\u{1b}[2J\n  \
                 Whoever is logged in works on; logins and changes are refused.",
                "disk: FULL: 4 KiB are free where the data is; make room",
                "audit record: 12 are HELD in memory, not written since 1970-01-01T00:01:00Z; 3 are LOST",
                "memory: SHORT: nothing new is begun",
                "descriptors: SHORT: 1000 of 1024 are open",
                "certificate of www.example.com: CANNOT BE RENEWED; the present one is good until 1970-01-01T00:00:00Z\n  refused",
                "certificate of www.example.com: HAS ENDED at 1970-01-01T00:00:00Z",
                "certificate of www.example.com: CANNOT BE HAD\n  refused",
                "tunnels: DOWN: no connector of `home`, `office` is here",
                "panics: 2 HAPPENED since the edge was started, the last one at 1970-01-01T00:01:00Z\n  \
                 Each is a defect of this program, and its log has where: please report it.",
            ]
        );
        let long_ago = PanicStatus { count: 2, last: Some(UnixTime(60)), recent: false };
        let expected = "panics: 2 since the edge was started, the last one at 1970-01-01T00:01:00Z";
        assert_eq!(panic_words(&long_ago), expected);
        let past = AuditStatus { waiting: 0, held_since: None, lost: 1 };
        assert_eq!(audit_words(&past), "audit record: it is written again; 1 are LOST");
    }

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
