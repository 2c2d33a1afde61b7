//! The one canonical form of an e-mail address.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::hostname::Hostname;

/// The longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3, without the brackets).
pub const EMAIL_MAX: usize = 254;

/// An e-mail address in canonical form: an unquoted ASCII local part in lower case, and a canonical domain.
///
/// Stricter than RFC 5321 on purpose: quoted parts, comments, address literals and non-ASCII local parts are refused,
/// since every reading of an address must be the same one. Comparing is exact: `a@sub.example.com` is not within
/// `example.com`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress {
    text: Arc<str>,
    at: usize,
}

impl EmailAddress {
    /// The whole address, canonical.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`.
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// What stands after the `@`, as canonical text.
    pub fn domain(&self) -> &str {
        self.text.get(self.at.saturating_add(1)..).unwrap_or_default()
    }

    /// Whether the domain is exactly `domain`.
    pub fn is_at(&self, domain: &Hostname) -> bool {
        self.domain() == domain.as_str()
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        let (local, domain) = text.split_once('@').ok_or(EmailError)?;
        // atext of RFC 5322 §3.2.3.
        let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
        let dots = local.split('.').all(|part| !part.is_empty() && part.bytes().all(atext));
        if !dots || local.len() > 64 || text.len() > EMAIL_MAX || domain.ends_with('.') {
            return Err(EmailError);
        }
        let domain = Hostname::parse(domain).map_err(|_| EmailError)?;
        let local = local.to_ascii_lowercase();
        let canonical = format!("{local}@{domain}");
        // A domain grows when it becomes ASCII, and what is stored or sent must be read again.
        if canonical.len() > EMAIL_MAX {
            return Err(EmailError);
        }
        Ok(Self { at: local.len(), text: canonical.into() })
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = EmailError;

    fn try_from(text: String) -> Result<Self, EmailError> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(email: EmailAddress) -> Self {
        email.text.as_ref().to_owned()
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The text is not an [`EmailAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address of the form name@example.com")]
pub struct EmailError;
