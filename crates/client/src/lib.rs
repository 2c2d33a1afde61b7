//! The access client of Tunnel: it reaches TCP services that an edge protects, as a person who logs in or as a machine with
//! a service token.
//!
//! Start from [`Client::builder`]. A service is named by its hostname; everything else is found out: what is there is asked
//! at the host, and believed only when the edge that it names vouches for it. One link to that edge carries all connections,
//! inside a WebSocket where nothing else gets through. Who has to log in does so once; connections that come meanwhile wait
//! for it. It runs inside any tokio runtime, installs nothing global and reads no environment.
//!
//! Who may connect is not decided here, and the bytes are not looked into.
//!
//! ```no_run
#![doc = include_str!("../examples/connect.rs")]
//! ```

mod auth;
mod carrier;
mod client;
mod descriptor;
mod error;
mod event;
mod forward;
mod grants;
mod header;
mod host;
mod http;
mod login;
mod platform;
mod proxy;
#[cfg(feature = "reqwest013")]
mod reqwest013;
mod stream;
mod tcp;
mod text;
mod token;

pub use self::http::HttpConnector;
pub use auth::{Auth, LoginMethod};
pub use client::{Applications, Builder, Client};
pub use descriptor::App;
pub use error::{Error, Refuser};
pub use event::Event;
pub use forward::{Counters, Forward, ForwardOptions};
pub use header::ExtraHeader;
pub use host::AppHost;
pub use login::{Desk, Prompt};
pub use proxy::Proxy;
pub use stream::Stream;
pub use tcp::Tcp;
pub use text::plain;
pub use token::{Entry, FileStore, Login, LoginLock, MemoryStore, StoreError, Token, TokenStore};
pub use tunnel_proto::{
    access::{Reachable, ReachableKind},
    dial::{EdgeAddress, Pin, Trust},
};
