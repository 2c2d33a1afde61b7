//! Applications are carried as they are: whatever HTTP allows a service and a visitor to do arrives at the other one.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{Request, body::Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tunnel_tests::{
    Canary, Connector, Edge, EdgeConfig, Smtp, Stage, Visitor,
    canary::{After, Head, SONG, page},
    edge::ACCESS,
    origin::{CHECKSUM_START, Nginx, Streams, block, checksum},
    process::{ends_within, long},
    raw::{Raw, Tls, find},
    run,
    stage::{APP, STAFF, WWW},
    visitor::login,
};

async fn tls(visitor: &Visitor, alpn: &str) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let door = visitor.door("https", WWW)?.offering(&[alpn]);
    let Some(Tls { sni, alpn, config }) = door.tls else { anyhow::bail!("TLS") };
    let mut config = rustls::ClientConfig::clone(&config);
    config.alpn_protocols = alpn;
    let tcp = TcpStream::connect(door.address).await?;
    Ok(TlsConnector::from(Arc::new(config)).connect(sni.try_into()?, tcp).await?)
}

fn many_manners(head: &Head) -> (Vec<u8>, After) {
    let (answer, after) = match (head.method(), head.target()) {
        ("HEAD", _) => ("HTTP/1.1 200 OK\r\nContent-Length: 4321\r\nX-Mine: head\r\n\r\n", After::KeepAlive),
        (_, "/range") if head.all("range") == ["bytes=2-5"] => (
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-5/10\r\nContent-Length: 4\r\n\r\n2345",
            After::KeepAlive,
        ),
        (_, "/range") => (
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n",
            After::KeepAlive,
        ),
        (_, "/204") => ("HTTP/1.1 204 No Content\r\nX-Mine: 204\r\n\r\n", After::KeepAlive),
        (_, "/304") => ("HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\n\r\n", After::KeepAlive),
        (_, "/hints") => (
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhints",
            After::KeepAlive,
        ),
        (_, "/strict") => (
            "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 6\r\n\r\nstrict",
            After::KeepAlive,
        ),
        (_, "/endless") => ("HTTP/1.1 200 OK\r\nX-Mine: no length\r\n\r\nuntil the end", After::Close),
        (_, "/old") => ("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nof old", After::Close),
        (_, "/closing") => ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye", After::Close),
        // Closes without a word, on a connection that was good for one answer before.
        (_, "/leaving") => ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nleaving", After::Close),
        _ => return (page(SONG), After::KeepAlive),
    };
    (answer.as_bytes().to_vec(), after)
}

/// H10: every form of an answer, one after the other on one connection, each followed by its own answer and no other's.
#[test]
fn every_form_of_an_answer_arrives_and_the_next_one_is_its_own() {
    run("answers", async |lab| {
        let stage = Stage::with(&lab, ACCESS, Canary::answering(Arc::new(many_manners)).await?).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let mut raw = stage.door(WWW)?.open().await?;
        let ask = async |raw: &mut Raw, method: &str, target: &str, fields: &str| {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{fields}\r\n");
            raw.send(request.as_bytes()).await?;
            raw.answer(method != "HEAD").await
        };
        for (method, target, fields, status, field, body) in [
            ("GET", "/range", "Range: bytes=2-5\r\n", 206, ("content-range", "bytes 2-5/10"), "2345"),
            ("GET", "/range", "Range: bytes=20-\r\n", 416, ("content-range", "bytes */10"), ""),
            ("HEAD", "/big", "", 200, ("content-length", "4321"), ""),
            ("GET", "/204", "", 204, ("x-mine", "204"), ""),
            ("GET", "/304", "If-None-Match: \"v\"\r\n", 304, ("etag", "\"v\""), ""),
            ("GET", "/hints", "", 200, ("content-length", "5"), "hints"),
            ("GET", "/strict", "", 200, ("strict-transport-security", "max-age=1"), "strict"),
            ("GET", "/endless", "", 200, ("x-mine", "no length"), "until the end"),
            ("GET", "/old", "", 200, ("content-type", "text/plain"), "of old"),
            ("GET", "/closing", "", 200, ("content-length", "3"), "bye"),
            ("GET", "/leaving", "", 200, ("content-length", "7"), "leaving"),
        ] {
            let answer = ask(&mut raw, method, target, fields).await?;
            assert_eq!((answer.status, answer.text().as_str()), (status, body), "{method} {target}");
            assert_eq!(answer.header(field.0), Some(field.1), "{method} {target}: {answer:?}");
            assert_ne!(answer.header("connection"), Some("close"), "{method} {target}: the visitor may go on");
            let next = ask(&mut raw, "GET", "/", "").await?;
            assert_eq!((next.status, next.text().as_str()), (200, SONG), "after {method} {target}");
        }
        Ok(())
    });
}

