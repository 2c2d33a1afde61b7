//! The keys that sign assertions, as they are stored: migrated, changed, taken over from another edge.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use tempfile::TempDir;
use tunnel_auth::{Algorithm, Jwks, SecretBytes, SigningKey};
use tunnel_edge::{
    keys::{Audience, KeyState, Keys, NEXT_LIFE, PREVIOUS_LIFE, RotateKeys, SIGNING_LIFE},
    store::{AuditEvent, Store as _, sqlite::SqliteStore},
};
use tunnel_proto::UnixTime;

const T0: UnixTime = UnixTime(1_800_000_000);
const ROTATE: RotateKeys = RotateKeys { revoke_now: false };
const REVOKE: RotateKeys = RotateKeys { revoke_now: true };

async fn begun() -> (TempDir, Arc<SqliteStore>, Keys) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path().join("edge.db")).await.unwrap());
    let keys = load(dir.path(), &store).await;
    keys.tend(&*store, T0).await.unwrap();
    (dir, store, keys)
}

async fn load(dir: &Path, store: &SqliteStore) -> Keys {
    Keys::load(dir, store, T0).await.unwrap()
}

fn signer(keys: &Keys, algorithm: Algorithm, now: UnixTime) -> String {
    keys.signing(algorithm, now).unwrap().kid().to_owned()
}

fn published(keys: &Keys) -> BTreeSet<String> {
    let json = String::from_utf8(keys.published(Audience::All).json.to_vec()).unwrap();
    Jwks::from_json(&json).unwrap().keys().iter().map(|key| key.kid().to_owned()).collect()
}

