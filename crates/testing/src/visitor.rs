//! Somebody with a browser, so to speak: keeps cookies, follows redirects, fills in the real forms.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use url::Url;

use crate::{Error, form::Form, screen::Screen};

/// An answer, read to its end.
pub type Answer = Response<Bytes>;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The longest body that is read.
const BODY_MAX: usize = 64 * 1024 * 1024;
/// The most redirects in a row.
const REDIRECTS_MAX: usize = 10;

/// Somebody with a browser. From [`Edge::visitor`](crate::Edge::visitor) or [`Edge::login_as`](crate::Edge::login_as).
#[derive(Clone, Debug)]
pub struct Visitor {
    tls: Arc<ClientConfig>,
    screen: Screen,
    /// Cookies by host, then by name.
    jar: BTreeMap<String, BTreeMap<String, String>>,
}

impl Visitor {
    pub(crate) const fn new(tls: Arc<ClientConfig>, screen: Screen) -> Self {
        Self { tls, screen, jar: BTreeMap::new() }
    }

    /// Opens an address of the edge, and nothing that it redirects to.
    pub async fn get(&mut self, url: &str) -> Result<Answer, Error> {
        let request = Request::get(url).header(header::ACCEPT, "text/html").header("sec-fetch-mode", "navigate");
        self.send(request.body(Bytes::new()).map_err(|error| no_answer(url, &error))?).await
    }

    /// Sends any request to the edge, with this visitor's cookies. Its address is absolute.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<Answer, Error> {
        let text = request.uri().to_string();
        let url = Url::parse(&text).map_err(|error| no_answer(&text, &error))?;
        let answer = timeout(ANSWER_LIMIT, self.ask(&url, request)).await.map_err(|error| no_answer(&text, &error))?;
        let answer = answer.map_err(|error| no_answer(&text, &error))?;
        self.remember(url.host_str().unwrap_or_default(), &answer);
        Ok(answer)
    }

    /// The `Cookie` header of this visitor at a host; empty without cookies.
    pub fn cookie(&self, host: &str) -> String {
        let jar = self.jar.get(host).into_iter().flatten();
        jar.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Opens an address that asks for a login, and logs in by the code that the edge mails to `email`. Gives the page at
    /// the end.
    pub async fn login(&mut self, url: &str, email: &str) -> Result<Answer, Error> {
        let (at, page) = self.browse(url).await?;
        self.login_at(at, &page, email).await.map(|(_, page)| page)
    }

    async fn login_at(&mut self, at: Url, page: &Answer, email: &str) -> Result<(Url, Answer), Error> {
        let mark = self.screen.mark();
        let form = form(&at, page, "email", "a page that asks for an address")?;
        let form = form.with("email", email).with("method", "pin");
        let (at, page) = self.submit(&at, &form).await?;
        let code = self.screen.code(email, mark).await?;
        let form = self::form(&at, &page, "code", "a page that asks for a code")?.with("code", &code);
        self.submit(&at, &form).await
    }

    /// Lets a program in, by the address and the code that it shows: logs in there as `email` if asked, and approves.
    pub async fn approve(&mut self, url: &str, code: &str, email: &str) -> Result<(), Error> {
        let (mut at, mut page) = self.browse(url).await?;
        if Form::with_field(&text(&page), "email").is_some() {
            (at, page) = self.login_at(at, &page, email).await?;
        }
        let form =
            form(&at, &page, "answer", "a page that asks for approval")?.with("answer", "approve").with("code", code);
        let (at, page) = self.submit(&at, &form).await?;
        if page.status().is_success() { Ok(()) } else { Err(unexpected(&at, &page, "an approval")) }
    }

    async fn browse(&mut self, url: &str) -> Result<(Url, Answer), Error> {
        let at = Url::parse(url).map_err(|error| no_answer(url, &error))?;
        let answer = self.get(url).await?;
        self.follow(at, answer).await
    }

    async fn follow(&mut self, mut at: Url, mut answer: Answer) -> Result<(Url, Answer), Error> {
        for _ in 0..REDIRECTS_MAX {
            let value = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
            let redirected = value(header::LOCATION).filter(|_| answer.status().is_redirection());
            // A page that a browser leaves at once: forms of the edge are answered so when they lead elsewhere.
            let left = || value(header::REFRESH).and_then(|refresh| refresh.strip_prefix("0;url="));
            let Some(next) = redirected.or_else(left).and_then(|to| at.join(to).ok()) else {
                return Ok((at, answer));
            };
            answer = self.get(next.as_str()).await?;
            at = next;
        }
        Err(unexpected(&at, &answer, "the end of its redirects"))
    }

    async fn submit(&mut self, at: &Url, form: &Form) -> Result<(Url, Answer), Error> {
        let to = at.join(&form.action).map_err(|error| no_answer(at.as_str(), &error))?;
        let request = Request::post(to.as_str())
            .header(header::ACCEPT, "text/html")
            .header(header::ORIGIN, at.origin().ascii_serialization())
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", if to.origin() == at.origin() { "same-origin" } else { "cross-site" })
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form.encoded()))
            .map_err(|error| no_answer(to.as_str(), &error))?;
        let answer = self.send(request).await?;
        self.follow(to, answer).await
    }

    async fn ask(
        &self,
        url: &Url,
        request: Request<Bytes>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let host = url.host_str().ok_or("no host")?;
        let port = url.port_or_known_default().ok_or("no port")?;
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let (mut parts, body) = request.into_parts();
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        parts.headers.insert(header::HOST, authority.parse()?);
        let cookie = self.cookie(host);
        if !cookie.is_empty() {
            parts.headers.insert(header::COOKIE, cookie.parse()?);
        }
        let target = parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        parts.uri = target.parse()?;
        if body.is_empty() && parts.method == Method::GET {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        let request = Request::from_parts(parts, Full::new(body));
        if url.scheme() == "http" {
            return exchange(tcp, request).await;
        }
        let name = ServerName::try_from(host.to_owned())?;
        exchange(TlsConnector::from(self.tls.clone()).connect(name, tcp).await?, request).await
    }

    fn remember(&mut self, host: &str, answer: &Answer) {
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let Ok(line) = line.to_str() else { continue };
            let mut parts = line.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let gone = parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0"));
            let jar = self.jar.entry(host.to_owned()).or_default();
            if gone || value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await?.to_bytes();
    driving.abort();
    Ok(Response::from_parts(parts, body))
}

fn form(at: &Url, page: &Answer, field: &str, expected: &'static str) -> Result<Form, Error> {
    Form::with_field(&text(page), field).ok_or_else(|| unexpected(at, page, expected))
}

fn text(page: &Answer) -> String {
    String::from_utf8_lossy(page.body()).into_owned()
}

fn unexpected(at: &Url, page: &Answer, expected: &'static str) -> Error {
    Error::Page { url: at.to_string(), expected, status: page.status().as_u16(), body: text(page) }
}

fn no_answer(url: &str, error: &dyn std::fmt::Display) -> Error {
    Error::NoAnswer { url: url.to_owned(), reason: error.to_string() }
}
