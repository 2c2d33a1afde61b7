//! A TCP service behind a host: one connection to it, a local port that leads to it, or standard input and output.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tunnel_proto::Destination;

use crate::{
    client::Client,
    error::Error,
    forward::{Forward, ForwardOptions},
    host::AppHost,
    stream::Stream,
};

/// What one direction of standard input and output holds at a time.
const BUFFER: usize = 64 * 1024;

/// Why not all of the input was sent.
enum Unsent {
    /// It could not be read.
    Input(std::io::Error),
    /// The service does not take more.
    Refused(std::io::Error),
}

/// Why not all of the answer was passed on.
enum Unheard {
    /// The connection was cut.
    Stream(std::io::Error),
    /// It could not be written.
    Output(std::io::Error),
}

/// A TCP service behind a host, to be connected to.
#[derive(Clone, Debug)]
#[must_use]
pub struct Tcp {
    client: Client,
    host: String,
    destination: Option<String>,
}

impl Tcp {
    pub(crate) fn new(client: Client, host: &str) -> Self {
        Self { client, host: host.to_owned(), destination: None }
    }

    /// Where to, `host:port`, for a host that is a bastion.
    pub fn destination(mut self, destination: impl Into<String>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// Connects. Logs in first, if need be.
    pub async fn connect(&self) -> Result<Stream, Error> {
        let (host, destination) = self.checked()?;
        self.client.open(&host, destination.as_ref()).await
    }

    /// Listens at a local address, and connects whoever comes there, for as long as the [`Forward`] lives. A port of 0
    /// has the system choose one. Logs in when the first connection comes, which waits for it.
    pub async fn forward(&self, address: &str) -> Result<Forward, Error> {
        self.forward_with(address, ForwardOptions::default()).await
    }

    /// The same, otherwise than usual.
    pub async fn forward_with(&self, address: &str, options: ForwardOptions) -> Result<Forward, Error> {
        let (host, destination) = self.checked()?;
        Forward::begin(self.client.clone(), host, destination, address, options).await
    }

    /// Connects, and carries `input` there and what comes back to `output`, until both have ended. The end of the input is
    /// passed on, and what is answered to it still arrives; the end of the answer shuts `output` down, and what `input` still
    /// brings is carried all the same. It fails if the connection was cut, or could not take all of the input; what was
    /// answered before arrives in any case.
    pub async fn stdio(
        &self,
        mut input: impl AsyncRead + Unpin,
        mut output: impl AsyncWrite + Unpin,
    ) -> Result<(), Error> {
        let stream = self.connect().await?;
        let inquest = stream.inquest();
        let (mut from, mut to) = tokio::io::split(stream);
        let inward = async {
            let mut buffer = vec![0; BUFFER];
            loop {
                let count = input.read(&mut buffer).await.map_err(Unsent::Input)?;
                let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
                to.write_all(piece).await.map_err(Unsent::Refused)?;
                to.flush().await.map_err(Unsent::Refused)?;
            }
            // Everything is on its way. If it was cut just now, the other direction says so.
            to.shutdown().await.ok();
            Ok(())
        };
        let outward = async {
            let mut buffer = vec![0; BUFFER];
            loop {
                let count = from.read(&mut buffer).await.map_err(Unheard::Stream)?;
                let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
                output.write_all(piece).await.map_err(Unheard::Output)?;
                output.flush().await.map_err(Unheard::Output)?;
            }
            output.shutdown().await.map_err(Unheard::Output)
        };
        tokio::pin!(inward, outward);
        let (mut sending, mut receiving, mut unsent) = (true, true, None);
        while sending || receiving {
            tokio::select! {
                ended = &mut outward, if receiving => match ended {
                    Ok(()) => receiving = false,
                    Err(Unheard::Stream(error)) => return Err(inquest.why_cut(&unsent.unwrap_or(error)).await),
                    Err(Unheard::Output(error)) => return Err(local("standard output", &error)),
                },
                ended = &mut inward, if sending => {
                    sending = false;
                    match ended {
                        Ok(()) => {}
                        // What the service said before it refused to hear more is on its way to the output.
                        Err(Unsent::Refused(error)) => unsent = Some(error),
                        Err(Unsent::Input(error)) => return Err(local("standard input", &error)),
                    }
                }
                // There would be no word of it before the next piece of the input.
                lost = inquest.link_over(), if sending && !receiving => return Err(lost),
            }
        }
        match unsent {
            Some(error) => Err(inquest.why_cut(&error).await),
            None => Ok(()),
        }
    }

    fn checked(&self) -> Result<(AppHost, Option<Destination>), Error> {
        let destination = self.destination.as_deref().map(str::parse::<Destination>).transpose();
        let destination = destination.map_err(|error| Error::Usage { what: error.to_string() })?;
        Ok((self.host.parse()?, destination))
    }
}

/// What is ours, and does not work.
fn local(what: &str, error: &std::io::Error) -> Error {
    Error::Local { what: what.to_owned(), reason: error.to_string() }
}
