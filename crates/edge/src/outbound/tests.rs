use std::{net::TcpListener as StdListener, sync::LazyLock};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use super::*;

static PUBLIC: LazyLock<Outbound> = LazyLock::new(|| Outbound::new(false, None).unwrap());
static PRIVATE: LazyLock<Outbound> = LazyLock::new(|| Outbound::new(true, None).unwrap());

/// Answers every connection with these bytes; gives what it was asked.
async fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let answer: Arc<Vec<u8>> = Arc::new(answer.into());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, questions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, asked) = (answer.clone(), asked.clone());
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                let read = stream.read(&mut bytes).await.unwrap();
                asked.send(String::from_utf8_lossy(&bytes[..read]).into_owned()).ok();
                stream.write_all(&answer).await.ok();
                stream.shutdown().await.ok();
            });
        }
    });
    (address, questions)
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

// O7
#[test]
fn addresses_of_the_world_are_told_from_all_others() {
    for world in
        ["8.8.8.8", "203.0.113.9", "100.63.255.255", "100.128.0.1", "198.20.0.1", "2606:4700::1", "2001:db8::1"]
    {
        assert!(is_public(world.parse().unwrap()), "{world}");
    }
    for other in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.0.1",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "100::1",
    ] {
        assert!(!is_public(other.parse().unwrap()), "{other}");
    }
}

// O7
#[test]
fn a_declaration_opens_private_addresses_and_nothing_special() {
    for (address, private, any) in [
        ("127.0.0.1", true, true),
        ("127.255.255.254", true, true),
        ("::1", true, true),
        ("::ffff:127.0.0.1", true, true),
        ("10.0.0.1", true, true),
        ("172.16.0.1", true, true),
        ("192.168.1.1", true, true),
        ("::ffff:192.168.1.1", true, true),
        ("100.64.0.1", true, true),
        ("198.18.0.1", true, true),
        ("fc00::1", true, true),
        ("fd12:3456::1", true, true),
        ("8.8.8.8", false, true),
        ("2606:4700::1", false, true),
        ("169.254.169.254", false, false),
        ("169.254.0.1", false, false),
        ("::ffff:169.254.169.254", false, false),
        ("100.100.100.200", false, false),
        ("168.63.129.16", false, false),
        ("192.0.0.192", false, false),
        ("fd00:ec2::254", false, false),
        ("fd20:ce::254", false, false),
        ("0.0.0.0", false, false),
        ("0.1.2.3", false, false),
        ("::", false, false),
        ("::127.0.0.1", false, false),
        ("224.0.0.1", false, false),
        ("239.255.255.250", false, false),
        ("240.0.0.1", false, false),
        ("255.255.255.255", false, false),
        ("64:ff9b::a00:1", false, false),
        ("64:ff9b::a9fe:a9fe", false, false),
        ("2002:a00:1::", false, false),
        ("2001::1", false, false),
        ("fe80::1", false, false),
        ("fec0::1", false, false),
        ("ff02::1", false, false),
        ("100::1", false, false),
    ] {
        let ip = address.parse().unwrap();
        assert_eq!((Which::Private.takes(ip), Which::Any.takes(ip)), (private, any), "{address}");
        assert_eq!(Which::Public.takes(ip), any && !private, "{address}");
    }
}

// O7
#[tokio::test]
async fn no_declaration_leads_to_a_metadata_service() {
    for host in ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "224.0.0.1", "0.0.0.0", "[fe80::1]"] {
        let plain = PRIVATE.get_json(&format!("http://{host}/latest/meta-data/"), None).await.unwrap_err();
        assert!(matches!(plain, OutboundError::PlainPublic(_)), "{host}: {plain}");
        let secure = PRIVATE.get_json(&format!("https://{host}/latest/meta-data/"), None).await.unwrap_err();
        assert!(matches!(secure, OutboundError::Special(_)), "{host}: {secure}");
    }
}

// O7
#[tokio::test]
async fn nothing_private_is_asked_unless_that_is_declared_in_any_spelling() {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "[::]",
        "１２７.0.0.1",
    ] {
        let url = format!("https://{host}:{port}/x");
        let error = PUBLIC.get_json(&url, None).await.unwrap_err();
        assert!(matches!(error, OutboundError::Private(_)), "{host}: {error}");
        let error = PUBLIC.reaches(&url).await.unwrap_err();
        assert!(matches!(error, OutboundError::Private(_)), "{host}: {error}");
    }
    assert!(listener.accept().is_err(), "nobody connected");
    for host in ["169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "192.168.0.1"] {
        let error = PUBLIC.get_json(&format!("https://{host}/latest/meta-data/"), None).await.unwrap_err();
        assert!(matches!(error, OutboundError::Private(_)), "{host}: {error}");
    }
}

