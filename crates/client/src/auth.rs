//! How a client proves who it is.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tunnel_proto::message::Credential;
use zeroize::Zeroizing;

use crate::{
    error::Error,
    login::{self, Desk, Prompt},
    token::Login,
};

/// How a client proves who it is: a person who logs in when there is need, or a machine with a service token.
#[derive(Clone)]
pub struct Auth(pub(crate) Kind);

#[derive(Clone)]
pub(crate) enum Kind {
    Person(Arc<dyn LoginMethod>),
    Machine(Arc<ServiceToken>),
    Stored,
}

/// A machine's credential.
pub(crate) struct ServiceToken {
    id: String,
    secret: Zeroizing<String>,
}

impl Auth {
    /// A person with a browser on this machine. `show` gets what is to be opened, and returns at once: to a window, to
    /// a terminal, to a program that opens pages.
    pub fn browser(show: impl Fn(&Prompt) + Send + Sync + 'static) -> Self {
        Self(Kind::Person(Arc::new(login::Browser::new(show))))
    }

    /// A person with a browser somewhere else: `show` gets an address and a code, which is typed there.
    pub fn device_code(show: impl Fn(&Prompt) + Send + Sync + 'static) -> Self {
        Self(Kind::Person(Arc::new(login::Device::new(show))))
    }

    /// A machine with a service token. It is shown to the edge that the client was given, or else to the one that the host
    /// belonged to when the token was first used for it; the first time, that must be the edge at `access.` and the host's
    /// own domain.
    pub fn service_token(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self(Kind::Machine(Arc::new(ServiceToken { id: id.into(), secret: Zeroizing::new(secret.into()) })))
    }

    /// Logins that are in the store already, and no new ones.
    pub const fn stored() -> Self {
        Self(Kind::Stored)
    }

    pub(crate) const fn is_person(&self) -> bool {
        matches!(self.0, Kind::Person(_))
    }

    /// Another way for a person to log in.
    pub fn custom(method: impl LoginMethod) -> Self {
        Self(Kind::Person(Arc::new(method)))
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Person(_) => "Auth(a person)",
            Kind::Machine(_) => "Auth(a service token)",
            Kind::Stored => "Auth(stored logins)",
        })
    }
}

impl ServiceToken {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn credential(&self) -> Credential {
        Credential::ServiceToken { id: self.id.clone(), secret: self.secret.to_string() }
    }
}

/// A way for a person to log in to an application. Those that are built in are [`Auth::browser`] and
/// [`Auth::device_code`].
#[async_trait]
pub trait LoginMethod: Send + Sync + 'static {
    /// Lets a person log in to the application of `desk`. Dropped when nobody waits for it any more.
    async fn login(&self, desk: &Desk<'_>) -> Result<Login, Error>;
}
