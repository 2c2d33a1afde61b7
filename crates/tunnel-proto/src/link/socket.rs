//! The socket below a link: how fast it sends, and how little of that the system holds.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// What the system may hold of what was not sent yet, in bytes, before it is known how fast it leaves. All that stands there is in
/// front of whatever is urgent; a link fills it again as soon as half of it has gone.
pub const UNSENT_START: u32 = 64 * 1024;
/// From then on it is what leaves in so long. Once half of it has gone the link is told; if its turn then comes later than the other
/// half has gone, the path is unused for a while, and what the rules below make of such pauses is less than the path has.
const UNSENT_TIME: Duration = Duration::from_millis(6);
/// The least that it is, in bytes: a record of TLS.
pub const UNSENT_MIN: u32 = 16 * 1024;
/// The most that it is, in bytes: 6 ms of 130 Mbit/s. Faster paths are short, or need no more.
pub const UNSENT_MAX: u32 = 96 * 1024;
/// How long what leaves is counted, at least; and what took longer had pauses in it, which say nothing of the path.
const COUNT_TIME: Duration = Duration::from_millis(50);
/// See [`COUNT_TIME`].
const COUNT_TIME_MAX: Duration = Duration::from_secs(4);
/// What a link's [`Hello`](crate::message::Hello) has among its features where it is sent by a connection that
/// [goes by what arrives](LinkSocket::is_paced).
pub const FEATURE_PACED: &str = "paced";
/// The rules for how fast a link sends, where the system has them. Others take each packet that is lost for a sign that the path
/// is full, also where it only is a bad one; and as all streams of a link share its pace, all of them together would get what one
/// connection does. These go by what arrives, and leave long queues on the way short; those of a few milliseconds they overrun.
const CONGESTION_CONTROL: &str = "bbr";

/// A TCP connection below a link, set as far as the system can: it holds little of what the link sends, so that the link decides
/// for as long as it can what goes first, and it does not slow down for every packet that is lost. The first is of Linux and
/// Android, the other of Linux.
#[derive(Debug)]
pub struct LinkSocket {
    tcp: TcpStream,
    paced: bool,
    /// What the system may hold unsent now; nothing where it does not let itself be told.
    unsent: Option<u32>,
    leaving: Leaving,
}

impl LinkSocket {
    /// Sets a connection for a link.
    pub fn new(tcp: TcpStream) -> Self {
        let paced = control_congestion_if_it_may_be(&tcp);
        let unsent = match keep_unsent_short(&tcp, UNSENT_START) {
            Ok(()) => Some(UNSENT_START),
            Err(error) => {
                tracing::debug!(%error, "the system holds as much as it likes of what a link sends");
                None
            }
        };
        Self { tcp, paced, unsent, leaving: Leaving::new(Instant::now()) }
    }

    /// The connection.
    pub const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether what is sent goes by what arrives (BBR), and not by what is lost.
    pub const fn is_paced(&self) -> bool {
        self.paced
    }

    /// The system has taken so many bytes.
    fn note(&mut self, taken: &Poll<io::Result<usize>>) {
        let (Poll::Ready(Ok(bytes)), Some(unsent)) = (taken, self.unsent) else { return };
        let Some(leaves) = self.leaving.note(*bytes, Instant::now) else { return };
        // More at once, less bit by bit: a count may have a pause in it.
        let wanted = leaves.max(unsent.saturating_sub(UNSENT_MIN));
        if wanted != unsent {
            // What it did before it does again, or the connection is over.
            self.unsent = keep_unsent_short(&self.tcp, wanted).is_ok().then_some(wanted);
        }
    }
}

/// How fast bytes leave.
#[derive(Debug)]
struct Leaving {
    since: Instant,
    bytes: usize,
}

impl Leaving {
    const fn new(since: Instant) -> Self {
        Self { since, bytes: 0 }
    }

