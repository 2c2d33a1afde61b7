//! What is wrong with a declaration, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::yaml::Place;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Line and column, both from 1, where the file is at fault.
    pub at: Option<(u64, u64)>,
    /// What is wrong and what would be right.
    pub text: String,
}

impl Problem {
    pub(super) fn new(at: Option<Place>, text: impl Into<String>) -> Self {
        Self { at: at.map(|place| (place.line, place.column)), text: text.into() }
    }

    pub(super) fn at(place: Place, text: impl Into<String>) -> Self {
        Self::new(Some(place), text)
    }
}

/// Everything that is wrong with a file, from the top down. `Display` writes `FILE:LINE:COLUMN: what is wrong`, one line
/// each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problems {
    /// What the file is called.
    pub file: String,
    /// What is wrong; never empty.
    pub list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.at);
        list.dedup();
        Self { file: file.to_owned(), list }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Problem { at, text }) in self.list.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            match at {
                Some((line, column)) => write!(f, "{newline}{}:{line}:{column}: {text}", self.file)?,
                None => write!(f, "{newline}{}: {text}", self.file)?,
            }
        }
        Ok(())
    }
}

/// `; did you mean …?` for a word that is nearly one of these, or nothing.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), candidate);
    let near = known.into_iter().map(|candidate| (distance(candidate), candidate)).min();
    match near {
        Some((distance, candidate)) if distance <= candidate.len().div_ceil(3) => {
            format!("; did you mean `{candidate}`?")
        }
        _ => String::new(),
    }
}
