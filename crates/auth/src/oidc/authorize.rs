//! The visitor's way to the provider, and what protects the way back (RFC 6749 §4.1.1, RFC 7636).

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use url::Url;
use zeroize::Zeroizing;

/// A nonce from random bytes: ties a token to the login that it was asked for.
pub fn nonce(random: [u8; 32]) -> String {
    BASE64URL_NOPAD.encode(&random)
}

/// A PKCE verifier from random bytes. A secret until the code is exchanged.
pub fn verifier(random: [u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(BASE64URL_NOPAD.encode(&random))
}

/// What is shown in the place of a verifier: its S256.
pub fn challenge(verifier: &str) -> String {
    BASE64URL_NOPAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref())
}

/// A request that a visitor takes to a provider.
#[derive(Clone, Copy, Debug)]
pub struct Authorization<'a> {
    /// Where to: [`Discovery::authorization`](super::Discovery::authorization).
    pub endpoint: &'a str,
    /// Who asks.
    pub client_id: &'a str,
    /// Where the visitor comes back to.
    pub redirect_uri: &'a str,
    /// What is asked for.
    pub scopes: &'a [&'a str],
    /// What the visitor brings back.
    pub state: &'a str,
    /// What the token brings back; `None` where there will be no ID token.
    pub nonce: Option<&'a str>,
    /// What protects the code: [`challenge`]. There is no way to leave it out.
    pub challenge: &'a str,
    /// More that a preset adds.
    pub more: &'a [(&'a str, &'a str)],
}

impl Authorization<'_> {
    /// The address that the visitor is sent to; `None` when the endpoint is no address.
    pub fn url(&self) -> Option<String> {
        let mut url = Url::parse(self.endpoint).ok()?;
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", self.client_id)
                .append_pair("redirect_uri", self.redirect_uri)
                .append_pair("scope", &self.scopes.join(" "))
                .append_pair("state", self.state)
                .append_pair("code_challenge", self.challenge)
                .append_pair("code_challenge_method", "S256");
            let nonce = self.nonce.map(|nonce| ("nonce", nonce));
            query.extend_pairs(nonce.iter().chain(self.more));
        }
        Some(url.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // O1, O2
    #[test]
    fn the_way_there_has_state_nonce_and_a_challenge() {
        let (state, nonce, verifier) = ("STATE", nonce([1; 32]), verifier([2; 32]));
        let request = Authorization {
            endpoint: "https://id.example.com/authorize?tenant=a%26b",
            client_id: "edge&x=y",
            redirect_uri: "https://access.example.com/.access/callback/kc",
            scopes: &["openid", "email"],
            state,
            nonce: Some(&nonce),
            challenge: &challenge(&verifier),
            more: &[("hd", "example.com")],
        };
        let url = Url::parse(&request.url().unwrap()).unwrap();
        let pairs: Vec<_> = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let challenge = challenge(&verifier);
        let expected = [
            ("tenant", "a&b"),
            ("response_type", "code"),
            ("client_id", "edge&x=y"),
            ("redirect_uri", "https://access.example.com/.access/callback/kc"),
            ("scope", "openid email"),
            ("state", state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("nonce", &nonce),
            ("hd", "example.com"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(!url.as_str().contains(verifier.as_str()), "the verifier stays here");
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!((43..=128).contains(&super::verifier([0; 32]).len()));
    }
}
