//! Whole journeys with real programs: browser, mail server, nginx, access networks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod e2e {
    mod appearance;
    mod applications;
    mod bad_input;
    mod bytes;
    mod certificates;
    mod claims;
    mod cross_site;
    mod crowds;
    mod declare;
    mod distance;
    mod ends;
    mod enrol;
    mod evaluations;
    mod faithful;
    mod faults;
    mod grpc;
    mod guides;
    mod handovers;
    mod hot_changes;
    mod login;
    mod machines;
    mod networks;
    mod office;
    mod origins;
    mod outages;
    mod pages;
    mod panics;
    mod panics_beside;
    mod passkeys;
    mod planted;
    mod policies;
    mod providers;
    mod quick_start;
    mod renewal;
    mod restart;
    mod secrets;
    mod stops;
    mod tcp;
    mod traffic;
    mod trouble;
    mod tunnels;
    mod ways;
    mod who_is_it;
}
