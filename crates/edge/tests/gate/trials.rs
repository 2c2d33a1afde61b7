//! Decisions of the record, explained and made again, beside what the gate itself says.

use std::collections::BTreeSet;

use tunnel_edge::{
    store::{ISSUER_MAILBOX, ISSUER_SETUP, LoginMethod, LoginMethodKind, PasskeyMethod},
    trial,
};
use tunnel_policy::Attributes;
use tunnel_proto::Name;

use super::{
    methods::{OTHERS, PARTNERS, partners},
    scene::{START, Scene},
};

const WWW: &str = "www.example.com";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.com}]}
applications:
  - {name: www, hostnames: [www.example.com], policies: [staff]}
";

/// Who logged in, by which method and by whose word.
const PEOPLE: [(&str, &str, &str); 6] = [
    ("ann", "passkey", PARTNERS),
    ("bob", "passkey", ISSUER_MAILBOX),
    ("guest", "passkey", "invited"),
    ("cat", "pin", ISSUER_MAILBOX),
    ("dan", "partners", PARTNERS),
    ("root", "pin", ISSUER_SETUP),
];

fn method(name: &str, kind: LoginMethodKind) -> LoginMethod {
    LoginMethod { name: name.parse().unwrap(), kind }
}

// S5
#[tokio::test]
async fn what_is_explained_and_what_is_decided_anew_is_what_the_gate_says() {
    let pin = || method("pin", LoginMethodKind::OneTimePin);
    let passkey = || method("passkey", LoginMethodKind::Passkey(PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT }));
    let every = || vec![pin(), partners(PARTNERS), passkey()];
    let mut scene = Scene::declared(ACCESS).await;
    scene.change(|declared| declared.login_methods = every()).await;
    let mut people = Vec::new();
    for (name, method, issuer) in PEOPLE {
        let email = format!("{name}@example.com");
        people.push((name, scene.vouched(&email, (method, issuer), WWW, Attributes::default()).await));
    }
    let reference = scene.visit(WWW).reference.to_string();
    for (methods, listed, expected) in [
        (every(), vec![], vec!["ann", "bob", "cat", "dan", "guest", "root"]),
        (every(), vec!["partners", "passkey"], vec!["ann", "dan", "guest"]),
        (every(), vec!["passkey"], vec!["ann", "bob", "guest"]),
        (every(), vec!["pin", "passkey"], vec!["bob", "cat", "guest", "root"]),
        (every(), vec!["pin"], vec!["cat", "root"]),
        (vec![pin(), passkey()], vec![], vec!["bob", "cat", "guest", "root"]),
        (vec![pin(), passkey(), partners(OTHERS)], vec![], vec!["bob", "cat", "guest", "root"]),
        (vec![pin(), passkey(), partners(OTHERS)], vec!["partners", "passkey"], vec!["guest"]),
        (vec![pin(), partners(PARTNERS)], vec![], vec!["cat", "dan", "root"]),
        (vec![passkey(), partners(PARTNERS)], vec![], vec!["ann", "dan", "guest", "root"]),
    ] {
        let names: Vec<_> = methods.iter().map(|method| method.name.to_string()).collect();
        let case = format!("{names:?}, of which {listed:?} are listed");
        let listed: Vec<Name> = listed.into_iter().map(|name| name.parse().unwrap()).collect();
        scene
            .change(|declared| {
                declared.login_methods = methods;
                declared.applications[0].login_methods = listed;
            })
            .await;
        // The first time everybody comes in, and that is on record.
        let admitted = people.iter().filter(|(_, person)| scene.opens(person, WWW, "/").is_ok());
        let admitted: BTreeSet<_> = admitted.map(|(name, _)| *name).collect();
        let expected: BTreeSet<_> = expected.into_iter().collect();
        assert_eq!(admitted, expected, "by the gate: {case}");
        scene.audit.flush().await.unwrap();

        let replayed = trial::replay(&*scene.store, &scene.snapshot, START).await.unwrap();
        let out = |name: &str| replayed.differences.iter().any(|one| one.who == format!("{name}@example.com"));
        assert!(replayed.differences.iter().all(|one| one.was && !one.would), "{case}");
        let admitted: BTreeSet<_> = PEOPLE.map(|(name, _, _)| name).into_iter().filter(|name| !out(name)).collect();
        assert_eq!(admitted, expected, "made again: {case}");

        let explained = trial::explain(&*scene.store, &scene.snapshot, &reference).await.unwrap();
        for one in explained.records {
            let (actor, today) = (one.record.actor.unwrap(), one.today.unwrap());
            let (name, _) = actor.split_once('@').unwrap();
            assert_eq!(today.admitted, expected.contains(name), "{name}, explained: {case}: {}", today.why);
        }
    }
}

// S5
#[tokio::test]
async fn of_a_passkey_is_said_what_it_lacks() {
    let passkey = method("passkey", LoginMethodKind::Passkey(PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT }));
    let mut scene = Scene::declared(ACCESS).await;
    scene.change(|declared| declared.login_methods.extend([partners(PARTNERS), passkey])).await;
    let bob = scene.vouched("bob@example.com", ("passkey", ISSUER_MAILBOX), WWW, Attributes::default()).await;
    assert!(scene.opens(&bob, WWW, "/").is_ok());
    scene.audit.flush().await.unwrap();
    let reference = scene.visit(WWW).reference.to_string();
    let listed: Vec<Name> = ["partners", "passkey"].map(|name| name.parse().unwrap()).to_vec();
    scene.change(|declared| declared.applications[0].login_methods = listed).await;
    let explained = trial::explain(&*scene.store, &scene.snapshot, &reference).await.unwrap();
    let why = explained.records[0].today.as_ref().unwrap().why.as_str();
    assert_eq!(why, "`www` takes a passkey only of people whom another of its login methods made known");
    scene
        .change(|declared| {
            declared.applications[0].login_methods.clear();
            declared.login_methods.retain(|method| method.name.as_str() != "pin");
        })
        .await;
    let explained = trial::explain(&*scene.store, &scene.snapshot, &reference).await.unwrap();
    let why = explained.records[0].today.as_ref().unwrap().why.as_str();
    assert_eq!(why, "no login method vouches for `bob@example.com` any more");
}
