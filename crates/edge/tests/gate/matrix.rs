//! S1, S1b: every kind of credential for every application, at every door: nothing works but where it belongs.

use tunnel_auth::{Algorithm, AssertionClaims, SigningKey};
use tunnel_edge::gate::{self, Presented};
use tunnel_policy::Attributes;

use super::scene::{Person, Scene};

const HOSTS: [&str; 4] = ["a.example.com", "b.example.com", "c.example.com", "m.example.com"];
const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
  - {name: other, type: one_time_pin}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.com}]}
  - {name: by-pin, action: allow, include: [{email_domain: example.com}], require: [{login_method: pin}]}
  - {name: machines, action: service_auth, include: [any_service_token]}
applications:
  - {name: a, hostnames: [a.example.com], policies: [staff]}
  - {name: b, hostnames: [b.example.com], policies: [by-pin], login_methods: [pin]}
  - {name: c, hostnames: [c.example.com], policies: [staff, machines]}
  - {name: m, hostnames: [m.example.com], policies: [machines]}
";

/// A credential, and the hosts at which it is good.
struct Case {
    name: String,
    presented: Presented,
    cookies: Vec<String>,
    good: Vec<&'static str>,
}

async fn cases(scene: &mut Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    let (id, secret) = scene.machine("robot").await;
    let mut people: Vec<(&str, &'static str, Person)> = Vec::new();
    for method in ["pin", "other"] {
        for host in HOSTS {
            people.push((method, host, scene.log_in("ann@example.com", method, host, Attributes::default()).await));
        }
    }
    for (method, host, person) in &people {
        let good = match (*method, *host) {
            (_, "m.example.com") | ("other", "b.example.com") => vec![],
            (_, host) => vec![host],
        };
        let case = |name: &str, presented, cookies, good| Case {
            name: format!("{name} of {host} by {method}"),
            presented,
            cookies,
            good,
        };
        cases.push(case("cookie", Presented::Cookies, vec![person.cookie.clone()], good.clone()));
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
            good,
        ));
        let secret = secret.clone().into();
        let service = Presented::ServiceToken { id: text, secret };
        cases.push(case("client token as a service token's id", service, vec![person.cookie.clone()], vec![]));
        cases.push(case("the hash of a session", Presented::Cookies, vec![data_encoding(&person.session.id)], vec![]));
        cases.push(case("the login's own hash", Presented::Cookies, vec![data_encoding(&person.login.id)], vec![]));
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
    let service =
        |id: &str, secret: &str| Presented::ServiceToken { id: id.to_owned(), secret: secret.to_owned().into() };
    let case = |name: &str, presented, good| Case { name: name.to_owned(), presented, cookies: vec![], good };
    cases.push(case("service token", service(&id, &secret), vec!["c.example.com", "m.example.com"]));
    cases.push(case("service token with another secret", service(&id, &secret.replace(['a', 'b', 'c'], "d")), vec![]));
    cases.push(case("service token with the secret cut", service(&id, &secret[..secret.len() - 1]), vec![]));
    cases.push(case("service token with the secret longer", service(&id, &format!("{secret}0")), vec![]));
    cases.push(case("service token's secret as client token", Presented::client_token(&secret), vec![]));
    cases.push(case("nothing", Presented::Cookies, vec![]));
    cases.push(case("what cannot be one", Presented::Malformed, vec![]));
    cases
}

fn data_encoding(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_credential_works_where_it_belongs_and_nowhere_else() {
    let mut scene = Scene::declared(ACCESS).await;
    let cases = cases(&mut scene).await;
    let mut cells = 0;
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
        }
        // Nobody gets anywhere by a credential at the place where people log in.
        let login_host = scene.visit("access.example.com");
        assert!(scene.ask(&login_host, "/", presented, &cookies).is_err(), "{name} at the login host");
        // S8, S5: nor when its time is over.
    }
    assert!(cells > 500, "{cells} cells");
    scene.pass(86_400);
    for Case { name, presented, cookies, .. } in &cases {
        let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
        for host in HOSTS {
            assert!(scene.ask(&scene.visit(host), "/", presented, &cookies).is_err(), "{name} at {host} a day later");
        }
    }
}