/// The same of a server that people have.
#[test]
fn nginx_answers_ranges_and_heads_through_the_tunnel() {
    run("nginx-ranges", async |lab| {
        let index = "0123456789".repeat(1000);
        let nginx = Nginx::start(&lab, 8080, &index).await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let _connector = Connector::publish(&lab, WWW, &nginx.url()).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let url = format!("https://{WWW}/deep/page");
        let part = visitor.ask("GET", &url, &[("Range", "bytes=9995-")], b"").await?;
        assert_eq!((part.status(), part.text().as_str()), (206, "56789"));
        assert_eq!(part.header("content-range"), Some("bytes 9995-9999/10000"));
        assert_eq!(visitor.ask("GET", &url, &[("Range", "bytes=10000-")], b"").await?.status(), 416);
        let request = format!("HEAD /deep/page HTTP/1.1\r\nHost: {WWW}\r\nCookie: {}\r\n\r\n", visitor.session(WWW)?);
        let head = visitor.door("https", WWW)?.ask(request.as_bytes()).await?;
        assert_eq!((head.status, head.header("content-length")), (200, Some("10000")));
        let etag = head.header("etag").unwrap_or_default().to_owned();
        assert_eq!(visitor.ask("GET", &url, &[("If-None-Match", &etag)], b"").await?.status(), 304);
        Ok(())
    });
}

/// A body is asked for once somebody is there who takes it; a refusal comes without it.
#[test]
fn a_body_is_asked_for_only_when_the_service_is_there() {
    run("continue", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let www = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let app = stage.somebody(APP, "another@example.test").await?.session(APP)?;
        let head = |host: &str, cookie: &str| {
            format!(
                "POST /up HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
        };
        let mut raw = stage.door(WWW)?.open().await?;
        raw.send(head(WWW, "none=1").as_bytes()).await?;
        let said = raw.read().await?;
        assert!(said.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&said));
        stage.assert_silence("nobody is logged in");

        let mut raw = stage.door(WWW)?.open().await?;
        raw.send(head(WWW, &www).as_bytes()).await?;
        let said = raw.read().await?;
        assert!(said.starts_with(b"HTTP/1.1 100 Continue\r\n\r\n"), "{}", String::from_utf8_lossy(&said));
        stage.www.wait_until(|canary| canary.heard("POST /up")).await?;
        raw.send(b"abcde").await?;
        let answer = raw.answer(true).await?;
        assert_eq!((answer.status, answer.text().as_str()), (200, SONG));
        let heads = stage.www.heads();
        assert_eq!((heads.len(), heads[0].body.as_slice()), (1, b"abcde".as_slice()));
        assert!(heads[0].all("expect").is_empty(), "the edge has answered it: {heads:?}");

        let gone = stage.connectors.pop().unwrap();
        gone.process.terminate().await?;
        let mut raw = stage.door(APP)?.open().await?;
        raw.send(head(APP, &app).as_bytes()).await?;
        let said = raw.read().await?;
        assert!(said.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&said));
        Ok(())
    });
}

