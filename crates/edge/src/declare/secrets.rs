//! What a file names and does not hold: secrets, and certificates that stand in a file of their own.
//!
//! A secret is written `{file: PATH}`, `{env: NAME}` or `{unchanged: true}`, never out. The program that reads the file
//! finds out with [`references`] what it names, and sends the values along in [`Request::secrets`](super::Request); the
//! edge, which may run elsewhere and as somebody else, opens no file and looks at no variable for it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{
    fields::{At, Reader},
    problem::Problem,
    yaml::{self, Node, Value},
};

/// The longest value that comes with a file, in bytes: some certificates.
pub const VALUE_MAX: usize = 64 * 1024;
/// The longest secret of a login method, in bytes.
pub(super) const SECRET_MAX: usize = 4 * 1024;
/// How large all values together may be, in bytes.
pub const VALUES_MAX: usize = 256 * 1024;
/// The longest path or name that a file may name, in bytes.
const NAME_MAX: usize = 4 * 1024;

/// A value that a file names. Never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// The values that came with a file, by [`Source::key`].
pub type Secrets = BTreeMap<String, SecretText>;

/// Something that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Line and column where it is named first, both from 1.
    pub at: (u64, u64),
    /// What is named.
    pub source: Source,
}

/// Where a value is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file; a relative path is relative to the directory of the file that names it.
    File(String),
    /// In an environment variable.
    Env(String),
}

impl Source {
    /// The name under which the value is sent along: `file:PATH` or `env:NAME`, as it is written.
    pub fn key(&self) -> String {
        match self {
            Self::File(path) => format!("file:{path}"),
            Self::Env(name) => format!("env:{name}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{{file: {path}}}"),
            Self::Env(name) => write!(f, "{{env: {name}}}"),
        }
    }
}

/// What a file names, each once. A file that cannot be read names nothing: [`apply`](super::apply) says what is wrong.
pub fn references(text: &str) -> Vec<Reference> {
    let mut found: Vec<Reference> = Vec::new();
    let Ok(Node { value: Value::Map(sections), .. }) = yaml::read(text) else { return found };
    let methods = sections.iter().filter(|(key, _)| key.text == "login_methods");
    for (_, methods) in methods {
        let Value::List(methods) = &methods.value else { continue };
        for method in methods {
            let Value::Map(entries) = &method.value else { continue };
            for (_, node) in entries.iter().filter(|(key, _)| VALUES.contains(&key.text.as_str())) {
                let Some(Named::Elsewhere(source)) = named(node).and_then(Result::ok) else { continue };
                if !found.iter().any(|other| other.source == source) {
                    found.push(Reference { at: (node.at.line, node.at.column), source });
                }
            }
        }
    }
    found
}

/// The keys of a login method whose value may be kept elsewhere.
const VALUES: [&str; 2] = ["client_secret", "ca"];

/// A value that is not written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It came with the file.
    Elsewhere(Source),
    /// It stays what it is.
    Unchanged,
}

/// A one-key map that stands for a value; `None` when the node is something else.
fn named(node: &Node) -> Option<Result<Named, String>> {
    let Value::Map(entries) = &node.value else { return None };
    let [(key, value)] = entries.as_slice() else { return None };
    let text = || match &value.value {
        Value::Text(text) if !text.is_empty() && text.len() <= NAME_MAX && !text.contains('\0') => Ok(text.clone()),
        _ => Err(format!("`{}` takes a text: `{{{}: …}}`", key.text, key.text)),
    };
    match key.text.as_str() {
        "file" => Some(text().map(|path| Named::Elsewhere(Source::File(path)))),
        "env" => Some(text().and_then(|name| match is_variable(&name) {
            true => Ok(Named::Elsewhere(Source::Env(name))),
            false => Err(format!("`{name}` is not the name of an environment variable")),
        })),
        "unchanged" if matches!(value.value, Value::Bool(true)) => Some(Ok(Named::Unchanged)),
        "unchanged" => Some(Err("write `{unchanged: true}`, or name the secret".to_owned())),
        _ => None,
    }
}

