//! The gate over a real store, with a clock in the test's hand: who is admitted where, and for how long.

mod ends;
mod matrix;
mod methods;
mod public;
mod remembered;
mod scene;
mod times;
mod trials;
