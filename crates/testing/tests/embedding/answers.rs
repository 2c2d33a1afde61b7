//! Answers of services, as their visitors get them.

use axum::{
    Router,
    body::Body,
    http::{Response, header},
    routing::get,
};
use hyper::ext::ReasonPhrase;
use tunnel_testing::Edge;

const HOST: &str = "app.localhost";

#[tokio::test]
async fn an_answer_keeps_the_words_of_its_status_and_names_no_other_way_to_its_service() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone(HOST).await.unwrap();
    let said = async || {
        let answer = Response::builder().status(409).extension(ReasonPhrase::from_static(b"Already Brewing"));
        answer.header(header::ALT_SVC, "h3=\":443\"").header("x-own", "kept").body(Body::from("tea")).unwrap()
    };
    let app = Router::new().route("/", get(async || "there")).route("/said", get(said));
    let _published = edge.origin().connect().await.unwrap().http(HOST).serve(app).await.unwrap();
    let mut ann = edge.login_as(HOST, "ann@example.com").await.unwrap();
    let answer = ann.get(&edge.url(HOST, "/said")).await.unwrap();
    let words = answer.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    assert_eq!((answer.status().as_u16(), words), (409, Some(&b"Already Brewing"[..])));
    assert_eq!(answer.headers().get("x-own").unwrap(), "kept");
    assert!(answer.headers().get(header::ALT_SVC).is_none());
    assert_eq!(&answer.body()[..], b"tea");
    // What is usual stays so.
    let usual = ann.get(&edge.url(HOST, "/")).await.unwrap();
    assert!(usual.extensions().get::<ReasonPhrase>().is_none());
}
