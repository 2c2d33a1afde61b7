//! A web server beside a program, until Ctrl+C: `cargo run --example forward -- DATA_DIR http://localhost:3000`.

use std::time::Duration;

use tunnel_origin::Origin;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut words = std::env::args().skip(1);
    let (data_dir, url) =
        words.next().zip(words.next()).ok_or("say where the edge keeps its data, and what to publish")?;
    let origin = Origin::builder().local(data_dir).connect().await?;
    let published = origin.http("www.localhost").forward(&url).await?;
    tokio::signal::ctrl_c().await?;
    Ok(published.stop(Duration::from_secs(30)).await?)
}
