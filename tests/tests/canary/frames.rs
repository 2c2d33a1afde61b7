//! A catalogue of HTTP/2 requests made by hand: refused, as a stream or as a connection, or served as HTTP/1.1 has it.

use anyhow::{Result, ensure};
use tunnel_tests::{
    Stage,
    http2::{FRAME_MAX, Http2, Outcome, frame},
    run,
    stage::{APP, STAFF, WWW},
};

/// Fields of a GET at `/c`, in order.
type Fields<'a> = Vec<(&'a str, &'a str)>;

fn usual() -> Fields<'static> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", WWW), (":path", "/c")]
}

/// The usual fields, with one of another value.
fn but(name: &str, value: &'static str) -> Fields<'static> {
    let mut fields = usual();
    fields.iter_mut().filter(|(n, _)| *n == name).for_each(|field| field.1 = value);
    fields
}

/// The usual fields, less one.
fn less(name: &str) -> Fields<'static> {
    usual().into_iter().filter(|(n, _)| *n != name).collect()
}

/// The usual fields and more.
fn more(fields: &[(&'static str, &'static str)]) -> Fields<'static> {
    [usual().as_slice(), fields].concat()
}

fn refused() -> Vec<Fields<'static>> {
    let long = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let mut all = Vec::new();
    for method in ["", " ", "G ET", "GET /x", "GET\r\nX: y", "G\0T", "(GET)", "TRACE", "CONNECT", "É", long] {
        all.push(but(":method", method));
    }
    for scheme in ["http", "ftp", "", " https", "https://x", "https://www.example.test/admin?", "https:"] {
        all.push(but(":scheme", scheme));
    }
    for path in [
        "",
        "c",
        "*",
        "?c",
        "/\\c",
        "/c\\",
        "/c d",
        "/c\td",
        "/c\r\nx: y",
        "/c\nd",
        "/c\0",
        "/\u{e9}",
        "/%",
        "/%zz",
        "/%00",
        "/%0d%0a",
        "https://app.example.test/c",
        "http://www.example.test/c",
        "/c HTTP/1.1\r\nHost: x\r\n\r\n",
        "/\u{7f}",
    ] {
        all.push(but(":path", path));
    }
    for authority in [
        "",
        "user@www.example.test",
        "www.example.test@app.example.test",
        "www.example.test/x",
        "www.example.test?x",
        "www.example.test#x",
        "www.example.test:",
        "www.example.test:x",
        "www.example.test:65536",
        "www..example.test",
        "www.example.test, app.example.test",
        "www.example.test app.example.test",
        "www%2eexample.test",
        "www.example.test\r\nx: y",
        "unknown.example.test",
        "127.0.0.1",
        "[::1]",
    ] {
        all.push(but(":authority", authority));
    }
    for name in [":method", ":scheme", ":path", ":authority"] {
        all.push(less(name));
    }
    for (name, value) in
        [(":method", "GET"), (":scheme", "https"), (":authority", WWW), (":path", "/c"), (":path", "/d")]
    {
        let mut twice = usual();
        twice.push((name, value));
        all.push(twice);
    }
    // Other pseudo-fields, and such as come late.
    all.push([&[(":status", "200")][..], usual().as_slice()].concat());
    all.push([usual().as_slice(), &[(":protocol", "websocket")]].concat());
    all.push([&[(":x", "y")][..], usual().as_slice()].concat());
    all.push([&[("x", "y")][..], usual().as_slice()].concat());
    all.push(vec![(":method", "CONNECT"), (":authority", "www.example.test:443")]);
    all.push(vec![
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", WWW),
        (":path", "/c"),
    ]);
    // One authority, and no other beside it.
    for fields in
        [&[("host", APP)][..], &[("host", "")], &[("host", WWW), ("host", WWW)], &[("host", "user@www.example.test")]]
    {
        all.push(more(fields));
    }
    for hosts in
        [&[("host", WWW), ("host", WWW)][..], &[("host", WWW), ("host", APP)], &[("host", "www.example.test/x")]]
    {
        all.push([less(":authority").as_slice(), hosts].concat());
    }
    // What belongs to a connection of HTTP/1, and names and values that are none.
    for field in [
        ("connection", "close"),
        ("connection", "x"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("Upper", "x"),
        ("x y", "z"),
        ("x\r\ny", "z"),
        ("x:y", "z"),
        ("", "x"),
        ("x\0", "y"),
        ("é", "y"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "\u{7f}"),
        ("transfer_encoding", "chunked"),
        ("content_length", "3"),
        ("content-length", "3"),
        ("content-length", "x"),
        ("content-length", "+0"),
    ] {
        all.push(more(&[field]));
    }
    all
}

