//! The wire as PROTOCOL.md specifies it: labelled vectors, limits, round trips, damage, and what other versions may not say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "wire/any.rs"]
mod any;
#[path = "wire/enrolment.rs"]
mod enrolment;
#[path = "wire/examples.rs"]
mod examples;
#[path = "wire/frames.rs"]
mod frames;
#[path = "wire/limits.rs"]
mod limits;
#[path = "wire/places.rs"]
mod places;
#[path = "wire/vectors.rs"]
mod vectors;
