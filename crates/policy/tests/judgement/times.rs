//! Rules about time: when they hold, and until when a decision does.

use tunnel_policy::{Circumstances, Days, TimeOfDay, TimeOfWeek, TimeOfWeekError, Zone};
use tunnel_proto::UnixTime;

use crate::declare::{app, asks, at, group, person, policy, set_of, time};

/// A moment from `2026-09-01 09:00` in UTC.
fn utc(text: &str) -> UnixTime {
    let (date, time) = text.split_once(' ').expect(text);
    let date: Vec<u64> = date.split('-').map(|part| part.parse().expect(text)).collect();
    let time: Vec<u64> = time.split(':').map(|part| part.parse().expect(text)).collect();
    // Days since 1970 of a date of the Gregorian calendar (Howard Hinnant, days_from_civil).
    let (year, month) = if date[1] <= 2 { (date[0] - 1, date[1] + 9) } else { (date[0], date[1] - 3) };
    let day_of_era = (year % 400) * 365 + (year % 400) / 4 - (year % 400) / 100 + (153 * month + 2) / 5 + date[2] - 1;
    let days = year / 400 * 146_097 + day_of_era - 719_468;
    UnixTime(days * 86_400 + time[0] * 3600 + time[1] * 60 + time.get(2).copied().unwrap_or_default())
}

fn holds(rule: &str, at: &str) -> bool {
    time(rule).holds(utc(at))
}

#[test]
fn a_span_begins_with_its_first_minute_and_ends_before_its_last() {
    let office = "mon-fri/09:00-18:00/Asia/Tokyo";
    let table = [
        // 2026-09-01 is a Tuesday; Tokyo is nine hours ahead.
        ("2026-08-31 23:59:59", false),
        ("2026-09-01 00:00", true),
        ("2026-09-01 08:59:59", true),
        ("2026-09-01 09:00", false),
        ("2026-09-04 08:59:59", true),
        ("2026-09-05 00:00", false),
        ("2026-09-06 00:00", false),
        ("2026-09-07 00:00", true),
    ];
    for (now, held) in table {
        assert_eq!(holds(office, now), held, "{now}");
    }
}

#[test]
fn a_span_across_midnight_belongs_to_the_day_on_which_it_began() {
    let night = "fri/22:00-06:00/UTC";
    let table = [
        ("2026-09-04 21:59:59", false),
        ("2026-09-04 22:00", true),
        ("2026-09-05 00:00", true),
        ("2026-09-05 05:59:59", true),
        ("2026-09-05 06:00", false),
        ("2026-09-05 22:00", false),
        ("2026-09-04 05:00", false),
    ];
    for (now, held) in table {
        assert_eq!(holds(night, now), held, "{now}");
    }
    // From Sunday to Monday the week begins anew.
    assert!(holds("sun/23:00-01:00/UTC", "2026-09-07 00:30"));
    assert!(!holds("sun/23:00-01:00/UTC", "2026-09-06 00:30"));
    assert!(holds("mon-sun/00:00-24:00/UTC", "2026-09-06 23:59:59"));
    assert!(holds("sun/18:00-00:00/UTC", "2026-09-06 23:59:59"));
    assert!(!holds("sun/18:00-00:00/UTC", "2026-09-07 00:00"));
}

#[test]
fn summer_time_moves_with_the_clock_on_the_wall() {
    let office = "mon-fri/09:00-17:00/America/New_York";
    // 09:00 there is 14:00 UTC in winter and 13:00 in summer; clocks change on 2026-03-08 and 2026-11-01.
    for (now, held) in [
        ("2026-03-06 13:59:59", false),
        ("2026-03-06 14:00", true),
        ("2026-03-09 12:59:59", false),
        ("2026-03-09 13:00", true),
        ("2026-10-30 13:00", true),
        ("2026-11-02 13:00", false),
        ("2026-11-02 14:00", true),
    ] {
        assert_eq!(holds(office, now), held, "{now}");
    }
    // The hour that is left out never comes, and the one that comes twice holds twice.
    let gap = "sun/02:00-03:00/America/New_York";
    for minute in 0..24 * 60 {
        let now = UnixTime(utc("2026-03-08 00:00").0 + minute * 60);
        assert!(!time(gap).holds(now), "{now:?}");
    }
    let twice = time("sun/01:00-02:00/America/New_York");
    let held = (0..24 * 60).filter(|minute| twice.holds(UnixTime(utc("2026-11-01 00:00").0 + minute * 60))).count();
    assert_eq!(held, 120);
}