/// H15: long addresses and many fields pass up to the limit of a head; beyond it the answer says what is too long.
#[test]
fn heads_pass_up_to_the_limit_and_are_refused_beyond() {
    run("long-heads", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let request = |target: &str, fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{fields}\r\n")
        };
        let path = format!("/{}", "long-segment/".repeat(300));
        let query = format!("/?q={}", "x".repeat(28 * 1024));
        let fields: String = (0..90).map(|n| format!("X-Field-{n}: {n}\r\n")).collect();
        let value = format!("X-Large: {}\r\n", "v".repeat(28 * 1024));
        for (target, fields) in
            [(path.as_str(), ""), (query.as_str(), ""), ("/", fields.as_str()), ("/", value.as_str())]
        {
            stage.www.forget();
            let answer = stage.door(WWW)?.ask(request(target, fields).as_bytes()).await?;
            assert_eq!(answer.status, 200, "{} bytes of target, {} of fields", target.len(), fields.len());
            let head = stage.www.heads().remove(0);
            assert_eq!(head.target(), target);
            let came = head.headers.iter().filter(|(name, _)| name.to_lowercase().starts_with("x-field-")).count();
            assert_eq!(came, fields.matches("X-Field-").count());
            assert!(fields.is_empty() || came > 0 || head.one("x-large").len() == 28 * 1024);
        }
        stage.www.forget();
        let query = format!("/?q={}", "x".repeat(60 * 1024));
        let fields: String = (0..120).map(|n| format!("X-Field-{n}: {n}\r\n")).collect();
        for (target, fields) in [(query.as_str(), ""), ("/", fields.as_str())] {
            let mut raw = stage.door(WWW)?.open().await?;
            let whole = request(target, fields).into_bytes();
            // No more than the edge reads, so that its system has no reason to cut what it answers: a byte too many.
            raw.send(&whole[..whole.len().min(32 * 1024 + 1)]).await?;
            let answer = raw.answer(true).await?;
            assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
        }
        stage.assert_silence("too long");
        Ok(())
    });
}

/// S9, H15: whose browser has more cookies than fit, which any application of the zone can see to, gets the way out of it with
/// the refusal, in either version of HTTP, and stays logged in.
#[test]
fn cookies_that_are_too_many_are_forgotten_until_they_fit() {
    run("cookie-glut", async |lab| {
        let stage = Stage::set(&lab).await?;
        let visitor = stage.somebody(WWW, STAFF).await?;
        let session = visitor.session(WWW)?;
        let by_http1 = async |cookies: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nAccept: text/html\r\nCookie: {cookies}\r\n\r\n");
            let answer = stage.door(WWW)?.ask(request.as_bytes()).await?;
            let named = |wanted: &str| {
                let fields = answer.headers.iter().filter(|(name, _)| name == wanted);
                fields.map(|(_, value)| value.clone()).collect::<Vec<_>>()
            };
            anyhow::Ok((answer.status, named("content-type").concat(), named("set-cookie")))
        };
        let by_http2 = async |cookies: &str| {
            let io = TokioIo::new(tls(&visitor, "h2").await?);
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            let request =
                Request::get(format!("https://{WWW}/")).header("accept", "text/html").header("cookie", cookies);
            let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
            let named = |wanted: &str| {
                let fields = answer.headers().get_all(wanted).iter();
                fields.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            anyhow::Ok((answer.status().as_u16(), named("content-type").concat(), named("set-cookie")))
        };
        for http2 in [false, true] {
            let mut jar: BTreeMap<_, _> = (0..15).map(|n| (format!("bomb{n}"), "x".repeat(4_000))).collect();
            let mut refused = 0;
            loop {
                let bombs: String = jar.iter().map(|(name, value)| format!("; {name}={value}")).collect();
                let cookies = format!("{session}{bombs}");
                let (status, kind, lines) = if http2 { by_http2(&cookies).await? } else { by_http1(&cookies).await? };
                if status == 200 {
                    break;
                }
                refused += 1;
                assert!(status == 431 && kind.starts_with("text/html"), "{status} {kind}");
                let had = jar.len();
                for line in lines {
                    assert!(!line.contains("__Host-"), "{line}");
                    let (name, rest) = line.split_once('=').unwrap();
                    if rest == "0; Path=/; Max-Age=0; Secure; Domain=example.test" {
                        jar.remove(name);
                    }
                }
                assert!(jar.len() < had && refused < 5, "{had} cookies after {refused} refusals");
            }
            assert!(refused > 0 && !jar.is_empty(), "{refused} refusals, {} cookies left", jar.len());
        }
        Ok(())
    });
}

