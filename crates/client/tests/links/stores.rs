//! Logins in files.
// Looks at modes and links: cfg(unix).

use std::{fs, path::Path};

use tunnel_client::{Entry, FileStore, Login, StoreError, Token, TokenStore};
use tunnel_proto::{AppId, Hostname, UnixTime};

fn host() -> Hostname {
    Hostname::parse("db.example.com").unwrap()
}

fn entry(token: &str) -> Entry {
    let login = Login {
        token: Token::new(token.to_owned()).unwrap(),
        app: AppId::from_bytes([1; 32]),
        email: "ann@example.com".parse().unwrap(),
        expires: UnixTime(2_000_000_000),
    };
    Entry { host: host(), port: Some(8443), issuer: "https://access.example.com".to_owned(), login: Some(login) }
}

#[cfg(unix)]
fn mode(path: &Path, mode: Option<u32>) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

// C2
#[cfg(unix)]
#[test]
fn logins_are_their_owners_alone_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("config/access");
    let store = FileStore::new(&directory);
    assert_eq!(store.load(&host()).unwrap(), None);
    assert_eq!(store.list().unwrap(), []);
    store.save(&entry("one")).unwrap();
    store.save(&entry("two")).unwrap();
    assert_eq!(store.load(&host()).unwrap(), Some(entry("two")));
    assert_eq!(store.list().unwrap(), [entry("two")]);
    assert_eq!((mode(&directory, None), mode(&store.path(&host()), None)), (0o700, 0o600));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
    assert!(!format!("{:?}", entry("s3cret")).contains("s3cret"));
}

// C2
#[cfg(unix)]
#[test]
fn what_others_could_have_written_or_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path().join("access"));
    store.save(&entry("one")).unwrap();
    let path = store.path(&host());
    mode(&path, Some(0o640));
    assert!(matches!(store.load(&host()), Err(StoreError::Exposed { reason, .. }) if reason.contains("chmod 600")));
    let elsewhere = dir.path().join("elsewhere.json");
    fs::rename(&path, &elsewhere).unwrap();
    mode(&elsewhere, Some(0o600));
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(matches!(store.load(&host()), Err(StoreError::Exposed { .. })));
    // Writing replaces the link, and not what it leads to.
    store.save(&entry("two")).unwrap();
    assert!(fs::read_to_string(&elsewhere).unwrap().contains("\"one\""));
    assert_eq!(store.load(&host()).unwrap(), Some(entry("two")));
    mode(&dir.path().join("access"), Some(0o755));
    assert!(matches!(store.save(&entry("x")), Err(StoreError::Exposed { reason, .. }) if reason.contains("chmod 700")));
    let linked = dir.path().join("linked");
    std::os::unix::fs::symlink(dir.path().join("access"), &linked).unwrap();
    assert!(FileStore::new(&linked).save(&entry("x")).is_err());
}

// C2
#[cfg(unix)]
#[test]
fn a_file_that_is_about_another_host_or_is_damaged_is_refused_without_its_contents() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path().join("access"));
    store.save(&entry("one")).unwrap();
    let other = Hostname::parse("other.example.com").unwrap();
    fs::copy(store.path(&host()), store.path(&other)).unwrap();
    assert!(matches!(store.load(&other), Err(StoreError::Exposed { .. })));
    fs::write(store.path(&other), "{\"token\": \"s3cret").unwrap();
    let error = store.load(&other).unwrap_err().to_string();
    assert!(error.contains("log in anew") && !error.contains("s3cret"), "{error}");
}

// C2
#[test]
fn one_login_at_a_time_and_a_dead_process_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path().join("access"));
    let held = store.lock(&host()).unwrap();
    assert!(held.is_some());
    assert!(store.lock(&host()).unwrap().is_none());
    drop(held);
    // What a killed process leaves behind: the file, and no lock on it.
    assert!(dir.path().join("access/db.example.com.lock").exists());
    assert!(store.lock(&host()).unwrap().is_some());
}

#[cfg(unix)]
#[test]
fn many_writers_leave_one_whole_login() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path().join("access"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..20 {
                    store.save(&entry(&format!("token-{thread}-{round}"))).unwrap();
                    assert!(store.load(&host()).unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(fs::read_dir(dir.path().join("access")).unwrap().count(), 1);
}
