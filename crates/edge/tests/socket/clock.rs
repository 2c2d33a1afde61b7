//! A clock that is set back, as a running edge and the one after it see it.
#![cfg(unix)]

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tunnel_edge::{
    Clock, Config, Edge,
    edge::Screen,
    socket::{Administration, Client, Offline},
    store::{DATABASE_NAME, Store, sqlite::SqliteStore},
};
use tunnel_proto::UnixTime;

use super::offline::{NOW, session};

async fn edge(dir: &Path, wall: &Arc<AtomicU64>) -> Edge {
    let mut config = Config::quick_start(dir.to_owned(), vec!["a@example.com".parse().unwrap()]);
    config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    Edge::start(config, Clock::Manual(wall.clone()), Screen::new(std::io::sink())).await.unwrap()
}

// F16
#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_stays_so_over_a_restart_with_a_clock_set_back_until_an_administrator_believes_it() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("edge");
    let wall = Arc::new(AtomicU64::new(NOW.0));
    let first = edge(&dir, &wall).await;
    wall.store(NOW.0 + 60, SeqCst);
    assert_eq!(first.state().now(), UnixTime(NOW.0 + 60));
    first.stop(Duration::from_secs(5)).await;

    let store = SqliteStore::open(dir.join(DATABASE_NAME)).await.unwrap();
    assert_eq!(store.passed().await.unwrap(), Some(UnixTime(NOW.0 + 60)));
    // It has expired by the time that has passed; by the clock, as it is set now, it has not.
    let mut gone = session(0x11, "a@example.com");
    gone.expires = UnixTime(NOW.0 + 50);
    store.put_session(&gone).await.unwrap();
    store.close().await;
    wall.store(NOW.0 - 30, SeqCst);
    let second = edge(&dir, &wall).await;
    let state = second.state();
    assert_eq!(state.now(), UnixTime(NOW.0 + 60));
    assert!(state.sessions.list(state.now()).is_empty());
    let client = Client::find(&dir).await.unwrap().unwrap();
    let health = client.health().await.unwrap();
    assert_eq!((health.clock.shown, health.clock.behind()), (UnixTime(NOW.0 - 30), Some(Duration::from_secs(90))));

    let health = client.accept_clock().await.unwrap();
    assert_eq!((health.clock.now, health.clock.behind()), (UnixTime(NOW.0 - 30), None));
    assert_eq!(state.now(), UnixTime(NOW.0 - 30));
    let record = state.store.audit(1).await.unwrap().remove(0);
    assert!(record.detail.unwrap().contains("the clock is believed"));
    second.stop(Duration::from_secs(5)).await;

    // Also for whoever comes next, and without an edge.
    let office = Offline::open(&dir, Clock::Manual(wall.clone())).await.unwrap();
    assert_eq!(office.health().await.unwrap().clock.behind(), None);
    wall.store(NOW.0 - 1000, SeqCst);
    assert_eq!(office.health().await.unwrap().clock.behind(), Some(Duration::from_secs(970)));
    assert_eq!(office.accept_clock().await.unwrap().clock.now, UnixTime(NOW.0 - 1000));
    assert_eq!(office.store().passed().await.unwrap(), Some(UnixTime(NOW.0 - 1000)));

    // What cannot be recorded is not believed.
    wall.store(NOW.0 - 2000, SeqCst);
    office.store().close().await;
    assert!(office.accept_clock().await.is_err());
    assert_eq!(office.health().await.unwrap().clock.behind(), Some(Duration::from_secs(1000)));
}

// F3, F16
#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_says_of_the_clock_holds_in_a_process_that_was_replaced_as_well() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("edge");
    let wall = Arc::new(AtomicU64::new(NOW.0));
    let edge = edge(&dir, &wall).await;
    let state = edge.state();
    wall.store(NOW.0 - 3600, SeqCst);
    state.replaced.cancel();
    let comes_to = async |at: u64| {
        let looking = async {
            while state.now() != UnixTime(at) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), looking).await.expect("it follows");
    };
    // The process that serves: first it goes on from where both were, then an administrator believes the clock there.
    let serves = SqliteStore::open(dir.join(DATABASE_NAME)).await.unwrap();
    serves.note_passed(UnixTime(NOW.0 + 30)).await.unwrap();
    comes_to(NOW.0 + 30).await;
    serves.note_passed(UnixTime(NOW.0 - 3600)).await.unwrap();
    comes_to(NOW.0 - 3600).await;
    serves.close().await;
    edge.stop(Duration::from_secs(5)).await;
}
