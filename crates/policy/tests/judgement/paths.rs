//! Path tricks: whatever a server might make of a path, the application there must admit as well.

use tunnel_policy::{PolicySet, is_reserved};

use crate::declare::{app, host, set_of};

/// Names of all applications that must admit; `None` when the request must be refused outright.
fn required(set: &PolicySet, path: &str) -> Option<Vec<String>> {
    let host = host("www.example.com");
    let matched = set.applications_for(&host, path);
    let (_, all) = matched.required()?;
    Some(all.map(|app| app.name.to_string()).collect())
}

/// Spellings of `/admin` known from the CVEs of Traefik, oauth2-proxy, Caddy, Tomcat, IIS and nginx.
const TRICKS: &[&str] = &[
    "/public/../admin",
    "/public/./../admin",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/public/.%2e/admin",
    "/public/%2e./admin",
    "/public/..%2fadmin",
    "/public/..%2Fadmin",
    "/public%2f..%2fadmin",
    "/public/%2e%2e%2fadmin",
    "/public/%252e%252e/admin",
    "/public/%252e%252e%252fadmin",
    "/public/..%252fadmin",
    "/public/..%5cadmin",
    "/public/..\\admin",
    "/public\\..\\admin",
    "/public/..%255cadmin",
    "//admin",
    "///admin",
    "/%2fadmin",
    "/%2Fadmin",
    "/%5cadmin",
    "\\admin",
    "/./admin",
    "/.//admin",
    "/%2e/admin",
    "/admin/",
    "/admin/.",
    "/admin%2f",
    "/admin%2fusers",
    "/admin%5cusers",
    "/admin;x=1",
    "/admin;x=../public",
    "/admin;/users",
    "/;x/admin",
    "/.;/admin",
    "/public/..;/admin",
    "/public/..;x=y/admin",
    "/public/..%3b/admin",
    "/public/;/../admin",
    "/ADMIN",
    "/Admin/users",
    "/%41dmin",
    "/%61dmin",
    "/%2561dmin",
    "/adm\u{131}n",
    "/adm%C4%B1n",
    "/public/..%c0%afadmin",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%e0%80%ae%e0%80%ae/admin",
    "/public/..%c1%9cadmin",
    "/admin%00",
    "/admin%00.html",
    "/admin%2500",
    "/admin%3f",
    "/admin%3fx=/public",
    "/admin%23",
    "/admin?x=/public",
    "/admin#/public",
    "/admin.",
    "/admin..",
    "/admin%20",
    "/admin%20/users",
    "/admin::$INDEX_ALLOCATION/users",
    "/admin:$I30:$INDEX_ALLOCATION",
    "/public/../../../admin",
    "/public//../admin",
    "/public/x/../../admin",
    "/public/x/..//../admin",
    "/public/.. /admin",
    "admin",
];

// H1, R02 (CVE-2025-54576), R21, R43: the raw path stays as it is, and what it might mean is protected too.
#[test]
fn a_trick_never_escapes_the_application_it_aims_at() {
    let apps = [
        app("root", "www.example.com", &[]),
        app("public", "www.example.com/public", &[]),
        app("admin", "www.example.com/admin", &[]),
    ];
    let set = set_of(&[], &[], &apps).expect("a good set");
    for trick in TRICKS {
        let required = required(&set, trick).expect("every path has an application");
        assert!(required.contains(&"admin".to_owned()), "{trick}: {required:?}");
    }
}

// H1: what nobody declared is refused, even if the raw path looks declared.
#[test]
fn a_trick_never_escapes_to_what_nobody_declared() {
    let set = set_of(&[], &[], &[app("public", "www.example.com/public", &[])]).expect("a good set");
    for trick in TRICKS {
        assert_eq!(required(&set, trick), None, "{trick}");
    }
    assert_eq!(required(&set, "/public/a/../b"), Some(vec!["public".to_owned()]));
}

// H1: paths that applications really use belong to one application only.
#[test]
fn an_ordinary_path_is_not_burdened() {
    let apps = [app("root", "www.example.com", &[]), app("admin", "www.example.com/admin", &[])];
    let set = set_of(&[], &[], &apps).expect("a good set");
    for path in [
        "/",
        "/a//b",
        "/wp/",
        "/a%2Fb",
        "/x;v=1/y",
        "/a/../b",
        "/%E6%97%A5%E6%9C%AC",
        "/administrator",
        "/~ann/a.b",
        "/proxy/https%3A%2F%2Fa.example%2Fx%3Fq%3D1",
    ] {
        assert_eq!(required(&set, path), Some(vec!["root".to_owned()]), "{path}");
    }
    assert_eq!(required(&set, "/admin/a%2Fb"), Some(vec!["admin".to_owned()]));
}

// H1, S1b: a path that could mean anything asks for everything at once.
#[test]
fn a_path_with_too_many_readings_is_refused() {
    let set = set_of(&[], &[], &[app("root", "www.example.com", &[])]).expect("a good set");
    let path = "/a%2f..;x%255c.%20%c0%af%00%3f//".repeat(400);
    assert_eq!(required(&set, &path), None);
    assert!(is_reserved(&path));
}

// H1, R32: the edge's own paths stay its own in every spelling.
#[test]
fn reserved_paths_are_known_in_every_reading() {
    for path in [
        "/.access",
        "/.access/",
        "/.access/login",
        "/.ACCESS/login",
        "/%2eaccess/login",
        "/%252eaccess/login",
        "//.access/login",
        "/x/../.access/login",
        "/x/..%2f.access",
        "/.access;x/login",
        "/.access%00",
        "/.access%2flogin",
        "\\.access\\login",
        "/.access/../public",
        "/cdn-cgi/access",
        "/cdn-cgi/access/certs",
        "/CDN-CGI/Access/certs",
        "/cdn-cgi/./access/certs",
        "/cdn-cgi//access",
        "/cdn-cgi/x/../access",
        "/cdn%2dcgi/acce%73s",
    ] {
        assert!(is_reserved(path), "{path}");
    }
    for path in
        ["/", "/access", "/.accessible", "/.well-known/x", "/cdn-cgi/trace", "/cdn-cgi/accessories", "/x/.access"]
    {
        assert!(!is_reserved(path), "{path}");
    }
}
