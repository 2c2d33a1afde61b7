//! Heads of HTTP/1, and where each request ends: what the edge lets pass, a strict reader reads the same.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tunnel_edge::{
    fuzzing::{self, Answering},
    request::{Authority, check},
};

use super::reference;

/// The longest input that is tried: beyond it heads are too large, which is another matter.
const LONGEST: usize = 16 * 1024;
/// The largest head, in bytes, and the most fields, as at the edge.
const HEAD_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;
/// How often in a row nothing happens before nothing will.
const QUIET: u32 = 4;

/// What the reader's patience at the end of a connection is measured by. It stands still, so that nothing waits.
static CLOCK: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without sockets")
});

/// A request that was taken for one, and what of it was let pass.
struct Heard {
    parts: Parts,
    authority: Authority,
    body: Option<Vec<u8>>,
}

/// The bytes come at once, or a few at a time, and bodies are read or left alone: it makes no difference to what is heard.
pub(super) fn run(data: &[u8]) {
    if data.len() > LONGEST {
        return;
    }
    let reference = reference::requests(data);
    for (piece, reads) in [(usize::MAX, true), (5, true), (usize::MAX, false)] {
        let heard = hear(data, piece, reads);
        for (n, heard) in heard.iter().enumerate() {
            let Some(expected) = reference.get(n) else {
                panic!("request {n} ({} {}) is none to a strict reader", heard.parts.method, heard.parts.uri);
            };
            compare(heard, expected);
            if heard.body.is_some() {
                assert_eq!(heard.body, expected.body, "the body of request {n} ends elsewhere");
            }
        }
    }
}

fn compare(heard: &Heard, expected: &reference::Request) {
    let parts = &heard.parts;
    assert_eq!(parts.method.as_str(), expected.method);
    assert_eq!(parts.version == Version::HTTP_11, expected.is_1_1);
    let (named, path, query) = target(&expected.target);
    assert_eq!((parts.uri.path(), parts.uri.query()), (path, query), "{:?}", expected.target);
    let hosts = expected.values("host");
    let [host] = hosts.as_slice() else { panic!("{} hosts were let pass", hosts.len()) };
    let ours = (heard.authority.host.as_str().to_owned(), heard.authority.port);
    assert_eq!(Some(&ours), authority(host).as_ref(), "the host is another one");
    if let Some(named) = named {
        assert_eq!(Some(&ours), authority(named.as_bytes()).as_ref(), "the target names another host");
    }
    for name in parts.headers.keys() {
        let heard: Vec<_> = parts.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let expected = expected.values(name.as_str());
        assert_eq!(heard, expected, "{name}");
    }
    for (name, _) in &expected.fields {
        assert!(parts.headers.contains_key(name.as_str()), "{name} is lost");
    }
}

/// The authority of a target that has one, its path and its query.
fn target(target: &str) -> (Option<&str>, &str, Option<&str>) {
    let (named, rest) = match target.split_once("://") {
        Some((scheme, rest)) if !target.starts_with('/') => {
            assert!(scheme.eq_ignore_ascii_case("http"), "{target:?} was let pass");
            let (named, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(named), rest)
        }
        _ => (None, target),
    };
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    (named, if path.is_empty() && named.is_some() { "/" } else { path }, query)
}

/// A host in lower case without a dot at its end, and a port that is not the scheme's own.
fn authority(text: &[u8]) -> Option<(String, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (&*text, None),
    };
    Some((host.strip_suffix('.').unwrap_or(host).to_owned(), port.filter(|port| *port != 80)))
}

/// What the edge hears of a connection on which this is sent.
fn hear(data: &[u8], piece: usize, reads: bool) -> Vec<Heard> {
    let heard = Arc::<Mutex<Vec<Heard>>>::default();
    let moves = Arc::<AtomicUsize>::default();
    let (all, counter) = (heard.clone(), moves.clone());
    let peer = Peer { said: Bytes::copy_from_slice(data), piece, moves: moves.clone() };
    let (io, answering) = fuzzing::strict(peer);
    let answering = Arc::new(answering);
    let service = service_fn(move |request| answer(all.clone(), counter.clone(), answering.clone(), request, reads));
    // As the edge serves visitors, with its own reader before the library, but without deadlines.
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(HEAD_MAX).max_headers(FIELDS_MAX);
    {
        let _inside = CLOCK.enter();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        let mut context = Context::from_waker(Waker::noop());
        let (mut before, mut quiet) = (0, 0);
        while quiet < QUIET && connection.as_mut().poll(&mut context).is_pending() {
            let now = moves.load(Relaxed);
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
    }
    std::mem::take(&mut *heard.lock().expect("nothing panics while it is held"))
}

/// As the edge's front does: what is malformed is refused, and the connection closed.
async fn answer(
    all: Arc<Mutex<Vec<Heard>>>,
    moves: Arc<AtomicUsize>,
    answering: Arc<Answering>,
    request: Request<Incoming>,
    reads: bool,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let response = heard(&all, &moves, answering.is_refused(), request, reads).await;
    answering.answered();
    Ok(response)
}

async fn heard(
    all: &Mutex<Vec<Heard>>,
    moves: &AtomicUsize,
    is_refused: bool,
    request: Request<Incoming>,
    reads: bool,
) -> Response<Empty<Bytes>> {
    let (parts, mut body) = request.into_parts();
    moves.fetch_add(1, Relaxed);
    let mut response = Response::new(Empty::new());
    let checked = check(&parts, false).ok().filter(|_| !is_refused);
    let Some(authority) = checked else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    };
    let place = {
        let mut all = all.lock().expect("nothing panics while it is held");
        all.push(Heard { parts, authority, body: None });
        all.len() - 1
    };
    if reads {
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            moves.fetch_add(1, Relaxed);
            match frame {
                Ok(frame) => whole.extend(frame.into_data().unwrap_or_default()),
                Err(_) => return response,
            }
        }
        all.lock().expect("nothing panics while it is held")[place].body = Some(whole);
    }
    response
}

/// A peer that says what it has to say, and then neither speaks nor goes.
struct Peer {
    said: Bytes,
    piece: usize,
    moves: Arc<AtomicUsize>,
}

impl AsyncRead for Peer {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = self.said.len().min(self.piece).min(into.remaining());
        if length == 0 {
            return Poll::Pending;
        }
        into.put_slice(&self.said.split_to(length));
        self.moves.fetch_add(1, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.moves.fetch_add(1, Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
