//! Reading values out of a tree, and collecting what is wrong with them.

use std::{fmt, str::FromStr};

use tunnel_proto::Name;

use super::{
    problem::{Problem, suggestion},
    yaml::{Key, Node, Place, Value},
};

/// Something and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) at: Place,
    pub(super) value: T,
}

/// The keys of a map: those that mean something, and those that will.
pub(super) struct Keys {
    pub(super) known: &'static [&'static str],
    pub(super) later: &'static [&'static str],
}

/// A map whose keys are all known, read key by key.
pub(super) struct Fields<'a> {
    at: Place,
    what: &'a str,
    entries: &'a [(Key, Node)],
}

impl<'a> Fields<'a> {
    pub(super) fn place(&self) -> Place {
        self.at
    }

    /// What this is, with its name where it has one.
    pub(super) fn named(&self) -> String {
        match self.get("name").map(|node| &node.value) {
            Some(Value::Text(name)) => format!("{} `{name}`", self.what),
            _ => self.what.to_owned(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
    }
}

/// Reads and collects what is wrong.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn names(&mut self, node: &Node, what: &str) -> Option<Vec<At<Name>>> {
        let nodes = self.list(node, what)?;
        let mut names: Vec<At<Name>> = Vec::new();
        for node in nodes {
            let Some(name) = self.parsed::<Name>(node, what) else { continue };
            if names.iter().any(|other| other.value == name.value) {
                self.problems.push(Problem::at(name.at, format!("`{what}` names `{}` twice", name.value)));
            }
            names.push(name);
        }
        Some(names)
    }

    pub(super) fn many<T>(
        &mut self,
        node: &Node,
        what: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<At<T>>> {
        let nodes = self.list(node, what)?;
        let read = |node: &Node| self.with(node, what, &read).map(|value| At { at: node.at, value });
        Some(nodes.iter().filter_map(read).collect())
    }

    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, node: &Node, what: &str) -> Option<At<T>> {
        let parse = |text: &str| text.parse().map_err(|error| format!("`{text}`: {error}"));
        self.with(node, what, parse).map(|value| At { at: node.at, value })
    }

    pub(super) fn with<T>(&mut self, node: &Node, what: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(node, what)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(problem) => self.wrong(node.at, problem),
        }
    }

    pub(super) fn text<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a str> {
        let problem = match &node.value {
            Value::Text(text) => return Some(text),
            Value::Map(entries)
                if let [(key, _)] = entries.as_slice()
                    && is_secret(&key.text) =>
            {
                format!("`{{{}: …}}` stands for a secret, and `{what}` is not one; write it here", key.text)
            }
            Value::Number(number) => format!("`{what}` is text: put it in quotes, \"{number}\""),
            Value::Bool(value) => format!("`{what}` is text: put it in quotes, \"{value}\""),
            other => format!("`{what}` is text, not {}", other.kind()),
        };
        self.wrong(node.at, problem)
    }

    pub(super) fn list<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a [Node]> {
        match &node.value {
            Value::List(list) => Some(list),
            Value::Null => self.wrong(node.at, format!("`{what}` is empty: write a list, or `[]` for an empty one")),
            other => self.wrong(node.at, format!("`{what}` is a list, not {}: write `[…]`", other.kind())),
        }
    }

    pub(super) fn fields<'a>(&mut self, node: &'a Node, what: &'a str, keys: &Keys) -> Option<Fields<'a>> {
        let Value::Map(entries) = &node.value else {
            let first = keys.known.first().copied().unwrap_or_default();
            return self.wrong(
                node.at,
                format!("{what}: a map such as `{{{first}: …}}` is wanted, not {}", node.value.kind()),
            );
        };
        for (key, _) in entries {
            if !keys.known.contains(&key.text.as_str()) {
                let _: Option<()> = self.choice(key.at, &format!("key of {what}"), &key.text, keys.known, keys.later);
            }
        }
        Some(Fields { at: node.at, what, entries })
    }

    pub(super) fn required<'a>(&mut self, fields: &Fields<'a>, key: &str) -> Option<&'a Node> {
        let found = fields.get(key);
        if found.is_none() {
            self.problems.push(Problem::at(fields.at, format!("{} without `{key}`", fields.what)));
        }
        found
    }

    /// Refuses a word that is none of the known ones.
    pub(super) fn choice<T>(&mut self, at: Place, what: &str, word: &str, known: &[&str], later: &[&str]) -> Option<T> {
        if later.contains(&word) {
            return self.wrong(at, format!("{what} `{word}` is not built yet"));
        }
        let mut suggestion = suggestion(word, known.iter().chain(later).copied());
        if suggestion.is_empty() {
            suggestion = format!("; known: {}", known.join(", "));
        }
        self.wrong(at, format!("unknown {what} `{word}`{suggestion}"))
    }

    /// A key that is false where it is not there.
    pub(super) fn switch(&mut self, fields: &Fields<'_>, key: &str) -> Option<bool> {
        fields.get(key).map_or(Some(false), |node| match node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong(node.at, format!("`{key}` is true or false, not {}", node.value.kind())),
        })
    }

    pub(super) fn wrong<T>(&mut self, at: Place, text: impl Into<String>) -> Option<T> {
        self.problems.push(Problem::at(at, text));
        None
    }
}

/// Whether `{KEY: …}` stands for a secret that is kept elsewhere.
fn is_secret(key: &str) -> bool {
    matches!(key, "file" | "env" | "unchanged")
}
