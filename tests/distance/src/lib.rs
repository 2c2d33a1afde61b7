//! A distance between two machines of a laboratory: packets take their time, pass a slowest place with a queue before it, and
//! some of them are lost. The kernels at hand have no `netem`, which does the same.
//!
//! A [`Device`] is where packets of a machine leave it. [`Distance::between`] joins two of them by a thread of its own, which
//! moves every packet from one to the other as the [`Way`] of its direction says. A package of its own, because it is optimised
//! where the rest of the tests is not: about a Gbit/s passes for a core.
//!
//! What becomes of a packet is decided in [`Judge`], which is told the time and makes its chances of a seed: of the same sequence
//! of packets the same ones are lost.

mod judge;
mod line;
mod mover;

pub use judge::{Fate, Judge, Way};
pub use line::{Line, PACKET_MAX, Packet, WAITING_MAX};
pub use mover::{Device, Distance, Passed};
