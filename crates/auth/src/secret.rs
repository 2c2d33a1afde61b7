//! Secrets: kept out of sight, hashed for storage, compared in constant time.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that are never printed and are wiped when dropped.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// Equal or not, in a time that does not depend on where they differ.
impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for SecretBytes {}

/// A key for [`keyed_hash`].
#[derive(Clone)]
pub struct HashKey(hmac::Key);

impl HashKey {
    /// The key with these bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// SHA-256 of `bytes` for one purpose: for random secrets of at least 128 bits, which need no key. The same bytes hash
/// differently for another purpose, so a hash stolen from one table is of no use in another.
pub fn hash(purpose: &str, bytes: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    framed(&[purpose.as_bytes(), bytes], |part| context.update(part));
    into_array(context.finish().as_ref())
}

/// HMAC-SHA-256 of `parts` for one purpose: for guessable things, such as PINs and addresses. Where one part ends and the
/// next begins is part of what is hashed.
pub fn keyed_hash(key: &HashKey, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&key.0);
    framed(&[purpose.as_bytes()], |part| context.update(part));
    framed(parts, |part| context.update(part));
    into_array(context.sign().as_ref())
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Feeds each part behind its length, so that `["ab", "c"]` and `["a", "bc"]` differ.
fn framed(parts: &[&[u8]], mut update: impl FnMut(&[u8])) {
    for part in parts {
        update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        update(part);
    }
}

fn into_array(hash: &[u8]) -> [u8; 32] {
    hash.try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_shows_nothing_when_printed() {
        let secret = SecretBytes::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?} {:?}", HashKey::new(&[1; 32])), "SecretBytes(…) HashKey(…)");
    }

    #[test]
    fn a_hash_is_for_one_purpose_one_key_and_one_division_into_parts() {
        let (one, two) = (HashKey::new(&[1; 32]), HashKey::new(&[2; 32]));
        assert_ne!(hash("session", b"x"), hash("login", b"x"));
        assert_ne!(hash("a", b"bc"), hash("ab", b"c"));
        assert_ne!(keyed_hash(&one, "pin", &[b"x"]), keyed_hash(&two, "pin", &[b"x"]));
        assert_ne!(keyed_hash(&one, "pin", &[b"x"]), keyed_hash(&one, "limit", &[b"x"]));
        assert_ne!(keyed_hash(&one, "pin", &[b"ab", b"c"]), keyed_hash(&one, "pin", &[b"a", b"bc"]));
        assert_ne!(keyed_hash(&one, "pin", &[b"ab"]), keyed_hash(&one, "pin", &[b"ab", b""]));
    }

    proptest! {
        #[test]
        fn same_is_equality(a in proptest::collection::vec(any::<u8>(), 0..8), b in proptest::collection::vec(any::<u8>(), 0..8)) {
            prop_assert_eq!(same(&a, &b), a == b);
            prop_assert!(same(&a, &a));
        }
    }
}
