//! Reads every byte that an origin got, and holds it against what was sent (invariant I1).

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::{
    Certs,
    edge::LOGIN_HOST,
    mutants::{APP, Mark, Meaning, OPEN, WWW, Who, marks, plain_host},
    raw::{chunked, find},
    told,
};

/// What an origin must have been told.
#[derive(Clone, Debug)]
pub struct Audiences {
    /// Of the application at a host, and of the one at a path of it.
    pub www: String,
    /// See [`Audiences::www`].
    pub admin: String,
    /// Of the application at the other host.
    pub app: String,
}

/// The witness of a run.
#[derive(Debug)]
pub struct Witness {
    certs: Certs,
    audiences: Audiences,
    /// The id of the service token.
    machine: String,
    /// Whether the origin speaks HTTP/2, and each of its connections is one stream.
    http2: bool,
    /// What was sent.
    sent: HashMap<Mark, Meaning>,
    /// What has arrived.
    seen: HashSet<Mark>,
    /// By connection of the origin, what is not yet whole; and what was a WebSocket's.
    pending: HashMap<usize, Pending>,
    /// Tokens that were looked at before.
    believed: HashMap<String, Value>,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// The mark of the head at the beginning, once it was looked at.
    looked: Option<Mark>,
    socket: Option<Mark>,
}

impl Witness {
    /// A witness that believes the keys, and knows nothing was sent.
    pub fn new(certs: Certs, audiences: Audiences, machine: &str) -> Self {
        Self {
            certs,
            audiences,
            machine: machine.to_owned(),
            http2: false,
            sent: HashMap::new(),
            seen: HashSet::new(),
            pending: HashMap::new(),
            believed: HashMap::new(),
        }
    }

    /// The same for an origin that speaks HTTP/2.
    #[must_use]
    pub fn of_http2(self) -> Self {
        Self { http2: true, ..self }
    }

    /// Something is about to be sent.
    pub fn expects(&mut self, mark: Mark, meaning: Meaning) {
        self.sent.insert(mark, meaning);
    }

    /// Whether something has arrived.
    pub fn has_seen(&self, mark: Mark) -> bool {
        self.seen.contains(&mark)
    }

    /// Forgets what was sent long ago, and cannot arrive any more.
    pub fn forget_before(&mut self, number: u64) {
        self.sent.retain(|(_, n), _| *n >= number);
        self.seen.retain(|(_, n)| *n >= number);
        // A stream that was given up is never whole; a connection goes on.
        let http2 = self.http2;
        self.pending.retain(|_, pending| !http2 || pending.looked.is_none_or(|(_, n)| n >= number));
    }

    /// Looks at what a connection of the origin has received since the last time.
    ///
    /// # Errors
    /// It is not what may arrive; the message says why.
    pub fn looks_at(&mut self, connection: usize, more: &[u8]) -> Result<()> {
        let mut pending = self.pending.remove(&connection).unwrap_or_default();
        pending.bytes.extend_from_slice(more);
        let looked = self.look(&mut pending);
        if !pending.bytes.is_empty() || pending.socket.is_some() {
            self.pending.insert(connection, pending);
        }
        looked
    }

    fn look(&mut self, pending: &mut Pending) -> Result<()> {
        loop {
            if let Some(mark) = pending.socket {
                let strange = marks(&pending.bytes).into_iter().find(|other| other.1 != mark.1);
                ensure!(strange.is_none(), "{strange:?} among the bytes of the WebSocket {mark:?}");
                pending.bytes.clear();
                return Ok(());
            }
            let Some(end) = find(&pending.bytes, b"\r\n\r\n") else { return Ok(()) };
            let head = pending.bytes[..end].to_vec();
            let context = || format!("in what an origin got: {}", String::from_utf8_lossy(&head));
            let parsed = Seen::parse(&head, self.http2).map_err(|error| error.context(context()))?;
            if pending.looked.is_none() {
                self.judge(&parsed).map_err(|error| error.context(context()))?;
                pending.looked = Some(parsed.mark);
            }
            if parsed.all("upgrade").next().is_some() {
                pending.bytes.drain(..end + 4);
                pending.socket = Some(parsed.mark);
                continue;
            }
            let body = &pending.bytes[end + 4..];
            // What of the body is there already is nobody else's, whether the rest comes or not.
            let of_body = |used: usize| -> Result<()> {
                let strange = marks(&body[..used]).into_iter().find(|m| m.1 != parsed.mark.1 || parsed.mark.0 != 'c');
                ensure!(strange.is_none(), "{strange:?} in the body of {:?}", parsed.mark);
                Ok(())
            };
            let used = match parsed.length()? {
                None => {
                    let whole = chunked(body)?;
                    let ends = whole.as_ref().map_or(Ok(()), |whole| parsed.ends(&whole.body, &whole.trailers));
                    ends.map_err(|error| error.context(context()))?;
                    whole.map(|whole| whole.used)
                }
                Some(length) => Some(length).filter(|length| body.len() >= *length),
            };
            of_body(used.unwrap_or(body.len())).map_err(|error| error.context(context()))?;
            let Some(used) = used else { return Ok(()) };
            pending.bytes.drain(..end + 4 + used);
            pending.looked = None;
        }
    }

