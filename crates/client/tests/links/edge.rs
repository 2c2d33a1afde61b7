//! An edge made of the protocol crate: descriptors, logins, links; what it was asked is counted.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    HandshakeKind, ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{WebSocketStream, tungstenite};
use tunnel_auth::{Algorithm, Jwks, SigningKey};
use tunnel_client::{Builder, Client, Prompt, Trust};
use tunnel_proto::{
    AppId, GrantId, Hostname, LinkId, UnixTime,
    access::{APP_PATH, AppClaims, CLI_DEVICE_PATH, CLI_TOKEN_PATH, LINK_PATH, LINK_PROTOCOL, TokenRequest},
    identity::{ALPN_ACCESS, Ca, provider},
    link::{self, ControlSender, Link, Settings},
    message::{
        Credential, Cut, CutReason, GrantRefusal, Granted, Limits, Message, Opening, Refused, Revoked, RevokedReason,
        Role, StreamRefusal,
    },
};

/// What the links of this edge may last for a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Edge {
    pub(crate) state: Arc<State>,
    ca: Ca,
    task: JoinHandle<()>,
}

pub(crate) struct State {
    pub(crate) port: u16,
    key: SigningKey,
    jwks: String,
    /// Host and token of every login.
    pub(crate) tokens: Mutex<HashSet<(String, String)>>,
    pub(crate) logins: AtomicUsize,
    pub(crate) presented: AtomicUsize,
    /// Whether links are refused in the handshake, as by something that speaks only HTTPS.
    pub(crate) no_native: AtomicBool,
    pub(crate) links: Mutex<Vec<(Link, ControlSender)>>,
    /// Whether the native links resumed an earlier session.
    pub(crate) resumed: Mutex<Vec<bool>>,
    pub(crate) grants: Mutex<Vec<GrantId>>,
    /// Challenge, redirect address, host and code of the logins in browsers.
    codes: Mutex<Vec<(String, String, String, String)>>,
    /// The host whose descriptor is shown at `evil.localhost`.
    pub(crate) copied: Mutex<String>,
    pub(crate) seen_websockets: AtomicUsize,
    /// What a service was told after it had ended its own direction.
    pub(crate) heard: Mutex<Vec<u8>>,
    /// What a person may open, and with which tokens that was asked for.
    pub(crate) applications: Mutex<Vec<serde_json::Value>>,
    pub(crate) lists: Mutex<Vec<String>>,
    /// Path and header of every request.
    pub(crate) requests: Mutex<Vec<(String, http::HeaderMap)>>,
    /// Whether the person refuses what is asked for elsewhere.
    pub(crate) refuses: AtomicBool,
    /// Status and code of the problems that the next polls are answered with.
    pub(crate) problems: Mutex<VecDeque<(u16, &'static str)>>,
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
}

pub(crate) fn app(host: &str) -> AppId {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, host.as_bytes()).as_ref());
    AppId::from_bytes(bytes)
}

