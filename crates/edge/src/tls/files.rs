//! Certificates from files, read again when they change.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::MissedTickBehavior;
use tunnel_proto::{HostPattern, Hostname, UnixTime, identity::provider};

use super::{ByName, Named, named_first};
use crate::{Clock, config::CertificateFiles, platform};

/// How often files are looked at. What changed counts from the second look that finds it the same: certificate and key are
/// seldom written in one moment.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often what is of no use is read again: what it lacks may lie elsewhere.
const AGAIN_EVERY: Duration = Duration::from_secs(60);
/// By how much the clock of whoever made a certificate may be ahead.
const AHEAD: Duration = Duration::from_secs(300);
/// How many days before the end of a certificate somebody is told, each once.
const WARN_DAYS: [u64; 3] = [1, 7, 30];
const DAY: u64 = 24 * 3600;

/// Certificates from files: the last ones that were of use.
#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<CertificateFiles>,
    read: ArcSwap<Read>,
    seen: Mutex<Seen>,
}

/// What was read.
#[derive(Debug)]
struct Read {
    all: ByName,
    each: Vec<(PathBuf, Named)>,
    digest: Vec<u8>,
}

/// What was seen of the files.
#[derive(Debug, Default)]
struct Seen {
    /// As they were at the last look.
    last: Stamps,
    /// As they were when they were read.
    read: Stamps,
    /// What was the matter when they were read, if they were of no use.
    fault: Option<Fault>,
    /// Which warning each certificate has had: the days, for the moment of its end.
    warned: Vec<(UnixTime, u64)>,
}

/// Why files were of no use.
#[derive(Debug)]
struct Fault {
    /// Which one.
    path: PathBuf,
    reason: String,
    since: Instant,
}

/// When each file was changed, how long it is, and what else tells its contents apart.
type Stamps = Vec<Option<(SystemTime, u64, (i64, i64, u64))>>;

impl Files {
    pub(crate) fn load(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        let stamps = stamps(files);
        let read = ArcSwap::from_pointee(read(files)?);
        let seen = Mutex::new(Seen { last: stamps.clone(), read: stamps, fault: None, warned: Vec::new() });
        Ok(Self { files: files.to_vec(), read, seen })
    }

    /// What stands in each certificate, with its file.
    pub(crate) fn each(&self) -> Vec<(PathBuf, Named)> {
        self.read.load().each.clone()
    }

    /// Why what lies in the place of each is not shown, where that is so.
    pub(crate) fn faults(&self) -> Vec<Option<String>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |pair: &CertificateFiles| {
            let fault = seen.fault.as_ref()?;
            (fault.path == pair.certificate || fault.path == pair.key).then(|| fault.reason.clone())
        };
        self.files.iter().map(of).collect()
    }

    /// Looks whether the files changed, and reads them then. New handshakes see what was read; connections go on. Files that
    /// are of no use at `now` leave everything as it is, are told once, and are read again from time to time. True when
    /// something else is shown from now on.
    pub(crate) fn look(&self, now: UnixTime) -> Result<bool, CertificateError> {
        let stamps = stamps(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let settled = seen.last == stamps;
            seen.last.clone_from(&stamps);
            let again = seen.fault.as_ref().is_some_and(|fault| fault.since.elapsed() >= AGAIN_EVERY);
            if !settled || (seen.read == stamps && !again) {
                return Ok(false);
            }
            seen.read = stamps;
        }
        let read = read(&self.files).and_then(|read| self.read.load().gives_way(&read, now).map(|()| read));
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let fault = read.as_ref().err().map(|error| Fault {
                path: error.path().to_owned(),
                reason: error.to_string(),
                since: Instant::now(),
            });
            let before = std::mem::replace(&mut seen.fault, fault);
            if let (Some(before), Some(fault)) = (&before, &seen.fault)
                && before.reason == fault.reason
            {
                return Ok(false);
            }
        }
        let read = read?;
        if read.digest == self.read.load().digest {
            return Ok(false);
        }
        self.read.store(Arc::new(read));
        Ok(true)
    }

    /// Certificates that end soon, with how many days are left: each 30, 7 and 1 days before, and once it has ended (0).
    pub(crate) fn ending(&self, now: UnixTime) -> Vec<(PathBuf, Named, u64)> {
        let read = self.read.load();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.warned.resize(read.each.len(), (UnixTime(0), u64::MAX));
        let mut ending = Vec::new();
        for ((path, certificate), warned) in read.each.iter().zip(seen.warned.iter_mut()) {
            if warned.0 != certificate.ends {
                *warned = (certificate.ends, u64::MAX);
            }
            let Some(step) = step(certificate.ends, now).filter(|step| *step < warned.1) else { continue };
            warned.1 = step;
            let left = certificate.ends.since(now).as_secs().div_ceil(DAY);
            ending.push((path.clone(), certificate.clone(), left));
        }
        ending
    }
}

