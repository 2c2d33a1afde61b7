//! What is known of providers: their discovery and keys, read once and refreshed beside logins.
//!
//! What was read last stays good while a provider is down: its keys verify, and nobody waits for it (O8).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use tunnel_auth::oidc::{Discovery, KeySet};
use tunnel_proto::Name;

use super::{Failure, trial::Trials};
use crate::{
    outbound::{Fetched, Outbound},
    store::{LoginMethod, LoginMethodKind, OpenIdMethod, SecretHash},
};

/// How old what is known may be before it is read again.
const FRESH: Duration = Duration::from_secs(3600);
/// How long a provider that failed is left alone.
const REST: Duration = Duration::from_secs(3);
/// How often an unknown key is a reason to read the keys again. When that failed, [`REST`] is enough.
const KEYS_AGAIN: Duration = Duration::from_secs(60);
/// How often a failure is a reason to read all of it again.
const DOUBT_AGAIN: Duration = Duration::from_secs(60);
/// How long reading it may take.
const READING: Duration = Duration::from_secs(7);
/// How long a provider that answered is taken to be there.
const THERE: Duration = Duration::from_secs(10);
/// The most methods that are remembered: more than anybody declares.
const METHODS_MAX: usize = 256;
/// The most logins of which it is remembered that their page was passed over.
const SKIPPED_MAX: usize = 4096;

/// Every provider, as far as it is known.
#[derive(Default)]
pub struct Providers {
    methods: Mutex<HashMap<Name, Arc<Entry>>>,
    skipped: Mutex<Vec<SecretHash>>,
    trials: Trials,
}

/// What is known of one.
pub(super) struct Entry {
    kind: LoginMethodKind,
    outbound: Outbound,
    known: ArcSwapOption<Known>,
    moments: Mutex<Moments>,
    /// Held while it is read, all of it or its keys: once at a time, and so that what was read last is kept.
    reading: tokio::sync::Mutex<()>,
}

/// What an OpenID provider says about itself, and its keys.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) discovery: Discovery,
    pub(super) keys: KeySet,
}

#[derive(Default)]
struct Moments {
    /// When what is known was read.
    read: Option<Instant>,
    /// When it last answered anything.
    answered: Option<Instant>,
    /// When it last failed, and how.
    failed: Option<(Instant, Failure)>,
    /// When its keys were last read for an unknown one.
    keys: Option<Instant>,
    /// When that last failed, and how.
    no_keys: Option<(Instant, Failure)>,
    /// When what is known was last doubted.
    doubted: Option<Instant>,
}

impl Providers {
    /// What is known of the provider of a method; begins anew when the method was declared anew.
    pub(super) fn entry(&self, method: &LoginMethod) -> Result<Arc<Entry>, Failure> {
        let mut methods = lock(&self.methods);
        if let Some(entry) = methods.get(&method.name).filter(|entry| entry.kind == method.kind) {
            return Ok(entry.clone());
        }
        let (private, ca) = match &method.kind {
            LoginMethodKind::OpenId(openid) => (openid.private_address, openid.ca.as_deref()),
            LoginMethodKind::Github(github) => (github.private_address, github.ca.as_deref()),
            LoginMethodKind::OneTimePin | LoginMethodKind::Passkey(_) => (false, None),
        };
        let entry = Arc::new(Entry {
            kind: method.kind.clone(),
            outbound: Outbound::new(private, ca)?,
            known: ArcSwapOption::empty(),
            moments: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        });
        if methods.len() >= METHODS_MAX {
            methods.clear();
        }
        methods.insert(method.name.clone(), entry.clone());
        Ok(entry)
    }

    /// Trials of login methods.
    pub const fn trials(&self) -> &Trials {
        &self.trials
    }

    /// Whether the page of this login may be passed over: once, so that nobody goes in circles or cannot go back.
    pub(crate) fn skip(&self, request: SecretHash) -> bool {
        let mut skipped = lock(&self.skipped);
        if skipped.contains(&request) {
            return false;
        }
        if skipped.len() >= SKIPPED_MAX {
            skipped.remove(0);
        }
        skipped.push(request);
        true
    }
}

impl Entry {
    /// What is known, read now if it never was, and again beside this login if that was long ago.
    pub(super) async fn known(self: &Arc<Self>, method: &OpenIdMethod) -> Result<Arc<Known>, Failure> {
        if let Some(known) = self.known.load_full() {
            let old = lock(&self.moments).read.is_none_or(|read| read.elapsed() > FRESH);
            if old {
                self.refresh(method);
            }
            return Ok(known);
        }
        let _reading = self.reading.lock().await;
        if let Some(known) = self.known.load_full() {
            return Ok(known);
        }
        self.rests()?;
        self.read(method).await
    }

    fn refresh(self: &Arc<Self>, method: &OpenIdMethod) {
        let (entry, method) = (self.clone(), method.clone());
        tokio::spawn(async move {
            // Somebody else is at it.
            let Ok(_reading) = entry.reading.try_lock() else { return };
            if entry.rests().is_ok()
                && let Err(failure) = entry.read(&method).await
            {
                tracing::warn!(issuer = %method.issuer, %failure, "a provider cannot be read again; what is known serves");
            }
        });
    }

