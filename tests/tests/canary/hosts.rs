//! One canonical authority per request: whatever disagrees is refused, whatever is unknown is nobody's.

use tunnel_tests::{
    Stage,
    http2::Http2,
    run,
    stage::{APP, STAFF, WWW},
};

/// H2 over HTTP/1.1, with a session that is good for `www`.
#[test]
fn every_spelling_of_a_host_is_the_same_host_or_refused() {
    run("hosts-h1", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let door = stage.door(WWW)?;
        // Host lines; whether it is `www` (200); otherwise it must be refused and nobody's.
        let table: &[(&str, bool)] = &[
            ("Host: www.example.test", true),
            ("Host: WWW.Example.TEST", true),
            ("Host: www.example.test.", true),
            ("Host: www.example.test:443", true),
            ("host:www.example.test", true),
            ("Host: www.example.test..", false),
            ("Host: .www.example.test", false),
            ("Host: www..example.test", false),
            ("Host: www.example.test:", false),
            ("Host: www.example.test:0443x", false),
            ("Host: www.example.test:99999", false),
            ("Host: www.example.test:-1", false),
            ("Host: www.example.test:443:443", false),
            ("Host: user@www.example.test", false),
            ("Host: www.example.test@app.example.test", false),
            ("Host: www.example.test, app.example.test", false),
            ("Host: www.example.test app.example.test", false),
            ("Host: www.example.test/", false),
            ("Host: www.example.test?x", false),
            ("Host: www.example.test#x", false),
            ("Host: www.example.test\\x", false),
            ("Host: \"www.example.test\"", false),
            ("Host: www%2eexample.test", false),
            ("Host: www.example.test\u{3002}", false),
            ("Host: ｗｗｗ.example.test", false),
            ("Host: xn--www.example.test", false),
            ("Host: a.B.www.example.test", false),
            ("Host: www.example.test.evil.test", false),
            ("Host: evilwww.example.test", false),
            ("Host: 127.0.0.1", false),
            ("Host: [::1]", false),
            ("Host: [www.example.test]", false),
            ("Host:", false),
            ("X-Host: www.example.test", false),
            ("Host: www.example.test\r\nHost: www.example.test", false),
            ("Host: www.example.test\r\nHost: app.example.test", false),
            ("Host: app.example.test\r\nHost: www.example.test", false),
            ("Host: unknown.example.test", false),
            ("Host: example.test", false),
        ];
        for (line, good) in table {
            stage.www.forget();
            let request = format!("GET /h HTTP/1.1\r\n{line}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
            let answer = door.ask(request.as_bytes()).await?;
            if *good {
                assert_eq!(answer.status, 200, "{line}");
                assert_eq!(stage.www.heads()[0].one("host"), WWW, "one Host, in one spelling, for {line}");
                stage.app.assert_heard_nothing(line);
            } else {
                assert!(matches!(answer.status, 400 | 404 | 421), "{} for {line:?}: {}", answer.status, answer.text());
                stage.assert_silence(line);
            }
        }
        Ok(())
    });
}

/// H2: the absolute form must name the same authority as Host, and is rewritten to the origin form.
#[test]
fn an_absolute_target_must_agree_with_host() {
    run("hosts-absolute", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let door = stage.door(WWW)?;
        for (target, host, good) in [
            ("https://www.example.test/x?y", WWW, true),
            ("https://WWW.example.test:443/x?y", WWW, true),
            ("https://app.example.test/x?y", WWW, false),
            ("https://www.example.test/x?y", APP, false),
            ("https://user@www.example.test/x?y", WWW, false),
            ("ftp://www.example.test/x?y", WWW, false),
            ("https:///x?y", WWW, false),
            ("//app.example.test/x", WWW, true),
        ] {
            stage.www.forget();
            let request =
                format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
            let answer = door.ask(request.as_bytes()).await?;
            if good {
                assert_eq!(answer.status, 200, "{target}");
                let head = &stage.www.heads()[0];
                assert!(head.target().starts_with('/'), "origin form: {}", head.line);
                assert_eq!(head.one("host"), WWW);
                stage.app.assert_heard_nothing(target);
            } else {
                assert!(matches!(answer.status, 400 | 404 | 421), "{} for {target}", answer.status);
                stage.assert_silence(target);
            }
        }
        Ok(())
    });
}

/// H2, H5 over HTTP/2.
#[test]
fn the_authority_of_http_2_obeys_the_same_rules() {
    run("hosts-h2", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let door = stage.door(WWW)?;
        let get = [(":method", "GET"), (":scheme", "https"), (":path", "/h")];
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[(":authority", WWW)], true),
            (&[(":authority", "WWW.example.test")], true),
            (&[(":authority", "www.example.test.")], true),
            (&[(":authority", "www.example.test:443")], true),
            (&[(":authority", WWW), ("host", WWW)], true),
            (&[("host", WWW)], true),
            (&[(":authority", WWW), ("host", APP)], false),
            (&[(":authority", APP), ("host", WWW)], false),
            (&[(":authority", WWW), ("host", WWW), ("host", APP)], false),
            (&[("host", WWW), ("host", WWW)], false),
            (&[("host", WWW), ("host", APP)], false),
            (&[], false),
            (&[(":authority", "")], false),
            (&[(":authority", "user@www.example.test")], false),
            (&[(":authority", "www.example.test, app.example.test")], false),
            (&[(":authority", "www.example.test/x")], false),
            (&[(":authority", "unknown.example.test")], false),
        ];
        for (authority, good) in table {
            stage.www.forget();
            let mut fields = get.to_vec();
            fields.splice(2..2, authority.iter().copied().filter(|(name, _)| name.starts_with(':')));
            fields.extend(authority.iter().copied().filter(|(name, _)| !name.starts_with(':')));
            fields.push(("cookie", session.as_str()));
            let outcome = Http2::open(&door).await?.ask(&fields, None).await?;
            if *good {
                assert_eq!(outcome.status(), 200, "{authority:?}");
                assert_eq!(stage.www.heads()[0].one("host"), WWW);
                stage.app.assert_heard_nothing(&format!("{authority:?}"));
            } else {
                assert!(matches!(outcome.status(), 0 | 400 | 404 | 421), "{outcome:?} for {authority:?}");
                stage.assert_silence(&format!("{authority:?}"));
            }
        }
        Ok(())
    });
}

/// H3 (without client certificates): the name in TLS opens nothing; a session is bound to the host of the request.
#[test]
fn the_server_name_in_tls_does_not_choose_the_application() {
    run("fronting", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        for sni in [WWW, APP, "access.example.test"] {
            for (host, status) in [(WWW, &[200, 421][..]), (APP, &[302, 303, 401, 421])] {
                for h2 in [false, true] {
                    stage.www.forget();
                    let door = stage.door(sni)?;
                    let got = if h2 {
                        let fields = [
                            (":method", "GET"),
                            (":scheme", "https"),
                            (":authority", host),
                            (":path", "/"),
                            ("cookie", session.as_str()),
                            ("accept", "text/html"),
                            ("sec-fetch-mode", "navigate"),
                        ];
                        Http2::open(&door).await?.ask(&fields, None).await?.status()
                    } else {
                        let request = format!(
                            "GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
                        );
                        door.ask(request.as_bytes()).await?.status
                    };
                    assert!(status.contains(&got), "{got} for {host} by {sni} (h2: {h2})");
                    stage.app.assert_heard_nothing("this session is www's");
                    assert_eq!(stage.www.heads().len(), usize::from(got == 200), "{host} by {sni}");
                }
            }
        }
        Ok(())
    });
}