    /// Invariant I1 for one head.
    fn judge(&mut self, head: &Seen) -> Result<()> {
        let Some(meaning) = self.sent.get(&head.mark).cloned() else { bail!("nobody asked for this") };
        ensure!(self.seen.insert(head.mark), "it arrives twice");
        ensure!(head.method == meaning.method, "the method is not {}", meaning.method);
        ensure!(head.target == meaning.target, "the target is not {}", meaning.target);
        let hosts: Vec<_> = head.all("host").collect();
        let [authority] = hosts[..] else { bail!("{} hosts", hosts.len()) };
        // In the one spelling that the edge has for it.
        let host = plain_host(authority).unwrap_or_default();
        let is_canonical = authority.strip_prefix(&host).is_some_and(|port| port.is_empty() || port.starts_with(':'));
        ensure!(is_canonical, "the host is written in another way: {authority}");
        let host = host.as_str();
        let allowed = meaning.allowed(host);
        ensure!(!allowed.is_empty(), "that is nobody's to ask: {meaning:?}");
        head.is_plain()?;
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            ensure!(head.all(name).count() == 1, "not one {name}");
        }
        ensure!(head.all("x-forwarded-for").eq(["127.0.0.1"]) && head.all("x-forwarded-proto").eq(["https"]));
        ensure!(head.all("x-forwarded-host").eq([authority]), "another host is told");
        let tokens: Vec<_> = head.all("access-jwt-assertion").collect();
        let claims = match tokens[..] {
            [] => None,
            [token] => Some(self.verified(token)?),
            _ => bail!("{} assertions", tokens.len()),
        };
        ensure!(head.all("cf-access-jwt-assertion").eq(tokens.iter().copied()), "two assertions that differ");
        let emails: Vec<_> = head.all("access-user-email").collect();
        ensure!(head.all("cf-access-authenticated-user-email").eq(emails.iter().copied()));
        let about = |who: &Option<Who>| self.is_about(claims.as_ref(), &emails, *who);
        ensure!(allowed.iter().any(about), "it is said to be of {claims:?} {emails:?}, and may be of {allowed:?}");
        if let Some(claims) = &claims {
            let audience = match host {
                APP => &self.audiences.app,
                _ if meaning.is_admin() => &self.audiences.admin,
                _ => &self.audiences.www,
            };
            ensure!(claims["aud"] == audience.as_str() || claims["aud"][0] == audience.as_str(), "another audience");
        }
        Ok(())
    }

    fn verified(&mut self, token: &str) -> Result<Value> {
        if let Some(claims) = self.believed.get(token) {
            return Ok(claims.clone());
        }
        let claims = self.certs.verify(token)?;
        self.believed.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    fn is_about(&self, claims: Option<&Value>, emails: &[&str], who: Option<Who>) -> bool {
        let email = match who {
            None => return claims.is_none() && emails.is_empty(),
            Some(Who::Machine) => {
                let is_it =
                    |claims: &Value| claims["common_name"] == self.machine.as_str() && claims.get("email").is_none();
                return claims.is_some_and(is_it) && emails.is_empty();
            }
            Some(Who::Ann) => ANN,
            Some(Who::Boss | Who::BossAtApp) => BOSS,
        };
        claims.is_some_and(|claims| claims["email"] == email) && emails == [email]
    }
}

/// H12: whoever is led anywhere by answers is led to the login, to a host of the zone's, or to one that was asked.
///
/// # Errors
/// Somebody is led elsewhere.
pub fn leads_home(answers: &[u8], sent: &[u8]) -> Result<()> {
    let (answers, sent) = (String::from_utf8_lossy(answers), String::from_utf8_lossy(sent).to_ascii_lowercase());
    let named = sent.lines().filter_map(|line| line.strip_prefix("host:"));
    let asked: Vec<_> = named.filter_map(|host| plain_host(host.trim())).collect();
    for (name, value) in answers.split("\r\n").filter_map(|line| line.split_once(':')) {
        let to = match name.to_ascii_lowercase().as_str() {
            "location" => Some(value),
            "refresh" => value.split_once("url=").map(|(_, to)| to),
            _ => None,
        };
        ensure!(to.is_none_or(|to| is_home(to.trim(), &asked)), "somebody is led to {value}");
    }
    Ok(())
}

