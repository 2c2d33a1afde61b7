//! What is known of a person beside who it is, as of the login: for assertions, and for `identity`.

use std::sync::LazyLock;

use tunnel_policy::{Attributes, Country};

use crate::session::Session;

/// What is known of the person of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// What the login method said.
    pub(crate) attributes: &'a Attributes,
    /// The country that the person logged in from.
    pub(crate) country: Option<Country>,
}

impl<'a> Known<'a> {
    /// What a session holds. The methods there are say nothing more than who it is.
    pub(crate) fn of(_session: &'a Session) -> Self {
        Self { attributes: &NOTHING, country: None }
    }
}

static NOTHING: LazyLock<Attributes> = LazyLock::new(Attributes::default);
