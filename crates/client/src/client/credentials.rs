//! What is known about one host, and how it is found out: one login for all who wait, in this process and in others.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tunnel_proto::{
    Hostname,
    access::{CLI_TOKEN_PATH, TokenAnswer, TokenRequest},
    dial::AskError,
    message::Credential,
};

use super::{Means, now, visit::Visit};
use crate::{
    auth::{Kind, LoginMethod},
    descriptor::App,
    error::Error,
    event::Event,
    host::AppHost,
    login::Desk,
    token::{Entry, Login, LoginLock, StoreError, Token},
};

/// How often another process is looked at that is logging in.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a logout waits for another process that is logging in.
const LOGOUT_LIMIT: Duration = Duration::from_secs(5);
/// How long a login goes on that nobody waits for: programs give up, and try again.
const GRACE: Duration = Duration::from_secs(60);
/// How often a login is begun again that was given up just then, or whose method failed badly.
const VISITS: usize = 2;
/// Logins that are remembered as over, for as long as the store cannot forget them.
const OVER_MAX: usize = 8;
/// A login that ends sooner than this, in seconds, is not begun with.
const LIFE_MIN: u64 = 5;

/// What the name of a login host begins with.
const LOGIN_LABEL: &str = "access.";
/// The domain of this machine.
const LOCAL_DOMAIN: &str = "localhost";

/// A person's login under way.
type LoginVisit = Visit<Result<Fresh, Error>>;

/// A login as it was found or made.
#[derive(Clone)]
struct Fresh {
    entry: Entry,
    /// Why it is not in the store, if it is not: it serves this process, and no other.
    unkept: Option<StoreError>,
}

impl Fresh {
    const fn kept(entry: Entry) -> Self {
        Self { entry, unkept: None }
    }
}

/// What is known about one host. Held by one at a time: the others wait, and share what comes of it.
#[derive(Default)]
pub(super) struct Place {
    app: Option<App>,
    /// The person's login that is under way, and what it is to.
    visit: Option<(App, Arc<LoginVisit>)>,
    /// A login that the store did not take, and why.
    unkept: Option<Fresh>,
    /// Logins that are over, which the store may still have: the last few.
    over: Vec<Token>,
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
    pub(super) async fn app(&mut self, means: &Means, host: &AppHost) -> Result<App, Error> {
        if let Some(app) = &self.app {
            return Ok(app.clone());
        }
        let known = means.store.load(host.hostname())?.map(|entry| entry.issuer);
        let app = means.discover(host, known.as_deref()).await?;
        bind(means, &app)?;
        Ok(self.app.insert(app).clone())
    }

    /// What opens the host: a service token, or a login that there is or is made now, with its token.
    pub(super) async fn credential(
        &mut self,
        means: &Arc<Means>,
        host: &AppHost,
    ) -> Result<(Credential, Option<Token>), Error> {
        if let Kind::Machine(token) = &means.auth.0 {
            return Ok((token.credential(), None));
        }
        let login = self.login_for_now(means, host).await?;
        Ok((Credential::ClientToken(login.token.reveal().to_owned()), Some(login.token)))
    }

    /// A login that lasts, kept or not.
    pub(super) async fn login_for_now(&mut self, means: &Arc<Means>, host: &AppHost) -> Result<Login, Error> {
        let told = self.unkept.is_some();
        let Fresh { entry, unkept } = self.logged_in(means, host).await?;
        if let Some(error) = unkept.filter(|_| !told) {
            tracing::warn!("the login to {host} ends with this program, because it could not be kept: {error}");
        }
        entry.login.ok_or_else(|| Error::NoLogin { host: host.to_string() })
    }

    /// A login that lasts and is kept, for this process and for others. One that is made for it and cannot be kept is ended.
    pub(super) async fn login(&mut self, means: &Arc<Means>, host: &AppHost) -> Result<Entry, Error> {
        let in_use = self.unkept.is_some();
        match self.logged_in(means, host).await? {
            Fresh { entry, unkept: None } => Ok(entry),
            Fresh { unkept: Some(error), .. } if in_use => Err(error.into()),
            Fresh { entry, unkept: Some(error) } => {
                self.unkept = None;
                if let (Some(login), Some(app)) = (entry.login, &self.app)
                    && let Err(error) = end(means, app, &login.token).await
                {
                    tracing::warn!("the login to {host} could not be kept, and the edge could not be told: {error}");
                }
                Err(error.into())
            }
        }
    }

