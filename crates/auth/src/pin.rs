//! One-time PINs, and how often one may be asked for and tried.

use std::{fmt, time::Duration};

use tunnel_proto::EmailAddress;
use zeroize::Zeroizing;

use crate::secret::{HashKey, keyed_hash};

/// How many digits a PIN has. Spraying 10,000 addresses at the limits below succeeds 0.0025 times an hour with eight, and
/// a hundred times as often with six.
pub const DIGITS: usize = 8;
/// Wrong tries after which a code is void.
pub const MAX_TRIES: u32 = 5;
/// How long a code lives once its mail was handed to the mail server.
pub const LIFE_FROM_HANDED_OVER: Duration = Duration::from_secs(10 * 60);
/// How long a code lives at most, from when it was asked for.
pub const LIFE_FROM_REQUEST: Duration = Duration::from_secs(30 * 60);

/// At most so many events within a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most events.
    pub events: u32,
    /// The window.
    pub window: Duration,
}

const fn limit(events: u32, seconds: u64) -> Limit {
    Limit { events, window: Duration::from_secs(seconds) }
}

/// Codes for one address, whoever asks and whether or not it is admitted; see [`mailbox`].
pub const PER_ADDRESS: [Limit; 3] = [limit(1, 30), limit(5, 3600), limit(20, 24 * 3600)];
/// Codes asked for from one source network. Generous, since an office or a carrier's NAT shares one.
pub const PER_SOURCE: [Limit; 2] = [limit(30, 60), limit(300, 3600)];
/// Codes asked for in all.
pub const IN_ALL: [Limit; 2] = [limit(200, 60), limit(3000, 3600)];
/// Codes typed for one address, right or wrong.
pub const TRIES_PER_ADDRESS: [Limit; 1] = [limit(50, 24 * 3600)];
/// Codes typed from one source network.
pub const TRIES_PER_SOURCE: [Limit; 2] = [limit(60, 60), limit(600, 3600)];

/// A one-time PIN: eight digits. Never printed by accident, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<[u8; DIGITS]>);

impl Pin {
    /// A PIN from random bytes. The bias of the remainder is below 2⁻³⁷.
    pub fn from_random(random: [u8; 8]) -> Self {
        let mut rest = u64::from_be_bytes(random);
        let mut digits = Zeroizing::new([b'0'; DIGITS]);
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789".get(usize::try_from(rest % 10).unwrap_or_default()).copied().unwrap_or(b'0');
            rest /= 10;
        }
        Self(digits)
    }

    /// What a person typed or pasted: eight digits, ASCII or full-width, with spaces and hyphens anywhere.
    pub fn from_typed(text: &str) -> Option<Self> {
        let mut digits = Zeroizing::new([0; DIGITS]);
        let mut places = digits.iter_mut();
        for c in text.chars().take(TYPED_MAX) {
            let digit = match c {
                '0'..='9' => u32::from(c),
                '０'..='９' => u32::from(c).saturating_sub(u32::from('０')).saturating_add(u32::from('0')),
                '-' | '‐' | '－' => continue,
                c if c.is_whitespace() => continue,
                _ => return None,
            };
            *places.next()? = u8::try_from(digit).ok()?;
        }
        if places.next().is_some() || text.chars().nth(TYPED_MAX).is_some() {
            return None;
        }
        drop(places);
        Some(Self(digits))
    }

    /// The PIN as it is shown: two groups of four digits.
    pub fn grouped(&self) -> Zeroizing<String> {
        let mut text = String::with_capacity(DIGITS + 1);
        for (i, digit) in self.0.iter().enumerate() {
            if i == DIGITS / 2 {
                text.push(' ');
            }
            text.push(char::from(*digit));
        }
        Zeroizing::new(text)
    }

    /// What is stored in its place: a keyed hash that counts only in the challenge `id` of the browser whose login cookie
    /// has the hash `login`. Without the key, eight digits are found by trying.
    pub fn hash(&self, key: &HashKey, id: &[u8; 32], login: &[u8; 32]) -> [u8; 32] {
        keyed_hash(key, "pin", &[self.0.as_slice(), id, login])
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

/// The mailbox that an address stands for, as far as limits are concerned: without its `+tag` and its dots, which some
/// providers ignore, so that `ann+1@example.com` and `a.nn@example.com` share what `ann@example.com` may have. For counting only; who is admitted is
/// judged on the address itself.
pub fn mailbox(email: &EmailAddress) -> String {
    let local = email.local();
    let local = match local.split_once('+') {
        Some((head, _)) if !head.is_empty() => head,
        _ => local,
    };
    format!("{}@{}", local.replace('.', ""), email.domain())
}

/// The most characters that are read of what somebody typed.
const TYPED_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_type_and_paste_is_understood() {
        let pin = Pin::from_typed("12345678").unwrap();
        for typed in [
            "1234 5678",
            " 12345678\n",
            "1234-5678",
            "１２３４５６７８",
            "１２３４　５６７８",
            "1 2 3 4 5 6 7 8",
            "1234\u{a0}5678",
        ] {
            assert_eq!(Pin::from_typed(typed).as_ref(), Some(&pin), "{typed}");
        }
        let long = format!("12345678{}", " ".repeat(40));
        for typed in
            ["", "1234567", "123456789", "1234567a", "12345678'", "+1234567", "١٢٣٤٥٦٧٨", "12345678\u{0}", &long]
        {
            assert_eq!(Pin::from_typed(typed), None, "{typed}");
        }
    }

    #[test]
    fn leading_zeros_are_kept_and_nothing_is_printed() {
        let pin = Pin::from_random(42u64.to_be_bytes());
        assert_eq!(pin.grouped().as_str(), "0000 0042");
        assert_eq!(format!("{pin:?}"), "Pin(…)");
    }

    // P1, P5
    #[test]
    fn a_code_counts_in_its_challenge_and_browser_only() {
        let (key, pin) = (HashKey::new(&[1; 32]), Pin::from_random([7; 8]));
        let good = pin.hash(&key, &[2; 32], &[3; 32]);
        assert_eq!(good, pin.hash(&key, &[2; 32], &[3; 32]));
        assert_ne!(good, pin.hash(&key, &[9; 32], &[3; 32]));
        assert_ne!(good, pin.hash(&key, &[2; 32], &[9; 32]));
        assert_ne!(good, pin.hash(&HashKey::new(&[9; 32]), &[2; 32], &[3; 32]));
        assert_ne!(good, Pin::from_random([8; 8]).hash(&key, &[2; 32], &[3; 32]));
    }

    // P3
    #[test]
    fn spellings_of_one_mailbox_share_its_limits() {
        let mailbox = |text: &str| mailbox(&text.parse().unwrap());
        for (email, expected) in [
            ("Ann@Example.COM", "ann@example.com"),
            ("ann+1@example.com", "ann@example.com"),
            ("ann+1+2@example.com", "ann@example.com"),
            ("+ann@example.com", "+ann@example.com"),
            ("ann@sub.example.com", "ann@sub.example.com"),
        ] {
            assert_eq!(mailbox(email), expected);
        }
    }

    proptest! {
        #[test]
        fn every_pin_is_eight_digits_that_can_be_typed_back(random: [u8; 8]) {
            let pin = Pin::from_random(random);
            let text = pin.grouped();
            prop_assert_eq!(text.len(), 9);
            prop_assert!(text.bytes().all(|b| b.is_ascii_digit() || b == b' '));
            prop_assert_eq!(Pin::from_typed(&text), Some(pin));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = Pin::from_typed(&text);
        }
    }
}
