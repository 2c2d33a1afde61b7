//! Ends a program of which a runtime has come to a stand, so that whoever supervises it starts it again (F29).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

/// How often both look.
const BEAT: Duration = Duration::from_secs(1);
/// After so many looks without progress there is none any more. Looks are counted, not time: a machine that slept, or a
/// process that was stopped for a while, has not looked meanwhile.
const LOOKS: u32 = 10;

/// Watches the runtime that this is called on and those of `cores`, until the program ends.
pub(crate) fn start(cores: Vec<Handle>) {
    let beats = Arc::new(AtomicU64::new(0));
    let beating = beats.clone();
    tokio::spawn(async move {
        loop {
            tunnel_proto::faults::at("heartbeat");
            // Round all of them: when one stands, there is no beat.
            for core in &cores {
                core.spawn(async {}).await.ok();
            }
            beating.fetch_add(1, Relaxed);
            tokio::time::sleep(BEAT).await;
        }
    });
    let watching = move || {
        wait_for_standstill(|| beats.load(Relaxed), || thread::sleep(BEAT));
        eprintln!(
            "edge: nothing has moved for {LOOKS} seconds, which is a defect of this program; it ends, to be started again"
        );
        std::process::abort();
    };
    if let Err(error) = thread::Builder::new().name("watchdog".into()).spawn(watching) {
        tracing::warn!(%error, "nobody watches whether the program moves");
    }
}

/// Returns once `beats` has been the same for [`LOOKS`] looks.
fn wait_for_standstill(beats: impl Fn() -> u64, mut wait: impl FnMut()) {
    let (mut last, mut same) = (beats(), 0);
    while same < LOOKS {
        wait();
        let now = beats();
        same = if now == last { same.saturating_add(1) } else { 0 };
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    // F29
    #[test]
    fn ten_looks_without_a_beat_are_a_standstill_and_nine_are_not() {
        let (looks, beats) = (Cell::new(0u64), Cell::new(0u64));
        wait_for_standstill(
            || beats.get(),
            || {
                looks.set(looks.get() + 1);
                // Alive, then slow, then alive once more, and then no more.
                if looks.get() <= 5 || looks.get() == 14 {
                    beats.set(beats.get() + 1);
                }
            },
        );
        assert_eq!(looks.get(), 14 + u64::from(LOOKS));
    }
}
