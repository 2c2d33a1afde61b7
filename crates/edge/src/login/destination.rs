//! What a login opens: an application, the page on which a program is let in to one, or the edge's own pages for
//! administrators.

use std::time::Duration;

use tunnel_auth::secret;
use tunnel_policy::{Application, Attributes, Circumstances, Subject, Verdict};
use tunnel_proto::{AppId, EmailAddress, Hostname, Identity, Name};

use crate::{
    snapshot::Snapshot,
    store::{LoginMethod, LoginMethodKind, PasskeyMethod},
};

/// The shortest grant. With less, a visitor would be sent to the login host and back without end.
const GRANT_MIN: Duration = Duration::from_secs(60);

/// What a login opens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Destination<'a> {
    /// An application.
    Application(&'a Application),
    /// The page at the login host on which the access client is let in to an application.
    Client(&'a Application),
    /// The edge's own pages at the login host.
    Administration,
    /// The page at the login host about the person's own passkeys and sessions.
    Account,
}

/// Whether somebody may go there.
pub(crate) enum Judged {
    /// Yes, for so long.
    Admitted(Duration),
    /// No, and why; for the record only.
    Denied(String),
}

impl<'a> Destination<'a> {
    /// The destination with this id.
    pub(crate) fn find(snapshot: &'a Snapshot, login_host: &Hostname, id: &AppId) -> Option<Self> {
        if *id == administration(login_host) {
            return Some(Self::Administration);
        }
        if *id == account(login_host) {
            return Some(Self::Account);
        }
        if let Some(app) = snapshot.policies.application(id) {
            return Some(Self::Application(app));
        }
        // Only what the edge sealed itself comes as far as this, so that nobody makes it search.
        snapshot.policies.applications().find(|app| client(app) == *id).map(Self::Client)
    }

    /// Its id.
    pub(crate) fn id(&self, login_host: &Hostname) -> AppId {
        match self {
            Self::Application(app) => app.id,
            Self::Client(app) => client(app),
            Self::Administration => administration(login_host),
            Self::Account => account(login_host),
        }
    }

    /// Its name, for the record.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Application(app) | Self::Client(app) => app.name.as_str(),
            Self::Administration => "administration",
            Self::Account => "account",
        }
    }

    /// The login methods that it offers, in the order in which they were declared.
    pub(crate) fn methods<'s>(&self, snapshot: &'s Snapshot) -> Vec<&'s LoginMethod> {
        snapshot.declared.login_methods.iter().filter(|method| self.offers(snapshot, &method.name)).collect()
    }

    /// The login method by PIN that it offers.
    pub(crate) fn pin_method(&self, snapshot: &Snapshot) -> Option<Name> {
        let methods = self.methods(snapshot).into_iter();
        let mut pins = methods.filter(|method| matches!(method.kind, LoginMethodKind::OneTimePin));
        pins.next().map(|method| method.name.clone())
    }

    /// The login method by passkey that it offers.
    pub(crate) fn passkey_method<'s>(&self, snapshot: &'s Snapshot) -> Option<(&'s Name, &'s PasskeyMethod)> {
        snapshot.declared.login_methods.iter().find_map(|method| match &method.kind {
            LoginMethodKind::Passkey(terms) if self.offers(snapshot, &method.name) => Some((&method.name, terms)),
            _ => None,
        })
    }

    /// Whether no login could help under these circumstances.
    pub(crate) fn is_hopeless(&self, snapshot: &Snapshot, here: Circumstances) -> bool {
        match self {
            Self::Application(app) | Self::Client(app) => snapshot.policies.hopeless(app, here),
            Self::Administration | Self::Account => false,
        }
    }

    /// Whether a code may be sent to this address.
    pub(crate) fn is_eligible(
        &self,
        snapshot: &Snapshot,
        email: &EmailAddress,
        here: Circumstances,
        method: &Name,
    ) -> bool {
        if snapshot.is_address_banned(email) {
            return false;
        }
        match self {
            Self::Application(app) | Self::Client(app) => snapshot.policies.eligible(app, email, here, method),
            Self::Administration => snapshot.is_administrator(email) && snapshot.administrators_use(method),
            // Whoever could be let in to anything.
            Self::Account => {
                let mut apps = snapshot.policies.applications();
                snapshot.is_administrator(email)
                    || apps.any(|app| app.offers(method) && snapshot.policies.eligible(app, email, here, method))
            }
        }
    }

    /// Whether this person may go there under these circumstances.
    pub(crate) fn judge(
        &self,
        snapshot: &Snapshot,
        (identity, attributes): (&Identity, &Attributes),
        here: Circumstances,
    ) -> Judged {
        match self {
            Self::Application(app) | Self::Client(app) => {
                let decision = snapshot.policies.decide(app, &Subject::person(identity, attributes, here));
                match decision.verdict {
                    Verdict::Allow { session, .. } => {
                        let life = session.or(app.session_duration);
                        Judged::Admitted(life.unwrap_or_else(|| snapshot.login_life()).max(GRANT_MIN))
                    }
                    // Public: there is nothing to log in to, and nothing to be kept from.
                    Verdict::Bypass { .. } => Judged::Admitted(GRANT_MIN),
                    Verdict::Deny { .. } => Judged::Denied(decision.trace.to_string()),
                }
            }
            Self::Administration if snapshot.is_administrator(&identity.email) => {
                Judged::Admitted(snapshot.login_life())
            }
            Self::Administration => Judged::Denied("not an administrator".to_owned()),
            // Whose own it is.
            Self::Account => Judged::Admitted(snapshot.login_life()),
        }
    }

    /// The same before the application's evaluations are made: whether anything that they may say could admit this person,
    /// and for how long, as far as that is known by then.
    pub(crate) fn prospect(&self, snapshot: &Snapshot, who: (&Identity, &Attributes), here: Circumstances) -> Judged {
        let (Self::Application(app) | Self::Client(app)) = self else { return self.judge(snapshot, who, here) };
        match self.judge(snapshot, who, here) {
            Judged::Denied(_) if snapshot.policies.may_admit(app, &Subject::person(who.0, who.1, here)) => {
                Judged::Admitted(app.session_duration.unwrap_or_else(|| snapshot.login_life()).max(GRANT_MIN))
            }
            judged => judged,
        }
    }

    /// Whether people may log in by this method.
    pub(crate) fn offers(&self, snapshot: &Snapshot, method: &Name) -> bool {
        match self {
            Self::Application(app) | Self::Client(app) => app.offers(method),
            Self::Administration => snapshot.administrators_use(method),
            Self::Account => true,
        }
    }

    /// Whether this login, for which `issuer` vouched, counts there; with another one has to log in anew.
    pub(crate) fn accepts(&self, snapshot: &Snapshot, identity: &Identity, issuer: &str) -> bool {
        snapshot.stands_by(&identity.method, issuer)
            && match self {
                Self::Application(app) | Self::Client(app) => counts_for(snapshot, app, identity, issuer),
                Self::Administration | Self::Account => self.believes(snapshot, &identity.method, issuer),
            }
    }

    /// Whether a login by a method that it offers is good enough there by the word of `issuer`.
    pub(crate) fn believes(&self, snapshot: &Snapshot, method: &Name, issuer: &str) -> bool {
        match self {
            Self::Application(app) | Self::Client(app) => snapshot.believes(&app.id, method, issuer),
            Self::Administration => snapshot.administers(method, issuer),
            Self::Account => true,
        }
    }
}

/// Whether a login that counts at all counts for an application, whatever its policies say: by a method that it offers, of
/// somebody for whom one of those vouches, and not from before the moment at which everybody had to log in anew.
pub(crate) fn counts_for(snapshot: &Snapshot, app: &Application, identity: &Identity, issuer: &str) -> bool {
    app.offers(&identity.method)
        && snapshot.believes(&app.id, &identity.method, issuer)
        && app.since.is_none_or(|since| identity.authenticated > since)
}

/// The id of the page on which a program is let in to `app`: a code for it is of no use for anything else.
fn client(app: &Application) -> AppId {
    AppId::from_bytes(secret::hash("client", app.id.as_bytes()))
}

/// The id of everybody's own page.
fn account(login_host: &Hostname) -> AppId {
    AppId::from_bytes(secret::hash("account", login_host.as_str().as_bytes()))
}

/// The id of the edge's own pages for administrators.
fn administration(login_host: &Hostname) -> AppId {
    AppId::from_bytes(secret::hash("administration", login_host.as_str().as_bytes()))
}