/// Bodies whose length nobody knows beforehand, of every method that has one.
#[test]
fn uploads_without_a_length_arrive_whole() {
    run("chunked", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let mut raw = stage.door(WWW)?.open().await?;
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
            stage.www.forget();
            let head = format!(
                "{method} /up HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            raw.send(head.as_bytes()).await?;
            for piece in ["3\r\nabc\r\n", "4;ext=1\r\ndefg\r\n", "0\r\n\r\n"] {
                raw.send(piece.as_bytes()).await?;
            }
            let answer = raw.answer(true).await?;
            assert_eq!((answer.status, answer.text().as_str()), (200, SONG), "{method}");
            let heads = stage.www.heads();
            assert_eq!((heads.len(), heads[0].body.as_slice()), (1, b"abcdefg".as_slice()), "{method}: {heads:?}");
        }
        Ok(())
    });
}

/// H6: fields after a body arrive where they are taken, but for those that would say who somebody is or what goes where.
#[test]
fn trailers_arrive_at_those_who_take_them() {
    run("trailers", async |lab| {
        let answering = |head: &Head| {
            match head.target() {
            "/sum" => (
                b"HTTP/1.1 200 OK\r\nTrailer: X-Sum, Set-Cookie, Access-User-Email\r\nTransfer-Encoding: chunked\r\n\r\n\
                  4\r\nbody\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=evil\r\nAccess-User-Email: evil\r\n\r\n"
                    .to_vec(),
                After::KeepAlive,
            ),
            _ => (page(SONG), After::KeepAlive),
        }
        };
        let stage = Stage::with(&lab, ACCESS, Canary::answering(Arc::new(answering)).await?).await?;
        let visitor = stage.somebody(WWW, STAFF).await?;
        let session = visitor.session(WWW)?;
        for (te, taken) in [("TE: trailers\r\n", true), ("", false), ("TE: gzip\r\n", false)] {
            let mut raw = stage.door(WWW)?.open().await?;
            // Twice: the connection is in step after it.
            for _ in 0..2 {
                let request = format!("GET /sum HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{te}\r\n");
                raw.send(request.as_bytes()).await?;
                let mut said = Vec::new();
                while !said.ends_with(b"\r\n\r\n") || find(&said, b"\r\n0\r\n").is_none() {
                    let some = raw.read().await?;
                    assert!(!some.is_empty(), "{}", String::from_utf8_lossy(&said));
                    said.extend(some);
                }
                let said = String::from_utf8_lossy(&said).to_lowercase();
                assert!(said.starts_with("http/1.1 200") && said.contains("4\r\nbody\r\n"), "{said}");
                assert_eq!(said.contains("0\r\nx-sum: 7\r\n"), taken, "{te}: {said}");
                assert!(!said.contains("evil"), "{said}");
            }
        }
        let io = TokioIo::new(tls(&visitor, "h2").await?);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let request = Request::get(format!("https://{WWW}/sum")).header("cookie", &session);
        let whole = sender.send_request(request.body(Empty::<Bytes>::new())?).await?.into_body().collect().await?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        assert_eq!(trailers.get("x-sum").unwrap(), "7");
        assert_eq!((trailers.len(), whole.to_bytes()), (1, Bytes::from_static(b"body")));

        stage.www.forget();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nTrailer: Content-Digest, X-Mine\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Digest: sha-256=:eA==:\r\nX-Mine: dropped\r\n\r\n"
        );
        assert_eq!(stage.door(WWW)?.ask(request.as_bytes()).await?.status, 200);
        assert!(stage.www.heard("0\r\ncontent-digest: sha-256=:eA==:\r\n\r\n"), "{:?}", stage.www.connections());
        assert!(!stage.www.heard("dropped"));
        Ok(())
    });
}

