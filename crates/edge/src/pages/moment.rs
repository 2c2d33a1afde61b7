//! Moments as people read them.

use std::fmt;

use time::{OffsetDateTime, UtcOffset};
use tunnel_proto::UnixTime;

use crate::Lang;

/// A moment in the words of a language, always with its zone: English in UTC, Japanese in Japan's time (it has had no
/// summer time since 1951, so the offset is fixed).
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: OffsetDateTime,
    lang: Lang,
}

impl Moment {
    /// The moment `at`, for readers of `lang`.
    pub fn new(at: UnixTime, lang: Lang) -> Self {
        let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
        let utc = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let offset = match lang {
            Lang::En => UtcOffset::UTC,
            Lang::Ja => UtcOffset::from_hms(9, 0, 0).unwrap_or(UtcOffset::UTC),
        };
        Self { at: utc.checked_to_offset(offset).unwrap_or(utc), lang }
    }

    /// For the attribute `datetime`.
    pub fn machine(&self) -> String {
        self.at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
    }

    /// Date and time to the second.
    pub fn exact(&self) -> String {
        self.full(true)
    }

    /// Date and time to the minute.
    pub fn minute(&self) -> String {
        self.full(false)
    }

    /// The same where many stand in a table: Japanese readers take their own zone for granted.
    pub fn brief(&self) -> String {
        without_zone(self.minute())
    }

    /// The time of day after one that says its zone.
    pub fn brief_time(&self) -> String {
        without_zone(self.time())
    }

    /// The time of day to the minute, with the zone.
    pub fn time(&self) -> String {
        let (hour, minute) = (self.at.hour(), self.at.minute());
        match self.lang {
            Lang::En => format!("{hour:02}:{minute:02} UTC"),
            Lang::Ja => format!("{hour:02}:{minute:02}{JAPAN}"),
        }
    }

    fn full(&self, seconds: bool) -> String {
        let at = self.at;
        let clock = HourMinute { at, seconds };
        match self.lang {
            Lang::En => {
                let month = at.month().to_string();
                let month = month.get(..3).unwrap_or_default();
                format!("{} {month} {}, {clock} UTC", at.day(), at.year())
            }
            Lang::Ja => {
                format!("{}年{}月{}日 {clock}{JAPAN}", at.year(), u8::from(at.month()), at.day())
            }
        }
    }
}

/// What Japanese says of the zone.
const JAPAN: &str = "（日本時間）";

fn without_zone(mut text: String) -> String {
    if let Some(length) = text.strip_suffix(JAPAN).map(str::len) {
        text.truncate(length);
    }
    text
}

struct HourMinute {
    at: OffsetDateTime,
    seconds: bool,
}

impl fmt::Display for HourMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.at.hour(), self.at.minute())?;
        if self.seconds { write!(f, ":{:02}", self.at.second()) } else { Ok(()) }
    }
}
