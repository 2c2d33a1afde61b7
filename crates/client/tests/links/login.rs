//! Who logs in, when, and to whom the login goes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tunnel_client::{
    AppHost, Auth, Client, Entry, Error, Event, FileStore, Login, LoginLock, MemoryStore, Refuser, StoreError, Token,
    TokenStore,
};
use tunnel_proto::{Hostname, UnixTime, message::RevokedReason};

use super::edge::{Edge, PATIENCE, app, now};

/// Sends `text` and reads what comes back.
pub(crate) async fn echo(client: &Client, host: &str, text: &str) -> Result<String, Error> {
    let mut stream = client.tcp(host).connect().await?;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    Ok(answer)
}

#[tokio::test]
async fn a_person_logs_in_once_and_connects() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::browser(edge.approving())).build().unwrap();
    assert_eq!(echo(&client, &edge.host("db.localhost"), "hello").await.unwrap(), "hello!");
    assert_eq!(echo(&client, &edge.host("db.localhost"), "again").await.unwrap(), "again!");
    let state = &edge.state;
    assert_eq!((state.logins.load(SeqCst), state.presented.load(SeqCst)), (1, 1));
    assert_eq!(state.links.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn connections_that_come_at_once_wait_for_one_login() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::browser(edge.approving())).build().unwrap();
    let host = edge.host("db.localhost");
    let all = futures::future::join_all((0..30).map(|_| echo(&client, &host, "x"))).await;
    assert!(all.iter().all(|answer| answer.as_deref().ok() == Some("x!")), "{all:?}");
    assert_eq!(edge.state.logins.load(SeqCst), 1);
    assert_eq!(edge.state.links.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_login_is_asked_for_once_by_all_who_wait() {
    let edge = Edge::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    struct No(Arc<AtomicUsize>);
    #[async_trait::async_trait]
    impl tunnel_client::LoginMethod for No {
        async fn login(&self, desk: &tunnel_client::Desk<'_>) -> Result<tunnel_client::Login, Error> {
            self.0.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err(Error::LoginRefused { host: desk.app().host.to_string(), reason: "no".to_owned() })
        }
    }
    let client = edge.client().auth(Auth::custom(No(asked.clone()))).build().unwrap();
    let host = edge.host("db.localhost");
    let all = futures::future::join_all((0..10).map(|_| echo(&client, &host, "x"))).await;
    assert!(all.iter().all(|answer| matches!(answer, Err(Error::LoginRefused { .. }))), "{all:?}");
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test]
async fn two_processes_log_in_once() {
    let edge = Edge::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = || FileStore::new(dir.path().join("access"));
    let client = || edge.client().auth(Auth::browser(edge.approving())).token_store(store()).build().unwrap();
    let (one, two) = (client(), client());
    let mut events = two.events();
    let host = edge.host("db.localhost");
    let both = async { tokio::join!(echo(&one, &host, "1"), echo(&two, &host, "2")) };
    let (first, second) = timeout(PATIENCE, both).await.unwrap();
    assert_eq!((first.unwrap().as_str(), second.unwrap().as_str()), ("1!", "2!"));
    assert_eq!(edge.state.logins.load(SeqCst), 1);
    // Whoever came second said so, if that was this one.
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::Failed { .. }));
    }
    // And a third one, later, needs none at all.
    let third = edge.client().token_store(store()).build().unwrap();
    assert_eq!(echo(&third, &host, "3").await.unwrap(), "3!");
    assert_eq!(edge.state.logins.load(SeqCst), 1);
}

#[tokio::test]
async fn a_login_that_the_edge_ended_is_made_anew_for_the_next_connection() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::browser(edge.approving())).build().unwrap();
    let host = edge.host("db.localhost");
    let mut live = client.tcp(&host).connect().await.unwrap();
    live.write_all(b"x").await.unwrap();
    live.read_exact(&mut [0]).await.unwrap();
    edge.state.tokens.lock().unwrap().clear();
    let mut events = client.events();
    edge.state.revoke(RevokedReason::Ended).await;
    let revoked = async {
        loop {
            if let Event::Revoked { reason, .. } = events.recv().await.unwrap() {
                return reason;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, revoked).await.unwrap(), RevokedReason::Ended);
    assert!(matches!(live.why_ended(), Some(Error::Revoked { reason: RevokedReason::Ended, .. })));
    assert_eq!(echo(&client, &host, "new").await.unwrap(), "new!");
    assert_eq!(edge.state.logins.load(SeqCst), 2);
}

/// A store in which another process puts a new login, as soon as the edge was shown the old one.
#[derive(Clone)]
struct Replaced {
    store: Arc<MemoryStore>,
    state: Arc<super::edge::State>,
    new: Entry,
    done: Arc<AtomicBool>,
}

