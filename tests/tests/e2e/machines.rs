//! Machines with service tokens: the WebSocket door as the client that people have uses it, web services, and strictness.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        protocol::frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};
use tunnel_tests::{
    Canary, Certs, Connector, Echo, Edge, EdgeConfig, Lab, PATIENCE, Smtp, Visitor, edge::LOGIN_HOST, raw::trusting,
    run, visitor::login,
};

const DB: &str = "db.example.test";
const WWW: &str = "www.example.test";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}
  - {name: machines, action: service_auth, include: [{service_token: backup}]}
applications:
  - {name: db, hostnames: [db.example.test], policies: [staff-only, machines]}
  - {name: www, hostnames: [www.example.test], policies: [staff-only, machines]}
  - {name: app, hostnames: [app.example.test], policies: [staff-only]}
";

struct Site {
    smtp: Smtp,
    edge: Edge,
    ca: String,
    www: Canary,
    app: Canary,
    _echo: Echo,
    _connectors: Vec<Connector>,
    id: String,
    secret: String,
}

async fn site(lab: &Lab) -> anyhow::Result<Site> {
    let (echo, www, app) = (Echo::start().await?, Canary::start().await?, Canary::start().await?);
    let smtp = Smtp::start(lab).await?;
    let edge = Edge::start(lab, EdgeConfig::with_mail(&smtp)).await?;
    let (id, secret) = token(&edge, &["create", "backup"]).await?;
    token(&edge, &["create", "other"]).await?;
    edge.apply(ACCESS).await?;
    let connectors = vec![
        Connector::publish(lab, DB, &echo.url()).await?,
        Connector::publish(lab, WWW, &www.url()).await?,
        Connector::publish(lab, "app.example.test", &app.url()).await?,
    ];
    let ca = edge.ca().await?;
    Ok(Site { smtp, edge, ca, www, app, _echo: echo, _connectors: connectors, id, secret })
}

