//! The records of a connection by TLS after its handshake: whatever a peer seals or does not, however it is cut, ours takes the
//! same from it as rustls' own connections do, which are the second, strict reading.

mod peer;
mod wire;

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use rustls::ServerConnection;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tunnel_proto::tls::{READ_MAX, TlsStream, accept};

use self::{
    peer::{ALERT, CONFIGS, Configs, Peer},
    wire::Wire,
};

/// What a server says when all has come.
const ANSWER: &[u8] = b"answer";
/// How much the program reads at a time. Zero is by place, a record at a time.
const READS: [usize; 4] = [0, 20_000, 1_000, 7];

/// The first byte chooses the cipher, how the program reads, and whether the first piece comes in one with the end of the
/// handshake; the second says how long a piece is at most. What the rest is says [`wire`].
pub(super) fn run(data: &[u8]) {
    let &[choice, longest, ref script @ ..] = data else { return };
    let configs = &CONFIGS[usize::from(choice) % CONFIGS.len()];
    let strict = by_rustls(configs, script);
    let ours = by_ours(configs, script, choice, longest);
    assert_eq!(ours.end, strict.end, "rustls and ours end differently");
    assert!(ours.got == strict.got, "ours took {} bytes and rustls {}", ours.got.len(), strict.got.len());
    if ours.end != End::Failed {
        assert_eq!(ours.said, strict.said, "rustls and ours answer differently");
    }
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It goes on as soon as more comes.
    Open,
    /// The peer has said that it sends no more.
    Closed,
    /// What came is wrong.
    Failed,
    /// The bytes ended, and the peer had not said so.
    Lost,
}

/// What a server made of it.
struct Outcome {
    got: Vec<u8>,
    end: End,
    /// What it said to it: records and their types.
    said: Vec<(u8, Vec<u8>)>,
}

fn by_rustls(configs: &Configs, script: &[u8]) -> Outcome {
    let mut server = ServerConnection::new(configs.server.clone()).expect("a server");
    let mut got = Vec::new();
    let (mut peer, last_words) = Peer::shake(&configs.client, |hello| {
        takes(&mut server, hello, &mut Vec::new());
        sends(&mut server)
    });
    takes(&mut server, &last_words, &mut got);
    assert!(!server.is_handshaking(), "an honest handshake");
    let (given, refused) = Wire::of(script, &mut peer, true).for_a_strict_reader();
    match takes(&mut server, &given, &mut got) {
        End::Open if refused => Outcome { got, end: End::Failed, said: Vec::new() },
        End::Failed => Outcome { got, end: End::Failed, said: Vec::new() },
        end => {
            server.writer().write_all(ANSWER).expect("it can still be answered");
            server.send_close_notify();
            let said = peer.open(sends(&mut server));
            Outcome { got, end, said }
        }
    }
}

/// Has rustls take these bytes.
fn takes(server: &mut ServerConnection, mut bytes: &[u8], got: &mut Vec<u8>) -> End {
    while !bytes.is_empty() {
        let taken = server.read_tls(&mut bytes).expect("its buffers hold what a wire has");
        assert!(taken > 0, "there was something to take");
        let state = server.process_new_packets();
        // An error says that there is no more for now.
        let _ = server.reader().read_to_end(got);
        match state {
            Ok(state) if state.peer_has_closed() => return End::Closed,
            Ok(_) => {}
            Err(_) => return End::Failed,
        }
    }
    End::Open
}

/// All that rustls has to say.
fn sends(server: &mut ServerConnection) -> Vec<u8> {
    let mut said = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut said).expect("a vector takes everything");
    }
    said
}

fn by_ours(configs: &Configs, script: &[u8], choice: u8, longest: u8) -> Outcome {
    let mut cx = Context::from_waker(Waker::noop());
    let pipe = Pipe::default();
    let mut accepting = pin!(accept(configs.server.clone(), pipe.clone()));
    let (mut peer, last_words) = Peer::shake(&configs.client, |hello| {
        pipe.give(hello);
        assert!(accepting.as_mut().poll(&mut cx).is_pending(), "half a handshake is none");
        pipe.heard()
    });
    let wire = Wire::of(script, &mut peer, false);
    let mut pieces = wire.pieces(longest).into_iter();
    pipe.give(&last_words);
    let begin = pipe.given();
    if choice & 4 != 0 {
        pipe.give(pieces.next().unwrap_or_default());
    }
    let Poll::Ready(accepted) = accepting.as_mut().poll(&mut cx) else { panic!("a whole handshake is enough") };
    let server = accepted.expect("an honest handshake");
    let at_a_time = READS[usize::from(choice >> 3) % READS.len()];
    let mut program = Program { server, pipe, begin, at_a_time, got: Vec::new(), records: 0, failure: None };
    let mut end = program.reads(&wire, &mut cx);
    for piece in pieces {
        if end != End::Open {
            break;
        }
        program.pipe.give(piece);
        end = program.reads(&wire, &mut cx);
    }
    let said = program.finishes(end, &wire, &mut peer, &mut cx);
    Outcome { got: program.got, end, said }
}

