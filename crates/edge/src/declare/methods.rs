//! Login methods: their keys by type, and what a file makes of those that there are.

use std::time::Duration;

use tunnel_proto::{Hostname, Name};
use url::{Host, Url};
use uuid::Uuid;

use super::{
    Ground,
    fields::{At, Fields, Keys, Reader},
    problem::Problem,
    read::Item,
    scalar,
    secrets::{self, Named, SECRET_MAX, Secrets, TextOrNamed},
    yaml::{Node, Value},
};
use crate::{
    outbound::{self, Outbound},
    store::{
        Declared, GithubMethod, LoginMethod, LoginMethodKind, OpenIdMethod, OpenIdPreset, PasskeyMethod, SealedSecret,
    },
};

/// Microsoft's cloud, GitHub and so on, where nothing else is declared.
pub(super) const ENTRA: &str = "https://login.microsoftonline.com";
pub(super) const GRAPH: &str = "https://graph.microsoft.com";
pub(super) const GOOGLE: &str = "https://accounts.google.com";
pub(super) const GITLAB: &str = "https://gitlab.com";
pub(super) const GITHUB: &str = "https://github.com";
pub(super) const GITHUB_API: &str = "https://api.github.com";
/// What stands behind a tenant in its issuer.
pub(super) const ENTRA_VERSION: &str = "/v2.0";

/// The most scopes, claims and domains of one method.
const LIST_MAX: usize = 32;
/// The longest name of a scope or claim, and the longest client id, in bytes.
const WORD_MAX: usize = 256;
/// The longest address, in bytes.
const ADDRESS_MAX: usize = 512;
/// How long a passkey may count without the login before it being repeated.
const RENEW: std::ops::RangeInclusive<u64> = 3_600..=366 * 86_400;

const TYPES: [&str; 10] =
    ["one_time_pin", "oidc", "entra", "google", "okta", "keycloak", "auth0", "gitlab", "github", "passkey"];
const TYPES_LATER: [&str; 2] = ["saml", "password"];

const PIN: Keys = Keys { known: &["name", "type"], later: &[] };
const PASSKEY: Keys = Keys { known: &["name", "type", "renew"], later: &[] };
const GITHUB_KEYS: Keys = Keys {
    known: &["name", "type", "client_id", "client_secret", "authority", "api", "ca", "danger_allow_private_address"],
    later: &[],
};
const LATER: &[&str] = &["label", "pkce"];
const OIDC: Keys = Keys {
    known: &[
        "name",
        "type",
        "issuer",
        "client_id",
        "client_secret",
        "scopes",
        "email_claim",
        "groups_claim",
        "claims",
        "authoritative_for",
        "revalidate",
        "ca",
        "danger_allow_private_address",
    ],
    later: LATER,
};
const ENTRA_KEYS: Keys = Keys {
    known: &[
        "name",
        "type",
        "tenant",
        "client_id",
        "client_secret",
        "scopes",
        "email_claim",
        "groups_claim",
        "groups",
        "claims",
        "authority",
        "graph",
        "authoritative_for",
        "revalidate",
        "ca",
        "danger_allow_private_address",
    ],
    later: LATER,
};
const GOOGLE_KEYS: Keys = Keys {
    known: &[
        "name",
        "type",
        "client_id",
        "client_secret",
        "hosted_domain",
        "issuer",
        "scopes",
        "email_claim",
        "groups_claim",
        "claims",
        "authoritative_for",
        "revalidate",
        "ca",
        "danger_allow_private_address",
    ],
    later: LATER,
};

/// A login method as it is written. What it names is filled in when it is laid over what there is.
#[derive(Debug)]
pub(super) struct MethodText {
    kind: LoginMethodKind,
    secret: Option<At<Named>>,
    ca: Option<At<TextOrNamed>>,
}

/// Reads one. The type first: keys that belong to another type would only distract from it.
pub(super) fn read(read: &mut Reader, node: &Node, what: &str) -> Option<Item<MethodText>> {
    let kind = match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == "type").map(|(_, kind)| kind),
        _ => None,
    };
    let Some(kind) = kind else {
        let fields = read.fields(node, what, &OIDC)?;
        let _ = read.name(&fields);
        read.required(&fields, "type")?;
        return None;
    };
    let text = read.text(kind, "type")?;
    let keys = match text {
        "one_time_pin" => &PIN,
        "passkey" => &PASSKEY,
        "github" => &GITHUB_KEYS,
        "entra" => &ENTRA_KEYS,
        "google" => &GOOGLE_KEYS,
        _ if TYPES.contains(&text) => &OIDC,
        _ => return read.choice(kind.at, "login method type", text, &TYPES, &TYPES_LATER),
    };
    let fields = read.fields(node, what, keys)?;
    let name = read.name(&fields);
    let body = match text {
        "one_time_pin" => Some(MethodText { kind: LoginMethodKind::OneTimePin, secret: None, ca: None }),
        "passkey" => passkey(read, &fields),
        "github" => github(read, &fields),
        _ => openid(read, &fields, text),
    };
    let (name, body) = (name?, body?);
    let comes_back = matches!(body.kind, LoginMethodKind::OpenId(_) | LoginMethodKind::Github(_));
    if comes_back && ["pin", "pin-again", "passkey"].contains(&name.value.as_str()) {
        let text = format!("`{}` is the address at which codes are typed; choose another name", name.value);
        return read.wrong(name.at, text);
    }
    Some(Item { name, body })
}

