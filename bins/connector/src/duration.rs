//! Durations as people write them: `30s`, `1m30s`, `2h`, or a bare number of seconds.

use std::time::Duration;

/// Reads a duration. The units are `h`, `m`, `s` and `ms`, each at most once and in this order.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 30s, 1m30s or 2h");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    let mut units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)].iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = units.find(|(name, _)| *name == unit).map(|(_, millis)| *millis).ok_or_else(wrong)?;
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Reads a grace period: at most a day.
pub(crate) fn parse_grace(text: &str) -> Result<Duration, String> {
    let grace = parse(text)?;
    if grace > Duration::from_secs(24 * 3600) { Err(format!("`{text}` is more than a day")) } else { Ok(grace) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("0", 0),
            ("30", 30_000),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1h0m0s", 3_600_000),
            ("250ms", 250),
            ("1s1ms", 1001),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "30x", "30 s", "-1s", "1s1m", "1s1s", "1.5s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_grace_period_is_at_most_a_day() {
        assert!(parse_grace("24h").is_ok());
        assert!(parse_grace("24h1s").is_err());
    }
}