impl Read {
    /// Whether it is no loss to show something else in its place: what is good now gives way to nothing that is not.
    fn gives_way(&self, next: &Self, now: UnixTime) -> Result<(), CertificateError> {
        for ((_, before), (path, after)) in self.each.iter().zip(&next.each) {
            let useless = |reason: &str| {
                let reason = format!("{reason}, and the one before it is good");
                Err(CertificateError::Useless { path: path.clone(), reason })
            };
            if before.ends <= now || before.begins > now {
                continue;
            }
            if after.ends <= now {
                return useless("the certificate has ended");
            }
            if after.begins > now.plus(AHEAD) {
                return useless("the certificate is not good yet");
            }
        }
        Ok(())
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let read = self.read.load();
        match hello.server_name() {
            Some(name) => read.all.find(&Hostname::parse(name).ok()?),
            None => read.all.first(),
        }
    }
}

/// Follows the files for as long as the edge runs.
pub(crate) async fn watch(files: Arc<Files>, clock: Clock) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (looking, now) = (files.clone(), clock.now());
        match tokio::task::spawn_blocking(move || looking.look(now)).await {
            Ok(Ok(true)) => {
                for (path, certificate) in files.each() {
                    let names: Vec<_> = certificate.names.iter().map(HostPattern::as_str).collect();
                    let names = names.join(" ");
                    tracing::info!(file = %path.display(), names, "a certificate was read anew");
                }
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "changed certificate files are of no use; the ones before them go on to be shown");
            }
            Ok(Ok(false)) | Err(_) => {}
        }
        for (path, _, left) in files.ending(clock.now()) {
            let file = path.display();
            match left {
                0 => tracing::error!(%file, "a certificate has ended; put a new one in its place"),
                1 => tracing::error!(%file, "a certificate ends within a day; put a new one in its place"),
                left => tracing::warn!(%file, "a certificate ends within {left} days; put a new one in its place"),
            }
        }
    }
}

/// The warning that is due: 0 when a certificate has ended.
fn step(ends: UnixTime, now: UnixTime) -> Option<u64> {
    if ends <= now {
        return Some(0);
    }
    let left = ends.since(now).as_secs();
    WARN_DAYS.into_iter().find(|days| left <= days.saturating_mul(DAY))
}

fn stamps(files: &[CertificateFiles]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path)?;
        Ok::<_, std::io::Error>((file.modified()?, file.len(), platform::mark(&file)))
    };
    files.iter().flat_map(|pair| [stamp(&pair.certificate).ok(), stamp(&pair.key).ok()]).collect()
}

fn read(files: &[CertificateFiles]) -> Result<Read, CertificateError> {
    let (mut all, mut each, mut digest) = (ByName::default(), Vec::new(), Context::new(&SHA256));
    for pair in files {
        let (certificate, key) = load(pair, &mut digest)?;
        all.insert(certificate.names.clone(), key);
        each.push((pair.certificate.clone(), certificate));
    }
    Ok(Read { all, each, digest: digest.finish().as_ref().to_vec() })
}

