//! Which application a host and path belong to.

use tunnel_policy::PolicySet;

use crate::declare::{app, host, set_of};

/// The application of the raw reading, and those of the others.
fn found(set: &PolicySet, at: &str, path: &str) -> (Option<String>, Vec<String>) {
    let host = host(at);
    let matched = set.applications_for(&host, path);
    let name = |app: &tunnel_policy::Application| app.name.to_string();
    (matched.raw.map(name), matched.others.iter().copied().map(name).collect())
}

// R15 (hosts are canonical, so a capital letter cannot choose another rule)
#[test]
fn the_most_specific_host_wins_then_the_most_specific_path() {
    let apps = [
        app("any", "*.example.com", &[]),
        app("ending", "*test.example.com", &[]),
        app("exact", "www.example.com", &[]),
        app("admin", "www.example.com/admin", &[]),
        app("users", "www.example.com/admin/users", &[]),
        app("below", "www.example.com/alpha/*", &[]),
        app("spanning", "www.example.com/foo*/bar", &[]),
        app("narrow", "only.example.com/x", &[]),
        app("deep", "*.*.example.com", &[]),
        app("middle", "a.*.example.com", &[]),
    ];
    let set = set_of(&[], &[], &apps).expect("a good set");
    let table = [
        ("www.example.com", "/", Some("exact")),
        ("WWW.Example.Com.", "/admin", Some("admin")),
        ("www.example.com", "/admin", Some("admin")),
        ("www.example.com", "/admin/", Some("admin")),
        ("www.example.com", "/admin/users/7", Some("users")),
        ("www.example.com", "/administrator", Some("exact")),
        ("www.example.com", "/alpha", Some("exact")),
        ("www.example.com", "/alpha/x", Some("below")),
        ("www.example.com", "/food/stuff/bar", Some("spanning")),
        ("other.example.com", "/admin", Some("any")),
        ("test.example.com", "/", Some("ending")),
        ("alphatest.example.com", "/", Some("ending")),
        ("only.example.com", "/x", Some("narrow")),
        ("only.example.com", "/y", Some("any")),
        ("b.c.example.com", "/", Some("deep")),
        ("a.c.example.com", "/", Some("middle")),
        ("example.com", "/", None),
        ("a.b.c.example.com", "/", None),
        ("www.example.com.evil.org", "/", None),
        ("evilexample.com", "/", None),
    ];
    for (host, path, expected) in table {
        assert_eq!(found(&set, host, path), (expected.map(str::to_owned), vec![]), "{host}{path}");
    }
}

#[test]
fn equally_specific_applications_are_all_named() {
    let apps = [app("left", "x.example.com/ab*", &[]), app("right", "x.example.com/*bc", &[])];
    let set = set_of(&[], &[], &apps).expect("a good set");
    let (raw, others) = found(&set, "x.example.com", "/abc");
    let mut both: Vec<String> = raw.into_iter().chain(others).collect();
    both.sort();
    assert_eq!(both, ["left", "right"]);
}

#[test]
fn an_application_with_a_name_beyond_ascii_is_reached_as_browsers_write_it() {
    let apps = [app("root", "x.example.com", &[]), app("menu", "x.example.com/men\u{fc}", &[])];
    let set = set_of(&[], &[], &apps).expect("a good set");
    assert_eq!(found(&set, "x.example.com", "/men%C3%BC/today"), (Some("menu".to_owned()), vec![]));
}
