//! YAML as a tree in which everything knows where it stands. The only place that knows which crate reads and writes it.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// A place in a file: line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// A value. Numbers keep the text that stands for them only when that is what a person would write.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order written; no key twice.
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Place,
    pub(super) text: String,
}

impl Value {
    /// What kind of value it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// The most values in a document: some thirty for each application with what it needs.
const NODES_MAX: usize = 1_000_000;

/// Reads one document. An error is one line: what the parser says, and where.
pub(super) fn read(text: &str) -> Result<Node, (Option<Place>, String)> {
    // Only `true` and `false` are booleans: a group may be called `no` (YAML 1.2 §10.3.2).
    let budget = serde_saphyr::budget! { max_nodes: NODES_MAX, max_events: NODES_MAX.saturating_mul(2) };
    let options = serde_saphyr::options! { strict_booleans: true, budget: budget };
    let tree: Spanned<Value> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().map(place);
        let said = error.without_snippet().to_string();
        // The first line is the message; the parser repeats the place in it, which we print in front.
        let said = said.lines().next().unwrap_or_default();
        let said = said.split(" at line ").next().unwrap_or(said).trim_end_matches([',', ':']).to_owned();
        (at, said)
    })?;
    Ok(node(tree))
}

/// Writes one document.
pub(super) fn write(value: &impl Serialize) -> Result<String, fmt::Error> {
    serde_saphyr::to_string(value).map_err(|_| fmt::Error)
}

fn node(spanned: Spanned<Value>) -> Node {
    Node { at: place(spanned.referenced), value: spanned.value }
}

fn place(location: serde_saphyr::Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        // As JSON writes it: `1.0` stays that.
        Ok(Value::Number(format!("{value:?}")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let key = Key { at: place(key.referenced), text: key.value };
            map.push((key, node(entries.next_value::<Spanned<Value>>()?)));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_where_it_stands() {
        let tree = read("a: 1\nb:\n  - {c: x, d: [y, z]}\n  - null\n").expect("good YAML");
        let at = |line, column| Place { line, column };
        let Value::Map(top) = tree.value else { panic!("a map") };
        assert_eq!((top[0].0.at, top[0].1.at), (at(1, 1), at(1, 4)));
        let Value::List(list) = &top[1].1.value else { panic!("a list") };
        assert_eq!(top[1].0.at, at(2, 1));
        let Value::Map(inner) = &list[0].value else { panic!("a map") };
        assert_eq!((inner[0].0.at, inner[0].1.at), (at(3, 6), at(3, 9)));
        let Value::List(letters) = &inner[1].1.value else { panic!("a list") };
        assert_eq!((list[0].at, letters[1].at), (at(3, 5), at(3, 19)));
        assert!(matches!(list[1].value, Value::Null));
    }

    #[test]
    fn an_error_is_one_line_and_has_a_place() {
        for text in [
            "a: [1, 2",
            "a: 1\na: 2\n",
            "a: b: c",
            "a: 'x",
            "\t- x: {",
            "a: *nowhere",
            "a: 1\n---\nb: 2\n",
            "a: 1\n b: 2\n",
        ] {
            let (at, said) = read(text).expect_err(text);
            assert!(!said.contains('\n') && !said.is_empty(), "{text:?}: {said}");
            assert!(at.is_some(), "{text:?}: {said}");
        }
    }
}
