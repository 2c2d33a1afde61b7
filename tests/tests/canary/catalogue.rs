//! A catalogue of HTTP/1 requests, each as exact bytes of somebody who is admitted: refused and the connection closed, or
//! served as it was sent, with the honest request behind it answered.

use anyhow::{Context, Result, ensure};
use tunnel_tests::{
    Canary, Stage,
    canary::{After, Head, page},
    edge::ACCESS,
    raw::Answer,
    run,
    stage::{STAFF, WWW},
};

/// What answers a request that is refused.
const REFUSALS: [u16; 8] = [400, 404, 405, 414, 417, 431, 501, 505];
/// What answers one whose framing is in doubt.
const FRAMING: [u16; 1] = [400];

/// First lines that are none, with good fields.
const BAD_LINES: &[&str] = &[
    "",
    " ",
    "GET",
    "GET /c",
    "GET /c ",
    "GET  HTTP/1.1",
    "GET  /c HTTP/1.1",
    "GET /c  HTTP/1.1",
    "GET /c HTTP/1.1 ",
    " GET /c HTTP/1.1",
    "\tGET /c HTTP/1.1",
    "GET\t/c\tHTTP/1.1",
    "GET /c HTTP/1.1\r",
    "GET /c\u{b}HTTP/1.1",
    "GET /c HTTP/1.1 x",
    "GET /c y HTTP/1.1",
    "G ET /c HTTP/1.1",
    "G(ET) /c HTTP/1.1",
    "\"GET\" /c HTTP/1.1",
    "GÉT /c HTTP/1.1",
    "GET /c HTTP/1.2",
    "GET /c HTTP/0.9",
    "GET /c HTTP/2.0",
    "GET /c HTTP/3",
    "GET /c HTTP/1",
    "GET /c HTTP/11",
    "GET /c HTTP/1.10",
    "GET /c HTTP/01.1",
    "GET /c HTTP /1.1",
    "GET /c http/1.1",
    "GET /c HTTPS/1.1",
    "GET /c HTTP/1,1",
    "GET /c ICAP/1.0",
    "PRI * HTTP/2.0",
    "CONNECT www.example.test:443 HTTP/1.1",
    "CONNECT /c HTTP/1.1",
    "TRACE /c HTTP/1.1",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /c HTTP/1.1",
    "GET /c\0 HTTP/1.1",
    "GET /c\u{7f} HTTP/1.1",
    "\0GET /c HTTP/1.1",
    // H7: who somebody is that asks through a proxy; nobody has said that a proxy may speak for others.
    "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\nGET /c HTTP/1.1",
    "PROXY UNKNOWN\r\nGET /c HTTP/1.1",
    "\r\n\r\n\0\r\nQUIT\n!\u{11}\0\u{c}\u{1}\u{2}\u{3}\u{4}\u{7f}\0\0\u{1}\u{10}\0\u{1}+GET /c HTTP/1.1",
];
/// Targets that are none.
const BAD_TARGETS: &[&str] = &[
    "*",
    "c",
    "?c",
    "/c#",
    "/c#x",
    "/#/../c",
    "/c?x#y",
    "https://www.example.test/c#x",
    "/c\\x",
    "/c<x>",
    "/c`",
    "/c?x=\"y\"",
    "\\c",
    "/\u{e9}",
    "/c\u{a0}",
    "/c\t",
    "/%",
    "/%c",
    "/%zz",
    "/%00",
    "/c%0d%0aX:y",
    "/c%0A",
    "www.example.test:443",
    "www.example.test/c",
    "ftp://www.example.test/c",
    "http://www.example.test/c",
    "https://app.example.test/c",
    "https://user@www.example.test/c",
    "https://www.example.test:444/c",
    "https:///c",
    "https://www.example.test@app.example.test/c",
    "javascript:c",
    "https:c",
];
/// `Host` fields that are none, in the place of the good one.
const BAD_HOSTS: &[&str] = &[
    "",
    "Host:\r\n",
    "Host: \r\n",
    "Host: www.example.test\r\nHost: www.example.test\r\n",
    "Host: www.example.test\r\nHost: app.example.test\r\n",
    "Host: www.example.test\r\nhost:\r\n",
    "Host: www.example.test, app.example.test\r\n",
    "Host: www.example.test app.example.test\r\n",
    "Host: www.example.test:\r\n",
    "Host: www.example.test:x\r\n",
    "Host: www.example.test:-443\r\n",
    "Host: www.example.test:+443\r\n",
    "Host: www.example.test:65536\r\n",
    "Host: www.example.test:443:443\r\n",
    "Host: user@www.example.test\r\n",
    "Host: www.example.test/\r\n",
    "Host: www.example.test?\r\n",
    "Host: www.example.test#\r\n",
    "Host: https://www.example.test\r\n",
    "Host: www.example.test\\\r\n",
    "Host: \"www.example.test\"\r\n",
    "Host: www%2eexample.test\r\n",
    "Host: www..example.test\r\n",
    "Host: .www.example.test\r\n",
    "Host: www.example.test..\r\n",
    "Host : www.example.test\r\n",
];
/// Fields that are none, beside good ones.
const BAD_FIELDS: &[&str] = &[
    "X\r\n",
    "X y\r\n",
    ": y\r\n",
    "X : y\r\n",
    "X\t: y\r\n",
    " X: y\r\n",
    "\tX: y\r\n",
    "X y: z\r\n",
    "X: y\r\n z\r\n",
    "X: y\r\n\tz\r\n",
    "X: y\r\n \r\n",
    "X: y\n",
    "X: y\nZ: z\r\n",
    "X: y\rZ: z\r\n",
    "X: y\r\r\n",
    "X:\ry\r\n",
    "X: y\0\r\n",
    "X\0: y\r\n",
    "X: \u{1}\r\n",
    "X: \u{8}\r\n",
    "X: \u{b}\r\n",
    "X: \u{c}\r\n",
    "X: \u{1b}\r\n",
    "X: \u{7f}\r\n",
    "X(: y\r\n",
    "X@: y\r\n",
    "X/: y\r\n",
    "X[]: y\r\n",
    "X{}: y\r\n",
    "\"X\": y\r\n",
    "X,Y: z\r\n",
    "É: y\r\n",
    "X=y\r\n",
    "\n",
];
/// Framings that are two, or none, with what follows the head.
const BAD_FRAMINGS: &[(&str, &str)] = &[
    ("Content-Length:\r\n", "abc"),
    ("Content-Length: \r\n", "abc"),
    ("Content-Length: +3\r\n", "abc"),
    ("Content-Length: -3\r\n", "abc"),
    ("Content-Length: -0\r\n", ""),
    ("Content-Length: 3.0\r\n", "abc"),
    ("Content-Length: 3e0\r\n", "abc"),
    ("Content-Length: 0x3\r\n", "abc"),
    ("Content-Length: 0o3\r\n", "abc"),
    ("Content-Length: 0b11\r\n", "abc"),
    ("Content-Length: 3_0\r\n", "abc"),
    ("Content-Length: 3 3\r\n", "abc"),
    ("Content-Length: 3,3\r\n", "abc"),
    ("Content-Length: 3, 4\r\n", "abc"),
    ("Content-Length: ,3\r\n", "abc"),
    ("Content-Length: \"3\"\r\n", "abc"),
    ("Content-Length: 3;x\r\n", "abc"),
    ("Content-Length: ٣\r\n", "abc"),
    ("Content-Length: 99999999999999999999\r\n", "abc"),
    ("Content-Length: 18446744073709551619\r\n", "abc"),
    ("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
    ("Content-Length: 3\r\nContent-Length: 0\r\n", "abc"),
    ("Content-Length: 0\r\ncontent-length: 3\r\n", "abc"),
    ("Content-Length : 3\r\n", "abc"),
    ("Content_Length: 3\r\n", "abc"),
    ("Content.Length: 3\r\n", "abc"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: gzip\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: identity\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunkedx\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding:\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
    ("Transfer_Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\nX: y\r\n", "0\r\n\r\n"),
];
/// Chunked bodies that are none.
const BAD_CHUNKS: &[&str] = &[
    "\r\n",
    "x\r\n",
    "-1\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3_\r\nabc\r\n0\r\n\r\n",
    "3h\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "3 3\r\nabc\r\n0\r\n\r\n",
    "3\t,\r\nabc\r\n0\r\n\r\n",
    "3\nabc\n0\n\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "3\r\nabc\r0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "4\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "3\r\nabc\r\n0\n\r\n",
    "3\r\nabc\r\n0\r\n\n",
    "3,3\r\nabc\r\n0\r\n\r\n",
    "3;\r\nabc\r\n0\r\n\r\n",
    "3;;x\r\nabc\r\n0\r\n\r\n",
    "3; x\r\nabc\r\n0\r\n\r\n",
    "3;x =y\r\nabc\r\n0\r\n\r\n",
    "3;x=\r\nabc\r\n0\r\n\r\n",
    "3;x=\"y\r\nabc\r\n0\r\n\r\n",
    "3;[\r\nabc\r\n0\r\n\r\n",
    "3;x\ny\r\nabc\r\n0\r\n\r\n",
    "3;x\ry\r\nabc\r\n0\r\n\r\n",
    "3;\u{1}\r\nabc\r\n0\r\n\r\n",
    "3\0\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "00000000000000003\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: y\n\r\n",
    "3\r\nabc\r\n0\r\nno field\r\n\r\n",
];
/// What is served: first line, further fields, what follows the head, and the body that the origin gets.
pub(super) const SERVED: &[(&str, &str, &str, &str)] = &[
    ("GET /c HTTP/1.1", "", "", ""),
    ("GET /c?x=%zz&y={}|^`\\ HTTP/1.1", "X: y\r\n", "", ""),
    ("GET https://www.example.test/c HTTP/1.1", "", "", ""),
    ("GET HTTPS://WWW.example.test:443/c HTTP/1.1", "", "", ""),
    ("\r\nGET /c HTTP/1.1", "", "", ""),
    ("OPTIONS /c HTTP/1.1", "", "", ""),
    ("PROPFIND /c HTTP/1.1", "", "", ""),
    ("get /c HTTP/1.1", "", "", ""),
    ("!#$%&'*+-.^_`|~ /c HTTP/1.1", "", "", ""),
    ("DELETE /c HTTP/1.1", "Content-Length: 0\r\n", "", ""),
    ("GET /c HTTP/1.1", "X:y\r\nY:\r\nZ: \t z \t\r\n!#$%&'*+-.^_`|~: x\r\n", "", ""),
    ("GET /c HTTP/1.1", "X: caf\u{e9}\r\n", "", ""),
    ("GET /c HTTP/1.1", "Content-Length: 3\r\n", "abc", "abc"),
    ("POST /c HTTP/1.1", "Content-Length: 3\r\n", "abc", "abc"),
    ("POST /c HTTP/1.1", "content-length:003\r\n", "abc", "abc"),
    (
        "POST /c HTTP/1.1",
        "Content-Length: 37\r\n",
        "GET /hidden HTTP/1.1\r\nHost: x.y.z\r\n\r\n",
        "GET /hidden HTTP/1.1\r\nHost: x.y.z\r\n\r\n",
    ),
    ("POST /c HTTP/1.1", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", ""),
    ("POST /c HTTP/1.1", "transfer-encoding:CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("POST /c HTTP/1.1", "Transfer-Encoding: chunked\r\n", "A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", "0123456789x"),
    ("POST /c HTTP/1.1", "Transfer-Encoding: chunked\r\n", "03\r\nabc\r\n000\r\n\r\n", "abc"),
    ("POST /c HTTP/1.1", "Transfer-Encoding: chunked\r\n", "3;x;y=z;a=\"b;\\\"c\"\r\nabc\r\n0;z\r\n\r\n", "abc"),
    ("POST /c HTTP/1.1", "Transfer-Encoding: chunked\r\n", "3 \t\r\nabc\r\n0 ;z\r\n\r\n", "abc"),
    ("POST /c HTTP/1.1", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n", "abc"),
    ("POST /c HTTP/1.1", "Transfer-Encoding: chunked\r\n", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
    ("POST /c HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 3\r\n", "abc", "abc"),
    ("GET /c HTTP/1.1", "Expect: 100-continue\r\n", "", ""),
    ("GET /c HTTP/1.1", "Upgrade: h2c\r\n", "", ""),
    ("GET /c HTTP/1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "", ""),
    ("POST /c HTTP/1.1", "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n", "abc", "abc"),
    ("GET /c HTTP/1.1", "Connection: X-Y, keep-alive\r\nX-Y: z\r\n", "", ""),
    ("GET /c HTTP/1.1", "Connection: Host, Cookie\r\n", "", ""),
    ("GET /c HTTP/1.1", "TE: trailers\r\nTrailer: X\r\n", "", ""),
    ("GET /c HTTP/1.1", "Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\n", "", ""),
    ("GET /c HTTP/1.1", "Range: bytes=0-1\r\nX-HTTP-Method-Override: DELETE\r\n", "", ""),
];

fn echo(head: &Head) -> (Vec<u8>, After) {
    (page(&format!("{} {}", head.method(), head.target())), After::KeepAlive)
}

struct Visit {
    stage: Stage,
    fields: String,
    follow: String,
}

impl Visit {
    /// Sends a request and the honest one behind it; gives the answer, and what came after it.
    async fn ask(&self, request: &str) -> Result<(Answer, Vec<u8>)> {
        let mut raw = self.stage.door(WWW)?.open().await?;
        raw.send(format!("{request}{}", self.follow).as_bytes()).await?;
        let answer = raw.answer(true).await?;
        Ok((answer, raw.rest().await?))
    }

    async fn is_refused(&self, request: &str, statuses: &[u16]) -> Result<()> {
        self.stage.www.forget();
        let (answer, rest) = self.ask(request).await.with_context(|| format!("{request:?}"))?;
        ensure!(statuses.contains(&answer.status), "{} for {request:?}", answer.status);
        ensure!(rest.is_empty(), "{:?} after {request:?} was refused", String::from_utf8_lossy(&rest));
        ensure!(self.stage.www.heads().is_empty(), "{request:?} arrived: {:?}", self.stage.www.heads());
        ensure!(!self.stage.www.heard("/follow"), "what follows {request:?} arrived");
        self.stage.app.assert_heard_nothing(request);
        Ok(())
    }
}

async fn visit(lab: &tunnel_tests::Lab) -> Result<Visit> {
    let stage = Stage::with(lab, ACCESS, Canary::answering(std::sync::Arc::new(echo)).await?).await?;
    let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
    let fields = format!("Host: {WWW}\r\nCookie: {session}\r\n");
    let follow = format!("GET /follow HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    Ok(Visit { stage, fields, follow })
}

/// H1, H2, H4, R03: heads.
#[test]
fn a_head_that_is_none_to_the_letter_is_refused_and_the_connection_closed() {
    run("catalogue-heads", async |lab| {
        let visit = visit(&lab).await?;
        let fields = &visit.fields;
        let cookie = fields.split_once("\r\n").context("two fields")?.1;
        for line in BAD_LINES {
            visit.is_refused(&format!("{line}\r\n{fields}\r\n"), &REFUSALS).await?;
            visit.stage.www.assert_heard_nothing(line);
        }
        for target in BAD_TARGETS {
            visit.is_refused(&format!("GET {target} HTTP/1.1\r\n{fields}\r\n"), &REFUSALS).await?;
            visit.stage.www.assert_heard_nothing(target);
        }
        for host in BAD_HOSTS {
            for line in ["GET /c HTTP/1.1", "GET https://www.example.test/c HTTP/1.1", "GET /c HTTP/1.0"] {
                visit.is_refused(&format!("{line}\r\n{host}{cookie}\r\n"), &REFUSALS).await?;
                visit.stage.www.assert_heard_nothing(host);
            }
        }
        for field in BAD_FIELDS {
            for request in
                [format!("GET /c HTTP/1.1\r\n{fields}{field}\r\n"), format!("GET /c HTTP/1.1\r\n{field}{fields}\r\n")]
            {
                visit.is_refused(&request, &REFUSALS).await?;
                visit.stage.www.assert_heard_nothing(field);
            }
        }
        Ok(())
    });
}

/// H4, H10: framings and chunked bodies.
#[test]
fn a_body_that_could_end_in_two_places_is_refused_and_the_connection_closed() {
    run("catalogue-bodies", async |lab| {
        let visit = visit(&lab).await?;
        let fields = &visit.fields;
        for (framing, body) in BAD_FRAMINGS {
            for method in ["POST", "GET"] {
                visit.is_refused(&format!("{method} /c HTTP/1.1\r\n{fields}{framing}\r\n{body}"), &FRAMING).await?;
                visit.stage.www.assert_heard_nothing(framing);
            }
        }
        let chunked = "Transfer-Encoding: chunked\r\n";
        visit.is_refused(&format!("POST /c HTTP/1.0\r\n{fields}{chunked}\r\n0\r\n\r\n"), &FRAMING).await?;
        for body in BAD_CHUNKS {
            visit.is_refused(&format!("POST /c HTTP/1.1\r\n{fields}{chunked}\r\n{body}"), &FRAMING).await?;
            // The same when it comes late, and the request is already on its way.
            let mut raw = visit.stage.door(WWW)?.open().await?;
            raw.send(format!("POST /late HTTP/1.1\r\n{fields}{chunked}\r\n5\r\nearly\r\n").as_bytes()).await?;
            visit.stage.www.wait_until(|canary| canary.heard("/late") && canary.heard("early")).await?;
            raw.send(format!("{body}{}", visit.follow).as_bytes()).await?;
            let answer = raw.answer(true).await?;
            ensure!(answer.status == 400, "{} for a late {body:?}", answer.status);
            ensure!(raw.rest().await?.is_empty(), "the connection ends after {body:?}");
            ensure!(visit.stage.www.heads().is_empty() && !visit.stage.www.heard("/follow"), "{body:?}");
            visit.stage.www.forget();
        }
        Ok(())
    });
}

/// H15: more than a head may have.
#[test]
fn a_head_that_is_too_large_is_refused_with_a_status_of_its_own() {
    run("catalogue-sizes", async |lab| {
        let visit = visit(&lab).await?;
        let fields = &visit.fields;
        let chunked = "Transfer-Encoding: chunked\r\n";
        for (request, status) in [
            (format!("GET /c?{} HTTP/1.1\r\n{fields}\r\n", "x".repeat(40_000)), 414),
            (format!("GET /c HTTP/1.1\r\n{fields}X: {}\r\n\r\n", "x".repeat(40_000)), 431),
            (format!("GET /c HTTP/1.1\r\n{fields}{}\r\n", "X: y\r\n".repeat(99)), 431),
            (format!("GET /c HTTP/1.1\r\n{fields}{}\r\n", "X: y\r\n".repeat(5_000)), 431),
            (format!("{} /c HTTP/1.1\r\n{fields}\r\n", "X".repeat(33)), 405),
            (format!("POST /c HTTP/1.1\r\n{fields}{chunked}\r\n1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(300)), 400),
            (format!("POST /c HTTP/1.1\r\n{fields}{chunked}\r\n0\r\nX: {}\r\n\r\n", "x".repeat(9_000)), 400),
        ] {
            let (answer, rest) = visit.ask(&request).await?;
            assert_eq!((answer.status, rest.len()), (status, 0), "{} bytes", request.len());
            assert!(visit.stage.www.heads().is_empty());
        }
        // What is just small enough is served.
        for request in [
            format!("GET /c?{} HTTP/1.1\r\n{fields}\r\n", "x".repeat(30_000)),
            format!("GET /c HTTP/1.1\r\n{fields}{}\r\n", "X: y\r\n".repeat(98)),
        ] {
            let (answer, rest) = visit.ask(&request).await?;
            assert_eq!(answer.status, 200, "{} bytes", request.len());
            assert!(String::from_utf8_lossy(&rest).ends_with("GET /follow"));
        }
        Ok(())
    });
}

/// H4, H6: what is good arrives as one request in the one form, and the next after it.
#[test]
fn what_has_one_reading_is_served_and_so_is_what_follows() {
    run("catalogue-served", async |lab| {
        let visit = visit(&lab).await?;
        let certs = visit.stage.certs().await?;
        for (line, more, after, body) in SERVED {
            visit.stage.www.forget();
            let request = format!("{line}\r\n{}{more}\r\n{after}", visit.fields);
            let (answer, rest) = visit.ask(&request).await.with_context(|| format!("{request:?}"))?;
            let method = line.trim_start().split(' ').next().unwrap_or_default();
            assert_eq!(answer.status, 200, "{request:?}");
            assert!(answer.text().starts_with(&format!("{method} /c")), "{request:?}: {}", answer.text());
            assert!(String::from_utf8_lossy(&rest).ends_with("GET /follow"), "{request:?}: {rest:?}");
            let heads = visit.stage.www.heads();
            assert_eq!(heads.iter().map(|head| head.body.as_slice()).collect::<Vec<_>>(), [body.as_bytes(), b""]);
            for head in &heads {
                assert_eq!(head.one("host"), WWW);
                certs.admits(head, STAFF)?;
                let framed = head.all("content-length").len() + head.all("transfer-encoding").len();
                assert!(framed <= 1, "{head:?}");
                // That trailers are taken is said anew on this connection.
                let te = head.all("te");
                assert!(te.is_empty() || (te == ["trailers"] && head.one("connection") == "te"), "{head:?}");
                assert!(!te.is_empty() || head.all("connection").is_empty(), "{head:?}");
                for gone in ["x-y", "trailer", "keep-alive", "proxy-connection", "upgrade", "z"] {
                    let is_kept = gone == "z" && more.contains("Z: ");
                    assert!(head.all(gone).is_empty() || is_kept, "{gone} in {head:?}");
                }
            }
        }
        Ok(())
    });
}
