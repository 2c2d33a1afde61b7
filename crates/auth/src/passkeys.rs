//! Passkeys (WebAuthn Level 3): what a browser is asked, and whether what it answers proves who somebody is.
//!
//! A thin cover of `webauthn-rs`, which narrows it to the one way that we use: a passkey that its authenticator finds by
//! itself (discoverable), the user verified by it, no attestation. What was asked is serialised for the caller to keep: on
//! the server and for one answer only, or a replayed answer would count. Challenges come from the library's own generator;
//! the library looks at a clock for attestation alone, which is not asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tunnel_proto::{EmailAddress, Hostname, PersonId};
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid,
    Webauthn, WebauthnBuilder, WebauthnError,
};

/// How long a browser may take for an answer.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(5 * 60);

/// Who asks: the host at which people log in, as browsers know it.
#[derive(Debug)]
pub struct RelyingParty(Webauthn);

impl RelyingParty {
    /// The relying party `id`, called `name` where authenticators show one. A browser must be at exactly one of `origins`
    /// (`scheme://host[:port]`), the first of which is at `id`.
    pub fn new(id: &Hostname, name: &str, origins: &[&str]) -> Result<Self, PasskeyError> {
        let parsed: Result<Vec<Url>, _> = origins.iter().map(|origin| Url::parse(origin)).collect();
        let origins = parsed.map_err(|_| PasskeyError::Setup(WebauthnError::Configuration))?;
        let (first, others) = origins.split_first().ok_or(PasskeyError::Setup(WebauthnError::Configuration))?;
        let builder = WebauthnBuilder::new(id.as_str(), first).map_err(PasskeyError::Setup)?;
        let builder = builder.rp_name(name).timeout(CHALLENGE_LIFE);
        let builder = others.iter().fold(builder, |builder, other| builder.append_allowed_origin(other));
        builder.build().map(Self).map_err(PasskeyError::Setup)
    }

    /// Asks for a new passkey of `person`, on no authenticator that holds one of `held`. Returns the options for
    /// `navigator.credentials.create` (the value of `publicKey`), and what [`RelyingParty::register`] needs.
    pub fn begin_registration(
        &self,
        person: PersonId,
        email: &EmailAddress,
        name: &str,
        held: &[Passkey],
    ) -> Result<(Value, Registration), PasskeyError> {
        let held = held.iter().map(|passkey| passkey.0.cred_id().clone()).collect();
        let user = Uuid::from_bytes(*person.as_bytes());
        let begun = self.0.start_passkey_registration(user, email.as_str(), name, Some(held));
        let (options, state) = begun.map_err(PasskeyError::Setup)?;
        let mut options = public_key(&options)?;
        // The library discourages authenticators from keeping the passkey where they find it by themselves.
        if let Some(Value::Object(wanted)) = options.get_mut("authenticatorSelection") {
            wanted.insert("residentKey".to_owned(), json!("required"));
            wanted.insert("requireResidentKey".to_owned(), json!(true));
        }
        Ok((options, Registration(state)))
    }

    /// The passkey that a browser made, if it answers what was asked.
    pub fn register(&self, asked: &Registration, answer: &RegistrationAnswer) -> Result<Passkey, PasskeyError> {
        // Nobody vouches for this word of the browser, but a passkey that is lost at the first login helps nobody.
        let found_by_itself = answer.0.extensions.cred_props.as_ref().and_then(|props| props.rk);
        if found_by_itself == Some(false) {
            return Err(PasskeyError::NotDiscoverable);
        }
        self.0.finish_passkey_registration(&answer.0, &asked.0).map(Passkey).map_err(PasskeyError::Refused)
    }

    /// Asks for any passkey that the browser has for this relying party. Returns the options for
    /// `navigator.credentials.get` (the value of `publicKey`), and what [`RelyingParty::authenticate`] needs.
    pub fn begin_login(&self) -> Result<(Value, Authentication), PasskeyError> {
        let (options, state) = self.0.start_discoverable_authentication().map_err(PasskeyError::Setup)?;
        Ok((public_key(&options)?, Authentication(state)))
    }

