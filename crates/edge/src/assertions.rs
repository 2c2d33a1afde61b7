//! Assertions to services: who was admitted, signed, for one application, good for minutes.

use std::time::Duration;

use http::HeaderValue;
use moka::sync::Cache;
use tunnel_auth::{
    Algorithm, AssertionClaims, SigningKey,
    assertion::{ASSERTION_MAX, KeyError, ServiceClaims},
};
use tunnel_policy::AssertionAlgorithm;
use tunnel_proto::{AppId, UnixTime};

use crate::{
    State,
    gate::Permit,
    holder::{Holder, HolderKey},
    known::Known,
    session::Session,
    store::SecretHash,
};

/// How long one assertion is sent again, so that each service has at least three of its five minutes.
const REUSE: Duration = Duration::from_secs(2 * 60);
/// Assertions kept.
const KEPT_MAX: u64 = 100_000;
/// For how many sessions it is remembered that their claims were too long.
const TOLD_MAX: u64 = 10_000;

/// Assertions signed before, by holder and application.
pub struct Assertions {
    signed: Cache<(HolderKey, AppId), Signed>,
    /// Sessions whose claims are too long for an assertion, which is said once of each.
    told: Cache<SecretHash, ()>,
}

#[derive(Clone)]
struct Signed {
    /// As the field has it, so that whoever sends it again shares its bytes.
    assertion: HeaderValue,
    made: UnixTime,
    /// By which key: what another one signed is sent no more, since that may have been revoked.
    kid: Box<str>,
}

impl Default for Assertions {
    fn default() -> Self {
        Self { signed: Cache::builder().max_capacity(KEPT_MAX).time_to_live(REUSE).build(), told: Cache::new(TOLD_MAX) }
    }
}

impl Assertions {
    /// The assertion about whom `permit` admitted. `None` when nobody is known, or when signing fails, which is logged; the
    /// service then sees no identity that it could verify.
    pub(crate) fn of(&self, state: &State, permit: &Permit, now: UnixTime) -> Option<HeaderValue> {
        if permit.is_public() {
            return None;
        }
        let algorithm = match permit.assertion() {
            AssertionAlgorithm::Es256 => Algorithm::Es256,
            AssertionAlgorithm::Rs256 => Algorithm::Rs256,
        };
        let Some(key) = state.keys.signing(algorithm, now) else {
            tracing::error!(%algorithm, "there is no key yet by which assertions are signed");
            return None;
        };
        let slot = (permit.holder().key(), permit.app());
        if let Some(signed) = self.signed.get(&slot)
            && signed.made <= now
            && now.since(signed.made) < REUSE
            && *signed.kid == *key.kid()
        {
            return Some(signed.assertion);
        }
        let assertion = match permit.holder() {
            Holder::Person(session) => {
                let claims = claims(&state.issuer, permit.app(), session, now);
                within(&key, claims, &Known::of(session, &state.countries)).inspect(|(_, whole)| {
                    if !whole && self.told.get(session.id()).is_none() {
                        self.told.insert(*session.id(), ());
                        let method = &session.identity().method;
                        tracing::warn!(%method, "the claims of a login are too long for assertions, and left out");
                    }
                })
            }
            Holder::Anybody => return None,
            Holder::Machine(machine) => {
                let claims = ServiceClaims::new(&state.issuer, permit.app(), machine.id(), now);
                key.sign_service(&claims).map(|assertion| (assertion, true))
            }
        };
        match assertion.map(|(assertion, _)| HeaderValue::try_from(assertion)) {
            Ok(Ok(mut assertion)) => {
                assertion.set_sensitive(true);
                self.signed.insert(slot, Signed { assertion: assertion.clone(), made: now, kid: key.kid().into() });
                Some(assertion)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "an assertion cannot be sent");
                None
            }
            Err(error) => {
                tracing::error!(%error, "an assertion cannot be signed");
                None
            }
        }
    }
}

fn claims(issuer: &str, app: AppId, session: &Session, now: UnixTime) -> AssertionClaims {
    let identity = session.identity();
    let nonce = data_encoding::HEXLOWER.encode(session.id().get(..16).unwrap_or_default());
    AssertionClaims::new(issuer, app, identity.person, identity.email.clone(), &nonce, now)
}

/// Signs `claims` with what is known beside; without the login method's claims where they would make the assertion longer
/// than anybody takes ([`ASSERTION_MAX`]). Says whether they are in it.
fn within(key: &SigningKey, claims: AssertionClaims, known: &Known<'_>) -> Result<(String, bool), KeyError> {
    let claims = claims.from_country(known.country.map(String::from));
    let custom = &known.attributes.claims;
    let fits = custom.is_empty() || serde_json::to_vec(custom).is_ok_and(|json| json.len() < ASSERTION_MAX);
    if fits {
        let whole = key.sign(&claims.clone().with_custom(custom.clone()))?;
        if whole.len() <= ASSERTION_MAX {
            return Ok((whole, true));
        }
    }
    key.sign(&claims).map(|assertion| (assertion, false))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tunnel_auth::Jwks;
    use tunnel_policy::Attributes;
    use tunnel_proto::PersonId;

    use super::*;

    const ISS: &str = "https://access.example.com";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn signed(algorithm: Algorithm, attributes: &Attributes) -> (AssertionClaims, usize, bool) {
        let app = AppId::from_bytes([1; 32]);
        let (key, _) = SigningKey::generate(algorithm).unwrap();
        let email = "ann@example.com".parse().unwrap();
        let claims = AssertionClaims::new(ISS, app, PersonId::from_random([2; 16]), email, "nonce", NOW);
        let known = Known { attributes, country: Some("jp".parse().unwrap()) };
        let (assertion, whole) = within(&key, claims, &known).unwrap();
        let claims = Jwks::new([key.public()]).verify(&assertion, ISS, &app, NOW).unwrap();
        (claims, assertion.len(), whole)
    }

    #[test]
    fn claims_of_the_login_are_passed_on_while_there_is_room_for_them() {
        let attributes = |length: usize| {
            let claims = [("department".to_owned(), json!("x".repeat(length))), ("level".to_owned(), json!(3))];
            Attributes { claims: claims.into(), amr: vec!["otp".into()], ..Attributes::default() }
        };
        for algorithm in Algorithm::ALL {
            let (claims, _, whole) = signed(algorithm, &attributes(100));
            assert_eq!((claims.custom["level"].clone(), whole), (json!(3), true));
            assert_eq!(claims.country.as_deref(), Some("JP"));
            let mut left_out = 0;
            for length in (1500..4500).step_by(50) {
                let (claims, size, whole) = signed(algorithm, &attributes(length));
                assert!(size <= ASSERTION_MAX, "{length} make {size}");
                assert_eq!(claims.custom.is_empty(), !whole);
                left_out += usize::from(!whole);
            }
            assert!((1..60).contains(&left_out), "some are too long, others not: {left_out}");
            let (claims, _, whole) = signed(algorithm, &attributes(1_000_000));
            assert!(claims.custom.is_empty() && !whole, "all of them or none");
            assert_eq!(claims.email.as_str(), "ann@example.com", "who it is, is said in any case");
        }
    }
}
