//! Times of the week, as a clock on the wall shows them somewhere.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::LazyLock,
};

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};
use tunnel_proto::UnixTime;

/// Certain times on certain days of the week, by the clock of a time zone: it holds while that clock shows such a time,
/// summer time or not. A time span that crosses midnight belongs to the day on which it began.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct TimeOfWeek {
    days: Days,
    from: TimeOfDay,
    to: TimeOfDay,
    zone: Zone,
}

/// Why it is no time of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeOfWeekError {
    /// It names no day.
    #[error("no day is named")]
    NoDay,
    /// It begins when it ends.
    #[error("it begins when it ends; a whole day is from `00:00` to `24:00`")]
    Empty,
    /// It begins at the end of a day.
    #[error("it begins at `24:00`; write `00:00` of the day after")]
    BeginsAtEnd,
}

impl TimeOfWeek {
    /// From `from` to `to`, the latter not included, on each of these days. When `to` is not after `from`, it is that of the
    /// next day.
    pub fn new(days: Days, from: TimeOfDay, to: TimeOfDay, zone: Zone) -> Result<Self, TimeOfWeekError> {
        match () {
            () if days.0 == 0 => Err(TimeOfWeekError::NoDay),
            () if from == to => Err(TimeOfWeekError::Empty),
            () if from.0 >= DAY => Err(TimeOfWeekError::BeginsAtEnd),
            () => Ok(Self { days, from, to, zone }),
        }
    }

    /// The days on which it begins.
    pub const fn days(&self) -> Days {
        self.days
    }

    /// When it begins.
    pub const fn begins(&self) -> TimeOfDay {
        self.from
    }

    /// When it ends; that moment is not part of it.
    pub const fn ends(&self) -> TimeOfDay {
        self.to
    }

    /// Where the clock hangs.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether it is such a time at `now`.
    pub fn holds(&self, now: UnixTime) -> bool {
        self.holds_at(minute_of_week(&self.zone.reading(now)))
    }

    /// The next moment at which that could change; never later than when it does.
    pub fn next_change(&self, now: UnixTime) -> Option<UnixTime> {
        let reading = self.zone.reading(now);
        let second = minute_of_week(&reading).saturating_mul(60).saturating_add(u32::try_from(reading.second()).ok()?);
        // Until the zone's clock is next put forward or back, it runs as ours does.
        let until = |minute: u32| match (minute * 60 + WEEK * 60 - second) % (WEEK * 60) {
            0 => WEEK * 60,
            seconds => seconds,
        };
        let edges = self.spans().flat_map(|(start, length)| [start, (start + length) % WEEK]);
        let seconds = edges.map(until).min()?;
        let by_clock = UnixTime(now.0.checked_add(u64::from(seconds))?);
        Some(self.zone.next_shift(now).map_or(by_clock, |shift| shift.min(by_clock)))
    }

    /// What the clock shows at `now`: `Sat 18:30`.
    pub(crate) fn shown(&self, now: UnixTime) -> String {
        let reading = self.zone.reading(now);
        let day = DAYS.get(usize::from(day_of_week(&reading))).copied().unwrap_or_default();
        format!("{day} {:02}:{:02} there", reading.hour(), reading.minute())
    }

    /// Whether it holds at this minute of the zone's week, counted from the beginning of Monday.
    pub(crate) fn holds_at(&self, minute: u32) -> bool {
        self.spans().any(|(start, length)| (minute + WEEK - start) % WEEK < length)
    }

    /// Where each of its spans begins in the week, and how long it is, in minutes.
    fn spans(&self) -> impl Iterator<Item = (u32, u32)> {
        let (from, to) = (u32::from(self.from.0), u32::from(self.to.0));
        let length = if from < to { to - from } else { to + u32::from(DAY) - from };
        self.days.numbers().map(move |day| (u32::from(day) * u32::from(DAY) + from, length))
    }
}

impl fmt::Display for TimeOfWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}-{} {}", self.days, self.from, self.to, self.zone)
    }
}

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Minutes of a week.
pub(crate) const WEEK: u32 = 7 * DAY as u32;
/// The days by number.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

fn day_of_week(reading: &DateTime) -> u8 {
    reading.weekday().to_monday_zero_offset().unsigned_abs()
}

fn minute_of_week(reading: &DateTime) -> u32 {
    let (hour, minute) = (reading.hour().unsigned_abs(), reading.minute().unsigned_abs());
    u32::from(day_of_week(reading)) * u32::from(DAY) + u32::from(hour) * 60 + u32::from(minute)
}