/// What a command about a service token gives: id and secret.
async fn token(edge: &Edge, words: &[&str]) -> anyhow::Result<(String, String)> {
    let args: Vec<&str> =
        ["admin", "service-token"].into_iter().chain(words.iter().copied()).chain(["--json"]).collect();
    let said: serde_json::Value = serde_json::from_str(&edge.run(&args).await?.ok()?)?;
    let field = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    Ok((field("id"), field("secret")))
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// One TLS connection that offers no ALPN, one HTTP/1.1 GET at `/`.
async fn dial(ca: &str, host: &str, headers: &[(&'static str, &str)]) -> anyhow::Result<Result<Socket, (u16, String)>> {
    let config = trusting(ca)?.as_ref().clone();
    assert!(config.alpn_protocols.is_empty());
    let tcp = TcpStream::connect("127.0.0.1:443").await?;
    let tls = TlsConnector::from(Arc::new(config)).connect(host.to_owned().try_into()?, tcp).await?;
    let mut request = format!("wss://{host}/").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse()?);
    }
    match tokio_tungstenite::client_async(request, tls).await {
        Ok((socket, _)) => Ok(Ok(socket)),
        Err(Error::Http(response)) => {
            assert!(response.headers().get("location").is_none(), "never a redirect");
            assert!(response.headers().get("set-cookie").is_none(), "nor a cookie");
            let body = response.body().clone().unwrap_or_default();
            Ok(Err((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned())))
        }
        Err(error) => Err(error.into()),
    }
}

fn credentials(site: &Site) -> [(&'static str, &str); 2] {
    [("cf-access-client-id", &site.id), ("cf-access-client-secret", &site.secret)]
}

/// Sends as that client does: a binary message in fragments of 4,096 bytes.
async fn send(socket: &mut Socket, bytes: &[u8]) -> anyhow::Result<()> {
    let pieces: Vec<&[u8]> = bytes.chunks(4096).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let code = OpCode::Data(if n == 0 { Data::Binary } else { Data::Continue });
        let frame = Frame::message(piece.to_vec(), code, n + 1 == pieces.len());
        socket.send(Message::Frame(frame)).await?;
    }
    Ok(())
}

async fn receive(socket: &mut Socket, len: usize) -> anyhow::Result<Vec<u8>> {
    let mut got = Vec::new();
    while got.len() < len {
        match timeout(PATIENCE, socket.next()).await? {
            Some(Ok(Message::Binary(bytes))) => got.extend_from_slice(&bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => anyhow::bail!("{other:?} after {} bytes", got.len()),
        }
    }
    Ok(got)
}

#[test]
fn the_client_that_people_have_reaches_a_tcp_service_by_a_service_token() {
    run("wsdoor", async |lab| {
        let site = site(&lab).await?;
        let mut socket = dial(&site.ca, DB, &credentials(&site)).await?.map_err(|said| anyhow::anyhow!("{said:?}"))?;
        let block: Vec<u8> = (0..16 * 1024_u32).flat_map(u32::to_le_bytes).collect();
        for piece in block.chunks(16 * 1024) {
            send(&mut socket, piece).await?;
        }
        assert!(receive(&mut socket, block.len()).await? == block);
        // Every byte of a message reaches the service, however it is cut.
        for len in [1, 4095, 4096, 4097, 16_384] {
            send(&mut socket, &block[..len]).await?;
            assert!(receive(&mut socket, len).await? == block[..len], "{len}");
        }
        // It ends by closing TCP, which the service takes for an end and no break.
        drop(socket);

        // Within a second of losing its secret it is out, and is told.
        let mut socket = dial(&site.ca, DB, &credentials(&site)).await?.map_err(|said| anyhow::anyhow!("{said:?}"))?;
        send(&mut socket, b"here").await?;
        receive(&mut socket, 4).await?;
        let (_, fresh) = token(&site.edge, &["rotate", "backup", "--grace", "0s"]).await?;
        let ended = timeout(Duration::from_secs(1), socket.next()).await?;
        assert!(
            matches!(&ended, Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Policy),
            "{ended:?}"
        );
        assert_eq!(dial(&site.ca, DB, &credentials(&site)).await?.err().map(|said| said.0), Some(401));
        let headers = [("cf-access-client-id", site.id.as_str()), ("cf-access-client-secret", &fresh)];
        assert!(dial(&site.ca, DB, &headers).await?.is_ok());
        Ok(())
    });
}

// S1
#[test]
fn service_tokens_are_strict() {
    run("strict", async |lab| {
        let site = site(&lab).await?;
        let (id, secret) = (site.id.as_str(), site.secret.as_str());
        let (other_id, other_secret) = token(&site.edge, &["create", "third"]).await?;
        let none = "A".repeat(43);
        let (i, s, t) = ("cf-access-client-id", "cf-access-client-secret", "cf-access-token");
        let person = login(&site.ca, &site.smtp, DB, "staff@example.test").await?;
        let cookie = person.session(DB)?;
        type Headers<'a> = Vec<(&'static str, &'a str)>;
        let table: Vec<(&str, Headers<'_>, u16)> = vec![
            ("nothing", vec![], 401),
            ("a cookie of another page", vec![("cookie", cookie.as_str())], 403),
            (
                "a cookie, which the door does not take",
                vec![("cookie", cookie.as_str()), ("origin", "https://db.example.test")],
                401,
            ),
            ("a wrong secret", vec![(i, id), (s, &none)], 401),
            ("a made-up id", vec![(i, "x.access"), (s, secret)], 401),
            ("another token's secret", vec![(i, id), (s, &other_secret)], 401),
            ("no secret", vec![(i, id)], 401),
            ("no id", vec![(s, secret)], 401),
            ("two ids", vec![(i, id), (i, id), (s, secret)], 401),
            ("two secrets", vec![(i, id), (s, secret), (s, secret)], 401),
            ("a client token beside it", vec![(i, id), (s, secret), (t, &none)], 401),
            ("a made-up client token", vec![(t, &none)], 401),
            ("a made-up client token beside a good cookie", vec![(t, &none), ("cookie", cookie.as_str())], 401),
            ("a good token that no policy names", vec![(i, &other_id), (s, &other_secret)], 403),
        ];
        for (what, headers, status) in table {
            let said = dial(&site.ca, DB, &headers).await?.err();
            assert_eq!(said.as_ref().map(|said| said.0), Some(status), "{what}: {said:?}");
            assert!(said.is_some_and(|said| said.1.starts_with('{')), "{what}: an answer for programs");
        }
        // Where a policy is for people only, a good token is known and not admitted.
        let mut machine = Visitor::new(&site.ca)?;
        let headers = [(i, id), (s, secret), ("accept", "text/html")];
        let refused = machine.ask("GET", "https://app.example.test/", &headers, b"").await?;
        assert_eq!(refused.status(), 403, "{}", refused.text());
        assert!(refused.header("location").is_none() && refused.header("set-cookie").is_none());
        site.app.assert_heard_nothing("a service token is not for people's applications");
        let wrong = machine
            .ask("GET", "https://www.example.test/", &[(i, id), (s, &none), ("accept", "text/html")], b"")
            .await?;
        assert_eq!(wrong.status(), 401);
        site.www.assert_heard_nothing("a wrong secret opens nothing");
        // The audit has who was refused, and no secret.
        let audit = site.edge.run(&["admin", "audit", "-n", "200"]).await?.ok()?;
        assert!(audit.contains("service-token:third") && !audit.contains(secret) && !audit.contains(&other_secret));
        Ok(())
    });
}

#[test]
fn a_web_service_is_told_which_machine_came_and_no_person() {
    run("svcweb", async |lab| {
        let site = site(&lab).await?;
        let mut machine = Visitor::new(&site.ca)?;
        let headers = [
            ("cf-access-client-id", site.id.as_str()),
            ("cf-access-client-secret", &site.secret),
            ("access-user-email", "a@b.c"),
        ];
        let reply = machine.ask("GET", "https://www.example.test/report", &headers, b"").await?;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        assert!(reply.header("set-cookie").is_none());
        let head = site.www.heads().into_iter().next_back().unwrap();
        for secret in ["access-user-email", "cf-access-client-id", "cf-access-client-secret"] {
            assert!(head.all(secret).is_empty(), "{secret} in {head:?}");
        }
        let certs = Certs::fetch(&machine, LOGIN_HOST, &format!("https://{LOGIN_HOST}")).await?;
        let said = certs.verify(head.one("access-jwt-assertion"))?;
        assert_eq!((said["common_name"].as_str(), said["sub"].as_str()), (Some(site.id.as_str()), Some("")));
        assert!(said.get("email").is_none());
        // A secret that was rotated away counts as long as its grace.
        let (_, fresh) = token(&site.edge, &["rotate", "backup", "--grace", "2s"]).await?;
        assert_eq!(machine.ask("GET", "https://www.example.test/", &headers, b"").await?.status(), 200);
        let new = [("cf-access-client-id", site.id.as_str()), ("cf-access-client-secret", &fresh)];
        assert_eq!(machine.ask("GET", "https://www.example.test/", &new, b"").await?.status(), 200);
        tokio::time::sleep(Duration::from_millis(3100)).await;
        assert_eq!(machine.ask("GET", "https://www.example.test/", &headers, b"").await?.status(), 401);
        assert_eq!(machine.ask("GET", "https://www.example.test/", &new, b"").await?.status(), 200);
        // One that a policy names is not deleted behind its back.
        let kept = site.edge.run(&["admin", "service-token", "delete", "backup"]).await?;
        assert_eq!(kept.code, 3, "{}", kept.stderr);
        assert!(kept.stderr.contains("policy `machines` names"), "{}", kept.stderr);
        assert!(site.edge.run(&["admin", "service-token", "delete", "other"]).await?.code == 0);
        Ok(())
    });
}
