//! Words and tables for a terminal.

use std::io::{self, Write as _};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tunnel_proto::UnixTime;

/// Prints a text and a line end. A reader that has seen enough is no error.
pub(crate) fn say(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// A moment in UTC (RFC 3339).
pub(crate) fn when(at: UnixTime) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| at.0.to_string())
}

/// Rows under headings, in columns.
pub(crate) fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heading = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(heading).chain(rows.map(|row| row.iter().map(|cell| clean(cell)).collect())).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..headings.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Text that strangers may have had a hand in, without what a terminal obeys or what turns the writing round.
pub(crate) fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control() || turns(c);
            let escaped = escape.then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!escape).then_some(c))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_line_ends_are_bare() {
        let rows = [vec!["a".to_owned(), "日本".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["X", "YY"], rows.into_iter()), "X     YY\na     日本\nlong");
        assert_eq!(table(&["X"], std::iter::empty()), "X");
    }

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
    }

    #[test]
    fn moments_are_utc() {
        assert_eq!(when(UnixTime(0)), "1970-01-01T00:00:00Z");
        assert_eq!(when(UnixTime(u64::MAX)), u64::MAX.to_string());
    }
}
