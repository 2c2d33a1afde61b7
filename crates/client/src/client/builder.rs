//! What a client is made of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::broadcast;
use tunnel_proto::{
    InstanceId,
    dial::{EdgeAddress, Trust, random},
};

use super::{Client, EVENTS_MAX, Inner, Means};
use crate::{
    auth::Auth,
    carrier::Carrier,
    error::Error,
    header::ExtraHeader,
    login::claim,
    proxy::Proxy,
    token::{MemoryStore, TokenStore},
};

/// What a client is made of. Everything but [`auth`](Self::auth) has a default.
#[must_use]
pub struct Builder {
    edge: Option<EdgeAddress>,
    pages: Option<String>,
    trust: Trust,
    auth: Auth,
    store: Arc<dyn TokenStore>,
    proxy: Option<Proxy>,
    headers: Vec<ExtraHeader>,
    agent: String,
    computer: String,
    command: String,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            edge: None,
            pages: None,
            trust: Trust::Web,
            auth: Auth::stored(),
            store: Arc::new(MemoryStore::new()),
            proxy: None,
            headers: Vec::new(),
            agent: concat!("tunnel-client ", env!("CARGO_PKG_VERSION")).to_owned(),
            computer: "a computer without a name".to_owned(),
            command: "a program".to_owned(),
        }
    }

    /// The edge that every host belongs to, and where it is dialled [default: each host says which it is].
    pub fn edge(mut self, edge: EdgeAddress) -> Self {
        self.edge = Some(edge);
        self
    }

    /// Whom to believe that an edge is who it says [default: the roots of this machine].
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// How to prove who is asking [default: only logins that are in the store].
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Where logins are kept [default: in memory].
    pub fn token_store(mut self, store: impl TokenStore) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// The HTTP proxy on the way [default: none].
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// A header field for the requests that open a WebSocket, where a link needs one [default: none]. Repeatable.
    pub fn header(mut self, header: ExtraHeader) -> Self {
        self.headers.push(header);
        self
    }

    /// Program and version, as the edge shows them.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// What this computer calls itself, shown to whoever approves a login.
    pub fn computer(mut self, name: &str) -> Self {
        self.computer = claim(name);
        self
    }

    /// What the person typed, shown to whoever approves a login.
    pub fn command(mut self, command: &str) -> Self {
        self.command = claim(command);
        self
    }

    /// Where a browser on this machine reaches the login host, when that is not the edge's own address.
    pub fn pages(mut self, base: impl Into<String>) -> Self {
        self.pages = Some(base.into());
        self
    }

    /// The client. Nothing is connected before the first host is opened.
    pub fn build(self) -> Result<Client, Error> {
        let means = Means {
            carrier: Carrier::new(&self.trust, self.proxy, self.headers)?,
            edge: self.edge,
            pages: self.pages,
            auth: self.auth,
            store: self.store,
            computer: self.computer,
            command: self.command,
            events: broadcast::Sender::new(EVENTS_MAX),
        };
        let inner = Inner {
            means: Arc::new(means),
            agent: self.agent,
            instance: InstanceId::from_random(random().map_err(Error::internal)?),
            places: Mutex::new(HashMap::new()),
            hubs: Mutex::new(HashMap::new()),
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}
