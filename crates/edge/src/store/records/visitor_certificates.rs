//! Certificates that visitors are shown.

use tunnel_proto::{HostPattern, UnixTime};

/// A certificate that visitors are shown, or the wish for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorCertificate {
    /// The name it is for; a wildcard's is also for the name above it.
    pub name: HostPattern,
    /// The certificate, once there is one.
    pub held: Option<HeldCertificate>,
    /// How often in a row it could not be had since.
    pub failures: u32,
    /// Not to be ordered before.
    pub next: UnixTime,
    /// Why it could not be had, the last time.
    pub error: Option<String>,
    /// Until when somebody orders it.
    pub claimed: UnixTime,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCertificate {
    /// The chain (PEM), leaf first.
    pub chain: String,
    /// The private key, sealed by the caller.
    pub sealed: Vec<u8>,
    /// The directory of the authority that gave it; another authority's is replaced. Empty when it is to be replaced anyway.
    pub directory: String,
    /// From when it is good.
    pub issued: UnixTime,
    /// Until when.
    pub expires: UnixTime,
}

/// Why an order failed, and when the next may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderFailed<'a> {
    /// How often in a row by now.
    pub failures: u32,
    /// When to try again.
    pub next: UnixTime,
    /// Why.
    pub error: &'a str,
}
