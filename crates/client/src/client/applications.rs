//! What a person may open at an edge, as the edge says.

use tunnel_proto::{
    EmailAddress,
    access::{APPLICATIONS_BODY_MAX, APPLICATIONS_MAX, CLI_TOKEN_PATH, Reachable, TokenAnswer, TokenRequest},
    dial::{AskError, EdgeAddress},
};

use super::{Means, now};
use crate::{error::Error, token::Login};

/// Logins that an edge is asked with, one after the other, when it says that they are over.
const LOGINS_MAX: usize = 4;
/// The code of an edge's problem with a login that is over.
const GONE: &str = "gone";

/// What a person may open at an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applications {
    /// The person.
    pub email: EmailAddress,
    /// What they may open, at most [`APPLICATIONS_MAX`].
    pub applications: Vec<Reachable>,
}

impl Means {
    pub(super) async fn applications(&self, issuer: &str) -> Result<Applications, Error> {
        let edge = self.edge_of(issuer)?;
        for login in self.logins(issuer)? {
            let request = TokenRequest::List { token: login.token.reveal().to_owned() };
            let answer = self.carrier.ask_within(APPLICATIONS_BODY_MAX, &edge, CLI_TOKEN_PATH, Some(&request)).await;
            match answer {
                Ok(TokenAnswer::Applications { email, applications }) if applications.len() <= APPLICATIONS_MAX => {
                    return Ok(Applications { email, applications });
                }
                Ok(_) => {
                    let reason = "it answered something else than was asked".to_owned();
                    return Err(Error::Protocol { at: edge.to_string(), reason });
                }
                Err(AskError::Refused(problem)) if problem.code == GONE => {}
                Err(error) => return Err(Error::ask(&edge.to_string(), error)),
            }
        }
        Err(Error::NoLogin { host: issuer.to_owned() })
    }

    /// Where an edge is asked that issued logins: by its own name, wherever it is dialled.
    fn edge_of(&self, issuer: &str) -> Result<EdgeAddress, Error> {
        let issued = EdgeAddress::parse(issuer, None).map_err(|error| Error::Usage { what: error.to_string() })?;
        match &self.edge {
            Some(named) if named.name() != issued.name() => {
                Err(Error::ForeignEdge { host: issuer.to_owned(), known: named.url(), found: issuer.to_owned() })
            }
            Some(named) => Ok(named.clone()),
            None => Ok(issued),
        }
    }

    /// The logins that an edge issued and that last, the longest first: an edge is shown no other's.
    fn logins(&self, issuer: &str) -> Result<Vec<Login>, Error> {
        let entries = self.store.list()?.into_iter().filter(|entry| entry.issuer == issuer);
        let mut logins: Vec<_> =
            entries.filter_map(|entry| entry.login).filter(|login| login.expires > now()).collect();
        logins.sort_by_key(|login| std::cmp::Reverse(login.expires));
        logins.truncate(LOGINS_MAX);
        Ok(logins)
    }
}
