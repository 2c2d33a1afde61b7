//! Certificates for visitors come by themselves, from a real authority, and change without anybody noticing.

use std::{fs, sync::Arc};

use anyhow::{Context, Result};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tunnel_tests::{
    Authority, AuthorityConfig, Door, Edge, EdgeConfig,
    authority::{NAME_SERVER, RECORDS, UPDATE_KEY, name_server, records_at, self_signed},
    edge::LOGIN_HOST,
    run,
    stage::{APP, WWW},
};

/// One public application.
const PUBLIC: &str = "\
policies:
  - {name: public, action: bypass, include: [{everyone: true}]}
applications:
  - {name: www, hostnames: [www.example.test], policies: [public]}
";

/// One more.
const DB: &str = "  - {name: db, hostnames: [db.example.test], policies: [public]}\n";

/// An account that an authority knows (RFC 8555 §7.3.4).
const BOUND: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// A request that leaves its connection open.
fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// The certificate that a new visitor is shown.
async fn shown(door: &Door) -> Result<Vec<u8>> {
    let tls = door.tls.as_ref().context("a TLS door")?;
    let config = ClientConfig::clone(&tls.config);
    let stream = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(tls.sni.clone())?, TcpStream::connect(door.address).await?)
        .await?;
    let chain = stream.get_ref().1.peer_certificates().context("a certificate")?;
    Ok(chain.first().context("a leaf")?.to_vec())
}

fn door(root: &str, host: &str) -> Result<Door> {
    Door::tls("127.0.0.1:443".parse()?, root, host, &["http/1.1"])
}

fn issued(name: &str) -> String {
    format!("a certificate was issued name={}", name.replace('.', "\\.").replace('*', "\\*"))
}

/// The names of the listed certificates.
async fn listed(edge: &Edge) -> Result<Vec<String>> {
    let listed: serde_json::Value =
        serde_json::from_str(&edge.run(&["admin", "certificate", "list", "--json"]).await?.ok()?)?;
    for one in listed.as_array().context("a list")? {
        assert!(one["error"].is_null() && one["next"].is_u64() && one["until"].is_u64(), "{one}");
        assert!(one["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble")), "{one}");
    }
    let names = |one: &serde_json::Value| one["names"][0].as_str().unwrap_or_default().to_owned();
    Ok(listed.as_array().context("a list")?.iter().map(names).collect())
}

#[test]
fn hostnames_with_an_application_get_certificates_by_tls_alpn_and_strangers_order_nothing() {
    run("acme-alpn", async |lab| {
        let authority = Authority::start(&lab, AuthorityConfig::default()).await?;
        let config = EdgeConfig { tls: authority.tls(""), ..EdgeConfig::default() };
        let edge = Edge::with_access(&lab, config, PUBLIC).await?;
        edge.run(&["check"]).await?.ok()?;
        edge.process.log.wait_for(&issued(LOGIN_HOST)).await?;
        edge.process.log.wait_for(&issued(WWW)).await?;
        let root = authority.root().await?;
        let www = door(&root, WWW)?;
        for host in [WWW, LOGIN_HOST] {
            let answer = www.naming(host).ask(&get(host, "/")).await?;
            assert!(answer.status >= 200, "{host}: {}", answer.status);
        }
        // What a stranger names is served by nobody: no application has it, or it is none of ours at all.
        for host in [APP, "db.example.test", "example.test", "stranger.test"] {
            let refused = www.naming(host).open().await.err().with_context(|| format!("{host} is served"))?;
            // Not that the certificate is another's: none is shown.
            assert!(format!("{refused:#}").contains("alert"), "{host}: {refused:#}");
        }
        // Nothing is pending, so nothing is shown to who asks as an authority does.
        assert!(www.offering(&["acme-tls/1"]).open().await.is_err());
        assert_eq!(listed(&edge).await?, [LOGIN_HOST, WWW]);

        let before = shown(&www).await?;
        let edge = edge.restart().await?;
        assert!(shown(&www).await? == before, "what is stored is shown from the first moment on");
        // Nothing comes of what strangers named at the next look at what is wanted either.
        for host in [APP, "example.test", "stranger.test"] {
            assert!(www.naming(host).open().await.is_err(), "{host}");
        }
        edge.apply(&format!("{PUBLIC}{DB}")).await?;
        edge.process.log.wait_for(&issued("db.example.test")).await?;
        www.naming("db.example.test").open().await?;
        assert_eq!(authority.orders(), 3, "one for each hostname, none for strangers, none after the restart");
        let audit = edge.run(&["admin", "audit", "-n", "1000"]).await?.ok()?;
        assert_eq!(audit.matches("certificate_issued").count(), 3, "{audit}");
        Ok(())
    });
}

