//! Copies of the database: made by the edge, put back by hand, kept before the schema becomes another one.

use std::{fs, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use tunnel_edge::{
    Clock, Config, Edge,
    backup::{BackupError, Backups, FOLDER},
    declare::Request,
    edge::{Screen, StartError},
    socket::{Administration, Client},
    store::{DATABASE_NAME, ISSUER_MAILBOX, Met, Store, StoreError, sqlite::SqliteStore},
};
use tunnel_proto::{PersonId, Revision, UnixTime};

use super::conformance::declared;

async fn edge(dir: &Path) -> Result<Edge, StartError> {
    let mut config = Config::quick_start(dir.to_owned(), vec!["a@example.com".parse().unwrap()]);
    config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    Edge::start(config, Clock::System, Screen::new(std::io::sink())).await
}

const ACCESS: &str = "\
login_methods: [{name: pin, type: one_time_pin}]
policies: [{name: all, action: allow, include: [everyone]}]
applications: [{name: www, hostnames: [www.localhost], policies: [all]}]
";

// F18
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_not_served_and_with_the_backup_that_is_named_everything_is_there_again() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("edge");
    let first = edge(&dir).await.unwrap();
    let client = Client::find(&dir).await.unwrap().unwrap();
    let request = Request { file: "test".into(), text: ACCESS.into(), ..Request::default() };
    client.apply(request).await.unwrap();
    let state = first.state();
    let (email, method) = ("ann@example.com".parse().unwrap(), "pin".parse().unwrap());
    let met = Met {
        issuer: ISSUER_MAILBOX,
        subject: "ann@example.com",
        email: &email,
        method: &method,
        attributes: &Default::default(),
        candidate: PersonId::from_bytes([9; 16]),
        now: state.now(),
        source: None,
    };
    let person = state.store.meet(&met).await.unwrap();
    let backup = state.backups.make(state.now()).await.unwrap();
    let health = client.health().await.unwrap().backups;
    assert_eq!((health.count, health.newest.as_ref(), health.failed), (1, Some(&backup), None));
    #[cfg(unix)]
    for (path, mode) in [(&dir.join(FOLDER), 0o700), (&backup, 0o600)] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    first.stop(Duration::from_secs(5)).await;

    let database = dir.join(DATABASE_NAME);
    let mut bytes = fs::read(&database).unwrap();
    bytes[4096..8192].fill(0xa5);
    fs::write(&database, bytes).unwrap();
    let error = edge(&dir).await.err().expect("a damaged database is served");
    assert!(error.to_string().contains(&backup.display().to_string()), "{error}");

    // As docs/administration.md has it.
    for name in ["edge.db", "edge.db-wal", "edge.db-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
    fs::copy(&backup, &database).unwrap();
    let again = edge(&dir).await.unwrap();
    let state = again.state();
    let snapshot = state.snapshot.load_full();
    let names: Vec<_> = snapshot.declared.applications.iter().map(|app| app.name.to_string()).collect();
    assert_eq!(names, ["www"]);
    let known = state.store.person(person).await.unwrap().expect("the person is known");
    assert_eq!(known.email, email);
    again.stop(Duration::from_secs(5)).await;
}

// F18
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_first_start_leaves_that_dies_on_its_way_the_next_one_begins_by_itself() {
    use std::os::unix::fs::OpenOptionsExt as _;
    let private = |path: &Path| {
        fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
    };
    for moment in 0..5 {
        let base = tempfile::tempdir().unwrap();
        let database = base.path().join(DATABASE_NAME);
        match moment {
            0 => {}
            1 => private(&database),
            // The file is a database, and nothing is in it yet.
            2 => {
                private(&database);
                sql(&database, "CREATE TABLE x (a INTEGER); DROP TABLE x").await;
            }
            _ => SqliteStore::open(&database).await.unwrap().close().await,
        }
        if moment == 4 {
            private(&base.path().join("master.key"));
        }
        let begun = edge(base.path()).await.unwrap_or_else(|error| panic!("moment {moment}: {error}"));
        begun.stop(Duration::ZERO).await;
        // From then on there was one.
        fs::remove_file(&database).unwrap();
        let error = edge(base.path()).await.err().expect("a database that is gone is begun anew");
        assert!(matches!(error, StartError::Store(StoreError::Gone { .. })), "moment {moment}: {error}");
    }
}

// F18
#[tokio::test]
async fn a_copy_in_which_damage_is_found_does_not_count_and_takes_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE_NAME);
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    let backups = Backups::new(store, dir.path(), 2);
    let good = backups.make(UnixTime(1_800_000_000)).await.unwrap();
    // A row that its own table does not allow: it is copied as it is, and found when the copy is read.
    sql(&path, "PRAGMA ignore_check_constraints = ON; INSERT INTO clock (id, passed) VALUES (2, 1)").await;
    for hour in 1..=3 {
        let error = backups.make(UnixTime(1_800_000_000 + hour * 3600)).await.unwrap_err();
        assert!(matches!(error, BackupError::Store(StoreError::Corrupt { .. })), "{error:?}");
    }
    let status = backups.status();
    assert_eq!((status.count, status.newest), (1, Some(good.clone())), "the good one stays");
    let left: Vec<_> = fs::read_dir(dir.path().join(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [good], "what is of no use takes no room");
}

