//! What the frames say. Bodies are CBOR maps (RFC 8949) with stable numeric keys; unknown keys are ignored.

mod grant;
mod options;

use std::net::IpAddr;

use minicbor::{Decode, Encode};

use crate::{
    HostPattern, Identity, InstanceId, LinkId, Name, Revision, RuleId, TunnelId,
    cbor::{address, addresses, coded, flag},
    enrol::{CreateTunnel, EnrolProblem, TunnelCreated},
    frame::{FrameError, FrameType, HEADER_LEN, Header, assemble},
    version::Version,
};

pub use grant::{
    Credential, Cut, CutReason, GrantRefusal, Granted, OpenGrant, Present, Refused, Revoked, RevokedReason,
};
pub use options::HttpOptions;

/// The most rules in a [`Table`]; `Limits::rules` says what the edge at hand takes.
pub const RULES_MAX: usize = 1024;
/// The longest text that explains something to a person, in bytes; longer ones are cut when sent.
pub const TEXT_MAX: usize = 512;
/// The longest path pattern of a [`Rule`], in bytes.
pub const PATH_MAX: usize = 1024;
/// The longest destination of an [`Open`], in bytes: a hostname, a colon and a port.
pub const DESTINATION_MAX: usize = 262;
/// The most versions or features in a [`Hello`], and edges in a [`Welcome`].
pub const LIST_MAX: usize = 64;
/// The longest name of a program, a feature or an edge, in bytes.
pub const LABEL_TEXT_MAX: usize = 256;
/// The most hostnames in a request of an operator.
pub const HOSTNAMES_MAX: usize = 256;
/// The longest part of a [`Present`]ed credential, in bytes.
pub const CREDENTIAL_MAX: usize = 256;
/// The most addresses in an [`Accepted`].
pub const ADDRESSES_MAX: usize = 16;

/// The opening of a link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The versions it speaks, in any order.
    #[n(0)]
    pub versions: Vec<u16>,
    /// Optional abilities, by name; unknown ones are ignored.
    #[n(1)]
    pub features: Vec<String>,
    /// What it is. Must agree with its certificate.
    #[n(2)]
    pub role: Role,
    /// Program and version, for example `connector 0.1.0`.
    #[n(3)]
    pub agent: String,
    /// The running process.
    #[n(4)]
    pub instance: InstanceId,
}

impl Hello {
    /// A greeting that offers every version this program speaks.
    pub fn new(role: Role, agent: impl Into<String>, instance: InstanceId) -> Self {
        let versions = crate::version::SUPPORTED.iter().map(|version| version.0).collect();
        Self { versions, features: Vec::new(), role, agent: agent.into(), instance }
    }
}

coded! {
    /// What a program is on a link.
    pub enum Role {
        /// Publishes services.
        Connector = 1 "connector",
        /// Manages tunnels inside its approved scope.
        Operator = 2 "operator",
        /// Serves visitors.
        Edge = 3 "edge",
        /// Opens protected services for a person or a program.
        Access = 4 "access",
    }
}

/// The link is up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The version that both speak from here on.
    #[n(0)]
    pub version: u16,
    /// The link, as both sides log it.
    #[n(1)]
    pub link: LinkId,
    /// What the edge takes.
    #[n(2)]
    pub limits: Limits,
    /// Other edges of this installation (`host:port`), to spread links over.
    #[n(3)]
    pub edges: Vec<String>,
}

/// What the edge takes from this peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Limits {
    /// Streams at a time in one link.
    #[n(0)]
    pub streams: u32,
    /// Rules in a table.
    #[n(1)]
    pub rules: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams: 1024, rules: 1024 }
    }
}

/// The link is not wanted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(map)]
#[error("the edge refused the link ({code}): {text}")]
pub struct Refuse {
    /// Why.
    #[n(0)]
    pub code: LinkRefusal,
    /// Why, for a person.
    #[n(1)]
    pub text: String,
    /// Whether trying again later can help.
    #[n(2)]
    pub retryable: bool,
}