// R32: the path of the challenge is answered for what is pending, and is like any other for everybody else.
#[test]
fn where_the_authority_cannot_come_by_tls_it_comes_by_http() {
    run("acme-http", async |lab| {
        // Nobody listens where it looks first, and it knows whom it gives certificates to.
        let config = AuthorityConfig { tls_port: 1, bound: Some(BOUND), ..AuthorityConfig::default() };
        let authority = Authority::start(&lab, config).await?;
        let key = lab.write("eab.key", &format!("{}\n", BOUND.1))?;
        let bound = format!("[tls.acme.external_account]\nkey_id = \"{}\"\nkey_file = {key:?}\n", BOUND.0);
        let config = EdgeConfig { tls: authority.tls(&bound), ..EdgeConfig::default() };
        let edge = Edge::with_access(&lab, config, PUBLIC).await?;
        edge.process.log.wait_for(&issued(LOGIN_HOST)).await?;
        edge.process.log.wait_for(&issued(WWW)).await?;
        door(&authority.root().await?, WWW)?.open().await?;
        let log = edge.process.log.text();
        assert!(!log.contains(BOUND.1) && !log.contains("PRIVATE KEY"), "no key is logged");
        let plain = Door::plain("127.0.0.1:80".parse()?);
        let path = "/.well-known/acme-challenge/anything";
        let answer = plain.ask(&get(WWW, path)).await?;
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, Some("https://www.example.test/.well-known/acme-challenge/anything"))
        );
        assert_eq!(plain.ask(&get("stranger.test", path)).await?.status, 404);
        Ok(())
    });
}

#[test]
fn by_records_that_a_program_makes_the_whole_zone_has_one_certificate() {
    run("acme-hook", async |lab| {
        let authority = Authority::start(&lab, AuthorityConfig::default()).await?;
        let hook = lab.write(
            "hook.sh",
            &format!(
                "case $1 in\n  add) exec curl -sf -d '{{\"host\":\"'\"$2\"'.\",\"value\":\"'\"$3\"'\"}}' {RECORDS}/set-txt ;;\n  \
                 remove) exec curl -sf -d '{{\"host\":\"'\"$2\"'.\"}}' {RECORDS}/clear-txt ;;\nesac\nexit 1\n"
            ),
        )?;
        let dns = format!("[tls.acme.dns]\nhook = [\"/bin/sh\", {hook:?}]\nwait = 0\n");
        let config = EdgeConfig { tls: authority.tls(&dns), ..EdgeConfig::default() };
        let edge = Edge::with_access(&lab, config, PUBLIC).await?;
        edge.process.log.wait_for(&issued("*.example.test")).await?;
        let www = door(&authority.root().await?, WWW)?;
        for host in [WWW, LOGIN_HOST, "example.test"] {
            www.naming(host).open().await.with_context(|| host.to_owned())?;
        }
        assert_eq!(authority.orders(), 1);
        assert_eq!(listed(&edge).await?.len(), 1);
        edge.run(&["admin", "certificate", "renew", "*.example.test"]).await?.ok()?;
        edge.process.log.wait_for(&format!("(?s){0}.*{0}", issued("*.example.test"))).await?;
        assert_eq!(authority.orders(), 2);
        let unknown = edge.run(&["admin", "certificate", "renew", WWW]).await?;
        assert!(unknown.ok().is_err(), "it has none of its own");
        Ok(())
    });
}

#[test]
fn by_updates_of_a_name_server_the_whole_zone_has_one_certificate() {
    run("acme-update", async |lab| {
        let names = name_server(&lab).await?;
        let config = AuthorityConfig { resolver: NAME_SERVER, ..AuthorityConfig::default() };
        let authority = Authority::start(&lab, config).await?;
        let key = lab.write("update.key", UPDATE_KEY)?;
        let dns =
            format!("[tls.acme.dns]\nserver = \"{NAME_SERVER}\"\nkey_name = \"edge\"\nkey_file = {key:?}\nwait = 0\n");
        let config = EdgeConfig { tls: authority.tls(&dns), ..EdgeConfig::default() };
        let edge = Edge::with_access(&lab, config, PUBLIC).await?;
        edge.process.log.wait_for(&issued("*.example.test")).await?;
        door(&authority.root().await?, WWW)?.open().await?;
        // Two records were made, and taken away.
        names.log.wait_for("(?s)(DDNS, finished.*){4}").await?;
        assert!(!edge.process.log.text().contains("cannot be removed"));
        assert_eq!(records_at("_acme-challenge.example.test").await?, 0, "R32: none of them is left");
        Ok(())
    });
}

