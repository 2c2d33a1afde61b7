//! A web server at a port, behind somebody else's connector, that lets in whom the edge vouches for, and nobody else: `cargo
//! run --example verify --features axum08,tower -- ISSUER AUDIENCE`. `edge admin application list` shows the audience.

use axum::{Router, routing::get};
use tunnel_origin::{Identity, Verifier, verify::AssertionLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut words = std::env::args().skip(1);
    let (Some(issuer), Some(audience)) = (words.next(), words.next()) else {
        return Err("say the edge, https://access.ZONE[:port], and the audience".into());
    };
    let verifier = Verifier::of_issuer(&issuer, [audience.parse()?])?;
    let app = Router::new().route("/", get(hello)).layer(AssertionLayer::new(verifier));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening at {}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn hello(who: Identity) -> String {
    format!("hi {}", who.email())
}
