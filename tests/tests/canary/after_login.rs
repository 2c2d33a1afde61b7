//! After a login an origin hears exactly the admitted requests, each with a valid assertion (invariant I1).

use std::time::{Duration, Instant};

use tunnel_tests::{
    Stage,
    canary::SONG,
    http2::Http2,
    run,
    stage::{STAFF, WWW},
    visitor::SESSION_COOKIE,
};

/// I1, H6, S3: what arrives is what was sent, less our cookies, plus the identity.
#[test]
fn exactly_the_admitted_request_arrives() {
    run("after", async |lab| {
        let stage = Stage::set(&lab).await?;
        let visitor = stage.somebody(WWW, STAFF).await?;
        let certs = stage.certs().await?;
        let (door, session) = (stage.door(WWW)?, visitor.session(WWW)?);
        let cookie = format!("theme=dark; {session}; lang=ja");
        let targets = ["/", "/a/b%20c/?q=1&q=2&r=%E3%81%82", "/x;y=z/.hidden//double/", "/?", "/a+b", "/~u/!$&'()*,="];
        for (n, target) in targets.into_iter().enumerate() {
            for (method, body) in
                [("GET", ""), ("POST", "a=1"), ("PUT", "\r\n\r\n"), ("DELETE", ""), ("PATCH", "x"), ("OPTIONS", "")]
            {
                stage.www.forget();
                let length =
                    if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
                let request = format!(
                    "{method} {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {cookie}\r\nX-Mine: {n}\r\nAccept: a\r\n\
                     X-Mine: again\r\nConnection: close, X-Hop\r\nX-Hop: gone\r\nKeep-Alive: 5\r\n{length}\r\n{body}"
                );
                let answer = door.ask(request.as_bytes()).await?;
                assert_eq!((answer.status, answer.text().as_str()), (200, SONG), "{request}");
                let heads = stage.www.heads();
                assert_eq!(heads.len(), 1, "one request in, one out: {heads:?}");
                let head = &heads[0];
                assert_eq!(head.line, format!("{method} {target} HTTP/1.1"));
                assert_eq!(head.one("host"), WWW);
                assert_eq!(head.body, body.as_bytes());
                assert_eq!(head.all("x-mine"), [n.to_string().as_str(), "again"]);
                assert_eq!(head.all("accept"), ["a"]);
                assert_eq!(head.all("cookie").join("; "), "theme=dark; lang=ja", "our cookies stay at the edge");
                assert_eq!(head.one("x-forwarded-for"), "127.0.0.1");
                assert_eq!(head.one("x-forwarded-proto"), "https");
                assert_eq!(head.one("x-forwarded-host"), WWW);
                for gone in ["x-hop", "keep-alive"] {
                    assert!(head.all(gone).is_empty(), "{gone} in {head:?}");
                }
                certs.admits(head, STAFF)?;
            }
        }
        assert!(!stage.www.heard(session.split('=').nth(1).unwrap()));
        Ok(())
    });
}

/// I1: the assertion is about this application, this person and this host, and no other application's.
#[test]
fn assertions_of_two_applications_have_two_audiences() {
    run("audiences", async |lab| {
        let stage = Stage::set(&lab).await?;
        let certs = stage.certs().await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.get("https://www.example.test/").await?;
        let www = certs.admits(&stage.www.wait_for_heads(1).await?[0], STAFF)?;
        // Single sign-on: no second code is asked for.
        let reply = visitor.browse("https://app.example.test/").await?;
        assert_eq!((reply.status(), reply.text().as_str()), (200, SONG), "at {}", reply.url);
        let app = certs.admits(stage.app.wait_for_heads(1).await?.last().unwrap(), STAFF)?;
        assert_eq!(www["sub"], app["sub"], "the same person");
        assert_ne!(www["aud"], app["aud"], "another application");
        assert_eq!(www["iss"], "https://access.example.test");
        Ok(())
    });
}

