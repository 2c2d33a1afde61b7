//! S1, S1b: every kind of credential for every application, at every door: nothing works but where it belongs.

mod others;

use tunnel_auth::{Algorithm, AssertionClaims, SigningKey};
use tunnel_edge::{
    gate::{self, Presented},
    store::{GithubMethod, ISSUER_INVITED, ISSUER_MAILBOX, LoginMethod, LoginMethodKind, SealedSecret},
};
use tunnel_policy::Attributes;

use super::{
    methods::{OTHERS, PARTNERS, partners},
    scene::{Person, Scene},
};

const HOSTS: [&str; 7] = [
    "a.example.com",
    "b.example.com",
    "c.example.com",
    "g.example.com",
    "k.example.com",
    "m.example.com",
    "o.example.com",
];
const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
  - {name: other, type: one_time_pin}
  - {name: passkey, type: passkey}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.com}]}
  - {name: by-pin, action: allow, include: [{email_domain: example.com}], require: [{login_method: pin}]}
  - {name: by-passkey, action: allow, include: [{email_domain: example.com}], require: [{login_method: passkey}]}
  - {name: machines, action: service_auth, include: [any_service_token]}
applications:
  - {name: a, hostnames: [a.example.com], policies: [staff]}
  - {name: b, hostnames: [b.example.com], policies: [by-pin], login_methods: [pin]}
  - {name: c, hostnames: [c.example.com], policies: [staff, machines]}
  - {name: g, hostnames: [g.example.com], policies: [staff]}
  - {name: k, hostnames: [k.example.com], policies: [by-passkey]}
  - {name: m, hostnames: [m.example.com], policies: [machines]}
  - {name: o, hostnames: [o.example.com], policies: [staff]}
";
const GITHUB: &str = "https://github.com";

/// How somebody may have logged in: the method, who vouched, and whether that counts.
const LOGINS: [(&str, &str, bool); 10] = [
    ("pin", ISSUER_MAILBOX, true),
    ("other", ISSUER_MAILBOX, true),
    ("passkey", ISSUER_INVITED, true),
    ("passkey", PARTNERS, true),
    ("partners", PARTNERS, true),
    ("github", GITHUB, true),
    // For whom nobody vouches any more, or not by this method.
    ("passkey", OTHERS, false),
    ("partners", OTHERS, false),
    ("partners", GITHUB, false),
    ("github", PARTNERS, false),
];

/// Whether an application lets in whoever logged in by a method.
fn takes(host: &str, method: &str) -> bool {
    match host {
        "b.example.com" => method == "pin",
        "g.example.com" => method == "github",
        "k.example.com" => method == "passkey",
        "m.example.com" => false,
        "o.example.com" => method == "partners",
        _ => true,
    }
}

/// A credential, and the hosts at which it is good.
struct Case {
    name: String,
    presented: Presented,
    cookies: Vec<String>,
    good: Vec<&'static str>,
}

/// The applications, of which `o` takes one provider's people only and `g` only GitHub's.
async fn scene() -> Scene {
    let mut scene = Scene::declared(ACCESS).await;
    let github = GithubMethod {
        client_id: "edge".to_owned(),
        client_secret: SealedSecret(vec![]),
        authority: GITHUB.to_owned(),
        api: "https://api.github.com".to_owned(),
        private_address: false,
        ca: None,
    };
    let github = LoginMethod { name: "github".parse().unwrap(), kind: LoginMethodKind::Github(Box::new(github)) };
    scene
        .change(|declared| {
            declared.login_methods.extend([partners(PARTNERS), github]);
            for app in &mut declared.applications {
                match app.name.as_str() {
                    "g" => app.login_methods = vec!["github".parse().unwrap()],
                    "o" => app.login_methods = vec!["partners".parse().unwrap()],
                    _ => {}
                }
            }
        })
        .await;
    scene
}

fn service(id: &str, secret: &str) -> Presented {
    Presented::ServiceToken { id: id.to_owned(), secret: secret.to_owned().into() }
}

