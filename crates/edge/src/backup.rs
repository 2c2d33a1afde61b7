//! Copies of the database, made every hour beside it: `DATA-DIR/backups`.
//!
//! A copy counts once it has been looked at as a whole; until then it has another name. Making one holds up nobody who writes, and
//! a failure concerns nothing else. How a copy is put back stands in docs/administration.md.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tokio::time::Instant;
use tunnel_proto::UnixTime;

use crate::{
    State, platform,
    store::{StoreError, sqlite::SqliteStore},
};

/// The folder of copies in the data directory.
pub const FOLDER: &str = "backups";
/// How many copies are kept: those of a day.
pub const KEPT: usize = 24;
/// The most that may be kept.
pub const KEPT_MAX: usize = 1000;
/// How old the newest copy may become.
pub const EVERY: Duration = Duration::from_secs(3600);

/// How often it is looked whether one is due. The first time is that long after the start, which has enough to do.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A copy's name says when it was begun (UTC), and sorts by it.
const NAME: &[BorrowedFormatItem<'_>] = format_description!("edge-[year][month][day]T[hour][minute][second]Z.db");
/// A copy that nobody may count on yet: `next-PROCESS.part`. While one process takes another one's place, both may make one.
const PART: (&str, &str) = ("next-", ".part");
/// How the names of files end that SQLite has beside a database while it writes it; whoever is killed leaves them.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// How the copies do, as the edge's owner sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// How many there are.
    pub count: usize,
    /// The newest.
    pub newest: Option<PathBuf>,
    /// When that was made.
    pub made: Option<UnixTime>,
    /// Why the last one that was tried failed.
    pub failed: Option<String>,
}

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder, or a file in it.
    #[error("`{path}`: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The rest is for the edge itself.
    #[error(
        "there is no room: {free} bytes are free and {needed} are needed, so that the edge itself has room after it; removing older \
         copies does not make it, or not at once, and the newest one stays: make room on the disk of `{folder}`",
        folder = .folder.display()
    )]
    Room {
        /// The folder of copies.
        folder: PathBuf,
        /// What is free.
        free: u64,
        /// What is needed.
        needed: u64,
    },
    /// The database, or the copy.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes copies of a store, and knows what became of them.
#[derive(Debug)]
pub struct Backups {
    store: Arc<SqliteStore>,
    folder: PathBuf,
    /// None are made when it is 0.
    kept: usize,
    tried: Mutex<Tried>,
}

#[derive(Debug, Default)]
struct Tried {
    last: Option<Instant>,
    failed: Option<String>,
}

impl Backups {
    /// Copies of `store` in the data directory, of which `kept` are kept.
    pub fn new(store: Arc<SqliteStore>, data_dir: &Path, kept: usize) -> Self {
        let folder = data_dir.join(FOLDER);
        for part in abandoned(&folder) {
            if let Err(error) = platform::remove_if_there(&part) {
                tracing::warn!(path = %part.display(), %error, "half a backup cannot be removed");
            }
        }
        Self { store, folder, kept, tried: Mutex::default() }
    }

    /// Makes one if the last is old enough, or was tried long enough ago.
    pub(crate) async fn make_if_due(&self, now: UnixTime) {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner).last;
        if self.kept == 0 || tried.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        let newest = found(&self.folder).into_iter().map(|(made, _)| made).filter(|made| *made <= now).max();
        if newest.is_some_and(|made| now.since(made) < EVERY) {
            return;
        }
        let made = self.make(now).await;
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.last = Some(Instant::now());
        tried.failed = match made {
            Ok(path) => {
                tracing::info!(path = %path.display(), "the database is backed up");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the database cannot be backed up; the next try is in an hour");
                Some(error.to_string())
            }
        };
    }

    /// Makes one, and removes the oldest of those that are too many, before that already where it needs their room.
    pub async fn make(&self, now: UnixTime) -> Result<PathBuf, BackupError> {
        let file = |path: &Path, source| BackupError::File { path: path.to_owned(), source };
        platform::private_dir(&self.folder).map_err(|source| file(&self.folder, source))?;
        for part in abandoned(&self.folder) {
            platform::remove_if_there(&part).map_err(|source| file(&part, source))?;
        }
        let part = self.folder.join(part(std::process::id()));
        let size = std::fs::metadata(self.store.path()).map_err(|source| file(self.store.path(), source))?.len();
        self.make_room(now, size.saturating_mul(2), || platform::free_space(&self.folder))?;
        self.store.backup(&part).await?;
        let path = self.folder.join(name(now));
        std::fs::rename(&part, &path).map_err(|source| file(&path, source))?;
        for old in surplus(found(&self.folder), self.kept.max(1), now) {
            std::fs::remove_file(&old).map_err(|source| file(&old, source))?;
        }
        Ok(path)
    }

    /// Makes sure that so much is free, where that is known: the oldest copies go, as many as it takes by their lengths. The
    /// newest one stays whatever happens, and where all others would not do, they stay as well. What goes may leave its room
    /// later only, or never (a snapshot has it, something else takes it): no more go for that.
    fn make_room(&self, now: UnixTime, needed: u64, free: impl Fn() -> Option<u64>) -> Result<(), BackupError> {
        let no_room = |free| BackupError::Room { folder: self.folder.clone(), free, needed };
        let lacking = || free().filter(|free| *free < needed);
        let Some(room) = lacking() else { return Ok(()) };
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let older: Vec<_> = surplus(found(&self.folder), 1, now).into_iter().map(|old| (length(&old), old)).collect();
        if older.iter().fold(room, |sum, (length, _)| sum.saturating_add(*length)) < needed {
            return Err(no_room(room));
        }
        let mut expected = room;
        for (length, old) in older {
            if expected >= needed {
                break;
            }
            platform::remove_if_there(&old).map_err(|source| BackupError::File { path: old.clone(), source })?;
            tracing::warn!(path = %old.display(), "an old backup is removed: its room is needed for the next one");
            expected = expected.saturating_add(length);
        }
        lacking().map_or(Ok(()), |free| Err(no_room(free)))
    }

    /// What there is, and what went wrong last.
    pub fn status(&self) -> BackupStatus {
        let failed = self.tried.lock().unwrap_or_else(PoisonError::into_inner).failed.clone();
        BackupStatus { failed, ..status(&self.folder) }
    }
}

