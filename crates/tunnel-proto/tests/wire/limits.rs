//! The limits in PROTOCOL.md §10 are those of the code.

use std::{collections::BTreeMap, fs, path::Path};

use super::vectors::SPECIFICATION;

/// Every number with a name in the sources: whether it is public, and how it is written.
fn numbers(folder: &Path, found: &mut BTreeMap<String, (bool, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            numbers(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(text.lines().filter_map(number));
        }
    }
}

/// Reads a line such as `pub const NAME_MAX: usize = 64;`.
fn number(line: &str) -> Option<(String, (bool, String))> {
    let (scope, rest) = line.split_once("const ")?;
    let (name, rest) = rest.split_once(": ")?;
    let (kind, value) = rest.strip_suffix(';')?.split_once(" = ")?;
    let constant = matches!(scope, "" | "pub " | "pub(super) " | "pub(crate) ");
    let is_number = matches!(kind, "u8" | "u16" | "u32" | "u64" | "usize");
    (constant && is_number).then(|| (name.to_owned(), (scope == "pub ", value.to_owned())))
}

/// The rows of the table: names and values.
fn rows() -> BTreeMap<String, String> {
    let section = SPECIFICATION.split("\n## 10. Limits\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (name, value, why) = (cells.next()?, cells.next()?, cells.next()?);
        assert!(why.len() > " |".len(), "{name} has a reason");
        Some((name.trim_matches('`').to_owned(), value.trim_matches('`').to_owned()))
    };
    section.lines().filter_map(row).collect()
}

#[test]
fn every_limit_is_specified_with_its_value_and_reason() {
    let mut numbers_there = BTreeMap::new();
    numbers(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut numbers_there);
    let rows = rows();
    assert!(rows.len() > 30, "the table is read: {rows:?}");
    for (name, value) in &rows {
        assert_eq!(numbers_there.get(name).map(|(_, value)| value), Some(value), "{name} in the code");
    }
    for (name, (public, value)) in &numbers_there {
        assert!(!public || rows.contains_key(name), "PROTOCOL.md §10 lacks `{name}`, which is `{value}`");
    }
}
