//! An OpenID provider with bad intentions: every answer can be another, and it keeps all that it is asked.
//!
//! Left to itself it is a good provider that asks nobody anything: whoever is sent to it comes back at once, as the person
//! of [`Ways::claims`].

mod addresses;
mod forge;
mod forgeries;
mod keys;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use anyhow::Result;
use aws_lc_rs::{digest, rand};
use futures::FutureExt;
use http::Response;
use rustls::ServerConfig;
use serde_json::{Map, Value, json};

use crate::loopback::{Answers, Asked, Body, Loopback, encoded, endless, json as json_answer, redirect, text};

pub use addresses::{ABSENT, ADDRESSES, Claims, GOOD_ADDRESSES};
pub use forge::{Forge, base64, now};
pub use forgeries::{FORGERIES, GOOD, Making};
pub use keys::{By, Keys, PublicForm};

/// Where discovery is.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where people are sent.
pub const AUTHORIZE: &str = "/authorize";
/// Where codes are redeemed.
pub const TOKEN: &str = "/token";
/// Where the keys are.
pub const JWKS: &str = "/jwks";
/// Where more is told about a person.
pub const USERINFO: &str = "/userinfo";
/// Where people are sent on to the address in `to`, for [`Instead::Through`].
pub const BROKER: &str = "/broker";
/// Below this nobody who is careful asks for anything.
pub const ATTACKER: &str = "/attacker";

/// A running hostile provider.
#[derive(Debug)]
pub struct Hostile {
    server: Loopback,
    state: Arc<State>,
}

/// Where a provider is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it listens.
    pub address: SocketAddr,
    /// Scheme, host and port as it writes them.
    pub base: String,
    /// The path of its issuer; empty for none.
    pub path: String,
    /// What it proves by that it is there, if it speaks HTTPS.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Place {
    /// Plain HTTP at an address.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, base: format!("http://{address}"), path: String::new(), tls: None }
    }
}

/// What a provider does from now on.
#[derive(Clone)]
pub struct Ways {
    /// Claims about the person; those of the same name as the good ones take their place.
    pub claims: Map<String, Value>,
    /// How ID tokens are made.
    pub token: Arc<dyn Fn(&Forge) -> String + Send + Sync>,
    /// Paths whose answer is another.
    pub instead: BTreeMap<&'static str, Instead>,
    /// What is done to the JSON answers of paths.
    pub changed: BTreeMap<&'static str, Change>,
    /// What is done to the parameters that a person is sent back with.
    pub returned: Returned,
    /// Another provider that the relying party trusts, whose keys forgers have.
    pub other: (String, Arc<Keys>),
}

/// What is made of the parameters that a person is sent back with.
pub type Returned = Arc<dyn Fn(&mut Parameters) + Send + Sync>;
/// Names and values of a query.
pub type Parameters = Vec<(String, String)>;
/// What is made of an answer.
pub type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// What a path answers in the place of what it ought to.
#[derive(Clone, Debug)]
pub enum Instead {
    /// This status and text.
    Status(u16, String),
    /// Go there.
    Redirect(String),
    /// The right redirect, but by way of the provider at this origin.
    Through(String),
    /// The right answer, with this many spaces before it.
    Padded(usize),
    /// Spaces without end, as fast as they are taken.
    Endless,
    /// A space now and then, without end.
    Drip,
    /// Nothing at all, while the connection stays open.
    Silence,
    /// The right answer, but late.
    Late(Duration),
}

struct State {
    keys: Arc<Keys>,
    stolen: Arc<Keys>,
    path: String,
    issuer: String,
    client: (String, String),
    inner: Mutex<Inner>,
}

struct Inner {
    ways: Ways,
    /// Codes that wait to be redeemed.
    codes: BTreeMap<String, Login>,
    /// The nonce of the login before.
    nonce: String,
}

/// A login that waits for its code to be redeemed.
#[derive(Clone)]
struct Login {
    nonce: String,
    nonce_before: String,
    challenge: String,
    redirect_uri: String,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Hostile {
    /// A provider at `address`; the ids of its keys begin with `name`, and it knows one client, by id and secret.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn start(address: SocketAddr, name: &str, client: (&str, &str)) -> Result<Self> {
        Self::at(Place::plain(address), name, client).await
    }

