//! The shapes of what is stored.

mod decided;
mod methods;
mod passkeys;
mod people;
mod revalidation;
mod visitor_certificates;

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tunnel_policy::{Application, Attributes, EmailList, Group, IpList, Policy};
use tunnel_proto::{AppId, EmailAddress, HostPattern, Hostname, Identity, Name, OperatorId, TunnelId, UnixTime};

pub use decided::{Decided, DecidedCaller};
pub use methods::{
    GithubMethod, LoginMethod, LoginMethodKind, OpenIdMethod, OpenIdPreset, PasskeyMethod, SealedSecret,
};
pub use passkeys::{HeldPasskey, InvitationRecord, Joined, Joining, PASSKEYS_MAX, PasskeyKept, PasskeyRecord};
pub use people::{Ban, ISSUER_INVITED, ISSUER_MAILBOX, ISSUER_SETUP, Met, PersonRecord};
pub use revalidation::{Revalidation, Told};
pub use visitor_certificates::{HeldCertificate, OrderFailed, VisitorCertificate};

/// The keyed or plain SHA-256 of a secret: what is stored in its place. Comparing hashes leaks nothing of the secret.
pub type SecretHash = [u8; 32];

/// Everything an administrator declares: by file, dashboard or command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// Ways to log in, in the order shown.
    pub login_methods: Vec<LoginMethod>,
    /// Reusable rule lists.
    pub groups: Vec<Group>,
    /// Reusable policies.
    pub policies: Vec<Policy>,
    /// What the policies protect.
    pub applications: Vec<Application>,
    /// Connector identities.
    pub tunnels: Vec<TunnelRecord>,
    /// Which tunnel serves which hostname.
    pub routes: Vec<RouteRecord>,
    /// Administrators added beside those of `[admin] emails`.
    pub administrators: Vec<EmailAddress>,
    /// Hostnames that an administrator lets an operator take over, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promises: Vec<Promise>,
    /// Tokens by which machines are admitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_tokens: Vec<ServiceTokenRecord>,
    /// People who are not let in by anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bans: Vec<Ban>,
    /// Reusable lists of e-mail addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email_lists: Vec<EmailList>,
    /// Reusable lists of address ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_lists: Vec<IpList>,
    /// How long logins last.
    #[serde(default, skip_serializing_if = "SessionSettings::is_default")]
    pub sessions: SessionSettings,
}

/// How long a login at the login host lasts, and what holds for applications that do not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// How long at most (whole seconds); [`SESSION_DEFAULT`] when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// How long without being used (whole seconds); as long as it lasts when it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}

impl SessionSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A service token: what a machine proves itself by. Its secret is shown once and stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTokenRecord {
    /// Its stable name, by which policies mean it.
    pub name: Name,
    /// Its public id, which the machine sends beside the secret; stable for its life.
    pub id: String,
    /// The hash of its secret.
    pub secret: SecretHash,
    /// The secret before the last rotation, as long as that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// When it was created.
    pub created: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
}

/// A secret that was rotated away and counts a while longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// Its hash.
    pub secret: SecretHash,
    /// Until when.
    pub until: UnixTime,
}

/// An administrator's word, given with a tick on the approval page, that an operator may take a hostname from the tunnel
/// that served it then. Kept with the routes, so that using it up and moving the hostname are one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The hostname.
    pub hostname: HostPattern,
    /// Who may take it.
    pub operator: OperatorId,
    /// From which tunnel. When another serves it by then, the promise is void.
    pub from: TunnelId,
}

/// A tunnel: the identity of one private network's connectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRecord {
    /// Its identity, in the certificates of its connectors.
    pub id: TunnelId,
    /// Its stable name.
    pub name: Name,
    /// When it was created.
    pub created: UnixTime,
    /// The operator that created it and may act on it; `None` when an administrator or the edge's own machine did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OperatorId>,
}

/// A route: the administrator's word that a tunnel serves a hostname.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// The hostname or wildcard; each is routed to at most one tunnel.
    pub hostname: HostPattern,
    /// The tunnel.
    pub tunnel: TunnelId,
}

