//! Standard error, which several write to: messages, log lines, and lines at its end that are drawn anew where they stand.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use console::Term;
use tracing_subscriber::fmt::MakeWriter;

/// What `TERM` is where nothing can be drawn anew.
const DUMB: &str = "dumb";

/// Standard error. Cheap to clone; whoever writes by it never writes into what is drawn.
#[derive(Clone)]
pub(crate) struct Screen {
    inner: Arc<Mutex<Inner>>,
    live: bool,
}

struct Inner {
    term: Term,
    /// What stands below everything else.
    drawn: Vec<String>,
    /// Whether it stands there now.
    shown: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        // Buffered: what is drawn anew must not be seen half.
        let term = Term::buffered_stderr();
        let live = term.is_term() && std::env::var_os("TERM").is_none_or(|name| name != DUMB);
        Self { inner: Arc::new(Mutex::new(Inner { term, drawn: Vec::new(), shown: false })), live }
    }

    /// Whether lines can be drawn anew.
    pub(crate) const fn is_live(&self) -> bool {
        self.live
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.inner.lock().unwrap_or_else(PoisonError::into_inner).term.size();
        (rows.into(), columns.into())
    }

    /// Says something that stays: one line or several.
    pub(crate) fn say(&self, text: &str) {
        // A terminal that went away leaves nobody to tell.
        self.with(|inner| inner.term.write_line(text)).ok();
    }

    /// Draws lines below everything else, in the place of those from before. Each must be narrower than the terminal.
    pub(crate) fn draw(&self, lines: Vec<String>) {
        if self.live {
            self.with(|inner| {
                inner.drawn = lines;
                Ok(())
            })
            .ok();
        }
    }

    /// Takes away what is drawn.
    pub(crate) fn clear(&self) {
        self.draw(Vec::new());
    }

    /// Does something to the terminal as if nothing were drawn on it.
    fn with(&self, change: impl FnOnce(&mut Inner) -> io::Result<()>) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.shown {
            let rows = rows(&inner.drawn, inner.term.size().1.into());
            inner.term.move_cursor_up(rows)?;
            inner.term.clear_to_end_of_screen()?;
            inner.shown = false;
        }
        let changed = change(&mut inner);
        for line in &inner.drawn {
            inner.term.write_line(line)?;
        }
        inner.shown = !inner.drawn.is_empty();
        inner.term.flush()?;
        changed
    }
}

/// Log lines, each of which comes in one piece.
impl io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|inner| io::Write::write_all(&mut inner.term, bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The rows that lines take in a terminal of so many columns: it may have become narrower since they were drawn.
fn rows(lines: &[String], columns: usize) -> usize {
    lines.iter().map(|line| console::measure_text_width(line).div_ceil(columns.max(1)).max(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_became_too_long_take_several_rows() {
        let lines = ["x".repeat(80), String::new(), "\u{1b}[32m日本\u{1b}[0m".to_owned()];
        for (columns, taken) in [(100, 3), (80, 3), (79, 4), (40, 4), (3, 27 + 1 + 2)] {
            assert_eq!(rows(&lines, columns), taken, "{columns}");
        }
    }
}
