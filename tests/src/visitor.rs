//! A visitor with a cookie jar and good manners, but no browser: follows the real pages, form tokens included.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use rustls::ClientConfig;

use crate::{
    PATIENCE, Smtp,
    html::{Form, form_with},
    raw::{Answer, Door, Tls, trusting},
};

/// The name of the session cookie.
pub const SESSION_COOKIE: &str = "__Host-access";

/// One person's browser, so to speak.
#[derive(Clone, Debug)]
pub struct Visitor {
    config: Option<Arc<ClientConfig>>,
    https: SocketAddr,
    http: SocketAddr,
    /// Cookies by host, then by name.
    pub jar: BTreeMap<String, BTreeMap<String, String>>,
    /// Sent with every request.
    pub language: String,
    /// The address that a proxy would say it comes from.
    pub forwarded_for: Option<String>,
}

/// An answer, and the address it came from.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The address asked.
    pub url: String,
    /// The answer.
    pub answer: Answer,
}

impl Reply {
    /// The status.
    pub fn status(&self) -> u16 {
        self.answer.status
    }

    /// The body as text.
    pub fn text(&self) -> String {
        self.answer.text()
    }

    /// Where it leads, by a redirect or by a page that is left at once.
    pub fn leads(&self) -> Option<&str> {
        let left = || self.header("refresh").and_then(|refresh| refresh.strip_prefix("0;url="));
        self.header("location").or_else(left)
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }
}

impl Visitor {
    /// A visitor of the edge at 127.0.0.1:443 and :80, trusting `ca` (PEM).
    ///
    /// # Errors
    /// The CA cannot be read.
    pub fn new(ca: &str) -> Result<Self> {
        Self::at(ca, "127.0.0.1:443".parse()?, "127.0.0.1:80".parse()?)
    }

    /// A visitor of the edge at these addresses.
    ///
    /// # Errors
    /// The CA cannot be read.
    pub fn at(ca: &str, https: SocketAddr, http: SocketAddr) -> Result<Self> {
        Ok(Self {
            config: Some(trusting(ca)?),
            https,
            http,
            jar: BTreeMap::new(),
            language: "en".into(),
            forwarded_for: None,
        })
    }

    /// A visitor of a quick start, by plain HTTP only.
    pub fn plain(http: SocketAddr) -> Self {
        Self { config: None, https: http, http, jar: BTreeMap::new(), language: "en".into(), forwarded_for: None }
    }

