//! What a bypass opens.

use tunnel_edge::gate::{Presented, Turnaway};
use tunnel_policy::Attributes;

use super::scene::Scene;

const WWW: &str = "www.example.com";
const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.com}]}
  - {name: office-is-public, action: bypass, include: [{ip: 203.0.113.0/24}]}
  - {name: public, action: bypass, include: [everyone]}
applications:
  - {name: www, hostnames: [www.example.com], policies: [staff]}
  - {name: press, hostnames: [www.example.com/press/*], policies: [public]}
  - {name: intern, hostnames: [intern.example.com], policies: [staff, office-is-public]}
";

#[tokio::test]
async fn nobody_needs_a_login_for_what_is_public_and_nobody_is_named() {
    let scene = Scene::declared(ACCESS).await;
    let visit = scene.visit(WWW);
    let permit = scene.ask(&visit, "/press/a", &Presented::Cookies, &[]).unwrap();
    assert!(permit.is_public() && permit.holder().identity().is_none());
    // Also somebody who is logged in, and somebody with a token that is good for nothing.
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    assert!(scene.opens(&ann, WWW, "/press/a").unwrap().is_public());
    assert!(scene.ask(&visit, "/press/a", &Presented::Malformed, &[]).unwrap().is_public());
    assert!(!scene.opens(&ann, WWW, "/").unwrap().is_public());
}

// H1
#[tokio::test]
async fn a_path_is_public_only_when_every_reading_of_it_is() {
    let scene = Scene::declared(ACCESS).await;
    let visit = scene.visit(WWW);
    for path in
        ["/press/../x", "/press/%2e%2e/x", "/press/..%2fx", "/press/..\\x", "/press/a/../../x", "/PRESS/a", "/press"]
    {
        let answer = scene.ask(&visit, path, &Presented::Cookies, &[]);
        assert!(matches!(answer, Err(Turnaway::Login(_))), "{path}: {:?}", answer.map(|permit| permit.is_public()));
    }
}

#[tokio::test]
async fn a_bypass_counts_only_where_its_rules_hold_and_comes_before_policies_for_people() {
    let scene = Scene::declared(ACCESS).await;
    let inside = scene.visit("intern.example.com");
    let mut outside = inside.clone();
    outside.source = [198, 51, 100, 1].into();
    let permit = scene.ask(&inside, "/", &Presented::Cookies, &[]).unwrap();
    assert!(permit.is_public());
    assert!(matches!(scene.ask(&outside, "/", &Presented::Cookies, &[]), Err(Turnaway::Login(_))));
    let ann = scene.log_in("ann@example.com", "pin", "intern.example.com", Attributes::default()).await;
    assert!(!scene.ask(&outside, "/", &Presented::Cookies, &[&ann.cookie]).unwrap().is_public());
}

#[tokio::test]
async fn what_was_public_closes_when_the_policy_changes() {
    let mut scene = Scene::declared(ACCESS).await;
    let permit = scene.ask(&scene.visit(WWW), "/press/a", &Presented::Cookies, &[]).unwrap();
    assert!(permit.still_holds(scene.gate(), scene.now()));
    scene.apply(&ACCESS.replace("policies: [public]", "policies: [staff]")).await;
    assert!(!permit.still_holds(scene.gate(), scene.now()));
    assert!(scene.ask(&scene.visit(WWW), "/press/a", &Presented::Cookies, &[]).is_err());
}
