//! A credential is good for what it was made for, and for nothing else.

use std::sync::Arc;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tunnel_proto::{
    GrantId, InstanceId,
    identity::ALPN_ACCESS,
    link::{self, Connected, Settings},
    message::{CREDENTIAL_MAX, Credential, GrantRefusal, Hello, Message, OpenGrant, Present, Role},
};
use tunnel_tests::{
    Canary, Connector, Edge, EdgeConfig, PATIENCE, Raw, Smtp, Stage,
    canary::{After, page},
    edge::{ACCESS, LOGIN_HOST},
    raw::{Answer, find, trusting},
    run,
    stage::{APP, STAFF, WWW},
    visitor::{SESSION_COOKIE, login},
};

fn get(host: &str, fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n")
}

/// S1: every credential at every other door.
#[test]
fn a_session_of_one_host_opens_no_other() {
    run("replay", async |lab| {
        let stage = Stage::set(&lab).await?;
        let visitor = stage.somebody(WWW, STAFF).await?;
        let mut other = visitor.clone();
        other.browse(&format!("https://{APP}/")).await?;
        stage.app.forget();
        let sessions = [WWW, APP, LOGIN_HOST].map(|host| (host, other.jar.get(host).cloned().unwrap_or_default()));
        assert_ne!(other.session(WWW)?, other.session(APP)?, "one session per host");
        let mut tried = 0;
        for (from, cookies) in &sessions {
            assert!(!cookies.is_empty(), "{from} has set a cookie");
            for (name, value) in cookies {
                for to in [WWW, APP] {
                    if *from == to && name == SESSION_COOKIE {
                        continue;
                    }
                    for fields in [
                        format!("Cookie: {SESSION_COOKIE}={value}\r\n"),
                        format!("Cookie: {name}={value}\r\n"),
                        format!("Authorization: Bearer {value}\r\n"),
                        format!("Cf-Access-Token: {value}\r\n"),
                        format!("Access-Token: {value}\r\n"),
                        format!("Cookie: CF_Authorization={value}\r\n"),
                        format!("Access-Jwt-Assertion: {value}\r\n"),
                    ] {
                        stage.www.forget();
                        stage.app.forget();
                        let answer = stage.door(to)?.ask(get(to, &fields).as_bytes()).await?;
                        assert!(
                            matches!(answer.status, 302 | 303 | 401 | 403),
                            "{} at {to} for {name} of {from}: {fields}",
                            answer.status
                        );
                        stage.assert_silence(&fields);
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried >= 28, "{tried}");
        Ok(())
    });
}

/// S1b: an origin that presents the assertion it was sent gets nowhere.
#[test]
fn an_assertion_is_no_credential() {
    run("assertion", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.get(&format!("https://{WWW}/")).await?;
        let token = stage.www.wait_for_heads(1).await?[0].one("access-jwt-assertion").to_owned();
        stage.www.forget();
        for host in [WWW, APP, LOGIN_HOST] {
            for fields in [
                format!("Cookie: {SESSION_COOKIE}={token}\r\n"),
                format!("Cookie: CF_Authorization={token}\r\n"),
                format!("Authorization: Bearer {token}\r\n"),
                format!("Cf-Access-Token: {token}\r\n"),
                format!("Access-Token: {token}\r\n"),
                format!("Access-Jwt-Assertion: {token}\r\n"),
                format!("Cf-Access-Jwt-Assertion: {token}\r\n"),
                format!("Cookie: __Host-access-login={token}\r\n"),
            ] {
                for path in ["/", "/.access/identity", "/cdn-cgi/access/get-identity", "/admin", "/api/v1/tunnels"] {
                    let request = get(host, &fields).replacen("GET / ", &format!("GET {path} "), 1);
                    let answer = stage.door(host)?.ask(request.as_bytes()).await?;
                    // The login host's own front page may greet a stranger; it must not know whom it greets.
                    assert!(
                        answer.status != 200 || (host == LOGIN_HOST && path == "/"),
                        "200 at {host}{path} for {fields}"
                    );
                    assert!(!answer.text().contains(STAFF), "{host}{path} knows the person of a replayed assertion");
                    stage.assert_silence(&fields);
                }
            }
        }
        Ok(())
    });
}

/// S2: cookies that a sibling application put into the browser neither log in nor log out.
#[test]
fn tossed_cookies_are_ignored() {
    run("tossing", async |lab| {
        let stage = Stage::set(&lab).await?;
        let visitor = stage.somebody(WWW, STAFF).await?;
        let session = visitor.session(WWW)?;
        let value = session.split_once('=').unwrap().1;
        let tossed = "A".repeat(value.len());
        // Alone they are worth nothing.
        for cookie in [
            format!("{SESSION_COOKIE}={tossed}"),
            format!("{SESSION_COOKIE}="),
            SESSION_COOKIE.to_owned(),
            format!("__host-access={value}"),
            format!("access={value}"),
            format!("__Secure-access={value}"),
            format!(" __Host-access ={value}x"),
            format!("{SESSION_COOKIE}=\"{value}"),
            format!("{SESSION_COOKIE}={}", &value[1..]),
            format!("{SESSION_COOKIE}={value}A"),
            format!("{SESSION_COOKIE}={}", value.to_uppercase()),
        ] {
            let answer = stage.door(WWW)?.ask(get(WWW, &format!("Cookie: {cookie}\r\n")).as_bytes()).await?;
            assert!(matches!(answer.status, 302 | 303 | 401), "{} for {cookie}", answer.status);
            stage.assert_silence(&cookie);
        }
        // Beside the true one they do no harm.
        for cookie in [
            format!("Cookie: {SESSION_COOKIE}={tossed}; {session}\r\n"),
            format!("Cookie: {session}; {SESSION_COOKIE}={tossed}\r\n"),
            format!("Cookie: {SESSION_COOKIE}={tossed}\r\nCookie: {session}\r\n"),
            format!("Cookie: x; ; =; {session}; y=\"z\r\n"),
        ] {
            stage.www.forget();
            let answer = stage.door(WWW)?.ask(get(WWW, &cookie).as_bytes()).await?;
            assert_eq!(answer.status, 200, "{cookie}");
            assert!(!stage.www.heard(SESSION_COOKIE), "S3: {cookie}");
        }
        Ok(())
    });
}

/// S2: a login makes a new session; one that was planted before does not become the person's.
#[test]
fn a_planted_session_is_not_adopted_by_a_login() {
    run("fixation", async |lab| {
        let stage = Stage::set(&lab).await?;
        let planted = stage.somebody(WWW, "mallory@example.test").await?;
        let mut victim = stage.stranger()?;
        // Everything that the attacker's browser got before and during its login is planted.
        victim.jar = planted.jar.clone();
        for jar in victim.jar.values_mut() {
            jar.remove(SESSION_COOKIE);
        }
        victim.jar.remove(LOGIN_HOST);
        victim.login(&stage.smtp, &format!("https://{WWW}/"), STAFF).await?;
        assert_ne!(victim.session(WWW)?, planted.session(WWW)?);
        let mut attacker = planted.clone();
        let whoami = attacker.get(&format!("https://{WWW}/.access/identity")).await?;
        assert!(!whoami.text().contains(STAFF), "{}", whoami.text());
        assert!(whoami.text().contains("mallory@example.test"), "{}", whoami.text());
        Ok(())
    });
}

/// S2, S4: the attributes of our cookies.
#[test]
fn our_cookies_are_host_only_secure_and_closed_to_scripts() {
    run("attributes", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.stranger()?;
        let mut seen = Vec::new();
        let page = visitor.ask_for_code(&format!("https://{WWW}/"), STAFF).await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        let mut reply = visitor.enter_code(&page, &code).await?;
        let mut first = stage.stranger()?;
        seen.push(first.get(&format!("https://{WWW}/")).await?);
        for _ in 0..5 {
            seen.push(reply.clone());
            let Some(location) = reply.leads().map(str::to_owned) else { break };
            reply = visitor.get(&tunnel_tests::visitor::resolve(&reply.url, &location)).await?;
        }
        let lines: Vec<_> = seen
            .iter()
            .flat_map(|r| &r.answer.headers)
            .filter(|(name, _)| name == "set-cookie")
            .map(|(_, v)| v.clone())
            .collect();
        assert!(lines.iter().any(|line| line.starts_with(&format!("{SESSION_COOKIE}="))), "{lines:?}");
        for line in lines {
            let lower = line.to_lowercase();
            assert!(line.starts_with("__Host-access"), "{line}");
            for attribute in ["secure", "httponly", "samesite=lax", "path=/"] {
                assert!(lower.split("; ").any(|a| a == attribute), "{attribute} in {line}");
            }
            assert!(!lower.contains("domain="), "{line}");
        }
        Ok(())
    });
}

/// Some schemes authenticate a connection and not a request. What one person's request has touched so is nobody else's,
/// whether the service asks for it or the visitor begins; other connections are shared.
#[test]
fn a_connection_that_is_authenticated_is_one_persons() {
    run("ntlm", async |lab| {
        let asking = Canary::answering(Arc::new(|head| match head.target() {
            "/asks" => {
                let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic, NTLM\r\nContent-Length: 0\r\n\r\n";
                (answer.as_bytes().to_vec(), After::KeepAlive)
            }
            _ => (page("ok"), After::KeepAlive),
        }));
        let stage = Stage::with(&lab, ACCESS, asking.await?).await?;
        let ann = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let bob = stage.somebody(WWW, "bob@example.test").await?.session(WWW)?;
        let door = stage.door(WWW)?;
        for (round, target, field, is_shared) in [
            (0, "/plain", "", true),
            (1, "/plain", "Authorization: Bearer ntlm-is-not-a-word-here\r\n", true),
            (2, "/begins", "Authorization: Negotiate YII=\r\n", false),
            (3, "/asks", "", false),
        ] {
            stage.www.forget();
            let request = |session: &str, target: &str, field: &str| {
                format!("GET {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{field}Connection: close\r\n\r\n")
            };
            door.ask(request(&ann, target, field).as_bytes()).await?;
            door.ask(request(&bob, "/bob", "").as_bytes()).await?;
            door.ask(request(&ann, "/again", "").as_bytes()).await?;
            let heard = stage.www.connections();
            let of = |target: &str| heard.iter().position(|bytes| find(bytes, target.as_bytes()).is_some()).unwrap();
            assert_eq!(of(target) == of("/bob"), is_shared, "round {round}: Ann's {target} and Bob");
            assert!(is_shared || of(target) == of("/again"), "round {round}: Ann keeps her own");
        }
        Ok(())
    });
}

/// A connection of a service that authenticates it as NTLM does: who begins is challenged with the connection's number, who
/// answers with another one than that is refused, and whoever else comes in between spoils it.
async fn challenge(mut tcp: TcpStream, number: usize) -> Result<()> {
    let (mut challenged, mut known) = (false, false);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await?);
        }
        let head = String::from_utf8(head)?.to_lowercase();
        let said = head.lines().find_map(|line| line.strip_prefix("authorization: ntlm "));
        known |= challenged && said == Some(number.to_string().as_str());
        challenged = said == Some("begin");
        let (status, field) = match challenged {
            true => ("401 Unauthorized", format!("WWW-Authenticate: NTLM {number}\r\n")),
            false if known || head.starts_with("get / ") => ("200 OK", String::new()),
            false => ("401 Unauthorized", "WWW-Authenticate: NTLM\r\n".to_owned()),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{field}Content-Length: 0\r\n\r\n");
        tcp.write_all(answer.as_bytes()).await?;
    }
}