/// I1 over HTTP/2: many requests interleaved on one connection arrive once each, whole.
#[test]
fn many_streams_of_one_connection_arrive_once_each() {
    run("h2-many", async |lab| {
        let stage = Stage::set(&lab).await?;
        let visitor = stage.somebody(WWW, STAFF).await?;
        let certs = stage.certs().await?;
        let session = visitor.session(WWW)?;
        let mut h2 = Http2::open(&stage.door(WWW)?).await?;
        let mut streams = Vec::new();
        for n in 0..50 {
            let path = format!("/item/{n}");
            let fields = [
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", WWW),
                (":path", path.as_str()),
                ("cookie", "a=b"),
                ("cookie", session.as_str()),
                ("cookie", "c=d"),
            ];
            streams.push((n, h2.begin(&fields, false).await?));
        }
        for (n, stream) in streams.iter().rev() {
            h2.data(*stream, format!("body {n}").as_bytes(), true).await?;
        }
        let heads = stage.www.wait_for_heads(50).await?;
        assert_eq!(heads.len(), 50);
        for n in 0..50 {
            let target = format!("/item/{n}");
            let mine: Vec<_> = heads.iter().filter(|head| head.target() == target).collect();
            assert_eq!(mine.len(), 1, "{target} arrives once");
            assert_eq!(mine[0].body, format!("body {n}").as_bytes());
            assert_eq!(mine[0].all("cookie").join("; "), "a=b; c=d");
            certs.admits(mine[0], STAFF)?;
        }
        assert!(!stage.www.heard(SESSION_COOKIE));
        Ok(())
    });
}

/// S3: what an origin sets under our cookies' names never reaches the browser; its own cookies do.
#[test]
fn an_origin_cannot_set_our_cookies() {
    run("set-cookie", async |lab| {
        let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: __Host-access=stolen; Path=/; Secure\r\nSet-Cookie: own=1; Path=/\r\n\
                      set-cookie: __host-ACCESS-login=stolen\r\nSet-Cookie: = __Host-access=stolen; Path=/\r\nSet-Cookie: __Host-access =stolen\r\nContent-Length: 2\r\n\r\nhi";
        let canary = tunnel_tests::Canary::answering(std::sync::Arc::new(move |_| {
            (answer.as_bytes().to_vec(), tunnel_tests::canary::After::KeepAlive)
        }));
        let stage = Stage::with(&lab, tunnel_tests::edge::ACCESS, canary.await?).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let reply = visitor.get("https://www.example.test/").await?;
        let set: Vec<_> =
            reply.answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, v)| v).collect();
        assert_eq!(set, ["own=1; Path=/"]);
        Ok(())
    });
}