/// A session: a person's login at the login host, or its grants on one application host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// SHA-256 of the opaque id in the cookie or of the client token; the secret itself is stored nowhere.
    pub id: SecretHash,
    /// What carries it. A session counts when it comes in no other way.
    pub kind: SessionKind,
    /// What the computer calls itself that a client token was made for, or what kind of browser it is; its own word, for
    /// people only.
    pub device: Option<String>,
    /// Where it was begun from.
    pub source: Option<IpAddr>,
    /// The host it counts on, and no other: the one whose cookie carries it, or that the client token is for.
    pub host: Hostname,
    /// The login this session came from; `None` for a login itself.
    pub parent: Option<SecretHash>,
    /// Who logged in.
    pub identity: Identity,
    /// Who vouched for them: the issuer of the person, or [`ISSUER_SETUP`]. Empty when that is not known; such a session
    /// counts nowhere.
    pub issuer: String,
    /// What the login method said about them.
    pub attributes: Attributes,
    /// When it began.
    pub created: UnixTime,
    /// When it was last used, as far as that was written down.
    pub seen: UnixTime,
    /// When it ends, whatever the grants say.
    pub expires: UnixTime,
    /// The applications it opens, each until its own time.
    pub grants: Vec<Grant>,
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A browser, in a cookie.
    Browser,
    /// The access client, as a token.
    Client,
}

impl SessionKind {
    /// The kind as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Client => "client",
        }
    }
}

/// An application opened by a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The application.
    pub app: AppId,
    /// Until when.
    pub expires: UnixTime,
}

/// The kinds of one-time things. A thing of one kind is never accepted as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnceKind {
    /// The code that hands a login over to an application host (30 s).
    HandOver,
    /// The link that makes the first administrator.
    Setup,
    /// A machine's wish to enrol, keyed by its public request id (5 min).
    EnrolRequest,
    /// The answer to it, keyed by the machine's polling secret.
    EnrolAnswer,
    /// A login that is at a provider, keyed by its state (10 min, and known for 40).
    ProviderLogin,
    /// Where such a login has led, for who goes back in the browser (40 min).
    ProviderDone,
    /// The code that a browser brings back to the access client (60 s), bound to what the client proves.
    ClientCode,
    /// An access client's wish to be let in from another device, keyed by its public request id (5 min).
    ClientRequest,
    /// The answer to it, keyed by the client's polling secret.
    ClientAnswer,
    /// What a browser was asked for a login by passkey (5 min), bound to its login cookie.
    PasskeyLogin,
    /// What a browser was asked for a new passkey (5 min), bound to who is to have it.
    PasskeyAdd,
}

impl OnceKind {
    /// The kind as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HandOver => "hand_over",
            Self::Setup => "setup",
            Self::EnrolRequest => "enrol_request",
            Self::EnrolAnswer => "enrol_answer",
            Self::ProviderLogin => "provider_login",
            Self::ProviderDone => "provider_done",
            Self::ClientCode => "client_code",
            Self::ClientRequest => "client_request",
            Self::ClientAnswer => "client_answer",
            Self::PasskeyLogin => "passkey_login",
            Self::PasskeyAdd => "passkey_add",
        }
    }
}

/// A one-time thing.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTime {
    /// What it is.
    pub kind: OnceKind,
    /// Hash of the code that names it.
    pub key: SecretHash,
    /// Hash of what must be presented beside the code (a login cookie); all zero when nothing is.
    pub bind: SecretHash,
    /// What it stands for; sealed by the caller when secret.
    pub payload: Vec<u8>,
    /// When it lapses.
    pub expires: UnixTime,
}

/// A PIN challenge. Opened for every address alike; only an eligible address's challenge is ever armed.
#[derive(Clone, PartialEq, Eq)]
pub struct PinRecord {
    /// Hash of the challenge's random id.
    pub id: SecretHash,
    /// Hash of the login cookie of the browser that asked.
    pub login: SecretHash,
    /// The application.
    pub app: AppId,
    /// The address that was typed, sealed by the caller.
    pub email: Vec<u8>,
    /// When it was asked for.
    pub created: UnixTime,
    /// When it lapses, unless the mail is handed over and gives it a nearer time (30 min from the request).
    pub expires: UnixTime,
}

