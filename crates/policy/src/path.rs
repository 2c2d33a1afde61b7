//! Path patterns: which paths below a host an application covers.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::readings::fold;

/// The longest [`PathPattern`], in bytes.
pub const PATTERN_MAX: usize = 1024;

/// A path pattern: segments with at most one `*` each, beginning with `/`.
///
/// A pattern covers the paths that it matches and everything below them, on a segment boundary: `/admin` covers
/// `/admin`, `/admin/` and `/admin/users`, but not `/administrator`. A `*` stands for any characters, none included, and
/// spans segments: `/foo*/bar` covers `/food/stuff/bar`. `/alpha/*` covers `/alpha/` and `/alpha/x`, but not `/alpha`.
///
/// It is written as people read it: without percent-encoding, query or fragment, and without the spellings that a path
/// can be read in several ways by (`\`, `;`, `.` and `..` segments, empty segments). A final `/` is dropped.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    text: Arc<str>,
    /// As a browser sends it, where that differs.
    encoded: Option<Arc<str>>,
    folded: Arc<[u8]>,
}

impl PathPattern {
    /// The pattern as canonical text; `/` is the pattern that covers every path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path` falls under the pattern, to the letter: as written or percent-encoded as browsers do.
    pub fn covers(&self, path: &str) -> bool {
        self.covers_bytes(path.as_bytes())
    }

    pub(crate) fn covers_bytes(&self, path: &[u8]) -> bool {
        let encoded = || self.encoded.as_ref().is_some_and(|encoded| covers(encoded.as_bytes(), path));
        covers(self.text.as_bytes(), path) || encoded()
    }

    /// Whether a path whose case is folded falls under the pattern, whatever its case.
    pub(crate) fn covers_folded(&self, folded: &[u8]) -> bool {
        covers(&self.folded, folded)
    }

    /// Whether it covers every path.
    pub fn is_root(&self) -> bool {
        &*self.text == "/"
    }

    /// Orders patterns by how closely they describe a path: segment by segment from the left, one without `*` beats
    /// one with it and any segment beats none; then the longer literal text. The greater is the more specific.
    pub fn specificity(&self) -> impl Ord + use<> {
        let segments = self.text.split('/').skip(1).filter(|segment| !segment.is_empty());
        let exact: Vec<bool> = segments.map(|segment| !segment.contains('*')).collect();
        let literal = self.text.bytes().filter(|b| *b != b'*').count();
        (exact, literal)
    }
}

/// Whether the glob `pattern`, or the glob `pattern/*`, matches `path`. Linear: every piece between two `*` is found at
/// its first place, which leaves the most for the rest.
fn covers(pattern: &[u8], path: &[u8]) -> bool {
    if pattern == b"/" {
        return true;
    }
    let mut pieces = pattern.split(|b| *b == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.first().is_none_or(|b| *b == b'/') };
    for piece in pieces {
        let Some(at) = find(rest, piece) else { return false };
        rest = rest.get(at.saturating_add(piece.len())..).unwrap_or_default();
    }
    rest.ends_with(last) || find(rest, &[last, b"/"].concat()).is_some()
}

fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    if piece.is_empty() { Some(0) } else { text.windows(piece.len()).position(|window| window == piece) }
}

impl FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, PathPatternError> {
        let inner = text.strip_prefix('/').ok_or(PathPatternError::NotAbsolute)?;
        if text.len() > PATTERN_MAX {
            return Err(PathPatternError::Length);
        }
        if let Some(character) = text.chars().find(|c| matches!(c, '%' | '?' | '#' | '\\' | ';') || c.is_control()) {
            return Err(PathPatternError::Character(character));
        }
        if text.contains("//") {
            return Err(PathPatternError::Segment(String::new()));
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        for segment in inner.split('/').filter(|_| !inner.is_empty()) {
            if segment.matches('*').count() > 1 {
                return Err(PathPatternError::Stars);
            }
            if segment.ends_with(|c: char| c == '.' || c.is_whitespace()) {
                return Err(PathPatternError::Segment(segment.to_owned()));
            }
        }
        let text = format!("/{inner}");
        let encoded = percent_encoding::utf8_percent_encode(&text, ENCODED).to_string();
        Ok(Self {
            encoded: (encoded != text).then(|| encoded.into()),
            folded: fold(text.as_bytes()).into(),
            text: text.into(),
        })
    }
}