/// I1, H2, H4: what is rarely asked arrives as it was asked: by HTTP/1.0, about a server as a whole, at a port that is not the
/// scheme's own and is what the visitor's address bar says behind a forwarded port.
#[test]
fn what_is_rarely_asked_arrives_as_it_was_asked() {
    run("rarely", async |lab| {
        let stage = Stage::set(&lab).await?;
        let certs = stage.certs().await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let request = |line: &str, host: &str, fields: &str| {
            format!("{line}\r\nHost: {host}\r\nCookie: {session}\r\n{fields}\r\n")
        };
        // Nothing said, a connection of HTTP/1.0 ends with its first answer.
        let mut raw = stage.door(WWW)?.open().await?;
        let both = [request("GET /old HTTP/1.0", WWW, ""), request("GET /behind HTTP/1.0", WWW, "")].concat();
        raw.send(both.as_bytes()).await?;
        let answer = raw.answer(true).await?;
        assert_eq!((answer.status, answer.text().as_str()), (200, SONG));
        assert!(raw.rest().await?.is_empty(), "the connection ends");
        let heads = stage.www.heads();
        assert_eq!(heads.len(), 1, "{heads:?}");
        assert_eq!(heads[0].line, "GET /old HTTP/1.1");
        certs.admits(&heads[0], STAFF)?;
        // Asked to, it is kept.
        stage.www.forget();
        let mut raw = stage.door(WWW)?.open().await?;
        for target in ["/first", "/second"] {
            let line = format!("GET {target} HTTP/1.0");
            raw.send(request(&line, WWW, "Connection: keep-alive\r\n").as_bytes()).await?;
            let answer = raw.answer(true).await?;
            assert_eq!((answer.status, answer.text().as_str()), (200, SONG), "{target}");
            let connection = answer.header("connection").unwrap_or_default();
            assert!(connection.eq_ignore_ascii_case("keep-alive"), "{target}: {connection:?}");
        }
        let lines: Vec<_> = stage.www.heads().into_iter().map(|head| head.line).collect();
        assert_eq!(lines, ["GET /first HTTP/1.1", "GET /second HTTP/1.1"]);
        for (line, host) in [("OPTIONS * HTTP/1.1", WWW), ("GET /port HTTP/1.1", "www.example.test:444")] {
            stage.www.forget();
            let answer = stage.door(WWW)?.ask(request(line, host, "").as_bytes()).await?;
            assert_eq!(answer.status, 200, "{line}");
            let heads = stage.www.heads();
            assert_eq!(heads.len(), 1, "{heads:?}");
            assert_eq!((heads[0].line.as_str(), heads[0].one("host")), (line, host));
            assert_eq!(heads[0].one("x-forwarded-host"), host);
            certs.admits(&heads[0], STAFF)?;
        }
        stage.app.assert_heard_nothing("the other application was not asked");
        Ok(())
    });
}

/// H4, H10: two requests whose framing could be read in two ways are refused, and what follows on the connection is not
/// taken for a request.
#[test]
fn ambiguous_framing_is_refused_and_closes() {
    run("framing", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n");
        for framing in [
            "Content-Length: 0\r\nContent-Length: 5\r\n",
            "Content-Length: +0\r\n",
            "Content-Length: 0x0\r\n",
            "Content-Length: 0, 5\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: ,chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
        ] {
            stage.www.forget();
            let request =
                format!("POST /outer HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{framing}\r\n0\r\n\r\n{smuggled}");
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(request.as_bytes()).await?;
            let answer = raw.answer(true).await?;
            assert_eq!(answer.status, 400, "{framing:?}");
            assert!(raw.rest().await?.is_empty(), "the connection ends after {framing:?}");
            stage.assert_silence(framing);
        }
        Ok(())
    });
}

/// Whoever has said all and ends its side is answered, and then the connection ends, as it does at once where nothing is asked;
/// half a request is given up with the side.
#[test]
fn whoever_ends_its_side_behind_a_whole_request_is_answered() {
    run("half-closed", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let get = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n");
        let post = format!("POST / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nContent-Length: 3\r\n\r\nabc");
        for (request, answers) in [
            (get.as_str(), 1),
            (post.as_str(), 1),
            (&format!("{get}{post}{get}"), 3),
            (&post[..post.len() - 1], 0),
            (&get[..get.len() - 1], 0),
            ("", 0),
        ] {
            for round in 0..3 {
                let begun = Instant::now();
                let mut raw = stage.door(WWW)?.open().await?;
                raw.send(request.as_bytes()).await?;
                raw.finish().await?;
                let all = String::from_utf8_lossy(&raw.rest().await?).into_owned();
                assert_eq!(all.matches(SONG).count(), answers, "round {round}: {request} was answered {all}");
                assert!(begun.elapsed() < Duration::from_secs(8), "{:?} for {request}", begun.elapsed());
            }
        }
        let mut raw = stage.door(WWW)?.open().await?;
        raw.send(get.as_bytes()).await?;
        assert_eq!(raw.answer(true).await?.status, 200);
        let begun = Instant::now();
        raw.finish().await?;
        assert!(raw.rest().await?.is_empty());
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?} where nothing is asked", begun.elapsed());
        Ok(())
    });
}
