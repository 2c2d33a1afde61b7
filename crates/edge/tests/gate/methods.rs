//! Logins whose method is gone, or is somebody else's word now.

use tunnel_edge::{
    gate::{Presented, Turnaway},
    store::{
        Declared, ISSUER_MAILBOX, ISSUER_SETUP, LoginMethod, LoginMethodKind, OpenIdMethod, OpenIdPreset,
        PasskeyMethod, SealedSecret,
    },
};
use tunnel_policy::Attributes;

use super::scene::{Person, Scene};

const WWW: &str = "www.example.com";
pub(crate) const PARTNERS: &str = "https://id.partners.example";
pub(crate) const OTHERS: &str = "https://id.others.example";

/// `www` offers whatever there is.
const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.com}]}
applications:
  - {name: www, hostnames: [www.example.com], policies: [staff]}
";

pub(crate) fn partners(issuer: &str) -> LoginMethod {
    let method = OpenIdMethod {
        preset: OpenIdPreset::Oidc,
        issuer: issuer.to_owned(),
        client_id: "edge".to_owned(),
        client_secret: SealedSecret(vec![]),
        scopes: vec![],
        email_claim: None,
        groups_claim: None,
        groups: false,
        graph: None,
        claims: vec![],
        hosted_domain: None,
        authoritative_for: vec![],
        private_address: false,
        revalidate: None,
        ca: None,
    };
    LoginMethod { name: "partners".parse().unwrap(), kind: LoginMethodKind::OpenId(Box::new(method)) }
}

fn remove(declared: &mut Declared) {
    declared.login_methods.retain(|method| method.name.as_str() != "partners");
}

async fn scene() -> Scene {
    let mut scene = Scene::declared(ACCESS).await;
    scene.change(|declared| declared.login_methods.push(partners(PARTNERS))).await;
    scene
}

async fn by(scene: &Scene, method: &str, issuer: &str) -> Person {
    scene.vouched("ann@example.com", (method, issuer), WWW, Attributes::default()).await
}

// S5
#[tokio::test]
async fn a_login_does_not_outlive_its_method_in_a_browser_a_program_or_a_stream() {
    let mut scene = scene().await;
    let (ann, bob) = (by(&scene, "partners", PARTNERS).await, by(&scene, "pin", ISSUER_MAILBOX).await);
    let permit = scene.opens(&ann, WWW, "/").unwrap();
    let token = Presented::ClientToken(scene.token(&ann).await);
    let visit = scene.visit(WWW);
    assert!(scene.ask(&visit, "/", &token, &[]).is_ok() && permit.still_holds(scene.gate(), scene.now()));
    scene.change(remove).await;
    assert!(matches!(scene.opens(&ann, WWW, "/"), Err(Turnaway::Login(_))));
    assert!(matches!(scene.ask(&visit, "/", &token, &[]), Err(Turnaway::BadCredential)));
    assert!(!permit.still_holds(scene.gate(), scene.now()), "what is open ends");
    assert!(scene.opens(&bob, WWW, "/").is_ok(), "nobody else is concerned");
}

// S5, O6
#[tokio::test]
async fn a_login_counts_by_the_word_of_its_own_issuer_only_whatever_the_method_is_called() {
    let mut scene = scene().await;
    let ann = by(&scene, "partners", PARTNERS).await;
    let permit = scene.opens(&ann, WWW, "/").unwrap();
    scene
        .change(|declared| {
            remove(declared);
            declared.login_methods.push(partners(OTHERS));
            declared.applications[0].login_methods = vec!["partners".parse().unwrap()];
        })
        .await;
    assert!(matches!(scene.opens(&ann, WWW, "/"), Err(Turnaway::Login(_))));
    assert!(!permit.still_holds(scene.gate(), scene.now()));
    let others = by(&scene, "partners", OTHERS).await;
    assert!(scene.opens(&others, WWW, "/").is_ok());
    // Nor when another kind of method takes the name.
    scene
        .change(|declared| {
            remove(declared);
            declared.login_methods.push(LoginMethod { kind: LoginMethodKind::OneTimePin, ..partners(OTHERS) });
        })
        .await;
    assert!(scene.opens(&others, WWW, "/").is_err());
    // A session of before it was known who vouched counts by nothing.
    let (known, unknown) = (by(&scene, "partners", ISSUER_MAILBOX).await, by(&scene, "partners", "").await);
    assert!(scene.opens(&known, WWW, "/").is_ok());
    assert!(matches!(scene.opens(&unknown, WWW, "/"), Err(Turnaway::Login(_))));
}