    async fn read(&self, method: &OpenIdMethod) -> Result<Arc<Known>, Failure> {
        let reading = async {
            let discovery = self.get(&Discovery::address(&method.issuer), None).await?;
            let discovery = Discovery::read(body(&discovery)?, &method.issuer, method.private_address)?;
            let keys = self.keys(&discovery).await?;
            Ok(Arc::new(Known { discovery, keys }))
        };
        let read = tokio::time::timeout(READING, reading).await;
        match read.unwrap_or_else(|_| Err(Failure::late())) {
            Ok(known) => {
                self.known.store(Some(known.clone()));
                lock(&self.moments).read = Some(Instant::now());
                Ok(known)
            }
            Err(failure) => {
                self.failed(&failure);
                Err(failure)
            }
        }
    }

    /// What is known with the keys of now, for a key that is not among those of before; `None` when they were read within
    /// the last minute. Who asks while somebody else reads them waits, and has the same.
    pub(super) async fn with_new_keys(&self, before: &Arc<Known>) -> Result<Option<Arc<Known>>, Failure> {
        let _reading = self.reading.lock().await;
        if let Some(known) = self.known.load_full().filter(|known| !Arc::ptr_eq(known, before)) {
            return Ok(Some(known));
        }
        {
            let moments = lock(&self.moments);
            if moments.keys.is_some_and(|read| read.elapsed() < KEYS_AGAIN) {
                return Ok(None);
            }
            if let Some((at, failure)) = &moments.no_keys
                && at.elapsed() < REST
            {
                return Err(failure.clone());
            }
        }
        match self.keys(&before.discovery).await {
            Ok(keys) => {
                let known = Arc::new(Known { discovery: before.discovery.clone(), keys });
                self.known.store(Some(known.clone()));
                let mut moments = lock(&self.moments);
                moments.keys = Some(Instant::now());
                moments.no_keys = None;
                Ok(Some(known))
            }
            Err(failure) => {
                lock(&self.moments).no_keys = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// The keys that it publishes now.
    async fn keys(&self, discovery: &Discovery) -> Result<KeySet, Failure> {
        let keys = self.get(&discovery.keys, None).await?;
        Ok(KeySet::read(body(&keys)?)?)
    }

    /// Something of what is known does not work: it is read again beside the next login, once a minute at most.
    pub(super) fn doubt(&self) {
        let mut moments = lock(&self.moments);
        if moments.doubted.is_none_or(|doubted| doubted.elapsed() > DOUBT_AGAIN) {
            moments.doubted = Some(Instant::now());
            moments.read = None;
        }
    }

    /// Whether anybody is there; asked again only after a while.
    pub(super) async fn is_there(&self, url: &str) -> Result<(), Failure> {
        if lock(&self.moments).answered.is_some_and(|answered| answered.elapsed() < THERE) {
            return Ok(());
        }
        self.rests()?;
        let reached = self.outbound.reaches(url).await;
        self.note(reached).inspect_err(|failure| self.failed(failure))
    }

    /// GET of JSON.
    pub(super) async fn get(&self, url: &str, bearer: Option<&str>) -> Result<Fetched, Failure> {
        let fetched = self.outbound.get_json(url, bearer).await;
        self.note(fetched)
    }

    /// GET of what `accept` names.
    pub(super) async fn get_as(&self, url: &str, accept: &str, bearer: &str) -> Result<Fetched, Failure> {
        let fetched = self.outbound.get(url, accept, Some(bearer)).await;
        self.note(fetched)
    }

    /// POST of a form.
    pub(super) async fn post_form(
        &self,
        url: &str,
        form: &str,
        authorization: Option<&str>,
    ) -> Result<Fetched, Failure> {
        let fetched = self.outbound.post_form(url, form, authorization).await;
        self.note(fetched)
    }

    /// POST of JSON.
    pub(super) async fn post_json(
        &self,
        url: &str,
        value: &serde_json::Value,
        bearer: &str,
    ) -> Result<Fetched, Failure> {
        let fetched = self.outbound.post_json(url, value, Some(bearer)).await;
        self.note(fetched)
    }

    fn note<T>(&self, result: Result<T, crate::outbound::OutboundError>) -> Result<T, Failure> {
        match result {
            Ok(value) => {
                let mut moments = lock(&self.moments);
                moments.answered = Some(Instant::now());
                moments.failed = None;
                Ok(value)
            }
            Err(error) => {
                lock(&self.moments).answered = None;
                Err(error.into())
            }
        }
    }

    fn failed(&self, failure: &Failure) {
        let mut moments = lock(&self.moments);
        moments.failed = Some((Instant::now(), failure.clone()));
        moments.answered = None;
    }

    /// The failure of a moment ago: whoever asks meanwhile need not wait for it again.
    fn rests(&self) -> Result<(), Failure> {
        match &lock(&self.moments).failed {
            Some((at, failure)) if at.elapsed() < REST => Err(failure.clone()),
            _ => Ok(()),
        }
    }
}

/// The body of an answer with status 200.
pub(super) fn body(fetched: &Fetched) -> Result<&[u8], Failure> {
    match fetched.status.as_u16() {
        200 => Ok(&fetched.body),
        429 | 500.. => Err(Failure::Down(format!("it answers with status {}", fetched.status.as_u16()))),
        other => Err(Failure::Setup(format!("it answers with status {other}"))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").field("methods", &lock(&self.methods).len()).finish_non_exhaustive()
    }
}