/// What a browser percent-encodes in a path (WHATWG URL, path percent-encode set).
const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'^').add(b'`').add(b'{').add(b'}');

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for PathPattern {}
impl PartialOrd for PathPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for PathPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}
impl std::hash::Hash for PathPattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl TryFrom<String> for PathPattern {
    type Error = PathPatternError;

    fn try_from(text: String) -> Result<Self, PathPatternError> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.text.as_ref().to_owned()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}

/// Why a text is not a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathPatternError {
    /// It does not begin with `/`.
    #[error("a path begins with `/`")]
    NotAbsolute,
    /// It is longer than [`PATTERN_MAX`].
    #[error("a path pattern has at most {PATTERN_MAX} bytes")]
    Length,
    /// A character that has no place in a pattern.
    #[error("a path pattern is written plainly, without {0:?} (no percent-encoding, query, fragment or parameters)")]
    Character(char),
    /// More than one `*` in a segment.
    #[error("a path has at most one `*` in a segment")]
    Stars,
    /// A segment that is empty or ends with a dot or space, `.` and `..` included.
    #[error("a path pattern has no segment {0:?}: servers differ in how they read it")]
    Segment(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().expect(text)
    }

    #[test]
    fn patterns_cover_what_the_reference_says() {
        // (pattern, covered, not covered).
        let table: [(&str, &[&str], &[&str]); 9] = [
            ("/", &["/", "/x", "/x/y", "", "*"], &[]),
            ("/admin", &["/admin", "/admin/", "/admin/x/y"], &["/", "/administrator", "/Admin", "/x/admin", "/admi"]),
            ("/admin/", &["/admin", "/admin/x"], &["/admins"]),
            ("/alpha/*", &["/alpha/", "/alpha/x", "/alpha/x/y"], &["/alpha", "/alphax"]),
            (
                "/foo*/bar",
                &["/foo/bar", "/food/bar", "/food/stuff/bar", "/foo/bar/x"],
                &["/foo", "/foo/barn", "/fo/bar"],
            ),
            ("/*.php", &["/a.php", "/x/a.php", "/a.php/x", "/.php"], &["/a.phps", "/php"]),
            ("/a*b/c*d", &["/ab/cd", "/axb/cyd/z", "/a/b/c/d"], &["/ab/c", "/ab/cde", "/b/cd"]),
            ("/aa*aa", &["/aaaa", "/aaxaa"], &["/aaa", "/aa"]),
            ("/caf\u{e9} x", &["/caf%C3%A9%20x", "/caf\u{e9} x/y"], &["/cafe x", "/caf"]),
        ];
        for (text, covered, not) in table {
            for path in covered {
                assert!(pattern(text).covers(path), "{text} covers {path}");
            }
            for path in not {
                assert!(!pattern(text).covers(path), "{text} does not cover {path}");
            }
        }
    }

    #[test]
    fn the_more_specific_pattern_is_greater() {
        for (less, more) in
            [("/", "/*"), ("/*", "/a"), ("/a*", "/ab"), ("/a", "/a/*"), ("/a/*", "/a/b"), ("/a*", "/ab*")]
        {
            assert!(pattern(less).specificity() < pattern(more).specificity(), "{less} < {more}");
        }
    }

    #[test]
    fn what_can_be_read_in_several_ways_is_not_a_pattern() {
        for text in [
            "", "admin", "/a**", "/a*b*", "/a%2fb", "/a?b", "/a#b", "/a\\b", "/a;b", "//", "/a//b", "/./a", "/a/..",
            "/a.", "/a\0",
        ] {
            assert!(text.parse::<PathPattern>().is_err(), "{text:?}");
        }
    }
}