// F2, F19
#[tokio::test]
async fn what_a_copy_leaves_that_is_killed_before_a_change_of_schema_goes_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE_NAME);
    SqliteStore::open(&path).await.unwrap().close().await;
    let folder = dir.path().join(FOLDER);
    let left = ["", "-journal", "-wal", "-shm"].map(|beside| folder.join(format!("schema.part{beside}")));
    let older = "DROP TABLE clock; UPDATE schema_version SET version = 7";
    sql(&path, older).await;
    SqliteStore::open(&path).await.unwrap().close().await;
    for is_older in [false, true] {
        left.iter().for_each(|left| fs::write(left, "half").unwrap());
        if is_older {
            sql(&path, older).await;
        }
        SqliteStore::open(&path).await.unwrap().close().await;
        let still: Vec<_> = left.iter().filter(|left| left.exists()).collect();
        assert!(still.is_empty(), "{still:?}");
        assert_eq!(SqliteStore::check_backup(&folder.join("edge-schema-7.db")).await.unwrap(), 7);
    }
}

async fn sql(path: &Path, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    pool.close().await;
}

// F3, F19
#[tokio::test]
async fn before_a_schema_becomes_another_one_the_database_is_kept_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE_NAME);
    let store = SqliteStore::open(&path).await.unwrap();
    store.replace_declared(Revision(0), &declared(), &[]).await.unwrap();
    store.close().await;
    assert!(!dir.path().join(FOLDER).exists(), "a new database had no other schema");
    sql(&path, "DROP TABLE clock; UPDATE schema_version SET version = 7").await;
    // Twice, as when a new version was given up: the last one counts.
    for _ in 0..2 {
        SqliteStore::open(&path).await.unwrap().close().await;
        let kept = dir.path().join(FOLDER).join("edge-schema-7.db");
        assert_eq!(SqliteStore::check_backup(&kept).await.unwrap(), 7);
        fs::remove_file(&path).unwrap();
        fs::copy(&kept, &path).unwrap();
    }
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.declared().await.unwrap().1, declared());
    store.close().await;

    // No copy, no other schema.
    sql(&path, "DROP TABLE clock; UPDATE schema_version SET version = 7").await;
    fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
    fs::write(dir.path().join(FOLDER), "in the way").unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("without a copy"), "{error}");
    // Said once, however it is shown.
    assert!(std::error::Error::source(&error).is_none(), "{error}");
    assert_eq!(SqliteStore::check_backup(&path).await.unwrap(), 7);
}
