//! The socket below a link: how fast it sends, and how little of that the system holds.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{
    pace::Pace,
    platform::{CONGESTION_CONTROL, control_congestion, keep_unsent_short, write_apart},
};

/// What the system may hold of what was not sent yet, in bytes, before it is known how fast it leaves. All that stands there is in
/// front of whatever is urgent; a link fills it again as soon as half of it has gone.
pub const UNSENT_START: u32 = 64 * 1024;
/// From then on it is what leaves in so long. Once half of it has gone the link is told; if its turn then comes later than the other
/// half has gone, the path is unused for a while, and what BBR makes of such pauses is less than the path has.
const UNSENT_TIME: Duration = Duration::from_millis(6);
/// The least that it is, in bytes: 6 ms of 10 Mbit/s. Each time that BBR looks for the shortest way, next to nothing leaves for a
/// while, and all that stands here is in front of whatever is urgent.
pub const UNSENT_MIN: u32 = 8 * 1024;
/// The most that it is, in bytes: 6 ms of 175 Mbit/s. Faster paths are short, or need no more.
pub const UNSENT_MAX: u32 = 128 * 1024;
/// It changes by whole steps, so that it changes seldom.
const UNSENT_STEP: u32 = 4 * 1024;
/// What the system adds to what it holds before it asks how much that is, at most.
const ADDED_MAX: u32 = 64 * 1024;
/// What a link's [`Hello`](crate::message::Hello) has among its features where it is sent by a connection that
/// [goes by what arrives](LinkSocket::is_paced).
pub const FEATURE_PACED: &str = "paced";

