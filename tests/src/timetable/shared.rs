//! HTTP/2: many requests at once on a connection, and another one once the peer has said farewell.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::{Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
    sync::{Mutex as Turn, Semaphore, oneshot},
};
use tokio_rustls::client::TlsStream;

use super::{Page, Trip};
use crate::{
    http2::{Frame, block, frame, preface, status, take},
    raw::Door,
};

/// Connections at a time.
pub(super) const LANES: usize = 4;
/// Requests on each at a time: fewer than the 100 that an edge takes. What is due beyond that waits, and is late.
const AT_ONCE: usize = 80;
/// Connections in a row that may say farewell before they have answered a request.
const TRIES: usize = 5;
/// What the peer may send on a connection beyond what it may anyway: as much as there can be (RFC 9113 §6.9.1).
const WINDOW: u32 = (1 << 31) - 1 - 65_535;
/// Room for what comes at once.
const ROOM: usize = 64 * 1024;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// RST_STREAM of a request that was not looked at (RFC 9113 §8.7).
const REFUSED_STREAM: u32 = 7;

/// What became of a request on a connection.
enum Fate {
    /// A status and a body.
    Answered(u16, Vec<u8>),
    /// It was sent, and the peer says that it was not looked at.
    Refused,
    /// It was not sent: the peer takes no more there.
    Late,
    /// What came in the place of an answer.
    Cut(String),
}

/// One connection after the other.
pub(super) struct Shared {
    door: Door,
    block: Vec<u8>,
    body: Vec<u8>,
    current: Turn<Option<Arc<Line>>>,
    room: Semaphore,
}

impl Shared {
    pub(super) fn new(page: &Page) -> Self {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", page.host.as_str()), (":path", "/")];
        Self {
            door: page.door.offering(&["h2"]),
            block: block(&[&fields[..], &[("cookie", page.cookie.as_str())]].concat()),
            body: page.body.clone().into_bytes(),
            current: Turn::new(None),
            room: Semaphore::new(AT_ONCE),
        }
    }

    /// Asks. What the peer certainly did not look at is asked again on a new connection, as browsers do (RFC 9113 §8.7).
    pub(super) async fn ask(&self, trip: &mut Trip<'_>) -> Result<()> {
        let _room = self.room.acquire().await?;
        for _ in 0..TRIES {
            let line = self.line().await?;
            match line.ask(&self.block, trip).await {
                Fate::Answered(status, body) => {
                    let right = status == 200 && body == self.body;
                    ensure!(right, "another answer: {status} {}", String::from_utf8_lossy(&body));
                    return Ok(());
                }
                Fate::Refused => trip.tally.refused(),
                Fate::Late => {}
                Fate::Cut(how) => bail!("{how}"),
            }
        }
        bail!("{TRIES} connections in a row take no request")
    }

    /// The connection that takes requests now.
    async fn line(&self) -> Result<Arc<Line>> {
        let mut current = self.current.lock().await;
        if let Some(line) = current.as_ref().filter(|line| !line.book().is_leaving) {
            return Ok(line.clone());
        }
        let line = Line::open(&self.door).await?;
        *current = Some(line.clone());
        Ok(line)
    }
}

/// A connection.
struct Line {
    writer: Turn<WriteHalf<TlsStream<TcpStream>>>,
    book: Mutex<Book>,
}

impl Line {
    async fn open(door: &Door) -> Result<Arc<Self>> {
        let (reader, mut writer) = split(door.secured().await?);
        writer.write_all(&[preface(), frame(8, 0, 0, &WINDOW.to_be_bytes())].concat()).await?;
        writer.flush().await?;
        let book = Book { next: 1, is_leaving: false, waiting: HashMap::new() };
        let line = Arc::new(Self { writer: Turn::new(writer), book: Mutex::new(book) });
        tokio::spawn(line.clone().read(reader));
        Ok(line)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    async fn ask(&self, block: &[u8], trip: &mut Trip<'_>) -> Fate {
        let answer = {
            let mut writer = self.writer.lock().await;
            // In this turn, so that nothing follows the acknowledgement of a farewell.
            let Some((stream, answer)) = self.book().begin() else { return Fate::Late };
            // Of a connection that is gone its reader says so.
            let _ = writer.write_all(&frame(1, END_STREAM | 4, stream, block)).await;
            let _ = writer.flush().await;
            answer
        };
        trip.sent();
        answer.await.unwrap_or_else(|_| Fate::Cut("the connection is read no more".into()))
    }

    /// Reads until the end of the connection.
    async fn read(self: Arc<Self>, mut io: ReadHalf<TlsStream<TcpStream>>) {
        let mut waiting = Vec::with_capacity(ROOM);
        let end = loop {
            while let Some(frame) = take(&mut waiting) {
                let reply = self.book().note(frame);
                if let Some(reply) = reply {
                    let mut writer = self.writer.lock().await;
                    let _ = writer.write_all(&reply).await;
                    let _ = writer.flush().await;
                }
            }
            match io.read_buf(&mut waiting).await {
                Ok(1..) => {}
                end => break end,
            }
        };
        self.book().end(&format!("the connection ended before the answer did ({end:?})"));
    }
}

/// A request that waits for its answer.
struct Waiting {
    status: u16,
    body: Vec<u8>,
    tell: oneshot::Sender<Fate>,
}

/// What is under way on a connection.
struct Book {
    next: u32,
    /// The peer takes no more.
    is_leaving: bool,
    waiting: HashMap<u32, Waiting>,
}

impl Book {
    /// One request more: its stream, and where its fate is told. `None` when the peer takes no more.
    fn begin(&mut self) -> Option<(u32, oneshot::Receiver<Fate>)> {
        if self.is_leaving {
            return None;
        }
        let (stream, (tell, answer)) = (self.next, oneshot::channel());
        self.next += 2;
        self.waiting.insert(stream, Waiting { status: 0, body: Vec::new(), tell });
        Some((stream, answer))
    }

