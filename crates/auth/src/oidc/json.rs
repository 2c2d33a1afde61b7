//! JSON as it is taken from providers: no name twice, at any depth. Whoever checks one and uses the other is fooled.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// The bytes are not one JSON value of the kind that is wanted, in UTF-8, with every name once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not plain JSON with every name once")]
pub struct JsonError;

/// The object that the bytes are. Deeper than serde_json goes (128 levels) is none.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(Value::Object(map))) => Ok(map),
        _ => Err(JsonError),
    }
}

/// The list that the bytes are.
pub(crate) fn list(bytes: &[u8]) -> Result<Vec<Value>, JsonError> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(Value::Array(list))) => Ok(list),
        _ => Err(JsonError),
    }
}

/// A value in which no object has a name twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.insert(name, value).is_some() {
                return Err(de::Error::custom("a name twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    // O4, S6
    #[test]
    fn an_object_has_every_name_once_at_any_depth() {
        let good = r#"{"a":[1,-2,2.5,null,true,{"b":"c"}],"b":{"b":{}}}"#;
        let read = json!({"a": [1, -2, 2.5, null, true, {"b": "c"}], "b": {"b": {}}});
        assert_eq!(object(good.as_bytes()).map(Value::Object), Ok(read));
        assert_eq!(list(b"[1, {}]"), Ok(vec![json!(1), json!({})]));
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"b":2,"a":3}]}"#,
            "\u{feff}{}",
            "{}{}",
            "{} x",
            "[]",
            "null",
            "",
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1,}"#,
            r#"{'a':1}"#,
            &format!(r#"{{"a":{deep}}}"#),
        ] {
            assert_eq!(object(bad.as_bytes()), Err(JsonError), "{}", bad.get(..40).unwrap_or(bad));
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(JsonError));
        assert_eq!(list(b"{}"), Err(JsonError));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a0-9 ]{0,60}") {
            let _ = (object(&bytes), list(&bytes), object(text.as_bytes()), list(text.as_bytes()));
        }
    }
}
