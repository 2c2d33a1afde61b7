//! The handshake, which is rustls' work, up to the point from which records are ours.

use std::{io, sync::Arc};

use rustls::{
    CipherSuite, ClientConfig, CommonState, ContentType, Error, HandshakeKind, NamedGroup, ServerConfig,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::{CertificateDer, ServerName},
    server::{Accepted, Acceptor, ClientHello, ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    records::{Keys, RECORD_HEADER, Records},
    stream::TlsStream,
};

/// Bytes of a handshake that are held until it goes on: as much as rustls allows a message to have, in records.
pub const HANDSHAKE_MAX: usize = 72 * 1024;
/// Bytes of a sealed alert: header, alert, type and tag. No other sealed record of a handshake is as short.
const SEALED_ALERT: usize = 5 + 2 + 1 + 16;
/// Bytes that are read at a time.
const READ: usize = 4 * 1024;
/// What a record carries at most by the reckoning of rustls, which is to say what is wrong with a longer one.
const RUSTLS_MAX: usize = 16 * 1024 + 2048;

/// What both sides of a connection agreed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Agreed {
    /// The name of what is spoken.
    pub alpn: Option<Vec<u8>>,
    /// What the peer showed, its own certificate first. Empty if it showed none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// How records are sealed.
    pub suite: Option<CipherSuite>,
    /// How keys were exchanged.
    pub group: Option<NamedGroup>,
    /// Whether an earlier connection was resumed.
    pub resumed: bool,
}

