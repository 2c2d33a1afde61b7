//! Promises about the source itself: which crate knows which, what is pure, where platform code sits, which words are used,
//! and what its hot pieces cost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod tidy {
    mod crates;
    mod docs;
    mod examples;
    mod instructions;
    mod limits;
    mod package;
    mod programs;
    mod source;
}

/// The root of the repository.
pub(crate) fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files that git knows and whose names end so, with their text.
pub(crate) fn files(endings: &[&str]) -> Vec<(String, String)> {
    let output = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let wanted = names.split('\0').filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    // A file that was deleted but not yet committed is no longer there to be read.
    let read = wanted.filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?)));
    let files: Vec<_> = read.collect();
    assert!(!files.is_empty(), "no files end in {endings:?}");
    files
}