coded! {
    /// Why a link is refused.
    pub enum LinkRefusal else Internal {
        /// Something else went wrong at the edge.
        Internal = 0 "internal",
        /// No version in common.
        VersionUnsupported = 1 "version_unsupported",
        /// The role is not the one of the certificate, or not welcome here.
        RoleMismatch = 2 "role_mismatch",
        /// The certificate or its tunnel is revoked.
        Revoked = 3 "revoked",
        /// The tunnel does not exist, or does not any more.
        UnknownTunnel = 4 "unknown_tunnel",
        /// The certificate has expired.
        CertificateExpired = 5 "certificate_expired",
        /// Too many links of this tunnel, or of all.
        TooManyLinks = 6 "too_many_links",
        /// The edge is shutting down.
        Draining = 7 "draining",
        /// The greeting could not be understood.
        Malformed = 8 "malformed",
    }
}

/// A connector's rules, whole. A later table replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Table {
    /// Grows with each table of a link.
    #[n(0)]
    pub revision: Revision,
    /// The rules, in order of precedence.
    #[n(1)]
    pub rules: Vec<Rule>,
}

/// One ingress rule as the edge needs to know it. The service itself stays with the connector.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rule {
    /// What a stream names.
    #[n(0)]
    pub id: RuleId,
    /// The hostnames it answers for.
    #[n(1)]
    pub hostname: HostPattern,
    /// A regular expression over the path, or every path.
    #[n(2)]
    pub path: Option<String>,
    /// What the service speaks.
    #[n(3)]
    pub kind: ServiceKind,
    /// How to speak HTTP to it.
    #[n(4)]
    pub http: HttpOptions,
}

coded! {
    /// What a service speaks.
    pub enum ServiceKind {
        /// HTTP/1.1.
        Http = 1 "http",
        /// HTTP/2 without TLS.
        H2c = 2 "h2c",
        /// Any bytes.
        Tcp = 3 "tcp",
        /// Any bytes, to a destination that the visitor names.
        Bastion = 4 "bastion",
    }
}

/// The table with this revision is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TableAccepted {
    /// Its revision.
    #[n(0)]
    pub revision: Revision,
}

/// The table with this revision is not in force; the one before it stays.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TableRefused {
    /// Its revision.
    #[n(0)]
    pub revision: Revision,
    /// The rule at fault, when one is.
    #[n(1)]
    pub rule: Option<RuleId>,
    /// Why.
    #[n(2)]
    pub code: TableRefusal,
    /// Why, for a person.
    #[n(3)]
    pub text: String,
}

coded! {
    /// Why a table is refused.
    pub enum TableRefusal else Internal {
        /// Something went wrong at the edge.
        Internal = 0 "internal",
        /// More rules than the edge takes.
        TooManyRules = 1 "too_many_rules",
        /// Two rules with one id.
        DuplicateRule = 2 "duplicate_rule",
        /// The path is not a regular expression, or too large a one.
        BadPath = 3 "bad_path",
        /// The revision is not greater than the one before.
        StaleRevision = 4 "stale_revision",
        /// The hostname is not routed to this tunnel.
        NotRouted = 5 "not_routed",
        /// The edge does not serve this kind.
        KindUnsupported = 6 "kind_unsupported",
        /// The `Host` for the service is not one.
        BadHostHeader = 7 "bad_host_header",
    }
}

/// Are you there?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ping {
    /// Comes back in the [`Pong`].
    #[n(0)]
    pub nonce: u64,
}

/// I am.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pong {
    /// From the [`Ping`].
    #[n(0)]
    pub nonce: u64,
}

/// No new streams; live ones may end until the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Drain {
    /// Why.
    #[n(0)]
    pub reason: DrainReason,
    /// Seconds after which the sender ends the link.
    #[n(1)]
    pub deadline_secs: u32,
}

coded! {
    /// Why a link drains.
    pub enum DrainReason else Unspecified {
        /// Not said, or not known to this program.
        Unspecified = 0 "unspecified",
        /// The program stops.
        Shutdown = 1 "shutdown",
        /// Another process takes the sender's place; the sender may still open streams, and ends the link itself.
        Upgrade = 2 "upgrade",
        /// The link has carried as many streams as a link may.
        Rotation = 3 "rotation",
        /// Links are spread anew.
        Rebalance = 4 "rebalance",
    }
}

