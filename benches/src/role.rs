//! One runtime for each role, and the processor time that each has used.

use std::{
    fs,
    ops::Sub,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The edge.
    Edge,
    /// The connector.
    Connector,
    /// The service behind the connector.
    Origin,
    /// The access client.
    Client,
    /// Whoever measures: the visitor, on the main thread.
    Visitor,
}

impl Role {
    const ALL: [Self; 5] = [Self::Edge, Self::Connector, Self::Origin, Self::Client, Self::Visitor];

    /// The name of its threads.
    const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Connector => "connector",
            Self::Origin => "origin",
            Self::Client => "client",
            Self::Visitor => "visitor",
        }
    }

    /// Whose a thread of this name is. What has another name is the main thread, or the edge's database.
    fn of_thread(name: &str) -> Self {
        let named = Self::ALL.into_iter().find(|role| name.starts_with(role.name()));
        named.unwrap_or(if name.starts_with("sqlx") { Self::Edge } else { Self::Visitor })
    }

    /// A runtime for the role, like that of its program: as many threads as there are cores. The visitor's has none but
    /// the one that calls it.
    pub fn runtime(self) -> Result<Runtime> {
        let mut builder = match self {
            Self::Visitor => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        builder.thread_name(self.name()).enable_all().build().with_context(|| format!("a runtime for the {self:?}"))
    }
}

/// Processor time by role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu([Duration; Role::ALL.len()]);

impl Cpu {
    /// What the threads that live now have used. `None` where the system does not say (elsewhere than on Linux).
    pub fn now() -> Option<Self> {
        let mut used = Self::default();
        for thread in fs::read_dir("/proc/self/task").ok()? {
            let thread = thread.ok()?.path();
            // A thread that ends between the two reads has nothing to say.
            let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
            let Ok(times) = fs::read_to_string(thread.join("schedstat")) else { continue };
            let nanoseconds = times.split(' ').next()?.parse().ok()?;
            used.0[Role::of_thread(&name) as usize] += Duration::from_nanos(nanoseconds);
        }
        Some(used)
    }

    /// Of all roles together.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    /// In seconds for each of `parts`, in sum and by role, as text.
    pub fn per(&self, parts: f64, unit: &str) -> String {
        // Who did next to nothing was not on the way.
        let least = self.total() / 200;
        let by_role = Role::ALL.into_iter().zip(self.0).filter(|(_, used)| *used > least);
        let by_role: Vec<_> =
            by_role.map(|(role, used)| format!("{} {:.2}", role.name(), used.as_secs_f64() / parts)).collect();
        format!("{:.2} {unit} ({})", self.total().as_secs_f64() / parts, by_role.join(", "))
    }
}

/// Watches what other programs do to the machine meanwhile.
#[derive(Debug)]
pub struct Others {
    begun: Instant,
    used: Option<Duration>,
}

impl Others {
    /// Begins to watch.
    pub fn watch() -> Self {
        Self { begun: Instant::now(), used: Self::used() }
    }

    /// How many cores they used on average. `None` where the system does not say.
    pub fn cores(&self) -> Option<f64> {
        let used = Self::used()?.saturating_sub(self.used?);
        Some(used.as_secs_f64() / self.begun.elapsed().as_secs_f64())
    }

    /// The processor time of all programs but this one since the machine started, and what its host took from it.
    fn used() -> Option<Duration> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let mut fields = text.lines().next()?.split_whitespace().skip(1).map(|field| field.parse::<u64>());
        let mut next = || fields.next()?.ok();
        // proc_stat(5): hundredths of a second.
        let [user, nice, system, _idle, _wait, irq, soft, steal] = std::array::from_fn(|_| next().unwrap_or_default());
        let all = user + nice + system + irq + soft + steal;
        // Of this one, those of its threads that have ended, too: the fourteenth field and the next, of which eleven stand
        // before them after the name.
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let own: u64 = text.rsplit(')').next()?.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        Some(Duration::from_millis(all.saturating_sub(own) * 10))
    }
}

impl std::ops::AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(mut self, before: Self) -> Self {
        self.0.iter_mut().zip(before.0).for_each(|(used, before)| *used = used.saturating_sub(before));
        self
    }
}
