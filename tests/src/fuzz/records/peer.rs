//! A client that rustls shook hands for, and whose records are made here, so that it can send what no client sends.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedCipherSuite, Tls13CipherSuite,
    client::{ClientConnectionData, Resumption, UnbufferedClientConnection},
    crypto::{
        CryptoProvider,
        aws_lc_rs::kx_group::X25519,
        cipher::{
            AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
        },
    },
    kernel::KernelConnection,
    pki_types::{self, ServerName},
    sign::SingleCertAndKey,
    time_provider::TimeProvider,
    unbuffered::{ConnectionState, UnbufferedStatus},
    version::TLS13,
};
use tunnel_proto::{
    Hostname, UnixTime,
    identity::{Ca, provider},
};

/// Bytes before the sealed part of a record.
pub(super) const HEADER: usize = 5;
/// What a record says it is.
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;
/// The message by which a server announces new keys, and asks for none.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// More than any record of a client's handshake has.
const HANDSHAKE_RECORD_MAX: usize = 4096;
/// When all handshakes are.
const NOW: UnixTime = UnixTime(1_750_000_000);
const NAME: &str = "edge.test";

/// Both ends, by one cipher suite.
pub(super) struct Configs {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

/// One for each suite of TLS 1.3.
pub(super) static CONFIGS: LazyLock<Vec<Configs>> = LazyLock::new(|| {
    let name = NAME.parse::<Hostname>().expect("a hostname");
    let ca = Ca::generate(&name, NOW).expect("an authority");
    let suites = provider().cipher_suites.clone();
    suites.into_iter().filter(|suite| suite.tls13().is_some()).map(|suite| configs(&ca, &name, suite)).collect()
});

fn configs(ca: &Ca, name: &Hostname, suite: SupportedCipherSuite) -> Configs {
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate_der().clone()).expect("a root");
    // The quickest exchange: what comes after it is the same by any.
    let alone = CryptoProvider { cipher_suites: vec![suite], kx_groups: vec![X25519], ..(*provider()).clone() };
    let mut client = ClientConfig::builder_with_details(Arc::new(alone), Arc::new(StandingClock))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.enable_secret_extraction = true;
    let certificate = ca.server_certificate(&[name.clone().into()], NOW).expect("a certificate");
    let mut server = ServerConfig::builder_with_details(provider(), Arc::new(StandingClock))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
    server.send_tls13_tickets = 0;
    server.enable_secret_extraction = true;
    Configs { client: Arc::new(client), server: Arc::new(server) }
}

#[derive(Debug)]
struct StandingClock;

impl TimeProvider for StandingClock {
    fn current_time(&self) -> Option<pki_types::UnixTime> {
        Some(pki_types::UnixTime::since_unix_epoch(Duration::from_secs(NOW.0)))
    }
}

/// The client after its handshake.
pub(super) struct Peer {
    keys: KernelConnection<ClientConnectionData>,
    suite: &'static Tls13CipherSuite,
    sealing: Box<dyn MessageEncrypter>,
    /// Records that were sealed by these keys, which is the number of the next one.
    sealed: u64,
    opening: Box<dyn MessageDecrypter>,
    opened: u64,
}

impl Peer {
    /// Shakes hands: `answer` tells a server of the hello, and gives all that the server says to that. Gives the last bytes of
    /// the handshake, too, which the server has yet to be told of.
    pub(super) fn shake(config: &Arc<ClientConfig>, answer: impl FnOnce(&[u8]) -> Vec<u8>) -> (Self, Vec<u8>) {
        let name = ServerName::try_from(NAME).expect("a name");
        let mut client = UnbufferedClientConnection::new(config.clone(), name).expect("a client");
        let hello = says(&mut client, &mut Vec::new());
        let last_words = says(&mut client, &mut answer(&hello));
        let (secrets, keys) = client.dangerous_into_kernel_connection().expect("the handshake is over");
        let suite = keys.negotiated_cipher_suite().tls13().expect("TLS 1.3");
        let ((sealed, sending), (opened, receiving)) = (secrets.tx, secrets.rx);
        let (sealing, opening) = (encrypter(suite, sending), decrypter(suite, receiving));
        (Self { keys, suite, sealing, sealed, opening, opened }, last_words)
    }

    /// A sealed record with that inside: content, then its type, then zeros if it is padded (RFC 8446 §5.2).
    pub(super) fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let (last, before) = inner.split_last().expect("a type at least");
        let message = OutboundPlainMessage {
            typ: ContentType::from(*last),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(before),
        };
        let record = self.sealing.encrypt(message, self.sealed).expect("it can be sealed").encode();
        self.sealed += 1;
        record
    }

    /// Seals by new keys from now on.
    pub(super) fn change_keys(&mut self) {
        let (number, secrets) = self.keys.update_tx_secret().expect("TLS 1.3");
        (self.sealing, self.sealed) = (encrypter(self.suite, secrets), number);
    }

    /// Opens what the server has sent: whole records, each with its type. New keys of the server are taken up.
    pub(super) fn open(&mut self, mut bytes: Vec<u8>) -> Vec<(u8, Vec<u8>)> {
        let mut records = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
            let sealed = &mut bytes[at + HEADER..at + HEADER + length];
            at += HEADER + length;
            let message = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, sealed);
            let plain =
                self.opening.decrypt(message, self.opened).expect("the server seals by the keys that it should");
            self.opened += 1;
            let (kind, content) = (u8::from(plain.typ), plain.payload.to_vec());
            if kind == HANDSHAKE {
                assert_eq!(content, KEY_UPDATE, "a server has nothing else to say");
                let (number, secrets) = self.keys.update_rx_secret().expect("TLS 1.3");
                (self.opening, self.opened) = (decrypter(self.suite, secrets), number);
            }
            records.push((kind, content));
        }
        records
    }
}

/// What the client says until it waits for an answer, or is done.
fn says(client: &mut UnbufferedClientConnection, received: &mut Vec<u8>) -> Vec<u8> {
    let mut said = Vec::new();
    loop {
        let UnbufferedStatus { discard, state } = client.process_tls_records(received);
        let waits = match state.expect("an honest handshake") {
            ConnectionState::EncodeTlsData(mut data) => {
                let mut space = [0; HANDSHAKE_RECORD_MAX];
                let length = data.encode(&mut space).expect("there is room");
                said.extend_from_slice(&space[..length]);
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                false
            }
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => true,
            other => panic!("the handshake came to {other:?}"),
        };
        received.drain(..discard);
        if waits {
            return said;
        }
    }
}

fn encrypter(suite: &Tls13CipherSuite, secrets: ConnectionTrafficSecrets) -> Box<dyn MessageEncrypter> {
    let (key, iv) = parts(secrets);
    suite.aead_alg.encrypter(key, iv)
}

fn decrypter(suite: &Tls13CipherSuite, secrets: ConnectionTrafficSecrets) -> Box<dyn MessageDecrypter> {
    let (key, iv) = parts(secrets);
    suite.aead_alg.decrypter(key, iv)
}

fn parts(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("a cipher that is not known here"),
    }
}
