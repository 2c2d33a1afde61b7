//! Services that are more than a web server in clear: TLS of their own, at a port or a socket; fixed answers.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tunnel_tests::{
    Connector, Edge, EdgeConfig, Lab, Process, Smtp,
    edge::{ACCESS, listens},
    process::finish,
    run,
    stage::{APP, STAFF, WWW},
    visitor::login,
};

/// Where nginx does TLS.
const SECURE: &str = "127.0.0.1:8443";
/// And where it speaks HTTP/2 over it, too.
const SECURE_HTTP_2: &str = "127.0.0.1:8445";

/// A certificate that signs itself, as most services in private networks have; its file.
pub(super) async fn certificate(lab: &Lab, name: &str) -> Result<PathBuf> {
    let (key, certificate) = (lab.path(format!("{name}.key")), lab.path(format!("{name}.pem")));
    let mut make = lab.command("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &format!("/CN={name}")]);
    make.args(["-addext", &format!("subjectAltName=DNS:{name}"), "-keyout"]).arg(key).arg("-out").arg(&certificate);
    finish(make).await?.ok()?;
    Ok(certificate)
}

/// nginx with the certificate of `name`, at [`SECURE`] and at the socket `nginx.sock`. It says by which name and host it was
/// asked.
async fn nginx(lab: &Lab, name: &str) -> Result<Process> {
    let (root, socket) = (lab.path("nginx"), lab.path("nginx.sock"));
    // What one left behind that was killed, another cannot bind to.
    let _ = std::fs::remove_file(&socket);
    let (root, socket) = (root.display(), socket.display());
    let (key, certificate) = (lab.path(format!("{name}.key")), lab.path(format!("{name}.pem")));
    let config = format!(
        "daemon off; master_process off; user root; pid {root}/pid; error_log stderr info;\n\
         events {{}}\n\
         http {{ default_type text/plain; access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; \
         fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
         ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {};\n\
         server {{ listen unix:{socket} ssl; listen {SECURE} ssl;\n\
         return 200 \"asked as $ssl_server_name for $host over $ssl_protocol\"; }}\n\
         server {{ listen {SECURE_HTTP_2} ssl http2;\n\
         return 200 \"$request_method asked as $ssl_server_name for $host by $server_protocol\"; }} }}\n",
        certificate.display(),
        key.display(),
    );
    let file = lab.write("nginx/nginx.conf", &config)?;
    let mut command = lab.command("/usr/sbin/nginx");
    command.arg("-c").arg(file);
    let mut nginx = Process::start("nginx", command)?;
    listens(&mut nginx, SECURE.parse()?).await?;
    Ok(nginx)
}

async fn publish(lab: &Lab, hostname: &str, url: &str, more: &[&str]) -> Result<Connector> {
    let mut command = Connector::command(lab)?;
    command.args(["--hostname", hostname, "--url", url]).args(more);
    Connector::start(&format!("connector {hostname}"), command).await
}

/// A web server with the certificate of `name` at [`SECURE`] that ends every answer with its connection, and says so by TLS only
/// when it is asked for `/` or `/said`.
async fn abrupt(lab: &Lab, name: &str) -> Result<JoinHandle<Result<()>>> {
    let certificate = CertificateDer::from_pem_file(lab.path(format!("{name}.pem")))?;
    let key = PrivateKeyDer::from_pem_file(lab.path(format!("{name}.key")))?;
    let config =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key)?;
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind(SECURE).await?);
    Ok(tokio::spawn(async move { sing(&acceptor, &listener).await }))
}

async fn sing(acceptor: &TlsAcceptor, listener: &TcpListener) -> Result<()> {
    loop {
        let Ok(mut tls) = acceptor.accept(listener.accept().await?.0).await else { continue };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await?);
        }
        let target = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = match target.as_str() {
            "/sized" => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsong",
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsong\r\n0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\n\r\nsong",
        };
        tls.write_all(answer.as_bytes()).await?;
        tls.flush().await?;
        // Where a login ends as well.
        if matches!(target.as_str(), "/" | "/said") {
            tls.shutdown().await?;
        } else {
            tls.get_mut().0.shutdown().await?;
        }
    }
}

