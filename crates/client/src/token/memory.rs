//! A store that ends with the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tunnel_proto::Hostname;

use super::{Entry, LoginLock, StoreError, TokenStore};

/// Keeps logins in memory only.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<Hostname, Entry>>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl TokenStore for MemoryStore {
    fn load(&self, host: &Hostname) -> Result<Option<Entry>, StoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned())
    }

    fn save(&self, entry: &Entry) -> Result<(), StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.host.clone(), entry.clone());
        Ok(())
    }

    fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    fn lock(&self, _: &Hostname) -> Result<Option<LoginLock>, StoreError> {
        Ok(Some(LoginLock::none()))
    }
}