/// T10: what has passed this edge before goes in no circle; what others say of themselves goes on.
#[test]
fn a_request_that_comes_back_is_told_so() {
    run("loop", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let ask = async |field: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{field}\r\n");
            stage.door(WWW)?.ask(request.as_bytes()).await
        };
        assert_eq!(ask("CDN-Loop: other; v=1\r\n").await?.status, 200);
        let head = stage.www.heads().remove(0);
        let named = head.all("cdn-loop").join(", ");
        let ours = named.strip_prefix("other; v=1, ").unwrap();
        assert!(ours.starts_with("tunnel-") && !ours.contains("example"), "{named}");
        // An application may ask another one behind the same edge and say what it was told.
        for field in [format!("CDN-Loop: {ours}\r\n"), format!("CDN-Loop: {ours}, {ours}\r\n")] {
            assert_eq!(ask(&field).await?.status, 200, "{field}");
        }
        stage.www.forget();
        for field in [
            format!("CDN-Loop: {ours}, {ours}, {ours}\r\n"),
            format!("CDN-Loop: other; v=1, {ours}\r\ncdn-loop: a, {ours};x=y, {ours}\r\n"),
        ] {
            let answer = ask(&field).await?;
            assert_eq!(answer.status, 508, "{field}");
            assert!(answer.text().contains(r#""loop""#), "{}", answer.text());
        }
        stage.assert_silence("it has been here before");
        Ok(())
    });
}

fn switching(head: &Head) -> (Vec<u8>, After) {
    let named = match (head.all("upgrade").first().copied(), head.target()) {
        (Some("tcp"), "/attach") => "tcp",
        (Some("tcp"), "/other") => "h2c",
        (Some("tcp"), "/both") => "tcp\r\nUpgrade: h2c",
        _ => return (page(SONG), After::KeepAlive),
    };
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {named}\r\n\r\n");
    (answer.into_bytes(), After::Echo)
}

/// H8: a connection becomes another protocol where the application lists it, once the service names that very one, for as long
/// as its visitor is admitted.
#[test]
fn an_application_lists_what_its_connections_may_become() {
    run("named-upgrade", async |lab| {
        let access = ACCESS.replace("{name: www,", "{name: www, upgrades: [tcp],");
        let stage = Stage::with(&lab, &access, Canary::answering(Arc::new(switching)).await?).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let app = stage.somebody(APP, "another@example.test").await?.session(APP)?;
        let (session, app) = (session.as_str(), app.as_str());
        let request = |host: &str, cookie: &str, line: &str, protocol: &str, fields: &str| {
            format!(
                "{line} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nOrigin: https://{host}\r\nConnection: Upgrade\r\n\
                 Upgrade: {protocol}\r\n{fields}\r\n"
            )
        };
        for (host, cookie, line, protocol, fields, expected) in [
            (WWW, "none=1", "GET /attach", "tcp", "", 401),
            (WWW, session, "GET /attach", "websocket, tcp", "", 400),
            (WWW, session, "GET /attach", "tcp", "Origin: https://evil.test\r\n", 403),
        ] {
            let mut raw = stage.door(host)?.open().await?;
            raw.send(request(host, cookie, line, protocol, fields).as_bytes()).await?;
            raw.send(b"too early").await?;
            assert_eq!(raw.answer(true).await?.status, expected, "{line} {protocol} {fields}");
            stage.assert_silence(line);
        }
        // What is not listed, or asked for as nothing can be changed, is left out.
        for (host, cookie, line, protocol, fields) in [
            (WWW, session, "GET /attach", "spdy/3.1", ""),
            (WWW, session, "PUT /attach", "tcp", ""),
            (WWW, session, "POST /attach", "tcp", "Content-Length: 3\r\n"),
            (WWW, session, "GET /attach", "tcp, h2c", ""),
            (APP, app, "GET /attach", "tcp", ""),
        ] {
            stage.www.forget();
            let mut raw = stage.door(host)?.open().await?;
            raw.send(request(host, cookie, line, protocol, fields).as_bytes()).await?;
            raw.send(b"too early").await?;
            assert_eq!(raw.answer(true).await?.status, 200, "{line} {protocol} {fields}");
            assert!(stage.www.heads().iter().all(|head| head.all("upgrade").is_empty()), "{line} {protocol} {fields}");
            assert!(!stage.www.heard("too early"), "{line} {protocol} {fields}");
        }
        for target in ["/other", "/both"] {
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(request(WWW, session, &format!("GET {target}"), "tcp", "").as_bytes()).await?;
            raw.send(b"too early").await?;
            assert_eq!(raw.answer(true).await?.status, 502, "{target}");
            assert!(!stage.www.heard("too early"), "{target}");
        }
        let mut open = Vec::new();
        for line in ["GET /attach", "POST /attach"] {
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(request(WWW, session, line, "tcp", "").as_bytes()).await?;
            let answer = raw.answer(true).await?;
            assert_eq!((answer.status, answer.header("upgrade")), (101, Some("tcp")), "{line}");
            raw.send(b"any bytes").await?;
            assert_eq!(raw.read().await?, b"any bytes", "{line}");
            open.push(raw);
        }
        stage.edge.run(&["admin", "session", "revoke", STAFF]).await?.ok()?;
        for mut raw in open {
            let rest = tokio::time::timeout(ends_within(), raw.rest()).await.context("it goes on")??;
            assert_eq!(rest, b"", "it ends with the session");
        }
        Ok(())
    });
}

