//! Doors for fuzzing: functions inside that take what the network, or a file, says. No part of the library's face, and free
//! to change; each only passes on what it is given.

use std::sync::Arc;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tunnel_proto::UnixTime;

use crate::{
    client_login, declare, forward, login,
    snapshot::BuiltIn,
    store::Declared,
    strict::{Pace, Strict},
};

/// Whoever answers the requests of a connection that [`strict`] made.
pub struct Answering(Arc<Pace>);

impl Answering {
    /// Whether the request that is now asked is refused.
    pub fn is_refused(&self) -> bool {
        self.0.refused().is_some()
    }

    /// The request that was asked has its answer.
    pub fn answered(&self) {
        self.0.answer(false);
    }
}

/// A visitor's connection of HTTP/1 as the HTTP library reads it.
pub fn strict<S>(io: S) -> (impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Answering)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pace = Arc::<Pace>::default();
    (Strict::new(io, Some(pace.clone())), Answering(pace))
}

/// What of a visitor's fields goes on to an origin, before our own are set.
pub fn to_origin(headers: &HeaderMap) -> HeaderMap {
    forward::head::request(headers)
}

/// What of an origin's fields goes on to a visitor.
pub fn to_visitor(headers: &HeaderMap) -> HeaderMap {
    forward::head::response(headers.clone())
}

/// The path and query that a login returns to, of the target that was asked for.
pub fn return_target(raw: &str) -> &str {
    login::request::target(raw)
}

/// Whether the answer to an access client may be brought there.
pub fn is_client_callback(uri: &str) -> bool {
    client_login::ask::is_loopback(uri)
}

/// A declaration that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The file that `edge export` would write.
    pub exported: String,
    /// What applying that file would change, or why it is refused.
    pub again: Result<Vec<declare::Change>, declare::Problems>,
}

/// Applies access.yaml to an edge on which nothing is declared, and its export to what came of it. Nothing is stored, and no
/// secret can be declared.
pub fn declare(text: &str) -> Result<Accepted, declare::Problems> {
    let login_host = "access.example.com".parse().ok();
    let built_in = BuiltIn { login_host, ..BuiltIn::default() };
    let now = UnixTime(1_800_000_000);
    let ground = declare::Ground { built_in: &built_in, mail: true, countries: true, keys: None, actor: "local", now };
    let request = |text: &str| declare::Request {
        file: "access.yaml".to_owned(),
        text: text.to_owned(),
        ..declare::Request::default()
    };
    let once = declare::laid(&request(text), &Declared::default(), &ground)?;
    let exported = declare::written(&once).unwrap_or_default();
    let twice = declare::laid(&request(&exported), &once, &ground);
    let again = twice.map(|twice| declare::changes(&once, &twice));
    Ok(Accepted { exported, again })
}
