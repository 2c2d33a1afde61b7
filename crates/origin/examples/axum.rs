//! An axum program behind an edge on this machine, without a port of its own: `cargo run --example axum --features axum08
//! -- DATA_DIR`. An administrator lets people reach `app.localhost`; nobody else arrives here.

use axum::{Extension, Router, routing::get};
use tunnel_origin::{Identity, Origin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let data_dir = std::env::args().nth(1).ok_or("say where the edge keeps its data")?;
    let origin = Origin::builder().local(data_dir).connect().await?;
    let listener = origin.http("app.localhost").listen().await?;
    let app = Router::new().route("/", get(hello)).layer(Extension(listener.verifier()));
    Ok(axum::serve(listener, app).await?)
}

async fn hello(who: Identity) -> String {
    format!("hi {}", who.email())
}
