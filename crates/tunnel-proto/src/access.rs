//! What is said while a person logs in to an application with the access client: JSON over verified HTTPS, before there is
//! a token. Times are seconds since 1970.
//!
//! 1. `GET https://HOST/.access/app` is answered by a [`SignedApp`]: what is at HOST, signed by the edge that says so. Its
//!    keys come from `https://LOGIN-HOST/.access/certs`, where LOGIN-HOST is that of its issuer, and from nowhere else.
//! 2. With a browser on the same machine: the browser is sent to [`AuthorizeQuery`] at the login host, and comes back to a
//!    port of the loopback address with a code ([`TokenRequest::Redeem`]; RFC 8252, RFC 7636). Without one:
//!    [`DeviceRequest`] and [`TokenRequest::Poll`] (after RFC 8628).
//! 3. Either way the answer is a token for one application.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AppId, EmailAddress, HostPattern, Hostname, Name, UnixTime};

/// The path of the application descriptor, on every host of an application.
pub const APP_PATH: &str = "/.access/app";
/// The path of the page on which a person lets a program in, on the login host.
pub const CLI_PATH: &str = "/.access/cli";
/// The path at which a program without a browser begins, on the login host.
pub const CLI_DEVICE_PATH: &str = "/.access/cli/device";
/// The path at which codes are turned into tokens, on the login host.
pub const CLI_TOKEN_PATH: &str = "/.access/cli/token";
/// The path of a link over a WebSocket, on the login host, for where something in between spoils the native one.
pub const LINK_PATH: &str = "/.access/link";
/// The WebSocket protocol (`Sec-WebSocket-Protocol`) of such a link.
pub const LINK_PROTOCOL: &str = "tunnel-access.1";
/// The `typ` of an application descriptor's header.
pub const APP_TYPE: &str = "tunnel-app+jwt";
/// How long a descriptor may count, in seconds.
pub const APP_LIFE: u64 = 10 * 60;
/// The longest body of any request or answer here, in bytes, but of [`TokenAnswer::Applications`].
pub const ACCESS_BODY_MAX: usize = 16 * 1024;
/// The longest body of [`TokenAnswer::Applications`], in bytes.
pub const APPLICATIONS_BODY_MAX: usize = 256 * 1024;
/// The most applications of [`TokenAnswer::Applications`].
pub const APPLICATIONS_MAX: usize = 500;
/// The longest text about the computer or the program that asks, in characters; longer ones are cut.
pub const CLAIM_MAX: usize = 64;

/// The answer at [`APP_PATH`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedApp {
    /// An [`AppClaims`], signed by the edge (JWS compact form, ES256, `typ` [`APP_TYPE`], with `kid`).
    pub descriptor: String,
}

/// What is at a hostname.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppClaims {
    /// The edge: `https://LOGIN-HOST[:port]`.
    pub iss: String,
    /// The application.
    pub aud: AppId,
    /// The hostname that was asked for. Whoever asked another one believes none of this.
    pub hostname: Hostname,
    /// The application's name, to show.
    pub name: Name,
    /// When it was said.
    pub iat: UnixTime,
    /// Until when it counts.
    pub exp: UnixTime,
}

/// The query of [`CLI_PATH`] for a program with a browser on the same machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizeQuery {
    /// The application.
    pub app: AppId,
    /// Its hostname.
    pub host: Hostname,
    /// Where the browser goes in the end: `http://127.0.0.1:PORT/RANDOM` or `http://[::1]:PORT/RANDOM`.
    pub redirect_uri: String,
    /// base64url(SHA-256(verifier)), 43 characters (RFC 7636).
    pub code_challenge: String,
    /// `S256`.
    pub code_challenge_method: String,
    /// Comes back as it is; 43 characters of base64url.
    pub state: String,
    /// The code that the terminal shows, for the person to compare: four digits.
    pub code: String,
    /// What the computer calls itself.
    pub computer: String,
    /// The command that was typed, for example `access rdp --hostname rdp.example.com`.
    pub command: String,
}

/// A request to [`CLI_DEVICE_PATH`]: begins a login that is approved in a browser elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRequest {
    /// The application.
    pub app: AppId,
    /// Its hostname.
    pub host: Hostname,
    /// What the computer calls itself.
    pub computer: String,
    /// The command that was typed.
    pub command: String,
}

/// The answer to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStarted {
    /// Where a person decides, on any device.
    pub url: String,
    /// The code that whoever approves has to type: four digits, which the terminal alone shows.
    pub code: String,
    /// What the program polls with; secret, and useless without an approval.
    pub secret: String,
    /// When the login lapses.
    pub expires: UnixTime,
    /// Seconds between polls.
    pub interval: u32,
}

impl fmt::Debug for DeviceStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceStarted").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A request to [`CLI_TOKEN_PATH`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenRequest {
    /// Turns the code that the browser brought back into a token, once.
    Redeem {
        /// The code.
        code: String,
        /// What the challenge was made of: 43 to 128 characters.
        verifier: String,
        /// The `redirect_uri` as it was given.
        redirect_uri: String,
    },
    /// Asks whether the device login was approved.
    Poll {
        /// The secret of [`DeviceStarted`].
        secret: String,
    },
    /// Ends a token: whoever holds it logs out.
    End {
        /// The token.
        token: String,
    },
    /// Asks what the person of a token may open from here.
    List {
        /// The token, of any application.
        token: String,
    },
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redeem { .. } => "Redeem(…)",
            Self::Poll { .. } => "Poll(…)",
            Self::End { .. } => "End(…)",
            Self::List { .. } => "List(…)",
        })
    }
}

/// The answer to it. Anything but status 200 comes with an [`EnrolProblem`](crate::enrol::EnrolProblem), whose codes are
/// `malformed` (400), `refused` (403), `gone` (410), `too_many` (429) and `internal` (500).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum TokenAnswer {
    /// Not decided yet.
    Pending,
    /// The token.
    Token(TokenIssued),
    /// Refused, or not admitted.
    Refused {
        /// Why, for the person at the terminal.
        reason: String,
    },
    /// The token is ended.
    Ended,
    /// What the person may open from the address that asks, at most [`APPLICATIONS_MAX`], by hostname.
    Applications {
        /// The person.
        email: EmailAddress,
        /// Their applications.
        applications: Vec<Reachable>,
    },
}

/// An application that somebody may open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachable {
    /// Its name.
    pub name: Name,
    /// Where it is.
    pub host: HostPattern,
    /// What is there; nothing while no connector is connected that serves it.
    pub kind: Option<ReachableKind>,
}

/// How something is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachableKind {
    /// In a browser.
    Http,
    /// With the access client.
    Tcp,
    /// With the access client and a destination.
    Bastion,
}

/// A client token: opens one application at one hostname, for as long as its session lives.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenIssued {
    /// The token: 43 characters of base64url. A secret.
    pub token: String,
    /// The hostname that it is for. A client that asked for another one keeps nothing.
    pub host: Hostname,
    /// The application.
    pub app: AppId,
    /// Who logged in.
    pub email: EmailAddress,
    /// When it ends.
    pub expires: UnixTime,
}

impl fmt::Debug for TokenIssued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssued").field("host", &self.host).field("expires", &self.expires).finish_non_exhaustive()
    }
}
