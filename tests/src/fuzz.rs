//! What is fuzzed: for each target a plain function that takes any bytes and panics when a property does not hold.
//!
//! `fuzz/` hands them to libFuzzer. [`replay`] runs them on stable over the committed corpus and over a fixed number of
//! mutations of it, which is a part of the suite. No function looks at the clock, and chance makes no more than keys
//! (those that tokens are signed with, and those of TLS), so that an input which fails once fails always.

mod bastion;
mod config;
mod cookies;
mod email;
mod frames;
mod handshake;
mod head;
mod hosts;
mod ingress;
mod mutate;
mod mux;
mod paths;
mod records;
mod reference;
mod replay;
mod return_url;
mod tokens;

pub use replay::{Replayed, replay};

/// Something that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the fuzzing program, of the corpus and of the dictionary.
    pub name: &'static str,
    /// The properties.
    pub run: fn(&[u8]),
    /// How many mutations the suite tries.
    pub mutations: u32,
}

/// Everything that is fuzzed. Where one input costs much, the suite tries fewer.
pub const TARGETS: &[Target] = &[
    Target { name: "frames", run: frames::run, mutations: 20_000 },
    Target { name: "mux", run: mux::run, mutations: 20_000 },
    Target { name: "handshake", run: handshake::run, mutations: 3_000 },
    Target { name: "records", run: records::run, mutations: 1_500 },
    Target { name: "config", run: config::run, mutations: 3_000 },
    Target { name: "hosts", run: hosts::run, mutations: 20_000 },
    Target { name: "paths", run: paths::run, mutations: 3_000 },
    Target { name: "email", run: email::run, mutations: 20_000 },
    Target { name: "return_url", run: return_url::run, mutations: 20_000 },
    Target { name: "cookies", run: cookies::run, mutations: 20_000 },
    Target { name: "tokens", run: tokens::run, mutations: 3_000 },
    Target { name: "head", run: head::run, mutations: 6_000 },
    Target { name: "ingress", run: ingress::run, mutations: 20_000 },
    Target { name: "bastion", run: bastion::run, mutations: 20_000 },
];

/// The properties of the target with this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.run)(data);
}

/// The input as text, or nothing: what is not UTF-8 never gets as far as a parser of texts.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The input cut in two at its first line end.
fn two_lines(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, b""),
    }
}
