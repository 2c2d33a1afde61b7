//! What a provider can make the edge ask, follow, read and wait for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::future::try_join_all;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tunnel_tests::{
    Door, Hostile, Stage,
    hostile::{ATTACKER, DISCOVERY, Forge, Instead, JWKS, Place, TOKEN, USERINFO, Ways},
    html::words,
    loopback::{encoded, value_of},
    process::finish,
    provider::callback,
    run,
    stage::{APP, WWW},
};

use super::{
    CLIENT, DEEP, HERE, access, assert_arrived, assert_failed, choose, declared, hostile, links, logged_in, method,
    oidc, set, stranger,
};

/// The longest that somebody waits for a page.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where nobody may be led.
const ELSEWHERE: &str = "http://127.0.0.1:13999";

/// A provider's misbehaviour by name.
type Case = (&'static str, fn(&mut Ways));

/// Tokens without an address, so that userinfo has to be asked.
fn bare(ways: &mut Ways) {
    ways.forge(|forge: &Forge| forge.without("email"));
}

fn redirected(ways: &mut Ways, path: &'static str) {
    ways.answer(path, Instead::Redirect(format!("{ELSEWHERE}{path}")));
}

/// The whole of one document as something else.
fn document(ways: &mut Ways, value: Value) {
    ways.change(DISCOVERY, move |document| *document = value.clone());
}

/// One member of the discovery document as something else.
fn member(ways: &mut Ways, name: &'static str, value: Value) {
    ways.change(DISCOVERY, move |document| document[name] = value.clone());
}

/// O7: answers that lead elsewhere. Nothing is followed: not with the secret, nor with a code, nor with a token.
const REDIRECTS: &[Case] = &[
    ("discovery", |ways| redirected(ways, DISCOVERY)),
    ("keys", |ways| redirected(ways, JWKS)),
    ("token", |ways| redirected(ways, TOKEN)),
    ("userinfo", |ways| {
        bare(ways);
        redirected(ways, USERINFO);
    }),
];

/// O7: answers of more than 1 MiB, and of no end.
const SIZES: &[Case] = &[
    ("big-discovery", |ways| ways.answer(DISCOVERY, Instead::Padded(1 << 20))),
    ("big-keys", |ways| ways.answer(JWKS, Instead::Padded(1 << 20))),
    ("big-token", |ways| ways.answer(TOKEN, Instead::Padded(1 << 20))),
    ("big-userinfo", |ways| {
        bare(ways);
        ways.answer(USERINFO, Instead::Padded(1 << 20));
    }),
    ("endless-discovery", |ways| ways.answer(DISCOVERY, Instead::Endless)),
    ("endless-keys", |ways| ways.answer(JWKS, Instead::Endless)),
    ("endless-token", |ways| ways.answer(TOKEN, Instead::Endless)),
    ("drip-discovery", |ways| ways.answer(DISCOVERY, Instead::Drip)),
    ("drip-keys", |ways| ways.answer(JWKS, Instead::Drip)),
    ("drip-token", |ways| ways.answer(TOKEN, Instead::Drip)),
    ("silent-discovery", |ways| ways.answer(DISCOVERY, Instead::Silence)),
    ("silent-keys", |ways| ways.answer(JWKS, Instead::Silence)),
    ("silent-token", |ways| ways.answer(TOKEN, Instead::Silence)),
    ("silent-userinfo", |ways| {
        bare(ways);
        ways.answer(USERINFO, Instead::Silence);
    }),
];

/// Documents about somebody else, or about nothing.
const DOCUMENTS: &[Case] = &[
    ("other-issuer", |ways| member(ways, "issuer", json!("https://accounts.google.com"))),
    ("issuer-slash", |ways| {
        ways.change(DISCOVERY, |document| {
            document["issuer"] = json!(format!("{}/", document["issuer"].as_str().unwrap_or_default()));
        });
    }),
    ("issuer-list", |ways| ways.change(DISCOVERY, |document| document["issuer"] = json!([document["issuer"]]))),
    ("no-issuer", |ways| member(ways, "issuer", Value::Null)),
    ("no-token-endpoint", |ways| member(ways, "token_endpoint", Value::Null)),
    ("no-keys-address", |ways| member(ways, "jwks_uri", Value::Null)),
    ("script", |ways| member(ways, "authorization_endpoint", json!("javascript:alert(1)"))),
    ("data", |ways| member(ways, "authorization_endpoint", json!("data:text/html,<script>alert(1)</script>"))),
    ("file", |ways| member(ways, "jwks_uri", json!("file:///etc/passwd"))),
    ("relative", |ways| member(ways, "authorization_endpoint", json!("//evil.test/authorize"))),
    ("line", |ways| {
        ways.change(DISCOVERY, |document| {
            let address = document["authorization_endpoint"].as_str().unwrap_or_default();
            document["authorization_endpoint"] = json!(format!("{address}\r\nSet-Cookie: __Host-access=x"));
        });
    }),
    ("user", |ways| member(ways, "token_endpoint", json!("http://user:word@127.0.0.1:13999/token"))),
    ("no-code", |ways| member(ways, "response_types_supported", json!(["id_token"]))),
    ("plain-only", |ways| member(ways, "code_challenge_methods_supported", json!(["plain"]))),
    ("a-list", |ways| document(ways, json!([]))),
    ("nothing", |ways| document(ways, Value::Null)),
    ("html", |ways| ways.answer(DISCOVERY, Instead::Status(200, "<html>welcome</html>".into()))),
    ("not-found", |ways| ways.answer(DISCOVERY, Instead::Status(404, "no".into()))),
    ("broken", |ways| ways.answer(DISCOVERY, Instead::Status(500, "no".into()))),
    ("no-keys", |ways| ways.change(JWKS, |keys| keys["keys"] = json!([]))),
    ("keys-null", |ways| ways.change(JWKS, |keys| *keys = Value::Null)),
    ("keys-html", |ways| ways.answer(JWKS, Instead::Status(200, "<html>".into()))),
    ("keys-broken", |ways| ways.answer(JWKS, Instead::Status(503, "{}".into()))),
    ("token-broken", |ways| ways.answer(TOKEN, Instead::Status(500, "{}".into()))),
    ("token-html", |ways| ways.answer(TOKEN, Instead::Status(200, "<html>".into()))),
];

#[test]
fn a_provider_that_leads_elsewhere_is_not_followed() {
    run("redirects", async |lab| {
        let elsewhere = hostile(13999, "elsewhere").await?;
        let (stage, providers) = scene(&lab, REDIRECTS).await?;
        all_fail(&stage, &providers).await?;
        assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
        Ok(())
    });
}

#[test]
fn answers_that_are_too_long_or_never_come_are_given_up() {
    run("sizes", async |lab| {
        let (stage, providers) = scene(&lab, SIZES).await?;
        let before = stage.edge.process.rss_kib()?;
        all_fail(&stage, &providers).await?;
        let grown = stage.edge.process.peak_rss_kib()?.saturating_sub(before);
        assert!(grown < 64 * 1024, "the edge kept {grown} KiB of what nobody needs");
        Ok(())
    });
}

#[test]
fn a_provider_whose_documents_make_no_sense_logs_nobody_in() {
    run("documents", async |lab| {
        let elsewhere = hostile(13999, "elsewhere").await?;
        let (stage, providers) = scene(&lab, DOCUMENTS).await?;
        all_fail(&stage, &providers).await?;
        assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
        // It is the documents: the same providers log people in as soon as they mend.
        // Keys that made no sense may have to wait: those that are not known are looked for once a minute.
        for (name, provider) in providers.iter().filter(|(name, _)| !name.contains("keys")) {
            provider.repent();
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let reply = choose(&mut visitor, &page, name).await?;
            super::retry_until(&mut visitor, &reply, name, DEEP).await?;
        }
        Ok(())
    });
}

/// O7: an address that a token names is asked nothing: groups that are told elsewhere are asked about at the declared place,
/// and only there is the person's token shown.
#[test]
fn an_address_in_a_token_is_not_asked() {
    run("claim-sources", async |lab| {
        let tenant = super::journeys::TENANT;
        let place = Place { path: format!("/{tenant}/v2.0"), ..Place::plain(([127, 0, 0, 1], 13000).into()) };
        let provider = Hostile::at(place, "good", CLIENT).await?;
        let graph = hostile(13001, "graph").await?;
        let stage = set(&lab, &access(&[super::journeys::entra_method(&lab)?])).await?;
        let attacker = format!("{}{ATTACKER}", provider.issuer());
        let named = json!({"tid": tenant, "_claim_names": {"groups": "src1", "email": "src2"}, "_claim_sources": {
            "src1": {"endpoint": format!("{attacker}/groups"), "access_token": "x"},
            "src2": {"JWT": "x.y.z", "endpoint": format!("{attacker}/email")},
        }});
        provider.behave(|ways| ways.say(&named.to_string()));
        let mut visitor = stranger(&stage)?;
        let reply = visitor.browse(DEEP).await?;
        // This one knows no groups.
        assert_failed(&visitor, &reply, &[502, 503], "entra");
        let lured: Vec<_> = provider.asked().into_iter().filter(|asked| asked.path.contains(ATTACKER)).collect();
        assert!(lured.is_empty(), "{lured:?}");
        let asked = graph.asked();
        assert!(asked.iter().all(|asked| asked.path == "/v1.0/me/getMemberObjects"), "{asked:?}");
        assert!(!asked.is_empty() && asked.iter().all(|asked| asked.bearer().is_some()), "{asked:?}");
        Ok(())
    });
}

/// O7: without the flag no private address is connected to, however it is written, and no plain HTTP is spoken.
#[test]
fn a_private_address_is_not_connected_to_unless_somebody_said_so() {
    run("private", async |lab| {
        let plain = hostile(13000, "plain").await?;
        let knocks = Arc::new(AtomicUsize::new(0));
        let mut doors = Vec::new();
        for address in
            ["127.0.0.1:13443", "[::1]:13443", "127.0.0.2:443", "10.1.2.3:443", "169.254.169.254:443", "[fd00::1]:443"]
        {
            let address: std::net::SocketAddr = address.parse()?;
            if !address.ip().is_loopback() {
                let mask = if address.is_ipv4() { 32 } else { 128 };
                lab.net().ip(&["addr", "add", &format!("{}/{mask}", address.ip()), "dev", "lo"])?;
            }
            let (listener, knocks) = (TcpListener::bind(address).await?, knocks.clone());
            doors.push(tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    knocks.fetch_add(1, Relaxed);
                }
            }));
        }
        let issuers = [
            "https://127.0.0.1:13443",
            "https://127.0.0.2",
            "https://[::1]:13443",
            "https://[::ffff:127.0.0.1]:13443",
            "https://[::ffff:7f00:1]:13443",
            "https://localhost:13443",
            "https://id.localhost:13443",
            "https://db.example.test:13443",
            "https://2130706433:13443",
            "https://0x7f000001:13443",
            "https://0177.0.0.1:13443",
            "https://127.1:13443",
            "https://0.0.0.0:13443",
            "https://10.1.2.3",
            "https://169.254.169.254",
            "https://[fd00::1]",
            "http://127.0.0.1:13000",
        ];
        let stage = set(&lab, &access(&[oidc(&lab, "hostile", plain.issuer())?])).await?;
        let mut used = 0;
        for (number, issuer) in issuers.iter().enumerate() {
            let name = format!("case-{number}");
            let written = access(&[method(&lab, &name, "oidc", &format!("issuer: \"{issuer}\""))?]);
            let file = lab.write(
                "private.yaml",
                &written.replace("name: www,", &format!("name: www, login_methods: [{name}],")),
            )?;
            let applied = stage.edge.run(&["apply", "-f", &file.to_string_lossy()]).await?;
            if applied.code == 0 {
                used += 1;
                let mut visitor = stranger(&stage)?;
                let reply = visitor.browse(DEEP).await?;
                assert_failed(&visitor, &reply, &[500, 502, 503], &name);
                assert!(!reply.text().contains("127.0.0.1"), "nothing internal is told: {}", words(&reply.text()));
            } else {
                assert!(applied.said().contains("danger_allow_private_address"), "{issuer}: {}", applied.said());
            }
            assert_eq!(knocks.load(Relaxed), 0, "{issuer}");
        }
        assert!(plain.asked().is_empty(), "{:?}", plain.asked());
        assert!(used >= 3, "a name that leads to a private address is found out when it is used: {used}");
        // The control: with the flag somebody knocks.
        let flagged =
            access(&[method(&lab, "flagged", "oidc", &format!("issuer: \"https://127.0.0.1:13443\", {HERE}"))?]);
        stage.edge.apply(&flagged.replace("name: www,", "name: www, login_methods: [flagged],")).await?;
        let mut visitor = stranger(&stage)?;
        let reply = visitor.browse(DEEP).await?;
        assert_failed(&visitor, &reply, &[500, 502, 503], "flagged");
        assert!(knocks.load(Relaxed) > 0);
        doors.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(())
    });
}

