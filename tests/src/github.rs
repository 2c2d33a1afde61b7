//! A server that behaves like GitHub's OAuth and REST API as far as logging in goes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Result;
use aws_lc_rs::digest;
use futures::FutureExt;
use http::{Method, Response, header};
use serde_json::{Value, json};

use crate::{
    hostile::base64,
    loopback::{Answers, Asked, Body, Loopback, encoded, json as json_answer, redirect, text},
};

/// A running server.
#[derive(Debug)]
pub struct GitHub {
    server: Loopback,
    state: Arc<State>,
}

/// Somebody with an account.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// The number that stays when the login name changes.
    pub id: u64,
    /// Their name.
    pub name: String,
    /// Addresses: which, whether it is the primary one, whether it is verified.
    pub emails: Vec<(String, bool, bool)>,
    /// Organisations.
    pub organizations: Vec<String>,
    /// Teams: organisation and slug.
    pub teams: Vec<(String, String)>,
}

#[derive(Debug)]
struct State {
    url: String,
    client: (String, String),
    people: Mutex<BTreeMap<String, Person>>,
    codes: Mutex<BTreeMap<String, Grant>>,
    tokens: Mutex<BTreeMap<String, Grant>>,
    next: AtomicU64,
    trick: Mutex<Trick>,
}

/// Somebody who let a client in.
#[derive(Clone, Debug)]
struct Grant {
    login: String,
    scope: String,
    redirect_uri: String,
    challenge: Option<String>,
}

/// What is wrong with the lists that have pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trick {
    /// Nothing.
    #[default]
    None,
    /// There is always a next page.
    Endless,
    /// The next page is at another server.
    Elsewhere(String),
    /// The API answers 503.
    Down,
}

/// The path of the API.
pub const API: &str = "/api";

/// How many entries of a list are on a page, if nobody asks for more.
const PAGE: usize = 2;
/// The most that one can ask for; that of the real one is 100.
const PAGE_MAX: usize = 4;

impl GitHub {
    /// A server at `address` that knows one client, by id and secret.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn start(address: SocketAddr, client: (&str, &str)) -> Result<Self> {
        let state = Arc::new(State {
            url: format!("http://{address}"),
            client: (client.0.into(), client.1.into()),
            people: Mutex::default(),
            codes: Mutex::default(),
            tokens: Mutex::default(),
            next: AtomicU64::new(1),
            trick: Mutex::default(),
        });
        let shared = state.clone();
        let answers: Answers = Arc::new(move |asked| {
            let state = shared.clone();
            async move { state.answer(&asked) }.boxed()
        });
        Ok(Self { server: Loopback::start(address, answers).await?, state })
    }

    /// Its address, the `authority` of the login method.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// The address of its API.
    pub fn api(&self) -> String {
        format!("{}{API}", self.state.url)
    }

    /// Puts somebody in, or in the place of somebody.
    pub fn person(&self, login: &str, person: Person) {
        self.state.people.lock().unwrap().insert(login.into(), person);
    }

    /// Does something wrong from now on.
    pub fn trick(&self, trick: Trick) {
        *self.state.trick.lock().unwrap() = trick;
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.server.asked()
    }

    /// Every request for a path so far.
    pub fn asked_for(&self, path: &str) -> Vec<Asked> {
        self.server.asked_for(path)
    }

    /// Forgets the requests.
    pub fn forget(&self) {
        self.server.forget();
    }
}

impl State {
    fn answer(&self, asked: &Asked) -> Response<Body> {
        match (&asked.method, asked.path.as_str()) {
            (&Method::GET, "/login/oauth/authorize") => self.ask(asked),
            (&Method::POST, "/login/oauth/authorize") => self.authorize(asked),
            (&Method::POST, "/login/oauth/access_token") => self.redeem(asked),
            (&Method::GET, path) => match path.strip_prefix(API) {
                Some(path) => self.api(asked, path),
                None => text(404, "text/plain", "Not Found"),
            },
            _ => text(404, "text/plain", "Not Found"),
        }
    }

    /// The page on which one says who one is. It is submitted to its own address.
    fn ask(&self, asked: &Asked) -> Response<Body> {
        if asked.parameter("client_id").as_ref() != Some(&self.client.0) {
            return text(404, "text/plain", "Not Found");
        }
        let page = "<!doctype html><html lang=\"en\"><title>Sign in</title><form method=\"post\"><input name=\"account\">\
            <button name=\"answer\" value=\"login\">Authorize</button><button name=\"answer\" value=\"refuse\">Cancel</button></form></html>";
        text(200, "text/html; charset=utf-8", page)
    }

    fn authorize(&self, asked: &Asked) -> Response<Body> {
        let one = |name: &str| asked.parameter(name).unwrap_or_default();
        let (redirect_uri, state) = (one("redirect_uri"), one("state"));
        if asked.field("answer").as_deref() == Some("refuse") {
            let refused = [
                ("error", "access_denied"),
                ("error_description", "The user has denied your application access."),
                ("state", &state),
            ];
            return redirect(&format!("{redirect_uri}?{}", encoded(&refused)));
        }
        let login = asked.field("account").unwrap_or_default();
        if !self.people.lock().unwrap().contains_key(&login) {
            return self.ask(asked);
        }
        let code = self.fresh("code");
        let challenge = asked.parameter("code_challenge");
        let grant = Grant { login, scope: one("scope"), redirect_uri: redirect_uri.clone(), challenge };
        self.codes.lock().unwrap().insert(code.clone(), grant);
        redirect(&format!("{redirect_uri}?{}", encoded(&[("code", &code), ("state", &state)])))
    }

