//! A certified OpenID provider (npm `oidc-provider`) in the guise of whichever one a test is about.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    Lab, Process, Reply, Visitor,
    edge::{LOGIN_HOST, listens},
    html::pressed,
    process::tool,
};

/// The id that the edge has at providers.
pub const CLIENT_ID: &str = "edge-client";
/// Its secret there: with every letter that some encoding would change.
pub const CLIENT_SECRET: &str = "s3cret +/=%:&~";

/// A running provider.
#[derive(Debug)]
pub struct Provider {
    process: Process,
    issuer: String,
    commands: u64,
}

/// What a provider is.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderConfig {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    /// The path of its issuer; empty for none.
    pub path: String,
    /// Where Microsoft Graph listens, if it is to be there.
    pub graph_port: Option<u16>,
    /// The id of its one client.
    pub client_id: String,
    /// The secret of its one client.
    pub client_secret: String,
    /// How the client shows its secret: `client_secret_basic` or `client_secret_post`.
    pub client_authentication: String,
    /// Where people may be sent back to.
    pub redirect_uris: Vec<String>,
    /// The algorithm of ID tokens: `RS256`, `PS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// Scopes besides `openid`.
    pub scopes: Vec<String>,
    /// Which claims belong to which scope.
    pub claims: BTreeMap<String, Vec<String>>,
    /// Whether the claims of scopes are told by userinfo only, as the specification has it, and not by ID tokens.
    pub claims_by_userinfo: bool,
    /// Whether people are asked for their consent.
    pub consent: bool,
    /// The people by account name, which is their `sub`.
    pub accounts: BTreeMap<String, Account>,
}

/// Somebody at a provider.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    /// What can be said about them.
    pub claims: Map<String, Value>,
    /// How they authenticate.
    pub amr: Vec<String>,
    /// What Microsoft Graph says they belong to.
    pub member_of: Vec<String>,
}

impl Account {
    /// Somebody about whom this can be said.
    ///
    /// # Panics
    /// It is no object.
    pub fn saying(claims: &Value) -> Self {
        let claims = claims.as_object().cloned().unwrap_or_else(|| panic!("{claims} is no object"));
        Self { claims, ..Self::default() }
    }

    /// The same person, authenticating so.
    #[must_use]
    pub fn by(mut self, amr: &[&str]) -> Self {
        self.amr = amr.iter().map(|&method| method.to_owned()).collect();
        self
    }

    /// The same person, in groups that do not fit into a token: it says only where to ask.
    #[must_use]
    pub fn in_too_many_groups(mut self, groups: &[&str]) -> Self {
        self.member_of = groups.iter().map(|&group| group.to_owned()).collect();
        self.claims.insert("_claim_names".into(), json!({"groups": "src1"}));
        // What is really written there: an address of another API, for which the token is not.
        let endpoint = "https://graph.windows.net/x/users/y/getMemberObjects";
        self.claims.insert("_claim_sources".into(), json!({"src1": {"endpoint": endpoint}}));
        self
    }
}

impl ProviderConfig {
    /// A provider at 127.0.0.1:`port` whose people come back to the login method `method`.
    pub fn new(port: u16, method: &str) -> Self {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        Self {
            port,
            path: String::new(),
            graph_port: None,
            client_id: CLIENT_ID.into(),
            client_secret: CLIENT_SECRET.into(),
            client_authentication: "client_secret_basic".into(),
            redirect_uris: vec![callback(method)],
            algorithm: "RS256".into(),
            scopes: list(&["email", "profile", "groups"]),
            claims: BTreeMap::from([
                ("openid".into(), list(&["sub", "amr"])),
                ("email".into(), list(&["email", "email_verified"])),
                ("profile".into(), list(&["name", "preferred_username"])),
                ("groups".into(), list(&["groups"])),
            ]),
            claims_by_userinfo: false,
            consent: false,
            accounts: BTreeMap::new(),
        }
    }

    /// Microsoft Entra ID: an issuer with the tenant in its path, `oid`, `tid` and `upn`, groups without being asked for.
    pub fn entra(port: u16, graph_port: u16, tenant: &str, method: &str) -> Self {
        let mut config = Self::new(port, method);
        config.path = format!("/{tenant}/v2.0");
        config.graph_port = Some(graph_port);
        config.scopes = vec!["email".into(), "profile".into(), "User.Read".into(), "GroupMember.Read.All".into()];
        config.claims = BTreeMap::from([
            (
                "openid".into(),
                ["sub", "amr", "oid", "tid", "upn", "groups", "acct", "idp", "mailbox"].map(str::to_owned).to_vec(),
            ),
            ("email".into(), vec!["email".into()]),
            ("profile".into(), vec!["name".into(), "preferred_username".into()]),
        ]);
        config
    }

    /// Google: `hd`, and an address that may not be verified.
    pub fn google(port: u16, method: &str) -> Self {
        let mut config = Self::new(port, method);
        config.scopes = vec!["email".into(), "profile".into()];
        config.claims.insert("openid".into(), vec!["sub".into(), "amr".into(), "hd".into()]);
        config
    }

    /// With somebody in it.
    #[must_use]
    pub fn with(mut self, name: &str, account: Account) -> Self {
        self.accounts.insert(name.into(), account);
        self
    }

