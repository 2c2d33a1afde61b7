//! A TCP service behind an edge, from inside a program: `cargo run --example connect -- echo.example.com`. The browser of
//! whoever runs it logs in.

use tokio::io::{AsyncWriteExt, copy, stdout};
use tunnel_client::{Auth, Client};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = std::env::args().nth(1).ok_or("say which host")?;
    let auth = Auth::browser(|prompt| eprintln!("open {}, and compare {}", prompt.url, prompt.code));
    let client = Client::builder().auth(auth).build()?;
    let mut stream = client.tcp(&host).connect().await?; // AsyncRead + AsyncWrite
    stream.shutdown().await?;
    copy(&mut stream, &mut stdout()).await?;
    Ok(())
}
