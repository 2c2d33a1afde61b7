//! Where memory is short, connections of which nobody has anything are given up (F21).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::Connections;
use crate::memory::{Gauge, Shortage};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// While no more than this goes on, it is not what takes the memory: a program seldom gives all back to the system that it
/// once took, and would stay shut for good. What it has kept serves these.
const FEW: usize = 32;
/// Where the limit is large, they are one for so many bytes of it: no connection has more on its way.
const EACH: u64 = 16 * 1024 * 1024;

impl Connections {
    /// Looks at the memory for as long as the edge lasts; ends at once where nothing limits it.
    pub(crate) async fn govern(self) {
        crate::faults::at("memory");
        let Some(gauge) = Gauge::new(self.state.config.memory) else { return };
        let gauge = Arc::new(Mutex::new(gauge));
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let looking = gauge.clone();
            // A system that is short of memory may take its time to say so.
            let looked = spawn_blocking(move || {
                let mut gauge = looking.lock().unwrap_or_else(PoisonError::into_inner);
                (gauge.look(), gauge.least())
            });
            let Ok((found, limit)) = looked.await else { continue };
            let shortage = if self.room.held() <= few(limit) { Shortage::None } else { found };
            self.state.memory.set(shortage);
            if shortage >= Shortage::Slight {
                self.room.relieve(shortage >= Shortage::Serious);
            }
        }
    }
}

/// How much may go on whatever memory is taken, by the limit in bytes.
fn few(limit: u64) -> usize {
    usize::try_from(limit / EACH).unwrap_or(usize::MAX).max(FEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    // F21
    #[test]
    fn the_more_memory_there_may_be_the_more_goes_on_whatever_is_taken() {
        const MIB: u64 = 1024 * 1024;
        for (limit, most) in [(0, 32), (64 * MIB, 32), (512 * MIB, 32), (1024 * MIB, 64), (16 * 1024 * MIB, 1024)] {
            assert_eq!(few(limit), most, "{limit} bytes");
        }
    }
}
