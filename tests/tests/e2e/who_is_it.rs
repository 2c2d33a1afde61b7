//! The guide for the application behind the edge: what it shows is run as it stands there.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use tokio::process::Command;
use tunnel_proto::AppId;
use tunnel_tests::{
    Canary, Certs, Connector, Door, Edge, EdgeConfig, Lab, Process, Smtp,
    edge::{ACCESS, LOGIN_HOST, listens},
    guide,
    process::{Finished, finish_reading, tool},
    run,
    stage::{APP, STAFF, WWW},
    visitor,
};

/// Where the guide's web server listens, and its verifier.
const WEB: &str = "127.0.0.1:8080";
const VERIFIER: &str = "127.0.0.1:9000";
/// Where the application listens in the guide.
const APPLICATION: &str = "127.0.0.1:3000";

/// The block of the guide whose first line is a comment with this name.
fn block(name: &str) -> Result<String> {
    let text = fs::read_to_string(guide::folder().join("who-is-it.md"))?;
    let fence = Regex::new(&format!(r"(?ms)^```\w+\n(# {}\n.*?)^```", regex::escape(name)))?;
    let found = fence.captures(&text).with_context(|| format!("the guide shows no `{name}`"))?;
    Ok(found[1].to_owned())
}

/// What the guide's reader has: an edge that lets staff in, and an application.
struct Place {
    lab: Lab,
    smtp: Smtp,
    edge: Edge,
    ca: PathBuf,
    app: Canary,
    audience: AppId,
}

impl Place {
    async fn open(lab: &Lab) -> Result<Self> {
        let smtp = Smtp::start(lab).await?;
        let edge = Edge::with_access(lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let ca = lab.write("ca.pem", &edge.ca().await?)?;
        let all = edge.run(&["admin", "application", "list", "--json"]).await?.ok()?;
        let all: serde_json::Value = serde_json::from_str(&all)?;
        let www = all.as_array().context("a list")?.iter().find(|app| app["name"] == "www").context("www")?;
        ensure!(www["hostnames"] == serde_json::json!([WWW]), "{www}");
        let audience = www["id"].as_str().context("an id")?.parse()?;
        let table = edge.run(&["admin", "application", "list"]).await?.ok()?;
        ensure!(table.contains(&format!("www   {audience}  {WWW}")), "{table}");
        Ok(Self { lab: lab.clone(), smtp, edge, ca, app: Canary::start().await?, audience })
    }

    /// Python with the packages that the guide installs, which believes the edge's CA.
    fn python(&self, script: &str) -> Result<Command> {
        let mut python = self.lab.command(tool("venv")?.join("bin/python"));
        python.arg(self.lab.write(script, &block(script)?)?);
        python.env("SSL_CERT_FILE", &self.ca).env("REQUESTS_CA_BUNDLE", &self.ca);
        python.env("AUDIENCE", self.audience.to_string());
        Ok(python)
    }

    async fn verifier(&self) -> Result<Process> {
        let mut python = self.python("verifier.py")?;
        python.env("ISSUER", format!("https://{LOGIN_HOST}"));
        let mut verifier = Process::start("verifier", python)?;
        listens(&mut verifier, VERIFIER.parse()?).await?;
        Ok(verifier)
    }

    /// What the guide shows, with the application where it is here.
    fn shown(&self, name: &str) -> Result<String> {
        let text = block(name)?;
        ensure!(text.contains(APPLICATION), "{text}");
        Ok(text.replace(APPLICATION, &self.app.address().to_string()))
    }

    /// Staff is let in by the web server of the guide, told apart by what is signed, and nobody else is.
    async fn admits_staff_alone(&self) -> Result<()> {
        let _connector = Connector::publish(&self.lab, WWW, &format!("http://{WEB}")).await?;
        let mut staff = visitor::login(&fs::read_to_string(&self.ca)?, &self.smtp, WWW, STAFF).await?;
        self.app.forget();
        let forged = [("Remote-User", "boss@example.test"), ("remote_user", "boss@example.test")];
        let reply = staff.ask("POST", &format!("https://{WWW}/page"), &forged, b"a body").await?;
        ensure!(reply.status() == 200, "{}: {}", reply.status(), reply.text());
        let head = self.app.wait_for_heads(1).await?.remove(0);
        ensure!(head.all("remote-user") == [STAFF] && head.all("remote_user").is_empty(), "{head:?}");
        ensure!((head.target(), head.body.as_slice()) == ("/page", b"a body".as_slice()), "{head:?}");
        let token = head.one("access-jwt-assertion").to_owned();
        // Past the edge.
        let door = Door::plain(WEB.parse()?);
        let ask = async |lines: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\n{lines}\r\n");
            Ok::<_, anyhow::Error>(door.ask(request.as_bytes()).await?.status)
        };
        self.app.forget();
        let field = |token: &str| format!("Access-Jwt-Assertion: {token}\r\n");
        let flipped = format!("{}{}", &token[..token.len() - 2], if token.ends_with("AA") { "BB" } else { "AA" });
        for lines in [
            String::new(),
            format!("Access-User-Email: {STAFF}\r\nRemote-User: {STAFF}\r\n"),
            field("nonsense"),
            field(&flipped),
            field(&format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).context("a body")?)),
            [field(&token), field(&token)].concat(),
        ] {
            ensure!(ask(&lines).await? == 403, "{lines}");
        }
        self.app.assert_heard_nothing("nobody was let in");
        ensure!(ask(&field(&token)).await? == 200, "what the edge signed is enough");
        Ok(())
    }
}