    /// A login that lasts: from the store, from another process that is logging in, or from the person. Whoever gives up
    /// waiting leaves the person's login to those who come next.
    async fn logged_in(&mut self, means: &Arc<Means>, host: &AppHost) -> Result<Fresh, Error> {
        let app = self.app(means, host).await?;
        for _ in 0..VISITS {
            // It may have come to its end when nobody waited for it.
            if let Some((about, visit)) = &self.visit
                && *about == app
                && let Some(Ok(fresh @ Fresh { unkept: Some(_), .. })) = visit.outcome()
            {
                self.unkept = Some(fresh);
                self.visit = None;
            }
            let kept = stored(means, &app)?.filter(|entry| !self.is_over(entry)).map(Fresh::kept);
            let here = self.unkept.as_ref().filter(|fresh| lasts(&fresh.entry, &app));
            if let Some(fresh) = kept.or_else(|| here.cloned()) {
                self.visit = None;
                return Ok(fresh);
            }
            let Kind::Person(method) = &means.auth.0 else { return Err(Error::NoLogin { host: host.to_string() }) };
            let visit = match &self.visit {
                Some((about, visit)) if *about == app && !visit.is_over() => visit.clone(),
                _ => {
                    let (means, method, host, app) = (means.clone(), method.clone(), host.clone(), app.clone());
                    let (about, over) = (app.clone(), self.over.clone());
                    let visit = Visit::begin(GRACE, async move { log_in(&means, &*method, &host, &app, &over).await });
                    self.visit.insert((about, visit)).1.clone()
                }
            };
            // Nothing comes of one that was given up in the very moment that we came.
            if let Some(outcome) = visit.wait().await {
                self.visit = None;
                self.unkept = outcome.as_ref().ok().filter(|fresh| fresh.unkept.is_some()).cloned();
                return outcome;
            }
        }
        Err(Error::internal("the login was given up"))
    }

    fn is_over(&self, entry: &Entry) -> bool {
        is_among(entry, &self.over)
    }

    fn note_over(&mut self, token: &Token) {
        if !self.over.contains(token) {
            self.over.truncate(OVER_MAX - 1);
            self.over.insert(0, token.clone());
        }
    }

    /// Forgets a login that the edge does not take any more, and none that came in its place. The edge itself stays known.
    pub(super) async fn forget_login(&mut self, means: &Means, host: &AppHost, refused: &Token) -> Result<(), Error> {
        // What is at the host may have become another application.
        self.app = None;
        self.unkept = None;
        self.note_over(refused);
        let _lock = lock(means, host).await?;
        // A full disk keeps what is over; it is not used again here.
        if let Err(error) = erase(means, host, refused) {
            tracing::warn!("the login to {host} is over, and cannot be removed: {error}");
        }
        Ok(())
    }

    /// Ends the login, here and at the edge.
    pub(super) async fn logout(&mut self, means: &Arc<Means>, host: &AppHost) -> Result<bool, Error> {
        // A login under way is not wanted any more, either.
        self.visit = None;
        let unkept = self.unkept.as_ref().map(|fresh| fresh.entry.clone());
        let known = unkept.into_iter().chain(means.store.load(host.hostname())?);
        let mut ended = false;
        for entry in known {
            let is_over = self.is_over(&entry);
            let Some(login) = entry.login else { continue };
            self.end_login(means, host, entry.port, &login).await?;
            ended |= !is_over;
        }
        self.unkept = None;
        Ok(ended)
    }

    /// Ends one login that there is.
    async fn end_login(
        &mut self,
        means: &Arc<Means>,
        host: &AppHost,
        port: Option<u16>,
        login: &Login,
    ) -> Result<(), Error> {
        let host = &port.map_or_else(|| host.clone(), |port| host.clone().or_port(port));
        // Gone from here first, whether or not the edge can be told.
        let lock = timeout(LOGOUT_LIMIT, lock(means, host)).await;
        let lock = lock.map_err(|_| Error::Late { at: "another process that is logging in".to_owned() })??;
        let erased = erase(means, host, &login.token);
        drop(lock);
        self.note_over(&login.token);
        let app = self.app(means, host).await?;
        end(means, &app, &login.token).await?;
        // What cannot be removed here is worthless now.
        erased
    }
}

/// Ends a login at its edge.
async fn end(means: &Means, app: &App, token: &Token) -> Result<(), Error> {
    let request = TokenRequest::End { token: token.reveal().to_owned() };
    match means.carrier.ask::<TokenAnswer>(&app.edge, CLI_TOKEN_PATH, Some(&request)).await {
        Ok(_) => Ok(()),
        // It was over already.
        Err(AskError::Refused(problem)) if problem.code == "gone" => Ok(()),
        Err(error) => Err(Error::ask(&app.edge.to_string(), error)),
    }
}

/// The right to change the login to a host. Another process may have it, which is logging in.
async fn lock(means: &Means, host: &AppHost) -> Result<LoginLock, Error> {
    let mut told = false;
    loop {
        if let Some(lock) = means.store.lock(host.hostname())? {
            return Ok(lock);
        }
        if !told {
            means.tell(Event::LoginElsewhere { host: host.hostname().clone() });
            told = true;
        }
        sleep(LOCK_INTERVAL).await;
    }
}