fn passkey(read: &mut Reader, fields: &Fields<'_>) -> Option<MethodText> {
    let renew = match fields.get("renew") {
        None => PasskeyMethod::RENEW_DEFAULT,
        Some(node) => read.with(node, "renew", |text| {
            let seconds = scalar::seconds(text)?;
            let out =
                || Err(format!("`{text}` is out of range: a passkey counts from 1h to 366d without another login"));
            if RENEW.contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { out() }
        })?,
    };
    Some(MethodText { kind: LoginMethodKind::Passkey(PasskeyMethod { renew }), secret: None, ca: None })
}

fn github(read: &mut Reader, fields: &Fields<'_>) -> Option<MethodText> {
    let private = read.switch(fields, "danger_allow_private_address");
    let client_id = client_id(read, fields);
    let secret = read.required(fields, "client_secret").and_then(|node| secrets::secret(read, node, "client_secret"));
    let ca = optional(fields, "ca", |node| secrets::text(read, node, "ca"));
    let (authority, api) = (base(read, fields, "authority", private), base(read, fields, "api", private));
    let authority = authority?.unwrap_or_else(|| GITHUB.to_owned());
    // An enterprise server has its interface below itself.
    let of = if authority == GITHUB { GITHUB_API.to_owned() } else { format!("{authority}/api/v3") };
    let method = GithubMethod {
        client_id: client_id?,
        client_secret: SealedSecret(Vec::new()),
        authority,
        api: api?.unwrap_or(of),
        private_address: private?,
        ca: None,
    };
    Some(MethodText { kind: LoginMethodKind::Github(Box::new(method)), secret: Some(secret?), ca: ca? })
}

fn openid(read: &mut Reader, fields: &Fields<'_>, text: &str) -> Option<MethodText> {
    let preset = OpenIdPreset::ALL.into_iter().find(|preset| preset.as_str() == text)?;
    let private = read.switch(fields, "danger_allow_private_address");
    let client_id = client_id(read, fields);
    let secret = read.required(fields, "client_secret").and_then(|node| secrets::secret(read, node, "client_secret"));
    let ca = optional(fields, "ca", |node| secrets::text(read, node, "ca"));
    let issuer = issuer(read, fields, preset, private);
    let graph = base(read, fields, "graph", private);
    let scopes = words(read, fields, "scopes", scope);
    let claims = words(read, fields, "claims", kept);
    let claim_of = |read: &mut Reader, key: &str| optional(fields, key, |node| read.with(node, key, claim));
    let (email_claim, groups_claim) = (claim_of(read, "email_claim"), claim_of(read, "groups_claim"));
    let groups = read.switch(fields, "groups");
    let hosted_domain = optional(fields, "hosted_domain", |node| read.with(node, "hosted_domain", domain));
    let authoritative_for = words(read, fields, "authoritative_for", domain);
    let revalidate = optional(fields, "revalidate", |node| read.with(node, "revalidate", scalar::revalidate));
    let method = OpenIdMethod {
        preset,
        issuer: issuer?,
        client_id: client_id?,
        client_secret: SealedSecret(Vec::new()),
        scopes: scopes?,
        email_claim: email_claim?,
        groups_claim: groups_claim?,
        groups: groups?,
        graph: graph?.filter(|graph| graph != GRAPH),
        claims: claims?,
        hosted_domain: hosted_domain?,
        authoritative_for: authoritative_for?,
        revalidate: revalidate?,
        private_address: private?,
        ca: None,
    };
    Some(MethodText { kind: LoginMethodKind::OpenId(Box::new(method)), secret: Some(secret?), ca: ca? })
}

