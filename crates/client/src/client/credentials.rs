//! What is known about one host, and how it is found out: one login for all who wait, in this process and in others.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tunnel_proto::{
    access::{CLI_TOKEN_PATH, TokenAnswer, TokenRequest},
    message::Credential,
};

use super::{Inner, now};
use crate::{
    auth::Kind,
    descriptor::App,
    error::Error,
    event::Event,
    host::AppHost,
    login::Desk,
    token::{Entry, Login},
};

/// How often another process is looked at that is logging in.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);
/// A login that ends sooner than this, in seconds, is not begun with.
const LIFE_MIN: u64 = 5;

/// What is known about one host. Held by one at a time: the others wait, and share what comes of it.
#[derive(Default)]
pub(super) struct Place {
    app: Option<App>,
    failed: Option<(Instant, Error)>,
}

impl Place {
    /// A failure that came after `began` is also the answer to whoever waited since then.
    pub(super) fn shared_failure(&self, began: Instant) -> Result<(), Error> {
        match &self.failed {
            Some((at, error)) if *at > began => Err(error.clone()),
            _ => Ok(()),
        }
    }

    pub(super) fn note<T>(&mut self, outcome: &Result<T, Error>) {
        self.failed = outcome.as_ref().err().map(|error| (Instant::now(), error.clone()));
    }

    /// What is at the host: asked once, and remembered for this process.
    pub(super) async fn app(&mut self, inner: &Inner, host: &AppHost) -> Result<App, Error> {
        if let Some(app) = &self.app {
            return Ok(app.clone());
        }
        let known = inner.store.load(host.hostname())?.map(|entry| entry.issuer);
        let app = inner.discover(host, known.as_deref()).await?;
        Ok(self.app.insert(app).clone())
    }

    /// What opens the host: a service token, or a login that there is or is made now.
    pub(super) async fn credential(&mut self, inner: &Inner, host: &AppHost) -> Result<Credential, Error> {
        if let Kind::Machine(token) = &inner.auth.0 {
            return Ok(token.credential());
        }
        let entry = self.login(inner, host).await?;
        let login = entry.login.ok_or_else(|| Error::NoLogin { host: host.to_string() })?;
        Ok(Credential::ClientToken(login.token.reveal().to_owned()))
    }

    /// A login that lasts: from the store, from another process that is logging in, or from the person.
    pub(super) async fn login(&mut self, inner: &Inner, host: &AppHost) -> Result<Entry, Error> {
        let app = self.app(inner, host).await?;
        if let Some(entry) = stored(inner, &app)? {
            return Ok(entry);
        }
        let Kind::Person(method) = &inner.auth.0 else { return Err(Error::NoLogin { host: host.to_string() }) };
        let mut told = false;
        let _lock = loop {
            if let Some(lock) = inner.store.lock(host.hostname())? {
                break lock;
            }
            if !told {
                inner.tell(Event::LoginElsewhere { host: host.hostname().clone() });
                told = true;
            }
            sleep(LOCK_INTERVAL).await;
        };
        // Whoever had the lock may have logged in meanwhile.
        if let Some(entry) = stored(inner, &app)? {
            return Ok(entry);
        }
        let desk = Desk {
            app: &app,
            carrier: &inner.carrier,
            pages: inner.pages.as_deref(),
            computer: &inner.computer,
            command: &inner.command,
            events: &inner.events,
        };
        let login = method.login(&desk).await?;
        inner.tell(Event::LoggedIn { host: app.host.clone(), email: login.email.clone(), expires: login.expires });
        let entry = entry(host, &app, Some(login));
        inner.store.save(&entry)?;
        Ok(entry)
    }

    /// Forgets a login that the edge does not take any more. The edge itself stays known.
    pub(super) fn forget_login(&mut self, inner: &Inner, host: &AppHost) -> Result<(), Error> {
        // What is at the host may have become another application.
        self.app = None;
        if let Some(entry) = inner.store.load(host.hostname())? {
            inner.store.save(&Entry { login: None, ..entry })?;
        }
        Ok(())
    }

    /// Ends the login, here and at the edge.
    pub(super) async fn logout(&mut self, inner: &Inner, host: &AppHost) -> Result<bool, Error> {
        let Some(known) = inner.store.load(host.hostname())? else { return Ok(false) };
        let Some(login) = known.login.clone() else { return Ok(false) };
        let host = &known.port.map_or_else(|| host.clone(), |port| host.clone().or_port(port));
        // Gone from here first, whether or not the edge can be told.
        inner.store.save(&Entry { login: None, ..known })?;
        let app = self.app(inner, host).await?;
        let request = TokenRequest::End { token: login.token.reveal().to_owned() };
        let answer: Result<TokenAnswer, _> = inner.carrier.ask(&app.edge, CLI_TOKEN_PATH, Some(&request)).await;
        match answer {
            Ok(_) => Ok(true),
            // It was over already.
            Err(tunnel_proto::dial::AskError::Refused(problem)) if problem.code == "gone" => Ok(true),
            Err(error) => Err(Error::ask(&app.edge.to_string(), error)),
        }
    }
}

/// The login in the store, if it is for this application at this edge and lasts.
fn stored(inner: &Inner, app: &App) -> Result<Option<Entry>, Error> {
    let entry = inner.store.load(&app.host)?;
    let lasting = now().0.saturating_add(LIFE_MIN);
    Ok(entry.filter(|entry| {
        let fits = |login: &Login| login.app == app.id && login.expires.0 > lasting;
        entry.issuer == app.issuer && entry.login.as_ref().is_some_and(fits)
    }))
}

fn entry(host: &AppHost, app: &App, login: Option<Login>) -> Entry {
    Entry { host: app.host.clone(), port: host.port(), issuer: app.issuer.clone(), login }
}