impl Edge {
    pub(crate) async fn start() -> Self {
        let ca = Ca::generate(&Hostname::parse("localhost").unwrap(), now()).unwrap();
        let names = ["access.localhost", "db.localhost", "other.localhost", "evil.localhost"];
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        let certificate = Arc::new(ca.server_certificate(&names, now()).unwrap());
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(One(certificate)));
        config.alpn_protocols = vec![ALPN_ACCESS.to_vec(), b"http/1.1".to_vec()];
        let mut plain = config.clone();
        plain.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            port: listener.local_addr().unwrap().port(),
            jwks: Jwks::new([key.public()]).to_json(),
            key,
            tokens: Mutex::default(),
            logins: AtomicUsize::new(0),
            presented: AtomicUsize::new(0),
            no_native: AtomicBool::new(false),
            links: Mutex::default(),
            resumed: Mutex::default(),
            grants: Mutex::default(),
            codes: Mutex::default(),
            copied: Mutex::new("db.localhost".to_owned()),
            seen_websockets: AtomicUsize::new(0),
            heard: Mutex::default(),
            applications: Mutex::default(),
            lists: Mutex::default(),
            requests: Mutex::default(),
            refuses: AtomicBool::new(false),
            problems: Mutex::default(),
        });
        let serving = state.clone();
        let (native, plain) = (TlsAcceptor::from(Arc::new(config)), TlsAcceptor::from(Arc::new(plain)));
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let acceptor = if serving.no_native.load(SeqCst) { plain.clone() } else { native.clone() };
                tokio::spawn(serving.clone().serve(acceptor, tcp));
            }
        });
        Self { state, ca, task }
    }

    pub(crate) fn host(&self, name: &str) -> String {
        format!("{name}:{}", self.state.port)
    }

    pub(crate) fn client(&self) -> Builder {
        Client::builder().trust(Trust::Ca(self.ca.certificate_pem().to_owned()))
    }

    /// A client that believes this edge and another one.
    pub(crate) fn client_of_both(&self, other: &Self) -> Builder {
        let both = format!("{}\n{}", self.ca.certificate_pem(), other.ca.certificate_pem());
        Client::builder().trust(Trust::Ca(both))
    }

    /// A browser whose person approves everything.
    pub(crate) fn approving(&self) -> impl Fn(&Prompt) + Send + Sync + 'static {
        let state = self.state.clone();
        move |prompt| {
            let query = prompt.url.split_once('?').unwrap().1.to_owned();
            tokio::spawn(state.clone().approve(query));
        }
    }

    /// A browser whose person refuses everything.
    pub(crate) fn refusing(&self) -> impl Fn(&Prompt) + Send + Sync + 'static {
        move |prompt| {
            let query = prompt.url.split_once('?').unwrap().1.to_owned();
            tokio::spawn(async move {
                let (redirect, state) = (field(&query, "redirect_uri"), field(&query, "state"));
                come_back(&redirect, &format!("error=access_denied&state={state}")).await;
            });
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    pub(crate) fn issuer(&self) -> String {
        format!("https://access.localhost:{}", self.port)
    }

    /// Ends every grant there is.
    pub(crate) async fn revoke(&self, reason: RevokedReason) {
        let grants: Vec<_> = self.grants.lock().unwrap().drain(..).collect();
        let links = self.links.lock().unwrap().clone();
        for (_, control) in links {
            for grant in &grants {
                control.send(Revoked { grant: *grant, reason }).await.ok();
            }
        }
    }

    /// What a person's browser does with the page: approve, and follow to the program.
    async fn approve(self: Arc<Self>, query: String) {
        let field = |name: &str| field(&query, name);
        let redirect = field("redirect_uri");
        assert_eq!(field("code_challenge_method"), "S256");
        let code = format!("code-{}", self.codes.lock().unwrap().len());
        let login = (field("code_challenge"), redirect.clone(), field("host"), code.clone());
        self.codes.lock().unwrap().push(login);
        // People take a moment.
        tokio::time::sleep(Duration::from_millis(100)).await;
        come_back(&redirect, &format!("code={code}&state={}", field("state"))).await;
    }

    async fn serve(self: Arc<Self>, acceptor: TlsAcceptor, tcp: TcpStream) {
        let Ok(tls) = acceptor.accept(tcp).await else { return };
        if tls.get_ref().1.alpn_protocol() == Some(ALPN_ACCESS) {
            let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            self.resumed.lock().unwrap().push(resumed);
            return self.link(tls).await;
        }
        let service = service_fn(|request: Request<Incoming>| {
            let state = self.clone();
            async move { Ok::<_, Infallible>(state.answer(request).await) }
        });
        http1::Builder::new().serve_connection(TokioIo::new(tls), service).with_upgrades().await.ok();
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        let host = request.headers()[header::HOST].to_str().unwrap();
        let host = host.split(':').next().unwrap().to_owned();
        let path = request.uri().path().to_owned();
        self.requests.lock().unwrap().push((path.clone(), request.headers().clone()));
        match path.as_str() {
            APP_PATH => answer(StatusCode::OK, &json!({"descriptor": self.descriptor(&host)})),
            "/.access/certs" if host == "access.localhost" => Response::new(Full::from(self.jwks.clone())),
            CLI_TOKEN_PATH if host == "access.localhost" => {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                self.token(serde_json::from_slice(&body).unwrap())
            }
            CLI_DEVICE_PATH if host == "access.localhost" => answer(
                StatusCode::OK,
                &json!({"url": format!("{}/.access/cli?device=ID", self.issuer()), "code": "KXBT-3MRQ",
                    "secret": "SECRET", "expires": now().0 + 300, "interval": 1}),
            ),
            LINK_PATH if host == "access.localhost" => {
                let response = tungstenite::handshake::server::create_response_with_body(&request, Full::default);
                let mut response = response.unwrap();
                assert_eq!(request.headers()[header::SEC_WEBSOCKET_PROTOCOL], LINK_PROTOCOL);
                let protocol = header::HeaderValue::from_static(LINK_PROTOCOL);
                response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
                self.seen_websockets.fetch_add(1, SeqCst);
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let io = TokioIo::new(upgrade.await.unwrap());
                    let role = tungstenite::protocol::Role::Server;
                    let socket = WebSocketStream::from_raw_socket(io, role, None).await;
                    self.link(bytes_of(socket)).await;
                });
                response
            }
            _ => answer(StatusCode::NOT_FOUND, &json!({"code": "not_found", "message": "there is nothing here"})),
        }
    }

    fn descriptor(&self, host: &str) -> String {
        let host = if host == "evil.localhost" { self.copied.lock().unwrap().clone() } else { host.to_owned() };
        let claims = json!({"iss": self.issuer(), "aud": app(&host), "hostname": host, "name": "database",
            "iat": now(), "exp": now().0 + 300});
        let claims: AppClaims = serde_json::from_value(claims).unwrap();
        self.key.sign_app(&claims).unwrap()
    }

    fn token(&self, request: TokenRequest) -> Response<Full<Bytes>> {
        match request {
            TokenRequest::Redeem { code, verifier, redirect_uri } => {
                let challenge = BASE64URL_NOPAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref());
                let mut codes = self.codes.lock().unwrap();
                let Some(at) = codes.iter().position(|login| login.3 == code) else {
                    return answer(StatusCode::GONE, &json!({"code": "gone", "message": "there is no such login"}));
                };
                let login = codes.remove(at);
                assert_eq!((login.0, login.1), (challenge, redirect_uri));
                self.issue(&login.2)
            }
            TokenRequest::Poll { .. } if let Some((status, code)) = self.problems.lock().unwrap().pop_front() => {
                let status = StatusCode::from_u16(status).unwrap();
                match code {
                    // Something in between.
                    "" => answer(status, &json!("Bad Gateway")),
                    code => answer(status, &json!({"code": code, "message": "not now"})),
                }
            }
            TokenRequest::Poll { .. } if self.refuses.load(SeqCst) => {
                answer(StatusCode::OK, &json!({"answer": "refused", "reason": "Ann said no"}))
            }
            TokenRequest::Poll { secret } if secret == "SECRET" => self.issue("db.localhost"),
            TokenRequest::Poll { .. } => answer(StatusCode::OK, &json!({"answer": "pending"})),
            TokenRequest::End { token } => {
                self.tokens.lock().unwrap().retain(|(_, there)| *there != token);
                answer(StatusCode::OK, &json!({"answer": "ended"}))
            }
            TokenRequest::List { token } => {
                let counts = self.tokens.lock().unwrap().iter().any(|(_, there)| *there == token);
                self.lists.lock().unwrap().push(token);
                if !counts {
                    return answer(StatusCode::GONE, &json!({"code": "gone", "message": "this login is over"}));
                }
                let applications = self.applications.lock().unwrap().clone();
                let body = json!({"answer": "applications", "email": "ann@example.com", "applications": applications});
                answer(StatusCode::OK, &body)
            }
        }
    }

    fn issue(&self, host: &str) -> Response<Full<Bytes>> {
        let number = self.logins.fetch_add(1, SeqCst);
        let token = BASE64URL_NOPAD.encode(digest(&SHA256, &number.to_be_bytes()).as_ref());
        self.tokens.lock().unwrap().insert((host.to_owned(), token.clone()));
        answer(
            StatusCode::OK,
            &json!({"answer": "token", "token": token, "host": host, "app": app(host), "email": "ann@example.com",
                "expires": now().0 + 3600}),
        )
    }

    async fn link(self: Arc<Self>, io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) {
        let Ok(greeting) = link::accept(tokio::io::BufReader::new(io), Role::Access, Settings::default()).await else {
            return;
        };
        let id = LinkId::from_random(tunnel_proto::dial::random().unwrap());
        let mut link = greeting.welcome(id, Limits::default(), vec![]).await.unwrap();
        self.links.lock().unwrap().push((link.link.clone(), link.control.sender()));
        let mut granted: HashSet<GrantId> = HashSet::new();
        loop {
            tokio::select! {
                message = link.control.next() => match message {
                    Some(Message::Present(present)) => {
                        self.presented.fetch_add(1, SeqCst);
                        let good = match present.credential {
                            Credential::ClientToken(token) => {
                                self.tokens.lock().unwrap().contains(&(present.hostname.to_string(), token))
                            }
                            Credential::ServiceToken { id, secret } => id == "robot" && secret == "s3cret",
                        };
                        let grant = present.grant;
                        if good {
                            granted.insert(grant);
                            self.grants.lock().unwrap().push(grant);
                            let expires = UnixTime(now().0 + 3600);
                            link.control.send(Granted { grant, expires }).await.ok();
                        } else {
                            let code = GrantRefusal::BadCredential;
                            link.control.send(Refused { grant, code, text: "log in".to_owned() }).await.ok();
                        }
                    }
                    Some(_) => {}
                    None => return,
                },
                pending = link.incoming.next() => {
                    let Some(pending) = pending else { return };
                    let Opening::Grant(open) = pending.opening.clone() else { panic!("an access client opens grants") };
                    let known = granted.contains(&open.grant) && self.grants.lock().unwrap().contains(&open.grant);
                    let (this, sender) = (self.clone(), link.control.sender());
                    tokio::spawn(async move {
                        match open.destination.as_deref() {
                            _ if !known => pending.refuse(StreamRefusal::NotGranted, "no such grant").await,
                            Some("192.0.2.1:22") => {
                                pending.refuse(StreamRefusal::DestinationDenied, "not on the list").await;
                            }
                            Some("192.0.2.2:22") => {
                                // Says something, and is cut.
                                let mut stream = pending.accept().await.unwrap();
                                stream.write_all(b"half").await.unwrap();
                                tokio::time::sleep(Duration::from_millis(100)).await;
                            }
                            Some("192.0.2.3:22") => {
                                // Has said everything, and listens on.
                                let mut stream = pending.accept().await.unwrap();
                                stream.write_all(b"first").await.unwrap();
                                stream.shutdown().await.unwrap();
                                let mut heard = Vec::new();
                                stream.read_to_end(&mut heard).await.ok();
                                this.heard.lock().unwrap().extend(heard);
                            }
                            Some("192.0.2.4:22") => {
                                // Has said everything, and listens to no more than a little.
                                let mut stream = pending.accept().await.unwrap();
                                stream.shutdown().await.unwrap();
                                stream.read_u8().await.unwrap();
                            }
                            Some("192.0.2.7:22") => {
                                // What led to it goes away.
                                let _stream = pending.accept().await.unwrap();
                                let cut = Cut { grant: open.grant, reason: CutReason::ConnectorGone };
                                sender.send(cut).await.unwrap();
                            }
                            Some("192.0.2.5:22") => {
                                // Is not reached at once.
                                tokio::time::sleep(Duration::from_secs(3)).await;
                                pending.accept().await.unwrap();
                            }
                            other => {
                                if other == Some("192.0.2.6:22") {
                                    tokio::time::sleep(Duration::from_secs(1)).await;
                                }
                                let (mut from, mut to) = tokio::io::split(pending.accept().await.unwrap());
                                tokio::io::copy(&mut from, &mut to).await.ok();
                                // What comes after the end of the question.
                                to.write_all(b"!").await.ok();
                                to.shutdown().await.ok();
                            }
                        }
                    });
                }
            }
        }
    }
}

