//! Addresses of mails.

use std::str::FromStr;

use lettre::{Address, message::Mailbox};
use tunnel_proto::EmailAddress;

/// The sender of the edge's mails, for example `Access <no-reply@tnkeng.work>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom(pub(super) Mailbox);

impl FromStr for MailFrom {
    type Err = MailFromError;

    fn from_str(text: &str) -> Result<Self, MailFromError> {
        let (name, address) = match text.trim().strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
            Some((name, address)) => (Some(name.trim().trim_matches('"')), address.trim()),
            None => (None, text.trim()),
        };
        let name = name.filter(|name| !name.is_empty());
        if name.is_some_and(|name| name.chars().any(|c| c.is_control() || matches!(c, '<' | '>' | '"'))) {
            return Err(MailFromError);
        }
        // The strict grammar first: no comments, quotes or line ends.
        let address: EmailAddress = address.parse().map_err(|_| MailFromError)?;
        Ok(Self(Mailbox::new(name.map(ToOwned::to_owned), recipient(&address).ok_or(MailFromError)?)))
    }
}

/// The text is not a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sender of the form `Name <name@example.com>` or `name@example.com`")]
pub struct MailFromError;

/// An address as the mail library has it; `None` when it is stricter than we are.
pub(super) fn recipient(email: &EmailAddress) -> Option<Address> {
    Address::new(email.local(), email.domain()).ok()
}
