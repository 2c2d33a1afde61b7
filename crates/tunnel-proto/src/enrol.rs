//! What is said while a machine enrols, before it has a certificate: JSON over verified HTTPS (`POST /.access/enroll`) or
//! over the edge's owner-only Unix socket (`DATA-DIR/edge.sock`, HTTP/1.1).

use serde::{Deserialize, Serialize};

use crate::{HostPattern, Hostname, Name, OperatorId, TunnelId, UnixTime};

/// The path of the enrolment endpoint on the login host.
pub const ENROL_PATH: &str = "/.access/enroll";
/// The name of the edge's socket in its data directory.
pub const SOCKET_NAME: &str = "edge.sock";
/// The longest body of any request or answer here, in bytes.
pub const ENROL_BODY_MAX: usize = 64 * 1024;

/// A request to the enrolment endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum EnrolRequest {
    /// `connector login` begins: asks for a code that an administrator approves.
    Login {
        /// What the machine calls itself (at most 64 characters; shown as its own claim).
        machine: String,
        /// Program and version, for example `connector 0.1.0, Linux x86_64`.
        software: String,
        /// The hostnames it would like to publish; pre-fills the approval page.
        hostnames: Vec<HostPattern>,
        /// The certificate signing request (PEM) for the operator's key.
        csr: String,
    },
    /// Asks whether the login was approved.
    Poll {
        /// The polling secret of [`EnrolAnswer::Started`].
        secret: String,
    },
}

/// An answer of the enrolment endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum EnrolAnswer {
    /// The login waits for an administrator.
    Started {
        /// Where the administrator approves.
        url: String,
        /// The code shown on both sides, for example `KXBT-3MRQ`.
        code: String,
        /// What the machine polls with; secret, and useless without an approval.
        secret: String,
        /// When the login lapses.
        expires: UnixTime,
        /// Seconds between polls.
        interval: u32,
    },
    /// Not decided yet.
    Pending,
    /// Approved.
    Approved(Operator),
    /// Refused, lapsed or unknown.
    Refused {
        /// Why, for the person at the terminal.
        reason: String,
    },
}

/// What an approved machine gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Its identity.
    pub id: OperatorId,
    /// The zone it belongs to.
    pub zone: Hostname,
    /// The operator certificate (PEM).
    pub certificate: String,
    /// The edge's own CA (PEM), which it trusts for links from now on.
    pub ca: String,
    /// The hostnames it may publish.
    pub hostnames: Vec<HostPattern>,
}

/// What the local socket tells about the edge (`GET /v1/info`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeInfo {
    /// The zone.
    pub zone: Hostname,
    /// The base address of the login host, for example `https://access.localhost:8443`; links go to the same place.
    pub edge: String,
    /// The edge's own CA (PEM).
    pub ca: String,
    /// The version of the edge program.
    pub version: String,
    /// Whether this is the quick start (zone `localhost`).
    pub quick_start: bool,
    /// The base address that visitors of the quick start use, for example `http://HOST:8080`, with `HOST` to be replaced.
    pub visit: String,
}

/// Asks for a tunnel: created, or reused if it has this name and the same owner (`POST /v1/tunnels` on the socket).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct CreateTunnel {
    /// Its stable name.
    #[n(0)]
    pub name: Name,
    /// Hostnames to route to it, all or none.
    #[n(1)]
    pub hostnames: Vec<HostPattern>,
    /// The certificate signing request (PEM) for the connector's key.
    #[n(2)]
    pub csr: String,
}

/// A tunnel, ready to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct TunnelCreated {
    /// Its identity.
    #[n(0)]
    pub tunnel: TunnelId,
    /// Its name.
    #[n(1)]
    pub name: Name,
    /// The connector certificate (PEM).
    #[n(2)]
    pub certificate: String,
    /// The edge's own CA (PEM).
    #[n(3)]
    pub ca: String,
    /// Hostnames now routed to it.
    #[n(4)]
    pub hostnames: Vec<HostPattern>,
    /// Addresses at which the visitor opens them.
    #[n(5)]
    pub urls: Vec<String>,
}

/// Why the edge did not do what the socket or the endpoint was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct EnrolProblem {
    /// A stable code, for example `hostname_taken`.
    #[n(0)]
    pub code: String,
    /// One sentence for a person: what is wrong and what to do next.
    #[n(1)]
    pub message: String,
}