// F24
#[test]
fn a_certificate_is_renewed_while_connections_live() {
    run("acme-renewal", async |lab| {
        let authority =
            Authority::start(&lab, AuthorityConfig { life: Some(30), ..AuthorityConfig::default() }).await?;
        let config = EdgeConfig { tls: authority.tls(""), ..EdgeConfig::default() };
        let edge = Edge::start(&lab, config).await?;
        edge.process.log.wait_for(&issued(LOGIN_HOST)).await?;
        // Each time by a visitor who has not been here: whoever has is shown nothing again.
        let root = authority.root().await?;
        let newcomer = || door(&root, LOGIN_HOST);
        let before = shown(&newcomer()?).await?;
        let mut lasting = newcomer()?.open().await?;
        lasting.send(&get(LOGIN_HOST, "/.access/certs")).await?;
        assert_eq!(lasting.answer(true).await?.status, 200);
        // The authority refuses one of twenty numbers that are good; where that happens three times in a row, it is asked again later.
        let first = issued(LOGIN_HOST);
        edge.process.log.wait_for(&format!("(?s){first}.*({first}|a certificate cannot be renewed)")).await?;
        edge.process.log.wait_for(&format!("(?s){first}.*{first}")).await?;
        lasting.send(&get(LOGIN_HOST, "/.access/certs")).await?;
        assert_eq!(lasting.answer(true).await?.status, 200, "the connection from before goes on");
        assert!(shown(&newcomer()?).await? != before, "new visitors are shown the new one");
        Ok(())
    });
}

// F24
#[test]
fn certificates_from_files_change_without_a_restart_and_bad_files_change_nothing() {
    run("files-reload", async |lab| {
        let hosts = [LOGIN_HOST, WWW];
        let (first, first_key) = self_signed(&lab, "first", &hosts).await?;
        let (second, second_key) = self_signed(&lab, "second", &hosts).await?;
        let (shown_file, key_file) = (lab.path("shown.pem"), lab.path("shown.key"));
        fs::copy(&first, &shown_file)?;
        fs::copy(&first_key, &key_file)?;
        let tls = format!("mode = \"files\"\n[[tls.files]]\ncert = {shown_file:?}\nkey = {key_file:?}");
        let edge = Edge::start(&lab, EdgeConfig { tls, ..EdgeConfig::default() }).await?;
        let both = fs::read_to_string(&first)? + &fs::read_to_string(&second)?;
        let login = door(&both, LOGIN_HOST)?;
        // Each time by a visitor who has not been here: whoever has is shown nothing again.
        let newcomer = || door(&both, LOGIN_HOST);
        let before = shown(&newcomer()?).await?;
        let mut lasting = login.open().await?;
        lasting.send(&get(LOGIN_HOST, "/.access/certs")).await?;
        assert_eq!(lasting.answer(true).await?.status, 200);

        fs::copy(&second, &shown_file)?;
        fs::copy(&second_key, &key_file)?;
        edge.process.log.wait_for("a certificate was read anew").await?;
        let after = shown(&newcomer()?).await?;
        assert!(after != before, "new visitors are shown the new one");
        lasting.send(&get(LOGIN_HOST, "/.access/certs")).await?;
        assert_eq!(lasting.answer(true).await?.status, 200, "the connection from before goes on");

        fs::write(&key_file, "no key at all")?;
        let told = edge.process.log.wait_for("changed certificate files are of no use.*").await?;
        assert!(told[0].contains("shown.key"), "{}", told[0]);
        assert!(shown(&newcomer()?).await? == after, "the last good one is shown");
        let list = edge.run(&["admin", "certificate", "list"]).await?.ok()?;
        assert!(list.contains(LOGIN_HOST) && list.contains("shown.pem"), "{list}");
        Ok(())
    });
}
