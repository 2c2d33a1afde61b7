//! Before a login an origin hears nothing, whatever is sent to whichever port.

use std::time::Duration;

use tunnel_tests::{
    Canary, Stage,
    canary::SONG,
    edge::ACCESS,
    http2::Http2,
    raw::Door,
    run,
    stage::{APP, WWW},
};

const METHODS: [&str; 12] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "M-SEARCH"];

const TARGETS: [&str; 30] = [
    "/",
    "/index.html",
    "/a/b?c=d",
    "/?x=%00",
    "/%2e%2e/",
    "/..%2f",
    "/../",
    "//",
    "///x",
    "/\\",
    "/;x=y",
    "*",
    "http://www.example.test/",
    "http://app.example.test/",
    "https://www.example.test:443/x",
    "www.example.test:443",
    "/favicon.ico",
    "/robots.txt",
    "/.well-known/acme-challenge/token",
    "/.well-known/security.txt",
    "/healthz",
    "/ping",
    "/.access/../",
    "/.access/nothing-here",
    "/cdn-cgi/trace",
    "/cdn-cgi/access/../x",
    "/x#y",
    "/%zz",
    "/é",
    "",
];

const EXTRAS: [&str; 14] = [
    "",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "Cookie: __Host-access=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n",
    "Cookie: CF_Authorization=eyJhbGciOiJub25lIn0.e30.\r\n",
    "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJlbWFpbCI6InN0YWZmQGV4YW1wbGUudGVzdCJ9.\r\n",
    "Cf-Access-Token: x\r\nCf-Access-Client-Id: a.access\r\nCf-Access-Client-Secret: b\r\n",
    "Access-Jwt-Assertion: x\r\nAccess-User-Email: staff@example.test\r\n",
    "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: localhost\r\nX-Original-URL: /\r\nX-Rewrite-URL: /\r\n",
    "User-Agent: kube-probe/1.30\r\n",
    "User-Agent: GoogleHC/1.0\r\nX-Forwarded-Uri: /healthz\r\n",
    "Origin: https://www.example.test\r\nAccess-Control-Request-Method: POST\r\n",
    "Expect: 100-continue\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
];

const HOSTS: [&str; 16] = [
    "www.example.test",
    "WWW.EXAMPLE.TEST",
    "www.example.test.",
    "www.example.test:443",
    "www.example.test:80",
    "www.example.test:99999",
    "a@www.example.test",
    "www.example.test, app.example.test",
    "",
    "127.0.0.1",
    "[::1]",
    "localhost",
    "example.test",
    "www.example.test/x",
    "www%2eexample.test",
    "unknown.example.test",
];

/// Requests that are cut short, that only begin, or that have the preamble of a proxy before them (H7).
const HALVES: [&str; 15] = [
    "",
    "G",
    "GET",
    "GET /",
    "GET / HTTP/1.1",
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nHost: www.example.test",
    "GET / HTTP/1.1\r\nHost: www.example.test\r\n",
    "GET / HTTP/1.1\r\nHost: www.example.test\r\nCookie: a",
    "POST / HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: 100\r\n\r\nhalf",
    "POST / HTTP/1.1\r\nHost: www.example.test\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\nhalf",
    "\u{16}\u{3}\u{1}\u{2}",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\nGET / HTTP/1.1\r\nHost: www.example.test\r\n\r\n",
    "\r\n\r\n\0\r\nQUIT\n!\u{11}\0\u{c}\u{1}\u{2}\u{3}\u{4}\u{7f}\0\0\u{1}\u{10}\0\u{1}+GET / HTTP/1.1\r\nHost: www.example.test\r\n\r\n",
];

