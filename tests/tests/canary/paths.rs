//! An application on a path is not entered by another spelling of the path.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use tunnel_tests::{
    Canary, Stage,
    mutants::{
        lenient,
        words::{PARTS, SEPARATORS, SPELLINGS},
    },
    process::long,
    run,
    stage::{STAFF, WWW},
};

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.test}]}
  - {name: boss, action: allow, include: [{email: boss@example.test}]}
applications:
  - {name: www, hostnames: [www.example.test], policies: [staff]}
  - {name: admin, hostnames: [www.example.test/admin], policies: [boss]}
  - {name: app, hostnames: [app.example.test], policies: [staff]}
";

fn is_admin(path: &str) -> bool {
    lenient(path).iter().any(|reading| reading == "/admin" || reading.starts_with("/admin/"))
}

fn path() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(PARTS.to_vec());
    let separator = proptest::sample::select(SEPARATORS.to_vec());
    proptest::collection::vec((separator, part), 1..6).prop_map(|parts| {
        let joined: String = parts.into_iter().map(|(separator, part)| format!("{separator}{part}")).collect();
        if joined.starts_with('/') { joined } else { format!("/{joined}") }
    })
}

/// H1: a person who may see `www` but not `www/admin` reaches the origin by no path that it could take for `/admin`.
#[test]
fn no_spelling_of_a_path_enters_an_application_that_does_not_admit() {
    run("paths", async |lab| {
        let stage = Stage::with(&lab, ACCESS, Canary::start().await?).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let cases = if long() { 50_000 } else { 2_000 };
        let mut runner = TestRunner::new(Config::default());
        let generated = (0..cases).map(|_| path().new_tree(&mut runner).unwrap().current());
        let (mut passed, mut stopped) = (0, 0);
        let mut raw = stage.door(WWW)?.open().await?;
        for path in SPELLINGS.map(str::to_owned).into_iter().chain(generated) {
            stage.www.forget();
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
            let mut answer = raw.answer(true).await?;
            if answer.status == 0 {
                // The edge may close after an answer that it gave without reading on.
                raw = stage.door(WWW)?.open().await?;
                raw.send(format!("GET {path} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
                answer = raw.answer(true).await?;
            }
            let heads = stage.www.heads();
            assert!(answer.status == 200 || heads.is_empty(), "{} for {path}, but the origin heard it", answer.status);
            if is_admin(&path) {
                assert!(heads.is_empty(), "{path} could be /admin, and the origin heard it");
                assert!((300..500).contains(&answer.status), "{} for {path}", answer.status);
                stopped += 1;
            } else if answer.status == 200 {
                assert_eq!(heads[0].target(), path, "what is admitted is forwarded as it was written");
                passed += 1;
            }
        }
        assert!(passed > 50 && stopped > 50, "the cases mean something: {passed} passed, {stopped} stopped");
        Ok(())
    });
}

/// H1: what is no path at all is refused.
#[test]
fn targets_that_mean_nothing_certain_are_refused() {
    run("bad-targets", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        for target in [
            "/%",
            "/%z",
            "/%zz",
            "/%0",
            "/x%00",
            "/x%0d%0aX: y",
            "/x%0a",
            "/x\\y",
            "/é",
            "/\u{1}",
            "x",
            "",
            "*",
            "?x",
            "/x y",
            "/\u{7f}",
            "/x#",
            "/x#/../admin",
            "/x?y#z",
            "https://www.example.test/x#y",
        ] {
            let request =
                format!("GET {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
            let answer = stage.door(WWW)?.ask(request.as_bytes()).await?;
            assert!(matches!(answer.status, 400 | 404 | 505), "{} for {target:?}", answer.status);
            stage.assert_silence(target);
        }
        for method in ["CONNECT", "TRACE"] {
            let request =
                format!("{method} / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
            let answer = stage.door(WWW)?.ask(request.as_bytes()).await?;
            assert!((400..502).contains(&answer.status), "{} for {method}", answer.status);
            stage.assert_silence(method);
        }
        Ok(())
    });
}

/// Reserved paths are the edge's, in every reading, and no session changes that.
#[test]
fn reserved_paths_never_reach_an_origin() {
    run("reserved", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        for path in [
            "/.access",
            "/.access/",
            "/.access/x",
            "/.ACCESS/x",
            "/%2eaccess/x",
            "/.access%2fx",
            "/x/../.access/x",
            "//.access/x",
            "/.%61ccess/x",
            "/%252eaccess/x",
            "/.access;x/y",
            "/cdn-cgi/access/x",
            "/cdn-cgi/access",
            "/cdn-cgi%2faccess/x",
            "/CDN-CGI/access/x",
            "/cdn-cgi/./access/x",
            "/x/..;/.access/x",
            "/.access/../.access/x",
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
            let answer = stage.door(WWW)?.ask(request.as_bytes()).await?;
            assert!(matches!(answer.status, 400 | 404), "{} for {path}", answer.status);
            stage.assert_silence(path);
        }
        Ok(())
    });
}
