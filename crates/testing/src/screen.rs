//! The terminal that the edge shows codes on.

use std::{
    io::{self, Write},
    time::Duration,
};

use regex_lite::Regex;
use tokio::{sync::watch, time::timeout};

use crate::Error;

/// How long a code may take to arrive.
const CODE_LIMIT: Duration = Duration::from_secs(20);

/// What the edge has shown so far.
#[derive(Clone, Debug)]
pub(crate) struct Screen(watch::Sender<String>);

impl Screen {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(String::new()))
    }

    /// How much has been shown: what comes later is new.
    pub(crate) fn mark(&self) -> usize {
        self.0.borrow().len()
    }

    /// The code for `email` that is shown after `mark`.
    pub(crate) async fn code(&self, email: &str, mark: usize) -> Result<String, Error> {
        let missing = || Error::NoCode { email: email.to_owned() };
        let mut screen = self.0.subscribe();
        let shown = screen.wait_for(|text| find(text, mark, email).is_some());
        let shown = timeout(CODE_LIMIT, shown).await.map_err(|_| missing())?.map_err(|_| missing())?;
        find(&shown, mark, email).ok_or_else(missing)
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|text| text.push_str(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn find(text: &str, mark: usize, email: &str) -> Option<String> {
    let text = text.get(mark..)?;
    let after = text.get(text.find(&format!("({email})"))?..)?;
    let code = Regex::new(r"\b(\d{4}) (\d{4})\b").ok()?.captures(after)?;
    Some(format!("{}{}", code.get(1)?.as_str(), code.get(2)?.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_code_is_that_of_the_address_and_not_an_earlier_one() {
        let mut screen = Screen::new();
        write!(screen, "\n  Code (ann@example.com)\n\n      1111 1111\n\n  once\n\n").unwrap();
        let mark = screen.mark();
        write!(screen, "\n  Code (bob@example.com)\n\n      2222 2222\n\n").unwrap();
        write!(screen, "\n  Code (ann@example.com)\n\n      1234 5678\n\n").unwrap();
        assert_eq!(screen.code("ann@example.com", mark).await.unwrap(), "12345678");
        assert_eq!(screen.code("bob@example.com", mark).await.unwrap(), "22222222");
    }
}
