//! Everything at once: an edge, a program behind it, and somebody who logs in. `cargo run --example whole`.

use axum::{Router, routing::get};
use tunnel_origin::Identity;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let edge = tunnel_testing::Edge::start().await?;
    edge.admit("app.localhost", &["ann@example.com"]).await?;
    let app = Router::new().route("/", get(async |who: Identity| format!("hi {}", who.email())));
    let _published = edge.origin().connect().await?.http("app.localhost").serve(app).await?;
    let mut ann = edge.login_as("app.localhost", "ann@example.com").await?;
    let answer = ann.get(&edge.url("app.localhost", "/")).await?;
    println!("{}", String::from_utf8_lossy(answer.body()));
    Ok(())
}
