//! The SQLite store: the suite, and what its file must survive.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tunnel_edge::store::{
    AuditEvent, AuditRecord, Declared, ISSUER_MAILBOX, MailRecord, Met, OnceKind, OneTime, PinRecord, RateLimit,
    SessionKind, Store, StoreError, sqlite::SqliteStore,
};
use tunnel_proto::{AppId, Revision, UnixTime};

use crate::store::conformance::declared;

async fn fresh() -> (SqliteStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::open(dir.path().join("edge.db")).await.unwrap(), dir)
}

crate::store_conformance!(fresh);

fn record(detail: &str) -> AuditRecord {
    AuditRecord { detail: Some(detail.into()), ..AuditRecord::new(UnixTime(1), AuditEvent::ConfigurationChanged) }
}

/// A closed database with something in it.
async fn written(dir: &Path) -> PathBuf {
    let path = dir.join("edge.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.replace_declared(Revision(0), &declared(), &[record("one")]).await.unwrap();
    for n in 0..50 {
        store.append_audit(&[record(&format!("{n} {}", "x".repeat(500)))]).await.unwrap();
    }
    store.close().await;
    path
}

// F2
#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.replace_declared(Revision(0), &declared(), &[record("one")]).await.unwrap();
    // Not closed: the second one finds the log as a killed process would leave it.
    let again = SqliteStore::open(&path).await.unwrap();
    assert_eq!(again.declared().await.unwrap(), (Revision(1), declared()));
    store.close().await;
    again.close().await;
    let third = SqliteStore::open(&path).await.unwrap();
    assert_eq!(third.audit(9).await.unwrap(), [record("one")]);
}

// F18
#[tokio::test]
async fn a_damaged_file_is_a_clear_error_and_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).await;
    let whole = fs::read(&path).unwrap();
    let garbage = b"this is no database, whatever its name says ".repeat(100);
    let mut torn = whole.clone();
    torn.truncate(whole.len() / 2);
    let mut scribbled = whole.clone();
    scribbled[4096..8192].fill(0xa5);
    for (what, bytes) in [("garbage", &garbage), ("torn", &torn), ("scribbled", &scribbled)] {
        fs::write(&path, bytes).unwrap();
        let error = SqliteStore::open(&path).await.err().unwrap_or_else(|| panic!("{what} was accepted"));
        assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("backup"), "{what}: {error}");
    }
}

// F18: whatever a flipped byte does, it never panics, and the configuration is never another one than was written.
#[tokio::test]
async fn a_flipped_byte_never_gives_another_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).await;
    let whole = fs::read(&path).unwrap();
    let document = serde_json::to_vec(&declared()).unwrap();
    // Inside the text itself a flipped letter is another valid text; nothing in the file can tell.
    let is_text = |at: usize| {
        (at.saturating_sub(7)..=at)
            .filter_map(|from| whole.get(from..from + 8))
            .any(|part| document.windows(8).any(|window| window == part))
    };
    let mut refused = 0;
    let long = std::env::var_os("TUNNEL_TESTS_LONG").is_some();
    for step in 0..if long { 1000 } else { 300 } {
        // All over the file, and in its first page, which says where everything is.
        let at = if step % 2 == 0 { (step * 9973) % whole.len() } else { step * 3 % 4096 };
        if is_text(at) {
            continue;
        }
        let mut flipped = whole.clone();
        flipped[at] ^= if step % 3 == 0 { 1 << (step % 8) } else { 0x41 };
        for side in ["edge.db-wal", "edge.db-shm"] {
            let _ = fs::remove_file(dir.path().join(side));
        }
        fs::write(&path, &flipped).unwrap();
        match SqliteStore::open(&path).await {
            Err(_) => refused += 1,
            Ok(store) => {
                if let Ok((_, found)) = store.declared().await {
                    assert_eq!(found, declared(), "byte {at}");
                }
                // Whatever else is read is read or refused.
                let _ = (store.sessions(UnixTime(1)).await, store.people(100).await, store.audit(100).await);
                let _ = (store.verify_audit().await, store.visitor_certificates().await, store.passed().await);
                store.close().await;
            }
        }
    }
    assert!(refused > 5, "{refused}");
}

/// Changes that stand in the log alone.
const CHANGES: u64 = 6;

