//! What an attack on a link costs, and whom: the program `attack`.
//!
//! Each kind of flood runs in a process of its own, so that what it makes that process hold can be told, against a link in memory:
//! as an edge runs it, but without TLS and sockets. It is sent from another thread until the link ends, some times over, for the
//! processor time of the link's thread; and once more frame by frame, to count how many it takes. Beside it, in the same process,
//! bytes of an honest peer are taken, in whole frames. All of it is bounded: a flood in time, a process in time as well.

mod floods;
mod sides;

use std::{
    env, fs,
    process::{Command, Stdio, exit},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tunnel_proto::link::LinkEnd;

use self::{
    floods::{FLOODS, Flood, GOODBYE, Peer},
    sides::{Borne, Sent, counted, honest, timed},
};
use crate::gauge;

/// What the program is called with for one flood.
const ONE: &str = "--one";
/// How often a flood is sent at most for its time, and how long it is begun anew.
const ROUNDS_MAX: usize = 9;
const ROUNDS_TIME: Duration = Duration::from_secs(1);
/// How long a process with one flood runs at most: far more than it takes.
const PROCESS_TIME: Duration = Duration::from_secs(60);
/// Fewer frames say what the end of a link costs, and not what a byte does.
const FRAMES_MIN: u64 = 256;

const HEAD: &str = "\
| flood | frames | bytes | over after | CPU of the link | a byte, honest = 1 | unread at most | memory at most | how it ended |
|---|---:|---:|---:|---:|---:|---:|---:|---|";

/// Runs every flood whose name has one of `words` in it, or all of them, and prints tables.
///
/// # Errors
/// A flood could not be sent.
pub fn main(words: Vec<String>) -> Result<()> {
    if let [first, peer, flood] = &words[..]
        && first == ONE
    {
        return one(peer, flood);
    }
    if cfg!(debug_assertions) {
        eprintln!("Built to be debugged: times and ratios are of no worth. `cargo run --release` has others.");
    }
    let mut honest = Vec::new();
    for peer in Peer::ALL {
        println!("### {}\n\n{HEAD}", peer.title());
        let wanted = |flood: &&Flood| words.is_empty() || words.iter().any(|word| flood.name.contains(&**word));
        for flood in FLOODS.iter().filter(|flood| flood.is_for(peer)).filter(wanted) {
            let (row, nanoseconds) = in_a_process(peer, flood)?;
            println!("{row}");
            honest.push(nanoseconds);
        }
        println!();
    }
    ensure!(!honest.is_empty(), "no flood is called that");
    honest.sort_by(f64::total_cmp);
    let (least, median, most) = (honest[0], honest[honest.len() / 2], honest[honest.len() - 1]);
    println!("An honest byte: {median:.3} ns of the link's thread ({least:.3} to {most:.3} beside the floods).");
    Ok(())
}

/// The row of a flood, and what an honest byte cost beside it, in nanoseconds.
fn in_a_process(peer: Peer, flood: &Flood) -> Result<(String, f64)> {
    let mut process = Command::new(env::current_exe()?);
    let output = process.args([ONE, peer.name(), flood.name]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{} of a {}: {}", flood.name, peer.name(), output.status);
    let said = String::from_utf8(output.stdout)?;
    let (row, nanoseconds) = said.trim_end().split_once('\n').context("a row and a figure")?;
    Ok((row.to_owned(), nanoseconds.parse()?))
}

/// One flood, in this process.
fn one(peer: &str, flood: &str) -> Result<()> {
    thread::spawn(give_up);
    let peer = Peer::ALL.into_iter().find(|one| one.name() == peer).context("a peer")?;
    let flood = FLOODS.iter().find(|one| one.name == flood).context("a flood")?;
    let figures = measure(peer, flood)?;
    println!("{}\n{}", figures.row(flood.name), figures.honest);
    Ok(())
}

fn give_up() {
    thread::sleep(PROCESS_TIME);
    eprintln!("It did not end in {} s.", PROCESS_TIME.as_secs());
    exit(1)
}

/// What was measured of one flood.
struct Figures {
    /// Of the round with the median of processor time.
    borne: Borne,
    /// How it ended where nothing was sent before what came before it was taken.
    end: Option<LinkEnd>,
    /// What it took.
    bytes: u64,
    frames: u64,
    /// The most that the link held unread, in bytes.
    held: usize,
    /// What the process had resident more than before, in bytes.
    memory: u64,
    /// Nanoseconds that an honest byte cost.
    honest: f64,
}

fn measure(peer: Peer, flood: &Flood) -> Result<Figures> {
    // What is made the first time only: runtimes, threads, what the allocator keeps.
    timed(peer, &GOODBYE)?;
    // Forgets the most that was resident (proc_pid_clear_refs(5)). Where that may not be, the beginning of the process is in it.
    fs::write("/proc/self/clear_refs", "5").ok();
    let (before, begun) = (gauge::resident(), Instant::now());
    let mut rounds = vec![timed(peer, flood)?];
    // Of the first alone: what the allocator kept of it would count twice.
    let memory = gauge::most_resident().saturating_sub(before);
    while rounds.len() < ROUNDS_MAX && begun.elapsed() < ROUNDS_TIME {
        rounds.push(timed(peer, flood)?);
    }
    let (alone, exact) = counted(peer, flood)?;
    let held = rounds.iter().map(|(_, sent)| sent.held).fold(exact.held, usize::max);
    rounds.sort_by_key(|(borne, _)| borne.cpu);
    let (borne, sent) = rounds.swap_remove(rounds.len() / 2);
    // What was sent as fast as it goes was on its way in part when the link ended.
    let Sent { bytes, frames, .. } = if exact.bytes < sent.bytes { exact } else { sent };
    Ok(Figures { borne, end: alone.end, bytes, frames, held, memory, honest: honest()? })
}

impl Figures {
    fn row(&self, name: &str) -> String {
        let each = self.borne.cpu.as_nanos() as f64 / self.bytes.max(1) as f64 / self.honest;
        let each = if self.frames < FRAMES_MIN { "–".to_owned() } else { format!("{each:.1}") };
        let mut end = how(self.borne.end.as_ref());
        let alone = how(self.end.as_ref());
        if alone != end {
            end += &format!("; frame by frame: {alone}");
        }
        let Self { borne, bytes, frames, held, memory, .. } = self;
        let (time, cpu) = (span(borne.time), span(borne.cpu));
        let (bytes, held, memory) = (size(*bytes), size(*held as u64), size(*memory));
        format!("| {name} | {frames} | {bytes} | {time} | {cpu} | {each} | {held} | {memory} | {end} |")
    }
}

fn how(end: Option<&LinkEnd>) -> String {
    end.map_or_else(|| "it lives".to_owned(), LinkEnd::to_string)
}

fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1024.0 => format!("{bytes:.0} B"),
        bytes if bytes < 1024.0 * 1024.0 => format!("{:.1} KiB", bytes / 1024.0),
        bytes => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
    }
}

fn span(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_was_measured_and_no_ratio_of_a_few_frames() {
        let borne = Borne { cpu: Duration::from_micros(600), time: Duration::from_millis(2), end: None };
        let end = Some(LinkEnd::OverBudget);
        let mut figures = Figures { borne, end, bytes: 3072, frames: 256, held: 0, memory: 3 << 19, honest: 0.5 };
        let row = figures.row("a flood");
        for expected in [
            "| a flood | 256 | 3.0 KiB | 2.0 ms | 600 µs | 390.6 | 0 B | 1.5 MiB |",
            "| it lives; frame by frame: the link held more unread bytes than it may |",
        ] {
            assert!(row.contains(expected), "{row}");
        }
        figures.frames = 255;
        assert!(figures.row("a flood").contains("| – |"));
    }
}