/// Asks for the next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Renew {
    /// The signing request (PEM).
    #[n(0)]
    pub csr: String,
}

/// The next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Renewed {
    /// The certificate (PEM).
    #[n(0)]
    pub certificate: String,
    /// The edge's own CA (PEM).
    #[n(1)]
    pub ca: String,
}

/// Routes hostnames to a tunnel of the operator, all or none. Answered by [`Done`] or a problem.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Route {
    /// The tunnel.
    #[n(0)]
    pub tunnel: TunnelId,
    /// The hostnames.
    #[n(1)]
    pub hostnames: Vec<HostPattern>,
}

/// Asks for the operator's tunnels. Answered by [`Tunnels`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct List {}

/// The operator's tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Tunnels {
    /// In the order of their names.
    #[n(0)]
    pub tunnels: Vec<TunnelEntry>,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TunnelEntry {
    /// Its identity.
    #[n(0)]
    pub tunnel: TunnelId,
    /// Its name.
    #[n(1)]
    pub name: Name,
    /// Hostnames routed to it.
    #[n(2)]
    pub hostnames: Vec<HostPattern>,
    /// Links it has now.
    #[n(3)]
    pub links: u32,
}

/// Deletes a tunnel. Answered by [`Done`] or a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Delete {
    /// The tunnel.
    #[n(0)]
    pub tunnel: TunnelId,
}

/// Asks for a new certificate of a tunnel; earlier ones are revoked. Answered by [`Renewed`] or a problem.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rotate {
    /// The tunnel.
    #[n(0)]
    pub tunnel: TunnelId,
    /// The signing request (PEM).
    #[n(1)]
    pub csr: String,
}

/// What was asked is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Done {}

/// The first frame of a stream from an edge.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Open {
    /// The table in which the rule stands.
    #[n(0)]
    pub revision: Revision,
    /// The rule that names the service.
    #[n(1)]
    pub rule: RuleId,
    /// Where to (`host:port`), for a bastion.
    #[n(2)]
    pub destination: Option<String>,
    /// The visitor's address.
    #[n(3)]
    #[cbor(with = "address")]
    pub source: IpAddr,
    /// Who the visitor is; never on HTTP streams, which are pooled.
    #[n(4)]
    pub identity: Option<Identity>,
    /// Ties the logs of both sides together.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub trace: [u8; 16],
    /// The service token that opened it, by its name, where no person did; never on HTTP streams.
    #[n(6)]
    pub service_token: Option<Name>,
    /// For a bastion: only say which addresses the destination has, and connect to none. The stream ends with the answer.
    #[n(7)]
    #[cbor(with = "flag", has_nil)]
    pub resolve: bool,
}

impl Open {
    /// A stream for rule `rule` of the table `revision`, opened from `source`; the rest is filled in by struct update.
    pub fn new(revision: Revision, rule: RuleId, source: IpAddr, trace: [u8; 16]) -> Self {
        Self { revision, rule, destination: None, source, identity: None, trace, service_token: None, resolve: false }
    }
}

/// The first frame of a stream, whoever opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// From an edge: to a service.
    Service(Open),
    /// From an access client: to an application.
    Grant(OpenGrant),
}

impl From<Open> for Opening {
    fn from(open: Open) -> Self {
        Self::Service(open)
    }
}

impl From<OpenGrant> for Opening {
    fn from(open: OpenGrant) -> Self {
        Self::Grant(open)
    }
}

impl From<Opening> for Message {
    fn from(opening: Opening) -> Self {
        match opening {
            Opening::Service(open) => open.into(),
            Opening::Grant(open) => open.into(),
        }
    }
}

/// The stream is a connection to the service from here on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accepted {
    /// The addresses of the destination, where only they were asked for ([`Open::resolve`]); else none.
    #[n(0)]
    #[cbor(with = "addresses", has_nil)]
    pub addresses: Vec<IpAddr>,
}

/// The stream is not a connection to the service.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(map)]
#[error("the stream was refused ({code}): {text}")]
pub struct StreamRefused {
    /// Why.
    #[n(0)]
    pub code: StreamRefusal,
    /// Why, for a person who looks after the connector; never shown to visitors.
    #[n(1)]
    pub text: String,
}