fn load(files: &CertificateFiles, digest: &mut Context) -> Result<(Named, Arc<CertifiedKey>), CertificateError> {
    let mut read = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.clone(), source })?;
        digest.update(&bytes);
        Ok::<_, CertificateError>(zeroize::Zeroizing::new(bytes))
    };
    let useless = |path: &PathBuf, reason: String| CertificateError::Useless { path: path.clone(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| useless(&files.certificate, error.to_string()))?;
    let certificate = named_first(&chain).map_err(|reason| useless(&files.certificate, reason))?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| useless(&files.key, error.to_string()))?;
    let key = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| useless(&files.key, format!("not the key of `{}`: {error}", files.certificate.display())))?;
    Ok((certificate, Arc::new(key)))
}

/// Why a certificate from a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("`{path}`: {reason}", path = .path.display())]
    Useless {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl CertificateError {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } | Self::Useless { path, .. } => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    /// Writes a file with a time of change of its own: the system's may be the same for several milliseconds.
    fn put(path: &std::path::Path, content: impl AsRef<[u8]>) {
        static CHANGES: AtomicU64 = AtomicU64::new(0);
        fs::write(path, content).unwrap();
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + CHANGES.fetch_add(1, Relaxed));
        fs::File::options().write(true).open(path).unwrap().set_modified(moment).unwrap();
    }

    fn write(files: &CertificateFiles, name: &str, ends: UnixTime) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(ends.0.cast_signed()).unwrap();
        put(&files.certificate, params.self_signed(&key).unwrap().pem());
        put(&files.key, key.serialize_pem());
    }

    fn shows(files: &Files, name: &str) -> bool {
        files.read.load().all.find(&Hostname::parse(name).unwrap()).is_some()
    }

    /// Looks until what is on disk has been the same for two looks.
    fn looks(files: &Files) -> Result<bool, CertificateError> {
        assert!(!files.look(NOW).unwrap(), "not at the first look");
        files.look(NOW)
    }

    // F24
    #[test]
    fn files_are_read_anew_once_they_have_settled_and_what_is_of_no_use_leaves_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let pair = CertificateFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        write(&pair, "one.example.test", UnixTime(4_000_000_000));
        let files = Files::load(std::slice::from_ref(&pair)).unwrap();
        assert!(!files.look(NOW).unwrap() && !files.look(NOW).unwrap());
        write(&pair, "another.example.test", UnixTime(4_000_000_000));
        assert!(looks(&files).unwrap());
        assert!(shows(&files, "another.example.test") && !shows(&files, "one.example.test"));
        let good = fs::read(&pair.key).unwrap();
        put(&pair.key, "no key at all");
        let error = looks(&files).unwrap_err().to_string();
        assert!(error.contains("k.pem"), "{error}");
        assert!(!files.look(NOW).unwrap(), "told once");
        assert!(shows(&files, "another.example.test"));
        put(&pair.key, good);
        assert!(!looks(&files).unwrap(), "the same as before");
        fs::remove_file(&pair.certificate).unwrap();
        assert!(looks(&files).unwrap_err().to_string().contains("c.pem"));
        assert!(shows(&files, "another.example.test"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_in_the_place_of_another_is_read_whatever_its_time_says() {
        let dir = tempfile::tempdir().unwrap();
        let pair = CertificateFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        write(&pair, "one.example.test", UnixTime(4_000_000_000));
        let files = Files::load(std::slice::from_ref(&pair)).unwrap();
        let before = fs::metadata(&pair.key).unwrap();
        let new = dir.path().join("new");
        fs::write(&new, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        fs::File::options().write(true).open(&new).unwrap().set_modified(before.modified().unwrap()).unwrap();
        fs::rename(&new, &pair.key).unwrap();
        assert_eq!(fs::metadata(&pair.key).unwrap().len(), before.len());
        assert!(looks(&files).unwrap_err().to_string().contains("not the key"));
        assert!(shows(&files, "one.example.test"));
    }

    // F24
    #[test]
    fn a_good_certificate_gives_way_to_none_that_has_ended_or_is_not_good_yet() {
        let dir = tempfile::tempdir().unwrap();
        let pair = CertificateFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        write(&pair, "one.example.test", UnixTime(NOW.0 + 10));
        let files = Files::load(std::slice::from_ref(&pair)).unwrap();
        assert_eq!(files.faults(), [None::<String>]);
        write(&pair, "another.example.test", NOW);
        let error = looks(&files).unwrap_err().to_string();
        assert!(error.contains("c.pem") && error.contains("has ended"), "{error}");
        assert!(shows(&files, "one.example.test") && !shows(&files, "another.example.test"));
        assert_eq!(files.faults(), [Some(error)], "whoever lists them is told, too");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["another.example.test".to_owned()]).unwrap();
        params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW.0.cast_signed() + 3600).unwrap();
        put(&pair.certificate, params.self_signed(&key).unwrap().pem());
        put(&pair.key, key.serialize_pem());
        let error = looks(&files).unwrap_err().to_string();
        assert!(error.contains("not good yet"), "{error}");
        assert!(shows(&files, "one.example.test"));
        // What has ended itself is no better than any other.
        write(&pair, "another.example.test", UnixTime(NOW.0 + 10));
        let later = UnixTime(NOW.0 + 10);
        assert!(!files.look(later).unwrap() && files.look(later).unwrap());
        assert!(shows(&files, "another.example.test"));
        assert_eq!(files.faults(), [None::<String>]);
    }

    #[test]
    fn a_half_written_chain_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let pair = CertificateFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        write(&pair, "one.example.test", UnixTime(4_000_000_000));
        let files = Files::load(std::slice::from_ref(&pair)).unwrap();
        let whole = fs::read_to_string(&pair.certificate).unwrap();
        for half in [format!("{whole}{}", &whole[..whole.len() / 2]), whole[..whole.len() / 2].to_owned()] {
            put(&pair.certificate, half);
            // The second time the same is the matter.
            looks(&files).ok();
            assert!(files.faults()[0].as_ref().is_some_and(|fault| fault.contains("c.pem")), "{:?}", files.faults());
            assert!(shows(&files, "one.example.test"));
        }
    }

    // As Kubernetes and certbot change them: the names are links, and a directory behind them is another one at once.
    #[cfg(unix)]
    #[test]
    fn links_that_lead_elsewhere_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let pair = |of: &Path| CertificateFiles { certificate: of.join("tls.crt"), key: of.join("tls.key") };
        for (version, name) in [("1", "one.example.test"), ("2", "another.example.test")] {
            fs::create_dir(at(version)).unwrap();
            write(&pair(&at(version)), name, UnixTime(4_000_000_000));
        }
        let link = |to: &Path, name: &str| {
            let made = std::process::Command::new("ln").arg("-s").arg(to).arg(at(name)).status();
            assert!(made.unwrap().success(), "{name}");
        };
        let lead = |to: &str| {
            link(Path::new(to), "next");
            fs::rename(at("next"), at("data")).unwrap();
        };
        lead("1");
        for name in ["tls.crt", "tls.key"] {
            link(&Path::new("data").join(name), name);
        }
        let files = Files::load(&[pair(dir.path())]).unwrap();
        assert!(shows(&files, "one.example.test"));
        lead("2");
        assert!(looks(&files).unwrap());
        assert!(shows(&files, "another.example.test") && !shows(&files, "one.example.test"));
        // One that leads nowhere changes nothing.
        lead("3");
        assert!(looks(&files).unwrap_err().to_string().contains("tls.crt"));
        assert!(shows(&files, "another.example.test"));
    }

    // F24
    #[test]
    fn the_end_of_a_certificate_is_told_30_7_and_1_days_before_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let pair = CertificateFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        let ends = UnixTime(20_000 * DAY);
        write(&pair, "one.example.test", ends);
        let files = Files::load(&[pair]).unwrap();
        let told = |before: u64| {
            let ending = files.ending(UnixTime(ends.0 - before));
            ending.first().map(|(_, _, left)| *left)
        };
        assert_eq!(told(31 * DAY), None);
        assert_eq!(told(30 * DAY), Some(30));
        assert_eq!(told(29 * DAY), None);
        assert_eq!(told(6 * DAY), Some(6));
        assert_eq!(told(5 * DAY), None);
        assert_eq!(told(DAY - 1), Some(1));
        assert_eq!(told(1), None);
        assert_eq!(told(0), Some(0));
        assert_eq!(told(0), None);
    }
}