/// F5: an answer whose end nobody has said looks cut to its visitor, with all that came of it, and the connector's log says why.
/// Where HTTP says how long an answer is, it is whole.
#[test]
fn an_answer_that_ends_with_tls_but_without_its_word_is_cut_and_the_log_says_why() {
    run("origin-unsaid", async |lab| {
        let own = certificate(&lab, "nas.internal").await?;
        let _abrupt = abrupt(&lab, "nas.internal").await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let more = ["--origin-ca-pool", own.to_str().unwrap(), "--origin-server-name", "nas.internal"];
        let connector = publish(&lab, WWW, &format!("https://{SECURE}"), &more).await?;
        let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let session = visitor.session(WWW)?;
        let request =
            |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").into_bytes();
        for target in ["/said", "/sized", "/chunked"] {
            let answer = visitor.door("https", WWW)?.ask(&request(target)).await?;
            assert_eq!((answer.status, answer.text().as_str()), (200, "song"), "{target}");
        }
        let mut raw = visitor.door("https", WWW)?.open().await?;
        raw.send(&request("/unsaid")).await?;
        let said = String::from_utf8(raw.rest().await?)?;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("song") && !said.ends_with("0\r\n\r\n"), "{said}");
        connector.process.log.wait_for(r"WARN.*no close_notify.*https://127\.0\.0\.1:8443.*Content-Length").await?;
        Ok(())
    });
}

#[test]
fn a_web_server_with_tls_is_reached_once_it_has_proven_who_it_is() {
    run("origin-tls", async |lab| {
        let own = certificate(&lab, "nas.internal").await?;
        let _nginx = nginx(&lab, "nas.internal").await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let own = own.to_str().unwrap();
        let more =
            ["--origin-ca-pool", own, "--origin-server-name", "nas.internal", "--http-host-header", "inside.test"];
        let connector = publish(&lab, WWW, &format!("https://{SECURE}"), &more).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let (page, expected) = (format!("https://{WWW}/"), "asked as nas.internal for inside.test over TLSv1.3");
        let reply = visitor.get(&page).await?;
        assert_eq!((reply.status(), reply.text().as_str()), (200, expected));
        // The next time, what was said once need not be said again.
        assert!(connector.process.terminate().await?.success());
        let mut command = Connector::command(&lab)?;
        command.args(["run", WWW]);
        let _connector = Connector::start("connector run", command).await?;
        let reply = visitor.get(&page).await?;
        assert_eq!((reply.status(), reply.text().as_str()), (200, expected));
        Ok(())
    });
}

/// T9: the same by HTTP/2, to one that is known and speaks it, and to no other.
#[test]
fn a_web_server_with_tls_is_spoken_to_by_http_2_once_it_has_proven_who_it_is() {
    run("origin-tls-h2", async |lab| {
        let (own, other) = (certificate(&lab, "nas.internal").await?, certificate(&lab, "other.internal").await?);
        let _nginx = nginx(&lab, "nas.internal").await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let (http2, http1) = (format!("https://{SECURE_HTTP_2}"), format!("https://{SECURE}"));
        let (own, other) = (own.to_str().unwrap(), other.to_str().unwrap());
        let named = ["--http2-origin", "--origin-server-name", "nas.internal", "--origin-ca-pool"];
        let _connector = publish(&lab, WWW, &http2, &[&named[..], &[own]].concat()).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        for (method, body) in [("GET", &b""[..]), ("POST", &b"a=b"[..])] {
            let reply = visitor.ask(method, &format!("https://{WWW}/"), &[], body).await?;
            let expected = format!("{method} asked as nas.internal for {WWW} by HTTP/2.0");
            assert_eq!((reply.status(), reply.text()), (200, expected));
        }
        for (url, pool, why) in [
            (&http2, other, r"signed by nobody whom this machine trusts.*--origin-ca-pool"),
            (&http1, own, r"does not speak HTTP/2.*--http2-origin"),
        ] {
            let connector = publish(&lab, APP, url, &[&named[..], &[pool]].concat()).await?;
            let reply = visitor.browse(&format!("https://{APP}/")).await?;
            assert_eq!(reply.status(), 502, "{}", reply.text());
            connector.process.log.wait_for(why).await?;
            connector.process.kill().await?;
        }
        Ok(())
    });
}

