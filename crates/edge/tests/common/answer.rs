//! What an edge inside a test answered, for the suites that talk to one.

use http::{HeaderMap, StatusCode, header};

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Where it leads, by a redirect or by a page that is left at once.
    pub(crate) fn location(&self) -> &str {
        let refresh = self.headers.get(header::REFRESH).map(|value| value.to_str().unwrap());
        let left = refresh.and_then(|refresh| refresh.strip_prefix("0;url="));
        let location = self.headers.get(header::LOCATION).map(|value| value.to_str().unwrap());
        location.or(left).unwrap_or_else(|| panic!("{}: {}", self.status, self.body))
    }

    /// The value of the hidden field `name`.
    pub(crate) fn field(&self, name: &str) -> String {
        let value = self.body.split_once(&format!("name=\"{name}\" value=\""));
        let value = value.unwrap_or_else(|| panic!("no {name} in {}", self.body));
        // What Askama makes of `&`; nothing else of ours needs escaping.
        value.1.split('"').next().unwrap().replace("&#38;", "&")
    }

    /// `NAME=VALUE` of a cookie that it sets.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let mut lines = self.headers.get_all(header::SET_COOKIE).iter().map(|line| line.to_str().unwrap());
        let line = lines.find_map(|line| line.strip_prefix(&format!("{name}=")))?;
        Some(format!("{name}={}", line.split(';').next().unwrap()))
    }
}