    /// Follows what came; what is to be said to it.
    fn note(&mut self, (kind, flags, stream, payload): Frame) -> Option<Vec<u8>> {
        let number = |at: usize| payload.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        match kind {
            0 | 1 => {
                if let Err(error) = self.answer(kind, flags, stream, &payload) {
                    self.tell(stream, Fate::Cut(format!("{error:#}")));
                }
            }
            3 if number(0) == REFUSED_STREAM => self.tell(stream, Fate::Refused),
            3 => self.tell(stream, Fate::Cut(format!("reset with code {}", number(0)))),
            4 | 6 if flags & 1 == 0 => {
                // SETTINGS is acknowledged with nothing, PING with what came.
                let said: &[u8] = if kind == 6 { &payload } else { &[] };
                return Some(frame(kind, 1, 0, said));
            }
            7 => self.farewell(number(0) & 0x7fff_ffff, number(4)),
            _ => {}
        }
        None
    }

    /// A piece of an answer.
    fn answer(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let Some(waiting) = self.waiting.get_mut(&stream) else { return Ok(()) };
        ensure!(flags & (PADDED | PRIORITY) == 0, "padding, which the edge sends none of");
        if kind == 0 {
            waiting.body.extend_from_slice(payload);
        } else if waiting.status < 200 {
            waiting.status = status(payload)?;
        }
        if flags & END_STREAM != 0
            && let Some(Waiting { status, body, tell }) = self.waiting.remove(&stream)
        {
            let _ = tell.send(Fate::Answered(status, body));
        }
        Ok(())
    }

    fn tell(&mut self, stream: u32, fate: Fate) {
        if let Some(waiting) = self.waiting.remove(&stream) {
            // Whoever waited may have lost patience.
            let _ = waiting.tell.send(fate);
        }
    }

    /// The peer takes no more, and looked at nothing beyond a stream.
    fn farewell(&mut self, last: u32, code: u32) {
        self.is_leaving = true;
        for (_, waiting) in self.waiting.extract_if(|stream, _| *stream > last) {
            let fate = if code == 0 { Fate::Refused } else { Fate::Cut(format!("GOAWAY with code {code}")) };
            let _ = waiting.tell.send(fate);
        }
    }

    /// Nothing comes any more.
    fn end(&mut self, how: &str) {
        self.is_leaving = true;
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let _ = waiting.tell.send(Fate::Cut(how.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(requests: usize) -> (Book, Vec<oneshot::Receiver<Fate>>) {
        let mut book = Book { next: 1, is_leaving: false, waiting: HashMap::new() };
        let answers = (0..requests).map(|_| book.begin().unwrap().1).collect();
        (book, answers)
    }

    #[test]
    fn what_a_farewell_does_not_cover_is_asked_again_and_the_rest_is_still_answered() {
        let (mut book, mut answers) = book(3);
        let goaway = |last: u32| (7, 0, 0, [last.to_be_bytes(), [0; 4]].concat());
        assert!(book.note(goaway(u32::MAX >> 1)).is_none() && book.begin().is_none(), "it takes no more");
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "it may still answer all");
        book.note(goaway(3));
        assert!(matches!(answers[2].try_recv(), Ok(Fate::Refused)));
        book.note((1, 4, 3, vec![0x88]));
        book.note((0, END_STREAM, 3, b"here".to_vec()));
        assert!(matches!(answers[1].try_recv(), Ok(Fate::Answered(200, body)) if body == b"here"));
        book.end("gone");
        assert!(matches!(answers[0].try_recv(), Ok(Fate::Cut(_))), "it was covered, and not answered");
    }

    #[test]
    fn resets_and_cut_answers_are_told_apart() {
        let (mut book, mut answers) = book(3);
        book.note((3, 0, 1, 7_u32.to_be_bytes().to_vec()));
        book.note((3, 0, 3, 2_u32.to_be_bytes().to_vec()));
        book.note((1, 4, 5, vec![0x88]));
        book.end("gone");
        assert!(matches!(answers[0].try_recv(), Ok(Fate::Refused)));
        assert!(matches!(answers[1].try_recv(), Ok(Fate::Cut(how)) if how.contains('2')));
        assert!(matches!(answers[2].try_recv(), Ok(Fate::Cut(how)) if how == "gone"));
    }

    #[test]
    fn what_is_to_be_acknowledged_is_acknowledged_once() {
        let (mut book, _) = book(0);
        assert_eq!(book.note((4, 0, 0, vec![0; 6])), Some(frame(4, 1, 0, &[])));
        assert_eq!(book.note((6, 0, 0, vec![7; 8])), Some(frame(6, 1, 0, &[7; 8])));
        assert_eq!(book.note((4, 1, 0, Vec::new())), None);
        assert_eq!(book.note((6, 1, 0, vec![7; 8])), None);
    }
}
