//! The local port that a browser comes back to: random, for one answer, and for nobody who was led there by a name.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use subtle::ConstantTimeEq;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long one connection may last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// Connections at a time: a browser opens one or two.
const CONNECTIONS_MAX: usize = 16;
/// The pause after the system could not accept a connection: most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What may be read before the end of a request's head, in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// Waits for a browser at a port of the loopback address.
pub(super) struct Callback {
    listener: TcpListener,
    redirect_uri: String,
    expected: Expected,
}

/// What a browser brought back.
pub(super) enum Brought {
    /// The code.
    Code(String),
    /// The error that it was sent away with.
    Refusal(String),
}

#[derive(Clone)]
struct Expected {
    authority: String,
    path: String,
    state: String,
}

impl Callback {
    /// Listens at a port that the system chooses, for `/PATH` with this state.
    pub(super) async fn bind(path: String, state: String) -> io::Result<Self> {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await?,
        };
        let address: SocketAddr = listener.local_addr()?;
        let expected = Expected { authority: address.to_string(), path: format!("/{path}"), state };
        Ok(Self { listener, redirect_uri: format!("http://{address}{}", expected.path), expected })
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn state(&self) -> &str {
        &self.expected.state
    }

    /// Waits for the browser. The port is closed once it came, or once this is dropped.
    pub(super) async fn wait(self) -> io::Result<Brought> {
        let (sender, mut brought) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                came = &mut brought => {
                    // The page is still being written.
                    let finishing = async { while connections.join_next().await.is_some() {} };
                    drop(self.listener);
                    let _ = timeout(Duration::from_secs(1), finishing).await;
                    return came.map_err(io::Error::other);
                }
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                    let Ok((tcp, _)) = accepted else {
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    };
                    let (expected, sender) = (self.expected.clone(), sender.clone());
                    connections.spawn(timeout(CONNECTION_LIMIT, async move {
                        let service = service_fn(|request: Request<Incoming>| {
                            let answer = answer(&request, &expected, &sender);
                            async move { Ok::<_, Infallible>(answer) }
                        });
                        let mut server = http1::Builder::new();
                        server.keep_alive(false).max_buf_size(HEAD_MAX);
                        server.serve_connection(TokioIo::new(tcp), service).await.ok();
                    }));
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }
}

type Sender = Arc<Mutex<Option<oneshot::Sender<Brought>>>>;

/// What a person reads when their browser came back.
#[derive(Clone, Copy)]
enum Text {
    Stranger,
    Nothing,
    LoggedIn,
    Refused,
    Another,
    Over,
}

impl Text {
    /// In the language of `lang`, `ja` or else English.
    const fn in_words(self, lang: &str) -> &'static str {
        let japanese = matches!(lang.as_bytes(), b"ja");
        match (self, japanese) {
            (Self::Stranger, false) => "This address is not for you.",
            (Self::Stranger, true) => "このアドレスは利用できません。",
            (Self::Nothing, false) => "There is nothing here.",
            (Self::Nothing, true) => "ここには何もありません。",
            (Self::LoggedIn, false) => "You are logged in. You can close this window.",
            (Self::LoggedIn, true) => "サインインしました。このウィンドウを閉じてかまいません。",
            (Self::Refused, false) => "The login was refused. You can close this window.",
            (Self::Refused, true) => "サインインは拒否されました。このウィンドウを閉じてかまいません。",
            (Self::Another, false) => "This is not the login that was begun in the terminal.",
            (Self::Another, true) => "プログラムの画面で開始したサインインではありません。",
            (Self::Over, false) => "This login is over already.",
            (Self::Over, true) => "このサインインはすでに終了しています。",
        }
    }
}

/// The language of a browser, of those that there are. Browsers name what their person likes best first.
fn language<B>(request: &Request<B>) -> &'static str {
    let wanted =
        request.headers().get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = wanted.split(',').find_map(|tag| match tag.split([';', '-']).next()?.trim() {
        "ja" => Some("ja"),
        "en" => Some("en"),
        _ => None,
    });
    known.unwrap_or("en")
}