/// Who reads from our connection.
struct Program {
    server: TlsStream<Pipe>,
    pipe: Pipe,
    /// Bytes of the pipe before the wire begins.
    begin: usize,
    at_a_time: usize,
    got: Vec<u8>,
    /// Records with something in them that were read by place.
    records: usize,
    failure: Option<rustls::Error>,
}

impl Program {
    /// Reads as much as there is.
    fn reads(&mut self, wire: &Wire, cx: &mut Context<'_>) -> End {
        loop {
            let read = if self.at_a_time == 0 { self.reads_by_place(wire, cx) } else { self.reads_a_copy(cx) };
            match read {
                Poll::Pending => return End::Open,
                Poll::Ready(Ok(0)) => return End::Closed,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Lost,
                Poll::Ready(Err(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                    self.failure = Some(said.expect("TLS says what is wrong").clone());
                    return End::Failed;
                }
            }
        }
    }

    /// Reads a record where it lies. Meanwhile no more is held than may be, and all that came before it is forgotten.
    fn reads_by_place(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let plain = ready!(Pin::new(&mut self.server).poll_fill_buf(cx))?;
        let length = plain.len();
        self.got.extend_from_slice(plain);
        if length > 0 {
            let &(start, sent) = wire.data.get(self.records).expect("nothing is read that nobody has sent");
            assert_eq!(length, sent, "a record is read as it was sent");
            let held = self.pipe.taken() - self.begin - start;
            assert!(held <= READ_MAX, "{held} bytes are held");
            self.records += 1;
            Pin::new(&mut self.server).consume(length);
        }
        Poll::Ready(Ok(length))
    }

    fn reads_a_copy(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.got.len();
        self.got.resize(before + self.at_a_time, 0);
        let mut space = ReadBuf::new(&mut self.got[before..]);
        let read = Pin::new(&mut self.server).poll_read(cx, &mut space);
        let length = space.filled().len();
        self.got.truncate(before + length);
        read.map_ok(|()| length)
    }

    /// Answers, if that is still possible, and looks whether the end stays what it is. Gives what was said.
    fn finishes(&mut self, end: End, wire: &Wire, peer: &mut Peer, cx: &mut Context<'_>) -> Vec<(u8, Vec<u8>)> {
        let answered = Pin::new(&mut self.server).poll_write(cx, ANSWER);
        if end == End::Failed {
            assert!(matches!(answered, Poll::Ready(Err(_))), "a connection that failed takes nothing");
        } else {
            assert!(matches!(answered, Poll::Ready(Ok(length)) if length == ANSWER.len()), "{answered:?}");
        }
        let shut = Pin::new(&mut self.server).poll_shutdown(cx);
        assert!(matches!(shut, Poll::Ready(Ok(()))), "{shut:?}");
        self.pipe.end();
        let (got, after) = (self.got.len(), self.reads(wire, cx));
        assert_eq!(after, if end == End::Open { End::Lost } else { end }, "the end stays the end");
        assert_eq!(self.got.len(), got, "nothing comes after the end");
        let said = peer.open(self.pipe.heard());
        match &self.failure {
            None => {}
            Some(rustls::Error::AlertReceived(_)) => assert!(said.is_empty(), "there is nothing to say to an alert"),
            Some(error) => {
                let told = matches!(said.as_slice(), [(ALERT, alert)] if matches!(alert.as_slice(), [2, _]));
                assert!(told, "of {error} the peer is told {said:?}");
            }
        }
        said
    }
}

/// A server's end of a pipe in memory that takes everything, and what is at its other end.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Ends>>);

#[derive(Default)]
struct Ends {
    /// To the server, and how much of it was taken.
    there: Vec<u8>,
    taken: usize,
    ended: bool,
    /// From the server.
    back: Vec<u8>,
}

impl Pipe {
    fn give(&self, bytes: &[u8]) {
        self.0.borrow_mut().there.extend_from_slice(bytes);
    }

    fn given(&self) -> usize {
        self.0.borrow().there.len()
    }

    fn taken(&self) -> usize {
        self.0.borrow().taken
    }

    fn end(&self) {
        self.0.borrow_mut().ended = true;
    }

    fn heard(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().back)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ends = &mut *self.0.borrow_mut();
        let rest = &ends.there[ends.taken..];
        if rest.is_empty() && !ends.ended {
            return Poll::Pending;
        }
        let length = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..length]);
        ends.taken += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().back.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
