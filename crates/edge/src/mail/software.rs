//! A browser in two words.

use crate::{Lang, pages::words::plain};

/// What a `User-Agent` says, in the words of a language, such as `Firefox on Windows`. Only names written here ever come
/// out, whatever goes in.
pub(crate) fn summary(user_agent: &str, lang: Lang) -> String {
    let named = |table: &[(&str, &'static str)]| {
        table.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    match (named(BROWSERS), named(SYSTEMS)) {
        (Some(browser), Some(system)) => plain(lang, "mail-browser-on", &[("browser", browser), ("system", system)]),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => plain(lang, "mail-unknown-browser", &[]),
    }
}

/// Marks of browsers; the first that is found counts, since most also claim to be those further down.
const BROWSERS: &[(&str, &str)] = &[
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
];

/// Marks of systems, in the same way.
const SYSTEMS: &[(&str, &str)] = &[
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
    ("FreeBSD", "FreeBSD"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_in_two_words_and_strangers_words_never_come_out() {
        let cases = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Windows",
                "Firefox（Windows）",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0",
                "Edge on Windows",
                "Edge（Windows）",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
                "Safari（iPhone）",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36",
                "Chrome on Android",
                "Chrome（Android）",
            ),
            ("curl/8.5.0", "curl", "curl"),
            ("<script>alert(1)</script>\r\nBcc: x@example.com", "an unknown program", "不明なソフトウェア"),
            ("", "an unknown program", "不明なソフトウェア"),
        ];
        for (user_agent, en, ja) in cases {
            assert_eq!((summary(user_agent, Lang::En), summary(user_agent, Lang::Ja)), (en.into(), ja.into()));
        }
    }
}
