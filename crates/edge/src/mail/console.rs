//! Mail without a mail server: the code on the terminal, the mail in a file.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tunnel_proto::UnixTime;

use super::pin::{Letter, Words};
use crate::platform;

/// Where codes are printed: the terminal of who started the edge, or a buffer in tests.
#[derive(Clone)]
pub struct Terminal(Arc<Mutex<dyn Write + Send>>);

impl Terminal {
    /// A terminal behind any writer.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    fn print(&self, text: &str) -> io::Result<()> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(text.as_bytes())?;
        writer.flush()
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terminal(…)")
    }
}

/// Makes the folder, and removes what an earlier run left there.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    platform::private_dir(folder)?;
    remove_expired(folder, UnixTime(u64::MAX)).map(drop)
}

/// Prints the code and puts the mail into a file that only the owner may read.
pub(super) fn deliver(
    terminal: &Terminal,
    folder: &Path,
    letter: &Letter,
    words: &Words<'_>,
    message: &[u8],
    until: UnixTime,
) -> io::Result<()> {
    let name = letter.message_id.trim_matches(['<', '>']).split('@').next().unwrap_or_default();
    let path = folder.join(format!("{:012}-{name}.eml", until.0));
    match platform::create_private(&path, message) {
        // A repetition after a crash between writing and noting it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => done?,
    }
    let (first, second) = letter.halves();
    terminal.print(&format!(
        "\n  {subject} ({to})\n\n      {first} {second}\n\n  {once}\n\n",
        subject = words.subject,
        to = letter.to,
        once = words.works_once,
    ))
}

/// Removes the files whose code has expired at `now`; says whether any remain.
pub(super) fn remove_expired(folder: &Path, now: UnixTime) -> io::Result<bool> {
    let mut remain = false;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".eml"));
        let Some(until) = name.and_then(|name| name.split_once('-')).and_then(|(until, _)| until.parse().ok()) else {
            continue;
        };
        if UnixTime(until) <= now {
            std::fs::remove_file(&path)?;
        } else {
            remain = true;
        }
    }
    Ok(remain)
}
