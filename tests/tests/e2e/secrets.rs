//! What every program says at its most talkative, and what others on its machine can see of it, has no secret in it (A7).

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tunnel_tests::{
    Canary, Connector, Echo, Edge, EdgeConfig, Lab, PATIENCE, Process, Provider, ProviderConfig, Smtp, Visitor,
    access::{Home, approve, listening},
    html::{forms, pressed},
    provider::{Account, CLIENT_ID, CLIENT_SECRET, callback},
    run,
    stage::{APP, STAFF, WWW},
};

const DB: &str = "db.example.test";

/// What passes through without being anybody else's business.
const PASSWORD: &str = "correct-horse-battery-4711";
const BEARER: &str = "bearer-of-the-service-0815";
const COOKIE: &str = "cookie-of-the-service-2342";
const QUERY: &str = "token-in-the-query-1337";
const PAYLOAD: &str = "payload-of-a-stream-9876";

fn access(lab: &Lab, issuer: &str) -> Result<String> {
    let secret = lab.write("client-secret", &format!("{CLIENT_SECRET}\n"))?;
    Ok(format!(
        "login_methods:
  - {{name: pin, type: one_time_pin}}
  - {{name: corp, type: oidc, client_id: {CLIENT_ID}, client_secret: {{file: {secret:?}}}, issuer: \"{issuer}\", danger_allow_private_address: true}}
policies:
  - {{name: staff-only, action: allow, include: [{{email_domain: example.test}}]}}
  - {{name: machines, action: service_auth, include: [{{service_token: robot}}]}}
applications:
  - {{name: www, hostnames: [{WWW}], policies: [staff-only, machines]}}
  - {{name: app, hostnames: [{APP}], login_methods: [corp], policies: [staff-only]}}
  - {{name: db, hostnames: [{DB}], policies: [staff-only, machines]}}
"
    ))
}

/// Secrets, each with what it is.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn note(&mut self, what: &str, secret: impl Into<String>) {
        let secret = secret.into();
        assert!(secret.len() >= 8, "{what} is too short to be looked for: {secret:?}");
        self.0.push((what.to_owned(), secret));
    }

    /// A key in the forms in which bytes are written.
    fn note_key(&mut self, what: &str, key: &[u8]) {
        let list = format!("{key:?}");
        self.note(what, HEXLOWER.encode(key));
        self.note(what, BASE64.encode(key));
        self.note(what, BASE64URL_NOPAD.encode(key));
        self.note(what, list.trim_matches(['[', ']']));
    }

    /// The lines of the private key of a file.
    fn note_pem(&mut self, what: &str, text: &str) -> Result<()> {
        let begin = text.find("PRIVATE KEY-----\n").with_context(|| format!("{what} has no private key"))?;
        let lines = text[begin..].lines().skip(1).take_while(|line| !line.starts_with("-----"));
        for line in lines.filter(|line| line.len() > 20) {
            self.note(what, line);
        }
        Ok(())
    }

    /// A value of an address's query, as it stands there.
    fn note_query(&mut self, what: &str, address: &str, name: &str) -> Result<()> {
        let (_, query) = address.split_once('?').with_context(|| format!("no query in {address}"))?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        self.note(what, value.with_context(|| format!("no {name} in {address}"))?);
        Ok(())
    }

    fn note_jar(&mut self, whose: &str, visitor: &Visitor) {
        for (host, cookies) in &visitor.jar {
            // The language is none.
            for (name, value) in cookies.iter().filter(|(_, value)| value.len() >= 20) {
                self.note(&format!("{name} of {whose} at {host}"), value);
            }
        }
    }

    fn assert_none(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].lines().last().unwrap_or_default();
                panic!("{place} has {what}, after {line:?}");
            }
        }
    }
}

/// What others on the machine may see of a program, or find out about it as its user.
fn seen(process: &Process) -> Result<String> {
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", process.pid()));
    let (words, variables) = (read("cmdline")?, read("environ")?);
    let text = [words, variables].concat();
    ensure!(text.len() > 20, "nothing is seen of a program");
    Ok(String::from_utf8_lossy(&text).replace('\0', "\n"))
}

/// Every text of 43 characters in a JSON value: what opaque secrets look like.
fn opaque(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() == 43 => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|one| opaque(one, found)),
        Value::Object(map) => map.values().for_each(|one| opaque(one, found)),
        _ => {}
    }
}

