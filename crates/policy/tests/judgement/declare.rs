//! Short ways to write declarations down.

use std::net::IpAddr;

use tunnel_policy::{
    Action, Application, Attributes, Circumstances, Group, Policy, PolicySet, Rules, Selector, Subject, Target,
};
use tunnel_proto::{AppId, Hostname, Identity, PersonId, UnixTime};

/// A selector from `email:a@example.com`, `domain:…`, `ip:…`, `method:…`, `group:…` `token:…`, `any-token` or `everyone`.
pub(crate) fn selector(text: &str) -> Selector {
    match text.split_once(':') {
        None if text == "any-token" => Selector::AnyServiceToken,
        None => Selector::Everyone,
        Some(("token", value)) => Selector::ServiceToken(value.parse().expect(text)),
        Some(("email", value)) => Selector::Email(value.parse().expect(text)),
        Some(("domain", value)) => Selector::EmailDomain(value.parse().expect(text)),
        Some(("ip", value)) => Selector::Ip(value.parse().expect(text)),
        Some(("method", value)) => Selector::LoginMethod(value.parse().expect(text)),
        Some(("group", value)) => Selector::Group(value.parse().expect(text)),
        Some(_) => panic!("{text}"),
    }
}

/// Rules from `include… & require… - exclude…`, each list separated by spaces.
pub(crate) fn rules(text: &str) -> Rules {
    let (text, exclude) = text.split_once(" - ").unwrap_or((text, ""));
    let (include, require) = text.split_once(" & ").unwrap_or((text, ""));
    let list = |text: &str| text.split_whitespace().map(selector).collect();
    Rules { include: list(include), require: list(require), exclude: list(exclude) }
}

pub(crate) fn group(name: &str, text: &str) -> Group {
    Group { name: name.parse().expect(name), rules: rules(text) }
}

/// A policy named `name`; one whose name begins with `block` blocks, and one that begins with `machines` is for those.
pub(crate) fn policy(name: &str, text: &str) -> Policy {
    let action = match name {
        _ if name.starts_with("block") => Action::Block,
        _ if name.starts_with("machines") => Action::ServiceAuth,
        _ => Action::Allow,
    };
    Policy {
        name: name.parse().expect(name),
        action,
        rules: rules(text),
        session_duration: None,
        destinations: Vec::new(),
    }
}

/// An application at `host` or `host/path`, several separated by spaces.
pub(crate) fn app(name: &str, targets: &str, policies: &[&str]) -> Application {
    let target = |text: &str| match text.find('/') {
        None => Target { host: text.parse().expect(text), path: None },
        Some(at) => Target { host: text[..at].parse().expect(text), path: Some(text[at..].parse().expect(text)) },
    };
    let mut id = [0; 32];
    for (byte, letter) in id.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    Application {
        id: AppId::from_bytes(id),
        name: name.parse().expect(name),
        targets: targets.split_whitespace().map(target).collect(),
        login_methods: vec![],
        policies: policies.iter().map(|policy| policy.parse().expect(policy)).collect(),
        websocket_origins: vec![],
        compatible_headers: true,
        device_login: true,
        provisional: false,
    }
}

pub(crate) fn host(text: &str) -> Hostname {
    Hostname::parse(text).expect(text)
}

pub(crate) fn person(email: &str) -> Identity {
    Identity {
        person: PersonId::from_random([0; 16]),
        email: email.parse().expect(email),
        method: "pin".parse().expect("a name"),
        authenticated: UnixTime(0),
    }
}

/// What is known of a person about whom nobody said anything.
pub(crate) static PLAIN: Attributes = Attributes::new();

/// A person of whom nothing more is known.
pub(crate) fn asks(identity: &Identity, here: Circumstances) -> Subject<'_> {
    Subject::person(identity, &PLAIN, here)
}

/// A request from this address, at no particular time.
pub(crate) fn at(source: &str) -> Circumstances {
    from(source.parse().expect(source))
}

/// A request from this address, at no particular time.
pub(crate) fn from(source: IpAddr) -> Circumstances {
    Circumstances { source, country: None, now: UnixTime(1_800_000_000) }
}

/// Whether one policy that includes `text` admits the person from the address.
pub(crate) fn admits(text: &str, email: &str, source: &str) -> bool {
    let app = app("app", "app.example.com", &["p"]);
    let set = PolicySet::new(&[], &[policy("p", text)], std::slice::from_ref(&app)).expect("a good set");
    set.decide(&app, &asks(&person(email), at(source))).is_allow()
}