    /// Opens an address as a browser navigates; redirects are not followed.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&mut self, url: &str) -> Result<Reply> {
        self.ask("GET", url, &[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")], b"").await
    }

    /// Opens an address and follows up to ten redirects.
    ///
    /// # Errors
    /// No answer, or no end.
    pub async fn browse(&mut self, url: &str) -> Result<Reply> {
        let reply = self.get(url).await?;
        self.follow(reply).await
    }

    /// Opens an address and follows redirects up to the one that leads to an address beginning with `to`; gives that
    /// address, unopened.
    ///
    /// # Errors
    /// No answer, or the way ended elsewhere.
    pub async fn led_to(&mut self, url: &str, to: &str) -> Result<String> {
        let reply = self.get(url).await?;
        self.leads_to(reply, to).await
    }

    /// [`Visitor::led_to`] from an answer on.
    ///
    /// # Errors
    /// No answer, or the way ended elsewhere.
    pub async fn leads_to(&mut self, reply: Reply, to: &str) -> Result<String> {
        let (end, next) = self.follow_to(reply, to).await?;
        next.with_context(|| format!("{} at {} instead of the way to {to}:\n{}", end.status(), end.url, end.text()))
    }

    /// Follows redirects up to the one that leads to an address beginning with `to`; gives the last answer, and that
    /// address if there is one, unopened.
    ///
    /// # Errors
    /// No answer, or no end.
    pub async fn follow_to(&mut self, mut reply: Reply, to: &str) -> Result<(Reply, Option<String>)> {
        for _ in 0..10 {
            let Some(next) = reply.leads().map(|next| resolve(&reply.url, next)) else {
                return Ok((reply, None));
            };
            if next.starts_with(to) {
                return Ok((reply, Some(next)));
            }
            reply = self.get(&next).await?;
        }
        bail!("redirected more than ten times, last to {}", reply.url)
    }

    /// Follows the redirects of an answer.
    ///
    /// # Errors
    /// No answer, or no end.
    pub async fn follow(&mut self, mut reply: Reply) -> Result<Reply> {
        for _ in 0..10 {
            if !matches!(reply.status(), 301 | 302 | 303 | 307 | 308) && reply.header("refresh").is_none() {
                return Ok(reply);
            }
            let next = resolve(&reply.url, reply.leads().context("a redirect that leads nowhere")?);
            reply = self.get(&next).await?;
        }
        bail!("redirected more than ten times, last to {}", reply.url)
    }

    /// Submits a form of the page at `page` as a browser would; redirects are not followed.
    ///
    /// # Errors
    /// No answer.
    pub async fn submit(&mut self, page: &str, form: &Form) -> Result<Reply> {
        let url = if form.action.is_empty() { page.to_owned() } else { resolve(page, &form.action) };
        let origin = origin_of(page);
        let same = origin_of(&url) == origin;
        let headers = [
            ("Accept", "text/html"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Site", if same { "same-origin" } else { "cross-site" }),
            ("Origin", &origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.ask("POST", &url, &headers, form.encoded().as_bytes()).await
    }

    /// Sends one request and keeps the cookies of the answer.
    ///
    /// # Errors
    /// No answer.
    pub async fn ask(&mut self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        let (scheme, rest) = url.split_once("://").with_context(|| format!("`{url}` has no scheme"))?;
        let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let cookies = self.cookies(&host);
        if !cookies.is_empty() {
            head += &format!("Cookie: {cookies}\r\n");
        }
        if let Some(address) = &self.forwarded_for {
            head += &format!("X-Forwarded-For: {address}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += &format!(
            "Accept-Language: {}\r\nUser-Agent: Mozilla/5.0 (X11; Linux) Firefox/140.0\r\nConnection: close\r\n\r\n",
            self.language
        );
        let door = match authority.parse() {
            // A number is where it says; names are the edge's.
            Ok(address) if scheme == "http" => Door::plain(address),
            _ => self.door(scheme, &host)?,
        };
        let answer = door.ask(&[head.as_bytes(), body].concat()).await;
        let answer = answer.with_context(|| format!("{method} {url}"))?;
        self.remember(&host, &answer);
        Ok(Reply { url: url.to_owned(), answer })
    }

    /// The door that this visitor takes for a scheme and host.
    ///
    /// # Errors
    /// HTTPS without a CA.
    pub fn door(&self, scheme: &str, host: &str) -> Result<Door> {
        if scheme == "http" {
            return Ok(Door::plain(self.http));
        }
        let config = self.config.clone().context("this visitor does not do HTTPS")?;
        Ok(Door { address: self.https, tls: Some(Tls { sni: host.into(), alpn: vec![b"http/1.1".to_vec()], config }) })
    }

    /// The `Cookie` header for a host; empty without cookies.
    pub fn cookies(&self, host: &str) -> String {
        let jar = self.jar.get(host).into_iter().flatten();
        jar.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// The session cookie for a host, as `name=value`.
    ///
    /// # Errors
    /// There is none.
    pub fn session(&self, host: &str) -> Result<String> {
        let value = self.jar.get(host).and_then(|jar| jar.get(SESSION_COOKIE));
        Ok(format!("{SESSION_COOKIE}={}", value.with_context(|| format!("no session at {host}: {:?}", self.jar))?))
    }

    /// Opens `url` and, on the pages that follow, asks for a code for `email`. Gives the page that asks for the code.
    ///
    /// # Errors
    /// The pages are not as expected.
    pub async fn ask_for_code(&mut self, url: &str, email: &str) -> Result<Reply> {
        let login = self.browse(url).await?;
        if login.status() != 200 {
            bail!("{} instead of a login page at {}:\n{}", login.status(), login.url, login.text());
        }
        let form = form_with(&login.text(), "email")?.with("email", email);
        let form = press(form, "method", "pin");
        let reply = self.submit(&login.url, &form).await?;
        self.follow(reply).await
    }

    /// Types a code into the page that asks for it; redirects are not followed.
    ///
    /// # Errors
    /// The page has no form for a code, or no answer.
    pub async fn enter_code(&mut self, page: &Reply, code: &str) -> Result<Reply> {
        let form = form_with(&page.text(), "code")?.with("code", code);
        self.submit(&page.url, &form).await
    }

    /// Logs in at `url` by a code from the mail, and follows to the end.
    ///
    /// # Errors
    /// Any step was not as expected.
    pub async fn login(&mut self, smtp: &Smtp, url: &str, email: &str) -> Result<Reply> {
        let before = smtp.mails_to(email)?.len();
        let page = self.ask_for_code(url, email).await?;
        let code = smtp.mail_to(email, before + 1).await?.pin()?;
        let reply = self.enter_code(&page, &code).await?;
        self.follow(reply).await
    }

    fn remember(&mut self, host: &str, answer: &Answer) {
        for (_, line) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
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

/// Presses a button of a form, if it has one of this name and value.
pub fn press(form: Form, name: &str, value: &str) -> Form {
    if form.buttons.iter().any(|(n, v)| n == name && v == value) { form.with(name, value) } else { form }
}

/// `scheme://host[:port]` of an address.
pub fn origin_of(url: &str) -> String {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url[after..].find('/').map_or(url.len(), |at| after + at);
    url[..end].to_owned()
}

/// Resolves an address found on a page or in `Location` against the page's own.
pub fn resolve(page: &str, address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else if address.starts_with('/') {
        origin_of(page) + address
    } else {
        let path = page.split(['?', '#']).next().unwrap_or(page);
        if address.starts_with('?') {
            return format!("{path}{address}");
        }
        let folder = path.rfind('/').filter(|at| *at > origin_of(page).len()).unwrap_or(origin_of(page).len());
        format!("{}/{address}", &path[..folder])
    }
}

/// A login at `https://HOST/` for tests that need only the cookie.
///
/// # Errors
/// Any step was not as expected.
pub async fn login(ca: &str, smtp: &Smtp, host: &str, email: &str) -> Result<Visitor> {
    let mut visitor = Visitor::new(ca)?;
    let reply = visitor.login(smtp, &format!("https://{host}/"), email).await?;
    if reply.answer.status == 0 {
        bail!("the connection closed at the end of the login within {PATIENCE:?}");
    }
    visitor.session(host)?;
    Ok(visitor)
}
