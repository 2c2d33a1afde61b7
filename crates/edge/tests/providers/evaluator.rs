//! A service that says of people what a test wants.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Response, header},
    routing::{get, post},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tunnel_policy::Evaluation;

use crate::providers::site::NOW;

/// What it does from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Yes,
    No,
    Unclear,
    OtherNonce,
    Expired,
    Lasting,
    OtherKey,
    Hs256,
    Unsigned,
    NoToken,
    NoJson,
    Echo,
    Status(u16),
    Redirect,
    TooLarge,
    Slow,
}

/// A running service.
pub(crate) struct Evaluator {
    base: String,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

struct Inner {
    way: Mutex<Way>,
    /// The name of its key, and the key.
    key: Mutex<(String, EcdsaKeyPair)>,
    /// The tokens that it was asked with.
    asked: Mutex<Vec<String>>,
    /// How often its keys were fetched.
    fetched: Mutex<usize>,
    base: String,
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

impl Evaluator {
    pub(crate) async fn start(way: Way) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            way: Mutex::new(way),
            key: Mutex::new(("one".to_owned(), new_key())),
            asked: Mutex::default(),
            fetched: Mutex::default(),
            base: base.clone(),
        });
        let router = Router::new().route("/ask", post(ask)).route("/keys", get(keys)).with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, inner, task }
    }

    /// What a rule about it says.
    pub(crate) fn evaluation(&self) -> Evaluation {
        Evaluation {
            evaluate_url: format!("{}/ask", self.base),
            keys_url: format!("{}/keys", self.base),
            danger_allow_private_address: true,
        }
    }

    pub(crate) fn behave(&self, way: Way) {
        *self.inner.way.lock().unwrap() = way;
    }

    /// Has another key from now on.
    pub(crate) fn rotate(&self, kid: &str) {
        *self.inner.key.lock().unwrap() = (kid.to_owned(), new_key());
    }

    /// The tokens that it was asked with.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.inner.asked.lock().unwrap().clone()
    }

    pub(crate) fn fetched(&self) -> usize {
        *self.inner.fetched.lock().unwrap()
    }
}

type Shared = State<Arc<Inner>>;

async fn keys(State(inner): Shared) -> String {
    *inner.fetched.lock().unwrap() += 1;
    let key = inner.key.lock().unwrap();
    let point = key.1.public_key().as_ref();
    let (x, y) = (BASE64URL_NOPAD.encode(&point[1..33]), BASE64URL_NOPAD.encode(&point[33..]));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": key.0, "x": x, "y": y}]}).to_string()
}

async fn ask(State(inner): Shared, body: Bytes) -> Response<Body> {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let token = asked["token"].as_str().unwrap().to_owned();
    let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    inner.asked.lock().unwrap().push(token.clone());
    let way = *inner.way.lock().unwrap();
    if way == Way::Slow {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let nonce = if way == Way::OtherNonce { json!("another") } else { claims["nonce"].clone() };
    let expires = match way {
        Way::Expired => NOW.0 - 61,
        Way::Lasting => NOW.0 + 86_400,
        _ => NOW.0 + 60,
    };
    let success = match way {
        Way::No => json!(false),
        Way::Unclear => json!("true"),
        _ => json!(true),
    };
    let answer = json!({"success": success, "nonce": nonce, "iat": NOW.0, "exp": expires});
    let key = inner.key.lock().unwrap();
    let alg = match way {
        Way::Hs256 => "HS256",
        Way::Unsigned => "none",
        _ => "ES256",
    };
    let header = json!({"alg": alg, "kid": key.0, "typ": "JWT"});
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", encode(&header), encode(&answer));
    let by = |key: &EcdsaKeyPair| key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec();
    let signature = match way {
        Way::OtherKey => by(&new_key()),
        Way::Unsigned => vec![],
        Way::Hs256 => {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, key.1.public_key().as_ref());
            hmac::sign(&secret, message.as_bytes()).as_ref().to_vec()
        }
        _ => by(&key.1),
    };
    let signed = json!({"token": format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))}).to_string();
    let (status, text) = match way {
        Way::NoToken => (200, json!({"success": true}).to_string()),
        Way::NoJson => (200, "yes".to_owned()),
        Way::Echo => (200, json!({"token": token}).to_string()),
        // With everything that would be right otherwise.
        Way::Status(status) => (status, signed),
        Way::Redirect => (307, signed),
        Way::TooLarge => (200, format!("{}{signed}", " ".repeat(1024 * 1024))),
        _ => (200, signed),
    };
    let response = Response::builder().status(status).header(header::LOCATION, format!("{}/keys", inner.base));
    response.body(Body::from(text)).unwrap()
}
