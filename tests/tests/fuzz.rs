//! Fuzzing, as far as the suite does it: every committed input, and a fixed number of mutations, for every target. What finds
//! new ones is `tests/run --fuzz`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tunnel_tests::fuzz::{TARGETS, replay};

/// The largest input that is committed, in bytes.
const INPUT_MAX: u64 = 16 * 1024;
/// All of them together.
const CORPORA_MAX: u64 = 4 * 1024 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz")
}

#[track_caller]
fn holds(name: &str) {
    let replayed = replay(&folder(), name);
    assert!(replayed.corpus >= 20, "{name}: {replayed:?}");
}

// T5, T6
#[test]
fn frames_are_read_within_limits_and_come_back() {
    holds("frames");
}

// T6, R60
#[test]
fn streams_keep_to_their_budget_whatever_a_peer_sends() {
    holds("mux");
}

// T5, T6
#[test]
fn a_link_begins_with_an_honest_peer_or_not_at_all() {
    holds("handshake");
}

// T6
#[test]
fn whatever_comes_by_tls_means_the_same_to_ours_as_to_rustls() {
    holds("records");
}

#[test]
fn files_are_refused_by_place_or_mean_what_they_say() {
    holds("config");
}

// H2
#[test]
fn a_host_has_one_form_that_browsers_read_the_same() {
    holds("hosts");
}

// H1
#[test]
fn every_reading_of_a_path_is_reckoned_with() {
    holds("paths");
}

// O5
#[test]
fn an_address_has_one_form_and_one_domain() {
    holds("email");
}

// H12, C5
#[test]
fn nobody_is_sent_to_another_place_after_a_login() {
    holds("return_url");
}

// S2, S3, T11
#[test]
fn our_cookies_stay_here_and_those_of_others_go_on() {
    holds("cookies");
}

// S1, S6, S11
#[test]
fn nothing_opens_but_what_we_made() {
    holds("tokens");
}

// H4
#[test]
fn a_strict_reader_reads_every_request_the_same() {
    holds("head");
}

#[test]
fn a_service_is_named_in_one_way() {
    holds("ingress");
}

// T8
#[test]
fn a_destination_is_what_it_says_and_a_range_holds_no_more() {
    holds("bastion");
}

/// A target that is only half there would never be run.
#[test]
fn every_target_has_a_program_a_corpus_and_a_test() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "names are given once");
    let listed = |path: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder().join(path)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("fuzz_targets"), names);
    assert_eq!(listed("corpus"), names);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let this = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz.rs")).unwrap();
    for name in &names {
        let program = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", data)")), "{name}: {program}");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
        assert!(this.contains(&format!("holds(\"{name}\")")), "no test runs {name}");
    }
}

#[test]
fn the_committed_inputs_are_small() {
    let mut all = 0;
    for kind in ["corpus", "crashes"] {
        for name in TARGETS.iter().map(|target| target.name) {
            // Nothing has crashed where there is no folder.
            for entry in fs::read_dir(folder().join(kind).join(name)).into_iter().flatten() {
                let (path, length) = entry.map(|entry| (entry.path(), entry.metadata().unwrap().len())).unwrap();
                assert!(length <= INPUT_MAX, "{} has {length} bytes", path.display());
                all += length;
            }
        }
    }
    assert!(all <= CORPORA_MAX, "the corpora have {all} bytes: minimise them");
}