impl TokenStore for Replaced {
    fn load(&self, host: &Hostname) -> Result<Option<Entry>, StoreError> {
        if self.state.presented.load(SeqCst) > 0 && !self.done.swap(true, SeqCst) {
            self.store.save(&self.new)?;
        }
        self.store.load(host)
    }

    fn save(&self, entry: &Entry) -> Result<(), StoreError> {
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
async fn a_login_that_came_in_the_place_of_the_refused_one_is_kept() {
    let edge = Edge::start().await;
    let expires = UnixTime(now().0 + 3600);
    let entry = |token: &str| Entry {
        host: Hostname::parse("db.localhost").unwrap(),
        port: Some(edge.state.port),
        issuer: edge.state.issuer(),
        login: Some(Login {
            token: Token::new(token.to_owned()).unwrap(),
            app: app("db.localhost"),
            email: "ann@example.com".parse().unwrap(),
            expires,
        }),
    };
    edge.state.tokens.lock().unwrap().insert(("db.localhost".to_owned(), "new".to_owned()));
    let (state, new) = (edge.state.clone(), entry("new"));
    let store = Replaced { store: Arc::new(MemoryStore::new()), state, new, done: Arc::default() };
    store.store.save(&entry("old")).unwrap();
    let auth = Auth::browser(edge.approving());
    let client = edge.client().auth(auth).token_store(store.clone()).build().unwrap();
    assert_eq!(echo(&client, &edge.host("db.localhost"), "x").await.unwrap(), "x!");
    assert_eq!((edge.state.logins.load(SeqCst), edge.state.presented.load(SeqCst)), (0, 2));
    assert_eq!(store.store.load(&entry("new").host).unwrap(), Some(entry("new")));
}

#[tokio::test]
async fn a_logout_waits_for_whoever_is_logging_in() {
    let edge = Edge::start().await;
    let dir = tempfile::tempdir().unwrap();
    chmod(dir.path());
    let store = FileStore::new(dir.path());
    let auth = Auth::browser(edge.approving());
    let client = edge.client().auth(auth).token_store(store.clone()).build().unwrap();
    let host: AppHost = edge.host("db.localhost").parse().unwrap();
    client.login(&host).await.unwrap();
    let other = store.lock(host.hostname()).unwrap().unwrap();
    let (logout, ()) = tokio::join!(client.logout(&host), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(store.load(host.hostname()).unwrap().unwrap().login.is_some(), "not without the lock");
        drop(other);
    });
    assert!(logout.unwrap());
    assert_eq!(store.load(host.hostname()).unwrap().unwrap().login, None);
}

#[tokio::test]
async fn a_code_is_shown_where_there_is_no_browser() {
    let edge = Edge::start().await;
    let shown = Arc::new(std::sync::Mutex::new(String::new()));
    let show = shown.clone();
    let auth = Auth::device_code(move |prompt| *show.lock().unwrap() = format!("{} {}", prompt.url, prompt.code));
    let client = edge.client().auth(auth).build().unwrap();
    assert_eq!(echo(&client, &edge.host("db.localhost"), "d").await.unwrap(), "d!");
    let expected = format!("{}/.access/cli?device=ID KXBT-3MRQ", edge.state.issuer());
    assert_eq!(*shown.lock().unwrap(), expected);
}

#[tokio::test]
async fn whoever_refuses_in_the_browser_is_waited_for_no_longer() {
    let edge = Edge::start().await;
    for auth in [Auth::browser(edge.refusing()), Auth::device_code(|_| {})] {
        edge.state.refuses.store(true, SeqCst);
        let client = edge.client().auth(auth).build().unwrap();
        let mut events = client.events();
        let refused = timeout(Duration::from_secs(5), echo(&client, &edge.host("db.localhost"), "x")).await.unwrap();
        let Err(error @ Error::LoginRefused { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("refused in the browser") || error.to_string().contains("Ann said no"));
        let told = std::iter::from_fn(|| events.try_recv().ok());
        let told = told.filter(|event| matches!(event, Event::LoginFailed { error: Error::LoginRefused { .. }, .. }));
        assert_eq!(told.count(), 1);
    }
    assert_eq!(edge.state.logins.load(SeqCst), 0);
}

// C3
#[tokio::test]
async fn a_login_is_for_one_host_and_what_is_issued_for_another_is_not_kept() {
    let edge = Edge::start().await;
    let store = Arc::new(MemoryStore::new());
    // The edge of this test issues every device login for `db.localhost`.
    let client = edge.client().auth(Auth::device_code(|_| {})).build().unwrap();
    let error = echo(&client, &edge.host("other.localhost"), "x").await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert_eq!(edge.state.presented.load(SeqCst), 0);
    drop(store);
}

// C3
#[tokio::test]
async fn a_host_that_copies_a_descriptor_gets_no_login() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::browser(edge.approving())).build().unwrap();
    let error = echo(&client, &edge.host("evil.localhost"), "x").await.unwrap_err();
    assert!(matches!(&error, Error::Descriptor { reason, .. } if reason.contains("db.localhost")), "{error:?}");
    assert_eq!((edge.state.logins.load(SeqCst), edge.state.presented.load(SeqCst)), (0, 0));
}

