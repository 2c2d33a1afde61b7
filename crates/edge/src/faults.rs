//! Panics on purpose, for tests that see what survives them (F29). The sites of all three programs are armed in the same way.

#[cfg(debug_assertions)]
pub use tunnel_proto::faults::arm_by;
pub use tunnel_proto::faults::at;