/// S1c: two connections of one visitor authenticate at the same time, and a third one asks for something else meanwhile. Each
/// answer goes where its challenge came from.
#[test]
fn who_authenticates_by_two_connections_at_once_does_so_by_two_of_the_service() {
    run("ntlm-twice", async |lab| {
        let service = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", service.local_addr()?);
        tokio::spawn(async move {
            for number in 1.. {
                let Ok((tcp, _)) = service.accept().await else { return };
                tokio::spawn(challenge(tcp, number));
            }
        });
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let _connector = Connector::publish(&lab, WWW, &url).await?;
        let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let (session, door) = (visitor.session(WWW)?, visitor.door("https", WWW)?);
        let ask = async |raw: &mut Raw, authorization: &str| -> Result<Answer> {
            let request = format!("GET /x HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n{authorization}\r\n");
            raw.send(request.as_bytes()).await?;
            raw.answer(true).await
        };
        let (mut one, mut other, mut third) = (door.open().await?, door.open().await?, door.open().await?);
        let challenged = async |raw: &mut Raw| -> Result<String> {
            let answer = ask(raw, "Authorization: NTLM begin\r\n").await?;
            let number = answer.header("www-authenticate").and_then(|value| value.strip_prefix("NTLM "));
            Ok(format!("Authorization: NTLM {}\r\n", number.unwrap_or("nothing")))
        };
        let (to_one, to_other) = (challenged(&mut one).await?, challenged(&mut other).await?);
        assert_ne!(to_one, to_other, "the second one did not begin on the connection of the first");
        assert_eq!(ask(&mut third, "").await?.status, 401, "not authenticated, and nobody's challenge is lost by it");
        assert_eq!(ask(&mut one, &to_one).await?.status, 200, "{to_one}");
        assert_eq!(ask(&mut other, &to_other).await?.status, 200, "{to_other}");
        // What is authenticated is the session's, and goes on.
        assert_eq!(ask(&mut one, "").await?.status, 200);
        Ok(())
    });
}

