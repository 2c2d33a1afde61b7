//! The keys that a service publishes: read when they are needed, kept for minutes, read again for a key that is not among
//! them, by one at a time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use tunnel_auth::oidc::KeySet;

use super::{Silence, body, lock};
use crate::outbound::Outbound;

/// How long keys count without being read again: so long does one count that is published no more.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// How often an unknown key is a reason to read them again.
const KEYS_AGAIN: Duration = Duration::from_secs(60);
/// How long an address that failed is left alone.
const REST: Duration = Duration::from_secs(3);
/// How long reading them may take.
const READING: Duration = Duration::from_secs(3);

/// The keys at one address.
pub(super) struct Published {
    url: String,
    moments: Mutex<Moments>,
    /// Held while they are read: once at a time.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Moments {
    /// The keys, and when they were read.
    keys: Option<(Arc<KeySet>, Instant)>,
    /// When they were last read for an unknown one.
    again: Option<Instant>,
    /// When they could not be read, and why.
    failed: Option<(Instant, Silence)>,
}

impl Published {
    pub(super) fn at(url: String) -> Self {
        Self { url, moments: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The keys, read now if they are not fresh.
    pub(super) async fn known(&self, outbound: &Outbound) -> Result<Arc<KeySet>, Silence> {
        if let Some(keys) = self.fresh() {
            return Ok(keys);
        }
        let _reading = self.reading.lock().await;
        match self.fresh() {
            Some(keys) => Ok(keys),
            None => self.read(outbound).await,
        }
    }

    /// The keys of now, for a key that is not among those of before; `None` when that was tried within the last minute.
    pub(super) async fn newer(
        &self,
        outbound: &Outbound,
        before: &Arc<KeySet>,
    ) -> Result<Option<Arc<KeySet>>, Silence> {
        let _reading = self.reading.lock().await;
        if let Some(keys) = self.fresh().filter(|keys| !Arc::ptr_eq(keys, before)) {
            // Somebody else was at it.
            return Ok(Some(keys));
        }
        if !self.may_read_again() {
            return Ok(None);
        }
        self.read(outbound).await.map(Some)
    }

    fn fresh(&self) -> Option<Arc<KeySet>> {
        let moments = lock(&self.moments);
        moments.keys.as_ref().filter(|(_, read)| read.elapsed() < FRESH).map(|(keys, _)| keys.clone())
    }

    fn may_read_again(&self) -> bool {
        let mut moments = lock(&self.moments);
        let may = moments.again.is_none_or(|again| again.elapsed() >= KEYS_AGAIN);
        if may {
            moments.again = Some(Instant::now());
        }
        may
    }

    /// The failure of a moment ago: whoever asks meanwhile need not wait for it again.
    fn rests(&self) -> Result<(), Silence> {
        match &lock(&self.moments).failed {
            Some((at, silence)) if at.elapsed() < REST => Err(silence.clone()),
            _ => Ok(()),
        }
    }

    async fn read(&self, outbound: &Outbound) -> Result<Arc<KeySet>, Silence> {
        self.rests()?;
        let reading = async {
            let fetched = outbound.get_json(&self.url, None).await.map_err(|error| error.to_string())?;
            let bytes = body(&fetched).map_err(|silence| silence.to_string())?;
            KeySet::read(bytes).map(Arc::new).map_err(|error| error.to_string())
        };
        let late = || Err(format!("they did not come within {} seconds", READING.as_secs()));
        let read: Result<_, String> = tokio::time::timeout(READING, reading).await.unwrap_or_else(|_| late());
        let mut moments = lock(&self.moments);
        match read {
            Ok(keys) => {
                moments.keys = Some((keys.clone(), Instant::now()));
                moments.failed = None;
                Ok(keys)
            }
            Err(why) => {
                let silence = Silence::Keys(why);
                moments.failed = Some((Instant::now(), silence.clone()));
                Err(silence)
            }
        }
    }
}