    /// [`Hostile::start`] at another kind of place.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn at(place: Place, name: &str, client: (&str, &str)) -> Result<Self> {
        let Place { address, base, path, tls } = place;
        // Making keys takes time, and one thief will do.
        static STOLEN: LazyLock<Arc<Keys>> = LazyLock::new(|| Arc::new(Keys::new("stolen")));
        let stolen = STOLEN.clone();
        let ways = Ways::good(("https://other.example.com".into(), stolen.clone()));
        let state = Arc::new(State {
            keys: Arc::new(Keys::new(name)),
            stolen,
            issuer: format!("{base}{path}"),
            path,
            client: (client.0.into(), client.1.into()),
            inner: Mutex::new(Inner { ways, codes: BTreeMap::new(), nonce: "no-login-before".into() }),
        });
        let shared = state.clone();
        let answers: Answers = Arc::new(move |asked| {
            let state = shared.clone();
            async move { state.answer(&asked).await }.boxed()
        });
        Ok(Self { server: Loopback::secure(address, tls, answers).await?, state })
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// Its keys.
    pub fn keys(&self) -> Arc<Keys> {
        self.state.keys.clone()
    }

    /// Its issuer and keys, for the [`Ways::other`] of another.
    pub fn as_other(&self) -> (String, Arc<Keys>) {
        (self.state.issuer.clone(), self.keys())
    }

    /// Changes what it does from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut self.state.inner.lock().unwrap().ways);
    }

    /// Is good again, except that it knows the same other provider.
    pub fn repent(&self) {
        self.behave(|ways| *ways = Ways::good(ways.other.clone()));
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.server.asked()
    }

    /// Every request for a path so far.
    pub fn asked_for(&self, path: &str) -> Vec<Asked> {
        self.server.asked_for(&format!("{}{path}", self.state.path))
    }

    /// Forgets the requests.
    pub fn forget(&self) {
        self.server.forget();
    }
}

impl Ways {
    fn good(other: (String, Arc<Keys>)) -> Self {
        Self {
            claims: Map::new(),
            token: Arc::new(Forge::good),
            instead: BTreeMap::new(),
            changed: BTreeMap::new(),
            returned: Arc::new(|_| ()),
            other,
        }
    }

    /// Takes the claims of a JSON text for those of the person; [`ABSENT`] takes one away.
    ///
    /// # Panics
    /// It is no JSON object.
    pub fn say(&mut self, claims: &str) {
        self.claims = serde_json::from_str(claims).unwrap_or_else(|error| panic!("{error} in {claims}"));
    }

    /// Answers `path` otherwise.
    pub fn answer(&mut self, path: &'static str, instead: Instead) {
        self.instead.insert(path, instead);
    }

    /// Changes the JSON that `path` answers.
    pub fn change(&mut self, path: &'static str, change: impl Fn(&mut Value) + Send + Sync + 'static) {
        self.changed.insert(path, Arc::new(change));
    }

    /// Makes ID tokens so.
    pub fn forge(&mut self, token: impl Fn(&Forge) -> String + Send + Sync + 'static) {
        self.token = Arc::new(token);
    }
}