// S7
#[tokio::test]
async fn an_installation_that_had_one_key_keeps_it_as_the_first() {
    let (dir, store, keys) = begun().await;
    // As an earlier edge left it: the bare key, sealed at the same place.
    let (key, pkcs8) = SigningKey::generate(Algorithm::Es256).unwrap();
    let sealed = keys.seal("kept secret", b"assertion key", pkcs8.expose());
    let now = store.secret("assertion key").await.unwrap().unwrap();
    assert!(store.replace_secret("assertion key", &now, &sealed, &[]).await.unwrap());
    let keys = load(dir.path(), &store).await;
    assert_eq!(signer(&keys, Algorithm::Es256, T0), key.kid());
    // Several edges that start at once, and the next start, find the same.
    let again = load(dir.path(), &store).await;
    assert_eq!(again.status(T0), keys.status(T0));
    assert_eq!(again.status(T0)[0].since, T0, "how old it is, is not known: its six weeks begin now");
    again.tend(&*store, T0).await.unwrap();
    assert_eq!(signer(&again, Algorithm::Es256, T0), key.kid());
    assert!(again.signing(Algorithm::Rs256, T0).is_some(), "and it gets the other kind");
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_left_alone() {
    let (dir, store, keys) = begun().await;
    for nonsense in [b"nonsense".as_slice(), b"{\"keys\":[]}", b"{}", b""] {
        let now = store.secret("assertion key").await.unwrap().unwrap();
        let sealed = keys.seal("kept secret", b"assertion key", SecretBytes::new(nonsense.to_vec()).expose());
        assert!(store.replace_secret("assertion key", &now, &sealed, &[]).await.unwrap());
        let error = Keys::load(dir.path(), &*store, T0).await.unwrap_err();
        assert!(error.to_string().contains("assertion key"), "{error}");
        assert_eq!(store.secret("assertion key").await.unwrap().unwrap(), sealed);
    }
}

// S7
#[tokio::test]
async fn keys_follow_each_other_by_themselves() {
    let (dir, store, keys) = begun().await;
    let first = signer(&keys, Algorithm::Es256, T0);
    let due = T0.plus(SIGNING_LIFE);
    keys.tend(&*store, due).await.unwrap();
    assert_eq!(signer(&keys, Algorithm::Es256, due), first, "published, and not yet used");
    assert_eq!(published(&keys).len(), 4);
    let signs = due.plus(NEXT_LIFE);
    let second = signer(&keys, Algorithm::Es256, signs);
    assert_ne!(second, first);
    assert!(published(&keys).is_superset(&[first.clone(), second.clone()].into()));
    // Looking more often changes nothing.
    for _ in 0..3 {
        keys.tend(&*store, signs).await.unwrap();
    }
    assert_eq!(published(&keys).len(), 4);
    let over = signs.plus(PREVIOUS_LIFE);
    keys.tend(&*store, over).await.unwrap();
    assert!(!published(&keys).contains(&first) && published(&keys).contains(&second));
    assert_eq!(load(dir.path(), &store).await.status(over), keys.status(over), "as it is stored");
    let audit = store.audit(100).await.unwrap();
    let rotated: Vec<_> = audit.iter().filter(|record| record.event == AuditEvent::KeysRotated).collect();
    assert!(rotated.iter().all(|record| record.actor.as_deref() == Some("edge")), "{rotated:?}");
    // The first key for RS256, two more, and two that are gone.
    assert_eq!(rotated.len(), 5, "{rotated:?}");
    let gone = rotated.iter().find(|record| record.object.as_ref() == Some(&first)).unwrap();
    assert_eq!(gone.detail.as_deref(), Some("ES256: published no more"));
}

#[tokio::test]
async fn whoever_rotates_is_answered_with_the_keys_and_recorded() {
    let (_dir, store, keys) = begun().await;
    let now = T0.plus(std::time::Duration::from_secs(100));
    let listed = keys.rotate(&*store, ROTATE, now).await.unwrap();
    let states: Vec<_> = listed.iter().map(|key| (key.algorithm, key.state)).collect();
    let both = |algorithm| [(algorithm, KeyState::Signing), (algorithm, KeyState::Next)];
    assert_eq!(states, [both(Algorithm::Es256), both(Algorithm::Rs256)].as_flattened());
    let problem = keys.rotate(&*store, ROTATE, now).await.unwrap_err();
    assert_eq!(problem.code, "keys_underway");
    let audit = store.audit(1).await.unwrap();
    assert_eq!(audit[0].actor.as_deref(), Some("local"));
    assert_eq!(audit[0].detail.as_deref(), Some("RS256: a new key, signs in 360 s"));
}

// S7
#[tokio::test]
async fn what_is_revoked_is_gone_from_the_answer_and_from_the_disk() {
    let (dir, store, keys) = begun().await;
    keys.rotate(&*store, ROTATE, T0).await.unwrap();
    let before = published(&keys);
    let tag = keys.published(Audience::All).etag;
    let listed = keys.rotate(&*store, REVOKE, T0).await.unwrap();
    assert!(listed.iter().all(|key| key.state == KeyState::Signing), "{listed:?}");
    assert!(published(&keys).is_disjoint(&before), "and there is nothing in between");
    assert_ne!(keys.published(Audience::All).etag, tag);
    assert!(published(&load(dir.path(), &store).await).is_disjoint(&before));
    let audit = store.audit(6).await.unwrap();
    let gone = audit.iter().filter(|record| record.detail.as_deref().is_some_and(|text| text.ends_with("no more")));
    assert_eq!(gone.count(), 4);
}

#[tokio::test]
async fn an_edge_takes_over_what_another_did() {
    let (dir, store, one) = begun().await;
    let other = load(dir.path(), &store).await;
    assert_eq!(published(&other), published(&one));
    one.rotate(&*store, REVOKE, T0).await.unwrap();
    assert!(published(&other).is_disjoint(&published(&one)), "not told yet");
    other.tend(&*store, T0).await.unwrap();
    assert_eq!(published(&other), published(&one));
    // Both at once: each is done, on top of the other.
    let (a, b) = tokio::join!(one.rotate(&*store, REVOKE, T0), other.rotate(&*store, REVOKE, T0));
    a.unwrap();
    b.unwrap();
    one.tend(&*store, T0).await.unwrap();
    other.tend(&*store, T0).await.unwrap();
    assert_eq!(published(&other), published(&one));
    assert_eq!(published(&one).len(), 2);
}

#[tokio::test]
async fn verifiers_for_other_products_get_what_they_know() {
    let (_dir, store, keys) = begun().await;
    keys.rotate(&*store, ROTATE, T0).await.unwrap();
    let all: serde_json::Value = serde_json::from_slice(&keys.published(Audience::All).json).unwrap();
    let compatible: serde_json::Value = serde_json::from_slice(&keys.published(Audience::Compatible).json).unwrap();
    let kinds = |set: &serde_json::Value| {
        let keys = set["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kty"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&compatible), ["RSA", "RSA"]);
    assert_eq!(kinds(&all), ["EC", "RSA", "EC", "RSA"], "those that sign come first");
    let signing = keys.signing(Algorithm::Rs256, T0).unwrap();
    assert_eq!(compatible["keys"][0]["kid"], signing.kid());
    assert_eq!(compatible["public_cert"]["kid"], signing.kid());
    let certificates = compatible["public_certs"].as_array().unwrap();
    assert_eq!(certificates.len(), 2);
    for (certificate, key) in certificates.iter().zip(compatible["keys"].as_array().unwrap()) {
        assert_eq!(certificate["kid"], key["kid"]);
        // The certificate is around this very key.
        let pem = certificate["cert"].as_str().unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let parsed = pem.parse_x509().unwrap();
        let x509_parser::public_key::PublicKey::RSA(rsa) = parsed.public_key().parsed().unwrap() else { panic!() };
        let modulus = rsa.modulus.strip_prefix(&[0]).unwrap_or(rsa.modulus);
        assert_eq!(key["n"], data_encoding::BASE64URL_NOPAD.encode(modulus));
        parsed.verify_signature(None).unwrap();
        assert!(parsed.validity().is_valid_at(x509_parser::time::ASN1Time::from_timestamp(T0.0 as i64).unwrap()));
    }
}
