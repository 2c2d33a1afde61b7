//! Fuzzing on stable, as far as that goes: the committed inputs, and mutations of them.

use std::{fs, path::Path};

use super::{TARGETS, Target, mutate::Mutator};

/// What a replay ran.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// Inputs of the corpus.
    pub corpus: usize,
    /// Inputs that once failed.
    pub crashes: usize,
    /// Mutations.
    pub mutations: u32,
}

/// Runs a target over its corpus, over everything that once made it fail, and over mutations of both. `folder` is that of the
/// fuzzing package.
///
/// # Panics
///
/// When a property does not hold: the input is printed. And when there is no corpus.
pub fn replay(folder: &Path, name: &str) -> Replayed {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let mut inputs = inputs(&folder.join("corpus").join(name));
    assert!(!inputs.is_empty(), "the corpus of {name} is empty");
    let corpus = inputs.len();
    inputs.extend(self::inputs(&folder.join("crashes").join(name)));
    for (file, data) in &inputs {
        try_one(target, file, data);
    }
    let words = words(&folder.join(format!("{name}.dict")));
    let bare: Vec<Vec<u8>> = inputs.into_iter().map(|(_, data)| data).collect();
    let mut mutator = Mutator::new(0x9e37_79b9_7f4a_7c15, &bare, &words);
    for n in 0..target.mutations {
        try_one(target, &format!("mutation {n}"), &mutator.make());
    }
    Replayed { corpus, crashes: bare.len() - corpus, mutations: target.mutations }
}

fn try_one(target: &Target, what: &str, data: &[u8]) {
    let _shown = Shown { name: target.name, what, data };
    (target.run)(data);
}

/// Prints the input when it made a property fail, so that it can be kept.
struct Shown<'a> {
    name: &'static str,
    what: &'a str,
    data: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, what, data) = (self.name, self.what, self.data.escape_ascii());
            eprintln!("{name} failed on {what}; keep it as a file in fuzz/crashes/{name}:\n{data}");
        }
    }
}

/// Files of a folder, in the order of their names; none where there is no folder.
fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the folder is readable").path();
            let data = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.display().to_string(), data)
        })
        .collect();
    files.sort();
    files
}

/// The words of a dictionary as libFuzzer has it: `"word"` in each line, with `\"`, `\\` and `\xNN`.
fn words(file: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let quoted = text.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix('"'));
    quoted.map(unescaped).filter(|word| !word.is_empty()).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'x', a, b, after @ ..]) => {
                let digits = [*a, *b];
                let digits = std::str::from_utf8(&digits).expect("two digits");
                out.push(u8::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{text}: {error}")));
                after
            }
            (b'\\', [next, after @ ..]) => {
                out.push(*next);
                after
            }
            _ => {
                out.push(*first);
                after
            }
        };
    }
    out
}