/// One try at a PIN.
#[derive(Clone, PartialEq, Eq)]
pub struct PinAttempt {
    /// Hash of the challenge's id.
    pub id: SecretHash,
    /// Hash of the login cookie presented.
    pub login: SecretHash,
    /// The application.
    pub app: AppId,
    /// Keyed hash of the code that was typed.
    pub code: SecretHash,
    /// Now.
    pub now: UnixTime,
    /// Wrong tries after which the challenge is void.
    pub max_tries: u32,
}

/// What a try at a PIN came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinOutcome {
    /// Right: the challenge is consumed. The sealed address is returned.
    Right(Vec<u8>),
    /// Wrong, with this many tries left (more than zero).
    Wrong(u32),
    /// Too many wrong tries, superseded by a newer code, or used already.
    Void,
    /// Too late.
    Expired,
    /// No such challenge for this browser and application.
    Unknown,
}

/// A mail in the queue.
#[derive(Clone, PartialEq, Eq)]
pub struct MailRecord {
    /// Number in the queue; 0 when new.
    pub id: i64,
    /// The sealed mail.
    pub sealed: Vec<u8>,
    /// Keyed hash of the recipient, for the log.
    pub recipient: SecretHash,
    /// The domain of the recipient, for the log.
    pub domain: String,
    /// When it was queued.
    pub queued: UnixTime,
    /// When it may next be tried.
    pub due: UnixTime,
    /// When it is worthless.
    pub expires: UnixTime,
    /// Tries so far.
    pub tries: u32,
}

/// What became of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailOutcome {
    /// The mail server took it.
    Sent,
    /// To be tried again at this time.
    Deferred(UnixTime, String),
    /// The mail server refused it for good.
    Bounced(String),
    /// It grew worthless while waiting.
    Lapsed,
    /// It was never meant to be sent: the address could not be admitted, and everything but the mail is done for it, too.
    Withheld,
}

/// One line of the delivery log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailLogEntry {
    /// Number of the mail.
    pub id: i64,
    /// `queued`, `sent`, `deferred`, `bounced` or `lapsed`.
    pub state: String,
    /// When the state was reached.
    pub at: UnixTime,
    /// The recipient's domain.
    pub domain: String,
    /// What the mail server said, where it said something.
    pub detail: Option<String>,
}

/// A certificate that the edge's CA issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub holder: CertificateHolder,
    /// When it was issued.
    pub issued: UnixTime,
    /// When it expires.
    pub expires: UnixTime,
}

/// Whose a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateHolder {
    /// The connectors of a tunnel.
    Tunnel(TunnelId),
    /// An operator.
    Operator(OperatorId),
}

/// A machine whose `connector login` an administrator approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// Its identity.
    pub id: OperatorId,
    /// What it called itself.
    pub machine: String,
    /// The hostnames it may publish.
    pub hostnames: Vec<HostPattern>,
    /// Who approved it.
    pub approved_by: EmailAddress,
    /// When.
    pub approved: UnixTime,
}

/// One audit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When.
    pub at: UnixTime,
    /// What happened.
    pub event: AuditEvent,
    /// Who did it or asked for it: an e-mail address, `local`, `tunnel:NAME`, `edge` for what it does by itself, or nothing
    /// for a stranger.
    pub actor: Option<String>,
    /// Where from.
    pub source: Option<IpAddr>,
    /// The application or other object concerned, by name.
    pub object: Option<String>,
    /// Why: the policy and rule, or what changed. Never a secret.
    pub detail: Option<String>,
    /// The reference printed on the page the person saw.
    pub reference: Option<String>,
    /// How many like it this record stands for (refusals are rate-limited).
    pub count: u32,
    /// What a decision was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Box<Decided>>,
}