#[test]
fn the_next_change_is_told_to_the_second() {
    let table = [
        ("mon-fri/09:00-18:00/Asia/Tokyo", "2026-09-01 00:00", "2026-09-01 09:00"),
        ("mon-fri/09:00-18:00/Asia/Tokyo", "2026-09-01 08:59:59", "2026-09-01 09:00"),
        ("mon-fri/09:00-18:00/Asia/Tokyo", "2026-09-04 09:00", "2026-09-07 00:00"),
        ("sun/22:00-06:00/UTC", "2026-09-06 23:00", "2026-09-07 06:00"),
        ("sun/22:00-06:00/UTC", "2026-09-07 06:00", "2026-09-13 22:00"),
        ("tue/00:00-24:00/UTC", "2026-09-01 00:00", "2026-09-02 00:00"),
        // Clocks are put forward between now and the end of the span: it is looked at again then.
        ("sun/01:00-04:00/America/New_York", "2026-03-08 06:30", "2026-03-08 07:00"),
        ("sun/01:00-04:00/America/New_York", "2026-03-08 07:00", "2026-03-08 08:00"),
    ];
    for (rule, now, change) in table {
        assert_eq!(time(rule).next_change(utc(now)), Some(utc(change)), "{rule} {now}");
    }
}

#[test]
fn a_moment_beyond_all_calendars_is_survived() {
    let office = time("mon-fri/09:00-18:00/Asia/Tokyo");
    for now in [UnixTime(0), UnixTime(253_402_207_200), UnixTime(i64::MAX as u64), UnixTime(u64::MAX)] {
        let _ = office.holds(now);
        assert!(office.next_change(now).is_none_or(|change| change > now));
    }
}

#[test]
fn a_decision_holds_until_the_first_rule_about_time_that_its_policies_reach() {
    let groups = [group("hours", "time:mon-fri/09:00-18:00/UTC"), group("nested", "everyone & group:hours")];
    let policies = [
        policy("staff", "domain:corp.com & group:nested"),
        policy("block-night", "time:mon-sun/22:00-06:00/UTC"),
        policy("else", "time:tue/10:00-10:01/UTC"),
    ];
    let timed = app("timed", "timed.example", &["staff", "block-night"]);
    let plain = app("plain", "plain.example", &[]);
    let set = set_of(&groups, &policies, &[timed.clone(), plain.clone()]).unwrap();
    let ann = person("ann@corp.com");
    let until = |app, now: &str| {
        let here = Circumstances { now: utc(now), ..at("192.0.2.1") };
        set.decide(app, &asks(&ann, here)).holds_until
    };
    assert_eq!(until(&timed, "2026-09-01 10:00"), Some(utc("2026-09-01 18:00")));
    assert_eq!(until(&timed, "2026-09-01 18:00"), Some(utc("2026-09-01 22:00")));
    assert_eq!(until(&timed, "2026-09-01 22:00"), Some(utc("2026-09-02 06:00")));
    assert_eq!(until(&timed, "2026-09-02 06:00"), Some(utc("2026-09-02 09:00")));
    assert_eq!(until(&plain, "2026-09-01 10:00"), None);
}

#[test]
fn what_is_no_time_of_the_week_is_refused() {
    for text in
        ["", "9", "9:5", "24:01", "25:00", "12:60", "-1:00", "12:00 ", "+9:00", "012:00", "12:000", "12:0a", "１2:00"]
    {
        assert!(text.parse::<TimeOfDay>().is_err(), "{text:?}");
    }
    for (text, form) in [("9:00", "09:00"), ("00:00", "00:00"), ("24:00", "24:00"), ("23:59", "23:59")] {
        assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), form);
    }
    for text in ["", "mo", "monday", "mon-", "-fri", "mon-fri-sun", "8"] {
        assert!(text.parse::<Days>().is_err(), "{text:?}");
    }
    for (days, form) in
        [("sat-mon", "mon,sat,sun"), ("Mon-SUN", "mon-sun"), ("mon-mon", "mon"), ("tue - thu", "tue-thu")]
    {
        assert_eq!(days.parse::<Days>().unwrap().to_string(), form);
    }
    for text in ["", "Tokyo", "JST", "Asia/Tokio", "Etc/Unknown", "+09:00", "../UTC", "Asia/Tokyo\0"] {
        assert!(text.parse::<Zone>().is_err(), "{text:?}");
    }
    assert_eq!("europe/BERLIN".parse::<Zone>().unwrap().name(), "Europe/Berlin");
    assert_eq!("UTC".parse::<Zone>().unwrap().name(), "UTC");
    assert!(Zone::names().count() > 400);
    assert!(
        Zone::names().all(|name| name.parse::<Zone>().is_ok_and(|zone| zone.name() == name) || name == "Etc/Unknown")
    );
    let nine: TimeOfDay = "09:00".parse().unwrap();
    let end: TimeOfDay = "24:00".parse().unwrap();
    let zone = || "UTC".parse::<Zone>().unwrap();
    let monday: Days = "mon".parse().unwrap();
    assert_eq!(TimeOfWeek::new(Days::default(), nine, end, zone()), Err(TimeOfWeekError::NoDay));
    assert_eq!(TimeOfWeek::new(monday, nine, nine, zone()), Err(TimeOfWeekError::Empty));
    assert_eq!(TimeOfWeek::new(monday, end, nine, zone()), Err(TimeOfWeekError::BeginsAtEnd));
    assert!(serde_json::from_str::<TimeOfWeek>(r#"{"days":[],"from":"09:00","to":"10:00","zone":"UTC"}"#).is_err());
    assert!(
        serde_json::from_str::<TimeOfWeek>(r#"{"days":["mon"],"from":"09:00","to":"09:00","zone":"UTC"}"#).is_err()
    );
}