/// A TCP connection below a link, set as far as the system can: it holds little of what the link sends, so that the link decides
/// for as long as it can what goes first, and it does not slow down for every packet that is lost. The first is of Linux and
/// Android, the other of Linux.
#[derive(Debug)]
pub struct LinkSocket {
    tcp: TcpStream,
    paced: bool,
    /// What the system may hold unsent now; nothing where it does not let itself be told.
    unsent: Option<u32>,
    /// What it has taken since it last took nothing more.
    taken: u32,
    pace: Pace,
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
        Self { tcp, paced, unsent, taken: 0, pace: Pace::new(Instant::now()) }
    }

    /// The connection.
    pub const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether what is sent goes by what arrives (BBR), and not by what is lost.
    pub const fn is_paced(&self) -> bool {
        self.paced
    }

    /// Whether the system should hold little, to the byte: it is given what leaves it in pieces.
    fn is_slow(&self) -> bool {
        self.unsent.is_some_and(|unsent| unsent < UNSENT_START)
    }

    /// What the system says to bytes that it is given.
    fn note(&mut self, said: &Poll<io::Result<usize>>) {
        let Some(unsent) = self.unsent else { return };
        let Poll::Ready(taken) = said else {
            // Who is told in time gives three quarters of what is held, and what the system adds; more, where all had left.
            let in_time = if self.is_slow() { unsent / 8 * 7 } else { unsent.saturating_add(ADDED_MAX) };
            if std::mem::take(&mut self.taken) > in_time {
                self.pace.note_dry();
            }
            return;
        };
        let taken = *taken.as_ref().unwrap_or(&0);
        self.taken = self.taken.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        let Some(pace) = self.pace.note(taken, Instant::now) else { return };
        // A float that is too large becomes the largest number.
        let leaves = (pace * UNSENT_TIME.as_secs_f64()) as u32;
        let wanted = leaves.clamp(UNSENT_MIN, UNSENT_MAX).next_multiple_of(UNSENT_STEP);
        if wanted != unsent {
            // What it did before it does again, or the connection is over.
            self.unsent = keep_unsent_short(&self.tcp, wanted).is_ok().then_some(wanted);
        }
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

/// Writes bytes to which the system adds no others.
fn poll_write_apart(tcp: &TcpStream, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_io(Interest::WRITABLE, || write_apart(tcp, bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

impl AsyncRead for LinkSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for LinkSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        // What is small goes with what follows: for a packet of its own it is too little.
        let taken = if this.is_slow() && bytes >= UNSENT_STEP as usize {
            poll_write_apart(&this.tcp, cx, bufs)
        } else {
            Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs)
        };
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

    /// A connection, the other side of which reads nothing while it is kept.
    async fn connection() -> (LinkSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (LinkSocket::new(near.unwrap()), far.unwrap().0)
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_socket_holds_less_where_little_leaves_and_more_again_where_much_does() {
        let (mut near, _far) = connection().await;
        let held = |near: &LinkSocket| socket2::SockRef::from(near.tcp()).tcp_notsent_lowat().unwrap();
        assert_eq!(held(&near), UNSENT_START);
        near.note(&Poll::Pending);
        let mut second = async |bytes: usize| {
            // Each time that half of what is held, or so, has left.
            for _ in 0..bytes / 4096 {
                tokio::time::advance(Duration::from_secs(4096) / u32::try_from(bytes).unwrap()).await;
                near.note(&Poll::Ready(Ok(4096)));
                near.note(&Poll::Pending);
            }
            held(&near)
        };
        // 10, 40, 80 and 800 Mbit/s, and 10 again.
        let mut seconds = Vec::new();
        for bytes in [1_250_000, 5_000_000, 10_000_000, 100_000_000, 1_250_000] {
            seconds.push(second(bytes).await / 1024);
        }
        assert_eq!(seconds, [8, 32, 60, 128, 8]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn who_comes_too_late_to_give_more_has_more_held() {
        let (mut near, _far) = connection().await;
        let mut turns = async |held: u32| {
            for _ in 0..100 {
                near.note(&Poll::Pending);
                tokio::time::advance(Duration::from_millis(10)).await;
                near.note(&Poll::Ready(Ok((near.unsent.unwrap() / 8 * held) as usize)));
            }
            near.unsent.unwrap()
        };
        // Half of what is held at a time, and all of it: the path may take more than ever comes.
        assert_eq!(turns(4).await, UNSENT_MIN);
        assert!(turns(8).await >= UNSENT_START / 2);
    }

    /// What the system holds unsent where the peer reads nothing and what is given comes in small pieces.
    #[cfg(target_os = "linux")]
    async fn unsent(apart: bool) -> usize {
        let (mut near, _far) = connection().await;
        // The same for both.
        keep_unsent_short(near.tcp(), UNSENT_MIN).unwrap();
        let piece = [7; UNSENT_STEP as usize];
        let write = async {
            loop {
                if apart {
                    let bytes = [IoSlice::new(&piece)];
                    std::future::poll_fn(|cx| poll_write_apart(near.tcp(), cx, &bytes)).await.unwrap();
                } else {
                    near.tcp.write_all(&piece).await.unwrap();
                }
            }
        };
        tokio::time::timeout(Duration::from_millis(500), write).await.unwrap_err();
        // All that was sent was acknowledged: the rest of the queue was not sent.
        let port = near.tcp().local_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = fields.into_iter().find(|fields| fields[1].ends_with(&format!(":{port:04X}"))).unwrap();
        usize::from_str_radix(ours[4].split_once(':').unwrap().0, 16).unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn where_little_leaves_the_system_adds_nothing_to_what_it_holds() {
        let (slow, fast) = tokio::join!(unsent(true), unsent(false));
        let max = (UNSENT_MIN + UNSENT_STEP) as usize;
        assert!((1..=max).contains(&slow) && fast > max, "{slow} where little leaves, {fast} elsewhere");
    }

    #[tokio::test]
    async fn a_socket_carries_bytes_both_ways_until_either_side_ends() {
        let (mut near, mut far) = connection().await;
        near.write_all(b"there").await.unwrap();
        near.shutdown().await.unwrap();
        let mut said = Vec::new();
        far.read_to_end(&mut said).await.unwrap();
        far.write_all(b"and back").await.unwrap();
        drop(far);
        near.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"thereand back");
    }
}
