//! TLS towards a service: whom to believe, and what is wrong when it fails.

use std::{io, sync::Arc, time::Duration};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use rustls_platform_verifier::Verifier;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tunnel_proto::identity::provider;

use crate::options::{OptionsError, ServiceOptions};

/// How long a TLS handshake with a service may take, unless told otherwise.
pub const SERVICE_TLS_LIMIT: Duration = Duration::from_secs(10);

/// The TLS of one rule.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    limit: Duration,
    http2: bool,
}

impl Tls {
    pub(crate) fn new(config: Arc<ClientConfig>, name: ServerName<'static>, options: &ServiceOptions) -> Self {
        Self { config, name, limit: options.tls_timeout.unwrap_or(SERVICE_TLS_LIMIT), http2: options.http2 }
    }

    /// Does the handshake over `io`.
    pub(crate) async fn connect<IO>(&self, io: IO) -> Result<TlsStream<IO>, TlsFailure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsConnector::from(self.config.clone()).connect(self.name.clone(), io);
        let stream = timeout(self.limit, handshake).await.map_err(|_| TlsFailure::Late { limit: self.limit })?;
        let stream = stream.map_err(|error| match TlsFailure::new(error, &self.name) {
            TlsFailure::NoHttp2 if !self.http2 => TlsFailure::OnlyHttp2,
            failure => failure,
        })?;
        // A server that knows nothing of such agreements says nothing, and goes on in HTTP/1.1.
        if self.http2 && stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(TlsFailure::NoHttp2);
        }
        Ok(stream)
    }
}

const H2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// TLS 1.2 or 1.3 as the options say. Reads the certificates that this machine trusts.
pub(crate) fn client_config(options: &ServiceOptions) -> Result<ClientConfig, OptionsError> {
    let provider = provider();
    let system = |error: TlsError| OptionsError::System { reason: error.to_string() };
    let verifier: Arc<dyn ServerCertVerifier> = match options.unverified {
        true => Arc::new(Anybody { provider: provider.clone() }),
        false => {
            let pool = options.ca_pool.clone();
            let system = Verifier::new_with_extra_roots(pool.clone(), provider.clone()).map_err(system)?;
            Arc::new(Known { system, pool })
        }
    };
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(system)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![if options.http2 { H2.to_vec() } else { HTTP_1.to_vec() }];
    Ok(config)
}

/// Believes what the system believes, whom the pool vouches for, and the certificates in the pool themselves.
#[derive(Debug)]
struct Known {
    system: Verifier,
    pool: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if self.pool.iter().any(|known| known.as_ref() == end_entity.as_ref()) {
            return verify_itself(end_entity, server_name, now);
        }
        self.system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.system.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.system.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.system.supported_verify_schemes()
    }
}

