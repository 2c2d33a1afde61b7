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
            let looked = spawn_blocking(move || looking.lock().unwrap_or_else(PoisonError::into_inner).look()).await;
            let Ok(found) = looked else { continue };
            let shortage = if self.room.held() <= FEW { Shortage::None } else { found };
            self.state.memory.set(shortage);
            if shortage >= Shortage::Slight {
                self.room.relieve(shortage >= Shortage::Serious);
            }
        }
    }
}
