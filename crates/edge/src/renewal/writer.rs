//! Whose a form is that is kept: it is sent as the person who filled it in, or not at all.
//!
//! When it arrives the session is over, and often the browser has forgotten its cookie with it. So another one says, sealed
//! and for a day longer, whose the last session at the host was. It opens nothing. Whoever signs out there takes the name
//! along: what is sent afterwards is not kept, for it may be anybody's.

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use tunnel_proto::{EmailAddress, Hostname};

use super::SEND_PATH;
use crate::{
    keys::Keys,
    login::request::TARGET_MAX,
    session::cookie::{self, WRITER_COOKIE},
};

/// How long after its end it is known whose a session was, in seconds.
const WRITER_LIFE: u64 = 24 * 3600;
const LAST: &str = "last person";
const KEPT: &str = "kept form";

/// Remembers in the browser whose the session is that begins at a host, and lives for so many seconds.
pub(crate) fn remember(headers: &mut HeaderMap, keys: &Keys, host: &Hostname, email: &EmailAddress, life: u64) {
    let sealed = keys.seal(LAST, host.as_str().as_bytes(), email.as_str().as_bytes());
    cookie::set(headers, WRITER_COOKIE, &BASE64URL_NOPAD.encode(&sealed), life.saturating_add(WRITER_LIFE));
}

/// Has the browser of somebody who signs out at a host say that there was somebody, and not who.
pub(crate) fn forget(headers: &mut HeaderMap, keys: &Keys, host: &Hostname) {
    let sealed = keys.seal(LAST, host.as_str().as_bytes(), &[]);
    cookie::set(headers, WRITER_COOKIE, &BASE64URL_NOPAD.encode(&sealed), WRITER_LIFE);
}

/// Whose the last session of a browser was at a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// The browser does not say.
    Unknown,
    /// Somebody who signed out: whoever is there now may be somebody else.
    SignedOut,
    /// This person's.
    Of(EmailAddress),
}

/// Whose the last session of the request's browser was at a host, where the browser says so.
pub(super) fn last(keys: &Keys, host: &Hostname, headers: &HeaderMap) -> Last {
    let values = cookie::values(headers.get_all(header::COOKIE), WRITER_COOKIE);
    let said = values.into_iter().find_map(|text| {
        let plain = open(keys, LAST, host, text)?;
        if plain.is_empty() {
            return Some(Last::SignedOut);
        }
        std::str::from_utf8(&plain).ok()?.parse().ok().map(Last::Of)
    });
    said.unwrap_or(Last::Unknown)
}

/// A form that is kept, without what is in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Who filled it in; nobody is known to those who cannot say so.
    pub(super) writer: Option<EmailAddress>,
    /// Path and query that it was sent to.
    pub(super) target: String,
}

impl Kept {
    /// The path that it is sent to from the page that keeps it: where a writer is known, by way of us, who look who is
    /// logged in by then. `None` if that would be too long.
    pub(super) fn path(&self, keys: &Keys, host: &Hostname) -> Option<String> {
        if self.writer.is_none() {
            return Some(self.target.clone());
        }
        let plain = serde_json::to_vec(self).ok().filter(|_| self.target.len() <= TARGET_MAX)?;
        let sealed = keys.seal(KEPT, host.as_str().as_bytes(), &plain);
        Some(format!("{SEND_PATH}?kept={}", BASE64URL_NOPAD.encode(&sealed)))
    }

    /// What such a path says at the host that it was made for.
    pub(super) fn open(keys: &Keys, host: &Hostname, text: &str) -> Option<Self> {
        serde_json::from_slice(&open(keys, KEPT, host, text)?).ok()
    }
}

fn open(keys: &Keys, purpose: &str, host: &Hostname, text: &str) -> Option<Vec<u8>> {
    let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let plain = keys.open(purpose, host.as_str().as_bytes(), &sealed).ok()?;
    Some(plain.expose().to_vec())
}