fn is_home(to: &str, asked: &[String]) -> bool {
    let Some(rest) = to.strip_prefix("https://") else {
        return to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\");
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let ours = |host: &String| [WWW, APP, OPEN, LOGIN_HOST].contains(&host.as_str());
    plain_host(&rest[..end]).is_some_and(|host| ours(&host) || asked.contains(&host))
}

/// Whom the staff policy admits.
pub const ANN: &str = "ann@example.test";
/// Whom everything admits.
pub const BOSS: &str = "boss@example.test";

/// A head at an origin, read without any leniency.
struct Seen {
    mark: Mark,
    http2: bool,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Seen {
    fn parse(head: &[u8], http2: bool) -> Result<Self> {
        let of_head = marks(head);
        let Some(mark) = of_head.first().copied() else { bail!("a request without a mark") };
        ensure!(of_head.iter().all(|other| *other == mark), "marks of several: {of_head:?}");
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let words: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, version] = words[..] else { bail!("no request line") };
        ensure!(version == if http2 { "HTTP/2" } else { "HTTP/1.1" }, "no request line");
        let mut fields = Vec::new();
        for line in lines {
            ensure!(!line.contains(['\r', '\n', '\0']), "a line that is several");
            let Some((name, value)) = line.split_once(':') else { bail!("no field: {line}") };
            ensure!(!name.is_empty() && !name.contains([' ', '\t']), "no name: {line}");
            let name = name.to_ascii_lowercase();
            let mut cookies = value.split(';').filter(|_| name == "cookie").filter_map(|pair| pair.split('=').next());
            let is_ours = |cookie: &str| {
                ["__host-access", "__host-access-login", "__host-access-writer"].contains(&cookie.trim())
            };
            ensure!(!cookies.any(|cookie| is_ours(&cookie.to_ascii_lowercase())), "a cookie of ours: {value}");
            fields.push((name, value.trim().to_owned()));
        }
        Ok(Self { mark, http2, method: method.into(), target: target.into(), fields })
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// No name that could be taken for one of ours, none that concerns a connection, and one framing.
    fn is_plain(&self) -> Result<()> {
        for (name, _) in &self.fields {
            let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            ensure!(!told::is_kept(&plain) || told::OURS.contains(&name.as_str()), "{name} could be taken for ours");
            let of_hop = ["trailer", "keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"];
            ensure!(!of_hop.contains(&plain.as_str()), "{name} is for one connection");
            let frames = ["content-length", "transfer-encoding", "host", "connection", "upgrade", "te"];
            ensure!(!frames.contains(&plain.as_str()) || plain == *name, "{name} could frame");
        }
        let websocket = self.all("upgrade").collect::<Vec<_>>();
        ensure!(websocket.is_empty() || websocket == ["websocket"], "an upgrade to {websocket:?}");
        // That trailers are taken is said anew on this connection, if the visitor said so on the other.
        let te = self.all("te").collect::<Vec<_>>();
        ensure!(te.is_empty() || te == ["trailers"], "{te:?} is for one connection");
        let connection = self.all("connection").collect::<Vec<_>>();
        if self.http2 {
            ensure!(connection.is_empty() && websocket.is_empty(), "HTTP/2 has no connection's business");
            return self.length().map(|_| ());
        }
        let expected = if websocket.is_empty() { te.iter().map(|_| "te").collect() } else { connection.clone() };
        ensure!(connection == expected && connection.len() <= 1, "a connection's business: {connection:?}");
        self.length().map(|_| ())
    }

    /// The length of the body; `None` if it is chunked, as all of HTTP/2 is kept.
    fn length(&self) -> Result<Option<usize>> {
        let (lengths, codings): (Vec<_>, Vec<_>) =
            (self.all("content-length").collect(), self.all("transfer-encoding").collect());
        match (&lengths[..], &codings[..]) {
            ([] | [_], []) if self.http2 => Ok(None),
            ([], []) => Ok(Some(0)),
            ([length], []) => Ok(Some(length.parse()?)),
            ([], ["chunked"]) if !self.http2 => Ok(None),
            _ => bail!("framed by {lengths:?} and {codings:?}"),
        }
    }

    /// The end of a chunked body: as long as was said, if something was, and with nothing behind it, of which no visitor of ours
    /// says anything that may go on.
    fn ends(&self, body: &[u8], trailers: &[u8]) -> Result<()> {
        for length in self.all("content-length") {
            ensure!(
                length.parse::<usize>().is_ok_and(|said| said == body.len()),
                "{} bytes came, and {length} were said",
                body.len()
            );
        }
        ensure!(trailers.is_empty(), "behind the body: {}", String::from_utf8_lossy(trailers));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Credentials;

    /// What is said of an origin that got `bytes`, after a request for everybody with the mark `~c1~` was sent.
    fn said(bytes: &str, http2: bool) -> Result<()> {
        let credentials = Credentials {
            cookies: ["annsecret", "bosssecret", "appsecret"].map(|secret| format!("__Host-access={secret}")),
            token: ("the-id".into(), "the-secret".into()),
        };
        let audiences = Audiences { www: "1".into(), admin: "2".into(), app: "3".into() };
        let mut witness = Witness::new(Certs::nobodys(), audiences, "the-id");
        witness.http2 = http2;
        for (mark, host) in [(('c', 1), OPEN), (('c', 2), OPEN), (('c', 3), WWW)] {
            let request =
                format!("POST /x?~c{}~ HTTP/1.1\r\nHost: {host}\r\nCookie: __Host-access=annsecret\r\n\r\n", mark.1);
            witness.expects(mark, Meaning::of(request.as_bytes(), &credentials));
        }
        // In two pieces, as bytes may come.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        witness.looks_at(0, first.as_bytes())?;
        witness.looks_at(0, second.as_bytes())
    }

    #[test]
    fn the_witness_takes_what_may_arrive_and_nothing_else() {
        let told = format!(
            "Host: {OPEN}\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: {OPEN}\r\n"
        );
        let one = format!("POST /x?~c1~ HTTP/1.1\r\n{told}Content-Length: 4\r\n\r\n~c1~");
        let two = format!("POST /x?~c2~ HTTP/1.1\r\n{told}Transfer-Encoding: chunked\r\n\r\n4\r\n~s2~\r\n0\r\n\r\n");
        for good in [one.clone(), format!("{one}{two}"), format!("{two}{one}"), one[..one.len() - 2].to_owned()] {
            said(&good, false).unwrap_or_else(|error| panic!("{error:#}"));
        }
        let at_www = one.replace("~c1~", "~c3~").replace(OPEN, WWW);
        for bad in [
            format!("{one}{one}"),
            one.replace("~c1~", "~s1~"),
            one.replace("~c1~", "~c4~"),
            one.replace("?~c1~", ""),
            one.replace("\r\n\r\n~c1~", "\r\n\r\n~c2~"),
            one.replace("POST", "GET"),
            one.replace("/x?", "/y?"),
            one.replace("Host: db", "Host: www"),
            one.replace("Host: db", "Host: x.db"),
            one.replace("Host: db.example.test", "Host: db.example.test.evil.test"),
            one.replace("Host: db", "Host: user@db"),
            one.replace("Host: db", "Host: DB"),
            one.replace(OPEN, "db.example.test."),
            one.replace(OPEN, "db.example.test:"),
            one.replace(OPEN, "db.example.test:443:443"),
            one.replace("x-forwarded-host: db", "x-forwarded-host: www"),
            one.replace("x-forwarded-for: 127.0.0.1", "x-forwarded-for: 127.0.0.1, 127.0.0.1"),
            one.replacen("Host", "Host: db.example.test\r\nHost", 1),
            one.replace("Content-Length", "Transfer-Encoding: chunked\r\nContent-Length"),
            one.replace("Content-Length", "Connection: close\r\nContent-Length"),
            one.replace("Content-Length", "Content_Length: 5\r\nContent-Length"),
            one.replace("Content-Length", "X_Forwarded.User: x\r\nContent-Length"),
            one.replace("Content-Length", "access-user-email: boss@example.test\r\nContent-Length"),
            one.replace("Content-Length", "access-jwt-assertion: a.b.c\r\nContent-Length"),
            one.replace("Content-Length", "Cookie: x; __Host-access=y\r\nContent-Length"),
            one.replace("https", "http"),
            one.replace("HTTP/1.1", "HTTP/2"),
            two.replace("0\r\n\r\n", "0\r\nX: y\r\n\r\n"),
            at_www,
        ] {
            assert!(said(&bad, false).is_err(), "{bad}");
        }
    }

    /// What is said of an origin that got a plain request, if `sent` was sent with the mark `~c1~`.
    fn judged(sent: &str) -> Result<()> {
        let credentials = Credentials { cookies: ["a", "b", "c"].map(str::to_owned), token: ("d".into(), "e".into()) };
        let audiences = Audiences { www: "1".into(), admin: "2".into(), app: "3".into() };
        let mut witness = Witness::new(Certs::nobodys(), audiences, "d");
        witness.expects(('c', 1), Meaning::of(sent.as_bytes(), &credentials));
        let told = format!("x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: {OPEN}\r\n");
        witness.looks_at(0, format!("OPTIONS /x?~c1~ HTTP/1.1\r\nHost: {OPEN}\r\n{told}\r\n").as_bytes())
    }

    #[test]
    fn what_was_for_another_host_or_is_taken_from_nobody_may_not_arrive() {
        let good = format!("OPTIONS /x?~c1~ HTTP/1.1\r\nHost: {OPEN}\r\nX: y\r\n\r\n");
        judged(&good).unwrap_or_else(|error| panic!("{error:#}"));
        judged(&good.replace("Host: db.example.test", "Host: DB.example.test.:443")).unwrap();
        for bad in [
            good.replace("Host: db", "Host: www"),
            good.replace("Host: db", "Host: x.db"),
            good.replace("Host: db", "Host: user@db"),
            good.replace(OPEN, "db.example.test.evil.test"),
            good.replace("X: y", "Host: db.example.test"),
            good.replace("/x?", "https://www.example.test/x?"),
            good.replace("X: y", &format!("X: {}", "y".repeat(33_000))),
            good.replace("X: y\r\n", &"X: y\r\n".repeat(100)),
            good.replace("OPTIONS", "TRACE"),
        ] {
            assert!(judged(&bad).is_err(), "{bad}");
        }
    }

    // H12
    #[test]
    fn nobody_is_led_elsewhere() {
        let sent = b"GET /x HTTP/1.1\r\nHost: Other.test:8443\r\n\r\n";
        let led = |field: &str| leads_home(format!("HTTP/1.1 303 See Other\r\n{field}\r\n\r\n<p>").as_bytes(), sent);
        for good in [
            "Location: https://access.example.test/.access/login?request=x",
            "location: https://www.example.test",
            "Location: https://other.test:8443/x",
            "Location: /x//y",
            "Refresh: 0;url=https://app.example.test/",
            "X-Location: https://elsewhere.test/",
        ] {
            assert!(led(good).is_ok(), "{good}");
        }
        for bad in [
            "Location: https://elsewhere.test/",
            "LOCATION: https://www.example.test.elsewhere.test/",
            "Location: https://www.example.test@elsewhere.test/",
            "Location: https://elsewhere.test\\www.example.test/",
            "Location: http://www.example.test/",
            "Location: //elsewhere.test/",
            "Location: /\\elsewhere.test/",
            "Location: https:elsewhere.test/",
            "Location: javascript:x",
            "Location: x",
            "Refresh: 0;url=https://elsewhere.test/",
            "X: y\r\nLocation: https://elsewhere.test/",
        ] {
            assert!(led(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stream_of_http_2_is_one_request_as_long_as_it_says() {
        let told = format!(
            "host: {OPEN}\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: {OPEN}\r\n"
        );
        let one = format!("POST /x?~c1~ HTTP/2\r\n{told}content-length: 4\r\n\r\n4\r\n~s1~\r\n0\r\n\r\n");
        let without = one.replace("content-length: 4\r\n", "te: trailers\r\n");
        for good in [one.clone(), without, one[..one.len() - 7].to_owned()] {
            said(&good, true).unwrap_or_else(|error| panic!("{error:#}"));
        }
        for bad in [
            one.replace("HTTP/2", "HTTP/1.1"),
            one.replace("~c1~", "~c4~"),
            one.replace("~s1~", "~s2~"),
            one.replace("content-length: 4", "content-length: 3"),
            one.replace("content-length: 4", "content-length: 4\r\ncontent-length: 4"),
            one.replace("content-length: 4", "transfer-encoding: chunked"),
            one.replace("content-length: 4", "connection: te\r\nte: trailers"),
            one.replace("content-length: 4", "te: gzip"),
            one.replace("host: db", "host: db.example.test\r\nhost: db"),
            one.replace("0\r\n\r\n", "0\r\naccess-user-email: x\r\n\r\n"),
            "no HTTP/2: a protocol error\r\n\r\n".to_owned(),
        ] {
            assert!(said(&bad, true).is_err(), "{bad}");
        }
    }
}
