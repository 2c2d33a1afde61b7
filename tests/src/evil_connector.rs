//! A connector with an honest certificate and bad intentions: it greets as it should, and then sends what it likes.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tunnel_proto::{
    InstanceId,
    identity::link_client_config,
    message::{Hello, Message, Role},
};

use crate::{
    Lab, PATIENCE,
    edge::{LOGIN_HOST, ZONE},
    flood::AT_ONCE,
};

/// Flags of the multiplexer.
pub const SYN: u16 = 1;
/// The end of one direction.
pub const FIN: u16 = 4;
/// The end of both.
pub const RST: u16 = 8;

/// A frame's header of the multiplexer: 0 is data, 1 a window update, 2 a ping, 3 the end.
pub fn mux(kind: u8, flags: u16, stream: u32, len: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

/// A frame with data.
pub fn data(stream: u32, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = mux(0, flags, stream, u32::try_from(body.len()).expect("small frames"));
    bytes.extend(body);
    bytes
}

/// A link that is spoken by hand.
#[derive(Debug)]
pub struct EvilConnector {
    stream: TlsStream<TcpStream>,
}

impl EvilConnector {
    /// Connects to the edge at 127.0.0.1:443 with the credentials that the honest connector of `tunnel` has stored, and says
    /// nothing.
    ///
    /// # Errors
    /// There are none, or the handshake failed.
    pub async fn connect(lab: &Lab, tunnel: &str) -> Result<Self> {
        let path = lab.path("connector").join("tunnels").join(tunnel).join("credentials.pem");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let stored = tunnel_origin::pem::credentials(ZONE.parse()?, &text).map_err(anyhow::Error::msg)?;
        let config = link_client_config(stored.ca_pem(), stored.certificate_pem(), stored.key_pem())?;
        let tcp = TcpStream::connect("127.0.0.1:443").await?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(LOGIN_HOST.to_owned().try_into()?, tcp);
        Ok(Self { stream: timeout(PATIENCE, connecting).await?? })
    }

    /// Greets as an honest connector does, and waits for the edge's answer.
    ///
    /// # Errors
    /// The edge did not answer.
    pub async fn greet(&mut self) -> Result<()> {
        let hello = Hello::new(Role::Connector, "evil 1.0", InstanceId::from_random([6; 16]));
        let hello = Message::from(hello).encode().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        self.stream.write_all(&data(1, SYN, &hello)).await?;
        self.stream.flush().await?;
        let answered = timeout(PATIENCE, self.stream.read(&mut [0; 4096])).await??;
        ensure!(answered > 0, "the edge does not want the link");
        Ok(())
    }

    /// Sends `piece` of each number, without end if `endless`, and waits until the edge ends the link.
    ///
    /// # Errors
    /// The link went on.
    pub async fn until_it_ends(self, endless: bool, piece: impl Fn(u32) -> Vec<u8>) -> Result<()> {
        let (reader, mut writer) = tokio::io::split(self.stream);
        let flood = async {
            let mut n = 0;
            while endless || n == 0 {
                let mut pieces = piece(n);
                n += 1;
                while endless && pieces.len() < AT_ONCE {
                    pieces.extend(piece(n));
                    n += 1;
                }
                if writer.write_all(&pieces).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = timeout(PATIENCE, end(reader)) => ended.context("the link goes on"),
            () = flood => Ok(()),
        }
    }
}

async fn end(mut reader: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(1..) = reader.read(&mut buffer).await {}
}
