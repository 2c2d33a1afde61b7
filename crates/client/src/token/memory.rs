//! A store that ends with the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tunnel_proto::Hostname;

use super::{Entry, LoginLock, StoreError, TokenStore};

/// Keeps logins in memory only.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: Mutex<BTreeMap<Hostname, Entry>>,
    /// By the id of a service token and a host.
    pins: Mutex<BTreeMap<(String, Hostname), String>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl TokenStore for MemoryStore {
    fn load(&self, host: &Hostname) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned())
    }

    fn save(&self, entry: &Entry) -> Result<(), StoreError> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.host.clone(), entry.clone());
        Ok(())
    }

    fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.entries.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    fn pinned(&self, token: &str, host: &Hostname) -> Result<Option<String>, StoreError> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(pins.get(&(token.to_owned(), host.clone())).cloned())
    }

    fn pin(&self, token: &str, host: &Hostname, issuer: &str) -> Result<(), StoreError> {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.entry((token.to_owned(), host.clone())).or_insert_with(|| issuer.to_owned());
        Ok(())
    }

    fn lock(&self, _: &Hostname) -> Result<Option<LoginLock>, StoreError> {
        Ok(Some(LoginLock::none()))
    }
}
