//! What a remembered decision is remembered for: for nothing but exactly that under which it was made. Each test goes back and forth
//! between two circumstances that differ in one thing, so that a decision of the one would be found out if it were used for the
//! other.

use std::net::{IpAddr, SocketAddr};

use tunnel_edge::{
    Visit,
    gate::{self, Presented, Turnaway},
};
use tunnel_policy::Attributes;

use super::scene::{HERE, Person, Scene};

const WWW: &str = "www.example.com";
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

fn access(rules: &str, applications: &str) -> String {
    format!(
        "login_methods:\n  - {{name: pin, type: one_time_pin}}\npolicies:\n  - {{name: staff, action: allow, {rules}}}\n  - {{name: admins, action: allow, include: [{{email: ann@example.com}}]}}\napplications:\n{applications}"
    )
}

const STAFF: &str = "include: [{email_domain: example.com}]";
const APP: &str = "  - {name: www, hostnames: [www.example.com], policies: [staff]}\n";

/// What is said there and there, and again.
fn back_and_forth(one: impl Fn() -> bool, other: impl Fn() -> bool) {
    for time in 0..3 {
        assert!(one(), "admitted, {time}");
        assert!(!other(), "not admitted, {time}");
    }
}

fn admits(scene: &Scene, person: &Person, visit: &Visit, path: &str) -> bool {
    match scene.ask(visit, path, &Presented::Cookies, &[&person.cookie]) {
        Ok(_) => true,
        Err(Turnaway::Denied(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

// S5
#[tokio::test]
async fn a_decision_is_of_one_address() {
    let office = format!("{STAFF}, require: [{{ip: 203.0.113.0/24}}]");
    let scene = Scene::declared(&access(&office, APP)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let from = |source| admits(&scene, &ann, &Visit { source, ..scene.visit(WWW) }, "/");
    back_and_forth(|| from(HERE), || from(ELSEWHERE));
}

// S5
#[tokio::test]
async fn a_decision_is_of_one_country_though_a_newer_file_says_another_one_of_the_address() {
    let japan = format!("{STAFF}, require: [{{country: JP}}]");
    let scene = Scene::declared(&access(&japan, APP)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let from = |country| admits(&scene, &ann, &scene.visit_from(WWW, country), "/");
    back_and_forth(|| from("JP"), || from("US"));
    let unknown = || admits(&scene, &ann, &scene.visit(WWW), "/");
    back_and_forth(|| from("JP"), unknown);
}

// S5
#[tokio::test]
async fn a_decision_about_what_is_public_is_of_one_address_and_country() {
    let bypass = "policies:\n  - {name: open, action: bypass, include: [{ip: 203.0.113.0/24}], require: [{country: JP}]}\napplications:\n  - {name: www, hostnames: [www.example.com], policies: [open]}\n";
    let scene = Scene::declared(bypass).await;
    let ask = |visit: Visit| scene.ask(&visit, "/", &Presented::Cookies, &[]).is_ok();
    let japan = || ask(scene.visit_from(WWW, "JP"));
    back_and_forth(japan, || ask(scene.visit_from(WWW, "US")));
    let elsewhere = || ask(Visit { source: ELSEWHERE, ..scene.visit_from(WWW, "JP") });
    back_and_forth(japan, elsewhere);
}

// S5
#[tokio::test]
async fn a_decision_is_of_one_application() {
    let two = format!("{APP}  - {{name: admin, hostnames: [www.example.com/admin], policies: [admins]}}\n");
    let scene = Scene::declared(&access(STAFF, &two)).await;
    let bob = scene.log_in("bob@example.com", "pin", WWW, Attributes::default()).await;
    let at = |path| admits(&scene, &bob, &scene.visit(WWW), path);
    back_and_forth(|| at("/"), || at("/admin/x"));
}

// S5
#[tokio::test]
async fn a_decision_is_of_one_session() {
    let app = APP.replace("staff", "admins");
    let scene = Scene::declared(&access(STAFF, &app)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let bob = scene.log_in("bob@example.com", "pin", WWW, Attributes::default()).await;
    let of = |person| admits(&scene, person, &scene.visit(WWW), "/");
    back_and_forth(|| of(&ann), || of(&bob));
}

// S5
#[tokio::test]
async fn a_decision_is_of_one_revision() {
    let mut scene = Scene::declared(&access(STAFF, APP)).await;
    let bob = scene.log_in("bob@example.com", "pin", WWW, Attributes::default()).await;
    for _ in 0..3 {
        assert!(admits(&scene, &bob, &scene.visit(WWW), "/"));
        scene.change(|declared| declared.applications[0].policies = vec!["admins".parse().unwrap()]).await;
        assert!(!admits(&scene, &bob, &scene.visit(WWW), "/"));
        scene.change(|declared| declared.applications[0].policies = vec!["staff".parse().unwrap()]).await;
    }
}

// S5
#[tokio::test]
async fn a_decision_about_a_stream_is_of_one_destination() {
    let inside = format!("{STAFF}, destinations: [\"10.0.0.0/8:22\"]");
    let scene = Scene::declared(&access(&inside, APP)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let token = scene.token(&ann).await;
    let permit = gate::admit_credential(scene.gate(), &scene.visit(WWW), &Presented::ClientToken(token)).ok().unwrap();
    let to = |to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        gate::admit_stream(scene.gate(), &scene.visit(WWW), permit.holder(), Some(to)).is_ok()
    };
    back_and_forth(|| to("10.1.2.3:22"), || to("192.168.1.1:22"));
    back_and_forth(|| to("10.1.2.3:22"), || to("10.1.2.3:23"));
}
