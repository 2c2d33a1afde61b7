//! Tables, and properties that hold whatever comes: what passes has the reading that the library's own parser gives it, and
//! bytes may come in any pieces.

use http_body_util::BodyExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{
    chunks::{EXTENSIONS_MAX, SIZE_LINE_MAX, TRAILERS_MAX},
    *,
};

fn judged(head: &str) -> Result<Framing, Malformed> {
    let mut search = Search::default();
    match search.end(head.as_bytes())? {
        Some(end) => head::judge(&head.as_bytes()[..end]),
        None => panic!("{head:?} has no end"),
    }
}

fn with(fields: &str) -> Result<Framing, Malformed> {
    judged(&format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
}

fn line(line: &str) -> Result<Framing, Malformed> {
    judged(&format!("{line}\r\nHost: a.test\r\n\r\n"))
}

#[test]
fn framing_is_one_length_or_chunked_in_one_spelling() {
    // H4
    assert_eq!(with(""), Ok(Framing::Length(0)));
    assert_eq!(with("Content-Length: 0005\r\n"), Ok(Framing::Length(5)));
    assert_eq!(with("content-length:\t5 \r\n"), Ok(Framing::Length(5)));
    assert_eq!(with("transfer-encoding: CHUNKED\r\n"), Ok(Framing::Chunked));
    for fields in [
        "Content-Length:\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content_Length: 5\r\n",
        "content.length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "transfer_encoding: chunked\r\n",
        "Transfer.Encoding: x\r\n",
    ] {
        assert_eq!(with(fields), Err(Malformed::Framing), "{fields:?}");
    }
    let old = judged("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, Err(Malformed::Framing));
}

#[test]
fn a_request_line_has_three_words_and_no_fragment() {
    // H1, R03
    for good in
        ["GET / HTTP/1.1", "OPTIONS * HTTP/1.1", "M-SEARCH /a\"?b=%zz|`\\ HTTP/1.0", "GET http://a.test/ HTTP/1.1"]
    {
        assert_eq!(line(good), Ok(Framing::Length(0)), "{good}");
    }
    for (bad, fault) in [
        ("GET /x#y HTTP/1.1", Malformed::Target),
        ("GET /é HTTP/1.1", Malformed::Target),
        ("GET /?x=\"y\" HTTP/1.1", Malformed::Target),
        ("GET /<x> HTTP/1.1", Malformed::Target),
        ("GET /` HTTP/1.1", Malformed::Target),
        ("GET  HTTP/1.1", Malformed::Target),
        ("GET /x y HTTP/1.1", Malformed::Syntax),
        ("GET  / HTTP/1.1", Malformed::Syntax),
        (" GET / HTTP/1.1", Malformed::Syntax),
        ("GET / HTTP/1.1 ", Malformed::Syntax),
        ("GET /\tHTTP/1.1", Malformed::Syntax),
        ("GET /", Malformed::Syntax),
        ("G(T / HTTP/1.1", Malformed::Syntax),
        ("GET / HTTP/1.2", Malformed::Syntax),
        ("GET / HTTP/2.0", Malformed::Syntax),
        ("GET / http/1.1", Malformed::Syntax),
        ("GET / HTTP/01.1", Malformed::Syntax),
    ] {
        assert_eq!(line(bad), Err(fault), "{bad:?}");
    }
    for (length, expected) in [(32, Ok(Framing::Length(0))), (33, Err(Malformed::Method))] {
        assert_eq!(line(&format!("{} / HTTP/1.1", "A".repeat(length))), expected, "{length}");
    }
}

#[test]
fn fields_are_plain_and_lines_end_in_cr_and_lf() {
    // H4
    for good in ["X:\r\n", "X: \r\n", "X: a\tb é\r\n", "!#$%&'*+-.^_`|~0a: :\r\n"] {
        assert_eq!(with(good), Ok(Framing::Length(0)), "{good:?}");
    }
    for bad in
        ["X : a\r\n", "X\r\n", ": a\r\n", " X: a\r\n", "X: a\r\n b\r\n", "X: a\r\n\tb\r\n", "X y: a\r\n", "É: a\r\n"]
    {
        assert_eq!(with(bad), Err(Malformed::Syntax), "{bad:?}");
    }
    for bad in ["X: a\n", "X: a\rb\r\n", "X: a\r\r\n", "X: \0\r\n", "X: \u{1}\r\n", "X: \u{7f}\r\n", "X: \u{b}\r\n"] {
        let mut search = Search::default();
        let head = format!("GET / HTTP/1.1\r\n{bad}\r\n");
        assert_eq!(search.end(head.as_bytes()), Err(Malformed::Syntax), "{bad:?}");
    }
    // One empty line may come before a head (RFC 9112 §2.2).
    assert_eq!(judged("\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Framing::Length(0)));
    assert_eq!(judged("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Err(Malformed::Syntax));
}

#[test]
fn a_head_has_an_end_and_not_too_many_fields() {
    // H15
    let many = |count: usize| judged(&format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(count)));
    assert_eq!(many(FIELDS_MAX), Ok(Framing::Length(0)));
    assert_eq!(many(FIELDS_MAX + 1), Err(Malformed::HeadTooLarge));
    let sized = |before: &str, after: &str, size: usize| {
        let filler = "a".repeat(size - before.len() - after.len());
        Search::default().end(format!("{before}{filler}{after}").as_bytes())
    };
    let (before, after) = ("GET / HTTP/1.1\r\nX: ", "\r\n\r\n");
    assert_eq!(sized(before, after, HEAD_MAX), Ok(Some(HEAD_MAX)));
    assert_eq!(sized(before, after, HEAD_MAX + 1), Err(Malformed::HeadTooLarge));
    assert_eq!(sized("GET /", " HTTP/1.1\r\n\r\n", HEAD_MAX + 99), Err(Malformed::TargetTooLong));
    assert_eq!(sized("GET /", "", HEAD_MAX), Ok(None));
}

/// How a body goes, and how many bytes were read of it.
fn followed(body: &[u8]) -> (usize, Seen) {
    Chunks::new().follow(body)
}

#[test]
fn chunks_are_followed_to_their_end() {
    // H4
    for body in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "00000003\r\nabc\r\n0;x\r\n\r\n",
        "3;a=b;c=\"d;\\\"  \";e\r\nabc\r\n0\r\n\r\n",
        "3 \t\r\nabc\r\n0 ;x\r\n\r\n",
        "a\r\n0123456789\r\n1\r\n\n\r\n0\r\nX: y\r\nZ:\r\n\r\n",
    ] {
        let longer = format!("{body}GET / HTTP/1.1\r\n\r\n");
        assert_eq!(followed(longer.as_bytes()), (body.len(), Seen::End), "{body:?}");
        assert_eq!(followed(&body.as_bytes()[..body.len() - 1]).1, Seen::More, "{body:?}");
    }
    let line = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len - 2));
    assert_eq!(followed(line(SIZE_LINE_MAX).as_bytes()).1, Seen::End);
    for body in [
        line(SIZE_LINE_MAX + 1),
        format!("{}0\r\n\r\n", "1;eeeeeeeeeeeeeeee\r\na\r\n".repeat(EXTENSIONS_MAX / 17 + 1)),
        format!("0\r\nX: {}\r\n\r\n", "a".repeat(TRAILERS_MAX)),
        format!("0\r\n{}\r\n", "X: a\r\n".repeat(FIELDS_MAX + 1)),
    ] {
        assert_eq!(followed(body.as_bytes()).1, Seen::Broken, "{} bytes", body.len());
    }
    // Lines of a size. Whatever size is read out of one, what follows has to be a chunk of it or the end in one of these ways: a
    // line that is taken by mistake breaks nothing then.
    for line in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 1\r\n",
        "1 \u{b}\r\n",
        "1_0\r\n",
        "\"1\"\r\n",
        "1\n",
        "1;\r\n",
        "1;;x\r\n",
        "1; x\r\n",
        "1;x =y\r\n",
        "1;x= y\r\n",
        "1;x=\r\n",
        "1;x=\"\r\n",
        "1;x=\"a\"b\r\n",
        "1;[\r\n",
        "1;x\u{1}\r\n",
        "1;x=\"\u{7f}\"\r\n",
        "1;x\ry\r\n",
        "1;é\r\n",
        "1,2\r\n",
        "1\0\r\n",
        "10000000000000000\r\n",
        "00000000000000001\r\n",
    ] {
        for rest in ["a\r\n0\r\n\r\n", "\r\n", line] {
            assert_eq!(followed(format!("{line}{rest}").as_bytes()).1, Seen::Broken, "{line:?}, {rest:?}");
        }
    }
    assert_eq!(followed(b"1;x=\"y\";z\r\na\r\n0\r\n\r\n").1, Seen::End, "a line that is well followed so");
    for body in [
        "1\r\na\n",
        "1\r\nab\r\n",
        "1\r\na\r0",
        "1\r\na0\r\n",
        "2\r\na\r\n0\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\n\rx",
        "0\r\nX: a\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\n X: a\r\n\r\n",
        "0\r\nno field\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
    ] {
        assert_eq!(followed(format!("{body}{body}").as_bytes()).1, Seen::Broken, "{body:?}");
    }
}

/// A connection under inspection: the visitor's end, and what is read of it.
fn connection() -> (DuplexStream, Strict<DuplexStream>, Arc<Pace>) {
    let (visitor, edge) = duplex(1 << 20);
    let pace = Arc::<Pace>::default();
    (visitor, Strict::new(edge, Some(pace.clone())), pace)
}

/// Reads until nothing more is to be had without waiting.
async fn readable(strict: &mut Strict<DuplexStream>) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 7];
    loop {
        tokio::select! {
            biased;
            read = tokio::task::unconstrained(strict.read(&mut piece)) => match read.unwrap() {
                0 => break,
                n => all.extend_from_slice(&piece[..n]),
            },
            () = std::future::ready(()) => break,
        }
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn a_request_is_read_whole_and_the_next_after_its_answer() {
    // H4, H10
    let (mut visitor, mut strict, pace) = connection();
    let first = "POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let second = "POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    for byte in first.bytes().chain(second.bytes()) {
        visitor.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(readable(&mut strict).await, first);
    assert_eq!(readable(&mut strict).await, "", "the answer is still to come");
    pace.answer(false);
    assert_eq!(readable(&mut strict).await, second);
    pace.answer(false);
    visitor.write_all(b"GET /3 HTTP/1.1\r\nX: hal").await.unwrap();
    assert_eq!(readable(&mut strict).await, "", "a head is read when it is whole");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(1), pace.whole_head()).await.is_err());
    visitor.write_all(b"f\r\n\r\n").await.unwrap();
    assert_eq!(readable(&mut strict).await, "GET /3 HTTP/1.1\r\nX: half\r\n\r\n");
    pace.whole_head().await;
    pace.answer(false);
    drop(pace.going());
    drop(visitor);
    assert_eq!(strict.read(&mut [0]).await.unwrap(), 0, "the end is the end");
}