/// The issuer, exactly as the provider writes it.
fn issuer(read: &mut Reader, fields: &Fields<'_>, preset: OpenIdPreset, private: Option<bool>) -> Option<String> {
    if preset == OpenIdPreset::Entra {
        let authority = base(read, fields, "authority", private);
        let tenant = read.required(fields, "tenant").and_then(|node| read.with(node, "tenant", tenant));
        let authority = authority?.unwrap_or_else(|| ENTRA.to_owned());
        return Some(format!("{authority}/{}{ENTRA_VERSION}", tenant?));
    }
    let usual = match preset {
        OpenIdPreset::Google => Some(GOOGLE),
        OpenIdPreset::Gitlab => Some(GITLAB),
        _ => None,
    };
    let node = match (fields.get("issuer"), usual) {
        (None, Some(usual)) => return Some(usual.to_owned()),
        _ => read.required(fields, "issuer")?,
    };
    let private = private?;
    let issuer = read.with(node, "issuer", |text| address(text, private).map(|()| text.to_owned()))?;
    // Auth0 always writes the slash, and nobody else does.
    let slash = preset == OpenIdPreset::Auth0 && !issuer.ends_with('/');
    Some(if slash { format!("{issuer}/") } else { issuer })
}

/// Only a tenant: whoever takes tokens of any organisation takes those of an attacker's.
fn tenant(text: &str) -> Result<Uuid, String> {
    if ["common", "organizations", "consumers"].contains(&text.to_ascii_lowercase().as_str()) {
        return Err(format!("`{text}` would let in people of any organisation: write the id of your own tenant"));
    }
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_| hyphenated).ok_or_else(|| {
        format!(
            "`{text}` is not a tenant's id: write the one that Microsoft Entra shows, such as \
             `8f0b6b1e-5c1d-4c0a-9d39-1f2f3a4b5c6d` (its domain does not stand in tokens)"
        )
    })
}

fn client_id(read: &mut Reader, fields: &Fields<'_>) -> Option<String> {
    let node = read.required(fields, "client_id")?;
    read.with(node, "client_id", |text| {
        let good = (1..=WORD_MAX).contains(&text.len()) && text.bytes().all(|b| matches!(b, 0x20..=0x7e));
        if good { Ok(text.to_owned()) } else { Err("`client_id` is 1 to 256 ASCII characters".to_owned()) }
    })
}

/// A base address, without a slash at its end.
fn base(read: &mut Reader, fields: &Fields<'_>, key: &str, private: Option<bool>) -> Option<Option<String>> {
    optional(fields, key, |node| {
        let private = private?;
        read.with(node, key, |text| {
            let base = text.strip_suffix('/').unwrap_or(text);
            address(base, private).map(|()| base.to_owned())
        })
    })
}

fn address(text: &str, private: bool) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("`{text}`: {what}"));
    let url = match Url::parse(text) {
        Ok(url) if text.len() <= ADDRESS_MAX && text.bytes().all(|b| matches!(b, 0x21..=0x7e)) => url,
        _ => return wrong("not an address: write `https://HOST` or `https://HOST/PATH`"),
    };
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let ip = match url.host() {
        None => return wrong("not an address: write `https://HOST` or `https://HOST/PATH`"),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(v4)) => Some(v4.into()),
        Some(Host::Ipv6(v6)) => Some(v6.into()),
    };
    match url.scheme() {
        "https" | "http" if !bare => wrong("write it without user, query and fragment"),
        "https" if !private && ip.is_some_and(|ip| !outbound::is_public(ip)) => {
            wrong("a private address is asked only with `danger_allow_private_address: true`")
        }
        "https" => Ok(()),
        "http" if private => Ok(()),
        "http" => wrong("a provider is asked by https; plain http needs `danger_allow_private_address: true`"),
        _ => wrong("a provider is asked by https"),
    }
}

/// A scope (RFC 6749 §3.3).
fn scope(text: &str) -> Result<String, String> {
    let good = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    match (1..=WORD_MAX).contains(&text.len()) && text.bytes().all(good) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a scope: write one word for each")),
    }
}

fn claim(text: &str) -> Result<String, String> {
    match (1..=WORD_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err("the name of a claim is 1 to 256 bytes".to_owned()),
    }
}

/// A claim to be kept, which takes the place of none of ours.
fn kept(text: &str) -> Result<String, String> {
    match OURS.contains(&text) {
        true => Err(format!("`{text}` stands in every assertion with a meaning of ours and cannot be kept")),
        false => claim(text),
    }
}

/// The claims of our own assertions, and those that are about a token.
const OURS: [&str; 18] = [
    "iss",
    "aud",
    "exp",
    "iat",
    "nbf",
    "sub",
    "jti",
    "nonce",
    "azp",
    "at_hash",
    "c_hash",
    "email",
    "type",
    "identity_nonce",
    "country",
    "common_name",
    "custom",
    "_claim_names",
];

fn domain(text: &str) -> Result<Hostname, String> {
    text.parse().map_err(|error| format!("`{text}` is not a domain: {error}"))
}

