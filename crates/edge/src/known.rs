//! What is known of a person beside who it is, as of the login: for assertions, and for `identity`.

use tunnel_policy::{Attributes, Country};

use crate::{countries::Countries, session::Session};

/// What is known of the person of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// What the login method said.
    pub(crate) attributes: &'a Attributes,
    /// The country that the person logged in from.
    pub(crate) country: Option<Country>,
}

impl<'a> Known<'a> {
    /// What a session holds.
    pub(crate) fn of(session: &'a Session, countries: &Countries) -> Self {
        let country = session.record().source.and_then(|source| countries.of(source));
        Self { attributes: session.attributes(), country }
    }
}
