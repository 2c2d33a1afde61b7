//! The keys that sign assertions, as they are used: opened, and published.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use tunnel_auth::{Algorithm, Jwks, SigningKey, assertion::Jwk};
use tunnel_proto::UnixTime;

use super::ring::{KeptKey, KeyState, KeyStatus, Ring};

/// The keys at one moment; replaced whole.
pub(super) struct Live {
    sealed: Vec<u8>,
    ring: Ring,
    keys: Vec<LiveKey>,
    listed: Vec<(String, KeyState)>,
    all: Published,
    compatible: Published,
}

struct LiveKey {
    key: Arc<SigningKey>,
    signs: UnixTime,
}

/// Which keys somebody wants to verify by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever knows that there are several kinds.
    All,
    /// Verifiers for Cloudflare Access, some of which stumble over every key that is not for RS256.
    Compatible,
}

/// Published keys, and a tag that changes with them.
#[derive(Clone)]
pub struct Published {
    /// JSON: a key set (RFC 7517 §5), and certificates of those for RS256.
    pub json: Bytes,
    /// A strong entity tag (RFC 9110 §8.8.3).
    pub etag: HeaderValue,
    /// Whether there is a key for every algorithm; the first ones of an edge come one after the other.
    pub complete: bool,
}

impl Live {
    /// The keys of a ring, or what is wrong with one.
    pub(super) fn new(sealed: Vec<u8>, ring: Ring, now: UnixTime) -> Result<Self, String> {
        let open = |kept: &KeptKey| Ok(LiveKey { key: kept.open()?, signs: kept.signs() });
        let keys: Vec<LiveKey> = ring.keys().iter().map(open).collect::<Result<_, String>>()?;
        let status = ring.status(now);
        let publish = |audience| publish(&ring, &keys, &status, audience);
        let (all, compatible) = (publish(Audience::All)?, publish(Audience::Compatible)?);
        Ok(Self { sealed, keys, listed: listed(&status), all, compatible, ring })
    }

    /// Whether these are not the keys that are stored as `sealed`, or other ones sign than when they were published.
    pub(super) fn is_outdated(&self, sealed: &[u8], now: UnixTime) -> bool {
        self.sealed != sealed || self.listed != listed(&self.ring.status(now))
    }

    /// The key that signs at `now`. Of ES256 there is always one.
    pub(super) fn signing(&self, algorithm: Algorithm, now: UnixTime) -> Option<Arc<SigningKey>> {
        let row = || self.keys.iter().filter(|key| key.key.algorithm() == algorithm);
        // As `ring::signer`, without a list.
        let signing = row().rfind(|key| key.signs <= now).or_else(|| row().next());
        signing.map(|key| key.key.clone())
    }

    pub(super) fn status(&self, now: UnixTime) -> Vec<KeyStatus> {
        self.ring.status(now)
    }

    pub(super) const fn published(&self, audience: Audience) -> &Published {
        match audience {
            Audience::All => &self.all,
            Audience::Compatible => &self.compatible,
        }
    }

    pub(super) fn jwks(&self) -> Jwks {
        Jwks::new(self.keys.iter().map(|key| key.key.public()))
    }
}

fn listed(status: &[KeyStatus]) -> Vec<(String, KeyState)> {
    status.iter().map(|key| (key.id.clone(), key.state)).collect()
}

/// The answer, in the form that Cloudflare Access gives it.
#[derive(Serialize)]
struct Answer<'a> {
    keys: Vec<Jwk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_cert: Option<Certificate<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    public_certs: Vec<Certificate<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct Certificate<'a> {
    kid: &'a str,
    cert: &'a str,
}

fn publish(ring: &Ring, keys: &[LiveKey], status: &[KeyStatus], audience: Audience) -> Result<Published, String> {
    let mut wanted: Vec<_> =
        status.iter().filter(|key| audience == Audience::All || key.algorithm == Algorithm::Rs256).collect();
    // Whoever looks at one key only shall see one that signs.
    wanted.sort_by_key(|key| key.state != KeyState::Signing);
    let find = |status: &&KeyStatus| keys.iter().find(|key| key.key.kid() == status.id).map(|key| key.key.public());
    let certificate = |status: &&KeyStatus| {
        let kept = ring.keys().iter().find(|key| key.kid() == status.id)?;
        Some(Certificate { kid: kept.kid(), cert: kept.certificate()? })
    };
    let public_certs: Vec<_> = wanted.iter().filter_map(certificate).collect();
    let answer = Answer {
        keys: wanted.iter().filter_map(find).collect(),
        public_cert: public_certs.first().copied(),
        public_certs,
    };
    let json = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
    let tag = data_encoding::HEXLOWER.encode(digest(&SHA256, &json).as_ref());
    let etag = HeaderValue::try_from(format!("\"{tag}\"")).map_err(|error| error.to_string())?;
    let signs = |algorithm| status.iter().any(|key| key.algorithm == algorithm && key.state == KeyState::Signing);
    Ok(Published { json: json.into(), etag, complete: Algorithm::ALL.into_iter().all(signs) })
}
