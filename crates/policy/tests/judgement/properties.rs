//! Properties: the engine agrees with the slow evaluator about the whole language, and says rightly for how long.

use proptest::{prelude::*, sample::select};
use tunnel_policy::{
    Application, Attributes, Circumstances, Decision, Declarations, EmailList, GithubOrganization, Group, IpList,
    Policy, PolicySet, Rules, Subject, Verdict,
};
use tunnel_proto::{Identity, Name, UnixTime};

use crate::{
    declare::{app, evaluation, person, policy, selector},
    slow::{Asks, Person, Slow, SlowPolicy, SlowRules, Who},
};

/// The beginning and the end of the time that is asked about: 2025 to 2030, several times of every change of clocks.
const SPAN: std::ops::Range<u64> = 1_735_689_600..1_893_456_000;
/// Moments just before and after something happens somewhere: midnights, changes of clocks, ends of spans.
const MOMENTS: [u64; 10] = [
    1_772_953_200, // 2026-03-08 07:00 UTC: New York forward
    1_793_512_800, // 2026-11-01 06:00 UTC: New York back
    1_774_746_000, // 2026-03-29 01:00 UTC: Berlin forward
    1_792_890_000, // 2026-10-25 01:00 UTC: Berlin back
    1_788_274_800, // 2026-09-01 15:00 UTC: midnight in Tokyo
    1_788_220_800, // 2026-09-01 00:00 UTC
    1_788_253_200, // 2026-09-01 09:00 UTC
    1_788_285_600, // 2026-09-01 18:00 UTC
    1_788_652_800, // 2026-09-06 00:00 UTC, a Sunday
    1_788_739_200, // 2026-09-07 00:00 UTC, a Monday
];

/// Addresses as people type them.
const SPELLINGS: [&str; 10] = [
    "a@x.example",
    "A@X.Example",
    "b@x.example",
    "a+b@x.example",
    "a.b@x.example",
    "a@y.example",
    "b@sub.x.example",
    "a@x.example.evil.example",
    "a@b\u{fc}cher.example",
    "A@XN--bcher-KVA.example",
];
const DOMAINS: [&str; 8] = [
    "x.example",
    "X.EXAMPLE",
    "y.example",
    "example",
    "sub.x.example",
    "b\u{fc}cher.example",
    "xn--bcher-kva.example",
    "bucher.example",
];
const SOURCES: [&str; 9] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.1.0.1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "2001:db8::1",
    "2001:db8:1::1",
    "255.255.255.255",
];
const RANGES: [&str; 10] = [
    "10.0.0.0/31",
    "10.0.0.2/32",
    "10.0.0.0/8",
    "11.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/47",
    "2001:db8:1::/48",
    "::ffff:10.0.0.0/120",
    "::ffff:0:0/95",
];
const TIMES: [&str; 8] = [
    "time:mon-fri/09:00-18:00/Asia/Tokyo",
    "time:mon-sun/00:00-24:00/UTC",
    "time:sat-mon/22:00-06:00/Europe/Berlin",
    "time:sun/00:30-02:30/America/New_York",
    "time:sun/02:00-03:00/Europe/Berlin",
    "time:tue/09:00-18:00/UTC",
    "time:sun/23:59-00:00/UTC",
    "time:mon,wed,sun/00:00-00:01/America/New_York",
];
const EMAIL_LISTS: [(&str, &[&str]); 2] = [("few", &["A@x.example", "a@B\u{dc}CHER.example"]), ("empty", &[])];
const IP_LISTS: [(&str, &[&str]); 3] = [
    ("offices", &["10.0.0.1/32", "10.0.0.2/31", "2001:db8:1::/64", "10.1.0.0/16", "10.1.0.0/24"]),
    ("clothed", &["::ffff:10.0.0.0/127", "::/0", "255.255.255.255/32"]),
    ("empty", &[]),
];

fn prefixed(prefix: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(values).prop_map(move |value| format!("{prefix}:{value}"))
}

/// What may be asked of anybody.
fn neutral() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("everyone".to_owned()),
        3 => prefixed("ip", &RANGES),
        2 => prefixed("ips", &["offices", "clothed", "empty"]),
        2 => prefixed("country", &["JP", "US", "NO"]),
        3 => select(&TIMES[..]).prop_map(str::to_owned),
    ]
}

