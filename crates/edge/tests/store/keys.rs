//! The master key's file and what hangs on it.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tunnel_auth::Algorithm;
use tunnel_edge::{
    keys::{Keys, KeysError, MASTER_KEY},
    store::sqlite::SqliteStore,
};
use tunnel_proto::UnixTime;

const T0: UnixTime = UnixTime(1_800_000_000);

async fn store(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir.join("edge.db")).await.unwrap()
}

async fn begun() -> (TempDir, SqliteStore, Keys) {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let keys = Keys::load(dir.path(), &store, T0).await.unwrap();
    (dir, store, keys)
}

#[tokio::test]
async fn keys_stay_the_same_from_start_to_start() {
    let (dir, store, keys) = begun().await;
    let sealed = keys.seal("mail", b"1", b"hello");
    let zone = "example.com".parse().unwrap();
    let ca = keys.authority(&store, &zone, T0).await.unwrap();
    let again = Keys::load(dir.path(), &store, T0).await.unwrap();
    let kid = |keys: &Keys| keys.signing(Algorithm::Es256, T0).unwrap().kid().to_owned();
    assert_eq!(kid(&again), kid(&keys));
    assert_eq!(again.jwks().to_json(), keys.jwks().to_json());
    assert_eq!(again.keyed_hash("pin", &[b"1"]), keys.keyed_hash("pin", &[b"1"]));
    assert_eq!(again.open("mail", b"1", &sealed).unwrap().expose(), b"hello");
    let ca_again = again.authority(&store, &zone, T0.plus(Duration::from_secs(500))).await.unwrap();
    assert_eq!(ca_again.certificate_pem(), ca.certificate_pem());
}

#[tokio::test]
async fn what_is_sealed_for_one_purpose_or_place_opens_nowhere_else() {
    let (_dir, _store, keys) = begun().await;
    let sealed = keys.seal("mail", b"1", b"hello");
    assert!(keys.open("request", b"1", &sealed).is_err());
    assert!(keys.open("mail", b"2", &sealed).is_err());
    assert_ne!(keys.seal("mail", b"1", b"hello"), sealed, "never the same twice");
    let (_dir, _store, others) = begun().await;
    assert!(others.open("mail", b"1", &sealed).is_err());
    assert_ne!(others.keyed_hash("pin", &[b"1"]), keys.keyed_hash("pin", &[b"1"]));
}

#[tokio::test]
async fn a_missing_master_key_is_refused_once_something_was_sealed_with_it() {
    let (dir, store, _keys) = begun().await;
    fs::remove_file(dir.path().join(MASTER_KEY)).unwrap();
    let error = Keys::load(dir.path(), &store, T0).await.unwrap_err();
    assert!(matches!(error, KeysError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("master.key"), "{error}");
    assert!(!dir.path().join(MASTER_KEY).exists(), "none is made in its place");
}

#[tokio::test]
async fn a_master_key_of_another_database_is_refused() {
    let (dir, store, _keys) = begun().await;
    let (other, _other_store, _keys) = begun().await;
    fs::copy(other.path().join(MASTER_KEY), dir.path().join(MASTER_KEY)).unwrap();
    let error = Keys::load(dir.path(), &store, T0).await.unwrap_err();
    assert!(matches!(error, KeysError::OtherKey { .. }), "{error:?}");
}

#[tokio::test]
async fn a_master_key_that_is_no_key_is_refused_by_name() {
    let (dir, store, _keys) = begun().await;
    let path = dir.path().join(MASTER_KEY);
    let good = fs::read_to_string(&path).unwrap();
    for bad in ["", "xyz\n", &good[..40], &good.to_uppercase(), &good.replace('\n', "\r\n")] {
        if bad == good {
            continue; // All digits.
        }
        fs::write(&path, bad).unwrap();
        let error = Keys::load(dir.path(), &store, T0).await.unwrap_err();
        assert!(matches!(error, KeysError::NotAKey { .. } | KeysError::File { .. }), "{bad:?}: {error:?}");
        assert!(error.to_string().contains("master.key"), "{error}");
        assert!(!error.to_string().contains(&good[..8]), "{error}");
    }
}

#[tokio::test]
async fn a_start_that_died_before_the_key_was_written_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    Keys::load(dir.path(), &store, T0).await.unwrap();
    let (fresh, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Owner-only and empty, as the first step of making it leaves it.
    fs::rename(dir.path().join(MASTER_KEY), fresh.path().join(MASTER_KEY)).unwrap();
    fs::OpenOptions::new().write(true).truncate(true).open(fresh.path().join(MASTER_KEY)).unwrap();
    let empty = SqliteStore::open(other.path().join("edge.db")).await.unwrap();
    Keys::load(fresh.path(), &empty, T0).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_master_key_that_others_may_read_or_that_is_a_link_is_refused() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let (dir, store, _keys) = begun().await;
    let path = dir.path().join(MASTER_KEY);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Keys::load(dir.path(), &store, T0).await.unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    symlink(dir.path().join("moved"), &path).unwrap();
    let error = Keys::load(dir.path(), &store, T0).await.unwrap_err();
    assert!(matches!(error, KeysError::File { .. }), "{error:?}");
}

#[tokio::test]
async fn the_authority_belongs_to_one_zone() {
    let (_dir, store, keys) = begun().await;
    keys.authority(&store, &"example.com".parse().unwrap(), T0).await.unwrap();
    let other = keys.authority(&store, &"example.org".parse().unwrap(), T0).await;
    let error = other.err().unwrap();
    assert!(matches!(error, KeysError::OtherZone { .. }), "{error:?}");
}

#[tokio::test]
async fn the_keys_show_nothing_when_printed() {
    let (dir, _store, keys) = begun().await;
    let master = fs::read_to_string(dir.path().join(MASTER_KEY)).unwrap();
    let printed = format!("{keys:?}");
    assert!(!printed.contains(master.trim()) && printed.starts_with("Keys"), "{printed}");
}