fn gibibytes() -> u64 {
    if long() { 10 } else { 1 }
}

/// What is uploaded, in chunks and without a length (F23).
fn gibibytes_up() -> u64 {
    if long() { 20 } else { 1 }
}

/// What both programs may grow by, in MiB.
const GROWTH: u64 = 64;

/// A download and an upload of a size that fits into no memory, checked by their sums.
#[test]
fn gibibytes_pass_both_ways_in_little_memory() {
    run("gibibytes", async |lab| {
        let streams = Streams::start().await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let connector = Connector::publish(&lab, WWW, &streams.url()).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let session = visitor.session(WWW)?;
        let (size, size_up) = (gibibytes() << 30, gibibytes_up() << 30);
        // Now, because it takes its time, and a connection is not kept for as long. What goes up begins with what came down.
        let (one, blocks) = (block(), size / block().len() as u64);
        let blocks_up = size_up / one.len() as u64;
        let expected = (0..blocks).fold(CHECKSUM_START, |sum, _| checksum(sum, &one));
        let expected_up = (blocks..blocks_up).fold(expected, |sum, _| checksum(sum, &one));
        // Warm up, so that what is measured is the body and not the first use of anything.
        visitor.get(&format!("https://{WWW}/bytes/1000000")).await?;
        let before = [edge.process.rss_kib()?, connector.process.rss_kib()?];
        let io = TokioIo::new(tls(&visitor, "http/1.1").await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        let down = Request::get(format!("/bytes/{size}")).header("cookie", &session).header("host", WWW);
        let empty = BodyExt::boxed_unsync(Empty::<Bytes>::new());
        let mut body = sender.send_request(down.body(empty)?).await?.into_body();
        let (mut count, mut sum) = (0, CHECKSUM_START);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                count += data.len() as u64;
                sum = checksum(sum, &data);
            }
        }
        assert_eq!((count, sum), (size, expected), "the download is whole");
        sender.ready().await?;
        let upload = futures::stream::unfold(0, move |sent| async move {
            (sent < blocks_up).then(|| (Ok::<_, std::convert::Infallible>(Frame::data(block())), sent + 1))
        });
        let up = Request::post("/upload").header("cookie", &session).header("host", WWW);
        let answer = sender.send_request(up.body(BodyExt::boxed_unsync(StreamBody::new(upload)))?).await?;
        let said = answer.into_body().collect().await?.to_bytes();
        assert_eq!(String::from_utf8_lossy(&said), format!("{size_up} {expected_up:016x}"), "the upload is whole");
        let after = [edge.process.peak_rss_kib()?, connector.process.peak_rss_kib()?];
        for (name, before, after) in [("edge", before[0], after[0]), ("connector", before[1], after[1])] {
            let grown = after.saturating_sub(before) / 1024;
            assert!(grown < GROWTH, "the {name} grew by {grown} MiB for bodies of {size} bytes");
        }
        Ok(())
    });
}