/// Erases the login with this token, under the lock. One that another process put in its place stays.
fn erase(means: &Means, host: &AppHost, over: &Token) -> Result<(), Error> {
    match means.store.load(host.hostname())? {
        Some(entry) if entry.login.as_ref().is_some_and(|login| login.token == *over) => {
            Ok(means.store.save(&Entry { login: None, ..entry })?)
        }
        _ => Ok(()),
    }
}

/// Lets the person log in, or another process that is at it already.
async fn log_in(
    means: &Means,
    method: &dyn LoginMethod,
    host: &AppHost,
    app: &App,
    over: &[Token],
) -> Result<Fresh, Error> {
    let _lock = lock(means, host).await?;
    // Whoever had the lock may have logged in meanwhile.
    if let Some(entry) = stored(means, app)?.filter(|entry| !is_among(entry, over)) {
        return Ok(Fresh::kept(entry));
    }
    let desk = Desk {
        app,
        carrier: &means.carrier,
        pages: means.pages.as_deref(),
        computer: &means.computer,
        command: &means.command,
        events: &means.events,
    };
    let login = method.login(&desk).await.inspect_err(|error| {
        means.tell(Event::LoginFailed { host: app.host.clone(), error: error.clone() });
    })?;
    means.tell(Event::LoggedIn { host: app.host.clone(), email: login.email.clone(), expires: login.expires });
    let entry = entry(host, app, Some(login));
    // A person has done their part: what cannot be kept serves whoever waits for it all the same.
    let unkept = means.store.save(&entry).err();
    Ok(Fresh { entry, unkept })
}

fn is_among(entry: &Entry, over: &[Token]) -> bool {
    entry.login.as_ref().is_some_and(|login| over.contains(&login.token))
}

/// The login in the store, if it is for this application at this edge and lasts.
fn stored(means: &Means, app: &App) -> Result<Option<Entry>, Error> {
    let entry = means.store.load(&app.host)?;
    Ok(entry.filter(|entry| lasts(entry, app)))
}

/// Whether a login is for this application at this edge, and goes on for a while.
fn lasts(entry: &Entry, app: &App) -> bool {
    let lasting = now().0.saturating_add(LIFE_MIN);
    let fits = |login: &Login| login.app == app.id && login.expires.0 > lasting;
    entry.issuer == app.issuer && entry.login.as_ref().is_some_and(fits)
}

/// Sees to it that a service token is shown to one edge for a host. A host says itself which edge it belongs to, and whoever
/// speaks for it once must not get a secret that opens other hosts.
fn bind(means: &Means, app: &App) -> Result<(), Error> {
    let Kind::Machine(token) = &means.auth.0 else { return Ok(()) };
    // Whoever gave the edge has said it; what is at the host was compared with that.
    if means.edge.is_some() {
        return Ok(());
    }
    if means.store.pinned(token.id(), &app.host)?.is_none() {
        if !is_own_edge(app.edge.name(), &app.host) {
            return Err(Error::UnknownEdge { host: app.host.to_string(), found: app.issuer.clone() });
        }
        means.store.pin(token.id(), &app.host, &app.issuer)?;
    }
    // Read again: another process may have been first.
    match means.store.pinned(token.id(), &app.host)? {
        Some(pinned) if pinned == app.issuer => Ok(()),
        pinned => Err(Error::OtherEdge {
            host: app.host.to_string(),
            known: pinned.unwrap_or_default(),
            found: app.issuer.clone(),
        }),
    }
}

/// Whether a login host is where a host's own edge has it: `access.` and the domain that the host is in. A domain of one
/// label is everybody's, but for the one that never leaves this machine.
fn is_own_edge(login_host: &Hostname, host: &Hostname) -> bool {
    let Some(domain) = login_host.as_str().strip_prefix(LOGIN_LABEL) else { return false };
    let within = host.as_str().strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    within && (domain.contains('.') || domain == LOCAL_DOMAIN)
}

fn entry(host: &AppHost, app: &App, login: Option<Login>) -> Entry {
    Entry { host: app.host.clone(), port: host.port(), issuer: app.issuer.clone(), login }
}

#[cfg(test)]
mod tests {
    use super::*;

    // C3
    #[test]
    fn a_hosts_own_edge_is_in_its_domain() {
        for (host, login_host, own) in [
            ("db.example.com", "access.example.com", true),
            ("a.b.example.com", "access.example.com", true),
            ("a.b.example.com", "access.b.example.com", true),
            ("example.com", "access.example.com", true),
            ("db.localhost", "access.localhost", true),
            ("db.example.com", "access.evil.example", false),
            ("db.example.com", "access.com", false),
            ("db.lan", "access.lan", false),
            ("db.example.com", "access.ample.com", false),
            ("db.example.com", "access.other.example.com", false),
            ("db.example.com", "login.example.com", false),
            ("db.example.com", "xaccess.example.com", false),
            ("db.example.com", "example.com", false),
        ] {
            let (host_name, login) = (Hostname::parse(host).unwrap(), Hostname::parse(login_host).unwrap());
            assert_eq!(is_own_edge(&login, &host_name), own, "{host} {login_host}");
        }
    }
}