    /// As the real one: what goes wrong is said with status 200, and JSON only to those who ask for it.
    fn redeem(&self, asked: &Asked) -> Response<Body> {
        let answered = self.token(asked);
        if asked.header("accept").is_some_and(|accept| accept.contains("application/json")) {
            return json_answer(200, &answered);
        }
        let pairs: Vec<_> = answered.as_object().into_iter().flatten().collect();
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect();
        text(200, "application/x-www-form-urlencoded", encoded(&pairs))
    }

    fn token(&self, asked: &Asked) -> Value {
        let client = asked.field("client_id").zip(asked.field("client_secret"));
        if client.as_ref() != Some(&self.client) {
            return json!({"error": "incorrect_client_credentials", "error_description": "The client_id and/or client_secret passed are incorrect."});
        }
        let refused =
            json!({"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."});
        let Some(grant) = self.codes.lock().unwrap().remove(&asked.field("code").unwrap_or_default()) else {
            return refused;
        };
        let verifier = asked.field("code_verifier").unwrap_or_default();
        let challenge = base64(digest::digest(&digest::SHA256, verifier.as_bytes()).as_ref());
        let same_place = asked.field("redirect_uri").is_none_or(|uri| uri == grant.redirect_uri);
        if grant.challenge.as_ref().is_some_and(|expected| *expected != challenge) || !same_place {
            return refused;
        }
        let token = self.fresh("gho");
        let scope = grant.scope.replace(' ', ",");
        self.tokens.lock().unwrap().insert(token.clone(), grant);
        json!({"access_token": token, "token_type": "bearer", "scope": scope})
    }

    fn api(&self, asked: &Asked, path: &str) -> Response<Body> {
        let trick = self.trick.lock().unwrap().clone();
        if trick == Trick::Down {
            return json_answer(503, &json!({"message": "Service Unavailable"}));
        }
        // The real one refuses programs without a name, too.
        if asked.header("user-agent").is_none_or(str::is_empty) {
            return json_answer(403, &json!({"message": "Request forbidden by administrative rules."}));
        }
        let bearer = asked.bearer().or_else(|| asked.header("authorization")?.strip_prefix("token "));
        let Some(grant) = bearer.and_then(|token| self.tokens.lock().unwrap().get(token).cloned()) else {
            return json_answer(401, &json!({"message": "Bad credentials"}));
        };
        let Some(person) = self.people.lock().unwrap().get(&grant.login).cloned() else {
            return json_answer(404, &json!({"message": "Not Found"}));
        };
        let may = |scopes: &[&str]| grant.scope.split([' ', ',']).any(|scope| scopes.contains(&scope));
        let forbidden = || json_answer(404, &json!({"message": "Not Found"}));
        let list: Vec<Value> = match path {
            "/user" => {
                // An address is here only if its owner made it public, verified or not: nothing to go by.
                let public = person.emails.first().map(|(address, ..)| address);
                return json_answer(
                    200,
                    &json!({"id": person.id, "login": grant.login, "name": person.name, "email": public}),
                );
            }
            "/user/emails" if may(&["user:email", "user"]) => {
                let one = |(email, primary, verified): &(String, bool, bool)| json!({"email": email, "primary": primary, "verified": verified, "visibility": null});
                person.emails.iter().map(one).collect()
            }
            "/user/orgs" if may(&["read:org", "user"]) => {
                person.organizations.iter().map(|name| json!({"login": name, "id": name.len()})).collect()
            }
            "/user/teams" if may(&["read:org"]) => {
                let one = |(organization, slug): &(String, String)| json!({"slug": slug, "name": slug.to_uppercase(), "organization": {"login": organization}});
                person.teams.iter().map(one).collect()
            }
            _ => return forbidden(),
        };
        self.page(asked, path, &list, &trick)
    }

    fn page(&self, asked: &Asked, path: &str, list: &[Value], trick: &Trick) -> Response<Body> {
        let number = |name: &str, or: usize| asked.parameter(name).and_then(|text| text.parse().ok()).unwrap_or(or);
        let size = number("per_page", PAGE).clamp(1, PAGE_MAX);
        let page = number("page", 1).max(1);
        let shown: Vec<_> = list.iter().skip((page - 1) * size).take(size).cloned().collect();
        let next = match trick {
            Trick::Elsewhere(url) => Some(format!("{url}{API}{path}?page=2")),
            Trick::Endless => Some(format!("{}{API}{path}?per_page={size}&page={}", self.url, page + 1)),
            _ if list.len() > page * size => Some(format!("{}{API}{path}?per_page={size}&page={}", self.url, page + 1)),
            _ => None,
        };
        let mut response = json_answer(200, &Value::Array(shown));
        if let Some(next) = next {
            let link = format!("<{next}>; rel=\"next\", <{}{API}{path}?page=1>; rel=\"first\"", self.url);
            response.headers_mut().insert(header::LINK, link.parse().expect("a link"));
        }
        response
    }

    fn fresh(&self, kind: &str) -> String {
        format!("{kind}_{}", self.next.fetch_add(1, Relaxed))
    }
}
