//! Opaque random values: 256 bits that mean nothing but themselves, written as 43 characters of base64url.
//!
//! Only the hash of such a value is stored, and only the exact text is accepted: no padding, no other alphabet, no
//! shorter or longer form, no second spelling of the last character.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::secret;

/// How long the text of an opaque value is.
pub const OPAQUE_LEN: usize = 43;

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $purpose:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// The value with these random bytes.
            pub fn from_random(random: [u8; 32]) -> Self {
                Self(Zeroizing::new(random))
            }

            /// Reads exactly the text that [`reveal`](Self::reveal) gives; everything else is `None`.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != OPAQUE_LEN {
                    return None;
                }
                let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
                Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
            }

            /// The text for the cookie, address or form that carries it. A secret.
            pub fn reveal(&self) -> Zeroizing<String> {
                Zeroizing::new(BASE64URL_NOPAD.encode(self.0.as_slice()))
            }

            /// What is stored in its place.
            pub fn hash(&self) -> [u8; 32] {
                secret::hash($purpose, self.0.as_slice())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

opaque! {
    /// The value of a session cookie.
    SessionId, "session"
}
opaque! {
    /// The value of a login cookie: what ties the steps of one login to one browser.
    LoginId, "login"
}
opaque! {
    /// The single-use code that hands a login over to an application's host.
    HandOverCode, "hand-over"
}
opaque! {
    /// An access client's token for one application.
    ClientToken, "client-token"
}
opaque! {
    /// The secret of a service token, by which a machine is admitted.
    ServiceSecret, "service-token"
}
opaque! {
    /// The name of a PIN challenge.
    ChallengeId, "challenge"
}
opaque! {
    /// The single-use code that a browser brings back to the access client, who turns it into a token.
    ClientCode, "client-code"
}
opaque! {
    /// What a browser takes to a provider and brings back, so that the answer is known to belong to its login.
    LoginState, "login-state"
}
opaque! {
    /// The link by which an administrator tries a login method.
    TrialId, "login-trial"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_of_one_kind_does_not_hash_like_another() {
        let hashes = [
            SessionId::from_random([1; 32]).hash(),
            LoginId::from_random([1; 32]).hash(),
            HandOverCode::from_random([1; 32]).hash(),
            ChallengeId::from_random([1; 32]).hash(),
            ServiceSecret::from_random([1; 32]).hash(),
            ClientCode::from_random([1; 32]).hash(),
            LoginState::from_random([1; 32]).hash(),
            TrialId::from_random([1; 32]).hash(),
            ClientToken::from_random([1; 32]).hash(),
        ];
        for (i, a) in hashes.iter().enumerate() {
            assert!(hashes.iter().skip(i + 1).all(|b| a != b));
        }
        assert_eq!(format!("{:?}", SessionId::from_random([1; 32])), "SessionId(…)");
    }

    // S11
    #[test]
    fn only_the_exact_text_is_accepted() {
        let text = SessionId::from_random([0xfb; 32]).reveal();
        assert_eq!(text.len(), OPAQUE_LEN);
        assert!(SessionId::parse(&text).is_some());
        for cut in 0..text.len() {
            assert!(SessionId::parse(&text[..cut]).is_none());
            assert!(SessionId::parse(&text[cut + 1..]).is_none());
        }
        let others = [
            format!("{}=", *text),
            format!(" {}", *text),
            format!("{}A", *text),
            format!("A{}", *text),
            text.replace('-', "+").replace('_', "/"),
            // The last character carries two bits that must be zero: `s` = 0b101100 → `t` = 0b101101.
            format!("{}t", &text[..42]),
            "é".repeat(21) + "a",
        ];
        for other in others {
            assert!(SessionId::parse(&other).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_value_comes_back_from_its_text(random: [u8; 32]) {
            let id = SessionId::from_random(random);
            prop_assert_eq!(SessionId::parse(&id.reveal()).unwrap().hash(), id.hash());
        }

        #[test]
        fn a_text_that_is_accepted_is_the_one_that_would_be_written(text in "[A-Za-z0-9_-]{43}") {
            if let Some(id) = SessionId::parse(&text) {
                let written = id.reveal();
                prop_assert_eq!(written.as_str(), text);
            }
        }
    }
}