/// H2, H5, R10, R15: over HTTP/2 nothing arrives that HTTP/1.1 could not have said, and the next stream is answered right, or
/// the connection ends.
#[test]
fn fields_that_http_1_could_not_say_are_refused() {
    run("frames-fields", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let door = stage.door(WWW)?;
        let mut h2 = Http2::open(&door).await?;
        let cases = refused();
        assert!(cases.len() > 90, "{}", cases.len());
        for case in cases {
            let mut fields: Fields<'_> = case;
            fields.push(("cookie", session.as_str()));
            let outcome = h2.ask(&fields, None).await?;
            ensure!(matches!(outcome.status(), 0 | 400 | 404 | 405 | 421), "{outcome:?} for {fields:?}");
            stage.assert_silence(&format!("{fields:?}"));
            let honest = h2.ask(&[usual().as_slice(), &[("cookie", session.as_str())]].concat(), None).await?;
            if honest.status() != 200 {
                ensure!(matches!(honest, Outcome::Gone(_)), "{honest:?} after {fields:?}");
                h2 = Http2::open(&door).await?;
            }
            stage.www.forget();
        }
        // H15: no more fields than by HTTP/1; cookies, which come in fields of their own, are one.
        for (count, cookies, status) in [(100, 1, 431), (99, 60, 200)] {
            let mut fields = [usual().as_slice(), &vec![("x", "y"); count]].concat();
            fields.extend(vec![("cookie", "a=b"); cookies - 1]);
            fields.push(("cookie", session.as_str()));
            let outcome = h2.ask(&fields, None).await?;
            assert_eq!(
                (outcome.status(), stage.www.heads().len()),
                (status, usize::from(status == 200)),
                "{outcome:?}"
            );
        }
        Ok(())
    });
}

/// H1, H5: of a head in several frames the library forgets what is wrong with a part that ends inside of a field. What is judged, and
/// what the service sees, is the same all the same: what came first, and nothing that is refused in one frame.
#[test]
fn of_a_head_in_several_frames_what_is_judged_is_what_arrives() {
    run("frames-split", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let long = "x".repeat(FRAME_MAX);
        for (more, seen) in [
            (&[(":authority", APP)][..], true),
            (&[("connection", "x-kept"), ("x-kept", "y")], true),
            (&[("transfer-encoding", "chunked")], true),
            (&[("te", "gzip")], true),
            (&[("host", APP)], false),
            (&[("access-user-email", "forged@example.test")], true),
        ] {
            let mut fields = usual();
            let pseudo = fields.len();
            fields.extend_from_slice(more);
            // Fields that begin with a colon come before all others.
            fields[pseudo..].sort_by_key(|(name, _)| !name.starts_with(':'));
            fields.extend([("cookie", session.as_str()), ("x-long", long.as_str())]);
            let mut h2 = Http2::open(&stage.door(WWW)?).await?;
            let outcome = h2.ask(&fields, None).await?;
            stage.app.assert_heard_nothing(&format!("{more:?}"));
            let heads = stage.www.heads();
            ensure!(seen || outcome.status() == 400, "{outcome:?} for {more:?}");
            ensure!(heads.len() == usize::from(outcome.status() == 200), "{heads:?} for {more:?}");
            for head in heads {
                ensure!(head.all("host") == [WWW], "{head:?} for {more:?}");
                for name in ["connection", "transfer-encoding", "te"] {
                    ensure!(head.all(name).is_empty(), "{head:?} for {more:?}");
                }
                ensure!(head.all("access-user-email") == [STAFF], "{head:?} for {more:?}");
            }
            stage.www.forget();
        }
        Ok(())
    });
}

/// How a request's frames go on after its HEADERS.
type Rest = &'static [(u8, u8, &'static [u8])];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END: u8 = 1;
const END_OF_FIELDS: u8 = 4;

