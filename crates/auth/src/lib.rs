//! Who is asking: the pure rules of authentication.
//!
//! Everything here is a function of its arguments: the time and the random bytes are passed in, and nothing is read from a
//! clock, a socket or a file. What is kept, sent or counted is the edge's business; what a code, a cookie or a token *is*,
//! how it is made, hashed, sealed and judged, is decided here.
//!
//! - [`secret`]: hashing what must not be stored, comparing without telling by time.
//! - [`seal`]: AES-256-GCM for what is stored or handed to a browser and must come back unread and unchanged.
//! - [`opaque`]: the random values in cookies and addresses ([`SessionId`], [`LoginId`], [`HandOverCode`], …).
//! - [`pin`]: one-time PINs and their limits.
//! - [`form`]: the token that ties a form to the browser it was made for.
//! - [`assertion`]: the signed statement that an origin receives about a visitor.
//! - `oidc` and `github` (feature `oidc`): what is said to a provider and what is believed of its answers.
//! - `passkeys`, a feature: what a browser is asked for a passkey, and what its answer proves.
//!
//! ```
//! use tunnel_auth::{SessionId, pin::Pin};
//!
//! let session = SessionId::from_random([7; 32]); // random bytes come from the caller
//! assert_eq!(SessionId::parse(&session.reveal()).unwrap().hash(), session.hash());
//! assert_eq!(Pin::from_typed(" 1234 5678 ").unwrap().grouped().as_str(), "1234 5678");
//! ```

pub mod assertion;
pub mod form;
#[cfg(feature = "oidc")]
pub mod github;
#[cfg(feature = "oidc")]
pub mod oidc;
pub mod opaque;
#[cfg(feature = "passkeys")]
pub mod passkeys;
pub mod pin;
pub mod seal;
pub mod secret;

pub use assertion::{Algorithm, AppError, AssertionClaims, AssertionError, Jwks, SigningKey, app_issuer, verify_app};
pub use opaque::{
    ChallengeId, ClientCode, ClientToken, HandOverCode, LoginId, LoginState, ServiceSecret, SessionId, TrialId,
};
pub use pin::Pin;
pub use seal::{OpenError, SealKey};
pub use secret::{HashKey, SecretBytes};
