//! The edge's keys: one master key in a file, everything else derived from it or sealed with it.
//!
//! `DATA-DIR/master.key` (owner-only) holds 32 random bytes. From it one key per purpose is derived (HKDF-SHA-256,
//! RFC 5869), so that what was sealed or hashed for one purpose means nothing to another. Keys that must not change with
//! it, such as those that sign assertions, are random themselves and kept sealed in the store. A copy of the database
//! without the file is of no use; so neither is a backup of one without the other.
//!
//! Keys that sign assertions follow each other (`ring.rs`, `rotation.rs`); what is in use sits behind an [`ArcSwap`].

mod certificate;
mod live;
mod master;
mod ring;
mod rotation;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use tunnel_auth::{Algorithm, HashKey, Jwks, OpenError, SealKey, SecretBytes, SigningKey};
use tunnel_proto::{
    Hostname, UnixTime,
    identity::{Ca, CaError},
};

use crate::store::{Store, StoreError};

pub use live::{Audience, Published};
pub use ring::{CERTS_LIFE, KEYS_MAX, KeyState, KeyStatus, NEXT_LIFE, PREVIOUS_LIFE, SIGNING_LIFE};
pub use rotation::RotateKeys;

use live::Live;
use ring::Ring;

/// The name of the master key's file in the data directory.
pub const MASTER_KEY: &str = "master.key";

/// The keys of this installation.
pub struct Keys {
    prk: Prk,
    hash: HashKey,
    live: ArcSwap<Live>,
    /// Held while the keys that sign are changed.
    changing: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Reads the master key of `data_dir` and what is sealed with it. Makes all of it on the first start; when `store`
    /// holds what an earlier master key sealed, a missing or different one is refused, and nothing is made or changed.
    pub async fn load(data_dir: &Path, store: &dyn Store, now: UnixTime) -> Result<Self, KeysError> {
        let path = data_dir.join(MASTER_KEY);
        let begun = store.secret(SIGNING_KEY).await?.is_some();
        let master = master::read_or_create(&path, begun)?;
        let prk = Salt::new(HKDF_SHA256, b"tunnel edge master key 1").extract(master.expose());
        let (sealed, ring) = match first_keys(&prk, store, now).await {
            Err(KeysError::Sealed { .. }) => return Err(KeysError::OtherKey { path }),
            keys => keys?,
        };
        let useless = |reason| KeysError::Useless { name: SIGNING_KEY, reason };
        let live = ArcSwap::from_pointee(Live::new(sealed, ring, now).map_err(useless)?);
        if live.load().signing(Algorithm::Es256, now).is_none() {
            return Err(useless("there is no key in it".to_owned()));
        }
        let hash = HashKey::new(&derive(&prk, "hash", ""));
        Ok(Self { prk, hash, live, changing: tokio::sync::Mutex::default() })
    }

    /// Seals `plain` for `purpose` at the place that `aad` names (AES-256-GCM under the purpose's own key).
    pub fn seal(&self, purpose: &str, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        seal_key(&self.prk, purpose).seal(purpose, aad, plain, crate::random())
    }