impl Agreed {
    fn of(state: &CommonState) -> Self {
        Self {
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            certificates: state.peer_certificates().unwrap_or_default().to_vec(),
            suite: state.negotiated_cipher_suite().map(|suite| suite.suite()),
            group: state.negotiated_key_exchange_group().map(|group| group.name()),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// The handshake of the side that connects. There is no time limit: wrap it in one. An error of TLS is a [`rustls::Error`]
/// inside the [`io::Error`].
pub async fn connect<IO>(config: Arc<ClientConfig>, name: ServerName<'static>, mut io: IO) -> io::Result<TlsStream<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut side = Box::new(UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?);
    let rest = shake(&mut *side, &mut io, Vec::new()).await?;
    let agreed = Agreed::of(&side);
    let (secrets, keys) = side.dangerous_into_kernel_connection().map_err(io::Error::other)?;
    let records = Records::new(Keys::Client(keys), secrets.tx, secrets.rx).map_err(io::Error::other)?;
    Ok(TlsStream::new(io, records, agreed, rest))
}

/// The handshake of the other side, where the configuration does not depend on who comes. As with [`connect`], there is no
/// time limit.
pub async fn accept<IO>(config: Arc<ServerConfig>, io: IO) -> io::Result<TlsStream<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    go_on(config, io, Vec::new()).await
}

/// A connection of which the ClientHello has come, and nothing was answered.
pub struct Arrival<IO> {
    io: IO,
    accepted: Accepted,
    received: Vec<u8>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Arrival<IO> {
    /// Reads a ClientHello. What is none is answered by an alert. As with [`connect`], there is no time limit.
    pub async fn read(mut io: IO) -> io::Result<Self> {
        let mut acceptor = Acceptor::default();
        let mut received = Vec::new();
        loop {
            let before = received.len();
            read_more(&mut io, &mut received).await?;
            let mut unread = received.get(before..).unwrap_or_default();
            while !unread.is_empty() {
                acceptor.read_tls(&mut unread)?;
                match acceptor.accept() {
                    Ok(Some(accepted)) => return Ok(Self { io, accepted, received }),
                    Ok(None) => {}
                    Err((error, mut alert)) => {
                        let mut last_words = Vec::new();
                        alert.write_all(&mut last_words)?;
                        // Why there is no connection says more than that it broke.
                        let _ = io.write_all(&last_words).await;
                        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                    }
                }
            }
        }
    }

    /// What the client says of itself.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.accepted.client_hello()
    }

    /// Goes on as [`accept`] does.
    pub async fn accept(self, config: Arc<ServerConfig>) -> io::Result<TlsStream<IO>> {
        go_on(config, self.io, self.received).await
    }

    /// For going on by rustls' own connections.
    pub fn into_parts(self) -> (Accepted, IO) {
        (self.accepted, self.io)
    }
}

async fn go_on<IO>(config: Arc<ServerConfig>, mut io: IO, received: Vec<u8>) -> io::Result<TlsStream<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut side = Box::new(UnbufferedServerConnection::new(config).map_err(io::Error::other)?);
    let rest = shake(&mut *side, &mut io, received).await?;
    let agreed = Agreed::of(&side);
    let (secrets, keys) = side.dangerous_into_kernel_connection().map_err(io::Error::other)?;
    let records = Records::new(Keys::Server(keys), secrets.tx, secrets.rx).map_err(io::Error::other)?;
    Ok(TlsStream::new(io, records, agreed, rest))
}

/// Shakes hands, and gives what came behind that. rustls is offered one record more at a time, so that it opens none of those.
async fn shake<S, IO>(side: &mut S, io: &mut IO, received: Vec<u8>) -> io::Result<Vec<u8>>
where
    S: Side,
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut received, mut outgoing) = (received, Vec::new());
    let mut offered = 0_usize;
    loop {
        let (taken, step) = step(side, received.get_mut(..offered).unwrap_or_default(), &mut outgoing);
        received.drain(..taken.min(offered));
        offered = offered.saturating_sub(taken);
        match step {
            Ok(Step::Again) => {}
            Ok(Step::Send) => send(io, &mut outgoing).await?,
            Ok(Step::Read) => match next(&received, offered) {
                Some(end) => offered = end,
                None => read_more(io, &mut received).await?,
            },
            Ok(Step::Done) => {
                send(io, &mut outgoing).await?;
                return Ok(received);
            }
            Ok(Step::Ended) => return Err(eof()),
            Err(error) => {
                if !matches!(error, Error::AlertReceived(_)) {
                    complain(side, received.get_mut(..offered).unwrap_or_default(), &mut outgoing);
                }
                // Why there is no connection says more than that it broke.
                let _ = send(io, &mut outgoing).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}

/// Takes what rustls still has for the peer after an error, which ends with an alert. It wants to see what it had been offered,
/// whatever it made of that.
fn complain<S: Side>(side: &mut S, mut received: &mut [u8], outgoing: &mut Vec<u8>) {
    loop {
        let begin = outgoing.len();
        let (taken, Ok(Step::Again)) = step(side, received, outgoing) else { return };
        let last = outgoing.get(begin..).unwrap_or_default();
        let is_alert = match last.first().copied().map(ContentType::from) {
            Some(ContentType::Alert) => true,
            Some(ContentType::ApplicationData) => last.len() <= SEALED_ALERT,
            _ => false,
        };
        if is_alert {
            return;
        }
        received = received.get_mut(taken..).unwrap_or_default();
    }
}

/// Where the first record ends that is not offered yet, if it has come. What cannot be a record is offered as it is.
fn next(received: &[u8], offered: usize) -> Option<usize> {
    let &[_, major, _, high, low] = received.get(offered..)?.first_chunk::<RECORD_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if major != 3 || length > RUSTLS_MAX {
        return Some(received.len());
    }
    let end = offered.saturating_add(RECORD_HEADER).saturating_add(length);
    (end <= received.len()).then_some(end)
}

async fn send(io: &mut (impl AsyncWrite + Unpin), outgoing: &mut Vec<u8>) -> io::Result<()> {
    io.write_all(outgoing).await?;
    outgoing.clear();
    io.flush().await
}

async fn read_more(io: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> io::Result<()> {
    if received.len() >= HANDSHAKE_MAX {
        let text = format!("a handshake message of more than {HANDSHAKE_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    received.reserve(READ);
    if io.read_buf(received).await? == 0 { Err(eof()) } else { Ok(()) }
}

fn eof() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended in the TLS handshake")
}

/// What is to be done next.
enum Step {
    /// Ask again.
    Again,
    /// What is outgoing must go out.
    Send,
    /// More must come.
    Read,
    /// The handshake is over.
    Done,
    /// The peer has closed the connection.
    Ended,
}

/// One step, and how many bytes of what was received are not needed any more.
fn step<S: Side>(side: &mut S, received: &mut [u8], outgoing: &mut Vec<u8>) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { discard, state } = side.process(received);
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(data) => encode(data, outgoing).map(|()| Step::Again),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Send)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Read),
        ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Ended),
        other => Err(Error::General(format!("the handshake came to {other:?}"))),
    });
    match step {
        // A server could send data before the client is done.
        Ok(Step::Done) if side.is_handshaking() => (discard, Ok(Step::Read)),
        step => (discard, step),
    }
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    let at = outgoing.len();
    loop {
        match data.encode(outgoing.get_mut(at..).unwrap_or_default()) {
            Ok(length) => {
                outgoing.truncate(at.saturating_add(length));
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => outgoing.resize(at.saturating_add(size.required_size), 0),
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}

/// Either side of a handshake.
trait Side {
    type Data;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn is_handshaking(&self) -> bool;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn is_handshaking(&self) -> bool {
        CommonState::is_handshaking(self)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn is_handshaking(&self) -> bool {
        CommonState::is_handshaking(self)
    }
}
