//! A TCP service inside a program, which is told whose each connection is: `cargo run --example tcp -- DATA_DIR`, then
//! `access tcp --hostname echo.localhost --url localhost:7000`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tunnel_origin::{Conn, Origin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let data_dir = std::env::args().nth(1).ok_or("say where the edge keeps its data")?;
    let origin = Origin::builder().local(data_dir).connect().await?;
    let mut listener = origin.tcp("echo.localhost").listen().await?;
    loop {
        tokio::spawn(greet(listener.accept().await?));
    }
}

async fn greet(mut conn: Conn) -> std::io::Result<()> {
    let who = conn.identity().map_or_else(|| "nobody".to_owned(), |who| who.email.to_string());
    conn.write_all(format!("hi {who}\n").as_bytes()).await?;
    conn.shutdown().await?;
    conn.read_to_end(&mut Vec::new()).await.map(drop)
}
