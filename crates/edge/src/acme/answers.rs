//! What the authority looks for while it makes sure that a name is ours: for as long as an order lasts, and no longer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tunnel_proto::{Hostname, identity::provider};

/// Where it looks by HTTP (RFC 8555 §8.3).
pub(crate) const PATH: &str = "/.well-known/acme-challenge/";

/// The answers that are laid out now.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By host and token.
    files: Mutex<HashMap<(Hostname, String), String>>,
    certificates: Mutex<HashMap<Hostname, Arc<CertifiedKey>>>,
}

impl Answers {
    /// What stands at a path of a host: only at the one of a token that is pending for this very host.
    pub(crate) fn file(&self, host: &Hostname, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.is_empty() { None } else { files.get(&(host.clone(), token.to_owned())).cloned() }
    }

    /// Lays out a file.
    pub(super) fn lay_file(self: &Arc<Self>, host: Hostname, token: &str, content: &str) -> Laid {
        let key = (host, token.to_owned());
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), content.to_owned());
        Laid { answers: self.clone(), what: What::File(key) }
    }

    /// Lays out a certificate that holds a digest (RFC 8737 §3).
    pub(super) fn lay_certificate(self: &Arc<Self>, host: Hostname, digest: &[u8; 32]) -> Result<Laid, rcgen::Error> {
        let certificate = Arc::new(challenge_certificate(&host, digest)?);
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone(), certificate);
        Ok(Laid { answers: self.clone(), what: What::Certificate(host) })
    }
}

impl ResolvesServerCert for Answers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = Hostname::parse(hello.server_name()?).ok()?;
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).get(&host).cloned()
    }
}

/// An answer; taken away when dropped.
#[derive(Debug)]
pub(super) struct Laid {
    answers: Arc<Answers>,
    what: What,
}

#[derive(Debug)]
enum What {
    File((Hostname, String)),
    Certificate(Hostname),
}

impl Drop for Laid {
    fn drop(&mut self) {
        match &self.what {
            What::File(key) => {
                self.answers.files.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            }
            What::Certificate(host) => {
                self.answers.certificates.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
            }
        }
    }
}

fn challenge_certificate(host: &Hostname, digest: &[u8; 32]) -> Result<CertifiedKey, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(vec![host.as_str().to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signing = provider().key_provider.load_private_key(private);
    let signing = signing.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    // Not by what reads the certificate first: it knows nothing of the extension, which is critical.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    // R32
    #[test]
    fn a_token_is_answered_at_its_own_host_and_path_while_it_is_pending() {
        let answers = Arc::<Answers>::default();
        let laid = answers.lay_file(host("www.example.test"), "token", "token.thumb");
        let at = |name: &str, path: &str| answers.file(&host(name), path);
        assert_eq!(at("www.example.test", "/.well-known/acme-challenge/token").as_deref(), Some("token.thumb"));
        for (name, path) in [
            ("app.example.test", "/.well-known/acme-challenge/token"),
            ("www.example.test", "/.well-known/acme-challenge/"),
            ("www.example.test", "/.well-known/acme-challenge/token/"),
            ("www.example.test", "/.well-known/acme-challenge/token/x"),
            ("www.example.test", "/.well-known/acme-challenge/Token"),
            ("www.example.test", "/.well-known/acme-challenge/%74oken"),
            ("www.example.test", "/.well-known//acme-challenge/token"),
            ("www.example.test", "/x/../.well-known/acme-challenge/token"),
            ("www.example.test", "/token"),
        ] {
            assert_eq!(at(name, path), None, "{name}{path}");
        }
        drop(laid);
        assert_eq!(at("www.example.test", "/.well-known/acme-challenge/token"), None);
    }

    #[test]
    fn a_certificate_for_a_challenge_holds_the_digest_and_goes_with_its_order() {
        let answers = Arc::<Answers>::default();
        let laid = answers.lay_certificate(host("www.example.test"), &[7; 32]).unwrap();
        let certificate = answers.certificates.lock().unwrap().get(&host("www.example.test")).unwrap().clone();
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate.cert[0]).unwrap();
        let identifier = parsed.iter_extensions().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(identifier.critical);
        assert_eq!(identifier.value, [&[4, 32][..], &[7; 32]].concat());
        drop(laid);
        assert!(answers.certificates.lock().unwrap().is_empty());
    }
}