// F18: a log that lost its end gives a state that was acknowledged, and no older one than it has whole.
#[tokio::test]
async fn a_log_that_is_cut_anywhere_has_all_that_was_acknowledged_before_the_cut_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).await;
    let store = SqliteStore::open(&path).await.unwrap();
    let records = store.verify_audit().await.unwrap();
    let log = dir.path().join("edge.db-wal");
    // What was declared at each revision from 1 on, and where in the log that was acknowledged.
    let mut declarations = vec![(0, declared())];
    for change in 1..=CHANGES {
        let next =
            Declared { administrators: vec![format!("admin{change}@example.com").parse().unwrap()], ..declared() };
        store.replace_declared(Revision(change), &next, &[record(&format!("change {change}"))]).await.unwrap();
        declarations.push((usize::try_from(fs::metadata(&log).unwrap().len()).unwrap(), next));
    }
    let (main, whole) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    store.close().await;

    let step = if std::env::var_os("TUNNEL_TESTS_LONG").is_some() { 512 } else { 2039 };
    let ends = declarations.iter().flat_map(|(end, _)| [end.saturating_sub(1), *end, end + 1]);
    let cuts = (0..whole.len()).step_by(step).chain(ends).filter(|cut| *cut <= whole.len());
    let (copy, mut seen) = (tempfile::tempdir().unwrap(), HashSet::new());
    let beside = |name: &str| copy.path().join(name);
    for cut in cuts {
        let _ = fs::remove_file(beside("edge.db-shm"));
        fs::write(beside("edge.db"), &main).unwrap();
        fs::write(beside("edge.db-wal"), &whole[..cut]).unwrap();
        let store = match SqliteStore::open(&beside("edge.db")).await {
            Ok(store) => store,
            // To refuse is no wrong answer.
            Err(StoreError::Corrupt { .. }) => continue,
            Err(error) => panic!("cut at {cut}: {error}"),
        };
        let (Revision(revision), found) = store.declared().await.unwrap();
        let acknowledged = declarations.iter().filter(|(end, _)| *end <= cut).count() as u64;
        assert!(revision >= acknowledged, "cut at {cut}: revision {revision} of {acknowledged}");
        let (_, expected) = &declarations[usize::try_from(revision).unwrap() - 1];
        assert_eq!(&found, expected, "cut at {cut}");
        assert_eq!(store.verify_audit().await.unwrap(), records + revision - 1, "cut at {cut}");
        store.close().await;
        seen.insert(revision);
    }
    assert_eq!(seen.len() as u64, CHANGES + 1, "each state comes out once at least: {seen:?}");
}

// F18
#[tokio::test]
async fn a_database_that_is_gone_or_empty_is_not_begun_anew_and_the_newest_backup_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).await;
    let whole = fs::read(&path).unwrap();
    // One in which nothing is any more.
    let nothing = dir.path().join("nothing.db");
    fs::File::create(&nothing).unwrap();
    sql(&nothing, "CREATE TABLE x (a INTEGER); DROP TABLE x").await.unwrap();
    let nothing = fs::read(&nothing).unwrap();
    assert!(!nothing.is_empty());
    let (key, folder) = (dir.path().join("master.key"), dir.path().join("backups"));
    let newest = folder.join("edge-20260102T030405Z.db");
    fs::create_dir(&folder).unwrap();
    for signs in [vec![&key], vec![&newest], vec![&folder.join("edge-schema-1.db")], vec![&key, &newest]] {
        signs.iter().for_each(|sign| fs::write(sign, "x").unwrap());
        for left in [None, Some(&b""[..]), Some(&nothing[..])] {
            let _ = fs::remove_file(&path);
            left.iter().for_each(|bytes| fs::write(&path, bytes).unwrap());
            let error = SqliteStore::open(&path).await.err().unwrap_or_else(|| panic!("begun anew beside {signs:?}"));
            assert!(matches!(error, StoreError::Gone { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("begin anew") && text.contains(&signs[0].display().to_string()), "{text}");
            let names = text.contains(&format!("newest backup is `{}`", newest.display()));
            assert_eq!(names, signs.contains(&&newest), "{text}");
            assert_eq!(path.exists(), left.is_some(), "nothing is made in its place");
        }
        signs.iter().for_each(|sign| fs::remove_file(sign).unwrap());
    }
    fs::write(&key, "x").unwrap();
    fs::write(&path, &whole).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.declared().await.unwrap().1, declared(), "put back");
}

