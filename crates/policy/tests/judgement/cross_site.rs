//! What applications say about other sites, where several share a hostname or a path.

use tunnel_policy::{Application, Cors, SameSite};

use crate::declare::{app, host, set_of};

// S4
#[test]
fn the_strictest_application_of_a_hostname_speaks_for_their_cookie() {
    let says = |name, place, same_site| Application { same_site, ..app(name, place, &[]) };
    let apps = [
        app("wild", "*.example.com", &[]),
        says("open", "open.example.com", SameSite::None),
        says("part", "part.example.com/acs", SameSite::None),
        says("pay", "shop.example.com/pay", SameSite::None),
        says("shop", "shop.example.com", SameSite::Lax),
        says("all", "two.example.com/a", SameSite::None),
        says("rest", "two.example.com", SameSite::None),
        says("inner", "safe.example.com/in", SameSite::Strict),
        says("outer", "safe.example.com", SameSite::None),
    ];
    let set = set_of(&[], &[], &apps).expect("a good set");
    for (at, expected) in [
        ("other.example.com", SameSite::Lax),
        // The wildcard's application has nothing there.
        ("open.example.com", SameSite::None),
        // Here it has what is not below the path.
        ("part.example.com", SameSite::Lax),
        ("shop.example.com", SameSite::Lax),
        ("two.example.com", SameSite::None),
        ("safe.example.com", SameSite::Strict),
        ("nowhere.example.org", SameSite::Lax),
    ] {
        assert_eq!(set.same_site_at(&host(at)), expected, "{at}");
    }
}

// H1, H9
#[test]
fn other_origins_are_listed_only_where_every_reading_of_a_path_lists_them_alike() {
    let cors = |origin: &str| Cors {
        allowed_origins: vec![origin.to_owned()],
        allowed_methods: Vec::new(),
        allowed_headers: Vec::new(),
        allow_credentials: false,
        max_age: None,
    };
    let says = |name, place, cors| Application { cors, ..app(name, place, &[]) };
    let (desk, other) = (cors("https://desk.example.com"), cors("https://other.example.com"));
    let apps = [
        app("root", "x.example.com", &[]),
        says("api", "x.example.com/api", Some(desk.clone())),
        says("also", "x.example.com/also", Some(desk.clone())),
        says("others", "x.example.com/others", Some(other)),
        says("alone", "y.example.com/api", Some(desk.clone())),
    ];
    let set = set_of(&[], &[], &apps).expect("a good set");
    for (at, path, expected) in [
        ("x.example.com", "/api/1", true),
        ("x.example.com", "/also/../api/1", true),
        ("x.example.com", "/", false),
        ("x.example.com", "/api/../1", false),
        ("x.example.com", "/api/%2e%2e/1", false),
        ("x.example.com", "/others/../api/1", false),
        ("x.example.com", "/others", false),
        ("y.example.com", "/api", true),
        // Some server would read what nobody declared.
        ("y.example.com", "/api/../1", false),
        ("z.example.com", "/api", false),
    ] {
        let matched = set.applications_for(&host(at), path);
        assert_eq!(matched.cors() == Some(&desk), expected, "{at}{path}");
    }
}
