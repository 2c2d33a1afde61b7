//! Assertions to services: who was admitted, signed, for one application, good for minutes.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use tunnel_auth::{AssertionClaims, assertion::ServiceClaims};
use tunnel_proto::{AppId, UnixTime};

use crate::{
    State,
    gate::Permit,
    holder::{Holder, HolderKey},
};

/// How long one assertion is sent again, so that each service has at least three of its five minutes.
const REUSE: Duration = Duration::from_secs(2 * 60);
/// Assertions kept.
const KEPT_MAX: u64 = 100_000;

/// Assertions signed before, by holder and application.
pub struct Assertions(Cache<(HolderKey, AppId), (Arc<str>, UnixTime)>);

impl Default for Assertions {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(KEPT_MAX).time_to_live(REUSE).build())
    }
}

impl Assertions {
    /// The assertion about whom `permit` admitted. `None` when signing fails, which is logged; the service then sees no
    /// identity that it could verify.
    pub(crate) fn of(&self, state: &State, permit: &Permit, now: UnixTime) -> Option<Arc<str>> {
        if permit.is_public() {
            return None;
        }
        let key = (permit.holder().key(), permit.app());
        if let Some((assertion, made)) = self.0.get(&key)
            && made <= now
            && now.since(made) < REUSE
        {
            return Some(assertion);
        }
        let signed = match permit.holder() {
            Holder::Person(session) => {
                let identity = session.identity();
                let nonce = data_encoding::HEXLOWER.encode(session.id().get(..16).unwrap_or_default());
                let email = identity.email.clone();
                let claims = AssertionClaims::new(&state.issuer, permit.app(), identity.person, email, &nonce, now);
                state.keys.signing().sign(&claims)
            }
            Holder::Anybody => return None,
            Holder::Machine(machine) => {
                let claims = ServiceClaims::new(&state.issuer, permit.app(), machine.id(), now);
                state.keys.signing().sign_service(&claims)
            }
        };
        match signed {
            Ok(signed) => {
                let assertion: Arc<str> = signed.into();
                self.0.insert(key, (assertion.clone(), now));
                Some(assertion)
            }
            Err(error) => {
                tracing::error!(%error, "an assertion cannot be signed");
                None
            }
        }
    }
}
