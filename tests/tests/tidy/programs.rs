//! The programs that the libraries' READMEs show are examples, short ones, and run.

use std::{collections::BTreeMap, fs};

use super::docs::blocks;
use crate::{files, root};

/// The longest program that is shown, in lines without comments and blank ones.
const LINES_MAX: usize = 14;

/// Examples by file, each without what stands above its first line of code.
fn examples() -> BTreeMap<String, String> {
    let sources =
        files(&[".rs"]).into_iter().filter(|(name, _)| name.starts_with("crates/") && name.contains("/examples/"));
    sources
        .map(|(name, text)| (name, text.lines().skip_while(|line| !is_code(line)).collect::<Vec<_>>().join("\n")))
        .collect()
}

fn is_code(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with("//")
}

#[test]
fn the_shortest_useful_program_of_each_library_is_short_and_shown_as_it_is() {
    let examples = examples();
    for name in ["client", "origin", "testing"] {
        let readme = fs::read_to_string(root().join(format!("crates/{name}/README.md"))).unwrap();
        let shown = blocks(&readme, &["rust"]);
        assert!(!shown.is_empty(), "the README of {name} shows a program");
        for program in shown {
            let lines = program.lines().filter(|line| is_code(line)).count();
            assert!(lines <= LINES_MAX, "{lines} lines in the README of {name}:\n{program}");
            let of_it = |file: &&String| file.starts_with(&format!("crates/{name}/examples/"));
            let mut same = examples.iter().filter(|(file, text)| of_it(file) && text.trim_end() == program.trim_end());
            assert!(same.next().is_some(), "no example of {name} is what its README shows:\n{program}");
        }
        // The library's own page takes the example, or the README, from its file.
        let lib = fs::read_to_string(root().join(format!("crates/{name}/src/lib.rs"))).unwrap();
        assert!(
            lib.contains("#![doc = include_str!(\"../examples/")
                || lib.contains("#![doc = include_str!(\"../README.md\")]"),
            "the documentation of {name} shows the program"
        );
    }
}

#[test]
fn every_example_is_run_by_a_test() {
    let test = fs::read_to_string(root().join("crates/testing/tests/embedding/examples.rs")).unwrap();
    let examples = examples();
    assert!(examples.len() >= 6, "the examples were found: {:?}", examples.keys());
    for file in examples.keys() {
        let name = file.rsplit('/').next().unwrap().trim_end_matches(".rs");
        let run = ["example(", "publish(&edge, ", "client("].map(|call| format!("{call}\"{name}\""));
        assert!(run.iter().any(|call| test.contains(call)), "no test runs the example {file}");
    }
}