/// Makes copies as they fall due, for as long as the edge runs.
pub(crate) async fn run(state: Weak<State>) {
    let mut tick = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    loop {
        tick.tick().await;
        let Some(state) = state.upgrade() else { return };
        state.backups.make_if_due(state.now()).await;
    }
}

/// What there is in a folder of copies.
pub(crate) fn status(folder: &Path) -> BackupStatus {
    let all = found(folder);
    let last = all.iter().max().cloned();
    let (made, newest) = last.unzip();
    BackupStatus { count: all.len(), newest, made, failed: None }
}

/// The newest copy in a folder of them.
pub(crate) fn newest(folder: &Path) -> Option<PathBuf> {
    status(folder).newest
}

/// What the process calls a copy that it makes.
fn part(process: u32) -> String {
    let (before, behind) = PART;
    format!("{before}{process}{behind}")
}

/// Removes what there is of a copy that nobody may count on. What SQLite has beside it would be taken for the next one's.
pub(crate) fn remove_part(part: &Path) -> io::Result<()> {
    for beside in BESIDE {
        let mut path = part.as_os_str().to_owned();
        path.push(beside);
        platform::remove_if_there(Path::new(&path))?;
    }
    platform::remove_if_there(part)
}

/// Every file of a copy that was begun and is not made any more: by processes that are gone, or by this one, before.
fn abandoned(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_abandoned = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| {
            let part = BESIDE.into_iter().find_map(|beside| name.strip_suffix(beside)).unwrap_or(name);
            part.strip_prefix(PART.0)?.strip_suffix(PART.1)?.parse().ok()
        });
        process.is_some_and(|process: u32| process == std::process::id() || !platform::process_lives(process))
    };
    entries.filter(is_abandoned).map(|entry| entry.path()).collect()
}

fn name(at: UnixTime) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(NAME).unwrap_or_else(|_| "edge-19700101T000000Z.db".to_owned())
}

/// Every copy in a folder, with when it was made.
fn found(folder: &Path) -> Vec<(UnixTime, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let copy = |entry: std::fs::DirEntry| {
        let made = PrimitiveDateTime::parse(entry.file_name().to_str()?, NAME).ok()?.assume_utc();
        Some((UnixTime(u64::try_from(made.unix_timestamp()).ok()?), entry.path()))
    };
    entries.filter_map(copy).collect()
}