fn answer<B>(request: &Request<B>, expected: &Expected, sender: &Sender) -> Response<Full<Bytes>> {
    let lang = language(request);
    let page = |status, text: Text| page(status, lang, text);
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    // A name that leads here is somebody else's page (DNS rebinding).
    if hosts.len() != 1 || hosts.iter().any(|host| host.as_bytes() != expected.authority.as_bytes()) {
        return page(StatusCode::FORBIDDEN, Text::Stranger);
    }
    if request.uri().path() != expected.path {
        return page(StatusCode::NOT_FOUND, Text::Nothing);
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, Text::Nothing);
    }
    let (mut code, mut error, mut state) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "code" => code.push(value.into_owned()),
            "error" => error.push(value.into_owned()),
            "state" => state.push(value.into_owned()),
            _ => {}
        }
    }
    let ours = matches!(state.as_slice(), [state] if bool::from(state.as_bytes().ct_eq(expected.state.as_bytes())));
    let (brought, text) = match (ours, code.as_slice(), error.as_slice()) {
        (true, [code], []) => (Brought::Code(code.clone()), Text::LoggedIn),
        (true, [], [error]) => (Brought::Refusal(error.clone()), Text::Refused),
        _ => return page(StatusCode::BAD_REQUEST, Text::Another),
    };
    match sender.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(sender) => {
            // Nobody may be waiting any more.
            let _ = sender.send(brought);
            page(StatusCode::OK, text)
        }
        None => page(StatusCode::GONE, Text::Over),
    }
}

fn page(status: StatusCode, lang: &'static str, text: Text) -> Response<Full<Bytes>> {
    let text = text.in_words(lang);
    let html = format!(
        "<!doctype html><html lang=\"{lang}\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>access</title><p>{text}</p></html>"
    );
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    let fields = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn ask(authority: &str, host: &str, target: &str) -> String {
        let mut tcp = TcpStream::connect(authority).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    // C6
    #[tokio::test]
    async fn only_the_browser_that_was_sent_is_listened_to_and_only_once() {
        let callback = Callback::bind("RANDOM".to_owned(), "STATE".to_owned()).await.unwrap();
        let authority = callback.expected.authority.clone();
        assert_eq!(callback.redirect_uri(), format!("http://{authority}/RANDOM"));
        let port = authority.rsplit_once(':').unwrap().1.to_owned();
        let waiting = tokio::spawn(callback.wait());
        let good = "/RANDOM?code=C&state=STATE";
        for (host, target, status) in [
            (format!("rebound.example:{port}"), good, "403"),
            (format!("localhost:{port}"), good, "403"),
            ("127.0.0.1".to_owned(), good, "403"),
            (authority.clone(), "/", "404"),
            (authority.clone(), "/RANDOM/x?code=C&state=STATE", "404"),
            (authority.clone(), "/RANDOM?code=C&state=OTHER", "400"),
            (authority.clone(), "/RANDOM?code=C", "400"),
            (authority.clone(), "/RANDOM?code=C&code=D&state=STATE", "400"),
            (authority.clone(), "/RANDOM?code=C&error=x&state=STATE", "400"),
        ] {
            assert_eq!(ask(&authority, &host, target).await, status, "{host} {target}");
        }
        assert_eq!(ask(&authority, &authority, good).await, "200");
        assert!(matches!(waiting.await.unwrap().unwrap(), Brought::Code(code) if code == "C"));
        assert!(TcpStream::connect(&authority).await.is_err(), "the port is closed");
    }

    #[test]
    fn a_person_reads_it_in_the_language_that_their_browser_likes_best() {
        for (accepted, lang) in [
            (None, "en"),
            (Some("ja"), "ja"),
            (Some("ja-JP,ja;q=0.9,en;q=0.8"), "ja"),
            (Some("en-GB, ja;q=0.5"), "en"),
            (Some("fr,de;q=0.9,ja;q=0.3"), "ja"),
            (Some("jab"), "en"),
            (Some(";,"), "en"),
        ] {
            let mut request = Request::new(());
            if let Some(accepted) = accepted {
                request.headers_mut().insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
            }
            assert_eq!(language(&request), lang, "{accepted:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_in_the_browser_comes_back() {
        let callback = Callback::bind("RANDOM".to_owned(), "STATE".to_owned()).await.unwrap();
        let authority = callback.expected.authority.clone();
        let waiting = tokio::spawn(callback.wait());
        assert_eq!(ask(&authority, &authority, "/RANDOM?error=access_denied&state=STATE").await, "200");
        assert!(matches!(waiting.await.unwrap().unwrap(), Brought::Refusal(error) if error == "access_denied"));
    }
}