/// S1b: nor is it one to any of the doors for programs, at any application, not even at the one that it is for.
#[test]
fn an_assertion_opens_no_service_to_a_program() {
    run("assertion-tcp", async |lab| {
        let access = format!("{ACCESS}  - {{name: db, hostnames: [{DB}], policies: [staff-only]}}\n");
        let machines = "policies:\n  - {name: machines, action: service_auth, include: [{any_service_token: true}]}\n";
        let access = access
            .replacen("policies:\n", machines, 1)
            .replace("policies: [staff-only]", "policies: [staff-only, machines]");
        let stage = Stage::with(&lab, &access, Canary::start().await?).await?;
        let (made, db) = (
            stage.edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?,
            Canary::start().await?,
        );
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let (id, secret) = (made["id"].as_str().unwrap_or_default(), made["secret"].as_str().unwrap_or_default());
        let _db = Connector::publish(&lab, DB, &format!("tcp://{}", db.address())).await?;
        // What the origin is given about a person and about a machine.
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.get(&format!("https://{WWW}/")).await?;
        let machine = format!("Cf-Access-Client-Id: {id}\r\nCf-Access-Client-Secret: {secret}\r\n");
        assert_eq!(stage.door(WWW)?.ask(get(WWW, &machine).as_bytes()).await?.status, 200);
        let heads = stage.www.wait_for_heads(2).await?;
        let assertions: Vec<_> = heads.iter().map(|head| head.one("access-jwt-assertion").to_owned()).collect();
        assert_ne!(assertions[0], assertions[1]);
        stage.www.forget();

        let mut tried = 0;
        for assertion in &assertions {
            // On a native link.
            let mut link = Native::connect(&stage.ca).await?;
            for host in [WWW, APP, DB, LOGIN_HOST] {
                let token =
                    |id: &str, secret: &str| Credential::ServiceToken { id: id.to_owned(), secret: secret.to_owned() };
                for credential in [
                    Credential::ClientToken(assertion.clone()),
                    Credential::ClientToken(format!("Bearer {assertion}")),
                    Credential::ClientToken(assertion.rsplit('.').next().unwrap_or_default().to_owned()),
                    Credential::ClientToken(assertion[..CREDENTIAL_MAX].to_owned()),
                    token(assertion, assertion),
                    token(id, assertion),
                    token(assertion, secret),
                    token(id, &assertion[..CREDENTIAL_MAX]),
                ] {
                    tried += 1;
                    let too_long = match &credential {
                        Credential::ClientToken(token) => token.len() > CREDENTIAL_MAX,
                        Credential::ServiceToken { id, secret } => id.len().max(secret.len()) > CREDENTIAL_MAX,
                    };
                    if too_long {
                        // No message can carry it, and none that did would be read.
                        let present = Present { grant: GrantId(1), hostname: host.parse()?, credential };
                        assert!(Message::from(present).encode().is_err(), "{host}");
                        continue;
                    }
                    let code = link.present(host, credential).await?.err();
                    let known = host != LOGIN_HOST;
                    let expected = if known { GrantRefusal::BadCredential } else { GrantRefusal::UnknownHostname };
                    assert_eq!(code, Some(expected), "{host}");
                }
            }
            // A stream on a grant that there is not.
            assert!(link.open(1).await.is_err());
            // At the door for the client that people have, and at the one for links inside a WebSocket.
            let upgrade =
                "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
            for host in [WWW, APP, DB] {
                for fields in [
                    format!("Cf-Access-Token: {assertion}\r\n"),
                    format!("Cookie: {SESSION_COOKIE}={assertion}\r\nOrigin: https://{host}\r\n"),
                    format!("Cookie: CF_Authorization={assertion}\r\nOrigin: https://{host}\r\n"),
                    format!("Cf-Access-Jwt-Assertion: {assertion}\r\n"),
                    format!("Access-Jwt-Assertion: {assertion}\r\n"),
                    format!("Authorization: Bearer {assertion}\r\n"),
                    format!("Cf-Access-Client-Id: {id}\r\nCf-Access-Client-Secret: {assertion}\r\n"),
                    format!("Cf-Access-Client-Id: {assertion}\r\nCf-Access-Client-Secret: {assertion}\r\n"),
                    format!("Cf-Access-Client-Id: {assertion}\r\nCf-Access-Client-Secret: {secret}\r\n"),
                ] {
                    for request in [
                        get(host, &fields),
                        get(host, &format!("{upgrade}{fields}")).replace("Connection: close", "Connection: Upgrade"),
                    ] {
                        let answer = stage.door(host)?.ask(request.as_bytes()).await?;
                        assert!(
                            matches!(answer.status, 302 | 303 | 401 | 403),
                            "{} at {host} for {fields}",
                            answer.status
                        );
                        stage.assert_silence(&fields);
                        tried += 1;
                    }
                }
            }
        }
        db.assert_heard_nothing("an assertion opens no TCP service");
        assert_eq!(tried, 2 * (4 * 8 + 3 * 9 * 2));

        // The doors were open ones: what each is for comes through.
        let mut link = Native::connect(&stage.ca).await?;
        for host in [WWW, APP, DB] {
            let token = Credential::ServiceToken { id: id.to_owned(), secret: secret.to_owned() };
            assert!(link.present(host, token).await?.is_ok(), "{host}");
        }
        Ok(())
    });
}

