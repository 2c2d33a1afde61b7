//! What is known of a person beside who it is.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the login method said about a person, as of the login. Rules that ask for it hold of nobody else's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// How the person authenticated: values of RFC 8176, such as `otp`, `mfa` or `hwk`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The groups that the provider named, by id or name, as it wrote them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// GitHub organisations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub github: Vec<GithubOrganization>,
    /// Claims that the login method was told to keep; passed on to services.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Value>,
    /// The external evaluations that said yes, by [what names them](crate::Evaluation::key). Only a session for an application
    /// has any: they are made when it begins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<String>,
}

impl Attributes {
    /// Those of somebody about whom the login method said nothing.
    pub const fn new() -> Self {
        Self {
            amr: Vec::new(),
            groups: Vec::new(),
            github: Vec::new(),
            claims: BTreeMap::new(),
            evaluations: Vec::new(),
        }
    }

    /// What a one-time PIN proves: that a code arrived (`otp`), and nothing else.
    pub fn of_pin() -> Self {
        Self { amr: vec!["otp".to_owned()], ..Self::new() }
    }
}

/// An organisation at GitHub that a person belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GithubOrganization {
    /// Its login name, in lower case.
    pub name: String,
    /// The teams in it that the person belongs to, by slug.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
}

/// A country, by its two letters in ISO 3166-1, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

impl Country {
    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Not two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a country is two letters, such as `JP`")]
pub struct CountryError;

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, CountryError> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(CountryError),
        }
    }
}

impl TryFrom<String> for Country {
    type Error = CountryError;

    fn try_from(text: String) -> Result<Self, CountryError> {
        text.parse()
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.as_str().to_owned()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Country({self})")
    }
}