/// T9: a certificate by somebody else, or for somebody else, is a page that says nothing of it, and a line in the connector's
/// log that says all.
#[test]
fn a_web_server_that_does_not_prove_who_it_is_gets_no_request() {
    run("origin-untrusted", async |lab| {
        let (own, other) = (certificate(&lab, "nas.internal").await?, certificate(&lab, "other.internal").await?);
        let nginx = nginx(&lab, "nas.internal").await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let url = format!("https://{SECURE}");
        let strange = ["--origin-ca-pool", other.to_str().unwrap(), "--origin-server-name", "nas.internal"];
        let strange = publish(&lab, WWW, &url, &strange).await?;
        let misnamed = publish(&lab, APP, &url, &["--origin-ca-pool", own.to_str().unwrap()]).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        for (host, connector, why) in [
            (WWW, &strange, r"signed by nobody whom this machine trusts.*--origin-ca-pool"),
            (APP, &misnamed, r"is for `nas\.internal`, not for `127\.0\.0\.1`.*--origin-server-name"),
        ] {
            let reply = visitor.browse(&format!("https://{host}/")).await?;
            assert_eq!(reply.status(), 502, "{}", reply.text());
            let page = reply.text();
            assert!(!page.contains("certificate") && !page.contains("nas.internal"), "{page}");
            connector.process.log.wait_for(why).await?;
        }
        nginx.kill().await?;
        // Believed by whoever said so, and said in the log.
        let _nginx = self::nginx(&lab, "other.internal").await?;
        drop(misnamed);
        let believing = publish(&lab, APP, &url, &["--no-tls-verify"]).await?;
        believing.process.log.wait_for(r"WARN.*not verified.*no_tls_verify").await?;
        let reply = visitor.get(&format!("https://{APP}/")).await?;
        assert_eq!(
            (reply.status(), reply.text().contains(&format!("for {APP} over"))),
            (200, true),
            "{}",
            reply.text()
        );
        Ok(())
    });
}

#[test]
fn a_socket_with_tls_and_a_fixed_answer_are_services() {
    run("origin-kinds", async |lab| {
        let own = certificate(&lab, WWW).await?;
        let _nginx = nginx(&lab, WWW).await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let socket = format!("unix+tls:{}", lab.path("nginx.sock").display());
        let _socket = publish(&lab, WWW, &socket, &["--origin-ca-pool", own.to_str().unwrap()]).await?;
        let fixed = publish(&lab, APP, "http_status:418", &[]).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let reply = visitor.get(&format!("https://{WWW}/")).await?;
        assert_eq!(reply.text(), format!("asked as {WWW} for {WWW} over TLSv1.3"));
        let reply = visitor.browse(&format!("https://{APP}/any/path")).await?;
        assert_eq!((reply.status(), reply.text().as_str()), (418, ""));
        assert!(fixed.process.terminate().await?.success());
        let _hello = publish(&lab, APP, "hello_world", &[]).await?;
        let reply = visitor.get(&format!("https://{APP}/")).await?;
        assert!(reply.status() == 200 && reply.text().contains(STAFF), "{}: {}", reply.status(), reply.text());
        Ok(())
    });
}
