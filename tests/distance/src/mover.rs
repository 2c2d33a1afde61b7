//! The thread that moves packets.

use std::{
    fmt, io,
    num::NonZeroU64,
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    thread::{gettid, set_current_timer_slack},
};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::{Fate, Line, PACKET_MAX, Way};

/// Packets that are taken from a device before the other one has its turn.
const BATCH: usize = 64;
/// How long packets gather while there are some, so that a busy thread does not wake for each, as a network card does.
const GATHER: Duration = Duration::from_micros(50);
/// How soon the thread notices that it is to end.
const GLANCE: Duration = Duration::from_millis(20);
/// Packets that the kernel holds until they are taken: a burst of the widest window.
const DEVICE_QUEUE: u32 = 20_000;
/// A packet that is later than this is counted as late.
const LATE: Duration = Duration::from_millis(2);

/// Where packets of a machine leave it.
pub struct Device(SyncDevice);

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").finish_non_exhaustive()
    }
}

impl Device {
    /// A new one in the network namespace of the calling thread, without address and not up yet. It is gone when dropped.
    ///
    /// # Errors
    /// The system refused.
    pub fn new(name: &str) -> io::Result<Self> {
        let mtu = u16::try_from(PACKET_MAX).map_err(io::Error::other)?;
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .mtu(mtu)
            .enable(false)
            .tx_queue_len(DEVICE_QUEUE)
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok(Self(device))
    }
}

/// What has become of the packets of one direction so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets that have arrived.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were lost by chance.
    pub lost: u64,
    /// Packets that found the queue full.
    pub dropped: u64,
    /// Packets that came more than 2 ms late, because the machine had no time for the thread: where they are many, figures say
    /// little.
    pub late: u64,
}

#[derive(Debug, Default)]
struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    late: AtomicU64,
}

impl Counters {
    fn read(&self) -> Passed {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Passed {
            packets: read(&self.packets),
            bytes: read(&self.bytes),
            lost: read(&self.lost),
            dropped: read(&self.dropped),
            late: read(&self.late),
        }
    }
}

fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Two devices that are joined; apart again when dropped.
#[derive(Debug)]
pub struct Distance {
    counters: [Arc<Counters>; 2],
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Distance {
    /// Joins two devices: `there` is what packets of `a` undergo on their way to `b`, `back` the other direction.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn between(a: Device, b: Device, there: Way, back: Way, seed: u64) -> io::Result<Self> {
        let counters = [Arc::<Counters>::default(), Arc::<Counters>::default()];
        let ends = Arc::<AtomicBool>::default();
        let lines = [Line::new(there, seed), Line::new(back, !seed)];
        let (told, counted) = (ends.clone(), counters.clone());
        let thread = std::thread::Builder::new()
            .name("distance".into())
            .spawn(move || Mover { devices: [a.0, b.0], lines, counters: counted, begun: Instant::now() }.run(&told))?;
        Ok(Self { counters, ends, thread: Some(thread) })
    }

    /// What has become of the packets in each direction so far, `there` first.
    pub fn passed(&self) -> [Passed; 2] {
        [0, 1].map(|way| self.counters.get(way).map(|counters| counters.read()).unwrap_or_default())
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Mover {
    devices: [SyncDevice; 2],
    lines: [Line; 2],
    counters: [Arc<Counters>; 2],
    begun: Instant,
}

impl Mover {
    fn run(mut self, ends: &AtomicBool) {
        punctual();
        while !ends.load(Ordering::Relaxed) {
            let Ok(taken) = self.turn() else { return };
            if taken < BATCH && self.wait(taken > 0).is_err() {
                return;
            }
        }
    }

    /// Takes what has come, hands out what has arrived; says how many packets were taken from the device that had more.
    fn turn(&mut self) -> io::Result<usize> {
        let [a, b] = &self.devices;
        let [there, back] = &mut self.lines;
        let [counted_there, counted_back] = &self.counters;
        let mut most = 0;
        for (from, to, line, counters) in [(a, b, there, counted_there), (b, a, back, counted_back)] {
            most = most.max(take(from, line, counters, self.begun)?);
            hand_out(to, line, counters, self.begun)?;
        }
        Ok(most)
    }

    /// Waits for the next packet that arrives, or for one that comes; while there are many, these gather.
    fn wait(&self, gathering: bool) -> io::Result<()> {
        let now = self.begun.elapsed();
        let next = self.lines.iter().filter_map(Line::next).min();
        let until = next.map_or(GLANCE, |next| next.saturating_sub(now)).min(if gathering { GATHER } else { GLANCE });
        let timeout = Timespec { tv_sec: 0, tv_nsec: until.subsec_nanos().into() };
        let [a, b] = &self.devices;
        let mut both = [a, b].map(|device| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN));
        let looked_at = if gathering { &mut [][..] } else { &mut both[..] };
        match poll(looked_at, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Has the system run this thread before all others, because a network does not wait for a processor, and wake it to the
/// nanosecond. Where that is refused, packets are late, which is counted.
fn punctual() {
    let thread = gettid().as_raw_nonzero().to_string();
    let _ = Command::new("chrt").args(["--fifo", "--pid", "1", &thread]).stderr(Stdio::null()).status();
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// Takes a batch of packets from a device; says how many.
fn take(from: &SyncDevice, line: &mut Line, counters: &Counters, begun: Instant) -> io::Result<usize> {
    for taken in 0..BATCH {
        let mut packet = line.room();
        let len = match from.recv(&mut packet[..]) {
            Ok(len) => len,
            Err(error) => {
                line.spare(packet);
                return if error.kind() == io::ErrorKind::WouldBlock { Ok(taken) } else { Err(error) };
            }
        };
        match line.send(begun.elapsed(), packet, len) {
            Fate::Arrives(_) => {}
            Fate::Lost => count(&counters.lost, 1),
            Fate::Dropped => count(&counters.dropped, 1),
        }
    }
    Ok(BATCH)
}

/// Hands out a batch of packets that have arrived. What the device does not take is gone, as on a cable.
fn hand_out(to: &SyncDevice, line: &mut Line, counters: &Counters, begun: Instant) -> io::Result<()> {
    for _ in 0..BATCH {
        let Some((late, (len, sent))) = line.arrived(begun.elapsed(), |packet| (packet.len(), to.send(packet))) else {
            break;
        };
        count(&counters.packets, 1);
        count(&counters.bytes, len as u64);
        count(&counters.late, u64::from(late > LATE));
        match sent {
            // The first is what a device says that is not up.
            Err(error) if !matches!(Errno::from_io_error(&error), Some(Errno::IO | Errno::AGAIN)) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
