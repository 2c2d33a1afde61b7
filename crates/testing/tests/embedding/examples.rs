//! The examples do what they say.

use std::time::Duration;

use tokio::{io::AsyncReadExt, time::timeout};
use tunnel_testing::Edge;

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../../origin/examples/axum.rs"]
mod axum_program;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../../origin/examples/tcp.rs"]
mod tcp_program;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../../examples/whole.rs"]
mod whole;

#[tokio::test]
async fn the_example_of_the_whole_greets_who_logged_in() {
    assert_eq!(whole::whole().await.unwrap(), "hi ann@example.com");
}

#[tokio::test]
async fn the_axum_example_greets_whom_the_edge_admits_and_nobody_else_arrives() {
    let edge = Edge::start().await.unwrap();
    edge.admit("app.localhost", &["ann@example.com"]).await.unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let program = tokio::spawn(axum_program::serve(origin.clone()));
    origin.status().wait_for(tunnel_origin::Status::is_ready).await.unwrap();
    let mut ann = edge.login_as("app.localhost", "ann@example.com").await.unwrap();
    let answer = ann.get(&edge.url("app.localhost", "/")).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hi ann@example.com"[..]));
    let stranger = edge.visitor().get(&edge.url("app.localhost", "/")).await.unwrap();
    assert!(stranger.status().is_redirection(), "{stranger:?}");
    program.abort();
}

#[tokio::test]
async fn the_tcp_example_is_told_whose_a_connection_is() {
    let edge = Edge::start().await.unwrap();
    edge.admit("echo.localhost", &["ann@example.com"]).await.unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let program = tokio::spawn(tcp_program::serve(origin.clone()));
    origin.status().wait_for(tunnel_origin::Status::is_ready).await.unwrap();
    let client = edge.client("ann@example.com").build().unwrap();
    let mut stream = client.tcp(&edge.host("echo.localhost")).connect().await.unwrap();
    let mut said = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut said)).await.unwrap().unwrap();
    assert_eq!(said, "hi ann@example.com\n");
    program.abort();
}