/// A command at its most talkative.
fn talkative(mut command: tokio::process::Command) -> tokio::process::Command {
    command.env("TUNNEL_LOGLEVEL", "trace");
    command
}

/// One connection through a local port, with something in it.
async fn say(port: u16) -> Result<()> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.write_all(PAYLOAD.as_bytes()).await?;
    let mut heard = vec![0; PAYLOAD.len()];
    timeout(PATIENCE, tcp.read_exact(&mut heard)).await.context("nothing comes back")??;
    ensure!(heard == PAYLOAD.as_bytes());
    Ok(())
}

/// A7: logins of every kind, requests and streams, while every program writes all that it can; then everything that was
/// secret meanwhile is looked for.
#[test]
fn no_secret_is_in_a_log_an_argument_a_variable_or_the_record() {
    run("secrets", async |lab| {
        let mut secrets = Secrets::default();
        for (what, secret) in [
            ("a password in a body", PASSWORD),
            ("a service's own credential", BEARER),
            ("a service's own cookie", COOKIE),
            ("a query", QUERY),
            ("a stream's bytes", PAYLOAD),
            ("a client secret", CLIENT_SECRET),
        ] {
            secrets.note(what, secret);
        }
        let basic = format!("{CLIENT_ID}:{CLIENT_SECRET}");
        secrets.note("a client secret as a header", BASE64.encode(basic.as_bytes()));

        let person = json!({"email": "ann@example.test", "email_verified": true, "name": "Ann"});
        let config = ProviderConfig::new(13000, "corp").with("ann", Account::saying(&person));
        let provider = Provider::start(&lab, config).await?;
        let (smtp, www, app, echo) =
            (Smtp::start(&lab).await?, Canary::start().await?, Canary::start().await?, Echo::start().await?);
        let edge = Edge::start_as(&lab, EdgeConfig::with_mail(&smtp), talkative).await?;
        let made = edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?;
        let made: Value = serde_json::from_str(&made)?;
        let token = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        secrets.note("the secret of a service token", token("secret"));
        edge.apply(&access(&lab, provider.issuer())?).await?;
        let ca = edge.ca().await?;
        let mut connectors = Vec::new();
        for (host, url) in [(WWW, www.url()), (APP, app.url()), (DB, echo.url())] {
            let mut command = talkative(Connector::command(&lab)?);
            command.args(["--hostname", host, "--url", &url]);
            connectors.push(Connector::start(&format!("connector {host}"), command).await?);
        }

        // By a PIN, with a wrong one before it, and with somebody who gets none.
        let mut nobody = Visitor::new(&ca)?;
        nobody.ask_for_code(&format!("https://{WWW}/"), "somebody@example.org").await?;
        let mut person = Visitor::new(&ca)?;
        let page = person.ask_for_code(&format!("https://{WWW}/?t={QUERY}"), STAFF).await?;
        let pin = smtp.mail_to(STAFF, 1).await?.pin()?;
        secrets.note("a PIN", pin.as_str());
        secrets.note("a PIN in two groups", format!("{} {}", &pin[..4], &pin[4..]));
        let wrong = if pin == "11111111" { "22222222" } else { "11111111" };
        let page = person.enter_code(&page, wrong).await?;
        secrets.note_jar("a person on the way", &person);
        let reply = person.enter_code(&page, &pin).await?;
        let led = reply.leads().with_context(|| reply.text())?.to_owned();
        secrets.note_query("a hand-over code", &led, "code")?;
        ensure!(person.follow(reply).await?.status() == 200);
        person.jar.entry(WWW.into()).or_default().insert("own".into(), COOKIE.into());
        let bearer = format!("Bearer {BEARER}");
        let own = [("Authorization", bearer.as_str())];
        let posted = person.ask("POST", &format!("https://{WWW}/in?t={QUERY}"), &own, PASSWORD.as_bytes()).await?;
        ensure!(posted.status() == 200, "{}: {}", posted.status(), posted.text());
        for own in [BEARER, COOKIE, PASSWORD, QUERY] {
            ensure!(www.heard(own), "the service gets what is its own: {own}");
        }

        // At a provider.
        let mut other = Visitor::new(&ca)?;
        let page = other.browse(&format!("https://{APP}/")).await?;
        let page = match pressed(&page.text(), "method", "corp") {
            Ok(form) => {
                let reply = other.submit(&page.url, &form).await?;
                other.follow(reply).await?
            }
            Err(_) => page,
        };
        let form = pressed(&page.text(), "answer", "login").context("the provider's page")?.with("account", "ann");
        let reply = other.submit(&page.url, &form).await?;
        let back = other.leads_to(reply, &callback("corp")).await?;
        secrets.note_query("a provider's code", &back, "code")?;
        secrets.note_query("the state of a login", &back, "state")?;
        secrets.note_jar("another on the way", &other);
        ensure!(other.browse(&back).await?.status() == 200);

        // By a machine, over HTTP and by the access client; and by the access client as a person.
        let (id, secret) = (token("id"), token("secret"));
        let headers = [("cf-access-client-id", id.as_str()), ("cf-access-client-secret", secret.as_str())];
        let answer = Visitor::new(&ca)?.ask("GET", &format!("https://{WWW}/machine"), &headers, b"").await?;
        ensure!(answer.status() == 200, "{}", answer.text());
        let wrong = [headers[0], ("cf-access-client-secret", "wrong")];
        ensure!(Visitor::new(&ca)?.ask("GET", &format!("https://{WWW}/"), &wrong, b"").await?.status() == 401);
        let robot = Home::new(&lab, "robot", &ca)?;
        let file = lab.write("robot.secret", &secret)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let mut command = talkative(robot.command(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"])?);
        command.env("TUNNEL_SERVICE_TOKEN_ID", &id).env("TUNNEL_SERVICE_TOKEN_SECRET_FILE", &file);
        let mut machine = Process::start("access of a machine", command)?;
        listening(&mut machine, 7001).await?;
        say(7001).await?;
        let home = Home::new(&lab, "laptop", &ca)?;
        let command = talkative(home.command(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7002"])?);
        let mut client = Process::start("access of a person", command)?;
        listening(&mut client, 7002).await?;
        let held = tokio::spawn(say(7002));
        let url = home.sent_to(1).await?;
        let page = approve(&mut person, &smtp, &url, STAFF, None).await?;
        ensure!(page.status() == 200, "{}: {}", page.status(), page.text());
        secrets.note_query("what a program's callback is known by", &page.url, "code")?;
        held.await??;
        let kept = home.folder().join(format!(".config/tunnel/access/{DB}.json"));
        let mut tokens = Vec::new();
        opaque(&serde_json::from_str(&fs::read_to_string(&kept)?)?, &mut tokens);
        ensure!(!tokens.is_empty(), "{} has a token", kept.display());
        tokens.iter().for_each(|token| secrets.note("a client token", token.as_str()));

        // What everybody holds, and what the programs keep.
        for (whose, visitor) in [("a person", &person), ("another", &other), ("nobody", &nobody)] {
            secrets.note_jar(whose, visitor);
        }
        let master = fs::read_to_string(edge.data_dir().join("master.key"))?;
        secrets.note_key("the master key", &HEXLOWER.decode(master.trim().as_bytes())?);
        for host in [WWW, APP, DB] {
            let path = lab.path("connector/tunnels").join(host).join("credentials.pem");
            secrets.note_pem(&format!("the key of {host}"), &fs::read_to_string(path)?)?;
        }
        // R11
        let identity = person.get(&format!("https://{WWW}/.access/identity")).await?;
        ensure!(identity.text().contains(STAFF), "{}", identity.text());
        secrets.assert_none("what is said of a person", &identity.text());
        let page = person.browse(&format!("https://{WWW}/.access/logout")).await?;
        let form = forms(&page.text()).into_iter().find(|form| form.method == "post").context("a form")?;
        ensure!(person.submit(&page.url, &form).await?.status() < 400);

        assert!(secrets.0.len() > 30, "{} secrets", secrets.0.len());
        let log = edge.process.log.text();
        assert!(log.contains("DEBUG"), "the edge says much:\n{log}");
        secrets.assert_none("the edge's log", &log);
        let mut processes = vec![("the edge", &edge.process), ("a machine's client", &machine)];
        processes.push(("a person's client", &client));
        processes.extend(connectors.iter().map(|connector| ("a connector", &connector.process)));
        for (name, process) in processes {
            secrets.assert_none(&format!("the log of {name}"), &process.log.text());
            secrets.assert_none(&format!("what is seen of {name}"), &seen(process)?);
        }
        for words in [&["export"][..], &["admin", "audit", "-n", "2000", "--json"], &["admin", "session", "list"]] {
            secrets.assert_none(&words.join(" "), &edge.run(words).await?.ok()?);
        }
        Ok(())
    });
}