/// H4, H5: bodies that are not as long as was said, trailers that are none, and frames out of place.
#[test]
fn a_body_is_as_long_as_was_said_and_trailers_change_nothing() {
    run("frames-bodies", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let certs = stage.certs().await?;
        // Without indexing: `x: y`, `:path: /admin`, `access-user-email: b@x`, `content-length: 9`, `Host: x`.
        const X: &[u8] = b"\0\x01x\x01y";
        const PATH: &[u8] = b"\0\x05:path\x06/admin";
        const EMAIL: &[u8] = b"\0\x11access-user-email\x03b@x";
        const LENGTH: &[u8] = b"\0\x0econtent-length\x019";
        const UPPER: &[u8] = b"\0\x04Host\x01x";
        // Whether it is good; what breaks only after its whole body may have arrived, once.
        let cases: &[(&str, Rest, Option<bool>)] = &[
            ("3", &[(DATA, END, b"abc")], Some(true)),
            ("3", &[(DATA, 0, b"a"), (DATA, 0, b""), (DATA, END, b"bc")], Some(true)),
            ("3", &[(DATA, 0, b"abc"), (HEADERS, END | END_OF_FIELDS, X)], Some(true)),
            ("3", &[(DATA, 0, b"abc"), (HEADERS, END | END_OF_FIELDS, EMAIL)], Some(true)),
            ("3", &[(DATA, 0, b"abc"), (HEADERS, END | END_OF_FIELDS, LENGTH)], Some(true)),
            ("3", &[(DATA, END, b"ab")], Some(false)),
            ("3", &[(DATA, END, b"abcd")], Some(false)),
            ("3", &[(DATA, END, b"")], Some(false)),
            ("0", &[(DATA, END, b"abc")], Some(false)),
            ("3", &[(DATA, 0, b"ab"), (DATA, END, b"cd")], Some(false)),
            ("3", &[(DATA, 0, b"ab"), (HEADERS, END | END_OF_FIELDS, X)], Some(false)),
            ("-3", &[(DATA, END, b"abc")], Some(false)),
            ("3, 3", &[(DATA, END, b"abc")], Some(false)),
            ("0x3", &[(DATA, END, b"abc")], Some(false)),
            ("3", &[(DATA, 0, b"abc"), (HEADERS, END | END_OF_FIELDS, UPPER)], None),
            ("3", &[(DATA, 0, b"abc"), (HEADERS, END_OF_FIELDS, X)], None),
        ];
        for (n, (length, rest, is_good)) in cases.iter().enumerate() {
            // Told apart by it: one that was cut may arrive after the next.
            let target = format!("/c?{n}");
            let mut h2 = Http2::open(&stage.door(WWW)?).await?;
            let mut fields: Fields<'_> = but(":method", "POST");
            fields.retain(|(name, _)| *name != ":path");
            fields.insert(0, (":path", target.as_str()));
            fields.extend([("content-length", *length), ("cookie", session.as_str())]);
            let stream = h2.begin(&fields, false).await?;
            for (kind, flags, payload) in *rest {
                h2.send(*kind, *flags, stream, payload).await?;
            }
            let outcome = h2.outcome(stream).await?;
            let mut heads = stage.www.heads();
            heads.retain(|head| head.target() == target);
            if *is_good == Some(true) {
                assert_eq!((outcome.status(), heads.len()), (200, 1), "{length} {rest:?}");
                assert_eq!(heads[0].body, b"abc");
                certs.admits(&heads[0], STAFF)?;
            } else {
                let answers: &[u16] = if is_good.is_none() { &[0, 200, 400] } else { &[0, 400] };
                ensure!(answers.contains(&outcome.status()), "{outcome:?} for {length} {rest:?}");
                ensure!(heads.len() <= usize::from(is_good.is_none()), "{length} {rest:?} arrived: {heads:?}");
            }
            ensure!(!stage.www.heard("b@x"), "trailers tell nobody who asks");
        }
        // Pseudo-fields in trailers are refused, or change nothing.
        stage.www.forget();
        let mut h2 = Http2::open(&stage.door(WWW)?).await?;
        let mut fields: Fields<'_> = but(":method", "POST");
        fields.push(("cookie", session.as_str()));
        let stream = h2.begin(&fields, false).await?;
        h2.send(HEADERS, END | END_OF_FIELDS, stream, PATH).await?;
        let outcome = h2.outcome(stream).await?;
        ensure!(matches!(outcome.status(), 0 | 200 | 400), "{outcome:?}");
        let mut heads = stage.www.heads();
        // As above: one of those that were cut may arrive by now only.
        heads.retain(|head| !head.target().starts_with("/c?"));
        ensure!(heads.iter().all(|head| head.target() == "/c"), "{heads:?}");
        Ok(())
    });
}

