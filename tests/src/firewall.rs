//! Something between a client and its edge that lets only browsers' TLS through.

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinHandle,
};

use crate::{Lab, edge::LOGIN_HOST};

/// Where it stands before the edge at 127.0.0.1:443.
const ADDRESS: &str = "127.0.0.5";
/// In the first bytes of whoever asks for a native link of access clients.
const NATIVE: &[u8] = b"tunnel-access";

/// It stands for as long as this lives.
#[derive(Debug)]
pub struct Firewall {
    task: JoinHandle<()>,
}

impl Firewall {
    /// Cuts off whoever offers another protocol than browsers do.
    ///
    /// # Errors
    /// Its address is taken.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((ADDRESS, 443)).await?;
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut hello = vec![0; 4096];
                    let n = near.read(&mut hello).await.unwrap_or(0);
                    let spoilt = hello[..n].windows(NATIVE.len()).any(|window| window == NATIVE);
                    let Ok(mut far) = TcpStream::connect("127.0.0.1:443").await else { return };
                    if spoilt || far.write_all(&hello[..n]).await.is_err() {
                        return;
                    }
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                });
            }
        });
        Ok(Self { task })
    }

    /// `command` behind it: that program alone finds the login host and `hosts` here.
    ///
    /// # Errors
    /// The hosts file could not be written.
    pub fn behind(&self, lab: &Lab, command: &Command, hosts: &str) -> Result<Command> {
        let names = format!("127.0.0.1 localhost\n{ADDRESS} {LOGIN_HOST} {hosts}\n");
        let file = lab.write("firewall.hosts", &names)?;
        Ok(lab.privately(command, "mount --bind \"$0\" /etc/hosts", &file))
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        self.task.abort();
    }
}