fn words<T: PartialEq>(
    read: &mut Reader,
    fields: &Fields<'_>,
    key: &str,
    word: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let Some(node) = fields.get(key) else { return Some(Vec::new()) };
    let words = read.many(node, key, word)?;
    if words.len() > LIST_MAX {
        return read.wrong(node.at, format!("`{key}` lists more than {LIST_MAX}"));
    }
    let mut once = Vec::new();
    words.into_iter().for_each(|At { value, .. }| {
        if !once.contains(&value) {
            once.push(value);
        }
    });
    Some(once)
}

/// `Some(None)` when the key is not there, `None` when its value is wrong.
fn optional<'a, T>(fields: &Fields<'a>, key: &str, value: impl FnOnce(&'a Node) -> Option<T>) -> Option<Option<T>> {
    fields.get(key).map_or(Some(None), |node| value(node).map(Some))
}

/// The login methods of a file, with what they name. A secret that is what it was keeps its sealed form, so that applying
/// a file twice changes nothing.
pub(super) fn settle(
    items: &[Item<MethodText>],
    before: &Declared,
    ground: &Ground<'_>,
    secrets: &Secrets,
) -> Result<Vec<LoginMethod>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut methods = Vec::new();
    for Item { name, body } in items {
        let old = before.login_methods.iter().find(|method| method.name == name.value).map(|method| &method.kind);
        let mut kind = body.kind.clone();
        let mut set = || -> Result<(), Problem> {
            if let Some(named) = &body.secret {
                let sealed = sealed(&name.value, named, &kind, old, ground, secrets)?;
                kind.client_secret_mut().into_iter().for_each(|place| *place = sealed.clone());
            }
            if let Some(named) = &body.ca {
                let pem = certificates(&name.value, named, old, secrets)?;
                kind.ca_mut().into_iter().for_each(|place| *place = Some(pem.clone()));
            }
            Ok(())
        };
        match set() {
            Ok(()) => methods.push(LoginMethod { name: name.value.clone(), kind }),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(methods) } else { Err(problems) }
}

fn sealed(
    name: &Name,
    named: &At<Named>,
    kind: &LoginMethodKind,
    old: Option<&LoginMethodKind>,
    ground: &Ground<'_>,
    secrets: &Secrets,
) -> Result<SealedSecret, Problem> {
    let wrong = |text: String| Problem::at(named.at, text);
    let kept = old.and_then(LoginMethodKind::client_secret);
    let source = match &named.value {
        Named::Elsewhere(source) => source,
        Named::Unchanged => {
            let kept = kept.ok_or_else(|| wrong(format!("there is no secret of `{name}` that could stay: name it")))?;
            // Whoever may change where it is sent must know it.
            let (here, there) = (old.and_then(LoginMethodKind::authority), kind.authority());
            return match here == there {
                true => Ok(kept.clone()),
                false => Err(wrong(format!(
                    "the secret of `{name}` was given for `{}` and is not sent elsewhere: name it anew",
                    here.unwrap_or_default()
                ))),
            };
        }
    };
    let value = secrets::value(secrets, named, source)?;
    if value.len() > SECRET_MAX || value.chars().any(char::is_control) {
        return Err(wrong(format!("`{source}` is not one line of at most {SECRET_MAX} bytes")));
    }
    let keys = ground.keys.ok_or_else(|| wrong("secrets cannot be sealed here".to_owned()))?;
    let same = |kept: &&SealedSecret| {
        kept.open(keys, name).is_ok_and(|old| tunnel_auth::secret::same(old.expose(), value.as_bytes()))
    };
    Ok(kept.filter(same).cloned().unwrap_or_else(|| SealedSecret::seal(keys, name, value.as_bytes())))
}

fn certificates(
    name: &Name,
    named: &At<TextOrNamed>,
    old: Option<&LoginMethodKind>,
    secrets: &Secrets,
) -> Result<String, Problem> {
    let wrong = |text: String| Problem::at(named.at, text);
    let pem = match &named.value {
        TextOrNamed::Text(text) => text.as_str(),
        TextOrNamed::Named(Named::Elsewhere(source)) => {
            let at = At { at: named.at, value: Named::Elsewhere(source.clone()) };
            secrets::value(secrets, &at, source)?
        }
        TextOrNamed::Named(Named::Unchanged) => {
            let kept = old.and_then(LoginMethodKind::ca);
            return kept
                .cloned()
                .ok_or_else(|| wrong(format!("there is no `ca` of `{name}` that could stay: name it")));
        }
    };
    if pem.len() > secrets::VALUE_MAX {
        return Err(wrong(format!("`ca` is longer than {} bytes", secrets::VALUE_MAX)));
    }
    // As they will be used.
    Outbound::new(false, Some(pem)).map_err(|error| wrong(error.to_string()))?;
    Ok(format!("{}\n", pem.trim_end()))
}
