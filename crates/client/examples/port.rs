//! A local port that leads to a TCP service behind an edge, until Ctrl+C: `cargo run --example port -- db.example.com
//! 127.0.0.1:5432 LOGINS`. Logins are kept in the directory LOGINS.

use tunnel_client::{Auth, Client, FileStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [host, address, logins] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("say which host, where to listen, and where logins are kept".into());
    };
    let auth = Auth::browser(|prompt| println!("open {}, and compare {}", prompt.url, prompt.code));
    let client = Client::builder().auth(auth).token_store(FileStore::new(logins)).build()?;
    let port = client.tcp(host).forward(address).await?;
    println!("listening at {}", port.local_addr());
    Ok(tokio::signal::ctrl_c().await?)
}