/// Days of the week. Written as a day (`mon`) or a range of days (`mon-fri`, `sat-mon`), in any case; several of those are put
/// together by [`Days::with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Days(u8);

impl Days {
    /// These days and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The days, three and more in a row as a range: `mon-fri`, `sun`.
    pub fn parts(self) -> Vec<String> {
        let name = |day: u8| DAYS.get(usize::from(day)).map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        let mut parts = Vec::new();
        let mut days = self.numbers().peekable();
        while let Some(first) = days.next() {
            let mut last = first;
            while let Some(next) = days.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => parts.push(name(first)),
                1 => parts.extend([name(first), name(last)]),
                _ => parts.push(format!("{}-{}", name(first), name(last))),
            }
        }
        parts
    }

    fn numbers(self) -> impl Iterator<Item = u8> {
        (0..7).filter(move |day| self.0 & (1 << day) != 0)
    }
}

impl FromStr for Days {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let number = |day: &str| (0u8..).zip(DAYS).find(|(_, name)| name.eq_ignore_ascii_case(day)).map(|(n, _)| n);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (mut day, last) = (number(first.trim()).ok_or(DayError)?, number(last.trim()).ok_or(DayError)?);
        let mut days = 1 << day;
        while day != last {
            day = (day + 1) % 7;
            days |= 1 << day;
        }
        Ok(Self(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join(","))
    }
}

/// Not a day, nor a range of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a day: write `mon`, `tue`, `wed`, `thu`, `fri`, `sat` or `sun`, or a range such as `mon-fri`")]
pub struct DayError;

/// A time of day to the minute, from `00:00` to `24:00`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

/// Not a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day: write hours and minutes, such as `09:00`, up to `24:00`")]
pub struct TimeOfDayError;

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    fn from_str(text: &str) -> Result<Self, TimeOfDayError> {
        let (hour, minute) = text.split_once(':').ok_or(TimeOfDayError)?;
        let digits = |text: &str, least: usize| {
            let fits = (least..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| fits).ok_or(TimeOfDayError)
        };
        let (hour, minute) = (digits(hour, 1)?, digits(minute, 2)?);
        let minutes = hour * 60 + minute;
        if minute > 59 || minutes > DAY { Err(TimeOfDayError) } else { Ok(Self(minutes)) }
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = TimeOfDayError;

    fn try_from(text: String) -> Result<Self, TimeOfDayError> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeOfDay({self})")
    }
}

/// A time zone of the IANA database, which comes with this crate: no file is read.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// No such time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time zone of the IANA database: write for example `Asia/Tokyo` or `UTC`")]
pub struct ZoneError;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

impl Zone {
    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or_default()
    }

    /// The names of all zones.
    pub fn names() -> impl Iterator<Item = String> {
        DATABASE.available().map(|name| name.as_str().to_owned())
    }

    /// What its clock shows.
    fn reading(&self, now: UnixTime) -> DateTime {
        self.0.to_datetime(timestamp(now))
    }

    /// When its clock is next put forward or back.
    fn next_shift(&self, now: UnixTime) -> Option<UnixTime> {
        let next = self.0.following(timestamp(now)).next()?;
        u64::try_from(next.timestamp().as_second()).ok().map(UnixTime)
    }
}

/// A moment after the year 9999 counts as its end.
fn timestamp(now: UnixTime) -> Timestamp {
    let seconds = i64::try_from(now.0).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let zone = DATABASE.get(text).map_err(|_| ZoneError)?;
        if zone.is_unknown() || zone.iana_name().is_none() { Err(ZoneError) } else { Ok(Self(zone)) }
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(text: String) -> Result<Self, ZoneError> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({self})")
    }
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    days: Vec<String>,
    from: TimeOfDay,
    to: TimeOfDay,
    zone: Zone,
}

/// What is stored is no time of the week.
#[derive(Debug, thiserror::Error)]
enum RawError {
    #[error(transparent)]
    Day(#[from] DayError),
    #[error(transparent)]
    Time(#[from] TimeOfWeekError),
}

impl TryFrom<Raw> for TimeOfWeek {
    type Error = RawError;

    fn try_from(raw: Raw) -> Result<Self, RawError> {
        let days: Vec<Days> = raw.days.iter().map(|day| day.parse()).collect::<Result<_, _>>()?;
        let days = days.into_iter().fold(Days::default(), Days::with);
        Ok(Self::new(days, raw.from, raw.to, raw.zone)?)
    }
}

impl From<TimeOfWeek> for Raw {
    fn from(time: TimeOfWeek) -> Self {
        Self { days: time.days.parts(), from: time.from, to: time.to, zone: time.zone }
    }
}
