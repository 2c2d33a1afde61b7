//! `edge apply`, `edge export` and `edge check` over a real database: what is written, what is refused and how it reads.

mod changes;
mod desk;
mod lasting;
mod methods;
mod refusals;
mod roundtrip;
mod selectors;
mod tunnels;
