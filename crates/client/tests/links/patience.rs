//! Logins that are waited for, and logins that cannot be kept.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::time::timeout;
use tunnel_client::{AppHost, Auth, Entry, Error, Event, LoginLock, MemoryStore, StoreError, TokenStore};
use tunnel_proto::Hostname;

use super::{
    edge::{Edge, PATIENCE},
    login::echo,
};

#[tokio::test]
async fn an_edge_with_a_bad_moment_is_asked_again() {
    let edge = Edge::start().await;
    edge.state.problems.lock().unwrap().extend([(500, "internal"), (429, "too_many"), (502, "")]);
    let client = edge.client().auth(Auth::device_code(|_| {})).build().unwrap();
    assert_eq!(timeout(PATIENCE, echo(&client, &edge.host("db.localhost"), "x")).await.unwrap().unwrap(), "x!");
    assert_eq!(edge.state.logins.load(SeqCst), 1);
}

#[tokio::test]
async fn a_login_that_nobody_answers_lapses_and_was_refused_by_nobody() {
    let edge = Edge::start().await;
    edge.state.problems.lock().unwrap().push_back((410, "gone"));
    let client = edge.client().auth(Auth::device_code(|_| {})).build().unwrap();
    let mut events = client.events();
    let error = timeout(PATIENCE, echo(&client, &edge.host("db.localhost"), "x")).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::LoginLapsed { .. }), "{error:?}");
    let told = std::iter::from_fn(|| events.try_recv().ok());
    let told = told.filter(|event| matches!(event, Event::LoginFailed { error: Error::LoginLapsed { .. }, .. }));
    assert_eq!(told.count(), 1);
    // The next connection asks anew.
    assert_eq!(timeout(PATIENCE, echo(&client, &edge.host("db.localhost"), "y")).await.unwrap().unwrap(), "y!");
}

/// A store that takes nothing more once its disk is full.
#[derive(Clone, Default)]
struct Disk {
    store: Arc<MemoryStore>,
    full: Arc<AtomicBool>,
}

impl TokenStore for Disk {
    fn load(&self, host: &Hostname) -> Result<Option<Entry>, StoreError> {
        self.store.load(host)
    }

    fn save(&self, entry: &Entry) -> Result<(), StoreError> {
        if self.full.load(SeqCst) {
            return Err(StoreError::File { path: "disk".into(), reason: "it is full".to_owned() });
        }
        self.store.save(entry)
    }

    fn list(&self) -> Result<Vec<Entry>, StoreError> {
        self.store.list()
    }

    fn pinned(&self, token: &str, host: &Hostname) -> Result<Option<String>, StoreError> {
        self.store.pinned(token, host)
    }

    fn pin(&self, token: &str, host: &Hostname, issuer: &str) -> Result<(), StoreError> {
        self.store.pin(token, host, issuer)
    }

    fn lock(&self, host: &Hostname) -> Result<Option<LoginLock>, StoreError> {
        self.store.lock(host)
    }
}

#[tokio::test]
async fn a_login_that_cannot_be_kept_serves_this_program_and_can_be_ended() {
    let edge = Edge::start().await;
    let disk = Disk::default();
    disk.full.store(true, SeqCst);
    let client = edge.client().auth(Auth::browser(edge.approving())).token_store(disk.clone()).build().unwrap();
    let host: AppHost = edge.host("db.localhost").parse().unwrap();
    assert_eq!(echo(&client, &host.to_string(), "a").await.unwrap(), "a!");
    let login = client.login_for_now(&host).await.unwrap();
    assert_eq!(edge.state.logins.load(SeqCst), 1);
    assert!(edge.state.tokens.lock().unwrap().iter().any(|(_, token)| token == login.token.reveal()));
    assert!(client.logout(&host).await.unwrap());
    assert!(edge.state.tokens.lock().unwrap().is_empty(), "ended at the edge");
    assert!(!client.logout(&host).await.unwrap());
    // Where keeping it was all that was asked for, nothing is left of it, however often.
    for _ in 0..2 {
        let error = client.login(&host).await.unwrap_err();
        assert!(matches!(error, Error::Store(_)), "{error:?}");
        assert!(edge.state.tokens.lock().unwrap().is_empty(), "ended at the edge");
    }
}

#[tokio::test]
async fn what_a_full_disk_keeps_of_an_ended_login_is_not_used_again() {
    let edge = Edge::start().await;
    let disk = Disk::default();
    let client = edge.client().auth(Auth::browser(edge.approving())).token_store(disk.clone()).build().unwrap();
    let host: AppHost = edge.host("db.localhost").parse().unwrap();
    client.login(&host).await.unwrap();
    disk.full.store(true, SeqCst);
    edge.state.tokens.lock().unwrap().clear();
    assert_eq!(timeout(PATIENCE, echo(&client, &host.to_string(), "b")).await.unwrap().unwrap(), "b!");
    assert_eq!(timeout(PATIENCE, echo(&client, &host.to_string(), "c")).await.unwrap().unwrap(), "c!");
    assert_eq!(edge.state.logins.load(SeqCst), 2);
    assert!(disk.load(host.hostname()).unwrap().unwrap().login.is_some(), "the old one is still there");
}