// C3
#[tokio::test]
async fn a_host_that_names_another_edge_than_before_is_not_believed() {
    let (first, second) = (Edge::start().await, Edge::start().await);
    let dir = tempfile::tempdir().unwrap();
    let store = || FileStore::new(dir.path());
    chmod(dir.path());
    let client = first.client().auth(Auth::browser(first.approving())).token_store(store()).build().unwrap();
    echo(&client, &first.host("db.localhost"), "x").await.unwrap();
    let other = second.client().auth(Auth::browser(second.approving())).token_store(store()).build().unwrap();
    let error = echo(&other, &second.host("db.localhost"), "x").await.unwrap_err();
    assert!(matches!(error, Error::OtherEdge { .. }), "{error:?}");
    assert_eq!(second.state.presented.load(SeqCst), 0);
    // A logout does not make it forget, either.
    let host: AppHost = first.host("db.localhost").parse().unwrap();
    assert!(client.logout(&host).await.unwrap());
    assert!(first.state.tokens.lock().unwrap().is_empty(), "the edge was told");
    let entry = store().load(&Hostname::parse("db.localhost").unwrap()).unwrap().unwrap();
    assert_eq!((entry.login, entry.issuer), (None, first.state.issuer()));
}

fn chmod(path: &std::path::Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let _ = path;
}

#[tokio::test]
async fn a_machine_shows_its_service_token_and_no_page() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    assert_eq!(echo(&client, &edge.host("db.localhost"), "m").await.unwrap(), "m!");
    let wrong = edge.client().auth(Auth::service_token("robot", "wrong")).build().unwrap();
    let error = echo(&wrong, &edge.host("db.localhost"), "m").await.unwrap_err();
    assert_eq!((error.code(), error.refuser(), error.is_retryable()), ("not_admitted", Some(Refuser::Edge), false));
    assert_eq!(edge.state.logins.load(SeqCst), 0);
}

// C3
#[tokio::test]
async fn a_service_token_goes_to_the_edge_that_it_first_went_to() {
    let (first, second) = (Edge::start().await, Edge::start().await);
    let dir = tempfile::tempdir().unwrap();
    chmod(dir.path());
    let robot = |secret: &str| Auth::service_token("robot", secret);
    let builder = |edge: &Edge| edge.client().token_store(FileStore::new(dir.path()));
    let client = builder(&first).auth(robot("s3cret")).build().unwrap();
    assert_eq!(echo(&client, &first.host("db.localhost"), "m").await.unwrap(), "m!");
    let client = builder(&second).auth(robot("s3cret")).build().unwrap();
    let error = echo(&client, &second.host("db.localhost"), "m").await.unwrap_err();
    assert!(matches!(&error, Error::OtherEdge { known, .. } if *known == first.state.issuer()), "{error:?}");
    assert_eq!(second.state.presented.load(SeqCst), 0);
    // Another host, and another token, are another matter.
    assert_eq!(echo(&client, &second.host("other.localhost"), "m").await.unwrap(), "m!");
    let client = builder(&second).auth(Auth::service_token("another", "x")).build().unwrap();
    let error = echo(&client, &second.host("db.localhost"), "m").await.unwrap_err();
    assert_eq!((error.code(), second.state.presented.load(SeqCst)), ("not_admitted", 2));
    // These are no logins.
    assert_eq!(FileStore::new(dir.path()).list().unwrap(), []);
}

#[tokio::test]
async fn without_a_way_to_log_in_there_is_no_login() {
    let edge = Edge::start().await;
    let client = edge.client().build().unwrap();
    let error = echo(&client, &edge.host("db.localhost"), "x").await.unwrap_err();
    assert_eq!(error.code(), "no_login");
    let error = echo(&client, &edge.host("access.localhost.example"), "x").await.unwrap_err();
    assert_eq!(error.code(), "unreachable", "{error}");
}

// T9
#[tokio::test]
async fn an_edge_that_cannot_prove_itself_is_told_nothing() {
    let (edge, other) = (Edge::start().await, Edge::start().await);
    let client = other.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let error = echo(&client, &edge.host("db.localhost"), "x").await.unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");
    assert_eq!(edge.state.presented.load(SeqCst), 0);
}
