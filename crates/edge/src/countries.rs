//! Which country an address is in, by a file in MaxMind's format that the operator provides.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use maxminddb::{Reader, path};
use tunnel_policy::Country;

/// The largest file that is read, in bytes: it is kept in memory.
pub const COUNTRIES_MAX: u64 = 512 * 1024 * 1024;

/// The table of countries, or none. Looking one up takes no lock.
pub struct Countries(Option<Loaded>);

struct Loaded {
    path: PathBuf,
    table: ArcSwap<Table>,
}

struct Table {
    reader: Reader<Vec<u8>>,
    modified: Option<SystemTime>,
}

/// Why a file of countries is of no use.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {reason}; name a file in MaxMind's format (.mmdb) that has `country.iso_code`", path = .path.display())]
pub struct CountriesError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl Countries {
    /// Reads the file, if one is configured.
    pub fn load(path: Option<&Path>) -> Result<Self, CountriesError> {
        let load = |path: &Path| Ok(Loaded { path: path.to_owned(), table: ArcSwap::from_pointee(read(path)?) });
        path.map(load).transpose().map(Self)
    }

    /// The country of an address; `None` for one that the file does not know, such as a private one.
    pub fn of(&self, source: IpAddr) -> Option<Country> {
        let table = self.0.as_ref()?.table.load();
        let found = table.reader.lookup(source.to_canonical()).ok()?;
        let country: Option<&str> = found.decode_path(&path!["country", "iso_code"]).ok()?;
        country?.parse().ok()
    }

    /// Reads the file anew when it was replaced; one that is of no use is left, and the last good one kept.
    pub fn refresh(&self) -> Result<(), CountriesError> {
        let Some(loaded) = &self.0 else { return Ok(()) };
        if modified(&loaded.path) != loaded.table.load().modified {
            loaded.table.store(read(&loaded.path)?.into());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Countries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Countries").field(&self.0.as_ref().map(|loaded| &loaded.path)).finish()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn read(path: &Path) -> Result<Table, CountriesError> {
    let wrong = |reason: String| CountriesError { path: path.to_owned(), reason };
    let modified = modified(path);
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > COUNTRIES_MAX {
        return Err(wrong(format!("larger than {COUNTRIES_MAX} bytes")));
    }
    let reader = Reader::open_readfile(path).map_err(|error| wrong(error.to_string()))?;
    Ok(Table { reader, modified })
}