/// What an audit record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditEvent {
    /// A fresh decision that admitted.
    Admitted,
    /// A fresh decision that refused.
    Refused,
    /// A PIN was asked for.
    PinRequested,
    /// A PIN's mail was handed to the mail server.
    PinSent,
    /// A wrong, void or late PIN was typed.
    PinFailed,
    /// Somebody logged in.
    Login,
    /// Somebody tried to, and the login method or the edge said no.
    LoginFailed,
    /// A service that evaluates people said neither yes nor no about somebody who opened an application.
    EvaluationFailed,
    /// An administrator tries a login method, or has done; nobody was logged in.
    LoginTried,
    /// Somebody logged out.
    Logout,
    /// A machine asked to enrol.
    EnrolRequested,
    /// An administrator approved it, or the local socket enrolled it.
    Enrolled,
    /// An administrator refused it.
    EnrolRefused,
    /// An access client asked a person to let it in.
    ClientAsked,
    /// The person let it in.
    ClientApproved,
    /// The person refused it.
    ClientRefused,
    /// A certificate was issued or renewed.
    CertificateIssued,
    /// A certificate for visitors cannot be had any more, or yet.
    CertificateFailed,
    /// A certificate, tunnel, operator or login was revoked: by an administrator, or by the provider that vouched for it.
    Revoked,
    /// The configuration changed.
    ConfigurationChanged,
    /// A key that signs assertions was made, or is published no more.
    KeysRotated,
    /// The first administrator was set up.
    SetUp,
    /// An administrator invited somebody, or gave them a new link.
    UserInvited,
    /// An administrator removed somebody who was invited.
    UserRemoved,
    /// A person has a new passkey.
    PasskeyAdded,
    /// A passkey was deleted.
    PasskeyRemoved,
    /// A connector's link came up.
    TunnelUp,
    /// A connector's last link went away.
    TunnelDown,
    /// Records that could not be kept; `count` says how many.
    Lost,
}

impl AuditEvent {
    /// The event as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::PinRequested => "pin_requested",
            Self::PinSent => "pin_sent",
            Self::PinFailed => "pin_failed",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::EvaluationFailed => "evaluation_failed",
            Self::LoginTried => "login_tried",
            Self::Logout => "logout",
            Self::EnrolRequested => "enrol_requested",
            Self::Enrolled => "enrolled",
            Self::EnrolRefused => "enrol_refused",
            Self::ClientAsked => "client_asked",
            Self::ClientApproved => "client_approved",
            Self::ClientRefused => "client_refused",
            Self::CertificateIssued => "certificate_issued",
            Self::CertificateFailed => "certificate_failed",
            Self::Revoked => "revoked",
            Self::ConfigurationChanged => "configuration_changed",
            Self::KeysRotated => "keys_rotated",
            Self::SetUp => "set_up",
            Self::UserInvited => "user_invited",
            Self::UserRemoved => "user_removed",
            Self::PasskeyAdded => "passkey_added",
            Self::PasskeyRemoved => "passkey_removed",
            Self::TunnelUp => "tunnel_up",
            Self::TunnelDown => "tunnel_down",
            Self::Lost => "lost",
        }
    }
}

impl AuditRecord {
    /// A record of `event` at `at`; the rest is filled in by struct update.
    pub fn new(at: UnixTime, event: AuditEvent) -> Self {
        Self {
            at,
            event,
            actor: None,
            source: None,
            object: None,
            detail: None,
            reference: None,
            count: 1,
            decided: None,
        }
    }
}

/// The longest that anything lets a session last.
pub const SESSION_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
/// The shortest login at the login host: with less, nobody gets through a day's work.
pub const LOGIN_MIN: Duration = Duration::from_secs(15 * 60);
/// The shortest time without use after which a session may end: with less, reading a page ends it.
pub const IDLE_MIN: Duration = Duration::from_secs(5 * 60);
/// How long a login lasts unless a policy says otherwise.
pub const SESSION_DEFAULT: Duration = Duration::from_secs(24 * 3600);