fn requests() -> Vec<String> {
    let mut all = Vec::new();
    let request = |method: &str, target: &str, host: &str, extra: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n")
    };
    for method in METHODS {
        all.extend(TARGETS.map(|target| request(method, target, WWW, "")));
        all.extend(EXTRAS.map(|extra| request(method, "/", WWW, extra)));
        all.extend(HOSTS.map(|host| request(method, "/", host, "")));
    }
    all.push("GET / HTTP/1.1\r\n\r\n".into());
    all.push("GET / HTTP/1.0\r\n\r\n".into());
    all.push(format!("GET / HTTP/1.0\r\nHost: {WWW}\r\n\r\n"));
    all.push(format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nHost: {APP}\r\n\r\n"));
    all.push(format!("GET / HTTP/2.0\r\nHost: {WWW}\r\n\r\n"));
    all.push(format!("GET /\r\nHost: {WWW}\r\n\r\n"));
    all.push(format!("GET  / HTTP/1.1\r\nHost: {WWW}\r\n\r\n"));
    all.push(format!("GET / HTTP/1.1\nHost: {WWW}\n\n"));
    all.push(format!("GET / HTTP/1.1\r\nHost : {WWW}\r\n\r\n"));
    all.push(format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n folded\r\n\r\n"));
    all.push(format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {WWW}\r\n\r\n"));
    all.push(format!(
        "GET / HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 0\r\n\r\nGET /second HTTP/1.1\r\nHost: {WWW}\r\n\r\n"
    ));
    all
}

async fn knock(door: &Door, request: &str) -> anyhow::Result<(u16, String)> {
    let mut raw = door.open().await?;
    raw.send(request.as_bytes()).await?;
    // Our direction ends only after the answer has begun, so that nothing is left undone because of the end; what is no
    // whole request has no answer to wait for.
    if request.contains("\r\n\r\n") || request.contains("\n\n") {
        raw.stirs(Duration::from_secs(3)).await;
    }
    raw.finish().await?;
    let all = String::from_utf8_lossy(&raw.rest().await?).into_owned();
    let status = all.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok((status, all))
}

/// H1, H2, H4, H8, H9: for any method, target, Host, upgrade or half request.
#[test]
fn before_a_login_an_origin_hears_nothing_over_http_1() {
    run("before-h1", async |lab| {
        let stage = Stage::set(&lab).await?;
        let (tls, plain) = (stage.door(WWW)?, stage.plain());
        let mut sent = 0;
        for request in requests().iter().map(String::as_str).chain(HALVES) {
            for door in [&tls, &plain] {
                let (status, all) = knock(door, request).await?;
                assert!(status == 0 || (300..600).contains(&status), "{status} for {request:?}:\n{all}");
                assert!(!all.contains(SONG), "{request:?} got the page:\n{all}");
                assert!(
                    !(500..600).contains(&status) || status == 501 || status == 505,
                    "{status} for {request:?}:\n{all}"
                );
                stage.assert_silence(request);
                sent += 1;
            }
        }
        assert!(sent > 1400, "the table is large: {sent}");
        // The same eyes see something when there is something to see.
        stage.somebody(WWW, "staff@example.test").await?;
        let mut visitor = stage.somebody(WWW, "other@example.test").await?;
        visitor.get(&format!("https://{WWW}/")).await?;
        stage.www.wait_for_heads(1).await?;
        Ok(())
    });
}

/// H1, H2, H5: the same over HTTP/2, with header blocks made by hand.
#[test]
fn before_a_login_an_origin_hears_nothing_over_http_2() {
    run("before-h2", async |lab| {
        let stage = Stage::set(&lab).await?;
        let door = stage.door(WWW)?;
        let mut cases: Vec<Vec<(&str, &str)>> = Vec::new();
        let usual = |method, path, authority| {
            vec![(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
        };
        for method in METHODS {
            cases.extend(TARGETS.map(|target| usual(method, target, WWW)));
        }
        cases.extend(HOSTS.map(|host| usual("GET", "/", host)));
        for extra in [
            ("host", APP),
            ("cookie", "__Host-access=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("connection", "x"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("upgrade", "websocket"),
            (":protocol", "websocket"),
            ("access-user-email", "staff@example.test"),
            ("Upper-Case", "x"),
            ("x y", "z"),
            ("x", "a\r\nb: c"),
            ("x", "a\0b"),
            ("content-length", "5"),
            ("sec-fetch-mode", "navigate"),
            ("accept", "text/html"),
        ] {
            let mut fields = usual("GET", "/", WWW);
            fields.push(extra);
            cases.push(fields);
        }
        cases.push(vec![(":method", "GET"), (":scheme", "https"), (":path", "/")]);
        cases.push(vec![(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", WWW), ("host", APP)]);
        cases.push(vec![(":method", "GET"), (":scheme", "http"), (":authority", WWW), (":path", "/")]);
        cases.push(vec![(":method", "CONNECT"), (":authority", "www.example.test:443")]);
        cases.push(vec![
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":authority", WWW),
            (":path", "/"),
        ]);
        cases.push(vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", WWW),
            (":path", "/"),
            (":path", "/x"),
        ]);
        assert!(cases.len() > 390);
        for fields in cases {
            let mut h2 = Http2::open(&door).await?;
            let outcome = h2.ask(&fields, None).await?;
            let status = outcome.status();
            assert!(status == 0 || (300..500).contains(&status) || status == 501, "{outcome:?} for {fields:?}");
            stage.assert_silence(&format!("{fields:?}"));
        }
        Ok(())
    });
}

/// H8, H13: a body that is offered before anyone is known does not reach the origin, nor does what follows an upgrade.
#[test]
fn bytes_after_an_unadmitted_head_stay_at_the_edge() {
    run("before-bodies", async |lab| {
        let stage = Stage::set(&lab).await?;
        for head in [
            "POST /upload HTTP/1.1\r\nContent-Length: 100000\r\n",
            "POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
            "GET /h2c HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
            "CONNECT www.example.test:443 HTTP/1.1\r\n",
        ] {
            for door in [stage.door(WWW)?, stage.plain()] {
                let mut raw = door.open().await?;
                raw.send(format!("{head}Host: {WWW}\r\n\r\n").as_bytes()).await?;
                for _ in 0..20 {
                    raw.send(&[b'x'; 5000]).await?;
                }
                let answer = raw.answer(true).await?;
                assert!((300..500).contains(&answer.status), "{} for {head}", answer.status);
                raw.rest().await?;
                stage.assert_silence(head);
            }
        }
        Ok(())
    });
}

/// H13: whoever connects and says nothing, or half of something, does not keep a place for ever.
#[test]
fn a_connection_that_says_nothing_is_closed() {
    run("silent", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut silent = Vec::new();
        for door in [stage.plain(), stage.door(WWW)?, stage.door(WWW)?.offering(&["h2"])] {
            silent.push(door.open().await?);
        }
        let mut half = stage.door(WWW)?.open().await?;
        half.send(format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nX-Never: ").as_bytes()).await?;
        silent.push(half);
        let ends = silent.into_iter().map(async |mut raw| raw.rest().await);
        for ended in futures::future::join_all(ends).await {
            ended?;
        }
        stage.assert_silence("connections that ask for nothing");
        Ok(())
    });
}

/// H9: a preflight is turned away like anything else where an application says nothing of other origins. Where one does, the
/// edge answers the pages that it lists, and nothing of that gets through either.
#[test]
fn a_preflight_is_turned_away_or_answered_by_the_edge_and_never_gets_through() {
    run("preflights", async |lab| {
        let cors =
            "cors: {allowed_origins: [\"https://desk.example.test\"], allowed_methods: [PUT], allow_credentials: true}";
        let access = ACCESS.replace("{name: app,", &format!("{{name: app, {cors},"));
        let stage = Stage::with(&lab, &access, Canary::start().await?).await?;
        let session = stage.somebody(APP, "staff@example.test").await?.session(APP)?;
        let cookie = format!("Cookie: {session}\r\n");
        let listed = "https://desk.example.test";
        for (host, origin, more, body, expected) in [
            (WWW, listed, "", "", 401),
            (WWW, listed, "Sec-Fetch-Mode: cors\r\n", "", 401),
            (WWW, listed, "Accept: text/html\r\n", "", 401),
            (WWW, "https://www.example.test", "", "", 401),
            (WWW, "https://app.example.test", "", "", 401),
            (WWW, "null", "", "", 401),
            (WWW, listed, "Content-Length: 6\r\n", "secret", 401),
            (APP, "https://www.example.test", "", "", 401),
            (APP, "https://desk.example.test.evil.test", "", "", 401),
            (APP, "null", "", "", 401),
            (APP, listed, "Origin: https://evil.test\r\n", "", 401),
            (APP, listed, "", "", 204),
            (APP, listed, "Sec-Fetch-Mode: cors\r\n", "", 204),
            (APP, listed, "Content-Length: 6\r\n", "secret", 204),
            (APP, listed, "Transfer-Encoding: chunked\r\n", "6\r\nsecret\r\n0\r\n\r\n", 204),
            // Not even beside a session, which no browser sends along.
            (APP, listed, cookie.as_str(), "", 204),
        ] {
            let request = format!(
                "OPTIONS /api/x?y=z HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\
                 Access-Control-Request-Headers: x-api\r\n{more}\r\n{body}"
            );
            let answer = stage.door(host)?.ask(request.as_bytes()).await?;
            assert_eq!(answer.status, expected, "{request}");
            assert_eq!(answer.header("location"), None, "{request}");
            let allowed: Vec<_> =
                answer.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).collect();
            if expected == 204 {
                assert_eq!(allowed.len(), 3, "{allowed:?}");
                assert_eq!(answer.header("access-control-allow-origin"), Some(listed), "{request}");
                assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{request}");
                assert_eq!(answer.header("access-control-allow-methods"), Some("PUT"), "{request}");
                assert_eq!(answer.header("vary"), Some("Origin"), "{request}");
            } else {
                assert!(allowed.is_empty(), "{allowed:?} for {request}");
            }
            stage.assert_silence(&request);
        }
        for (host, expected) in [(WWW, 401), (APP, 204)] {
            let fields = [
                (":method", "OPTIONS"),
                (":scheme", "https"),
                (":authority", host),
                (":path", "/api/x"),
                ("origin", listed),
                ("access-control-request-method", "PUT"),
            ];
            let outcome = Http2::open(&stage.door(host)?).await?.ask(&fields, None).await?;
            assert_eq!(outcome.status(), expected, "{host}");
            stage.assert_silence(host);
        }
        Ok(())
    });
}
