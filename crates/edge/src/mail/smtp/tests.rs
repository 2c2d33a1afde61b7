use super::{
    super::fake::{Answer, Protection, Server, certificate},
    *,
};

fn message() -> Message {
    let builder =
        Message::builder().from("a@localhost.test".parse().unwrap()).to("Staff@Example.test".parse().unwrap());
    builder.subject("hello").body("secret words".to_owned()).unwrap()
}

fn config(url: &str, ca: Option<&str>) -> SmtpConfig {
    SmtpConfig::new(url, None, ca.map(str::as_bytes)).unwrap()
}

fn smtp(config: &SmtpConfig) -> Smtp {
    Smtp::new(config, &Hostname::parse("access.tnkeng.work").unwrap()).unwrap()
}

#[test]
fn addresses_of_mail_servers_are_read_strictly() {
    use Security::{Implicit, Plain, StartTls};
    let good = [
        ("smtps://mail.example", "mail.example:465", Implicit),
        ("smtps://mail.example:2465/", "mail.example:2465", Implicit),
        ("smtps://127.0.0.1", "127.0.0.1:465", Implicit),
        ("smtp://Mail.Example", "mail.example:587", StartTls),
        ("smtp://192.0.2.1:25", "192.0.2.1:25", StartTls),
        ("smtp://[2001:db8::1]:25", "[2001:db8::1]:25", StartTls),
        ("smtp://127.0.0.1:1025", "127.0.0.1:1025", Plain),
        ("smtp://[::1]:1025", "[::1]:1025", Plain),
        ("smtp://localhost:1025", "localhost:1025", Plain),
        ("smtp://localhost.example:1025", "localhost.example:1025", StartTls),
        ("smtp://127.0.0.1.example:1025", "127.0.0.1.example:1025", StartTls),
    ];
    for (url, server, security) in good {
        let config = SmtpConfig::new(url, None, None).unwrap();
        assert_eq!((config.server(), config.security), (server.to_owned(), security), "{url}");
    }
    let bad = [
        ("mail.example:25", SmtpConfigError::Url),
        ("http://mail.example", SmtpConfigError::Url),
        ("smtp://", SmtpConfigError::Url),
        ("smtp://mail.example/path", SmtpConfigError::Url),
        ("smtp://mail.example?tls=none", SmtpConfigError::Url),
        ("smtps://user:secret@mail.example", SmtpConfigError::PasswordInUrl),
        ("smtps://user@mail.example", SmtpConfigError::HalfCredentials),
        ("smtp://bad_host!:25", SmtpConfigError::Url),
    ];
    for (url, error) in bad {
        assert_eq!(SmtpConfig::new(url, None, None).unwrap_err(), error, "{url}");
    }
    let secret = || Some(SecretBytes::new(b"secret".to_vec()));
    assert!(SmtpConfig::new("smtps://user%40example@mail.example", secret(), None).is_ok());
    assert_eq!(SmtpConfig::new("smtps://mail.example", secret(), None).unwrap_err(), SmtpConfigError::HalfCredentials);
    assert_eq!(SmtpConfig::new("smtps://mail.example", None, Some(b"no pem")).unwrap_err(), SmtpConfigError::Ca);
    let shown = format!("{:?}", SmtpConfig::new("smtps://user@mail.example", secret(), None).unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn a_trusted_certificate_is_accepted_by_implicit_tls() {
    let (tls, ca) = certificate("localhost");
    let mut server = Server::start(Protection::Implicit(tls)).await;
    let config = config(&format!("smtps://localhost:{}", server.address.port()), Some(&ca));
    assert_eq!(smtp(&config).send(message()).await, Attempt::Taken);
    assert!(server.taken.recv().await.unwrap().by_tls);
}

#[tokio::test]
async fn a_trusted_certificate_is_accepted_by_starttls() {
    let (tls, ca) = certificate("localhost");
    let mut server = Server::start(Protection::StartTls(tls)).await;
    let mut config = config(&format!("smtp://localhost:{}", server.address.port()), Some(&ca));
    config.security = Security::StartTls;
    assert_eq!(smtp(&config).send(message()).await, Attempt::Taken);
    assert!(server.taken.recv().await.unwrap().by_tls);
}

// P6
#[tokio::test]
async fn a_server_with_another_names_or_an_unknown_certificate_gets_no_mail() {
    let (right, ca) = certificate("localhost");
    let (wrong_name, wrong_name_ca) = certificate("other.localhost");
    let cases = [
        (Protection::Implicit(wrong_name.clone()), "smtps", Some(wrong_name_ca.clone())),
        (Protection::StartTls(wrong_name), "smtp", Some(wrong_name_ca)),
        (Protection::Implicit(right.clone()), "smtps", None),
        (Protection::StartTls(right), "smtp", None),
    ];
    // A root of its own that has nothing to do with it does not help either.
    drop(ca);
    for (protection, scheme, ca) in cases {
        let mut server = Server::start(protection).await;
        let mut config = config(&format!("{scheme}://localhost:{}", server.address.port()), ca.as_deref());
        if scheme == "smtp" {
            config.security = Security::StartTls;
        }
        // Without any trusted root the verifier itself may refuse to be made, which is as good.
        let Ok(smtp) = Smtp::new(&config, &Hostname::parse("access.tnkeng.work").unwrap()) else { continue };
        let attempt = smtp.send(message()).await;
        assert!(matches!(attempt, Attempt::Later(_)), "{attempt:?}");
        assert!(server.taken.try_recv().is_err());
        assert!(
            !server.seen().iter().any(|line| line.contains("MAIL") || line.contains("AUTH")),
            "{:?}",
            server.seen()
        );
    }
}

// P6
#[tokio::test]
async fn a_server_that_offers_no_starttls_gets_neither_mail_nor_password() {
    let mut server = Server::start(Protection::Plain).await;
    // On Linux 0.0.0.0 leads to this machine too, but is no loopback address.
    let url = format!("smtp://user@0.0.0.0:{}", server.address.port());
    let config = SmtpConfig::new(&url, Some(SecretBytes::new(b"right".to_vec())), None).unwrap();
    assert_eq!(config.security, Security::StartTls);
    let attempt = smtp(&config).send(message()).await;
    assert!(matches!(attempt, Attempt::Later(_)), "{attempt:?}");
    assert!(server.taken.try_recv().is_err());
    let seen = server.seen();
    assert!(seen.iter().any(|line| line.starts_with("EHLO access.tnkeng.work")), "{seen:?}");
    assert!(!seen.iter().any(|line| line.contains("MAIL") || line.contains("AUTH")), "{seen:?}");
}

#[tokio::test]
async fn a_password_opens_the_door_and_a_wrong_one_makes_the_mail_wait() {
    let (tls, ca) = certificate("localhost");
    let server = Server::start(Protection::Implicit(tls)).await;
    let url = format!("smtps://user@localhost:{}", server.address.port());
    for (password, taken) in [("right\n", true), ("wrong", false)] {
        let password = Some(SecretBytes::new(password.into()));
        let config = SmtpConfig::new(&url, password, Some(ca.as_bytes())).unwrap();
        match smtp(&config).send(message()).await {
            Attempt::Taken => assert!(taken),
            Attempt::Later(detail) => assert!(!taken && detail.contains("535"), "{detail}"),
            Attempt::Never(detail) => panic!("a mail was given up for our own password: {detail}"),
        }
    }
}

#[tokio::test]
async fn what_the_server_says_is_told_apart_and_kept_without_the_recipient() {
    let server = Server::start(Protection::Plain).await;
    let smtp = smtp(&config(&format!("smtp://127.0.0.1:{}", server.address.port()), None));
    server.will([Answer::Never, Answer::Later]);
    let Attempt::Never(detail) = smtp.send(message()).await else { panic!("550 is final") };
    assert!(detail.contains("unknown here") && !detail.to_lowercase().contains("staff"), "{detail}");
    let Attempt::Later(detail) = smtp.send(message()).await else { panic!("451 is not final") };
    assert!(detail.contains("greylisted"), "{detail}");
    assert_eq!(smtp.send(message()).await, Attempt::Taken);
}

#[tokio::test]
async fn a_server_that_is_down_makes_the_mail_wait() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let attempt = smtp(&config(&format!("smtp://127.0.0.1:{port}"), None)).send(message()).await;
    assert!(matches!(attempt, Attempt::Later(_)), "{attempt:?}");
}

#[tokio::test]
async fn a_server_that_falls_silent_makes_the_mail_wait() {
    let server = Server::start(Protection::Plain).await;
    server.will([Answer::Silence]);
    let mut smtp = smtp(&config(&format!("smtp://127.0.0.1:{}", server.address.port()), None));
    smtp.patience = Duration::from_millis(200);
    let attempt = smtp.send(message()).await;
    assert!(matches!(&attempt, Attempt::Later(_)), "{attempt:?}");
}
