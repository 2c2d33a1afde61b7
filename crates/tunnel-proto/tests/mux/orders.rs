//! The same work in whatever order its tasks run. A task runs only when it was woken: one that is not, though it could go on,
//! leaves the others waiting for ever, which is what these tests would see.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tunnel_proto::mux::{Batch, Mode, Mux};

use crate::{LIMITS, exchange, turn};

/// Chance with a seed.
#[derive(Clone)]
struct Dice(Rc<RefCell<u64>>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    fn below(&self, most: usize) -> usize {
        let mut state = self.0.borrow_mut();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) as usize % most
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    work: Work,
    woken: Arc<Flag>,
    /// The drivers of connections: they need not end.
    forever: bool,
}

/// Runs woken tasks in an order of chance until all others than those that need not end are done.
fn run(dice: &Dice, works: Vec<(Work, bool)>) {
    let flag = || Arc::new(Flag(AtomicBool::new(true)));
    let mut tasks: Vec<Task> = works.into_iter().map(|(work, forever)| Task { work, woken: flag(), forever }).collect();
    while tasks.iter().any(|task| !task.forever) {
        let woken: Vec<usize> = (0..tasks.len()).filter(|at| tasks[*at].woken.0.load(Relaxed)).collect();
        assert!(!woken.is_empty(), "{} tasks wait, and nobody is woken", tasks.len());
        let at = woken[dice.below(woken.len())];
        let task = &mut tasks[at];
        task.woken.0.store(false, Relaxed);
        let waker = Waker::from(task.woken.clone());
        if task.work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            tasks.remove(at);
        }
    }
}

/// One direction of a pipe that takes and gives pieces of chance, and sometimes nothing.
#[derive(Default)]
struct Half {
    bytes: VecDeque<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct End {
    incoming: Rc<RefCell<Half>>,
    outgoing: Rc<RefCell<Half>>,
    dice: Dice,
}

const PIPE: usize = 30_000;

impl End {
    fn pair(dice: &Dice) -> (Self, Self) {
        let (a, b) = (Rc::<RefCell<Half>>::default(), Rc::<RefCell<Half>>::default());
        let end = |incoming: &Rc<RefCell<Half>>, outgoing: &Rc<RefCell<Half>>| Self {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            dice: dice.clone(),
        };
        (end(&a, &b), end(&b, &a))
    }

    /// Now and then a socket is not ready, and says later that it is.
    fn is_moody(&self, cx: &Context<'_>) -> bool {
        let moody = self.dice.below(8) == 0;
        if moody {
            cx.waker().wake_by_ref();
        }
        moody
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_moody(cx) {
            return Poll::Pending;
        }
        let mut half = self.incoming.borrow_mut();
        let most = buf.remaining().min(half.bytes.len());
        if most == 0 {
            half.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = 1 + self.dice.below(most);
        let bytes: Vec<u8> = half.bytes.drain(..count).collect();
        buf.put_slice(&bytes);
        half.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_moody(cx) {
            return Poll::Pending;
        }
        let mut half = self.outgoing.borrow_mut();
        let most = buf.len().min(PIPE - half.bytes.len());
        if most == 0 {
            half.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = 1 + self.dice.below(most);
        half.bytes.extend(&buf[..count]);
        half.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn driver(mux: &Arc<Mux>, mut io: End) -> Work {
    let mux = mux.clone();
    let (mut batch, mut input) = (Batch::default(), vec![0; 64 * 1024]);
    Box::pin(std::future::poll_fn(move |cx| turn(&mux, &mut io, &mut batch, &mut input, cx).map(drop)))
}

/// Waits for a stream that the peer opens. Asks again whenever others had their turn: the driver of a link hands them over.
async fn accepted(mux: &Arc<Mux>) -> tunnel_proto::mux::Stream {
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        mux.accept().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Ten streams both ways at once, an echo in small pieces, and some that are dropped half-way.
fn work(seed: u64) {
    let dice = Dice::new(seed);
    let (near, far) = (Mux::new(Mode::Client, LIMITS), Mux::new(Mode::Server, LIMITS));
    let (near_io, far_io) = End::pair(&dice);
    let mut works: Vec<(Work, bool)> = vec![(driver(&near, near_io), true), (driver(&far, far_io), true)];
    for at in 0..12_u8 {
        let (near, far) = (near.clone(), far.clone());
        let len = 1 + dice.below(120_000);
        works.push((Box::pin(async move { open(&near, at, len).await }), false));
        works.push((Box::pin(async move { take(&far).await }), false));
    }
    run(&dice, works);
}

async fn open(mux: &Arc<Mux>, at: u8, len: usize) {
    let mut stream = mux.open().unwrap();
    stream.write_u8(at).await.unwrap();
    stream.write_u64(len as u64).await.unwrap();
    match at {
        0..10 => exchange(stream, u64::from(at), u64::from(at) + 100, len).await,
        10 => {
            for turn in 0..200_u8 {
                stream.write_u8(turn).await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), turn);
            }
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        }
        // Until the peer has dropped it.
        _ => while stream.write_all(&[9; 5000]).await.is_ok() {},
    }
}

async fn take(mux: &Arc<Mux>) {
    let mut stream = accepted(mux).await;
    let at = stream.read_u8().await.unwrap();
    let len = stream.read_u64().await.unwrap() as usize;
    match at {
        0..10 => exchange(stream, u64::from(at) + 100, u64::from(at), len).await,
        10 => {
            for _ in 0..200 {
                let byte = stream.read_u8().await.unwrap();
                stream.write_u8(byte).await.unwrap();
            }
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
            stream.shutdown().await.unwrap();
        }
        _ => {
            stream.read_exact(&mut [0; 40_000]).await.unwrap();
        }
    }
}

// R60
#[test]
fn in_whatever_order_tasks_run_everything_arrives_and_nobody_waits_for_ever() {
    for seed in 0..60 {
        work(seed);
    }
}