    /// Opens what [`Keys::seal`] sealed for the same purpose and place.
    pub fn open(&self, purpose: &str, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, OpenError> {
        seal_key(&self.prk, purpose).open(purpose, aad, sealed)
    }

    /// The key for sealing for `purpose` alone, for a task that outlives the borrow of the keys.
    pub(crate) fn seal_key(&self, purpose: &str) -> SealKey {
        seal_key(&self.prk, purpose)
    }

    /// The key for hashing what can be guessed: PINs, addresses, form tokens. Each use names its purpose.
    pub const fn hash_key(&self) -> &HashKey {
        &self.hash
    }

    /// Keyed hash of `parts` for `purpose`; see [`tunnel_auth::secret::keyed_hash`].
    pub fn keyed_hash(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        tunnel_auth::secret::keyed_hash(&self.hash, purpose, parts)
    }

    /// The key that signs at `now`. There is always one for ES256; the first one for RS256 takes the edge some moments.
    pub fn signing(&self, algorithm: Algorithm, now: UnixTime) -> Option<Arc<SigningKey>> {
        self.live.load().signing(algorithm, now)
    }

    /// The public halves of the signing keys.
    pub fn jwks(&self) -> Jwks {
        self.live.load().jwks()
    }

    /// The keys as `certs` publishes them.
    pub fn published(&self, audience: Audience) -> Published {
        self.live.load().published(audience).clone()
    }

    /// Every key that signs, will sign or has signed.
    pub fn status(&self, now: UnixTime) -> Vec<KeyStatus> {
        self.live.load().status(now)
    }

    /// The secret that is kept sealed in the store under `name`; made by `make` when there is none. Of several edges that
    /// start at once, all get the same one.
    pub async fn kept(
        &self,
        store: &dyn Store,
        name: &'static str,
        make: impl FnOnce() -> Result<SecretBytes, String> + Send,
    ) -> Result<SecretBytes, KeysError> {
        kept(&self.prk, store, name, make).await
    }

    fn sealed(&self, ring: &Ring) -> Result<Vec<u8>, KeysError> {
        let bytes = ring.to_bytes();
        let bytes = bytes.map_err(|error| KeysError::Useless { name: SIGNING_KEY, reason: error.to_string() })?;
        Ok(seal_kept(&self.prk, SIGNING_KEY, &bytes))
    }

    fn unsealed(&self, sealed: &[u8]) -> Result<Ring, KeysError> {
        let not_keys = || KeysError::Useless { name: SIGNING_KEY, reason: "not keys".to_owned() };
        Ring::of_bytes(open_kept(&self.prk, SIGNING_KEY, sealed)?.expose()).ok_or_else(not_keys)
    }

    /// The certificate authority of this installation, made on the first start. A zone other than the one it was made for
    /// is refused: every certificate it signed names that one.
    pub async fn authority(&self, store: &dyn Store, zone: &Hostname, now: UnixTime) -> Result<Ca, KeysError> {
        let useless = |reason: String| KeysError::Useless { name: AUTHORITY, reason };
        let make = || {
            let ca = Ca::generate(zone, now).map_err(|error| error.to_string())?;
            let kept = KeptAuthority {
                zone: zone.clone(),
                certificate: ca.certificate_pem().to_owned(),
                key: ca.key_pem().to_string(),
            };
            serde_json::to_vec(&kept).map(SecretBytes::new).map_err(|error| error.to_string())
        };
        let bytes = self.kept(store, AUTHORITY, make).await?;
        let kept: KeptAuthority =
            serde_json::from_slice(bytes.expose()).map_err(|_| useless("not an authority".to_owned()))?;
        if kept.zone != *zone {
            return Err(KeysError::OtherZone { kept: kept.zone.clone(), asked: zone.clone() });
        }
        Ca::from_pem(zone, &kept.certificate, &kept.key).map_err(|error: CaError| useless(error.to_string()))
    }
}

/// The authority as it is sealed.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptAuthority {
    zone: Hostname,
    certificate: String,
    key: String,
}