#[tokio::test]
async fn another_programs_database_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE theirs (a INTEGER)").execute(&pool).await.unwrap();
    pool.close().await;
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
}

// F19
#[tokio::test]
async fn a_newer_schema_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).await;
    sql(&path, "UPDATE schema_version SET version = 99").await.unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.ends_with("use the newer program"), "{text}: nothing was kept");
    let kept = dir.path().join("backups").join("edge-schema-7.db");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::write(&kept, "kept").unwrap();
    let text = SqliteStore::open(&path).await.unwrap_err().to_string();
    assert!(text.contains(&kept.display().to_string()), "{text}");
    let known: i64 = match error {
        StoreError::NewerSchema { known, .. } => known,
        _ => unreachable!("matched above"),
    };
    sql(&path, format!("UPDATE schema_version SET version = {known}").leak()).await.unwrap();
    assert_eq!(SqliteStore::open(&path).await.unwrap().declared().await.unwrap().1, declared());
}

/// The first schemas, as they were released.
const SCHEMAS: [&str; 2] =
    [include_str!("../../migrations/0001_first.sql"), include_str!("../../migrations/0002_client_sessions.sql")];

// F19
#[tokio::test]
async fn what_an_older_program_wrote_is_there_after_an_update() {
    for version in 1..=SCHEMAS.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.db");
        std::fs::File::create(&path).unwrap();
        let schema =
            "CREATE TABLE schema_version (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT";
        sql(&path, schema).await.unwrap();
        sql(&path, format!("INSERT INTO schema_version VALUES (1, {version})").leak()).await.unwrap();
        for step in SCHEMAS.iter().take(version) {
            sql(&path, step).await.unwrap();
        }
        let identity = r#"{"person":"03030303-0303-0303-0303-030303030303","email":"a@example.com","method":"pin","authenticated":1}"#;
        let insert = format!(
            "INSERT INTO sessions (id, host, identity, created, expires, grants) \
             VALUES (zeroblob(32), 'a.example.com', '{identity}', 1, 9, '[]'); \
             INSERT INTO people VALUES ('a@example.com', x'03030303030303030303030303030303', 1)"
        );
        sql(&path, insert.leak()).await.unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        let sessions = store.sessions(UnixTime(1)).await.unwrap();
        let [session] = sessions.as_slice() else { panic!("{} sessions", sessions.len()) };
        assert!(session.kind == SessionKind::Browser && session.device.is_none() && session.source.is_none());
        assert!(session.seen > UnixTime(1), "an update is no idling");
        assert_eq!(session.issuer, "", "nobody knows any more who vouched");
        let people = store.people(10).await.unwrap();
        let [person] = people.as_slice() else { panic!("{} people", people.len()) };
        assert_eq!((person.issuer.as_str(), person.subject.as_str()), (ISSUER_MAILBOX, "a@example.com"));
        // Who comes back by the same mailbox is the same person.
        let (email, method) = (person.email.clone(), person.method.clone());
        let met = Met {
            issuer: ISSUER_MAILBOX,
            subject: email.as_str(),
            email: &email,
            method: &method,
            attributes: &Default::default(),
            candidate: tunnel_proto::PersonId::from_bytes([9; 16]),
            now: UnixTime(5),
            source: None,
        };
        assert_eq!(store.meet(&met).await.unwrap(), session.identity.person);
    }
}

#[tokio::test]
async fn refusing_what_is_too_often_waits_for_nobody_who_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let limits = [RateLimit { events: 1, window: Duration::from_secs(60) }];
    assert!(store.count(&[1; 32], UnixTime(1), &limits).await.unwrap());
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let other = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let writing = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(2), store.count(&[1; 32], UnixTime(2), &limits)).await;
    assert!(!refused.expect("it waits for the writer").unwrap());
    writing.rollback().await.unwrap();
}

async fn sql(path: &Path, statement: &'static str) -> Result<(), sqlx::Error> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).pragma("recursive_triggers", "ON");
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let done = sqlx::raw_sql(statement).execute(&pool).await.map(drop);
    pool.close().await;
    done
}

