//! Pages of other origins that may call an application.

use std::time::Duration;

use http::{HeaderName, Method};
use serde::Serialize;
use tunnel_policy::Cors;
use url::{Host, Url};

use super::{
    fields::{Fields, Keys, Reader},
    scalar,
    yaml::{Node, Value},
};

const CORS: Keys = Keys {
    known: &["allowed_origins", "allowed_methods", "allowed_headers", "allow_credentials", "max_age"],
    later: &[],
};
/// The most values of each list, which all stand in one answer.
const LIST_MAX: usize = 64;
/// The longest of them, in bytes.
const VALUE_MAX: usize = 128;
/// The longest that a browser is told to remember, in seconds: none does so for longer than a day.
const AGE_MAX: u64 = 24 * 3600;

/// Reads what an application says; `None` when something is wrong with it.
pub(super) fn cors(read: &mut Reader, app: &Fields<'_>) -> Option<Option<Cors>> {
    let Some(node) = app.get("cors") else { return Some(None) };
    let fields = read.fields(node, "cors", &CORS)?;
    let origins = read.required(&fields, "allowed_origins").and_then(|node| {
        let origins = listed(read, node, "allowed_origins", origin)?;
        match &node.value {
            _ if !origins.is_empty() => Some(origins),
            // What was wrong with each of them has been said.
            Value::List(written) if !written.is_empty() => None,
            _ => read.wrong(node.at, "`allowed_origins` without an origin allows nothing: leave `cors` out"),
        }
    });
    let methods = fields.get("allowed_methods");
    let methods = methods.map_or(Some(Vec::new()), |node| listed(read, node, "allowed_methods", method));
    let headers = fields.get("allowed_headers");
    let headers = headers.map_or(Some(Vec::new()), |node| listed(read, node, "allowed_headers", header));
    let credentials = read.switch(&fields, "allow_credentials");
    let age = fields.get("max_age").map_or(Some(None), |node| age(read, node).map(Some));
    Some(Some(Cors {
        allowed_origins: origins?,
        allowed_methods: methods?,
        allowed_headers: headers?,
        allow_credentials: credentials?,
        max_age: age?,
    }))
}

fn listed(read: &mut Reader, node: &Node, key: &str, parse: fn(&str) -> Result<String, String>) -> Option<Vec<String>> {
    let short = |text: &str| match text.len() > VALUE_MAX {
        true => Err(format!("a value of `{key}` is longer than {VALUE_MAX} bytes")),
        false => parse(text),
    };
    let list = read.once(node, key, short)?;
    match list.len() > LIST_MAX {
        true => read.wrong(node.at, format!("`{key}` has more than {LIST_MAX} values")),
        false => Some(list),
    }
}

/// The origin of pages that nobody on the way can change: by HTTPS, or on the visitor's own machine.
fn origin(text: &str) -> Result<String, String> {
    if text == "null" || text.contains('*') {
        return Err(format!("`{text}` stands for pages of anybody: write each origin out, `https://HOST`"));
    }
    let origin = scalar::origin(text)?;
    let url = Url::parse(&origin).map_err(|_| format!("`{text}` is not an origin"))?;
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() == "https" || here {
        true => Ok(origin),
        false => Err(format!("`{text}`: whoever is on the way could be that page; write `https://`")),
    }
}

/// A method that scripts may use (Fetch §2.2.1), as they have to write it.
fn method(text: &str) -> Result<String, String> {
    let known = Method::from_bytes(text.as_bytes()).ok().filter(|_| text != "*");
    let Some(method) = known else {
        return Err(format!("`{text}` is not a method: write each out, for example `PUT`"));
    };
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("`{text}`: methods are written in capitals, `{}`", text.to_ascii_uppercase()));
    }
    match matches!(method, Method::CONNECT | Method::TRACE) || text == "TRACK" {
        true => Err(format!("`{text}` is a method that browsers let no page use")),
        false => Ok(text.to_owned()),
    }
}

/// The name of a field, in small letters.
fn header(text: &str) -> Result<String, String> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text != "*");
    let name = name.ok_or_else(|| format!("`{text}` is not a header: write each out, for example `X-Api-Version`"))?;
    Ok(name.as_str().to_owned())
}

/// A duration; a bare number is seconds, as browsers count.
fn age(read: &mut Reader, node: &Node) -> Option<Duration> {
    let text = match &node.value {
        Value::Number(number) => format!("{number}s"),
        _ => read.text(node, "max_age")?.to_owned(),
    };
    match scalar::seconds(&text) {
        Ok(seconds) if seconds <= AGE_MAX => Some(Duration::from_secs(seconds)),
        Ok(_) => read.wrong(node.at, format!("`{text}` is out of range: browsers remember for 24h at most")),
        Err(problem) => read.wrong(node.at, problem),
    }
}

/// The same in the shape of the file.
#[derive(Debug, Serialize)]
pub(super) struct CorsView {
    allowed_origins: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_headers: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    allow_credentials: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<String>,
}

impl CorsView {
    pub(super) fn of(cors: &Cors) -> Self {
        Self {
            allowed_origins: cors.allowed_origins.clone(),
            allowed_methods: cors.allowed_methods.clone(),
            allowed_headers: cors.allowed_headers.clone(),
            allow_credentials: cors.allow_credentials,
            max_age: cors.max_age.map(scalar::duration_text),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}
