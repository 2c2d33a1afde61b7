//! Logging in at an OpenID provider (OpenID Connect Core 1.0, code flow): what it is asked, and what is believed of what it
//! answers.
//!
//! Everything here is a function of bytes, settings and the time. Fetching is the caller's: in this order, a provider's
//! [`Discovery`], its [`KeySet`], the visitor's way there ([`Authorization`]), the exchange of the code that comes back
//! ([`CodeExchange`], [`TokenAnswer`]), and [`verify`]. What a verified token says about a person is judged by
//! [`Reading::resolve`]. Later the provider may be asked again, by a [`RefreshExchange`], and what it says then is verified
//! in the same way. Nothing that a provider calls supported widens what is accepted, and no part of a token says by which
//! key or algorithm it is checked.

mod authorize;
mod discovery;
mod evaluation;
mod id_token;
mod identity;
mod json;
mod keys;
mod token;

pub use authorize::{Authorization, challenge, nonce, verifier};
pub use discovery::{ClientAuthentication, Discovery, DiscoveryError};
pub use evaluation::{ANSWER_LIFE, EvaluationError, answer};
pub use id_token::{Claims, Expected, LEEWAY, Nonce, TOKEN_MAX, TokenError, verify};
pub use identity::{
    CLAIMS_MAX, CLAIMS_SIZE_MAX, Email, GROUP_SIZE_MAX, GROUPS_MAX, Reading, Refusal, Resolution, ToldAnew, Trust,
    Userinfo, UserinfoError, graph_groups,
};
pub use json::JsonError;
pub(crate) use json::{list, object};
pub use keys::{Algorithm, KEYS_MAX, KeySet, KeySetError};
pub use token::{CodeExchange, REFRESH_TOKEN_MAX, RefreshExchange, TokenAnswer, TokenRefusal, error_code};

#[cfg(test)]
mod tests;
