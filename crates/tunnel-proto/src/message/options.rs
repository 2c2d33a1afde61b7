//! How a service is spoken to, beyond what it speaks.

use minicbor::{Decode, Encode};

use crate::cbor::flag;

/// How to speak HTTP to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HttpOptions {
    /// The `Host` that the service sees, instead of the visitor's.
    #[n(0)]
    pub host_header: Option<String>,
    /// The connector does TLS with the service, whose addresses therefore begin with `https:`.
    #[n(1)]
    #[cbor(with = "flag", has_nil)]
    pub tls: bool,
}
