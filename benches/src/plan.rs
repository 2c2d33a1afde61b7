//! How much is carried, and for how long.

use std::time::Duration;

use criterion::{Criterion, SamplingMode};

/// A large body.
pub const LARGE: u64 = 64 * MIB;
/// A small one.
pub const SMALL: u64 = 1024;
/// 2^20.
pub const MIB: u64 = 1 << 20;
/// Connections that ask at the same time.
pub const CROWD: usize = 32;
/// Requests that they make together in one round.
pub const ROUND: usize = 1024;

/// A bench of which a run takes long: few samples, all of the same length.
pub fn few(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
}

/// Criterion, so set up that everything together takes less than three minutes.
pub fn criterion() -> Criterion {
    let criterion = Criterion::default().warm_up_time(Duration::from_millis(500));
    criterion.measurement_time(Duration::from_secs(3)).nresamples(10_000).configure_from_args()
}