/// The same with a provider in the world, by HTTPS, without the flag: it is asked, and cannot send the edge to private
/// addresses by what it says about itself.
#[test]
fn a_provider_in_the_world_is_asked_and_leads_to_no_private_address() {
    run("world", async |lab| {
        lab.net().ip(&["addr", "add", "203.0.113.10/32", "dev", "lo"])?;
        let place = Place {
            address: "203.0.113.10:443".parse()?,
            base: "https://203.0.113.10".into(),
            path: String::new(),
            tls: Some(certificates(&lab).await?),
        };
        let provider = Hostile::at(place, "world", CLIENT).await?;
        let inside = hostile(13999, "inside").await?;
        let more = format!("issuer: \"{}\", ca: {{file: {:?}}}", provider.issuer(), lab.path("world-ca.pem"));
        let written = access(&[method(&lab, "world", "oidc", &more)?]);
        // The control, without which nothing below would mean anything: a whole login.
        let mut stage = set(&lab, &written).await?;
        let door = Door::tls(
            "203.0.113.10:443".parse()?,
            &std::fs::read_to_string(lab.path("world-ca.pem"))?,
            "203.0.113.10",
            &[],
        )?;
        let come_back = async |stage: &Stage| {
            let mut visitor = stranger(stage)?;
            let reply = visitor.get(DEEP).await?;
            let (end, next) = visitor.follow_to(reply, provider.issuer()).await?;
            // Found out before anybody was sent there, perhaps.
            let Some(url) = next else { return anyhow::Ok((visitor, end)) };
            let target = url.trim_start_matches(provider.issuer());
            let request = format!("GET {target} HTTP/1.1\r\nHost: 203.0.113.10\r\nConnection: close\r\n\r\n");
            let answer = door.ask(request.as_bytes()).await?;
            let reply = visitor.get(answer.header("location").unwrap_or_default()).await?;
            let reply = visitor.follow(reply).await?;
            Ok((visitor, reply))
        };
        let (_, reply) = come_back(&stage).await?;
        assert_arrived(&reply, DEEP);
        for (name, scheme, host) in [
            ("token_endpoint", "http", "127.0.0.1"),
            ("token_endpoint", "https", "127.0.0.1"),
            ("jwks_uri", "http", "127.0.0.1"),
            ("jwks_uri", "https", "localhost"),
            ("jwks_uri", "https", "db.example.test"),
            ("userinfo_endpoint", "https", "127.0.0.1"),
        ] {
            provider.repent();
            provider.behave(bare);
            let address = format!("{scheme}://{host}:13999/x");
            provider.behave(|ways| member(ways, name, json!(address)));
            // An edge that has not read the document before.
            stage.edge = stage.edge.restart().await?;
            let (visitor, reply) = come_back(&stage).await?;
            assert!((400..600).contains(&reply.status()), "{name} at {address}: {}", words(&reply.text()));
            assert!(!logged_in(&visitor), "{name} at {address}");
            assert!(inside.asked().is_empty(), "{name} at {address}");
        }
        Ok(())
    });
}

