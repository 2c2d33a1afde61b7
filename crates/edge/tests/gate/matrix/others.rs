//! What is good for something else than opening an application: each outstanding, where the edge keeps it.

use std::{collections::BTreeMap, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tunnel_auth::{
    Algorithm, ChallengeId, ClientCode, HandOverCode, LoginId, LoginState, SigningKey, TrialId,
    assertion::{QUESTION_LIFE, Question, QuestionApp, QuestionIdentity, QuestionIdp},
    secret,
};
use tunnel_edge::store::{InvitationRecord, OnceKind, OneTime, PinRecord, SecretHash};
use tunnel_proto::{PersonId, UnixTime};

use crate::gate::{
    methods::PARTNERS,
    scene::{HERE, Person, Scene},
};

/// How long they live: longer than any of them does.
const LIFE: Duration = Duration::from_secs(2 * 86_400);

/// Each kind, by its name, as text. `ann` is whom they are about.
pub(crate) async fn all(scene: &Scene, ann: &Person) -> Vec<(&'static str, String)> {
    let login = LoginId::from_random(scene.fresh());
    let hand_over = HandOverCode::from_random(scene.fresh());
    let client_code = ClientCode::from_random(scene.fresh());
    let state = LoginState::from_random(scene.fresh());
    let challenge = ChallengeId::from_random(scene.fresh());
    let added = ChallengeId::from_random(scene.fresh());
    let pin = ChallengeId::from_random(scene.fresh());
    let trial = TrialId::from_random(scene.fresh());
    let text = || BASE64URL_NOPAD.encode(&scene.fresh());
    let (device, enrolment, set_up, invitation) = (text(), text(), text(), text());
    for (kind, key) in [
        (OnceKind::HandOver, hand_over.hash()),
        (OnceKind::ClientCode, client_code.hash()),
        (OnceKind::ProviderLogin, state.hash()),
        (OnceKind::ProviderDone, state.hash()),
        (OnceKind::PasskeyLogin, challenge.hash()),
        (OnceKind::PasskeyAdd, added.hash()),
        (OnceKind::ClientAnswer, secret::hash("client pending", device.as_bytes())),
        (OnceKind::EnrolAnswer, secret::hash("enrol pending", enrolment.as_bytes())),
        (OnceKind::Setup, secret::hash("setup link", set_up.as_bytes())),
    ] {
        keep(scene, kind, key, login.hash()).await;
    }
    let invited = InvitationRecord {
        key: secret::hash("invitation", invitation.as_bytes()),
        person: PersonId::from_random([9; 16]),
        subject: "guest".to_owned(),
        email: ann.session.identity.email.clone(),
        name: None,
        created: scene.now(),
        expires: scene.now().plus(LIFE),
    };
    scene.store.put_invitation(&invited).await.unwrap();
    let asked = PinRecord {
        id: pin.hash(),
        login: login.hash(),
        app: ann.session.grants[0].app,
        email: vec![],
        created: scene.now(),
        expires: scene.now().plus(LIFE),
    };
    scene.store.open_pin(&asked).await.unwrap();
    vec![
        ("a login cookie", login.reveal().to_string()),
        ("a hand-over code", hand_over.reveal().to_string()),
        ("an access client's code", client_code.reveal().to_string()),
        ("a provider's state", state.reveal().to_string()),
        ("a passkey's challenge", challenge.reveal().to_string()),
        ("a new passkey's challenge", added.reveal().to_string()),
        ("a PIN's challenge", pin.reveal().to_string()),
        ("a PIN", "12345678".to_owned()),
        ("a trial's id", trial.reveal().to_string()),
        ("a device's secret", device),
        ("a machine's secret", enrolment),
        ("a set-up link", set_up),
        ("an invitation", invitation),
        ("a question to a service", question(scene, ann)),
        ("an ID token", id_token(scene, ann)),
    ]
}

async fn keep(scene: &Scene, kind: OnceKind, key: SecretHash, bind: SecretHash) {
    let thing = OneTime { kind, key, bind, payload: vec![], expires: scene.now().plus(LIFE) };
    scene.store.put_once(&thing).await.unwrap();
}

/// What a service is asked about ann, in the name of the edge.
fn question(scene: &Scene, ann: &Person) -> String {
    let (identity, now) = (&ann.session.identity, scene.now());
    let question = Question {
        iss: "https://access.example.com".to_owned(),
        aud: "https://e.example/ask".to_owned(),
        iat: now,
        nbf: now,
        exp: UnixTime(now.0 + QUESTION_LIFE),
        nonce: "n".to_owned(),
        sub: identity.person,
        app: QuestionApp { id: ann.session.grants[0].app, name: "a".parse().unwrap() },
        identity: QuestionIdentity {
            email: identity.email.clone(),
            name: None,
            user_uuid: identity.person,
            idp: QuestionIdp { id: identity.method.clone(), kind: None },
            geo: None,
            iat: identity.authenticated,
            ip: HERE,
            amr: vec![],
            groups: vec![],
            github: BTreeMap::new(),
            oidc_fields: BTreeMap::new(),
        },
    };
    SigningKey::generate(Algorithm::Es256).unwrap().0.sign_question(&question).unwrap()
}

/// What a provider of a declared method says about ann.
fn id_token(scene: &Scene, ann: &Person) -> String {
    let encode = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let now = scene.now().0;
    let claims = json!({
        "iss": PARTNERS, "aud": "edge", "sub": "ann", "iat": now, "exp": now + 3600,
        "email": ann.session.identity.email.as_str(), "email_verified": true,
    });
    let message = format!("{}.{}", encode(json!({"alg": "ES256", "kid": "one", "typ": "JWT"})), encode(claims));
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}