/// Which of them go, so that `kept` stay: first those that a clock that was wrong dates after now, then the oldest.
fn surplus(mut all: Vec<(UnixTime, PathBuf)>, kept: usize, now: UnixTime) -> Vec<PathBuf> {
    all.sort_by_key(|(made, _)| (*made <= now, *made));
    let many = all.len().saturating_sub(kept);
    all.into_iter().take(many).map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_and_those_of_the_future_and_the_oldest_go_first() {
        let now = UnixTime(1_800_000_000);
        assert_eq!(name(now), "edge-20270115T080000Z.db");
        let copy = |at: u64| (UnixTime(at), PathBuf::from(name(UnixTime(at))));
        let all = vec![copy(now.0), copy(now.0 + 9_000), copy(now.0 - 7_200), copy(now.0 - 3_600)];
        let gone = |kept| surplus(all.clone(), kept, now);
        assert!(gone(4).is_empty());
        assert_eq!(gone(2), [copy(now.0 + 9_000).1, copy(now.0 - 7_200).1]);
    }

    // F17, F18
    #[tokio::test]
    async fn where_there_is_no_room_the_oldest_copies_go_as_far_as_that_helps_and_never_the_last_one() {
        const COPY: u64 = 1000;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(FOLDER);
        let store = Arc::new(SqliteStore::open(dir.path().join("edge.db")).await.unwrap());
        let backups = Backups::new(store, dir.path(), 24);
        platform::private_dir(&folder).unwrap();
        let now = UnixTime(1_800_000_000);
        let copies: Vec<_> = (1..=4).map(|hours| folder.join(name(UnixTime(now.0 - hours * 3600)))).collect();
        let fill = || copies.iter().for_each(|copy| std::fs::write(copy, [0_u8; COPY as usize]).unwrap());
        fill();
        let others = ["mine.db", "edge-schema-7.db"].map(|name| folder.join(name));
        others.iter().for_each(|other| std::fs::write(other, [0_u8; COPY as usize]).unwrap());
        let there = || copies.iter().map(|copy| copy.exists()).collect::<Vec<_>>();
        // A disk on which so much is free beside what the four take.
        let disk = |spare: u64| {
            let gone = || there().into_iter().filter(|there| !there).count() as u64;
            let made = backups.make_room(now, 2 * COPY, || Some(spare + gone() * COPY));
            made.map_err(|error| error.to_string())
        };
        assert_eq!((disk(2 * COPY), there()), (Ok(()), vec![true; 4]), "enough is free");
        assert_eq!((backups.make_room(now, COPY, || None).is_ok(), there()), (true, vec![true; 4]), "nobody knows");
        assert_eq!((disk(COPY / 2), there()), (Ok(()), vec![true, true, false, false]), "as many as it takes");
        // What is free has become less: by the one that is left beside the newest one too little is won.
        let error = backups.make_room(now, 2 * COPY, || Some(COPY - 1)).unwrap_err().to_string();
        assert!(error.contains("999 bytes are free and 2000 are needed"), "{error}");
        assert!(error.contains(&folder.display().to_string()), "{error}");
        assert_eq!(there(), [true, true, false, false]);
        // What goes leaves its room to something else, or not at once: as many go at each try as would do by their lengths.
        fill();
        let taken = |needed: u64| {
            let error = backups.make_room(now, needed, || Some(COPY)).unwrap_err().to_string();
            assert!(error.contains(&format!("1000 bytes are free and {needed} are needed")), "{error}");
            there()
        };
        assert_eq!(taken(2 * COPY), [true, true, true, false]);
        assert_eq!(taken(2 * COPY + 1), [true, false, false, false], "a byte more takes another one");
        assert_eq!(taken(COPY + 1), [true, false, false, false], "never the last one");
        assert!(others.iter().all(|other| other.exists()), "what is nobody's hourly copy stays");
    }

    // F3, F18
    #[cfg(unix)]
    #[tokio::test]
    async fn what_another_process_is_copying_is_left_alone_and_what_dead_ones_left_goes_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(FOLDER);
        let store = Arc::new(SqliteStore::open(dir.path().join("edge.db")).await.unwrap());
        platform::private_dir(&folder).unwrap();
        // The first process of a system is always there.
        let [theirs, dead] = [1, 0x7fff_ffff].map(|id| folder.join(part(id)));
        let [their_journal, dead_journal] = [&theirs, &dead].map(|part| part.with_extension("part-journal"));
        let all = [&theirs, &their_journal, &dead, &dead_journal];
        all.into_iter().for_each(|part| std::fs::write(part, "half").unwrap());
        let backups = Backups::new(store, dir.path(), 2);
        assert_eq!(all.map(|part| part.exists()), [true, true, false, false]);
        backups.make(UnixTime(1_800_000_000)).await.unwrap();
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "half");
        assert_eq!(backups.status().count, 1);
    }

    // F18
    #[tokio::test]
    async fn so_many_are_kept_what_is_nobodys_copy_stays_and_a_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(dir.path().join("edge.db")).await.unwrap());
        let backups = Backups::new(store, dir.path(), 2);
        let folder = dir.path().join(FOLDER);
        assert_eq!(backups.status(), BackupStatus::default());
        let at = |hour: u64| UnixTime(1_800_000_000 + hour * 3600);
        let first = backups.make(at(0)).await.unwrap();
        // What a process left that died: this one, as it was, or one that is gone (there is no such number).
        let left = [std::process::id(), 0x7fff_ffff].map(|process| folder.join(part(process)));
        left.iter().for_each(|part| std::fs::write(part, "half").unwrap());
        std::fs::write(folder.join("mine.db"), "other").unwrap();
        for hour in 1..=2 {
            backups.make(at(hour)).await.unwrap();
        }
        assert!(!first.exists() && folder.join("mine.db").exists());
        assert!(!left.iter().any(|part| part.exists()));
        let status = backups.status();
        assert_eq!((status.count, status.made, status.failed), (2, Some(at(2)), None));

        // None is due within the hour; one that fails is told, and tried again an hour later.
        backups.make_if_due(UnixTime(at(2).0 + 3599)).await;
        assert_eq!(backups.status().count, 2);
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "in the way").unwrap();
        backups.make_if_due(at(3)).await;
        assert!(backups.status().failed.is_some());
        std::fs::remove_file(&folder).unwrap();
        backups.make_if_due(at(3)).await;
        assert!(backups.status().failed.is_some() && backups.status().count == 0, "not at once");
        tokio::time::pause();
        tokio::time::advance(EVERY).await;
        tokio::time::resume();
        backups.make_if_due(at(4)).await;
        assert_eq!((backups.status().count, backups.status().failed), (1, None));
    }
}