// S5, O9
#[tokio::test]
async fn a_login_by_passkey_counts_as_long_as_somebody_vouches_for_its_person() {
    let mut scene = scene().await;
    let kind = LoginMethodKind::Passkey(PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT });
    let passkey = LoginMethod { name: "passkey".parse().unwrap(), kind };
    scene.change(|declared| declared.login_methods.push(passkey)).await;
    let (ann, guest) = (by(&scene, "passkey", PARTNERS).await, by(&scene, "passkey", "invited").await);
    assert!(scene.opens(&ann, WWW, "/").is_ok() && scene.opens(&guest, WWW, "/").is_ok());
    scene.change(remove).await;
    assert!(matches!(scene.opens(&ann, WWW, "/"), Err(Turnaway::Login(_))));
    assert!(scene.opens(&guest, WWW, "/").is_ok(), "an administrator vouches");
    scene.change(|declared| declared.login_methods.clear()).await;
    assert!(scene.opens(&guest, WWW, "/").is_err(), "no passkey counts any more");
}

// S5
#[tokio::test]
async fn a_passkey_does_not_open_an_application_to_whom_none_of_its_methods_made_known() {
    let mut scene = scene().await;
    let kind = LoginMethodKind::Passkey(PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT });
    let passkey = LoginMethod { name: "passkey".parse().unwrap(), kind };
    scene.change(|declared| declared.login_methods.push(passkey)).await;
    let (ann, bob) = (by(&scene, "passkey", PARTNERS).await, by(&scene, "passkey", ISSUER_MAILBOX).await);
    let (guest, admin) = (by(&scene, "passkey", "invited").await, by(&scene, "pin", ISSUER_SETUP).await);
    let permit = scene.opens(&bob, WWW, "/").unwrap();
    let token = Presented::ClientToken(scene.token(&bob).await);
    let list = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<tunnel_proto::Name>>();
    let listed = list(&["partners", "passkey"]);
    scene.change(|declared| declared.applications[0].login_methods = listed).await;
    assert!(scene.opens(&ann, WWW, "/").is_ok() && scene.opens(&guest, WWW, "/").is_ok());
    assert!(matches!(scene.opens(&bob, WWW, "/"), Err(Turnaway::Login(_))), "a mailbox is not listed");
    assert!(!permit.still_holds(scene.gate(), scene.now()), "what is open ends");
    assert!(scene.ask(&scene.visit(WWW), "/", &token, &[]).is_err(), "nor does a token open it");
    assert!(scene.opens(&admin, WWW, "/").is_err(), "nor the set-up");
    // Passkeys alone: whoever has one.
    let listed = list(&["passkey"]);
    scene.change(|declared| declared.applications[0].login_methods = listed).await;
    assert!([&ann, &bob, &guest].into_iter().all(|person| scene.opens(person, WWW, "/").is_ok()));
}

#[tokio::test]
async fn who_has_just_been_set_up_stays_logged_in_whatever_is_declared() {
    let mut scene = scene().await;
    let admin = by(&scene, "pin", ISSUER_SETUP).await;
    assert!(scene.opens(&admin, WWW, "/").is_ok());
    scene.change(|declared| declared.login_methods.retain(|method| method.name.as_str() != "pin")).await;
    assert!(scene.opens(&admin, WWW, "/").is_ok());
    // But not as somebody of a provider that is called so.
    scene
        .change(|declared| {
            declared.login_methods.push(LoginMethod { name: "pin".parse().unwrap(), ..partners(OTHERS) });
        })
        .await;
    assert!(scene.opens(&admin, WWW, "/").is_err());
}
