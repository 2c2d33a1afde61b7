//! Services that are more than a web server in clear: TLS of their own, at a port or a socket; fixed answers.

use std::path::PathBuf;

use anyhow::Result;
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
async fn certificate(lab: &Lab, name: &str) -> Result<PathBuf> {
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
        let _fixed = publish(&lab, APP, "http_status:418", &[]).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let reply = visitor.get(&format!("https://{WWW}/")).await?;
        assert_eq!(reply.text(), format!("asked as {WWW} for {WWW} over TLSv1.3"));
        let reply = visitor.browse(&format!("https://{APP}/any/path")).await?;
        assert_eq!((reply.status(), reply.text().as_str()), (418, ""));
        Ok(())
    });
}