    /// Whether a browser's answer was made by `passkey` for what was asked, with its user verified. The caller has looked
    /// the passkey up by [`LoginAnswer::credential`], and checked that it is of [`LoginAnswer::person`]. What the passkey
    /// counts is brought up to date and must be kept.
    pub fn authenticate(
        &self,
        asked: &Authentication,
        answer: &LoginAnswer,
        passkey: &mut Passkey,
    ) -> Result<(), PasskeyError> {
        let done = self.0.finish_discoverable_authentication_v2(&answer.0, asked.0.clone(), &passkey.0);
        let done = done.map_err(|error| match error {
            WebauthnError::CredentialPossibleCompromise => PasskeyError::Copied,
            error => PasskeyError::Refused(error),
        })?;
        // Asked for above all, so never merely hoped for.
        if !done.user_verified() {
            return Err(PasskeyError::Refused(WebauthnError::UserNotVerified));
        }
        passkey.0.update_credential(&done);
        Ok(())
    }
}

fn public_key(options: &impl Serialize) -> Result<Value, PasskeyError> {
    let mut options = serde_json::to_value(options).map_err(|_| PasskeyError::Setup(WebauthnError::Configuration))?;
    options.get_mut("publicKey").map(Value::take).ok_or(PasskeyError::Setup(WebauthnError::Configuration))
}

/// A passkey as it is kept: a public key and what its authenticator said of it. No secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Passkey(webauthn_rs::prelude::Passkey);

impl Passkey {
    /// What the authenticator calls it; unique.
    pub fn credential(&self) -> &[u8] {
        self.0.cred_id()
    }

    /// Whether it may leave the authenticator that made it, by that authenticator's own word: one that is kept in the
    /// cloud of a maker, and comes with each new device.
    pub fn is_synced(&self) -> bool {
        // The library shows it in what it serialises alone. What cannot be read counts as the weaker of the two.
        let value = serde_json::to_value(&self.0).unwrap_or_default();
        value.pointer("/cred/backup_eligible").and_then(Value::as_bool).unwrap_or(true)
    }

    /// How a login with it was made, in the words of RFC 8176.
    ///
    /// - `hwk` or `swk`: a key was shown to be there. One that stays in its device is `hwk`, one that is synced `swk`.
    ///   Without attestation this is the authenticator's own word.
    /// - `user`: somebody was there, and said yes.
    /// - `mfa`: two factors. One is the device, which asked for the other each time: a PIN, a finger, a face. NIST SP
    ///   800-63B-4 counts such a key as both, a synced one too (AAL2). Which of them it was is not known, so none of `pin`,
    ///   `fpt` and `face` is claimed.
    pub fn amr(&self) -> [&'static str; 3] {
        [if self.is_synced() { "swk" } else { "hwk" }, "user", "mfa"]
    }
}

/// What was asked for a new passkey. To be kept on the server, and used for one answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Registration(PasskeyRegistration);

/// What was asked for a login. To be kept on the server, and used for one answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authentication(DiscoverableAuthentication);

/// What a browser answered when it made a passkey.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct RegistrationAnswer(RegisterPublicKeyCredential);

/// What a browser answered when somebody logged in.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct LoginAnswer(PublicKeyCredential);

impl LoginAnswer {
    /// The person that the passkey was made for, as the authenticator remembers; nothing is proven yet.
    pub fn person(&self) -> Option<PersonId> {
        let handle = self.0.get_user_unique_id()?;
        handle.try_into().ok().map(PersonId::from_bytes)
    }

    /// The passkey that it says it is made by; nothing is proven yet.
    pub fn credential(&self) -> &[u8] {
        self.0.get_credential_id()
    }
}

/// Why a passkey does not help.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    /// The host at which people log in cannot have passkeys.
    #[error("passkeys cannot be asked for: {0}")]
    Setup(#[source] WebauthnError),
    /// The authenticator did not keep it where it finds it by itself.
    #[error("the authenticator cannot find the passkey by itself")]
    NotDiscoverable,
    /// It counts its uses, and the count did not grow.
    #[error("its counter went backwards: there may be a copy of it")]
    Copied,
    /// The answer is not to what was asked, from elsewhere, or damaged.
    #[error("the answer is not accepted: {0}")]
    Refused(#[source] WebauthnError),
}
