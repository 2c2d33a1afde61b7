//! What a person may open, and who is asked for that.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::json;
use tunnel_client::{Auth, Client, Entry, Error, Login, MemoryStore, ReachableKind, Token, TokenStore};
use tunnel_proto::UnixTime;

use super::edge::{Edge, app, now};

/// A login of `edge` for `host`, which it knows if `known`.
fn entry(edge: &Edge, host: &str, token: &str, life: u64, known: bool) -> Entry {
    if known {
        edge.state.tokens.lock().unwrap().insert((host.to_owned(), token.to_owned()));
    }
    let login = Login {
        token: Token::new(token.to_owned()).unwrap(),
        app: app(host),
        email: "ann@example.com".parse().unwrap(),
        expires: UnixTime(now().0 + life),
    };
    let (host, issuer) = (host.parse().unwrap(), edge.state.issuer());
    Entry { host, port: Some(edge.state.port), issuer, login: Some(login) }
}

fn client(edges: (&Edge, &Edge), entries: &[Entry]) -> Client {
    let store = MemoryStore::new();
    entries.iter().for_each(|entry| store.save(entry).unwrap());
    edges.0.client_of_both(edges.1).auth(Auth::stored()).token_store(store).build().unwrap()
}

// C3
#[tokio::test]
async fn each_edge_is_asked_with_a_login_of_its_own() {
    let (first, second) = (Edge::start().await, Edge::start().await);
    *first.state.applications.lock().unwrap() = vec![
        json!({"name": "database", "host": "db.localhost", "kind": "tcp"}),
        json!({"name": "desks", "host": "*.desk.localhost", "kind": "bastion"}),
        json!({"name": "wiki", "host": "wiki.localhost", "kind": null}),
    ];
    let entries = [
        entry(&first, "db.localhost", "of-the-first", 3600, true),
        entry(&second, "other.localhost", "of-the-second", 7200, true),
    ];
    let client = client((&first, &second), &entries);
    let answer = client.applications(&first.state.issuer()).await.unwrap();
    assert_eq!(answer.email.to_string(), "ann@example.com");
    let listed: Vec<_> = answer.applications.iter().map(|app| (app.host.as_str(), app.kind)).collect();
    assert_eq!(
        listed,
        [
            ("db.localhost", Some(ReachableKind::Tcp)),
            ("*.desk.localhost", Some(ReachableKind::Bastion)),
            ("wiki.localhost", None)
        ]
    );
    assert_eq!(client.applications(&second.state.issuer()).await.unwrap().applications, []);
    assert_eq!(*first.state.lists.lock().unwrap(), ["of-the-first"]);
    assert_eq!(*second.state.lists.lock().unwrap(), ["of-the-second"]);
    assert_eq!((first.state.logins.load(SeqCst), first.state.presented.load(SeqCst)), (0, 0), "nobody is bothered");
}

#[tokio::test]
async fn a_login_that_the_edge_ended_is_passed_over_and_one_that_ran_out_is_not_shown() {
    let (edge, other) = (Edge::start().await, Edge::start().await);
    let over = entry(&edge, "db.localhost", "ended", 7200, false);
    let good = entry(&edge, "other.localhost", "good", 3600, true);
    let old = entry(&edge, "evil.localhost", "old", 0, true);
    let asked = client((&edge, &other), &[over.clone(), good, old.clone()]);
    asked.applications(&edge.state.issuer()).await.unwrap();
    assert_eq!(*edge.state.lists.lock().unwrap(), ["ended", "good"]);
    let error = client((&edge, &other), &[over, old]).applications(&edge.state.issuer()).await.unwrap_err();
    assert!(matches!(error, Error::NoLogin { .. }), "{error:?}");
    assert_eq!(*edge.state.lists.lock().unwrap(), ["ended", "good", "ended"]);
}

#[tokio::test]
async fn a_list_is_taken_up_to_its_limits_and_not_beyond() {
    let (edge, other) = (Edge::start().await, Edge::start().await);
    let long = |count: usize| {
        let host = |number| format!("{}-{number}.localhost", "x".repeat(50));
        (0..count)
            .map(|number| json!({"name": "n".repeat(60), "host": host(number), "kind": "http"}))
            .collect::<Vec<_>>()
    };
    let client = client((&edge, &other), &[entry(&edge, "db.localhost", "good", 3600, true)]);
    // More than any other answer may have.
    *edge.state.applications.lock().unwrap() = long(500);
    assert_eq!(client.applications(&edge.state.issuer()).await.unwrap().applications.len(), 500);
    for count in [501, 3000] {
        *edge.state.applications.lock().unwrap() = long(count);
        let error = client.applications(&edge.state.issuer()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{count}: {error:?}");
    }
}

// C3
#[tokio::test]
async fn an_edge_that_cannot_prove_itself_is_not_asked() {
    let (edge, other) = (Edge::start().await, Edge::start().await);
    let store = MemoryStore::new();
    store.save(&entry(&edge, "db.localhost", "good", 3600, true)).unwrap();
    let issuer = edge.state.issuer();
    let untrusting = other.client().token_store(store).build().unwrap();
    let error = untrusting.applications(&issuer).await.unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");
    assert_eq!(edge.state.lists.lock().unwrap().len(), 0);
    drop(edge);
    let error = untrusting.applications(&issuer).await.unwrap_err();
    assert_eq!(error.code(), "unreachable", "{error:?}");
}
