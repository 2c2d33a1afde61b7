//! Properties: the engine agrees with the slow evaluator, and no reading escapes.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use tunnel_policy::{Group, Policy, PolicySet, Subject, Verdict};

use crate::{
    declare::{app, asks, from, group, host, person, policy},
    slow::{Slow, covers},
};

const EMAILS: [&str; 4] = ["a@x.example", "b@x.example", "a@y.example", "b@sub.x.example"];

fn selectors(groups: usize) -> impl Strategy<Value = Vec<String>> {
    let group = if groups == 0 {
        Just("everyone".to_owned()).boxed()
    } else {
        (0..groups).prop_map(|n| format!("group:g{n}")).boxed()
    };
    let one = prop_oneof![
        4 => prop::sample::select(&EMAILS[..]).prop_map(|email| format!("email:{email}")),
        2 => prop::sample::select(vec!["domain:x.example", "domain:y.example", "domain:example"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["ip:10.0.0.0/31", "ip:10.0.0.2/32", "ip:10.0.0.0/8", "ip:11.0.0.0/8"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["method:pin", "method:other", "everyone"]).prop_map(str::to_owned),
        3 => group,
    ];
    prop::collection::vec(one, 0..3)
}

fn lists(groups: usize) -> impl Strategy<Value = String> {
    (selectors(groups), selectors(groups), selectors(groups)).prop_map(|(include, require, exclude)| {
        let include = if include.is_empty() { "everyone".to_owned() } else { include.join(" ") };
        format!("{include} & {} - {}", require.join(" "), exclude.join(" "))
    })
}

/// Groups that refer only to earlier ones.
fn groups() -> impl Strategy<Value = Vec<Group>> {
    (lists(0), lists(1), lists(2), lists(3)).prop_map(|(a, b, c, d)| {
        [a, b, c, d].iter().enumerate().map(|(n, text)| group(&format!("g{n}"), text)).collect()
    })
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    prop::collection::vec((any::<bool>(), lists(4)), 1..5).prop_map(|policies| {
        let name = |n: usize, block: bool| format!("{}{n}", if block { "block" } else { "allow" });
        policies.iter().enumerate().map(|(n, (block, text))| policy(&name(n, *block), text)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_engine_agrees_with_the_slow_evaluator(groups in groups(), policies in policies(), who in 0..4usize, last in 0..4u8) {
        let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        let app = app("app", "app.example", &names);
        let set = PolicySet::new(&groups, &policies, std::slice::from_ref(&app)).expect("a good set");
        let identity = person(EMAILS[who]);
        let here = from(IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
        let subject = asks(&identity, here);
        let decision = set.decide(&app, &subject);
        let slow = Slow { groups: &groups, policies: &policies }.admitted_by(&app, &subject);
        let fast = match &decision.verdict {
            Verdict::Allow { policy, .. } => Some(policy.to_string()),
            Verdict::Deny { .. } => None,
        };
        prop_assert_eq!(&fast, &slow, "{}", decision.trace);

        // What is foreseen is never less than what happens.
        let eligible = set.eligible(&app, &identity.email, here, &identity.method);
        prop_assert_eq!(eligible, fast.is_some());
        prop_assert!(fast.is_none() || !set.hopeless(&app, here));

        // Nobody without a login, whatever the rules.
        let anonymous = Subject::nobody(here);
        prop_assert!(!set.decide(&app, &anonymous).is_allow());

        // The trace says what was decided.
        let last = decision.trace.policies.last().expect("at least one policy");
        prop_assert_eq!(last.rules.matched && last.action == tunnel_policy::Action::Allow, fast.is_some());
    }

    #[test]
    fn patterns_agree_with_backtracking(pattern in "(/[ab*]{1,4}){1,3}", path in "(/[ab]{0,4}){1,4}") {
        if let Ok(pattern) = pattern.parse::<tunnel_policy::PathPattern>() {
            prop_assert_eq!(pattern.covers(&path), covers(Some(&pattern), &path), "{} {}", pattern, path);
        }
    }

    // H1: a server is a sequence of steps over the path. Whichever it takes, the application it arrives at must admit.
    #[test]
    fn the_application_that_any_server_reads_is_among_those_that_must_admit(
        path in path(), steps in prop::collection::vec(0..STEPS.len(), 0..5),
    ) {
        let apps = [
            app("a", "x.example/a", &[]),
            app("ab", "x.example/a/b", &[]),
            app("b", "x.example/b*", &[]),
            app("star", "x.example/*/a", &[]),
        ];
        let set = PolicySet::new(&[], &[], &apps).expect("a good set");
        let host = host("x.example");
        let matched = set.applications_for(&host, &path);

        let decodings = steps.iter().filter(|step| **step == 0).count();
        prop_assume!(decodings <= 2);
        let read = steps.iter().fold(path.clone(), |path, step| STEPS[*step](&path));
        let under: Vec<_> = apps.iter().filter(|app| covers(app.targets[0].path.as_ref(), &read)).collect();
        match under.iter().max_by(|a, b| a.targets[0].path.as_ref().map(|p| p.specificity()).cmp(&b.targets[0].path.as_ref().map(|p| p.specificity()))) {
            None => prop_assert!(matched.required().is_none(), "{} is read as {}, which is nobody's", path, read),
            Some(app) => {
                let named = matched.raw.into_iter().chain(matched.others.iter().copied()).any(|named| named.id == app.id);
                prop_assert!(named, "{} is read as {}, which is {}", path, read, app.name);
            }
        }
    }

    #[test]
    fn a_path_of_any_bytes_is_survived(path in "\\PC{0,64}|[/.%2ef5c;\\\\]{0,64}") {
        let set = PolicySet::new(&[], &[], &[app("a", "x.example/a", &[])]).expect("a good set");
        let host = host("x.example");
        let _ = set.applications_for(&host, &path).required().is_some();
        let _ = tunnel_policy::is_reserved(&path);
    }
}

/// Paths made of the pieces that tricks are made of.
fn path() -> impl Strategy<Value = String> {
    let pieces = [
        "a", "b", "A", "/", "//", ".", "..", "%2e", "%2E", "%252e", "%2f", "%5c", "\\", ";", ";x", "%61", "%2561",
        "%00", "%3f", "x",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..10)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// What servers do to paths, written independently of the engine and in terms of text.
const STEPS: [fn(&str) -> String; 6] = [
    |path| {
        let mut out = String::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    out.push(char::from(byte));
                    rest = &after[2..];
                }
                None => {
                    out.push('%');
                    rest = after;
                }
            }
        }
        out + rest
    },
    |path| path.replace('\\', "/"),
    |path| {
        path.split('/')
            .map(|segment| segment.split_once(';').map_or(segment, |(name, _)| name))
            .collect::<Vec<_>>()
            .join("/")
    },
    |path| {
        let mut out: Vec<&str> = vec![""];
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        for (n, segment) in segments.iter().enumerate() {
            let last = n + 1 == segments.len();
            match *segment {
                "." => {}
                ".." => {
                    if out.len() > 1 {
                        out.pop();
                    }
                }
                name => out.push(name),
            }
            if last && matches!(*segment, "." | "..") {
                out.push("");
            }
        }
        if out.len() == 1 { "/".to_owned() } else { out.join("/") }
    },
    |path| {
        let mut path = path.to_owned();
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    },
    |path| path.split(['\0', '?', '#']).next().unwrap_or_default().to_owned(),
];