fn field(query: &str, name: &str) -> String {
    let mut fields = url::form_urlencoded::parse(query.as_bytes());
    fields.find(|(field, _)| field == name).unwrap().1.into_owned()
}

/// A browser follows to the program.
async fn come_back(redirect: &str, query: &str) {
    let (authority, path) = redirect.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut tcp = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET /{path}?{query} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// The payloads of a WebSocket's binary messages, as an edge reads and writes them.
fn bytes_of<T>(socket: WebSocketStream<T>) -> tokio::io::DuplexStream
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    use futures::{SinkExt, StreamExt};
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (mut sink, mut source) = socket.split();
        let (mut from, mut to) = tokio::io::split(far);
        let inward = async {
            while let Some(Ok(message)) = source.next().await {
                // Pieces of a message count as what they are: bytes.
                for piece in message.into_data().chunks(1000) {
                    to.write_all(piece).await.ok();
                }
            }
            to.shutdown().await.ok();
        };
        let outward = async {
            let mut buffer = vec![0; 5000];
            while let Ok(count) = from.read(&mut buffer).await {
                let piece = Bytes::copy_from_slice(&buffer[..count]);
                if count == 0 || sink.send(tungstenite::Message::Binary(piece)).await.is_err() {
                    break;
                }
            }
            sink.close().await.ok();
        };
        tokio::join!(inward, outward);
    });
    near
}
