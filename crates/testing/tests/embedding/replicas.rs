//! Two connectors of one tunnel, of which one dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, routing::any};
use bytes::Bytes;
use http::{Request, header};
use tokio::{sync::mpsc, time::timeout};
use tunnel_origin::Published;
use tunnel_testing::{Edge, Visitor};

const HOST: &str = "app.localhost";
const PATIENCE: Duration = Duration::from_secs(20);

/// Two connectors whose services give no connection a second request, so that each request goes on a fresh stream. The first
/// that is asked for `/slow` says which it is, and never answers.
struct Replicas {
    edge: Edge,
    ann: Visitor,
    published: Vec<Option<Published>>,
    asked: Arc<AtomicUsize>,
    begun: mpsc::Receiver<usize>,
}

impl Replicas {
    async fn start() -> Self {
        let edge = Edge::start().await.unwrap();
        edge.admit_everyone(HOST).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (begin, begun) = mpsc::channel(4);
        let mut published = Vec::new();
        for number in 0..2 {
            let (begin, asked) = (begin.clone(), asked.clone());
            let slow = async move || {
                if asked.fetch_add(1, SeqCst) == 0 {
                    begin.send(number).await.unwrap();
                    std::future::pending::<()>().await;
                }
                ([(header::CONNECTION, "close")], format!("by {number}"))
            };
            let there = async || ([(header::CONNECTION, "close")], "there");
            let app = Router::new().route("/", any(there)).route("/slow", any(slow));
            let origin = edge.origin().connect().await.unwrap();
            published.push(Some(origin.http(HOST).serve(app).await.unwrap()));
        }
        let ann = edge.login_as(HOST, "ann@example.com").await.unwrap();
        Self { edge, ann, published, asked, begun }
    }

    /// Asks for `/slow`, and ends the connector that it came to; the status and the words that come nevertheless, and which
    /// one it was.
    async fn asks(&mut self, method: &str) -> (u16, String, usize) {
        let request = Request::builder().method(method).uri(self.edge.url(HOST, "/slow")).body(Bytes::new()).unwrap();
        let mut ann = self.ann.clone();
        let asking = tokio::spawn(async move { ann.send(request).await });
        let dies = timeout(PATIENCE, self.begun.recv()).await.unwrap().unwrap();
        drop(self.published[dies].take());
        let answer = timeout(PATIENCE, asking).await.unwrap().unwrap().unwrap();
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned(), dies)
    }
}

// F1, F4
#[tokio::test]
async fn what_changes_nothing_is_answered_by_the_other_connector_when_one_dies_with_it() {
    let mut replicas = Replicas::start().await;
    let (status, said, died) = replicas.asks("GET").await;
    assert_eq!((status, said), (200, format!("by {}", 1 - died)));
    assert_eq!(replicas.asked.load(SeqCst), 2);
}

// F1, F4
#[tokio::test]
async fn what_may_change_something_is_asked_once_even_if_its_connector_dies() {
    let mut replicas = Replicas::start().await;
    let (status, ..) = replicas.asks("POST").await;
    assert_eq!((status, replicas.asked.load(SeqCst)), (502, 1));
}