impl Drop for KeptAuthority {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("published", &self.live.load().jwks().keys().len()).finish_non_exhaustive()
    }
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The master key's file cannot be read or made.
    #[error("master key `{path}`: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is there, but holds something else.
    #[error("master key `{path}` is not 64 hexadecimal digits and a line end; put the right file back from a backup", path = .path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The database holds what a master key sealed, and the file is gone.
    #[error(
        "master key `{path}` is missing, and the database holds secrets sealed with it; put it back from a backup, or \
         move everything in the data directory away to begin anew",
        path = .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The database was sealed with another master key.
    #[error(
        "master key `{path}` does not belong to this database; put back the one that was beside it",
        path = .path.display()
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
    },
    /// A sealed secret does not open.
    #[error("the stored secret `{name}` cannot be opened: {source}")]
    Sealed {
        /// Its name.
        name: &'static str,
        /// Why not.
        source: OpenError,
    },
    /// A secret is not what it should be, or could not be made.
    #[error("the secret `{name}` is of no use: {reason}")]
    Useless {
        /// Its name.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The data directory belongs to another zone.
    #[error("the data directory belongs to zone `{kept}`, not `{asked}`; use another one with `--data-dir`")]
    OtherZone {
        /// The zone it was made for.
        kept: Hostname,
        /// The zone asked for.
        asked: Hostname,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The name of the signing keys among the store's secrets. They are the first thing sealed, so their presence tells that a
/// master key was in use.
const SIGNING_KEY: &str = "assertion key";
/// The name of the certificate authority among them.
const AUTHORITY: &str = "certificate authority";
/// The number of the master key in what it seals.
const MASTER_ID: u32 = 1;

async fn kept(
    prk: &Prk,
    store: &dyn Store,
    name: &'static str,
    make: impl FnOnce() -> Result<SecretBytes, String> + Send,
) -> Result<SecretBytes, KeysError> {
    let sealed = kept_sealed(prk, store, name, make).await?;
    open_kept(prk, name, &sealed)
}

async fn kept_sealed(
    prk: &Prk,
    store: &dyn Store,
    name: &'static str,
    make: impl FnOnce() -> Result<SecretBytes, String> + Send,
) -> Result<Vec<u8>, KeysError> {
    if let Some(sealed) = store.secret(name).await? {
        return Ok(sealed);
    }
    let secret = make().map_err(|reason| KeysError::Useless { name, reason })?;
    Ok(store.put_secret_if_absent(name, &seal_kept(prk, name, &secret)).await?)
}

fn seal_kept(prk: &Prk, name: &str, secret: &SecretBytes) -> Vec<u8> {
    seal_key(prk, KEPT).seal(KEPT, name.as_bytes(), secret.expose(), crate::random())
}

fn open_kept(prk: &Prk, name: &'static str, sealed: &[u8]) -> Result<SecretBytes, KeysError> {
    seal_key(prk, KEPT).open(KEPT, name.as_bytes(), sealed).map_err(|source| KeysError::Sealed { name, source })
}

/// The signing keys that are stored, made on the first start, with what they are sealed as. Where there is one bare key, from
/// when there was only one, it becomes the first of its row.
async fn first_keys(prk: &Prk, store: &dyn Store, now: UnixTime) -> Result<(Vec<u8>, Ring), KeysError> {
    let useless = |reason: String| KeysError::Useless { name: SIGNING_KEY, reason };
    let row = |pkcs8: &SecretBytes| {
        let ring = Ring::of_one(pkcs8, now).map_err(|error| error.to_string())?;
        ring.to_bytes().map_err(|error| error.to_string())
    };
    let make = || {
        let (_, pkcs8) = SigningKey::generate(Algorithm::Es256).map_err(|error| error.to_string())?;
        row(&pkcs8)
    };
    let sealed = kept_sealed(prk, store, SIGNING_KEY, make).await?;
    let bytes = open_kept(prk, SIGNING_KEY, &sealed)?;
    if let Some(ring) = Ring::of_bytes(bytes.expose()) {
        return Ok((sealed, ring));
    }
    let replaced = seal_kept(prk, SIGNING_KEY, &row(&bytes).map_err(useless)?);
    // When another edge came first, its word counts.
    store.replace_secret(SIGNING_KEY, &sealed, &replaced, &[]).await?;
    let sealed = store.secret(SIGNING_KEY).await?.unwrap_or_default();
    let bytes = open_kept(prk, SIGNING_KEY, &sealed)?;
    let ring = Ring::of_bytes(bytes.expose()).ok_or_else(|| useless("not keys".to_owned()))?;
    Ok((sealed, ring))
}

/// The purpose of secrets kept in the store.
const KEPT: &str = "kept secret";

fn seal_key(prk: &Prk, purpose: &str) -> SealKey {
    SealKey::new(MASTER_ID, &derive(prk, "seal", purpose))
}

fn derive(prk: &Prk, kind: &str, purpose: &str) -> zeroize::Zeroizing<[u8; 32]> {
    let mut key = zeroize::Zeroizing::new([0; 32]);
    prk.expand(&[kind.as_bytes(), b"\0", purpose.as_bytes()], HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("a hash's length of output is always available");
    key
}