/// The host of a TCP service.
const DB: &str = "db.example.test";

/// A native link of an access client, by hand.
struct Native {
    connected: Connected,
    grants: u32,
}

impl Native {
    async fn connect(ca: &str) -> anyhow::Result<Self> {
        let mut config = trusting(ca)?.as_ref().clone();
        config.alpn_protocols = vec![ALPN_ACCESS.to_vec()];
        let tcp = TcpStream::connect("127.0.0.1:443").await?;
        let tls = TlsConnector::from(Arc::new(config)).connect(LOGIN_HOST.to_owned().try_into()?, tcp).await?;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(ALPN_ACCESS));
        let hello = Hello::new(Role::Access, "an origin", InstanceId::from_random([3; 16]));
        Ok(Self { connected: link::connect(tls, hello, Settings::for_edge()).await?, grants: 0 })
    }

    /// The edge's answer to a credential.
    async fn present(&mut self, host: &str, credential: Credential) -> anyhow::Result<Result<(), GrantRefusal>> {
        self.grants += 1;
        let present = Present { grant: GrantId(self.grants), hostname: host.parse()?, credential };
        self.connected.control.sender().send(present).await?;
        match timeout(PATIENCE, self.connected.control.next()).await? {
            Some(Message::Granted(_)) => Ok(Ok(())),
            Some(Message::Refused(refused)) => Ok(Err(refused.code)),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// A stream on a grant, once it is accepted.
    async fn open(&self, grant: u32) -> anyhow::Result<link::Stream> {
        let opening = OpenGrant { grant: GrantId(grant), destination: None };
        let mut stream = self.connected.link.open(opening).await?;
        timeout(PATIENCE, stream.accepted()).await??;
        Ok(stream)
    }
}
