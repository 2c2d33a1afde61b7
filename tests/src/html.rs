//! Just enough of HTML to fill in our own forms the way a browser without script would.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::Regex;

/// A form of a page: where it goes and what it would send if submitted untouched, buttons left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The `action`, entities resolved; empty for the page itself.
    pub action: String,
    /// `post` or `get`.
    pub method: String,
    /// Names and values of its inputs.
    pub fields: Vec<(String, String)>,
    /// Names and values of its buttons.
    pub buttons: Vec<(String, String)>,
}

impl Form {
    /// Fills in a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(n, _)| n != name);
        self.fields.push((name.into(), value.into()));
        self
    }

    /// The form as `application/x-www-form-urlencoded`.
    pub fn encoded(&self) -> String {
        let pairs = self.fields.iter().map(|(n, v)| format!("{}={}", percent(n), percent(v)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// The forms of a page, in order.
pub fn forms(page: &str) -> Vec<Form> {
    static FORM: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?is)<form\b([^>]*)>(.*?)</form>").expect("a pattern"));
    static FIELD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?is)<(input|button)\b([^>]*)>").expect("a pattern"));
    FORM.captures_iter(page)
        .map(|form| {
            let mut found = Form {
                action: attribute(&form[1], "action").unwrap_or_default(),
                method: attribute(&form[1], "method").unwrap_or_else(|| "get".into()).to_lowercase(),
                fields: Vec::new(),
                buttons: Vec::new(),
            };
            for field in FIELD.captures_iter(&form[2]) {
                let Some(name) = attribute(&field[2], "name") else { continue };
                let value = attribute(&field[2], "value");
                let kind = attribute(&field[2], "type").unwrap_or_default();
                let checked = field[2].split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("checked"));
                if field[1].eq_ignore_ascii_case("button") {
                    found.buttons.push((name, value.unwrap_or_default()));
                } else if kind != "checkbox" || checked {
                    found.fields.push((name, value.unwrap_or_default()));
                }
            }
            found
        })
        .collect()
}

/// The first form that has a field or button of this name.
///
/// # Errors
/// There is none; the message has the page.
pub fn form_with(page: &str, name: &str) -> Result<Form> {
    let has = |form: &Form| form.fields.iter().chain(&form.buttons).any(|(n, _)| n == name);
    forms(page).into_iter().find(has).with_context(|| format!("no form with `{name}` on this page:\n{page}"))
}

/// The first form that has a button of this name and value, with the button pressed.
///
/// # Errors
/// There is none; the message has the page.
pub fn pressed(page: &str, name: &str, value: &str) -> Result<Form> {
    let has = |form: &Form| form.buttons.iter().any(|(n, v)| n == name && v == value);
    let form = forms(page).into_iter().find(has);
    Ok(form.with_context(|| format!("no button `{name}={value}` on this page:\n{page}"))?.with(name, value))
}

/// The page's words: tags and entities resolved, space collapsed.
pub fn words(page: &str) -> String {
    static TAG: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)<[^>]*>").expect("a pattern"));
    let text = unescape(&TAG.replace_all(page, " "));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Percent-encodes everything but letters and digits.
pub fn percent(text: &str) -> String {
    let one = |b: u8| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let pattern =
        Regex::new(&format!(r#"(?is)(?:^|\s){name}\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))"#)).expect("a pattern");
    let found = pattern.captures(tag)?;
    let value = found.get(1).or_else(|| found.get(2)).or_else(|| found.get(3))?;
    Some(unescape(value.as_str()))
}

fn unescape(text: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
    ];
    let text = named.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&#38;", "&").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_a_browser_would_submit_it() {
        let page = r#"<form class=x method="POST" action="/a?b=1&amp;c=2"><input type=hidden name="token" value="t&#34;x">
            <input name="email" type="email"><input type="checkbox" name="h" value="1" checked>
            <input type="checkbox" name="g" value="1"><button name="method" value="pin">Go</button></form>"#;
        let form = form_with(page, "method").unwrap();
        assert_eq!(form.action, "/a?b=1&c=2");
        assert_eq!(form.method, "post");
        assert_eq!(form.with("email", "a@b").encoded(), "token=t%22x&h=1&email=a%40b");
    }
}
