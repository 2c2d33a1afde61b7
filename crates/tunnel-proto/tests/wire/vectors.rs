//! The vectors of PROTOCOL.md are what the code writes and reads.

use std::collections::BTreeSet;

use tunnel_proto::{frame::FrameType, message::Message, version::Version};

use super::examples::examples;

pub(super) const SPECIFICATION: &str = include_str!("../../PROTOCOL.md");

/// The labels and bytes of the last section: a line `LABEL`, then lines of hexadecimal digits, in one block.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let section = SPECIFICATION.split("\n## 11. Vectors\n").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap().trim_start_matches("text\n");
    let mut vectors: Vec<(String, Vec<u8>)> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("  ") {
            Some(digits) => {
                let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                vectors.last_mut().unwrap().1.extend(digits.chunks(2).map(byte));
            }
            None if line.is_empty() => {}
            None => vectors.push((line.to_owned(), Vec::new())),
        }
    }
    vectors
}

/// A vector as the specification shows it.
fn shown(label: &str, bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| {
        let groups: Vec<String> =
            line.chunks(4).map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        format!("  {}\n", groups.join(" "))
    });
    format!("{label}\n{}", lines.collect::<String>())
}

#[test]
fn every_message_has_its_vector_and_is_written_so() {
    let (vectors, examples) = (vectors(), examples());
    let labels = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let expected: String = examples.iter().map(|(label, message)| shown(label, &message.encode().unwrap())).collect();
    assert_eq!(
        labels(vectors.iter().map(|(label, _)| label.as_str()).collect()),
        labels(examples.iter().map(|(label, _)| *label).collect()),
        "PROTOCOL.md should have:\n{expected}"
    );
    for ((label, bytes), (_, message)) in vectors.iter().zip(&examples) {
        assert_eq!(shown(label, &message.encode().unwrap()), shown(label, bytes), "{label}");
    }
}

#[test]
fn every_vector_is_read_as_its_message() {
    for ((label, bytes), (_, message)) in vectors().iter().zip(examples()) {
        assert_eq!(Message::parse(bytes, Version::V1), Ok((Some(message), bytes.len())), "{label}");
    }
}

#[test]
fn every_frame_of_the_version_has_a_vector() {
    let shown: BTreeSet<u8> = vectors().iter().map(|(_, bytes)| bytes[0]).collect();
    let listed: BTreeSet<u8> = Version::V1.listed().iter().map(|kind| kind.tag()).collect();
    assert_eq!(shown, listed);
}

/// The table of frames says every tag and every limit.
#[test]
fn the_table_of_frames_is_the_codes() {
    for kind in FrameType::ALL {
        let row = format!("| `{:#04x}` | {kind:?} |", kind.tag());
        let line = SPECIFICATION.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("{row}"));
        let limit = match kind.max_len() {
            mib if mib % (1024 * 1024) == 0 => format!("{} MiB", mib / 1024 / 1024),
            bytes => format!("{} KiB", bytes / 1024),
        };
        assert!(line.ends_with(&format!("| {limit} |")), "{line} says {limit}");
        assert_eq!(line.contains("reserved"), !Version::V1.lists(*kind), "{line}");
    }
    let rows = SPECIFICATION.lines().filter(|line| line.starts_with("| `0x")).count();
    assert_eq!(rows, FrameType::ALL.len(), "no tag stands there twice");
}
