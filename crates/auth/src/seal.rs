//! Sealing: what is stored, or carried by a browser, and must come back unread and unchanged.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::secret::SecretBytes;

/// How many bytes a seal adds to what it seals.
pub const SEAL_OVERHEAD: usize = HEAD_LEN + NONCE_LEN + TAG_LEN;

const FORMAT: u8 = 1;
const HEAD_LEN: usize = 5;
const TAG_LEN: usize = 16;

/// A key for sealing, with the number by which sealed values name it; keys can be rotated without guessing.
///
/// A sealed value is `1 | key id (u32) | nonce (12) | AES-256-GCM ciphertext and tag`. The head, the purpose and the
/// associated data are authenticated: a value sealed for one purpose or place opens nowhere else.
pub struct SealKey {
    id: u32,
    key: LessSafeKey,
}

impl SealKey {
    /// The key with this number and these bytes.
    pub fn new(id: u32, key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        Self { id, key: LessSafeKey::new(key) }
    }

    /// The number of the key.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Seals `plain`. `nonce` is fresh random bytes; at 96 random bits a key is good for 2³² values.
    pub fn seal(&self, purpose: &str, aad: &[u8], plain: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plain.len().saturating_add(SEAL_OVERHEAD));
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.id.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        let aad = associated(self.id, purpose, aad);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut body)
            .expect("far below the 64 GiB that AES-GCM can seal");
        sealed.append(&mut body);
        sealed
    }

    /// Opens what this key sealed for the same purpose with the same associated data.
    pub fn open(&self, purpose: &str, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, OpenError> {
        if key_id(sealed)? != self.id {
            return Err(OpenError::OtherKey);
        }
        let rest = sealed.get(HEAD_LEN..).ok_or(OpenError::Malformed)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
        let mut body = body.to_vec();
        let aad = associated(self.id, purpose, aad);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(aad), &mut body).map_err(|_| OpenError::NotOurs)?.len();
        body.truncate(length);
        Ok(SecretBytes::new(body))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The number of the key that a sealed value names.
pub fn key_id(sealed: &[u8]) -> Result<u32, OpenError> {
    let (head, _) = sealed.split_first_chunk::<HEAD_LEN>().ok_or(OpenError::Malformed)?;
    match *head {
        [FORMAT, a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(OpenError::Malformed),
    }
}

fn associated(id: u32, purpose: &str, aad: &[u8]) -> Vec<u8> {
    let mut all = vec![FORMAT];
    all.extend_from_slice(&id.to_be_bytes());
    all.extend_from_slice(&u64::try_from(purpose.len()).unwrap_or(u64::MAX).to_be_bytes());
    all.extend_from_slice(purpose.as_bytes());
    all.extend_from_slice(aad);
    all
}

/// Why a sealed value was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short, or of a format this program does not know.
    #[error("not a sealed value")]
    Malformed,
    /// Sealed by another key; see [`key_id`].
    #[error("sealed by another key")]
    OtherKey,
    /// Changed, cut, or sealed for another purpose or place.
    #[error("not sealed by us for this purpose, or changed since")]
    NotOurs,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> SealKey {
        SealKey::new(1, &[9; 32])
    }

    #[test]
    fn a_value_opens_only_with_its_key_for_its_purpose_at_its_place() {
        let sealed = key().seal("mail", b"row 1", b"hello", [3; 12]);
        let cases = [
            (key(), "mail", b"row 1", Ok(&b"hello"[..])),
            (key(), "request", b"row 1", Err(OpenError::NotOurs)),
            (key(), "mail", b"row 2", Err(OpenError::NotOurs)),
            (SealKey::new(1, &[8; 32]), "mail", b"row 1", Err(OpenError::NotOurs)),
            (SealKey::new(2, &[9; 32]), "mail", b"row 1", Err(OpenError::OtherKey)),
        ];
        for (key, purpose, aad, expected) in cases {
            let opened = key.open(purpose, aad, &sealed);
            assert_eq!(opened.as_ref().map(SecretBytes::expose).map_err(|e| *e), expected, "{purpose}");
        }
    }

    #[test]
    fn where_the_purpose_ends_is_authenticated() {
        let sealed = key().seal("ab", b"c", b"x", [0; 12]);
        assert_eq!(key().open("a", b"bc", &sealed), Err(OpenError::NotOurs));
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", key()), "SealKey { id: 1, .. }");
    }

    proptest! {
        #[test]
        fn what_is_sealed_comes_back(plain in proptest::collection::vec(any::<u8>(), 0..300), nonce: [u8; 12]) {
            let sealed = key().seal("p", b"a", &plain, nonce);
            prop_assert_eq!(sealed.len(), plain.len() + SEAL_OVERHEAD);
            let opened = key().open("p", b"a", &sealed).unwrap();
            prop_assert_eq!(opened.expose(), &plain[..]);
        }

        #[test]
        fn a_changed_or_cut_value_never_opens(at in 0usize..100, bit in 0u8..8, cut in 0usize..100) {
            let sealed = key().seal("p", b"", &[5; 60], [1; 12]);
            let mut changed = sealed.clone();
            let at = at % changed.len();
            changed[at] ^= 1 << bit;
            prop_assert!(key().open("p", b"", &changed).is_err());
            prop_assert!(key().open("p", b"", &sealed[..cut % sealed.len()]).is_err());
        }

        #[test]
        fn any_bytes_at_all_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(key().open("p", b"", &bytes).is_err());
        }
    }
}
