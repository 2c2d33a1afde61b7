//! Checks assertions as an origin would: with nothing but the keys that the edge publishes.

use anyhow::{Context, Result, bail, ensure};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, JwkSet},
};
use serde_json::Value;

use crate::{Visitor, canary::Head};

/// The edge's published keys.
#[derive(Clone, Debug)]
pub struct Certs {
    keys: JwkSet,
    issuer: String,
}

impl Certs {
    /// Fetches the keys from `https://HOST/.access/certs`.
    ///
    /// # Errors
    /// They cannot be had or read.
    pub async fn fetch(visitor: &Visitor, host: &str, issuer: &str) -> Result<Self> {
        let mut stranger = visitor.clone();
        stranger.jar.clear();
        let reply = stranger.ask("GET", &format!("https://{host}/.access/certs"), &[], b"").await?;
        ensure!(reply.status() == 200, "{} from /.access/certs", reply.status());
        let keys = serde_json::from_str(&reply.text()).with_context(|| reply.text())?;
        Ok(Self { keys, issuer: issuer.into() })
    }

    /// No keys at all: no assertion is believed.
    pub fn nobodys() -> Self {
        Self { keys: JwkSet { keys: Vec::new() }, issuer: String::new() }
    }

    /// The claims of a token, if an origin ought to believe it.
    ///
    /// # Errors
    /// It ought not to.
    pub fn verify(&self, token: &str) -> Result<Value> {
        let header = decode_header(token)?;
        let kid = header.kid.context("no kid")?;
        let key = self.keys.find(&kid).context("no such key is published")?;
        let algorithm = match key.algorithm {
            AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            _ => bail!("a key of another kind is published: {key:?}"),
        };
        ensure!(header.alg == algorithm, "signed by {:?}, the key is for {algorithm:?}", header.alg);
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_aud = false;
        validation.leeway = 0;
        let claims = decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims;
        let time = |name: &str| claims[name].as_u64().with_context(|| format!("no {name}"));
        ensure!(time("exp")? - time("iat")? <= 300, "an assertion lives five minutes: {claims}");
        Ok(claims)
    }

    /// Invariant I1 for one head at an origin: it carries exactly one valid assertion, and that is about `email`.
    /// Gives the claims.
    ///
    /// # Errors
    /// It does not.
    pub fn admits(&self, head: &Head, email: &str) -> Result<Value> {
        let tokens = head.all("access-jwt-assertion");
        let [token] = tokens[..] else { bail!("{} assertions in {head:?}", tokens.len()) };
        let claims = self.verify(token)?;
        ensure!(claims["email"] == email, "an assertion about {} instead of {email}", claims["email"]);
        ensure!(head.all("access-user-email") == [email], "the user's e-mail in {head:?}");
        Ok(claims)
    }
}