/// H5: what HTTP/2 may say and HTTP/1.1 too arrives in the one form.
#[test]
fn good_fields_arrive_as_http_1_has_them() {
    run("frames-good", async |lab| -> Result<()> {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let certs = stage.certs().await?;
        let mut h2 = Http2::open(&stage.door(WWW)?).await?;
        let without = [less(":authority").as_slice(), &[("host", WWW)]].concat();
        for (fields, target) in [
            (usual(), "/c"),
            (but(":authority", "WWW.Example.Test.:443"), "/c"),
            (more(&[("host", WWW), ("te", "trailers")]), "/c"),
            (without, "/c"),
            (but(":path", "/c?x=%zz&y"), "/c?x=%zz&y"),
            (but(":path", "//app.example.test/c"), "//app.example.test/c"),
            // The library cuts a fragment off before anything of ours sees it.
            (but(":path", "/c#/../d"), "/c"),
        ] {
            stage.www.forget();
            let asked =
                [fields.as_slice(), &[("cookie", "a=b"), ("cookie", session.as_str()), ("cookie", "c=d")]].concat();
            assert_eq!(h2.ask(&asked, None).await?, Outcome::Status(200), "{fields:?}");
            let heads = stage.www.heads();
            assert_eq!((heads.len(), heads[0].target()), (1, target), "{fields:?}");
            assert_eq!((heads[0].one("host"), heads[0].all("cookie").join("; ").as_str()), (WWW, "a=b; c=d"));
            let takes_trailers = fields.contains(&("te", "trailers"));
            assert_eq!(heads[0].all("te").len(), usize::from(takes_trailers), "{fields:?}");
            certs.admits(&heads[0], STAFF)?;
        }
        // Cookies in many fields are one list, ours again and again is ours (S3), and more of ours than a browser has is none.
        let many: Vec<String> = (0..60).map(|n| format!("c{n}=x")).collect();
        let upper = session.to_uppercase();
        let (all, own) = (many.iter().map(String::as_str).collect::<Vec<_>>(), session.as_str());
        for (cookies, kept) in [
            ([&all[..30], &[own], &all[30..]].concat(), Some(many.join("; "))),
            (vec!["a=b", own, own, "c=d", own], Some("a=b; c=d".to_owned())),
            (vec!["__Host-access=x", own, ";;", "a=b"], Some("a=b".to_owned())),
            (vec!["a=b", own, own, own, own, own], None),
            (vec!["a=b", upper.as_str()], None),
        ] {
            stage.www.forget();
            let fields: Fields<'_> =
                usual().into_iter().chain(cookies.iter().map(|cookie| ("cookie", *cookie))).collect();
            let outcome = h2.ask(&fields, None).await?;
            let heads = stage.www.heads();
            assert_eq!(outcome.status() == 200, kept.is_some(), "{outcome:?} for {cookies:?}");
            assert_eq!(heads.len(), usize::from(kept.is_some()), "{cookies:?}");
            if let Some(kept) = kept {
                assert_eq!(heads[0].one("cookie"), kept);
                certs.admits(&heads[0], STAFF)?;
            }
        }
        Ok(())
    });
}

/// SETTINGS in a row: more than the hundred that a connection may send, also if these begin to count anew in the middle, and
/// fewer than the four hundred for which it is cut.
const SETTINGS: usize = 250;

/// H14: over a budget a connection is asked to go, which is said, and costs nobody an answer: what is under way ends as it would,
/// and what comes next comes on another connection.
#[test]
fn a_connection_over_a_budget_is_asked_to_go_and_what_is_under_way_is_answered() {
    run("frames-goaway", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let mut h2 = Http2::open(&stage.door(WWW)?).await?;
        let mut fields: Fields<'_> = but(":method", "POST");
        fields.extend([("content-length", "3"), ("cookie", session.as_str())]);
        let upload = h2.begin(&fields, false).await?;
        h2.data(upload, b"a", false).await?;
        stage.www.wait_until(|www| www.heard("POST /c")).await?;
        h2.send_raw(&frame(4, 0, 0, &[]).repeat(SETTINGS)).await?;
        assert_eq!(h2.asked_to_go().await?, Some(0), "it is asked to go, without an error");
        ensure!(stage.www.heads().is_empty(), "the request is under way: {:?}", stage.www.heads());
        h2.data(upload, b"bc", true).await?;
        assert_eq!(h2.outcome(upload).await?, Outcome::Status(200));
        assert_eq!(stage.www.heads()[0].body, b"abc");
        // After that it ends.
        while h2.asked_to_go().await?.is_some() {}
        let asked = [usual().as_slice(), &[("cookie", session.as_str())]].concat();
        let mut next = Http2::open(&stage.door(WWW)?).await?;
        assert_eq!(next.ask(&asked, None).await?, Outcome::Status(200), "another connection is served");
        Ok(())
    });
}
