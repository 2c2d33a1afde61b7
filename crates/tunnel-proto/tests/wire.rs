//! The frames: labelled byte vectors (those of PROTOCOL.md), round trips, damage, and what other versions may not say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "wire/any.rs"]
mod any;
#[path = "wire/examples.rs"]
mod examples;
#[path = "wire/frames.rs"]
mod frames;
#[path = "wire/places.rs"]
mod places;
#[path = "wire/vectors.rs"]
mod vectors;
