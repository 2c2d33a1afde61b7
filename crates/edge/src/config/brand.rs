//! What pages and mails show of the operator.

use std::path::PathBuf;

use serde::Deserialize;
use tunnel_proto::EmailAddress;

use super::raw::Invalid;
use crate::Lang;

/// What is the operator's own of how pages look, checked. Empty: pages look as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brand {
    /// What the organisation calls itself; the zone's name without it.
    pub name: Option<String>,
    /// Its colour, `#rrggbb`.
    pub color: Option<String>,
    /// Its logo: a file, SVG or PNG.
    pub logo: Option<PathBuf>,
    /// How wide that is beside a height of 2rem, in rem.
    pub logo_width: Option<String>,
    /// The language for whoever accepts none that pages are written in.
    pub language: Lang,
    /// Whom pages name to everybody when something lasts. Without it they name the first administrator, and nobody where the
    /// request was refused before it was known whose it is.
    pub contact: Option<EmailAddress>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBrand {
    name: Option<String>,
    color: Option<String>,
    logo: Option<PathBuf>,
    logo_width: Option<String>,
    language: Option<String>,
    contact: Option<EmailAddress>,
}

/// The longest name, in characters: it stands at the head of each page, beside the languages.
const NAME_MAX: usize = 48;
/// The widest logo, in rem: with more, nothing would stand beside it on a phone.
const WIDTH_MAX: f32 = 12.0;

impl RawBrand {
    pub(super) fn check(self) -> Result<Brand, Invalid> {
        let named = |name: &String| {
            let length = name.chars().count();
            (1..=NAME_MAX).contains(&length) && name.trim() == name && !name.chars().any(char::is_control)
        };
        if !self.name.as_ref().is_none_or(named) {
            let rule = format!("write 1 to {NAME_MAX} characters, without spaces around them");
            return Err(("brand.name", rule));
        }
        if !self.color.as_deref().is_none_or(is_color) {
            return Err(("brand.color", "write `#` and six hexadecimal digits, for example \"#0a6674\"".to_owned()));
        }
        if !self.logo_width.as_deref().is_none_or(is_width) {
            return Err(("brand.logo_width", format!("write at most {WIDTH_MAX} rem, for example \"7.5rem\"")));
        }
        let language = match self.language.as_deref() {
            None => Lang::default(),
            Some(tag) => Lang::of_tag(tag).ok_or(("brand.language", "write \"en\" or \"ja\"".to_owned()))?,
        };
        let Self { name, color, logo, logo_width, contact, .. } = self;
        Ok(Brand { name, color, logo, logo_width, language, contact })
    }
}

fn is_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_width(text: &str) -> bool {
    let number = text.strip_suffix("rem").unwrap_or_default();
    let plain = !number.is_empty() && number.len() <= 5 && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain && number.parse::<f32>().is_ok_and(|width| width > 0.0 && width <= WIDTH_MAX)
}
