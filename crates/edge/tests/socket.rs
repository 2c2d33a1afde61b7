//! The owner's socket: who gets in, what is said when not, and what can be asked without an edge.

mod clock;
mod doors;
mod office;
mod offline;