fn is_variable(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(good) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads a secret's place. A secret that is written out is refused: the file is kept where secrets are not.
pub(super) fn secret(read: &mut Reader, node: &Node, what: &str) -> Option<At<Named>> {
    match named(node) {
        Some(Ok(value)) => Some(At { at: node.at, value }),
        Some(Err(problem)) => read.wrong(node.at, problem),
        None => read.wrong(
            node.at,
            format!(
                "`{what}` is a secret and is not written into this file: put it into a file that only you can read and \
                 write `{{file: PATH}}`, or into an environment variable and write `{{env: NAME}}`"
            ),
        ),
    }
}

/// Text that may be written out or kept elsewhere.
#[derive(Clone, Debug)]
pub(super) enum TextOrNamed {
    Text(String),
    Named(Named),
}

/// Reads such a text.
pub(super) fn text(read: &mut Reader, node: &Node, what: &str) -> Option<At<TextOrNamed>> {
    let value = match named(node) {
        Some(Ok(value)) => TextOrNamed::Named(value),
        Some(Err(problem)) => return read.wrong(node.at, problem),
        None => TextOrNamed::Text(read.text(node, what)?.to_owned()),
    };
    Some(At { at: node.at, value })
}

/// The value of something named that came with the file.
pub(super) fn value<'a>(secrets: &'a Secrets, at: &At<Named>, source: &Source) -> Result<&'a str, Problem> {
    let value = secrets.get(&source.key()).map(SecretText::expose);
    let missing = || {
        let text = format!("the value of `{source}` did not come with the file: only `edge apply` sends it along");
        Problem::at(at.at, text)
    };
    let value = value.ok_or_else(missing)?;
    match value.len() {
        0 => Err(Problem::at(at.at, format!("`{source}` is empty"))),
        1..=VALUE_MAX => Ok(value),
        _ => Err(Problem::at(at.at, format!("`{source}` is longer than {VALUE_MAX} bytes"))),
    }
}

/// Whether all values together are small enough.
pub(super) fn check(secrets: &Secrets) -> Result<(), Problem> {
    let size = secrets.iter().map(|(key, value)| key.len().saturating_add(value.expose().len()));
    match size.fold(0usize, usize::saturating_add) {
        0..=VALUES_MAX => Ok(()),
        _ => Err(Problem::new(None, format!("the values that came with the file are larger than {VALUES_MAX} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_names_and_a_broken_one_names_nothing() {
        let text = "login_methods:\n  - {name: a, client_secret: {file: x/y}, ca: {file: ca.pem}}\n  - {name: b, client_secret: \
             {env: SECRET_1}}\n  - {name: c, client_secret: {file: x/y}}\n  - {name: d, client_secret: {unchanged: true}}\n\
             groups:\n  - {name: {file: no}}\n";
        let found = references(text);
        let keys: Vec<_> = found.iter().map(|one| (one.at, one.source.key())).collect();
        assert_eq!(
            keys,
            [((2, 30), "file:x/y".into()), ((2, 47), "file:ca.pem".into()), ((3, 30), "env:SECRET_1".into())]
        );
        for text in
            ["", "a: [", "login_methods: 7", "login_methods: [7, {client_secret: {file: [x]}}, {ca: {env: 1x}}]"]
        {
            assert_eq!(references(text), [], "{text}");
        }
    }

    // A7
    #[test]
    fn a_value_is_not_printed() {
        let request = super::super::Request {
            file: "access.yaml".into(),
            text: String::new(),
            secrets: [("env:X".to_owned(), SecretText::new("hunter2".into()))].into(),
            dry_run: false,
            prune: false,
        };
        assert!(!format!("{request:?}").contains("hunter2"));
        let sent = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<super::super::Request>(&sent).unwrap(), request);
    }
}
