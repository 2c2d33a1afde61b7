//! Links that are spoken by hand, with bad intentions: of a connector with an honest certificate, and of an access client, which
//! has none. They greet as they should, and then send what they like.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tunnel_proto::{
    InstanceId,
    identity::{ALPN_ACCESS, link_client_config},
    message::{Hello, Message, Role},
};

use crate::{
    Lab, PATIENCE,
    edge::{LOGIN_HOST, ZONE},
    flood::{AT_ONCE, TAKEN_MAX},
    raw::trusting,
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

/// Whose links are spoken by hand.
#[derive(Clone, Debug)]
pub struct EvilPeer {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    role: Role,
}

impl EvilPeer {
    /// A connector with the credentials that the honest one of `tunnel` has stored.
    ///
    /// # Errors
    /// There are none.
    pub fn connector(lab: &Lab, tunnel: &str) -> Result<Self> {
        let path = lab.path("connector").join("tunnels").join(tunnel).join("credentials.pem");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let stored = tunnel_origin::pem::credentials(ZONE.parse()?, &text).map_err(anyhow::Error::msg)?;
        let config = link_client_config(stored.ca_pem(), stored.certificate_pem(), stored.key_pem())?;
        Ok(Self { address: ([127, 0, 0, 1], 443).into(), config: Arc::new(config), role: Role::Connector })
    }

    /// An access client: somebody without a certificate, who trusts `ca` (PEM).
    ///
    /// # Errors
    /// The CA cannot be read.
    pub fn access(ca: &str) -> Result<Self> {
        let trusted = trusting(ca)?;
        let mut config = ClientConfig::clone(&trusted);
        config.alpn_protocols = vec![ALPN_ACCESS.to_vec()];
        Ok(Self { address: ([127, 0, 0, 1], 443).into(), config: Arc::new(config), role: Role::Access })
    }

    /// The same, to another address of the edge.
    pub fn at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    /// Connects, and says nothing.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect(&self) -> Result<EvilLink> {
        let tcp = timeout(PATIENCE, TcpStream::connect(self.address)).await??;
        let connecting = TlsConnector::from(self.config.clone()).connect(LOGIN_HOST.to_owned().try_into()?, tcp);
        Ok(EvilLink { stream: timeout(PATIENCE, connecting).await??, role: self.role })
    }

    /// Connects, greets as an honest peer does, and waits for the edge's answer.
    ///
    /// # Errors
    /// The handshake failed, or the edge did not answer.
    pub async fn greeted(&self) -> Result<EvilLink> {
        let mut link = self.connect().await?;
        link.greet().await?;
        Ok(link)
    }

    /// Floods one link after the other until the edge takes no more; how many it took.
    ///
    /// # Errors
    /// It takes one after the other, or one was not ended in time.
    pub async fn until_shut_out(&self, piece: fn(u32) -> Vec<u8>) -> Result<usize> {
        for taken in 0..TAKEN_MAX {
            let Ok(link) = self.greeted().await else { return Ok(taken) };
            link.until_it_ends(true, piece).await?;
        }
        bail!("{TAKEN_MAX} links were taken")
    }
}

/// A link that is spoken by hand.
#[derive(Debug)]
pub struct EvilLink {
    stream: TlsStream<TcpStream>,
    role: Role,
}

impl EvilLink {
    async fn greet(&mut self) -> Result<()> {
        let hello = Hello::new(self.role, "evil 1.0", InstanceId::from_random([6; 16]));
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