impl State {
    async fn answer(&self, asked: &Asked) -> Response<Body> {
        let ways = self.inner.lock().unwrap().ways.clone();
        let path = asked.path.strip_prefix(&self.path).unwrap_or_default();
        let instead = ways.instead.get(path).cloned();
        let mut padding = 0;
        match instead {
            Some(Instead::Status(status, body)) => return text(status, "text/plain", body),
            Some(Instead::Redirect(to)) => return redirect(&to),
            Some(Instead::Through(origin)) => return through(&origin, &self.authorize(asked, &ways)),
            Some(Instead::Endless) => return endless(SPACES, Duration::ZERO),
            Some(Instead::Drip) => return endless(" ", Duration::from_millis(200)),
            Some(Instead::Silence) => return std::future::pending().await,
            Some(Instead::Late(time)) => tokio::time::sleep(time).await,
            Some(Instead::Padded(spaces)) => padding = spaces,
            None => {}
        }
        let answered = match path {
            AUTHORIZE => return self.authorize(asked, &ways),
            BROKER => return redirect(&asked.parameter("to").unwrap_or_default()),
            DISCOVERY => Ok(self.discovery()),
            JWKS => Ok(self.keys.jwks()),
            TOKEN => self.redeem(asked, &ways),
            USERINFO => self.userinfo(asked, &ways),
            path if path.starts_with(ATTACKER) => Ok(self.stolen.jwks()),
            _ => Err((404, json!({"error": "not_found"}))),
        };
        let (status, mut value) = match answered {
            Ok(value) => (200, value),
            Err((status, value)) => (status, value),
        };
        if let Some(change) = ways.changed.get(path) {
            change(&mut value);
        }
        if padding > 0 {
            return text(status, "application/json", format!("{}{value}", " ".repeat(padding)));
        }
        json_answer(status, &value)
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at(AUTHORIZE),
            "token_endpoint": at(TOKEN),
            "jwks_uri": at(JWKS),
            "userinfo_endpoint": at(USERINFO),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            // What a provider says it supports is no reason to believe it.
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "PS256", "EdDSA", "HS256", "RS384", "RS512", "none"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    fn authorize(&self, asked: &Asked, ways: &Ways) -> Response<Body> {
        let one = |name: &str| asked.parameter(name).unwrap_or_default();
        let code = random();
        let redirect_uri = one("redirect_uri");
        {
            let mut inner = self.inner.lock().unwrap();
            let nonce_before = std::mem::replace(&mut inner.nonce, one("nonce"));
            let login = Login {
                nonce: one("nonce"),
                nonce_before,
                challenge: one("code_challenge"),
                redirect_uri: redirect_uri.clone(),
            };
            inner.codes.insert(code.clone(), login);
        }
        let mut parameters = vec![
            ("code".to_owned(), code),
            ("state".to_owned(), one("state")),
            ("iss".to_owned(), self.issuer.clone()),
        ];
        (ways.returned)(&mut parameters);
        redirect(&format!("{redirect_uri}?{}", encoded(&parameters)))
    }

    fn redeem(&self, asked: &Asked, ways: &Ways) -> Result<Value, (u16, Value)> {
        let refuse = |status, error: &str| Err((status, json!({"error": error})));
        if asked.client().as_ref() != Some(&self.client) {
            return refuse(401, "invalid_client");
        }
        let code = asked.field("code").unwrap_or_default();
        let Some(login) = self.inner.lock().unwrap().codes.remove(&code) else { return refuse(400, "invalid_grant") };
        let verifier = asked.field("code_verifier").unwrap_or_default();
        let challenge = base64(digest::digest(&digest::SHA256, verifier.as_bytes()).as_ref());
        if challenge != login.challenge || asked.field("redirect_uri").as_ref() != Some(&login.redirect_uri) {
            return refuse(400, "invalid_grant");
        }
        let access_token = random();
        let forge = Forge {
            keys: self.keys.clone(),
            stolen: self.stolen.clone(),
            other: ways.other.clone(),
            attacker: format!("{}{ATTACKER}", self.issuer),
            issuer: self.issuer.clone(),
            client: self.client.clone(),
            claims: self.claims(ways, &login.nonce),
            other_nonce: login.nonce_before,
            access_token: access_token.clone(),
        };
        let token = (ways.token)(&forge);
        Ok(json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 300, "id_token": token}))
    }

    fn userinfo(&self, asked: &Asked, ways: &Ways) -> Result<Value, (u16, Value)> {
        if asked.bearer().is_none() {
            return Err((401, json!({"error": "invalid_token"})));
        }
        Ok(Value::Object(self.person(ways)))
    }

    fn claims(&self, ways: &Ways, nonce: &str) -> Map<String, Value> {
        let mut claims = self.person(ways);
        let more = json!({"iss": self.issuer, "aud": self.client.0, "iat": now(), "exp": now() + 300, "nonce": nonce});
        for (name, value) in more.as_object().into_iter().flatten() {
            claims.entry(name).or_insert(value.clone());
        }
        claims
    }

    fn person(&self, ways: &Ways) -> Map<String, Value> {
        let person =
            json!({"sub": "somebody", "email": "staff@example.test", "email_verified": true, "name": "Some Body"});
        let mut person = person.as_object().cloned().unwrap_or_default();
        for (name, value) in &ways.claims {
            if value == ABSENT {
                person.remove(name);
            } else {
                person.insert(name.clone(), value.clone());
            }
        }
        person
    }
}

/// A redirect by way of another provider.
fn through(origin: &str, answer: &Response<Body>) -> Response<Body> {
    let to = answer.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    redirect(&format!("{origin}{BROKER}?{}", encoded(&[("to".to_owned(), to.to_owned())])))
}

/// A word that nobody guesses.
fn random() -> String {
    let mut bytes = [0; 24];
    rand::fill(&mut bytes).expect("random bytes");
    base64(&bytes)
}

const SPACES: &str = "                                                                                                ";