// O7
#[tokio::test]
async fn plain_http_goes_to_private_addresses_only_and_only_when_declared() {
    let (address, _asked) = server(ok("{}")).await;
    let url = format!("http://{address}/x");
    assert!(matches!(PUBLIC.get_json(&url, None).await, Err(OutboundError::Scheme(_))));
    assert_eq!(PRIVATE.get_json(&url, None).await.unwrap().body, "{}");
    let named = format!("http://id.localhost:{}/x", address.port());
    assert_eq!(PRIVATE.get_json(&named, None).await.unwrap().status, 200);
    for world in ["http://203.0.113.9/", "http://[2001:db8::1]:8080/"] {
        let error = PRIVATE.get_json(world, None).await.unwrap_err();
        assert!(matches!(error, OutboundError::PlainPublic(_)), "{world}: {error}");
    }
    for no_address in
        ["ftp://127.0.0.1/", "file:///etc/passwd", "//127.0.0.1/", "javascript:x", "", "http://u:p@127.0.0.1/"]
    {
        let error = PRIVATE.get_json(no_address, None).await.unwrap_err();
        assert!(matches!(error, OutboundError::Scheme(_)), "{no_address}: {error}");
    }
}

// O4, O7
#[tokio::test]
async fn a_redirect_is_an_answer_and_leads_nowhere() {
    let (other, mut others) = server(ok("{}")).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: http://{other}/\r\nContent-Length: 0\r\n\r\n");
    let (address, _asked) = server(redirect).await;
    let answer = PRIVATE.get_json(&format!("http://{address}/"), Some("token")).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(others.try_recv().is_err(), "nobody followed");
}

// O4, O7
#[tokio::test]
async fn an_answer_is_small_and_soon_there_or_none() {
    let (address, _asked) = server(ok(&"x".repeat(ANSWER_MAX))).await;
    assert_eq!(PRIVATE.get_json(&format!("http://{address}/"), None).await.unwrap().body.len(), ANSWER_MAX);
    let (address, _asked) = server(ok(&"x".repeat(ANSWER_MAX + 1))).await;
    let large = PRIVATE.get_json(&format!("http://{address}/"), None).await;
    assert!(matches!(large, Err(OutboundError::TooLarge(_))), "{large:?}");
    // No length, no end.
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b' '; ANSWER_MAX + 2]].concat();
    let (address, _asked) = server(endless).await;
    let large = PRIVATE.get_json(&format!("http://{address}/"), None).await;
    assert!(matches!(large, Err(OutboundError::TooLarge(_))), "{large:?}");
    let hasty = Outbound::with_patience(true, None, Duration::from_millis(300)).unwrap();
    let silent = StdListener::bind("127.0.0.1:0").unwrap();
    let slow = hasty.get_json(&format!("http://{}/", silent.local_addr().unwrap()), None).await;
    assert!(matches!(slow, Err(OutboundError::Slow(_))), "{slow:?}");
    let (address, _asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let cut = PRIVATE.get_json(&format!("http://{address}/"), None).await;
    assert!(matches!(cut, Err(OutboundError::Broken(_))), "{cut:?}");
    let nobody = {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/?code=secret", listener.local_addr().unwrap())
    };
    let gone = PRIVATE.get_json(&nobody, None).await.unwrap_err();
    assert!(matches!(gone, OutboundError::Unreachable { .. }) && !gone.to_string().contains("secret"), "{gone}");
    assert!(matches!(PRIVATE.reaches(&nobody).await, Err(OutboundError::Unreachable { .. })));
    assert!(PRIVATE.reaches(&format!("http://{}/", silent.local_addr().unwrap())).await.is_ok());
}

#[tokio::test]
async fn forms_json_and_tokens_arrive_as_they_are() {
    let (address, mut asked) = server(ok("{}")).await;
    let url = format!("http://{address}/token?x=y");
    PRIVATE.post_form(&url, "a=b&c=d", Some("Basic eDp5")).await.unwrap();
    let said = asked.recv().await.unwrap().to_lowercase();
    for part in ["post /token?x=y http/1.1", "authorization: basic edp5", "x-www-form-urlencoded", "\r\n\r\na=b&c=d"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("user-agent: tunnel-edge/"), "{said}");
    PRIVATE.post_json(&url, &serde_json::json!({"a": 1}), Some("T")).await.unwrap();
    let said = asked.recv().await.unwrap();
    assert!(said.contains("Bearer T") && said.ends_with("{\"a\":1}"), "{said}");
}

#[test]
fn certificates_are_certificates() {
    for (ca, what) in [("", "no certificate"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ca")]
    {
        let error = Outbound::new(false, Some(ca)).unwrap_err();
        assert!(matches!(error, OutboundError::Ca(_)) && error.to_string().contains(what), "{error}");
    }
}