// A9
#[tokio::test]
async fn the_audit_record_can_only_grow_and_tampering_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).await;
    for statement in [
        "UPDATE audit SET at = 5",
        "DELETE FROM audit WHERE id = 3",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (id, at, event, record, chain) VALUES (3, 1, 'x', '{}', x'00')",
    ] {
        let refused = sql(&path, statement).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), 51);
    store.close().await;
    sql(&path, "DROP TRIGGER audit_is_never_deleted; DELETE FROM audit WHERE id = 20").await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let error = store.verify_audit().await.unwrap_err();
    assert!(error.to_string().contains("number 21"), "{error}");
}

#[tokio::test]
async fn a_document_that_is_not_a_configuration_is_refused_when_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path()).await;
    sql(&path, "UPDATE declared SET document = replace(document, 'routes', 'rootes')").await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    assert!(matches!(store.declared().await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_backup_is_whole_and_private() {
    let (store, dir) = fresh().await;
    store.replace_declared(Revision(0), &declared(), &[record("one")]).await.unwrap();
    let copy = dir.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    assert!(matches!(store.backup(&copy).await, Err(StoreError::File { .. })), "never over another file");
    let copy = SqliteStore::open(&copy).await.unwrap();
    assert_eq!(copy.declared().await.unwrap(), (Revision(1), declared()));
    assert_eq!(copy.verify_audit().await.unwrap(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_or_replace_the_database() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("new/data");
    let path = dir.join("edge.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append_audit(&[record("x")]).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    for file in ["edge.db", "edge.db-wal", "edge.db-shm"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    store.close().await;

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    SqliteStore::open(&path).await.unwrap().close().await;
    assert_eq!(mode(&path), 0o600, "the rights of others are taken away");

    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();

    let link = dir.join("link.db");
    symlink(&path, &link).unwrap();
    assert!(matches!(SqliteStore::open(&link).await, Err(StoreError::File { .. })));
}

// A6: what the caller hashed or sealed is all there is; what was deleted is gone from the file.
#[tokio::test]
async fn no_secret_is_found_in_the_bytes_on_disk() {
    const CANARY: &[u8] = b"canary-4711-secret";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.db");
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    let keys = tunnel_edge::keys::Keys::load(dir.path(), &*store, UnixTime(1)).await.unwrap();
    let hash = |what: &str| keys.keyed_hash(what, &[CANARY]);
    let pin = PinRecord {
        id: hash("challenge"),
        login: hash("login"),
        app: AppId::from_bytes([1; 32]),
        email: keys.seal("pin e-mail", b"", CANARY),
        created: UnixTime(1),
        expires: UnixTime(99),
    };
    store.open_pin(&pin).await.unwrap();
    store.arm_pin(&pin.id, &hash("pin")).await.unwrap();
    let thing = OneTime {
        kind: OnceKind::HandOver,
        key: hash("code"),
        bind: hash("login"),
        payload: keys.seal("hand-over", b"", CANARY),
        expires: UnixTime(99),
    };
    store.put_once(&thing).await.unwrap();
    let mail = MailRecord {
        id: 0,
        sealed: keys.seal("mail", b"", CANARY),
        recipient: hash("recipient"),
        domain: "example.com".into(),
        queued: UnixTime(1),
        due: UnixTime(1),
        expires: UnixTime(99),
        tries: 0,
    };
    store.queue_mail(&mail).await.unwrap();
    let zone = "example.com".parse().unwrap();
    let ca = keys.authority(&*store, &zone, UnixTime(1_800_000_000)).await.unwrap();
    let ca_key = ca.key_pem();
    let ca_body = ca_key.lines().nth(1).unwrap().as_bytes();
    let master = fs::read(dir.path().join("master.key")).unwrap();
    let backup = dir.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    let marker = b"to be deleted 0815".to_vec();
    let gone = OneTime { key: [5; 32], payload: marker.clone(), ..thing };
    store.put_once(&gone).await.unwrap();
    store.take_once(OnceKind::HandOver, &gone.key, &gone.bind, UnixTime(2)).await.unwrap().unwrap();
    store.close().await;

    let hex = data_encoding::HEXLOWER.decode(&master[..64]).unwrap();
    for file in [&path, &backup] {
        let bytes = fs::read(file).unwrap();
        let found = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        assert!(found(b"example.com"), "the search itself works");
        for (what, needle) in [
            ("canary", CANARY),
            ("CA key", ca_body),
            ("PEM", b"PRIVATE KEY"),
            ("master key", &hex),
            ("master key as text", &master[..64]),
            ("deleted payload", &marker),
        ] {
            assert!(!found(needle), "{what} in {}", file.display());
        }
    }
}
