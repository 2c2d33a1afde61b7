//! Standard output, where it is for people and programs to read.

use std::io::{self, ErrorKind, Write};

use crate::failure::Failure;

/// Prints a text and ends its last line. A reader who has gone has read enough: that is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somewhere that takes nothing.
    struct Full(ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_reader_who_has_gone_is_no_failure() {
        assert!(print_to(&mut Full(ErrorKind::BrokenPipe), "x").is_ok());
        assert_eq!(print_to(&mut Full(ErrorKind::StorageFull), "x").unwrap_err().exit_code(), 1);
        let mut out = Vec::new();
        print_to(&mut out, "x\ny").unwrap();
        assert_eq!(out, b"x\ny\n");
    }
}
