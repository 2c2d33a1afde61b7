//! The connector of Tunnel: it stands beside a service, dials out to an edge, and carries to the service what the edge
//! lets through. Nothing listens towards the internet.
//!
//! A program that publishes something of its own starts from [`Origin::builder`]: it finds its edge and credentials, and
//! publishes under one hostname after another: what a web server beside it has, its own handlers, or connections. The package
//! has an example of each.
//!
#![cfg_attr(feature = "axum08", doc = "```no_run")]
#![cfg_attr(not(feature = "axum08"), doc = "```ignore")]
#![doc = include_str!("../examples/axum.rs")]
//! ```
//!
//! A server that stands elsewhere, behind somebody else's connector, checks who sends its requests with a [`Verifier`], or
//! with the layer for tower that is made of one (feature `tower`).
//!
//! Below it, start from [`Connector::builder`]. A connector needs an [`EdgeAddress`], [`Credentials`] (from enrolling, see [`enrol`]
//! and [`operator`]) and at least one [`Service`]: a web server at a port or a Unix socket, in clear or in TLS ([`ServiceOptions`] say
//! whom to believe there), a TCP service, or a [`StreamHandler`] in this very program, which then needs no listening port at all. It runs inside any tokio runtime,
//! installs nothing global and reads no environment.
//!
//! Who may visit is not decided here: the edge admits, and what it opened is served. HTTP is not looked into either; a
//! stream is bytes between the edge and the service that one of the connector's own rules names. TLS with a service is the
//! connector's, which looks into its certificate and nothing else.
//!
//! ```no_run
//! use tunnel_origin::{Connector, Credentials, EdgeAddress};
//!
//! # async fn example(credentials: Credentials) -> Result<(), Box<dyn std::error::Error>> {
//! let connector = Connector::builder()
//!     .edge(EdgeAddress::parse("https://access.example.com", None)?)
//!     .credentials(credentials)
//!     .service("www.example.com".parse::<tunnel_proto::HostPattern>()?, "http://localhost:3000".parse()?)
//!     .connect()
//!     .await?;
//! connector.run(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "axum08")]
pub mod axum08;
mod bastion;
mod connector;
mod credentials;
pub mod enrol;
mod error;
mod establish;
mod fresh;
pub mod hello;
mod identity;
mod listener;
mod live;
pub mod operator;
mod options;
mod origin;
pub mod pem;
mod published;
mod reach;
mod renewal;
mod serve;
mod service;
mod status;
mod stored;
mod supervise;
mod tls;
mod verifier;
#[cfg(feature = "tower")]
pub mod verify;

pub use connector::{Builder, CONNECTIONS, CONNECTIONS_MAX, Connector, GRACE};
pub use credentials::{CredentialStore, Credentials, CredentialsError};
pub use error::Error;
pub use identity::{Identity, IdentityError, Machine, Sender};
pub use listener::{Conn, Listener};
pub use options::{OptionsError, ServiceOptions};
pub use origin::{Builder as OriginBuilder, LINKS_EACH, Origin, listen};
pub use published::{Http, Published, Tcp};
pub use reach::SERVICE_CONNECT_LIMIT;
pub use service::{Opening, Service, ServiceError, StreamHandler};
pub use status::{Counters, Status};
pub use stored::{StoredError, StoredTunnel};
pub use tls::SERVICE_TLS_LIMIT;
pub use tunnel_auth::Jwks;
pub use tunnel_proto::{
    Destination, DestinationRange,
    dial::{AddressError, Backoff, EDGE_PORT, EdgeAddress, FIRST_RETRY_JITTER, RETRY_BASE, RETRY_CAP, SocketTarget},
    link::Stream,
    message::ServiceKind,
};
pub use verifier::{ASSERTION_HEADER, COMPATIBLE_HEADER, Verifier};