coded! {
    /// Why a stream is refused.
    pub enum StreamRefusal else Internal {
        /// Something else went wrong.
        Internal = 0 "internal",
        /// The service refused the connection.
        ServiceRefused = 1 "service_refused",
        /// The service did not answer in time.
        ServiceTimeout = 2 "service_timeout",
        /// The service has no address, or there is no way to it.
        ServiceUnreachable = 3 "service_unreachable",
        /// No such rule in the table.
        UnknownRule = 4 "unknown_rule",
        /// The rule is for something else, or the opening lacks what the kind needs.
        WrongKind = 5 "wrong_kind",
        /// The table is not the one in force.
        StaleTable = 6 "stale_table",
        /// No new streams here; try another link.
        Draining = 7 "draining",
        /// As many streams as a link takes, or no descriptor, port or memory for another connection at the connector; try another
        /// link.
        TooManyStreams = 8 "too_many_streams",
        /// The connector does not let anybody reach that destination.
        DestinationDenied = 9 "destination_denied",
        /// The opening could not be understood.
        Malformed = 10 "malformed",
        /// The edge knows no such grant on this link, or it has ended.
        NotGranted = 11 "not_granted",
        /// The edge's policy does not admit, or not to that destination.
        NotAdmitted = 12 "not_admitted",
        /// No connector of the application is connected.
        NoTunnel = 13 "no_tunnel",
        /// The application is a bastion: a destination must be named, or what was named is none.
        DestinationRequired = 14 "destination_required",
        /// There is no TLS with the service: its certificate is not believed, or it does not speak what the rule needs.
        ServiceTls = 15 "service_tls",
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $variant:ident($body:ty),)*) => {
        /// Any frame, decoded.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is documented at the type it holds")]
        pub enum Message {
            $($variant($body),)*
        }

        impl Message {
            /// The type of the frame.
            pub const fn kind(&self) -> FrameType {
                match self { $(Self::$variant(_) => FrameType::$variant,)* }
            }

            fn body(&self) -> Vec<u8> {
                match self {
                    // Writing to a `Vec` cannot fail, and none of our own encoders makes an error.
                    $(Self::$variant(body) => minicbor::to_vec(body).unwrap_or_default(),)*
                }
            }

            /// Decodes a body. All of it must be used, and every limit kept.
            pub fn decode(kind: FrameType, body: &[u8]) -> Result<Self, FrameError> {
                let malformed = |reason: String| FrameError::Malformed { kind, reason };
                let mut decoder = minicbor::Decoder::new(body);
                let message = match kind {
                    $(FrameType::$variant => {
                        Self::$variant(decoder.decode().map_err(|error| malformed(error.to_string()))?)
                    })*
                    _ => return Err(FrameError::OutOfPlace { kind }),
                };
                if decoder.position() != body.len() {
                    return Err(malformed("bytes after the end".to_owned()));
                }
                check(&message).map_err(|what| malformed(format!("{what} exceeds its limit")))?;
                Ok(message)
            }
        }

        $(impl From<$body> for Message {
            fn from(body: $body) -> Self {
                Self::$variant(body)
            }
        })*
    };
}

messages! {
    Hello(Hello),
    Welcome(Welcome),
    Refuse(Refuse),
    Ping(Ping),
    Pong(Pong),
    Drain(Drain),
    Table(Table),
    TableAccepted(TableAccepted),
    TableRefused(TableRefused),
    Renew(Renew),
    Renewed(Renewed),
    CreateTunnel(CreateTunnel),
    TunnelCreated(TunnelCreated),
    Route(Route),
    List(List),
    Tunnels(Tunnels),
    Delete(Delete),
    Rotate(Rotate),
    Done(Done),
    Problem(EnrolProblem),
    Present(Present),
    Granted(Granted),
    Refused(Refused),
    Revoked(Revoked),
    Cut(Cut),
    Open(Open),
    Accepted(Accepted),
    StreamRefused(StreamRefused),
    OpenGrant(OpenGrant),
}

