//! Header fields that somebody in between wants to see.

use std::{fmt, str::FromStr};

use http::{HeaderName, HeaderValue};

use crate::error::Error;

/// Fields by which a request is carried, or that a WebSocket is opened by.
const OURS: [&str; 12] = [
    "host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "expect",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "http2-settings",
];
/// What the names of fields begin with by which a WebSocket is opened, and by which a credential is shown.
const OURS_BEGIN: [&str; 2] = ["sec-websocket-", "cf-access-"];

/// A header field for the request that opens a WebSocket, where a link needs one: for a gateway in between that asks for it.
/// Its value is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtraHeader {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

impl FromStr for ExtraHeader {
    type Err = Error;

    /// Reads `NAME: VALUE`. Fields by which the request is carried, and those that show a credential, are refused.
    fn from_str(text: &str) -> Result<Self, Error> {
        // The value may be a secret, and is not repeated.
        let bad = |what: String| Error::Usage { what };
        let unwritten = || bad("a header field is written NAME: VALUE, in one line".to_owned());
        let (name, value) = text.split_once(':').ok_or_else(unwritten)?;
        let name = HeaderName::from_str(name.trim()).map_err(|_| unwritten())?;
        // Some servers take one for the other.
        let alike = name.as_str().replace('_', "-");
        if OURS.contains(&alike.as_str()) || OURS_BEGIN.iter().any(|begin| alike.starts_with(begin)) {
            return Err(bad(format!("the header field `{name}` is this program's own, and cannot be given")));
        }
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| unwritten())?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

impl fmt::Debug for ExtraHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtraHeader({}: …)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_as_it_is_written_and_its_value_is_not_shown() {
        for (text, name, value) in [
            ("X-Gateway: s3cret", "x-gateway", "s3cret"),
            ("authorization:Basic s3cret=", "authorization", "Basic s3cret="),
            ("X-Empty:", "x-empty", ""),
            ("Cookie: a=b:c", "cookie", "a=b:c"),
        ] {
            let header: ExtraHeader = text.parse().unwrap();
            assert_eq!((header.name.as_str(), header.value.to_str().unwrap()), (name, value));
            assert!(!format!("{header:?}{:?}", header.value).contains("s3cret"));
        }
    }

    // C3
    #[test]
    fn fields_that_are_ours_or_would_be_several_are_refused() {
        for text in [
            "Host: s3cret",
            "CONNECTION: s3cret",
            "Upgrade: s3cret",
            "Sec-WebSocket-Key: s3cret",
            "sec_websocket_protocol: s3cret",
            "Cf-Access-Token: s3cret",
            "cf_access_client_secret: s3cret",
            "Transfer-Encoding: s3cret",
            "Content-Length: s3cret",
            "X-A: b\r\nHost: s3cret",
            "X A: s3cret",
            ": s3cret",
            "s3cret",
            "",
        ] {
            let error = text.parse::<ExtraHeader>().unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
