//! The words of pages and mails, from the Fluent files that are compiled in.

use std::{borrow::Cow, collections::HashMap, fmt};

use askama::filters::{Escaper, Html, HtmlSafe};
use fluent_templates::{Loader, fluent_bundle::FluentValue};
use unic_langid::{LanguageIdentifier, langid};

use crate::Lang;

fluent_templates::static_loader! {
    static WORDS = {
        locales: "./locales",
        fallback_language: "en",
        // Isolation marks are invisible characters around every argument; codes and commands are copied from here.
        customise: |bundle| bundle.set_use_isolating(false),
    };
}

const EN: LanguageIdentifier = langid!("en");
const JA: LanguageIdentifier = langid!("ja");

/// A message and its arguments, as HTML: the message's own markup stands, every argument is escaped.
pub(crate) struct Phrase {
    lang: Lang,
    key: &'static str,
    args: Args,
}

type Args = HashMap<Cow<'static, str>, FluentValue<'static>>;

impl Phrase {
    pub(crate) fn new(lang: Lang, key: &'static str) -> Self {
        Self { lang, key, args: Args::new() }
    }

    /// Puts `value`, escaped, where the message says `{ $name }`.
    pub(crate) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.args.insert(Cow::Borrowed(name), FluentValue::from(escape(&value.to_string())));
        self
    }

    /// Puts a number where the message says `{ $name }`; the message may choose its form by it.
    pub(crate) fn count(mut self, name: &'static str, value: u64) -> Self {
        self.args.insert(Cow::Borrowed(name), FluentValue::from(value));
        self
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&look_up(self.lang, self.key, &self.args))
    }
}

impl HtmlSafe for Phrase {}

/// A message as plain text, without its markup: for mails' text parts, subjects and JSON.
pub(crate) fn plain(lang: Lang, key: &str, args: &[(&'static str, &str)]) -> String {
    // Marks of private use stand for the values until the message's own tags are gone: a value may have angle brackets.
    let marks = args.iter().zip('\u{e000}'..);
    let values = marks.clone().map(|((name, _), mark)| (Cow::Borrowed(*name), FluentValue::from(mark.to_string())));
    let message = without_tags(&look_up(lang, key, &values.collect()));
    marks.fold(message, |text, ((_, value), mark)| text.replace(mark, value))
}

fn without_tags(text: &str) -> String {
    let mut in_tag = false;
    let kept = |c: &char| {
        let before = in_tag;
        in_tag = match c {
            '<' => true,
            '>' => false,
            _ => in_tag,
        };
        !before && !in_tag
    };
    text.chars().filter(kept).collect()
}

fn look_up(lang: Lang, key: &str, args: &Args) -> String {
    let lang = match lang {
        Lang::En => &EN,
        Lang::Ja => &JA,
    };
    // A test looks up every key that a template names, so the fall-back is never met.
    WORDS.try_lookup_with_args(lang, key, args).unwrap_or_else(|| key.to_owned())
}

/// The text with what HTML gives a meaning to replaced.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Writing to a `String` cannot fail.
    let _ = Html.write_escaped_str(&mut escaped, text);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_markup_and_keeps_its_values() {
        for lang in [Lang::En, Lang::Ja] {
            let text = plain(lang, "no-host-text", &[("host", "a<b>.example")]);
            assert!(text.contains("a<b>.example") && !text.contains("span"), "{text}");
        }
    }
}
