//! WebSockets: the same gate, no bytes before the origin agreed, and no cross-site use of a cookie.

use std::{sync::Arc, time::Duration};

use tunnel_tests::{
    Canary, Stage,
    canary::{After, Head, SONG, page},
    edge::{ACCESS, LOGIN_HOST},
    run,
    stage::{APP, STAFF, WWW},
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn upgrade(fields: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {WWW}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

fn switching(accept: &str) -> Vec<u8> {
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into_bytes()
}

fn polite(head: &Head) -> (Vec<u8>, After) {
    if head.target() == "/ws" { (switching(ACCEPT), After::Echo) } else { (page(SONG), After::KeepAlive) }
}

/// H8: an upgrade is judged like any request, and the cookie counts only from the application's own pages.
#[test]
fn an_upgrade_needs_a_session_and_an_origin_of_its_own() {
    run("upgrades", async |lab| {
        let stage = Stage::with(&lab, ACCESS, Canary::answering(Arc::new(polite)).await?).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let own = format!("Origin: https://{WWW}\r\n");
        for (fields, expected) in [
            (String::new(), &[401][..]),
            (own.clone(), &[401]),
            (format!("Cookie: {session}\r\n"), &[401, 403]),
            (format!("Cookie: {session}\r\nOrigin: https://{APP}\r\n"), &[403]),
            (format!("Cookie: {session}\r\nOrigin: https://evil.test\r\n"), &[403]),
            (format!("Cookie: {session}\r\nOrigin: null\r\n"), &[403]),
            (format!("Cookie: {session}\r\nOrigin: http://{WWW}\r\n"), &[403]),
            (format!("Cookie: {session}\r\nOrigin: https://{WWW}:8443\r\n"), &[403]),
            (format!("Cookie: {session}\r\nOrigin: https://{WWW}.evil.test\r\n"), &[403]),
            (format!("Cookie: {session}\r\n{own}Origin: https://evil.test\r\n"), &[400, 403]),
            (format!("Cookie: {session}\r\n{own}Content-Length: 3\r\n"), &[400]),
            (format!("Cookie: {session}\r\n{own}Transfer-Encoding: chunked\r\n"), &[400]),
        ] {
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(upgrade(&fields).as_bytes()).await?;
            raw.send(b"bytes-before-any-answer").await?;
            let answer = raw.answer(true).await?;
            assert!(expected.contains(&answer.status), "{} for {fields:?}", answer.status);
            stage.assert_silence(&fields);
        }
        let mut raw = stage.door(WWW)?.open().await?;
        raw.send(upgrade(&format!("Cookie: {session}\r\n{own}")).as_bytes()).await?;
        let answer = raw.answer(true).await?;
        assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, Some(ACCEPT)));
        raw.send(b"after the switch").await?;
        assert_eq!(raw.read().await?, b"after the switch");
        let head = &stage.www.heads()[0];
        stage.certs().await?.admits(head, STAFF)?;
        assert!(head.all("cookie").is_empty(), "S3: {head:?}");
        assert_eq!(head.one("upgrade").to_lowercase(), "websocket");
        Ok(())
    });
}

/// H8: nothing that a client sends before the origin's 101 reaches the origin, and only a fitting 101 opens the way.
#[test]
fn only_a_fitting_switch_opens_the_way() {
    run("bad-101", async |lab| {
        let rude = |head: &Head| {
            let answer = match head.target() {
                "/ws?wrong" => switching("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
                "/ws?none" => {
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec()
                }
                "/ws?other" => {
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".to_vec()
                }
                "/ws?hints" => [b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9), switching(ACCEPT)].concat(),
                "/unasked" => switching(ACCEPT),
                "/ws?refuse" => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec(),
                _ => return (page(SONG), After::KeepAlive),
            };
            (answer, After::Silence)
        };
        let stage = Stage::with(&lab, ACCESS, Canary::answering(Arc::new(rude)).await?).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let fields = format!("Cookie: {session}\r\nOrigin: https://{WWW}\r\n");
        let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {WWW}\r\nAccess-User-Email: boss@example.test\r\n\r\n");
        for (target, expected) in [
            ("/ws?wrong", 502),
            ("/ws?none", 502),
            ("/ws?other", 502),
            ("/ws?hints", 502),
            ("/ws?refuse", 403),
            ("/ws?page", 200),
        ] {
            stage.www.forget();
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(upgrade(&fields).replace("/ws ", &format!("{target} ")).as_bytes()).await?;
            raw.send(smuggled.as_bytes()).await?;
            let answer = raw.answer(true).await?;
            assert_eq!(answer.status, expected, "{target}");
            // To the end, or until what was sent behind has long been answered.
            let _ = tokio::time::timeout(Duration::from_secs(2), raw.rest()).await;
            assert!(!stage.www.heard("smuggled") && !stage.www.heard("boss@example.test"), "{target}");
        }
        for (name, value) in [("Upgrade", "websocket"), ("Upgrade", "h2c"), ("X", "y")] {
            stage.www.forget();
            let request =
                format!("GET /unasked HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{name}: {value}\r\n\r\n");
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(request.as_bytes()).await?;
            let answer = raw.answer(true).await?;
            assert!(matches!(answer.status, 400 | 502), "a 101 nobody asked for gave {}", answer.status);
            raw.send(smuggled.as_bytes()).await?;
            raw.finish().await?;
            raw.rest().await?;
            assert!(!stage.www.heard("boss@example.test"), "{name}: {value}");
        }
        Ok(())
    });
}

