//! Tunnels, enrolment and set-up over a real database: who may do what, how often, and what races leave behind.

mod approvals;
mod desk;
mod operators;
mod provisional;
mod setup;
mod tunnels;