async fn cases(scene: &mut Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    let (id, secret) = scene.machine("robot").await;
    let mut people: Vec<(String, Vec<&'static str>, &'static str, Person)> = Vec::new();
    for (method, issuer, counts) in LOGINS {
        for host in HOSTS {
            let good = if counts && takes(host, method) { vec![host] } else { vec![] };
            let person = scene.vouched("ann@example.com", (method, issuer), host, Attributes::default()).await;
            people.push((format!("{host} by {method} of {issuer}"), good, host, person));
        }
    }
    for (whose, good, host, person) in &people {
        let case = |name: &str, presented, cookies, good| Case {
            name: format!("{name} of {whose}"),
            presented,
            cookies,
            good,
        };
        cases.push(case("cookie", Presented::Cookies, vec![person.cookie.clone()], good.clone()));
        cases.push(case("the login's cookie", Presented::Cookies, vec![person.login_cookie.clone()], vec![]));
        cases.push(case("the login's as client token", Presented::client_token(&person.login_cookie), vec![], vec![]));
        let token = scene.token(person).await;
        let text = token.reveal().to_string();
        cases.push(case("client token", Presented::client_token(&text), vec![], good.clone()));
        // In each other's place, and beside a good one.
        cases.push(case("client token as cookie", Presented::Cookies, vec![text.clone()], vec![]));
        cases.push(case("cookie as client token", Presented::client_token(&person.cookie), vec![], vec![]));
        cases.push(case(
            "client token beside a cookie",
            Presented::client_token(&text),
            vec![person.cookie.clone()],
            good.clone(),
        ));
        let as_id = service(&text, &secret);
        cases.push(case("client token as a service token's id", as_id, vec![person.cookie.clone()], vec![]));
        let as_secret = service(&id, &person.cookie);
        cases.push(case("cookie as a service token's secret", as_secret, vec![person.cookie.clone()], vec![]));
        cases.push(case("the hash of a session", Presented::Cookies, vec![hex(&person.session.id)], vec![]));
        cases.push(case("the login's own hash", Presented::Cookies, vec![hex(&person.login.id)], vec![]));
        // An assertion, as the service there gets it.
        let (key, _) = SigningKey::generate(Algorithm::Es256).unwrap();
        let app =
            scene.snapshot.policies.applications().find(|app| format!("{}.example.com", app.name) == *host).unwrap();
        let identity = &person.session.identity;
        let claims = AssertionClaims::new(
            "https://access.example.com",
            app.id,
            identity.person,
            identity.email.clone(),
            "n",
            scene.now(),
        );
        let assertion = key.sign(&claims).unwrap();
        cases.push(case("assertion as cookie", Presented::Cookies, vec![assertion.clone()], vec![]));
        cases.push(case("assertion as client token", Presented::client_token(&assertion), vec![], vec![]));
    }
    let case = |name: &str, presented, good| Case { name: name.to_owned(), presented, cookies: vec![], good };
    cases.push(case("service token", service(&id, &secret), vec!["c.example.com", "m.example.com"]));
    cases.push(case("service token with another secret", service(&id, &secret.replace(['a', 'b', 'c'], "d")), vec![]));
    cases.push(case("service token with the secret cut", service(&id, &secret[..secret.len() - 1]), vec![]));
    cases.push(case("service token with the secret longer", service(&id, &format!("{secret}0")), vec![]));
    cases.push(case("service token's secret as client token", Presented::client_token(&secret), vec![]));
    cases.push(case("nothing", Presented::Cookies, vec![]));
    cases.push(case("what cannot be one", Presented::Malformed, vec![]));
    // What is good for something else, wherever a credential may be put.
    let (_, _, _, ann) = &people[0];
    for (name, text) in others::all(scene, ann).await {
        let case = |place: &str, presented, cookies| Case {
            name: format!("{name} {place}"),
            presented,
            cookies,
            good: vec![],
        };
        cases.push(case("as cookie", Presented::Cookies, vec![text.clone()]));
        cases.push(case("as client token", Presented::client_token(&text), vec![]));
        cases.push(case("as client token and cookie", Presented::client_token(&text), vec![text.clone()]));
        cases.push(case("as a service token's id", service(&text, &secret), vec![]));
        cases.push(case("as a service token's secret", service(&id, &text), vec![]));
    }
    cases
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

// S1, S1b, S5, S8
#[tokio::test]
async fn a_credential_works_where_it_belongs_and_nowhere_else() {
    let mut scene = scene().await;
    let cases = cases(&mut scene).await;
    let (mut cells, mut open) = (0, 0);
    for Case { name, presented, cookies, good } in &cases {
        let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
        for host in HOSTS {
            let visit = scene.visit(host);
            let admitted = scene.ask(&visit, "/", presented, &cookies).is_ok();
            assert_eq!(admitted, good.contains(&host), "{name} at {host}, by request");
            // The door to streams takes no cookie.
            let by_stream = good.contains(&host) && !matches!(presented, Presented::Cookies);
            let admitted = gate::admit_credential(scene.gate(), &visit, presented).is_ok();
            assert_eq!(admitted, by_stream, "{name} at {host}, by stream");
            cells += 2;
            open += usize::from(good.contains(&host));
        }
        // Nobody gets anywhere by a credential at the place where people log in.
        let login_host = scene.visit("access.example.com");
        assert!(scene.ask(&login_host, "/", presented, &cookies).is_err(), "{name} at the login host");
    }
    assert!(cells > 10_000, "{cells} cells");
    // Seventeen of the logins open the application that they are for, by three ways, and the service token opens two.
    assert_eq!(open, 17 * 3 + 2);
    // S8, S5: nor when its time is over.
    scene.pass(86_400);
    for Case { name, presented, cookies, .. } in &cases {
        let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
        for host in HOSTS {
            assert!(scene.ask(&scene.visit(host), "/", presented, &cookies).is_err(), "{name} at {host} a day later");
        }
    }
}
