//! What an access client and an edge say about who may open what.

use minicbor::{Decode, Encode};

use crate::{GrantId, Hostname, UnixTime, cbor::coded};

/// Presents a credential for the application at a hostname. Answered by [`Granted`] or [`Refused`].
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Present {
    /// What the grant is to be called: a number that this link has not used before.
    #[n(0)]
    pub grant: GrantId,
    /// The application's hostname.
    #[n(1)]
    pub hostname: Hostname,
    /// The credential.
    #[n(2)]
    pub credential: Credential,
}

impl std::fmt::Debug for Present {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Present").field("grant", &self.grant).field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// What an access client proves itself by. Never printed.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Credential {
    /// A person's client token for one application.
    #[n(0)]
    ClientToken(#[n(0)] String),
    /// A machine's service token.
    #[n(1)]
    ServiceToken {
        /// Its id.
        #[n(0)]
        id: String,
        /// Its secret.
        #[n(1)]
        secret: String,
    },
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClientToken(_) => "ClientToken(…)",
            Self::ServiceToken { .. } => "ServiceToken(…)",
        })
    }
}

/// The credential opens the application: streams may name the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Granted {
    /// The grant, as [`Present`] called it.
    #[n(0)]
    pub grant: GrantId,
    /// When it ends by itself.
    #[n(1)]
    pub expires: UnixTime,
}

/// The credential does not open the application.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(map)]
#[error("the edge refused the credential ({code}): {text}")]
pub struct Refused {
    /// The grant that there is not, as [`Present`] called it.
    #[n(0)]
    pub grant: GrantId,
    /// Why.
    #[n(1)]
    pub code: GrantRefusal,
    /// Why, for the person who asked.
    #[n(2)]
    pub text: String,
}

coded! {
    /// Why a credential does not open an application.
    pub enum GrantRefusal else Internal {
        /// Something went wrong at the edge; trying again may help.
        Internal = 0 "internal",
        /// No application has this hostname.
        UnknownHostname = 1 "unknown_hostname",
        /// The credential is not one, has ended, or is for another application: log in anew.
        BadCredential = 2 "bad_credential",
        /// The credential is good, and the policy does not admit.
        NotAdmitted = 3 "not_admitted",
        /// The link has as many grants as it may, or the number was used before.
        TooManyGrants = 4 "too_many_grants",
    }
}

/// A grant ended, and its streams with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revoked {
    /// The grant.
    #[n(0)]
    pub grant: GrantId,
    /// Why.
    #[n(1)]
    pub reason: RevokedReason,
}

coded! {
    /// Why a grant ended.
    pub enum RevokedReason else Unspecified {
        /// Not said, or not known to this program.
        Unspecified = 0 "unspecified",
        /// Its time was over: log in anew.
        Expired = 1 "expired",
        /// It was ended, or the login that it came from was: by a logout or by an administrator.
        Ended = 2 "ended",
        /// The policy does not admit any more.
        NotAdmitted = 3 "not_admitted",
    }
}

/// Streams of a grant were cut, and the grant goes on: said just after they were reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cut {
    /// The grant that they stood on.
    #[n(0)]
    pub grant: GrantId,
    /// Why.
    #[n(1)]
    pub reason: CutReason,
}

coded! {
    /// Why a stream was cut.
    pub enum CutReason else Unspecified {
        /// Not said, or not known to this program.
        Unspecified = 0 "unspecified",
        /// The connector that led to the service stopped, or lost its link.
        ConnectorGone = 1 "connector_gone",
    }
}

/// The first frame of a stream from an access client.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OpenGrant {
    /// The grant that it stands on.
    #[n(0)]
    pub grant: GrantId,
    /// Where to (`host:port`), for a bastion.
    #[n(1)]
    pub destination: Option<String>,
}