    /// Its issuer.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }
}

impl Provider {
    /// Starts a provider in the lab.
    ///
    /// # Errors
    /// It did not start; or `tests/run` has not installed it.
    pub async fn start(lab: &Lab, config: ProviderConfig) -> Result<Self> {
        let mut command = lab.command("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/provider/provider.mjs"));
        command.env("OIDC_PROVIDER", tool("node/node_modules/oidc-provider")?.join("lib/index.js"));
        let mut process = Process::start("the provider", command)?;
        // Not on the command line, which everybody can read.
        process.type_in(&format!("{}\n", serde_json::to_string(&config)?)).await?;
        listens(&mut process, ([127, 0, 0, 1], config.port).into()).await?;
        process.stdout.wait_for("(?m)^listening$").await?;
        Ok(Self { process, issuer: config.issuer(), commands: 0 })
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Signs by a new key from now on. The old one stays published or not. Gives the ids of those that are.
    ///
    /// # Errors
    /// It did not.
    pub async fn rotate_keys(&mut self, keep: bool) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.tell("rotate", json!({"keep": keep})).await?)?)
    }

    /// Listens no more. What it remembers it keeps.
    ///
    /// # Errors
    /// It did not stop.
    pub async fn stop(&mut self) -> Result<()> {
        self.tell("stop", json!({})).await.map(drop)
    }

    /// Listens again.
    ///
    /// # Errors
    /// It did not.
    pub async fn resume(&mut self) -> Result<()> {
        self.tell("start", json!({})).await.map(drop)
    }

    /// Takes requests for addresses that end in `path` and never answers them (`graph` stands for Microsoft Graph).
    ///
    /// # Errors
    /// It did not listen.
    pub async fn hang(&mut self, path: &str) -> Result<()> {
        self.tell("hang", json!({"path": path})).await.map(drop)
    }

    /// Answers requests for addresses that end in `path` late.
    ///
    /// # Errors
    /// It did not listen.
    pub async fn slow_down(&mut self, path: &str, milliseconds: u64) -> Result<()> {
        self.tell("delay", json!({"path": path, "ms": milliseconds})).await.map(drop)
    }

    /// Answers everything at once again.
    ///
    /// # Errors
    /// It did not listen.
    pub async fn recover(&mut self) -> Result<()> {
        self.tell("recover", json!({})).await.map(drop)
    }

    /// Puts somebody in, or in the place of somebody.
    ///
    /// # Errors
    /// It did not listen.
    pub async fn account(&mut self, name: &str, account: &Account) -> Result<()> {
        self.tell("account", json!({"name": name, "account": account})).await.map(drop)
    }

    /// Nobody has this account any more: neither by logging in, nor by a token that was given before.
    ///
    /// # Errors
    /// It did not listen.
    pub async fn disable(&mut self, name: &str) -> Result<()> {
        self.tell("disable", json!({"name": name})).await.map(drop)
    }

    /// How many requests for addresses that end in `path` have come so far.
    ///
    /// # Errors
    /// It did not listen.
    pub async fn requests(&mut self, path: &str) -> Result<usize> {
        self.lines(|line| line.starts_with("request ") && line.ends_with(path)).await
    }

    /// How many questions Microsoft Graph has been asked so far.
    ///
    /// # Errors
    /// It did not listen.
    pub async fn graph_requests(&mut self) -> Result<usize> {
        self.lines(|line| line.starts_with("graph ")).await
    }

    /// How many such lines it has written so far. An answer may be here before the line about it.
    async fn lines(&mut self, such: impl Fn(&str) -> bool) -> Result<usize> {
        self.tell("mark", json!({})).await?;
        Ok(self.process.stdout.text().lines().filter(|line| such(line)).count())
    }

    async fn tell(&mut self, what: &str, mut command: Value) -> Result<Value> {
        self.commands += 1;
        let id = self.commands;
        command["id"] = json!(id);
        command["do"] = json!(what);
        self.process.type_in(&format!("{command}\n")).await?;
        let done = self.process.stdout.wait_for(&format!("(?m)^done {id} (.*)$")).await?;
        Ok(serde_json::from_str(&done[1])?)
    }
}

/// Where people come back to after logging in by `method`.
pub fn callback(method: &str) -> String {
    format!("https://{LOGIN_HOST}/.access/callback/{method}")
}

/// On the provider's page: says who one is, and follows to the end or to the question of consent.
///
/// # Errors
/// It is another page.
pub async fn sign_in(visitor: &mut Visitor, page: &Reply, account: &str) -> Result<Reply> {
    if page.status() != 200 {
        bail!("{} at {} instead of the provider's page:\n{}", page.status(), page.url, page.text());
    }
    let form = pressed(&page.text(), "answer", "login").context("the provider's page")?;
    let reply = visitor.submit(&page.url, &form.with("account", account)).await?;
    visitor.follow(reply).await
}

/// On the provider's page: presses `allow` or `refuse`, and follows to the end.
///
/// # Errors
/// There is no such button.
pub async fn answer(visitor: &mut Visitor, page: &Reply, answer: &str) -> Result<Reply> {
    let form = pressed(&page.text(), "answer", answer).context("the provider's page")?;
    let reply = visitor.submit(&page.url, &form).await?;
    visitor.follow(reply).await
}
