//! Just enough of HTML to fill in the edge's own forms, as a browser without scripts would.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex_lite::Regex;

/// A form of a page: where it goes, and what it would send untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    /// The first form of a page that has a field or a button of this name.
    pub(crate) fn with_field(page: &str, name: &str) -> Option<Self> {
        let form = Regex::new(r"(?is)<form\b([^>]*)>(.*?)</form>").ok()?;
        let field = Regex::new(r"(?is)<(input|button)\b([^>]*)>").ok()?;
        form.captures_iter(page).find_map(|found| {
            let (head, body) = (found.get(1)?.as_str(), found.get(2)?.as_str());
            let mut has = false;
            let mut fields = Vec::new();
            for one in field.captures_iter(body) {
                let attributes = one.get(2)?.as_str();
                let Some(called) = attribute(attributes, "name") else { continue };
                has |= called == name;
                if one.get(1)?.as_str().eq_ignore_ascii_case("input") {
                    fields.push((called, attribute(attributes, "value").unwrap_or_default()));
                }
            }
            has.then(|| Self { action: attribute(head, "action").unwrap_or_default(), fields })
        })
    }

    /// Fills in a field, or presses a button.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(called, _)| called != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As `application/x-www-form-urlencoded`.
    pub(crate) fn encoded(&self) -> String {
        let one = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs = self.fields.iter().map(|(name, value)| format!("{}={}", one(name), one(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let pattern = Regex::new(&format!(r#"(?is)(?:^|\s){name}\s*=\s*(?:"([^"]*)"|([^\s"'>]+))"#)).ok()?;
    let found = pattern.captures(tag)?;
    let value = found.get(1).or_else(|| found.get(2))?.as_str();
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    let text = named.iter().fold(value.to_owned(), |text, (from, to)| text.replace(from, to));
    Some(text.replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_a_browser_would_send_it() {
        let page = r#"<form action="/x"><input name=a></form><form method="post" action="/a?b=1&amp;c=2">
            <input type=hidden name="token" value="t&#34;x"><button name="answer" value="yes">Go</button></form>"#;
        let form = Form::with_field(page, "answer").unwrap();
        assert_eq!(form.action, "/a?b=1&c=2");
        assert_eq!(form.with("answer", "yes").encoded(), "token=t%22x&answer=yes");
        assert_eq!(Form::with_field(page, "nothing"), None);
    }
}