    /// Some more do: what the system should hold of them, whenever that is counted anew.
    fn note(&mut self, bytes: usize, now: impl FnOnce() -> Instant) -> Option<u32> {
        self.bytes = self.bytes.saturating_add(bytes);
        // Of whoever sends little, nobody need know when.
        if self.bytes < UNSENT_MIN as usize {
            return None;
        }
        let now = now();
        let taken = now.saturating_duration_since(self.since);
        if taken < COUNT_TIME {
            return None;
        }
        let leave = self.bytes as f64 * UNSENT_TIME.as_secs_f64() / taken.as_secs_f64();
        *self = Self::new(now);
        if taken > COUNT_TIME_MAX {
            return None;
        }
        // In whole steps, so that it changes seldom. A float that is too large becomes the largest number.
        Some((leave as u32).clamp(1, UNSENT_MAX).next_multiple_of(UNSENT_MIN))
    }
}

/// Has the system send by [`CONGESTION_CONTROL`], unless it has none of that for us; whether it does.
fn control_congestion_if_it_may_be(tcp: &TcpStream) -> bool {
    /// It was refused once: asking has the system look for it each time, which takes long.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    // Whether it is there, and for whom, is up to whoever runs the machine.
    if REFUSED.load(Ordering::Relaxed) {
        return false;
    }
    if let Err(error) = control_congestion(tcp) {
        // Whatever else is wrong is wrong with this socket alone.
        let lasts = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
        );
        REFUSED.store(lasts, Ordering::Relaxed);
        tracing::debug!(%error, "the system does not give links {CONGESTION_CONTROL}");
        return false;
    }
    true
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn keep_unsent_short(tcp: &TcpStream, bytes: u32) -> io::Result<()> {
    SockRef::from(tcp).set_tcp_notsent_lowat(bytes)
}

#[cfg(target_os = "linux")]
fn control_congestion(tcp: &TcpStream) -> io::Result<()> {
    SockRef::from(tcp).set_tcp_congestion(CONGESTION_CONTROL.as_bytes())
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn keep_unsent_short(_: &TcpStream, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn control_congestion(_: &TcpStream) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl AsyncRead for LinkSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for LinkSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.tcp).poll_write(cx, bytes);
        this.note(&taken);
        taken
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs);
        this.note(&taken);
        taken
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// What the system should hold after a second in which so many bytes left each millisecond.
    fn after(bytes: usize) -> Option<u32> {
        let start = Instant::now();
        let mut leaving = Leaving::new(start);
        let at = |ms| start + Duration::from_millis(1) * ms;
        (1..=1000).filter_map(|ms| leaving.note(bytes, || at(ms))).last()
    }

    #[test]
    fn the_system_holds_what_leaves_in_a_moment() {
        assert_eq!(after(10), None, "of who types nobody looks at the clock");
        // 10 Mbit/s, 80, 200, and what a room has.
        assert_eq!([1_250, 10_000, 25_000, 1_000_000].map(after), [16, 64, 96, 96].map(|kib| Some(kib * 1024)));
    }

    #[test]
    fn it_is_counted_anew_after_a_while_only() {
        let start = Instant::now();
        let mut leaving = Leaving::new(start);
        assert_eq!(leaving.note(1 << 20, || start + COUNT_TIME / 2), None);
        assert_eq!(leaving.note(1, || start + COUNT_TIME), Some(UNSENT_MAX));
        assert_eq!(leaving.note(1, || unreachable!("too little")), None);
        assert_eq!(leaving.note(1 << 16, || start + Duration::from_secs(60)), None, "there was a pause");
        assert_eq!(leaving.note(1 << 16, || start + Duration::from_secs(61)), Some(UNSENT_MIN));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_holds_less_once_little_leaves_and_more_again_when_much_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = LinkSocket::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (mut near, _) = listener.accept().await.unwrap();
        let held = |far: &LinkSocket| SockRef::from(far.tcp()).tcp_notsent_lowat().unwrap();
        assert_eq!(held(&far), UNSENT_START);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut near, &mut tokio::io::sink()).await });
        // Each as if it had taken a second, and then as if a moment.
        for fewer in 1..=4 {
            far.leaving.since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
            far.write_all(&[7; UNSENT_MIN as usize]).await.unwrap();
            assert_eq!(held(&far), UNSENT_START.saturating_sub(fewer * UNSENT_MIN).max(UNSENT_MIN));
        }
        far.leaving = Leaving { since: Instant::now().checked_sub(COUNT_TIME).unwrap(), bytes: 1 << 30 };
        far.write_all(&[7; 1]).await.unwrap();
        assert_eq!(held(&far), UNSENT_MAX);
        far.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        reading.await.unwrap().unwrap();
    }
}