/// H8, H10: after whatever an upgrade did, the next visitor's request is answered with its own answer.
#[test]
fn an_h2c_upgrade_is_never_passed_on() {
    run("h2c", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        for (fields, status) in [
            ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 200),
            ("Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n", 400),
            ("Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n", 200),
            ("Upgrade: anything\r\nConnection: Upgrade\r\n", 200),
        ] {
            stage.www.forget();
            let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{fields}\r\n");
            let answer = stage.door(WWW)?.ask(request.as_bytes()).await?;
            assert_eq!(answer.status, status, "{fields}");
            let heads = stage.www.heads();
            assert_eq!(heads.len(), usize::from(status == 200), "{fields}");
            for head in heads {
                for gone in ["upgrade", "connection", "http2-settings"] {
                    assert!(head.all(gone).is_empty(), "{head:?}");
                }
            }
        }
        Ok(())
    });
}

/// H8: what is answered without the switch that was asked for is answered whole, and its end is said, also where the connection
/// ends with it.
#[test]
fn an_answer_in_the_place_of_a_switch_is_whole_and_its_end_is_said() {
    const LARGE: usize = 4 * 1024 * 1024;
    run("no-switch", async |lab| {
        let manners = |head: &Head| {
            if !matches!(head.target(), "/ws" | "/large") {
                return (page(SONG), After::KeepAlive);
            }
            let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {LARGE}\r\n\r\n");
            ([head.into_bytes(), vec![b'x'; LARGE]].concat(), After::KeepAlive)
        };
        let stage = Stage::with(&lab, ACCESS, Canary::answering(Arc::new(manners)).await?).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let websocket = upgrade(&format!("Cookie: {session}\r\nOrigin: https://{WWW}\r\nConnection: close\r\n"));
        let h2c = format!(
            "GET /large HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        for request in [websocket, h2c] {
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(request.as_bytes()).await?;
            let all = raw.to_its_end().await?;
            assert!(all.starts_with(b"HTTP/1.1 403"), "{request}");
            let head = tunnel_tests::raw::find(&all, b"\r\n\r\n").expect("a head");
            assert_eq!(all.len() - head - 4, LARGE, "{request}");
        }
        Ok(())
    });
}

/// H4, H5: what TLS agreed on is what is spoken. HTTP/1.1 where HTTP/2 was agreed on would be read by another reader than the
/// one that is strict about it, and HTTP/2 where HTTP/1.1 was is no request.
#[test]
fn what_was_agreed_upon_is_spoken_and_nothing_else() {
    run("agreed", async |lab| {
        let stage = Stage::set(&lab).await?;
        let visitor = stage.somebody(WWW, STAFF).await?;
        let session = visitor.session(WWW)?;
        let mut raw = visitor.door("https", WWW)?.offering(&["h2"]).open().await?;
        raw.send(format!("GET /one HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
        let said = raw.rest().await?;
        assert!(!said.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&said));
        let mut raw = visitor.door("https", WWW)?.offering(&["http/1.1"]).open().await?;
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        raw.send(&tunnel_tests::http2::frame(4, 0, 0, &[])).await?;
        let said = raw.rest().await?;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&said));
        stage.assert_silence("nobody asked in a way that was agreed upon");
        Ok(())
    });
}

/// H8, H13: a link of an access client is no browser's. What a page elsewhere would say on one is not to count as its reader's.
#[test]
fn no_page_opens_a_link_of_an_access_client() {
    run("link-origin", async |lab| {
        let stage = Stage::set(&lab).await?;
        let own = format!("Origin: https://{LOGIN_HOST}\r\n");
        let link = "Sec-WebSocket-Protocol: tunnel-access.1\r\n";
        for (fields, expected) in [
            (link.to_owned(), 101),
            (format!("{link}{own}"), 403),
            (format!("{link}Origin: https://evil.test\r\n"), 403),
            (format!("{link}Origin: null\r\n"), 403),
            ("Origin: https://evil.test\r\n".to_owned(), 403),
            (String::new(), 400),
        ] {
            let mut raw = stage.door(LOGIN_HOST)?.open().await?;
            let head = upgrade(&fields).replace("/ws", "/.access/link").replace(WWW, LOGIN_HOST);
            raw.send(head.as_bytes()).await?;
            assert_eq!(raw.answer(false).await?.status, expected, "{fields:?}");
        }
        Ok(())
    });
}