/// A certificate for 203.0.113.10, and beside it, as `world-ca.pem`, who vouches for it.
async fn certificates(lab: &tunnel_tests::Lab) -> Result<Arc<ServerConfig>> {
    lab.write("world.ext", "subjectAltName=IP:203.0.113.10\n")?;
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let authority = ["req", "-x509", "-subj", "/CN=World", "-keyout", "world-ca.key", "-out", "world-ca.pem"];
    let request = ["req", "-new", "-subj", "/CN=id", "-keyout", "world.key", "-out", "world.csr"];
    let sign = ["x509", "-req", "-in", "world.csr", "-CA", "world-ca.pem", "-CAkey", "world-ca.key", "-CAcreateserial"];
    let rest = ["-days", "2", "-extfile", "world.ext", "-out", "world.pem"];
    for arguments in [[&authority[..], &key].concat(), [&request[..], &key[..5]].concat(), [&sign[..], &rest].concat()]
    {
        let mut openssl = lab.command("openssl");
        openssl.args(arguments);
        finish(openssl).await?.ok()?;
    }
    let chain = vec![CertificateDer::from_pem_file(lab.path("world.pem"))?];
    let key = PrivateKeyDer::from_pem_file(lab.path("world.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_no_client_auth().with_single_cert(chain, key)?))
}

/// Nothing but the declared GitHub is asked, either: a private address needs the flag there, too.
#[test]
fn a_private_github_is_not_connected_to_unless_somebody_said_so() {
    run("private-github", async |lab| {
        let github = tunnel_tests::GitHub::start("127.0.0.1:13002".parse()?, CLIENT).await?;
        let good = hostile(13000, "good").await?;
        let stage = set(&lab, &access(&[oidc(&lab, "hostile", good.issuer())?])).await?;
        let addresses = format!(
            "authority: \"https://db.example.test:13002\", api: \"https://db.example.test:13002{}\"",
            tunnel_tests::github::API
        );
        let written = declared(
            &[method(&lab, "github", "github", &addresses)?],
            "",
            &[("www", "github", "staff-only"), ("app", "", "staff-only")],
        );
        let file = lab.write("github.yaml", &written)?;
        let applied = stage.edge.run(&["apply", "-f", &file.to_string_lossy()]).await?;
        if applied.code == 0 {
            let mut visitor = stranger(&stage)?;
            let reply = visitor.get(DEEP).await?;
            let at = "https://db.example.test:13002/login/oauth/authorize";
            let (mut reply, next) = visitor.follow_to(reply, at).await?;
            // Found out at once, or when somebody comes back.
            if let Some(url) = next {
                let state = value_of(url.split_once('?').unwrap().1, "state").unwrap();
                let pairs = [("code", "x".to_owned()), ("state", state)];
                reply = visitor.get(&format!("{}?{}", callback("github"), encoded(&pairs))).await?;
            }
            assert_failed(&visitor, &reply, &[500, 502, 503], "github");
        }
        assert!(github.asked().is_empty());
        Ok(())
    });
}

/// One provider for each case, which behaves so, and an edge that has them all as methods.
async fn scene(lab: &tunnel_tests::Lab, cases: &[Case]) -> Result<(Stage, Vec<(&'static str, Hostile)>)> {
    let (mut methods, mut providers) = (Vec::new(), Vec::new());
    for (number, (name, behave)) in cases.iter().enumerate() {
        let provider = hostile(13100 + u16::try_from(number)?, name).await?;
        provider.behave(behave);
        methods.push(oidc(lab, name, provider.issuer())?);
        providers.push((*name, provider));
    }
    Ok((set(lab, &access(&methods)).await?, providers))
}

/// Everybody at once, each by another method: a page in time, which names the method; nobody is logged in.
async fn all_fail(stage: &Stage, providers: &[(&'static str, Hostile)]) -> Result<()> {
    let tries = providers.iter().map(async |(name, _)| {
        let mut visitor = stranger(stage)?;
        let page = visitor.browse(DEEP).await?;
        let begun = Instant::now();
        let reply = choose(&mut visitor, &page, name).await?;
        anyhow::Ok((*name, visitor, reply, begun.elapsed()))
    });
    for (name, visitor, reply, time) in try_join_all(tries).await? {
        let said = words(&reply.text());
        assert!((400..600).contains(&reply.status()), "{name}: {} at {}: {said}", reply.status(), reply.url);
        assert_failed(&visitor, &reply, &[reply.status()], name);
        assert!(!links(&reply).is_empty() && !logged_in(&visitor), "{name}: {said}");
        assert!(time < PATIENCE, "{name}: {time:?}");
        assert!(visitor.session(WWW).is_err() && visitor.session(APP).is_err());
    }
    stage.assert_silence("nobody is logged in");
    Ok(())
}
