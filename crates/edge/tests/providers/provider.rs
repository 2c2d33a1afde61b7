//! A provider that lets in whoever comes, and says of them what a test wants.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};
use tunnel_edge::Clock;

use crate::providers::site::NOW;

pub(crate) const CLIENT_ID: &str = "edge-client";
pub(crate) const SECRET: &str = "s3cret +/=%:&~";

/// What it does from now on.
#[derive(Clone)]
pub(crate) struct Ways {
    /// Claims over the usual ones.
    pub(crate) claims: Value,
    /// The name of its key.
    pub(crate) kid: &'static str,
    /// With which status it answers where its keys are.
    pub(crate) keys_status: u16,
    /// What the token endpoint answers in the place of tokens.
    pub(crate) token: Option<(u16, Value)>,
    /// What the token endpoint answers to refresh tokens in the place of tokens.
    pub(crate) refresh: Option<(u16, Value)>,
    /// Whether it gives refresh tokens.
    pub(crate) gives_refresh: bool,
    /// What userinfo answers.
    pub(crate) userinfo: Value,
    /// The status of that.
    pub(crate) userinfo_status: u16,
    /// Whether it says that its answers name it.
    pub(crate) names_itself: bool,
    /// Whether a nonce is another login's.
    pub(crate) other_nonce: bool,
    /// Where those who ask for tokens wait for each other.
    pub(crate) together: Option<Arc<tokio::sync::Barrier>>,
}

/// A running provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

struct Inner {
    issuer: String,
    key: EcdsaKeyPair,
    ways: Mutex<Ways>,
    /// Paths that were asked for, in order.
    asked: Mutex<Vec<String>>,
    /// What codes stand for: nonces, by challenge.
    codes: Mutex<HashMap<String, String>>,
    /// Refresh tokens that count.
    refresh: Mutex<BTreeSet<String>>,
    /// How many there were, in all.
    given: Mutex<u32>,
    clock: Mutex<Clock>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let ways = Ways {
            claims: json!({}),
            kid: "one",
            keys_status: 200,
            token: None,
            refresh: None,
            gives_refresh: true,
            userinfo: json!({"sub": "somebody"}),
            userinfo_status: 200,
            names_itself: false,
            other_nonce: false,
            together: None,
        };
        let inner = Arc::new(Inner {
            issuer: issuer.clone(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ways: Mutex::new(ways),
            asked: Mutex::default(),
            codes: Mutex::default(),
            refresh: Mutex::default(),
            given: Mutex::default(),
            clock: Mutex::new(Clock::manual(NOW)),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, inner, task }
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut self.inner.ways.lock().unwrap());
    }

    /// Goes by this clock from now on.
    pub(crate) fn follow(&self, clock: &Clock) {
        *self.inner.clock.lock().unwrap() = clock.clone();
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.inner.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    /// Listens no more.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    /// Somebody is sent here, and sent back: the query of the callback.
    pub(crate) fn lets_in(&self, location: &str) -> String {
        let url = url::Url::parse(location).unwrap();
        assert!(location.starts_with(&format!("{}/authorize?", self.issuer)), "{location}");
        let one =
            |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap();
        assert_eq!((one("response_type"), one("code_challenge_method")), ("code".into(), "S256".into()));
        assert_eq!(one("client_id"), CLIENT_ID);
        self.inner.codes.lock().unwrap().insert(one("code_challenge"), one("nonce"));
        format!("code=CODE&state={}", one("state"))
    }
}

type Shared = State<Arc<Inner>>;

impl Inner {
    fn note(&self, path: &str) -> Ways {
        self.asked.lock().unwrap().push(path.to_owned());
        self.ways.lock().unwrap().clone()
    }

    /// The claims of a token: of one by a refresh without a nonce.
    fn claims(&self, ways: &Ways, nonce: Option<&str>) -> Value {
        let now = self.clock.lock().unwrap().now();
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "somebody", "iat": now.0, "exp": now.0 + 300,
            "email": "ann@example.com", "email_verified": true,
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(if ways.other_nonce { "another" } else { nonce });
        }
        for (name, value) in ways.claims.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// The answer to a code or a refresh token, with a refresh token that was never given before.
    fn tokens(&self, ways: &Ways, nonce: Option<&str>) -> String {
        let header = json!({"alg": "ES256", "kid": ways.kid}).to_string();
        let claims = self.claims(ways, nonce).to_string();
        let message =
            format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        let id_token = format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()));
        let mut answer = json!({"access_token": "ACCESS", "token_type": "Bearer", "id_token": id_token});
        if ways.gives_refresh {
            let mut given = self.given.lock().unwrap();
            *given += 1;
            answer["refresh_token"] = json!(format!("REFRESH-{given}"));
            self.refresh.lock().unwrap().insert(format!("REFRESH-{given}"));
        }
        answer.to_string()
    }
}

async fn discovery(State(inner): Shared) -> String {
    let ways = inner.note("discovery");
    let at = |path: &str| format!("{}{path}", inner.issuer);
    json!({
        "issuer": inner.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/jwks"),
        "userinfo_endpoint": at("/userinfo"),
        "response_types_supported": ["code"],
        "authorization_response_iss_parameter_supported": ways.names_itself,
    })
    .to_string()
}

async fn jwks(State(inner): Shared) -> (StatusCode, String) {
    let ways = inner.note("jwks");
    let point = inner.key.public_key().as_ref();
    let (x, y) = (BASE64URL_NOPAD.encode(&point[1..33]), BASE64URL_NOPAD.encode(&point[33..]));
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": ways.kid, "x": x, "y": y}]});
    (StatusCode::from_u16(ways.keys_status).unwrap(), keys.to_string())
}

async fn token(State(inner): Shared, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let refreshes = body.starts_with(b"grant_type=refresh_token&");
    let ways = inner.note(if refreshes { "refresh" } else { "token" });
    if let Some(together) = &ways.together {
        together.wait().await;
    }
    let instead = if refreshes { &ways.refresh } else { &ways.token };
    if let Some((status, answer)) = instead {
        return (StatusCode::from_u16(*status).unwrap(), answer.to_string());
    }
    let field = |name: &str| {
        url::form_urlencoded::parse(&body).find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap()
    };
    // Both parts are form-encoded before they are put together (RFC 6749 §2.3.1).
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("Basic {}", BASE64.encode(format!("{}:{}", encode(CLIENT_ID), encode(SECRET)).as_bytes()));
    assert_eq!(headers["authorization"], basic);
    if refreshes {
        // Each counts once.
        if !inner.refresh.lock().unwrap().remove(&field("refresh_token")) {
            return (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}).to_string());
        }
        return (StatusCode::OK, inner.tokens(&ways, None));
    }
    let challenge = BASE64URL_NOPAD.encode(digest(&SHA256, field("code_verifier").as_bytes()).as_ref());
    let nonce = inner.codes.lock().unwrap().get(&challenge).expect("the verifier of a challenge").clone();
    assert_eq!((field("code"), field("grant_type")), ("CODE".into(), "authorization_code".into()));
    assert!(field("redirect_uri").starts_with("https://access.example.com/.access/callback/"));
    (StatusCode::OK, inner.tokens(&ways, Some(&nonce)))
}

async fn userinfo(State(inner): Shared, headers: HeaderMap) -> (StatusCode, String) {
    let ways = inner.note("userinfo");
    assert_eq!(headers["authorization"], "Bearer ACCESS");
    (StatusCode::from_u16(ways.userinfo_status).unwrap(), ways.userinfo.to_string())
}
