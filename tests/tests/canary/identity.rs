//! An origin never hears an identity that a visitor made up.

use std::sync::Arc;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use tunnel_tests::{
    Canary, Certs, Stage,
    canary::{After, SONG, page},
    edge::ACCESS,
    http2::Http2,
    mutants::{FORGED, words::DASHES},
    process::long,
    run,
    stage::{STAFF, WWW},
    told,
};

/// A name with every separator replaced by one that some server takes for `-`, and letters in any case.
fn alias() -> impl Strategy<Value = String> {
    (proptest::sample::select(told::FORGED.clone()), any::<[bool; 40]>(), any::<[u8; 40]>()).prop_map(
        |(name, upper, separator)| {
            let spell = |(i, c): (usize, char)| match c {
                '-' => DASHES[usize::from(separator[i]) % DASHES.len()],
                c if upper[i] => c.to_ascii_uppercase(),
                c => c,
            };
            name.chars().enumerate().map(spell).collect()
        },
    )
}

/// # Panics
/// The canary heard something forged, or our own identity is not there once.
#[track_caller]
fn assert_only_ours(canary: &Canary, certs: &Certs, because: &str) {
    assert!(!canary.heard(FORGED), "{because}: {}", String::from_utf8_lossy(&canary.everything()));
    for head in canary.heads() {
        certs.admits(&head, STAFF).unwrap_or_else(|error| panic!("{because}: {error:#}"));
        assert_eq!(head.one("cf-access-authenticated-user-email"), STAFF);
        assert_eq!(head.one("x-forwarded-for"), "127.0.0.1");
        assert_eq!(head.one("x-forwarded-proto"), "https");
        assert_eq!(head.one("x-forwarded-host"), WWW);
    }
}

/// H6, H7: thousands of spellings, forty to a request.
#[test]
fn no_spelling_of_an_identity_header_gets_through() {
    run("aliases", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let certs = stage.certs().await?;
        let requests = if long() { 2500 } else { 125 };
        let mut runner = TestRunner::new(Config::default());
        let many = proptest::collection::vec(alias(), 40);
        let mut raw = stage.door(WWW)?.open().await?;
        for _ in 0..requests {
            let aliases = many.new_tree(&mut runner).unwrap().current();
            let lines: String = aliases.iter().map(|name| format!("{name}: {FORGED}\r\n")).collect();
            stage.www.forget();
            raw.send(format!("GET / HTTP/1.1\r\n{lines}Host: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
            let answer = raw.answer(true).await?;
            assert_eq!((answer.status, answer.text().as_str()), (200, SONG), "{lines}");
            assert_eq!(stage.www.heads().len(), 1);
            assert_only_ours(&stage.www, &certs, &lines);
        }
        Ok(())
    });
}

/// H6: `Connection` takes nothing of ours away, and trailers bring nothing in.
#[test]
fn connection_and_trailers_do_not_touch_our_headers() {
    run("hop-by-hop", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let certs = stage.certs().await?;
        let all = told::FORGED.join(", ");
        let chunked = |fields: &str, trailers: &str| {
            format!(
                "POST / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nTransfer-Encoding: chunked\r\n{fields}\r\n3\r\nabc\r\n0\r\n{trailers}\r\n"
            )
        };
        let trailers: String = told::FORGED.iter().map(|name| format!("{name}: {FORGED}\r\n")).collect();
        let aliases: String =
            told::FORGED.iter().map(|name| format!("{}: {FORGED}\r\n", name.replace('-', "_"))).collect();
        for request in [
            format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nConnection: keep-alive, {all}\r\n\r\n"),
            format!(
                "GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nConnection: Access_User_Email\r\nConnection: {all}, host, cookie\r\n\r\n"
            ),
            chunked(&format!("Trailer: {all}\r\nTE: trailers\r\n"), &trailers),
            chunked("", &trailers),
            chunked(&format!("Trailer: {}\r\n", all.replace('-', "_")), &aliases),
            chunked(&format!("Connection: {all}, te\r\nTrailer: {all}\r\n"), &trailers),
        ] {
            stage.www.forget();
            let answer = stage.door(WWW)?.ask(request.as_bytes()).await?;
            // Refusing is as good as removing; passing on is not.
            assert!(matches!(answer.status, 200 | 400), "{} for {request}", answer.status);
            assert_eq!(stage.www.heads().len(), usize::from(answer.status == 200), "{request}");
            assert_only_ours(&stage.www, &certs, &request);
        }
        let mut h2 = Http2::open(&stage.door(WWW)?).await?;
        stage.www.forget();
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", WWW),
            (":path", "/"),
            ("cookie", session.as_str()),
            ("te", "trailers"),
            ("trailer", all.as_str()),
        ];
        let stream = h2.begin(&fields, false).await?;
        h2.data(stream, b"abc", false).await?;
        let forged: Vec<_> = told::FORGED.iter().map(|name| (*name, FORGED)).collect();
        h2.trailers(stream, &forged).await?;
        let outcome = h2.outcome(stream).await?;
        assert!(matches!(outcome.status(), 200 | 400), "{outcome:?}");
        assert_only_ours(&stage.www, &certs, "trailers of HTTP/2");
        Ok(())
    });
}

/// H6: the compatible names can be switched off, and a visitor's are still removed then.
#[test]
fn names_that_are_switched_off_are_still_removed() {
    run("compat-off", async |lab| {
        let access = ACCESS.replace("{name: www,", "{name: www, compatible_headers: false,");
        let canary = Canary::answering(Arc::new(|_| (page(SONG), After::KeepAlive))).await?;
        let stage = Stage::with(&lab, &access, canary).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let lines: String = told::FORGED.iter().map(|name| format!("{name}: {FORGED}\r\n")).collect();
        let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{lines}Connection: close\r\n\r\n");
        assert_eq!(stage.door(WWW)?.ask(request.as_bytes()).await?.status, 200);
        let head = &stage.www.heads()[0];
        assert!(!stage.www.heard(FORGED));
        assert!(
            head.all("cf-access-jwt-assertion").is_empty() && head.all("cf-access-authenticated-user-email").is_empty()
        );
        stage.certs().await?.admits(head, STAFF)?;
        Ok(())
    });
}
