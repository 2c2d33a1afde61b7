//! The token in every form: it proves that the page the form was on was made for the same browser.

use data_encoding::BASE64URL_NOPAD;

use crate::secret::{HashKey, keyed_hash, same};

/// The token for the form called `form` in the browser whose login cookie or session has the hash `bind`.
///
/// It is the same each time it is asked for, so nothing is stored and pages may be reloaded; it ends with what it is bound
/// to, and says nothing about it.
pub fn token(key: &HashKey, form: &str, bind: &[u8; 32]) -> String {
    BASE64URL_NOPAD.encode(&keyed_hash(key, "form", &[form.as_bytes(), bind]))
}

/// Whether `presented` is the token of that form in that browser.
pub fn verify(key: &HashKey, form: &str, bind: &[u8; 32], presented: &str) -> bool {
    same(token(key, form, bind).as_bytes(), presented.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A1
    #[test]
    fn a_token_is_good_for_its_form_in_its_browser_only() {
        let (key, other) = (HashKey::new(&[1; 32]), HashKey::new(&[2; 32]));
        let good = token(&key, "login", &[7; 32]);
        assert!(verify(&key, "login", &[7; 32], &good));
        assert!(!verify(&key, "logout", &[7; 32], &good));
        assert!(!verify(&key, "login", &[8; 32], &good));
        assert!(!verify(&other, "login", &[7; 32], &good));
        for wrong in ["", &good[1..], &good[..42], &format!("{good}="), &good.to_lowercase()] {
            assert!(!verify(&key, "login", &[7; 32], wrong), "{wrong}");
        }
    }
}