impl Message {
    /// The whole frame, header and body. Refused when a limit is not kept, so that a peer never sees it.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let kind = self.kind();
        check(self).map_err(|what| FrameError::Malformed { kind, reason: format!("{what} exceeds its limit") })?;
        assemble(kind, &self.body())
    }

    /// Reads one frame from the start of `bytes`: the message (or nothing, for a frame to skip) and the bytes it took.
    pub fn parse(bytes: &[u8], version: Version) -> Result<(Option<Self>, usize), FrameError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(FrameError::Short)?;
        let header = Header::parse(*header, version)?;
        let body = rest.get(..header.body_len()).ok_or(FrameError::Short)?;
        let taken = HEADER_LEN.saturating_add(body.len());
        match header {
            Header::Frame { kind, .. } => Ok((Some(Self::decode(kind, body)?), taken)),
            Header::Skip { .. } => Ok((None, taken)),
        }
    }
}

/// Cuts a text to [`TEXT_MAX`] on a character boundary.
pub fn short_text(text: impl Into<String>) -> String {
    let mut text = text.into();
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Holds every list and text to its limit; the answer names what exceeds it.
fn check(message: &Message) -> Result<(), &'static str> {
    let list = |len: usize, max: usize, what: &'static str| if len <= max { Ok(()) } else { Err(what) };
    let text = |text: &str, max: usize, what: &'static str| list(text.len(), max, what);
    match message {
        Message::Hello(hello) => {
            list(hello.versions.len(), LIST_MAX, "versions")?;
            list(hello.features.len(), LIST_MAX, "features")?;
            hello.features.iter().try_for_each(|feature| text(feature, LABEL_TEXT_MAX, "a feature"))?;
            text(&hello.agent, LABEL_TEXT_MAX, "agent")
        }
        Message::Welcome(welcome) => {
            list(welcome.edges.len(), LIST_MAX, "edges")?;
            welcome.edges.iter().try_for_each(|edge| text(edge, LABEL_TEXT_MAX, "an edge"))
        }
        Message::Refuse(refuse) => text(&refuse.text, TEXT_MAX, "text"),
        Message::Table(table) => {
            list(table.rules.len(), RULES_MAX, "rules")?;
            table.rules.iter().try_for_each(|rule| {
                text(rule.path.as_deref().unwrap_or_default(), PATH_MAX, "path")?;
                text(rule.http.host_header.as_deref().unwrap_or_default(), LABEL_TEXT_MAX, "host header")
            })
        }
        Message::TableRefused(refused) => text(&refused.text, TEXT_MAX, "text"),
        Message::CreateTunnel(create) => list(create.hostnames.len(), HOSTNAMES_MAX, "hostnames"),
        Message::Route(route) => list(route.hostnames.len(), HOSTNAMES_MAX, "hostnames"),
        Message::Open(open) => text(open.destination.as_deref().unwrap_or_default(), DESTINATION_MAX, "destination"),
        Message::OpenGrant(open) => {
            text(open.destination.as_deref().unwrap_or_default(), DESTINATION_MAX, "destination")
        }
        Message::StreamRefused(refused) => text(&refused.text, TEXT_MAX, "text"),
        Message::Accepted(accepted) => list(accepted.addresses.len(), ADDRESSES_MAX, "addresses"),
        Message::Present(present) => match &present.credential {
            Credential::ClientToken(token) => text(token, CREDENTIAL_MAX, "credential"),
            Credential::ServiceToken { id, secret } => {
                text(id, CREDENTIAL_MAX, "credential")?;
                text(secret, CREDENTIAL_MAX, "credential")
            }
        },
        Message::Refused(refused) => text(&refused.text, TEXT_MAX, "text"),
        Message::Granted(_)
        | Message::Revoked(_)
        | Message::Cut(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Drain(_)
        | Message::TableAccepted(_)
        | Message::Renew(_)
        | Message::Renewed(_)
        | Message::TunnelCreated(_)
        | Message::List(_)
        | Message::Tunnels(_)
        | Message::Delete(_)
        | Message::Rotate(_)
        | Message::Done(_)
        | Message::Problem(_) => Ok(()),
    }
}