#[test]
fn the_verifier_and_nginx_admit_whom_the_edge_signed_for() {
    run("who-nginx", async |lab| {
        let place = Place::open(&lab).await?;
        let _verifier = place.verifier().await?;
        let root = lab.path("nginx").display().to_string();
        fs::create_dir_all(&root)?;
        let site = lab.write("nginx/application", &place.shown("sites-enabled/application")?)?;
        let config = format!(
            "daemon off; master_process off; user root; pid {root}/pid; error_log stderr info;\nevents {{}}\nhttp {{ \
             access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; \
             uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; include {}; }}\n",
            site.display()
        );
        let config = lab.write("nginx/nginx.conf", &config)?;
        let mut command = lab.command("/usr/sbin/nginx");
        command.arg("-c").arg(config);
        let mut nginx = Process::start("nginx", command)?;
        listens(&mut nginx, WEB.parse()?).await?;
        place.admits_staff_alone().await
    });
}

#[test]
fn the_verifier_and_caddy_admit_whom_the_edge_signed_for() {
    run("who-caddy", async |lab| {
        let place = Place::open(&lab).await?;
        let _verifier = place.verifier().await?;
        let file = lab.write("Caddyfile", &place.shown("Caddyfile")?)?;
        let mut command = lab.command("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        let mut caddy = Process::start("caddy", command)?;
        listens(&mut caddy, WEB.parse()?).await?;
        place.admits_staff_alone().await
    });
}

/// What verifiers for Cloudflare Access do takes an assertion for RS256, by the keys that the edge publishes for them. An
/// application says which it wants, and gets it from the next request on.
#[test]
fn the_usual_check_of_cloudflare_access_believes_rs256() {
    run("who-recipe", async |lab| {
        let place = Place::open(&lab).await?;
        let issuer = format!("https://{LOGIN_HOST}");
        let url = place.app.url();
        let _connectors = [Connector::publish(&lab, WWW, &url).await?, Connector::publish(&lab, APP, &url).await?];
        let mut staff = visitor::login(&fs::read_to_string(&place.ca)?, &place.smtp, WWW, STAFF).await?;
        staff.browse(&format!("https://{APP}/")).await?;
        let mut assertion = async |host: &str| {
            place.app.forget();
            let reply = staff.get(&format!("https://{host}/")).await?;
            ensure!(reply.status() == 200, "{}: {}", reply.status(), reply.text());
            let head = place.app.wait_for_heads(1).await?.remove(0);
            Ok::<_, anyhow::Error>(head.one("cf-access-jwt-assertion").to_owned())
        };
        let check = async |token: &str, audience: &str| {
            let mut python = place.python("recipe.py")?;
            python.env("TEAM_DOMAIN", &issuer).env("AUDIENCE", audience);
            let file = place.lab.write("token", token)?;
            finish_reading(python, fs::File::open(file)?.into()).await
        };
        let audience = place.audience.to_string();
        ensure!(check(&assertion(WWW).await?, &audience).await?.code != 0, "unless it is told, it signs by ES256");
        let plain = "policies: [staff-only]}\n  - {name: app";
        ensure!(ACCESS.contains(plain), "{ACCESS}");
        let chosen = ACCESS.replace(plain, &plain.replace('}', ", assertion: rs256}"));
        place.edge.apply(&chosen).await?;
        let (token, other) = (assertion(WWW).await?, assertion(APP).await?);
        let claims: serde_json::Value = serde_json::from_str(&check(&token, &audience).await?.ok()?)?;
        ensure!(claims["email"] == STAFF && claims["type"] == "app", "{claims}");
        let nobody = "ab".repeat(32);
        for (token, audience, because) in [
            (other.as_str(), &audience, "that of another application, by ES256,"),
            (&token, &nobody, "one for another application"),
            (&token[..99], &audience, "half of one"),
        ] {
            ensure!(check(token, audience).await?.code != 0, "{because} was believed");
        }
        // Both are believed by the keys of all kinds, by an independent implementation.
        let certs = Certs::fetch(&staff, LOGIN_HOST, &issuer).await?;
        for token in [&token, &other] {
            ensure!(certs.verify(token)?["email"] == STAFF);
        }
        place.changes_its_keys(&token, async |token: &str| check(token, &audience).await).await
    });
}

impl Place {
    /// By command, the keys change in order, or in an emergency at once; then nothing is believed that was signed before.
    async fn changes_its_keys(&self, token: &str, check: impl AsyncFn(&str) -> Result<Finished>) -> Result<()> {
        let states = async |words: &[&str]| {
            let words = [&["admin", "keys"], words, &["--json"]].concat();
            let listed: serde_json::Value = serde_json::from_str(&self.edge.run(&words).await?.ok()?)?;
            let states = listed.as_array().context("a list")?.iter();
            Ok::<_, anyhow::Error>(
                states.map(|key| key["state"].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>(),
            )
        };
        ensure!(states(&["list"]).await? == ["signing", "signing"]);
        ensure!(states(&["rotate"]).await? == ["signing", "next", "signing", "next"]);
        let again = self.edge.run(&["admin", "keys", "rotate"]).await?;
        ensure!(again.code == 1 && again.stderr.contains("on its way already"), "{}", again.said());
        check(token).await?.ok()?;
        ensure!(states(&["rotate", "--revoke-now"]).await? == ["signing", "signing"]);
        let refused = check(token).await?;
        ensure!(refused.code != 0 && refused.stderr.contains("signed by none of the keys"), "{}", refused.said());
        let audit = self.edge.run(&["admin", "audit", "-n", "50"]).await?.ok()?;
        ensure!(audit.contains("keys_rotated") && audit.contains("RS256: published no more"), "{audit}");
        Ok(())
    }
}
