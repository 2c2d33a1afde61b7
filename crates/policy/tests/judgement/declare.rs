//! Short ways to write declarations down.

use std::net::IpAddr;

use tunnel_policy::{
    Action, Application, Attributes, Circumstances, ClaimValue, Days, Declarations, Evaluation, GithubTeam, Group,
    Policy, PolicySet, PolicySetError, ProviderGroup, Rules, Selector, Subject, Target, TimeOfWeek,
};
use tunnel_proto::{AppId, Hostname, Identity, PersonId, UnixTime};

/// A selector from `email:a@example.com`, `domain:…`, `emails:LIST`, `ip:…`, `ips:LIST`, `country:JP`, `method:…`,
/// `amr:mfa`, `idp:GROUP[@METHOD]`, `github:ORG[/TEAM][@METHOD]`, `claim:NAME=VALUE[@METHOD]`, `time:mon-fri/09:00-18:00/ZONE`,
/// `eval:HOST`, `group:…`, `token:…`, `any-token` or `everyone`. An underscore stands for a space.
pub(crate) fn selector(text: &str) -> Selector {
    let Some((kind, value)) = text.split_once(':') else {
        return if text == "any-token" { Selector::AnyServiceToken } else { Selector::Everyone };
    };
    let plain = value.replace('_', " ");
    let (what, method) = plain.split_once('@').unwrap_or((&plain, ""));
    let login_method = || Some(method).filter(|method| !method.is_empty()).map(|method| method.parse().expect(method));
    match kind {
        "token" => Selector::ServiceToken(value.parse().expect(text)),
        "email" => Selector::Email(value.parse().expect(text)),
        "domain" => Selector::EmailDomain(value.parse().expect(text)),
        "emails" => Selector::EmailList(value.parse().expect(text)),
        "ip" => Selector::Ip(value.parse().expect(text)),
        "ips" => Selector::IpList(value.parse().expect(text)),
        "country" => Selector::Country(value.parse().expect(text)),
        "method" => Selector::LoginMethod(value.parse().expect(text)),
        "amr" => Selector::AuthMethod(value.to_owned()),
        "idp" => Selector::IdpGroup(ProviderGroup { name: what.to_owned(), login_method: login_method() }),
        "github" => {
            let (organization, team) = what.split_once('/').unwrap_or((what, ""));
            let team = Some(team.to_owned()).filter(|team| !team.is_empty());
            Selector::Github(GithubTeam { organization: organization.to_owned(), team, login_method: login_method() })
        }
        "claim" => {
            let (name, value) = what.split_once('=').expect(text);
            Selector::OidcClaim(ClaimValue {
                name: name.to_owned(),
                value: value.to_owned(),
                login_method: login_method(),
            })
        }
        "time" => Selector::TimeOfWeek(time(value)),
        "eval" => Selector::ExternalEvaluation(evaluation(value)),
        "group" => Selector::Group(value.parse().expect(text)),
        _ => panic!("{text}"),
    }
}

/// A time of the week from `mon-fri,sun/09:00-18:00/Asia/Tokyo`.
pub(crate) fn time(text: &str) -> TimeOfWeek {
    let parts: Vec<&str> = text.splitn(3, '/').collect();
    let [listed, span, zone] = parts[..] else { panic!("{text}") };
    let (from, to) = span.split_once('-').expect(text);
    let days = listed.split(',').fold(Days::default(), |days, day| days.with(day.parse().expect(text)));
    TimeOfWeek::new(days, from.parse().expect(text), to.parse().expect(text), zone.parse().expect(text)).expect(text)
}

/// The evaluation at this host.
pub(crate) fn evaluation(host: &str) -> Evaluation {
    Evaluation {
        evaluate_url: format!("https://{host}/evaluate"),
        keys_url: format!("https://{host}/keys"),
        danger_allow_private_address: false,
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

/// A policy named `name`; one whose name begins with `block` blocks, one that begins with `bypass` is that, and one that begins
/// with `machines` is for those.
pub(crate) fn policy(name: &str, text: &str) -> Policy {
    let action = match name {
        _ if name.starts_with("block") => Action::Block,
        _ if name.starts_with("bypass") => Action::Bypass,
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
    let targets = targets.split_whitespace().map(target).collect();
    let policies = policies.iter().map(|policy| policy.parse().expect(policy)).collect();
    Application::new(AppId::from_bytes(id), name.parse().expect(name), targets, policies)
}

/// A set without lists.
pub(crate) fn set_of(
    groups: &[Group],
    policies: &[Policy],
    applications: &[Application],
) -> Result<PolicySet, PolicySetError> {
    PolicySet::new(Declarations { groups, policies, applications, ..Declarations::default() })
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
    let set = set_of(&[], &[policy("p", text)], std::slice::from_ref(&app)).expect("a good set");
    set.decide(&app, &asks(&person(email), at(source))).is_allow()
}
