//! The language of pages, chosen by a link on each of them.

use askama::Template;
use http::StatusCode;

use super::{LANGUAGE_PATH, PageContext, reply};
use crate::Response;

/// The longest path and query to come back to.
const WAY_BACK_MAX: usize = 4096;

/// Path and query to come back to, if the text is nothing else (H12).
pub(crate) fn way_back(text: &str) -> Option<&str> {
    let plain = |b: u8| matches!(b, 0x21..=0x7e) && !matches!(b, b'#' | b'\\');
    let good = text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= WAY_BACK_MAX
        && text.bytes().all(plain)
        && !text.starts_with(LANGUAGE_PATH);
    good.then_some(text)
}

/// The language was chosen on a page that cannot be fetched again.
#[derive(Clone, Copy, Debug)]
pub struct LanguageSet;

impl LanguageSet {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        reply::page(context, StatusCode::OK, LanguagePage { c: context }.render())
    }
}

#[derive(Template)]
#[template(path = "language_set.html")]
struct LanguagePage<'a> {
    c: &'a PageContext,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // H12
    #[test]
    fn one_comes_back_to_a_path_of_the_same_host_and_to_nothing_else() {
        let long = format!("/{}", "x".repeat(WAY_BACK_MAX));
        for good in ["/", "/a/b?c=d&e=%0d%0a", "/.access/login?app=A&request=B", "/a?b=https://x"] {
            assert_eq!(way_back(good), Some(good));
        }
        for bad in [
            "",
            "a",
            "?x",
            "//evil.example/",
            "/\\evil.example/",
            "/a\\b",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "@evil.example",
            ":8443/",
            " /",
            "/a b",
            "/a#b",
            "/a\r\nX: y",
            "/a\tb",
            "/é",
            "/.access/language?to=en",
            &long,
        ] {
            assert_eq!(way_back(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_way_back_leads_to_another_origin(text in "/[/\\\\@:.?#a-z%0-9 \t\r\n]{0,24}") {
            if let Some(back) = way_back(&text) {
                let base = url::Url::parse("https://www.example.com:8443/x").unwrap();
                prop_assert_eq!(base.join(back).unwrap().origin(), base.origin());
            }
        }
    }
}