#[tokio::test(start_paused = true)]
async fn a_head_is_late_and_an_idle_connection_is_not() {
    // H13
    let limit = std::time::Duration::from_secs(10);
    let (mut visitor, mut strict, pace) = connection();
    let late = async |after: u64| {
        tokio::time::timeout(std::time::Duration::from_secs(after), pace.late_head(limit)).await.is_ok()
    };
    assert!(!late(60).await, "nothing has begun");
    visitor.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(readable(&mut strict).await, "");
    assert!(!late(9).await);
    visitor.write_all(b"X: y\r\n").await.unwrap();
    assert_eq!(readable(&mut strict).await, "");
    assert!(late(2).await, "a piece more gives no time");
    visitor.write_all(b"\r\n").await.unwrap();
    assert_eq!(readable(&mut strict).await, "GET / HTTP/1.1\r\nX: y\r\n\r\n");
    assert!(!late(60).await, "it has come");
}

#[tokio::test]
async fn in_the_place_of_a_refused_head_comes_one_that_nobody_admits() {
    // H4, R03
    for bad in ["GET /#x HTTP/1.1\r\n\r\n", "GET /\n\nHTTP/1.1", "GET / HTTP/1.1\r\nX: \u{1}"] {
        let (mut visitor, mut strict, pace) = connection();
        visitor.write_all(b"GET /1 HTTP/1.1\r\n\r\n").await.unwrap();
        visitor.write_all(bad.as_bytes()).await.unwrap();
        visitor.write_all(b"GET /smuggled HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(readable(&mut strict).await, "GET /1 HTTP/1.1\r\n\r\n");
        assert_eq!(pace.refused(), None);
        pace.answer(false);
        assert_eq!(readable(&mut strict).await.as_bytes(), STAND_IN, "{bad:?}");
        assert!(pace.refused().is_some());
        pace.answer(false);
        assert_eq!(readable(&mut strict).await, "", "and then nothing");
    }
    let mut headers = [httparse::EMPTY_HEADER; 4];
    let mut request = httparse::Request::new(&mut headers);
    assert!(request.parse(STAND_IN).unwrap().is_complete());
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.uri = request.path.unwrap().parse().unwrap();
    assert!(crate::request::check(&parts, true).is_err(), "even without a word about why");
}

#[tokio::test]
async fn who_reads_the_answer_to_a_refused_head_is_known_as_far_as_it_came() {
    let browser = "Accept: text/html,*/*\r\nSec-Fetch-Mode: navigate\r\nACCEPT-language: ja,en;q=0.5\r\n";
    let said = |accept: Option<&'static str>, language: Option<&'static str>| (accept, language);
    for (head, expected) in [
        (
            format!("GET / HTTP/1.1\r\n{browser}Cookie: {}", "x".repeat(HEAD_MAX)),
            said(Some("text/html,*/*"), Some("ja,en;q=0.5")),
        ),
        (format!("GET /#x HTTP/1.1\r\n{browser}\r\n"), said(Some("text/html,*/*"), Some("ja,en;q=0.5"))),
        (format!("GET /#x HTTP/1.1\r\nAccept: {}\r\n\r\n", "x".repeat(2000)), said(None, None)),
        ("GET /#x HTTP/1.1\r\nX: y\r\nAccept : text/html\r\n accept: text/html\r\n\r\n".to_owned(), said(None, None)),
        (format!("GET /{}", "x".repeat(HEAD_MAX)), said(Some("text/html"), None)),
        (format!("POST /{}", "x".repeat(HEAD_MAX)), said(None, None)),
    ] {
        let (mut visitor, mut strict, pace) = connection();
        let sending = tokio::spawn(async move {
            let _ = visitor.write_all(head.as_bytes()).await;
            visitor
        });
        let mut stand_in = vec![0; STAND_IN.len()];
        strict.read_exact(&mut stand_in).await.unwrap();
        assert_eq!(stand_in, STAND_IN, "nothing of it is read by anybody else");
        assert!(pace.refused().is_some());
        let asker = pace.asker();
        let found = |name: &str| asker.get(name).map(|value| value.to_str().unwrap());
        assert_eq!((found("accept"), found("accept-language")), expected);
        // Its cookies came with it by where they were set.
        let large = pace.refused() == Some(Malformed::HeadTooLarge);
        assert_eq!(pace.target().map(|target| target.path().to_owned()), large.then(|| "/".to_owned()));
        sending.abort();
    }
}

#[tokio::test]
async fn a_broken_body_ends_before_the_byte_that_breaks_it() {
    // H4
    let (mut visitor, mut strict, pace) = connection();
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    visitor.write_all(format!("{head}1\r\na\r\n1;\u{1}\r\nGET /smuggled HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(readable(&mut strict).await, format!("{head}1\r\na\r\n1;\u{1}\r"));
    assert_eq!(pace.refused(), Some(Malformed::Framing));
    pace.answer(false);
    assert_eq!(strict.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_body_is_read_away_for_a_while_before_the_end() {
    // H10
    let (mut visitor, mut strict, pace) = connection();
    visitor.write_all(b"POST / HTTP/1.1\r\nContent-Length: 90000000\r\n\r\nabc").await.unwrap();
    readable(&mut strict).await;
    pace.answer(false);
    visitor.write_all(&[b'x'; 10_000]).await.unwrap();
    let begun = tokio::time::Instant::now();
    strict.shutdown().await.unwrap();
    assert!(begun.elapsed() >= LINGER_TIME, "{:?}", begun.elapsed());
    assert_eq!(visitor.read(&mut [0]).await.unwrap(), 0, "what was sent has ended");
    // Not for longer than somebody listens, nor when nothing is left.
    let (mut visitor, mut strict, _pace) = connection();
    visitor.write_all(b"POST / HTTP/1.1\r\nContent-Length: 90000000\r\n\r\nabc").await.unwrap();
    readable(&mut strict).await;
    drop(visitor);
    let begun = tokio::time::Instant::now();
    strict.shutdown().await.ok();
    let (mut visitor, mut strict, _pace) = connection();
    visitor.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    readable(&mut strict).await;
    strict.shutdown().await.unwrap();
    assert!(begun.elapsed() < LINGER_TIME, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn after_a_switch_of_protocols_everything_passes_also_what_came_too_early() {
    // H8
    let (mut visitor, mut strict, pace) = connection();
    let head = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    visitor.write_all(format!("{head}\0\n early").as_bytes()).await.unwrap();
    assert_eq!(readable(&mut strict).await, head);
    pace.answer(true);
    assert_eq!(readable(&mut strict).await, "\0\n early");
    visitor.write_all(b"\r\n\r\n \x01 late").await.unwrap();
    assert_eq!(readable(&mut strict).await, "\r\n\r\n \x01 late");
    // Without a switch the same bytes are no head.
    let (mut visitor, mut strict, pace) = connection();
    visitor.write_all(format!("{head}\0\n early").as_bytes()).await.unwrap();
    assert_eq!(readable(&mut strict).await, head);
    pace.answer(false);
    assert_eq!(readable(&mut strict).await.as_bytes(), STAND_IN);
}

/// What a visitor reads of a server that answers by the library, as a connection is served by the edge: with the method,
/// target and body of each request, with what is refused, and with a protocol that says everything twice.
async fn answers(sent: &[u8], in_pieces_of: usize) -> String {
    let (mut visitor, strict, pace) = connection();
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let pace = pace.clone();
        async move {
            let refused = pace.refused();
            let mut answer = http::Response::builder();
            let text = if let Some(fault) = refused {
                answer = answer.status(400).header("connection", "close");
                format!("<{fault:?}>")
            } else if request.uri().path() == "/ws" {
                let upgrade = hyper::upgrade::on(request);
                tokio::spawn(async move {
                    let mut io = TokioIo::new(upgrade.await.unwrap());
                    let mut said = [0; 4];
                    io.read_exact(&mut said).await.unwrap();
                    io.write_all(&[said, said].concat()).await.unwrap();
                });
                answer = answer.status(101).header("connection", "upgrade").header("upgrade", "x");
                String::new()
            } else {
                let (parts, body) = request.into_parts();
                match body.collect().await {
                    Ok(body) => {
                        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                        format!("<{} {} {body}>", parts.method, parts.uri)
                    }
                    Err(_) => {
                        answer = answer.status(400).header("connection", "close");
                        "<cut>".to_owned()
                    }
                }
            };
            let response = answer.body(http_body_util::Full::new(bytes::Bytes::from(text))).unwrap();
            pace.answer(response.status() == http::StatusCode::SWITCHING_PROTOCOLS);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    let serving = tokio::spawn(async move {
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(strict), service).await;
    });
    for piece in sent.chunks(in_pieces_of) {
        // A connection that is closed already takes no more.
        let _ = visitor.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    let mut all = Vec::new();
    let reading = tokio::time::timeout(std::time::Duration::from_millis(300), visitor.read_to_end(&mut all));
    let is_closed = reading.await.is_ok();
    serving.abort();
    let text = String::from_utf8_lossy(&all);
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|head| head.split_once("\r\n\r\n").unwrap());
    let short = statuses.map(|(head, body)| format!("{} {body};", &head[..3]));
    short.chain(is_closed.then(|| "closed".to_owned())).collect()
}

#[tokio::test]
async fn the_library_answers_what_has_one_reading_and_the_refusal_in_its_turn() {
    // H4, H8, H10
    let get = "GET /1 HTTP/1.1\r\n\r\n";
    let post = "POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x\r\nb\r\n0\r\nX: y\r\n\r\n";
    let sized = "PUT /3 HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc";
    let ws = "GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let plain = "GET /4 HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let last = "GET /5 HTTP/1.1\r\nConnection: close\r\n\r\n";
    for (sent, expected) in [
        (format!("{get}{post}{get}"), "200 <GET /1 >;200 <POST /2 ab>;200 <GET /1 >;"),
        (format!("{post}{sized}{last}"), "200 <POST /2 ab>;100 ;200 <PUT /3 abc>;200 <GET /5 >;closed"),
        (format!("{get}{plain}{get}{last}{get}"), "200 <GET /1 >;200 <GET /4 >;200 <GET /1 >;200 <GET /5 >;closed"),
        (format!("{get}GET /#x HTTP/1.1\r\n\r\n{get}"), "200 <GET /1 >;400 <Target>;closed"),
        (format!("{get}{post}GET / HTTP/1.1\n\n{get}"), "200 <GET /1 >;200 <POST /2 ab>;400 <Syntax>;closed"),
        (format!("{get}{}{get}", post.replace("1;x", "1;")), "200 <GET /1 >;400 <Framing>;closed"),
        (format!("{ws}\0\r\n\u{1}"), "101 \0\r\n\u{1}\0\r\n\u{1};closed"),
        ("\0".to_owned(), "400 <Syntax>;closed"),
        ("G".repeat(HEAD_MAX + 1), "400 <TargetTooLong>;closed"),
    ] {
        for pieces in [1, 7, usize::MAX] {
            if sent.len() > 1000 && pieces < 1000 {
                continue;
            }
            let got = answers(sent.as_bytes(), pieces).await;
            // A body that breaks when it has begun to be read is an error to whoever reads it.
            assert_eq!(got.replace("<cut>", "<Framing>"), expected, "{sent:?} in pieces of {pieces}");
        }
    }
}

/// Pieces of requests, good and bad, that are put together at random.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        10 => proptest::sample::select(vec![
            "GET", "POST", " ", "/", "/x?y", "*", "http://a/", "#", "HTTP/1.1", "HTTP/1.0", "\r\n", "\r\n\r\n", "\n",
            "\r", "Host: a", "Content-Length: 3", "content-length:3", "Transfer-Encoding: chunked", "Connection: close",
            "X:", ":", "\t", "X: y", "é", "\0", "\u{7f}", "a", "Content-Length", "Upgrade: websocket", ",", "0", "\"", "<", "\\",
        ])
        .prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 1..14).prop_map(|pieces| pieces.concat())
}

/// A head that is almost good.
fn almost() -> impl Strategy<Value = String> {
    let good = proptest::sample::select(vec![
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n",
        "POST /a/b?c HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n",
        "PUT /x HTTP/1.0\r\nHost:a.test:80\r\nTransfer-Encoding: chunked\r\nX:\ty \r\n\r\n",
        "\r\nOPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ]);
    (good, any::<prop::sample::Index>(), soup(), 0..3_usize).prop_map(|(good, at, soup, cut)| {
        let at = at.index(good.len());
        format!("{}{soup}{}", &good[..at], good.get(at + cut..).unwrap_or_default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever passes, the library's parser reads as it was judged, or not at all: same end, same words, same fields.
    #[test]
    fn what_passes_has_one_reading(head in prop_oneof![soup(), almost()]) {
        let bytes = head.as_bytes();
        let Ok(Some(end)) = Search::default().end(bytes) else { return Ok(()) };
        let Ok(framing) = head::judge(&bytes[..end]) else { return Ok(()) };
        let mut headers = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(parsed) = request.parse(bytes) else { return Ok(()) };
        prop_assert_eq!(parsed, httparse::Status::Complete(end));
        let text = head[..end].strip_prefix("\r\n").unwrap_or(&head[..end]);
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        let first = format!(
            "{} {} HTTP/1.{}", request.method.unwrap(), request.path.unwrap(), request.version.unwrap()
        );
        prop_assert_eq!(lines.next(), Some(first.as_str()));
        let lines: Vec<_> =
            lines.map(|line| line.split_once(':').unwrap()).map(|(n, v)| (n, v.as_bytes().trim_ascii())).collect();
        let read: Vec<_> = request.headers.iter().map(|field| (field.name, field.value.trim_ascii())).collect();
        prop_assert_eq!(&lines, &read);
        let said = |name: &str| lines.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
        prop_assert!(said("content-length") + said("transfer-encoding") <= 1);
        prop_assert_eq!(said("transfer-encoding") == 1, framing == Framing::Chunked);
    }

    /// In whatever pieces bytes come, the same of them are read.
    #[test]
    fn pieces_change_nothing(
        bytes in prop_oneof![soup(), almost(), (almost(), soup()).prop_map(|(a, b)| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{a}{b}"))],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = bytes.as_bytes();
        let whole = {
            let mut inspector = Inspector { reading: Reading::Head(Search::default()), pace: Arc::default() };
            let good = inspector.release(bytes);
            (bytes[..good].to_vec(), inspector.pace.refused())
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
        cuts.sort_unstable();
        let mut inspector = Inspector { reading: Reading::Head(Search::default()), pace: Arc::default() };
        let (mut held, mut read, mut from) = (Vec::new(), Vec::new(), 0);
        for cut in cuts {
            held.extend_from_slice(&bytes[from..cut]);
            from = cut;
            let good = inspector.release(&held);
            read.extend(held.drain(..good));
        }
        prop_assert_eq!((read, inspector.pace.refused()), whole);
    }
}