/// What may be asked of people.
fn personal() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prefixed("email", &SPELLINGS),
        3 => prefixed("domain", &DOMAINS),
        2 => prefixed("emails", &["few", "empty"]),
        1 => prefixed("method", &["pin", "entra"]),
        1 => prefixed("amr", &["otp", "mfa", "MFA"]),
        2 => prefixed("idp", &["admins", "Admins", "admins@entra", "admins@pin", "admin"]),
        2 => prefixed("github", &["acme", "ACME/Ops", "acme/dev", "acm", "other/ops", "acme@entra", "acme/ops@pin"]),
        2 => prefixed("claim", &["n=1", "n=true", "n=R&D", "n=R&D@entra", "m=R", "n=null", "n=1.5"]),
        1 => prefixed("eval", &["one.example", "two.example"]),
    ]
}

fn grouped(names: Vec<String>) -> BoxedStrategy<String> {
    if names.is_empty() {
        Just("everyone".to_owned()).boxed()
    } else {
        select(names).prop_map(|n| format!("group:{n}")).boxed()
    }
}

fn lists(rule: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = SlowRules> {
    let few = |least| prop::collection::vec(rule.clone(), least..3usize);
    (few(1), few(0), few(0)).prop_map(|(include, require, exclude)| SlowRules { include, require, exclude })
}

fn rules(kind: &str, before: usize) -> BoxedStrategy<SlowRules> {
    let named = |kind: &str, many: usize| (0..many).map(|n| format!("{kind}{n}")).collect::<Vec<_>>();
    let shared = || prop_oneof![4 => neutral(), 1 => grouped(named("n", if kind == "n" { before } else { 3 }))];
    match kind {
        "n" => lists(shared().boxed()).boxed(),
        "t" => lists(
            prop_oneof![1 => prefixed("token", &["backup", "other"]), 1 => Just("any-token".to_owned()), 2 => shared()]
                .boxed(),
        )
        .boxed(),
        _ => lists(prop_oneof![6 => personal(), 3 => shared(), 2 => grouped(named("g", before))].boxed()).boxed(),
    }
}

/// Groups that refer only to earlier ones: `n…` about anybody, `g…` about people.
fn groups() -> impl Strategy<Value = Vec<(String, SlowRules)>> {
    let of = |kind: &'static str, n| rules(kind, n).prop_map(move |rules| (format!("{kind}{n}"), rules));
    (of("n", 0), of("n", 1), of("n", 2), of("g", 0), of("g", 1), of("g", 2))
        .prop_map(|(a, b, c, d, e, f)| vec![a, b, c, d, e, f])
}

const LEADS: [&str; 4] = ["10.0.0.0/24:3389", "10.0.0.0/8:22", "10.0.0.5/32:*", "192.168.0.0/16:3389"];

fn policies() -> impl Strategy<Value = Vec<SlowPolicy>> {
    let kinds = prop_oneof![
        4 => rules("g", 3).prop_map(|rules| ("allow", rules)),
        3 => rules("g", 3).prop_map(|rules| ("block", rules)),
        1 => rules("n", 3).prop_map(|rules| ("bypass", rules)),
        2 => rules("t", 3).prop_map(|rules| ("service_auth", rules)),
    ];
    let leads = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(select(&LEADS[..]), 1..3)];
    prop::collection::vec((kinds, leads), 1..6).prop_map(|policies| {
        let one = |(n, ((action, rules), leads)): (usize, ((&'static str, SlowRules), Vec<&'static str>))| SlowPolicy {
            name: format!("{}{n}", action.replace("service_auth", "machines")),
            action,
            rules,
            destinations: if action == "bypass" { Vec::new() } else { leads },
        };
        policies.into_iter().enumerate().map(one).collect()
    })
}

fn world() -> impl Strategy<Value = Slow> {
    (groups(), policies()).prop_map(|(groups, policies)| Slow {
        email_lists: EMAIL_LISTS.iter().map(|(name, list)| (*name, list.to_vec())).collect(),
        ip_lists: IP_LISTS.iter().map(|(name, list)| (*name, list.to_vec())).collect(),
        groups,
        policies,
    })
}

fn some_of(values: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(values.to_vec(), 0..=values.len())
}

fn someone() -> impl Strategy<Value = Person> {
    let claims: &[&str] = &["n=\"R&D\"", "n=1", "n=1.5", "n=true", "n=null", "n=[\"R&D\",1]", "n=[]", "m=\"R&D\""];
    (
        select(&SPELLINGS[..]),
        select(vec!["pin", "entra"]),
        some_of(&["otp", "mfa"]),
        some_of(&["admins", "staff"]),
        some_of(&["acme/ops", "Other/x"]),
        prop::option::of(select(claims)),
        some_of(&["one.example", "three.example"]),
    )
        .prop_map(|(email, method, amr, groups, github, claims, evaluations)| Person {
            email,
            method,
            amr,
            groups,
            github,
            claims: claims.into_iter().collect(),
            evaluations,
        })
}

fn moment() -> impl Strategy<Value = u64> {
    prop_oneof![
        SPAN,
        (select(&MOMENTS[..]), 0..7200u64).prop_map(|(at, after)| at - 3600 + after),
        select(&MOMENTS[..])
    ]
}

fn asks() -> impl Strategy<Value = Asks> {
    let who = prop_oneof![
        6 => someone().prop_map(Who::Person),
        1 => Just(Who::Nobody),
        2 => select(vec!["backup", "third"]).prop_map(Who::Machine),
    ];
    let destination = prop_oneof![
        2 => Just(None),
        1 => select(vec!["10.0.0.5:3389", "10.0.0.5:22", "10.0.0.9:3389", "10.200.0.1:22", "192.168.1.1:23"]).prop_map(Some),
    ];
    (who, select(&SOURCES[..]), prop::option::of(select(vec!["JP", "US"])), moment(), destination)
        .prop_map(|(who, source, country, now, destination)| Asks { who, source, country, now, destination })
}

/// The world as the engine sees it.
fn engine(slow: &Slow) -> (PolicySet, Application) {
    let list = |list: &[String]| list.iter().map(|text| selector(text)).collect();
    let rules =
        |r: &SlowRules| Rules { include: list(&r.include), require: list(&r.require), exclude: list(&r.exclude) };
    let name = |name: &str| name.parse::<Name>().expect("a name");
    let groups: Vec<_> = slow.groups.iter().map(|(n, r)| Group { name: name(n), rules: rules(r) }).collect();
    let declared = |one: &SlowPolicy| Policy {
        rules: rules(&one.rules),
        destinations: one.destinations.iter().map(|range| range.parse().expect("a range")).collect(),
        ..policy(&one.name, "everyone")
    };
    let policies: Vec<_> = slow.policies.iter().map(declared).collect();
    let emails = |list: &[&str]| list.iter().map(|email| email.parse().expect("an address")).collect();
    let ranges = |list: &[&str]| list.iter().map(|range| range.parse().expect("a range")).collect();
    let email_lists: Vec<_> =
        slow.email_lists.iter().map(|(n, list)| EmailList { name: name(n), emails: emails(list) }).collect();
    let ip_lists: Vec<_> =
        slow.ip_lists.iter().map(|(n, list)| IpList { name: name(n), ranges: ranges(list) }).collect();
    let order: Vec<&str> = slow.policies.iter().map(|policy| policy.name.as_str()).collect();
    let app = app("app", "app.example", &order);
    let set = PolicySet::new(Declarations {
        email_lists: &email_lists,
        ip_lists: &ip_lists,
        groups: &groups,
        policies: &policies,
        applications: std::slice::from_ref(&app),
    });
    (set.expect("a good set"), app)
}

fn attributes(person: &Person, app: &Application) -> Attributes {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let member = |text: &&str| {
        let (name, team) = text.split_once('/').expect("a team");
        GithubOrganization { name: name.to_lowercase(), teams: vec![team.to_owned()] }
    };
    let claim = |text: &&str| {
        let (name, json) = text.split_once('=').expect("a value");
        (name.to_owned(), serde_json::from_str(json).expect("JSON"))
    };
    Attributes {
        amr: owned(&person.amr),
        groups: owned(&person.groups),
        github: person.github.iter().map(member).collect(),
        claims: person.claims.iter().map(claim).collect(),
        evaluations: person.evaluations.iter().map(|host| evaluation(host).key(&app.id)).collect(),
    }
}

fn identity(one: &Person) -> Identity {
    Identity { method: one.method.parse().expect("a name"), ..person(one.email) }
}

fn here(asks: &Asks) -> Circumstances {
    Circumstances {
        source: asks.source.parse().expect("an address"),
        country: asks.country.map(|country| country.parse().expect("a country")),
        now: UnixTime(asks.now),
    }
}

fn ask(set: &PolicySet, app: &Application, asks: &Asks) -> Decision {
    let here = here(asks);
    let to = |subject: Subject<'_>| match asks.destination {
        Some(destination) => set.decide(app, &subject.to(destination.parse().expect("an address"))),
        None => set.decide(app, &subject),
    };
    match &asks.who {
        Who::Nobody => to(Subject::nobody(here)),
        Who::Machine(name) => to(Subject::service(&name.parse().expect("a name"), here)),
        Who::Person(person) => to(Subject::person(&identity(person), &attributes(person, app), here)),
    }
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow { policy, .. } => format!("allow {policy}"),
        Verdict::Bypass { policy } => format!("bypass {policy}"),
        Verdict::Deny { .. } => "deny".to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_engine_agrees_with_the_slow_evaluator(slow in world(), asks in asks(), later in prop::collection::vec(0.0..1.0f64, 3)) {
        let (set, app) = engine(&slow);
        let decision = ask(&set, &app, &asks);
        prop_assert_eq!(said(&decision.verdict), slow.decide(&asks), "{}", decision.trace);
        prop_assert_eq!(decision.admits(), said(&decision.verdict) != "deny");

        // Nobody is admitted as somebody, whatever the rules.
        let anonymous = ask(&set, &app, &Asks { who: Who::Nobody, ..asks.clone() });
        prop_assert!(!anonymous.is_allow());

        // The trace says what was decided, and by which policy.
        let last = decision.trace.policies.last().expect("at least one policy");
        let decided = decision.trace.policies.iter().filter(|policy| policy.outcome.decides()).count();
        prop_assert!(decided == usize::from(last.outcome.decides()));
        match &decision.verdict {
            Verdict::Allow { policy, .. } | Verdict::Bypass { policy } => prop_assert_eq!(&last.policy, policy),
            Verdict::Deny { .. } => {}
        }

        // It holds as long as it says, and for ever if it does not.
        let until = decision.holds_until.map_or(SPAN.end, |until| until.0);
        prop_assert!(until > asks.now);
        let within = later.iter().map(|part| asks.now + ((until - asks.now) as f64 * part) as u64);
        for now in within.chain([until - 1]) {
            let then = Asks { now, ..asks.clone() };
            prop_assert_eq!(&ask(&set, &app, &then).verdict, &decision.verdict, "{} at {}", decision.trace, now);
            prop_assert_eq!(slow.decide(&then), slow.decide(&asks));
        }
        if decision.holds_until.is_some() {
            // At the end it is asked anew, and the slow evaluator agrees again.
            let then = Asks { now: until, ..asks.clone() };
            prop_assert_eq!(said(&ask(&set, &app, &then).verdict), slow.decide(&then));
        }
    }

    // P8, O4: what is foreseen is what happens to whoever proves no more than an address, and never less for anybody.
    #[test]
    fn what_is_foreseen_is_what_happens(slow in world(), asks in asks(), someone in someone()) {
        let (set, app) = engine(&slow);
        let plain = Person { amr: vec!["otp"], groups: vec![], github: vec![], claims: vec![], ..someone.clone() };
        let asks = |person: &Person| Asks { who: Who::Person(person.clone()), destination: None, ..asks.clone() };
        let (email, method) = (identity(&plain).email, identity(&plain).method);
        let eligible = set.eligible(&app, &email, here(&asks(&plain)), &method);
        let every = [vec![], vec!["one.example"], vec!["two.example"], vec!["one.example", "two.example"]];
        let admitted = every.iter().any(|evaluations| {
            let person = Person { evaluations: evaluations.clone(), ..plain.clone() };
            slow.decide_about_people(&asks(&person)).starts_with("allow")
        });
        // A rule and its opposite may both be open until somebody is asked.
        prop_assert!(eligible || !admitted);
        if set.evaluations_of(&app).is_empty() {
            prop_assert_eq!(eligible, admitted);
        }
        // Nobody is asked about whom no answer could admit; and what was answered before makes no difference to that.
        let could = |person: &Person| {
            let (identity, attributes) = (identity(person), attributes(person, &app));
            set.may_admit(&app, &Subject::person(&identity, &attributes, here(&asks(person))))
        };
        let admitted = every.iter().any(|evaluations| {
            let person = Person { evaluations: evaluations.clone(), ..someone.clone() };
            slow.decide_about_people(&asks(&person)).starts_with("allow")
        });
        prop_assert!(could(&someone) || !admitted);
        for evaluations in &every {
            prop_assert_eq!(could(&Person { evaluations: evaluations.clone(), ..someone.clone() }), could(&someone));
        }
        // Whoever is admitted, with or without a login, is not told that it is hopeless.
        let hopeless = set.hopeless(&app, here(&asks(&someone)));
        let (known, nobody) = (asks(&someone), Asks { who: Who::Nobody, ..asks(&someone) });
        prop_assert!(!hopeless || slow.decide(&known) == "deny");
        prop_assert!(!hopeless || slow.decide(&nobody) == "deny");
    }
}
