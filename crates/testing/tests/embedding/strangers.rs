//! What pages tell those of whom nothing is known.

use bytes::Bytes;
use http::{Method, Request, header};
use tunnel_testing::{Answer, Edge};

const HOST: &str = "app.localhost";
const ANN: &str = "ann@example.com";
/// Of every edge that starts so.
const ADMINISTRATOR: &str = "administrator@example.com";

fn text(page: &Answer) -> String {
    String::from_utf8_lossy(page.body()).into_owned()
}

// A1
#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_door_are_told_nobodys_address_and_people_are_told_whom_to_write_to() {
    let edge = Edge::start().await.unwrap();
    edge.admit(HOST, &[ANN]).await.unwrap();
    let mut stranger = edge.visitor();
    let ask = |method: Method, url: String| {
        let request = Request::builder().method(method).uri(url).header(header::ACCEPT, "text/html");
        request.header("sec-fetch-mode", "navigate").body(Bytes::new()).unwrap()
    };
    for (what, method, host, status) in [
        ("malformed", Method::TRACE, HOST, 405_u16),
        ("a hostname that nobody has", Method::GET, "nobody.localhost", 404),
    ] {
        let page = stranger.send(ask(method, edge.url(host, "/"))).await.unwrap();
        let said = text(&page);
        assert_eq!(page.status(), status, "{what}: {said}");
        assert!(!said.contains(ADMINISTRATOR) && said.contains("tell your administrator"), "{what}: {said}");
    }
    // Whoever is let in, and meets no service.
    let mut ann = edge.login_as(HOST, ANN).await.unwrap();
    let page = ann.get(&edge.url(HOST, "/")).await.unwrap();
    assert!(page.status().is_server_error() && text(&page).contains(ADMINISTRATOR), "{}", text(&page));
    edge.stop().await;
}