/// A certificate that is trusted itself needs nobody's word, but its time and its name still count. What `openssl req -x509`
/// makes is such a one: it calls itself a CA, and no other rule would take it for a server's.
fn verify_itself(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, TlsError> {
    let bad = |error| TlsError::InvalidCertificate(error);
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| bad(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Err(bad(CertificateError::NotValidYet));
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(bad(CertificateError::Expired));
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

/// Believes anybody.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why there is no TLS with a service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFailure {
    #[error("the certificate of the service is for {presented}, not for `{name}`")]
    Name { name: String, presented: String },
    #[error("the certificate of the service is for no name at all (it has no subjectAltName)")]
    NoName,
    #[error("the certificate of the service is signed by nobody whom this machine trusts")]
    Issuer,
    #[error("the certificate of the service is not valid now: {0}")]
    Time(CertificateError),
    #[error("the certificate of the service is not accepted: {0}")]
    Certificate(CertificateError),
    #[error("the service does not speak HTTP/2")]
    NoHttp2,
    #[error("the service does not speak HTTP/1.1")]
    OnlyHttp2,
    #[error("the service does not speak TLS")]
    NoTls,
    #[error("the TLS handshake was not finished within {limit:?}")]
    Late { limit: Duration },
    #[error("the TLS handshake failed: {0}")]
    Broken(#[source] io::Error),
}

impl TlsFailure {
    fn new(error: io::Error, name: &ServerName<'_>) -> Self {
        let name = name.to_str().into_owned();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(TlsError::InvalidCertificate(reason)) => match reason {
                CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => Self::NoName,
                CertificateError::NotValidForNameContext { presented, .. } => {
                    Self::Name { name, presented: said(presented) }
                }
                CertificateError::NotValidForName => Self::Name { name, presented: "another name".to_owned() },
                CertificateError::UnknownIssuer => Self::Issuer,
                // One that signed itself, as a CA does.
                CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => Self::Issuer,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::Time(reason.clone()),
                other => Self::Certificate(other.clone()),
            },
            Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => Self::NoHttp2,
            Some(TlsError::InvalidMessage(_)) => Self::NoTls,
            _ => Self::Broken(error),
        }
    }

    /// What to do about it.
    pub(crate) const fn help(&self) -> &'static str {
        match self {
            Self::Name { .. } => "name it as its certificate does with --origin-server-name",
            Self::NoName => "make it one with a subjectAltName",
            Self::Issuer => "give its CA, or the certificate itself if nobody signed it, with --origin-ca-pool",
            Self::Time(_) => "renew it, and compare the clocks of both machines",
            Self::Certificate(_) => {
                "look whether --origin-ca-pool holds the CA that signed it; if so, give the service another certificate"
            }
            Self::NoHttp2 => "switch HTTP/2 on at the service, or leave --http2-origin out",
            Self::OnlyHttp2 => "if it speaks HTTP/2, say so with --http2-origin",
            Self::NoTls => {
                "if it speaks HTTP without TLS, write http:// in the place of https://, or unix: of unix+tls:"
            }
            Self::Late { .. } => "look whether the service speaks TLS there; --proxy-tls-timeout gives it more time",
            Self::Broken(_) => "look into the log of the service",
        }
    }
}

/// The names in a certificate, a few of them, without the kind that rustls writes around each.
fn said(presented: &[String]) -> String {
    const SHOWN: usize = 5;
    let inner = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        format!("`{}`", inner.trim_matches('"'))
    };
    let names: Vec<_> = presented.iter().take(SHOWN).map(inner).collect();
    let more = if presented.len() > SHOWN { " and others" } else { "" };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (CertificateDer<'static>, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap().cert;
        (made.der().clone(), made.pem())
    }

    fn failure(error: CertificateError) -> TlsFailure {
        let name = ServerName::try_from("www.example.com").unwrap();
        TlsFailure::new(io::Error::new(io::ErrorKind::InvalidData, TlsError::InvalidCertificate(error)), &name)
    }

    #[test]
    fn a_certificate_that_is_trusted_itself_still_has_its_time_and_its_names() {
        let (certificate, _) = made(&["nas.internal"]);
        let verify = |name: &'static str, now: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
            verify_itself(&certificate, &ServerName::try_from(name).unwrap(), now)
        };
        // It is made to be good from 1975 to 4096.
        let now = 1_790_000_000;
        assert!(verify("nas.internal", now).is_ok());
        for (name, now) in [("other.internal", now), ("nas.internal", 1), ("nas.internal", 80_000_000_000)] {
            assert!(matches!(verify(name, now), Err(TlsError::InvalidCertificate(_))), "{name} at {now}");
        }
    }

    #[test]
    fn each_failure_says_what_is_wrong_and_what_to_do() {
        let (expected, presented) = (ServerName::try_from("www.example.com").unwrap(), |names: &[&str]| {
            names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()
        });
        let of = |names: &[&str]| {
            failure(CertificateError::NotValidForNameContext {
                expected: expected.clone(),
                presented: presented(names),
            })
        };
        for (failure, wrong, help) in [
            (
                of(&["DnsName(\"a.internal\")", "IpAddress(10.0.0.1)"]),
                "`a.internal`, `10.0.0.1`",
                "--origin-server-name",
            ),
            (of(&["DnsName(\"x\")"; 6]), "`x` and others, not for `www.example.com`", "--origin-server-name"),
            (of(&[]), "no name", "subjectAltName"),
            (failure(CertificateError::UnknownIssuer), "signed by nobody", "--origin-ca-pool"),
            (failure(CertificateError::Expired), "not valid now", "renew"),
            (failure(CertificateError::Revoked), "not accepted", "another certificate"),
            (TlsFailure::NoHttp2, "HTTP/2", "--http2-origin"),
            (TlsFailure::OnlyHttp2, "HTTP/1.1", "--http2-origin"),
        ] {
            assert!(failure.to_string().contains(wrong), "{failure}");
            assert!(failure.help().contains(help), "{failure}: {}", failure.help());
        }
    }

    #[test]
    fn http_2_is_offered_alone_and_only_when_asked_for() {
        let (_, pem) = made(&["nas.internal"]);
        let options = ServiceOptions::new().ca_pool(&pem).unwrap();
        assert_eq!(client_config(&options).unwrap().alpn_protocols, [HTTP_1]);
        assert_eq!(client_config(&options.http2()).unwrap().alpn_protocols, [H2]);
    }
}
