//! Certificates for visitors and for links.

mod files;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use moka::sync::Cache;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    pki_types::{self, CertificateDer},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    time_provider::TimeProvider,
};
use tokio::time::Instant;
use tunnel_proto::{
    HostMap, HostPattern, Hostname, UnixTime,
    identity::{ALPN_ACCESS, Ca, CaError, TlsError, link_server_config, provider},
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::{Clock, State, acme::ALPN_CHALLENGE};

pub(crate) use files::{CertificateError, Files, watch};

/// Certificates of the internal CA that are kept ready.
const READY_MAX: u64 = 16_384;
/// How long one is used; it is good for 90 days.
const READY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many are made in a second for names that no application has by themselves: anybody can make up names of the zone.
const STRANGERS_MAX: u32 = 100;
/// What counts as that second.
const PACE: Duration = Duration::from_secs(1);
/// How many of those are kept, apart from the others.
const STRANGERS_READY_MAX: u64 = 1024;
/// Tickets that an access client gets with a link: one for the next, and one for another at the same time.
const ACCESS_TICKETS: usize = 2;

/// How far ahead of now one may have been made.
const AHEAD: Duration = Duration::from_secs(60);

/// The configuration for visitors: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, no early data.
pub(crate) fn for_visitors(certificates: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(config)
}

/// The configuration for links of connectors and operators, whose certificates are judged by the edge's clock: the system's may
/// have been set back.
pub(crate) fn for_links(
    ca: &Ca,
    certificate: Arc<dyn ResolvesServerCert>,
    clock: Clock,
) -> Result<ServerConfig, TlsError> {
    let mut config = link_server_config(ca, certificate)?;
    config.time_provider = Arc::new(OurTime(clock));
    Ok(config)
}

/// The edge's clock, for handshakes.
#[derive(Debug)]
struct OurTime(Clock);

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<pki_types::UnixTime> {
        Some(pki_types::UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().0)))
    }
}

/// The configuration for links of access clients: TLS 1.3, the certificates that browsers get, and no early data. Sessions are
/// resumed by tickets, of which nothing is kept here: such a link is nobody's until a credential is presented on it.
pub(crate) fn for_access(certificates: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![ALPN_ACCESS.to_vec()];
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = ACCESS_TICKETS;
    config.max_early_data_size = 0;
    // Records are sealed by `tunnel_proto::tls`.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// The configuration for authorities that make sure that a name is ours (RFC 8737): nothing is spoken after the handshake.
pub(crate) fn for_challenges(answers: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(answers);
    config.alpn_protocols = vec![ALPN_CHALLENGE.to_vec()];
    config.max_early_data_size = 0;
    Ok(config)
}

/// Whether a certificate that was made then still serves; to everybody else one of the future is not good yet.
fn is_ready(made: UnixTime, now: UnixTime) -> bool {
    now.since(made) < READY_LIFE && made.since(now) < AHEAD
}

/// One certificate, whatever the name: the login host's, for links. Renewed long before it ends.
#[derive(Debug)]
pub(crate) struct Fixed {
    certificate: ArcSwap<CertifiedKey>,
    made: AtomicU64,
}

impl Fixed {
    pub(crate) fn new(ca: &Ca, host: &Hostname, now: UnixTime) -> Result<Self, CaError> {
        let certificate = ArcSwap::from_pointee(ca.server_certificate(&[host.clone().into()], now)?);
        Ok(Self { certificate, made: AtomicU64::new(now.0) })
    }

    /// Makes the next certificate when this one has been used for [`READY_LIFE`], or was made by a clock that was wrong.
    pub(crate) fn refresh(&self, ca: &Ca, host: &Hostname, now: UnixTime) -> Result<(), CaError> {
        if is_ready(UnixTime(self.made.load(Relaxed)), now) {
            return Ok(());
        }
        self.certificate.store(Arc::new(ca.server_certificate(&[host.clone().into()], now)?));
        self.made.store(now.0, Relaxed);
        tracing::info!("the certificate for links is renewed");
        Ok(())
    }
}

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certificate.load_full())
    }
}

/// Certificates that were made, each with when.
type Ready = Cache<Hostname, (UnixTime, Arc<CertifiedKey>)>;

/// Certificates by the edge's own CA, made when a name is first asked for: names of the zone, and those that an
/// application has. Other names get no handshake.
pub(crate) struct Internal {
    state: Weak<State>,
    /// With when they were made.
    ready: Ready,
    /// For names that no application has by themselves.
    strangers: Ready,
    pace: Pace,
}

impl std::fmt::Debug for Internal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Internal").finish_non_exhaustive()
    }
}

impl Internal {
    pub(crate) fn new(state: Weak<State>) -> Self {
        let keeping = |most| Cache::builder().max_capacity(most).time_to_live(READY_LIFE).build();
        Self { state, ready: keeping(READY_MAX), strangers: keeping(STRANGERS_READY_MAX), pace: Pace::default() }
    }
}

impl ResolvesServerCert for Internal {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let state = self.state.upgrade()?;
        let host = match hello.server_name() {
            Some(name) => Hostname::parse(name).ok()?,
            None => state.config.login_host.clone(),
        };
        let now = state.now();
        let ready = self.ready.get(&host).or_else(|| self.strangers.get(&host));
        if let Some((_, ready)) = ready.filter(|(made, _)| is_ready(*made, now)) {
            return Some(ready);
        }
        let is_known = host == state.config.login_host || state.snapshot.load().policies.names_host(&host);
        if !is_known && (!serves(&state, &host) || !self.pace.takes()) {
            return None;
        }
        let made = state.ca.server_certificate(&[host.clone().into()], now);
        let made = made.inspect_err(|error| tracing::error!(%error, %host, "a certificate cannot be made")).ok()?;
        let made = Arc::new(made);
        let kept = if is_known { &self.ready } else { &self.strangers };
        kept.insert(host, (now, made.clone()));
        Some(made)
    }
}

/// Whether the edge has anything to say about a host: it is of the zone, or an application names it.
pub(crate) fn serves(state: &State, host: &Hostname) -> bool {
    host.is_within(&state.config.zone) || state.snapshot.load().policies.has_host(host)
}

/// How many certificates were made for strangers, and since when.
#[derive(Default)]
struct Pace(Mutex<Option<(Instant, u32)>>);

impl Pace {
    /// Whether one more may be made in this second.
    fn takes(&self) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, made) = held.filter(|(since, _)| since.elapsed() < PACE).unwrap_or_else(|| (Instant::now(), 0));
        *held = Some((since, made.saturating_add(1)));
        made < STRANGERS_MAX
    }
}

/// Certificates by the names in them.
#[derive(Debug, Default)]
pub(crate) struct ByName {
    exact: HashMap<Hostname, Arc<CertifiedKey>>,
    /// With the place of each: the first that fits is shown.
    patterns: HostMap<(usize, Arc<CertifiedKey>)>,
    wildcards: usize,
    first: Option<Arc<CertifiedKey>>,
}

impl ByName {
    pub(crate) fn insert(&mut self, names: Vec<HostPattern>, key: Arc<CertifiedKey>) {
        self.first.get_or_insert_with(|| key.clone());
        for name in names {
            match name.exact() {
                Some(host) => drop(self.exact.insert(host, key.clone())),
                None => {
                    self.patterns.insert(name, (self.wildcards, key.clone()));
                    self.wildcards = self.wildcards.saturating_add(1);
                }
            }
        }
    }

    /// The certificate for a host: one that names it, else one with a pattern that it matches.
    pub(crate) fn find(&self, host: &Hostname) -> Option<Arc<CertifiedKey>> {
        let by_pattern = || self.patterns.matching(host).map(|(_, found)| found).min_by_key(|(place, _)| *place);
        self.exact.get(host).or_else(|| by_pattern().map(|(_, key)| key)).cloned()
    }

    /// The one for whoever names no host.
    fn first(&self) -> Option<Arc<CertifiedKey>> {
        self.first.clone()
    }
}

/// What stands in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The names it is for.
    pub(crate) names: Vec<HostPattern>,
    /// Who signed it.
    pub(crate) issuer: String,
    /// From when it is good.
    pub(crate) begins: UnixTime,
    /// Until when; as part of a chain, no longer than who signed it.
    pub(crate) ends: UnixTime,
}

/// Reads a chain, of which the first certificate is the one that counts: it is good for no longer than the one that signed
/// it. Those above may be there for old visitors only, and have ended.
pub(crate) fn named_first(chain: &[CertificateDer<'_>]) -> Result<Named, String> {
    let (leaf, above) = chain.split_first().ok_or("no certificate in it")?;
    let mut first = named(leaf)?;
    for (place, one) in above.iter().enumerate() {
        let what = || format!("what follows at place {} is not a certificate", place.saturating_add(2));
        let (_, parsed) = parse_x509_certificate(one).map_err(|_| what())?;
        if place == 0 && parsed.subject().to_string() == first.issuer {
            first.ends = first.ends.min(moment(parsed.validity().not_after));
        }
    }
    Ok(first)
}

/// Reads a certificate.
pub(crate) fn named(leaf: &CertificateDer<'_>) -> Result<Named, String> {
    let (_, parsed) = parse_x509_certificate(leaf).map_err(|_| "not a certificate".to_owned())?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<HostPattern> = alternatives
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => name.parse().ok(),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err("names no host (subject alternative name)".to_owned());
    }
    let validity = parsed.validity();
    let (begins, ends) = (moment(validity.not_before), moment(validity.not_after));
    Ok(Named { names, issuer: parsed.issuer().to_string(), begins, ends })
}

fn moment(at: x509_parser::time::ASN1Time) -> UnixTime {
    UnixTime(u64::try_from(at.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use rustls::{
        ClientConfig, ClientConnection, NamedGroup, RootCertStore, ServerConnection, client::Resumption,
        pki_types::ServerName, server::Acceptor, version::TLS13,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tunnel_proto::{
        TunnelId,
        identity::{CertRole, KeyAndCsr, link_client_config},
        tls::{accept, connect},
    };

    use super::*;
    use crate::{Config, Edge, edge::Screen};

    // F16
    #[test]
    fn a_certificate_of_a_clock_that_was_wrong_is_made_anew() {
        let host = Hostname::parse("access.example.com").unwrap();
        let now = UnixTime(1_800_000_000);
        let ca = Ca::generate(&Hostname::parse("example.com").unwrap(), now).unwrap();
        let later = now.plus(READY_LIFE);
        let fixed = Fixed::new(&ca, &host, later).unwrap();
        let first = fixed.certificate.load_full();
        fixed.refresh(&ca, &host, later).unwrap();
        assert!(Arc::ptr_eq(&first, &fixed.certificate.load_full()));
        fixed.refresh(&ca, &host, now).unwrap();
        assert!(!Arc::ptr_eq(&first, &fixed.certificate.load_full()), "nobody believes the first one yet");
    }

    // F24
    #[test]
    fn the_certificate_for_links_is_renewed_long_before_it_ends() {
        let host = Hostname::parse("access.example.com").unwrap();
        let now = UnixTime(1_800_000_000);
        let ca = Ca::generate(&Hostname::parse("example.com").unwrap(), now).unwrap();
        let fixed = Fixed::new(&ca, &host, now).unwrap();
        let first = fixed.certificate.load_full();
        let due = now.plus(READY_LIFE);
        fixed.refresh(&ca, &host, UnixTime(due.0 - 1)).unwrap();
        assert!(Arc::ptr_eq(&first, &fixed.certificate.load_full()), "a second too early");
        fixed.refresh(&ca, &host, due).unwrap();
        let second = fixed.certificate.load_full();
        assert!(!Arc::ptr_eq(&first, &second));
        // The next one lasts as long.
        fixed.refresh(&ca, &host, UnixTime(due.0 + 1)).unwrap();
        assert!(Arc::ptr_eq(&second, &fixed.certificate.load_full()));
        let ends = named(second.end_entity_cert().unwrap()).unwrap().ends;
        assert!(ends > due.plus(READY_LIFE), "it is good until after it was renewed once more");
    }

    const ENDS: UnixTime = UnixTime(2_000_000_000);

    fn until(mut params: CertificateParams, ends: UnixTime) -> CertificateParams {
        params.not_after = time::OffsetDateTime::from_unix_timestamp(ends.0.cast_signed()).unwrap();
        params
    }

    /// An authority, and a certificate of it that lasts until [`ENDS`].
    fn chain(name: &str, ends: UnixTime) -> (Certificate, Certificate) {
        let mut params = until(CertificateParams::default(), ends);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let above = params.self_signed(&key).unwrap();
        let leaf = until(CertificateParams::new(vec!["www.example.test".to_owned()]).unwrap(), ENDS);
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
        (leaf, above)
    }

    // F24
    #[test]
    fn a_certificate_is_good_for_no_longer_than_the_one_that_signed_it() {
        let earlier = UnixTime(ENDS.0 - 100);
        let (leaf, above) = chain("one", earlier);
        let (_, other) = chain("other", UnixTime(1_000_000_000));
        let ends = |chain: &[&Certificate]| {
            let chain: Vec<_> = chain.iter().map(|one| one.der().clone()).collect();
            named_first(&chain).map(|first| first.ends)
        };
        assert_eq!(ends(&[&leaf]), Ok(ENDS));
        assert_eq!(ends(&[&leaf, &above]), Ok(earlier));
        assert_eq!(ends(&[&leaf, &above, &other]), Ok(earlier), "one above that has ended is for old visitors");
        let (leaf, above) = chain("one", UnixTime(ENDS.0 + 100));
        assert_eq!(ends(&[&leaf, &above]), Ok(ENDS));
        let (leaf, broken) = (leaf.der().clone(), CertificateDer::from(vec![1, 2, 3]));
        assert!(named_first(&[leaf, broken]).unwrap_err().contains("place 2"));
        assert!(named_first(&[]).is_err());
    }

    // R32
    #[tokio::test(start_paused = true)]
    async fn names_that_anybody_makes_up_cost_a_hundred_certificates_a_second_at_most() {
        let pace = Pace::default();
        for _ in 0..3 {
            assert_eq!((0..10_000).filter(|_| pace.takes()).count(), 100);
            tokio::time::advance(PACE).await;
        }
    }

    /// The certificate that whoever names such a host is shown.
    fn shown(certificates: &Internal, name: &str) -> Option<Arc<CertifiedKey>> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut visitor = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut hello = Vec::new();
        visitor.write_tls(&mut hello).unwrap();
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut hello.as_slice()).unwrap();
        let accepted = acceptor.accept().ok().flatten().unwrap();
        certificates.resolve(accepted.client_hello())
    }

    // R32
    #[tokio::test]
    async fn a_certificate_for_a_made_up_name_is_one_of_those_hundred_and_one_for_a_known_name_is_not() {
        let base = tempfile::tempdir().unwrap();
        let mut config = Config::quick_start(base.path().join("edge"), Vec::new());
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let edge = Edge::start(config, Clock::System, Screen::new(std::io::sink())).await.unwrap();
        let certificates = Internal::new(Arc::downgrade(edge.state()));
        let own = edge.state().login_host().clone();
        // Whatever making them takes is within the second.
        tokio::time::pause();
        let first = shown(&certificates, "x1.localhost").unwrap();
        assert_eq!((0..1000).filter(|_| certificates.pace.takes()).count(), 99, "it was one of the hundred");
        assert!(shown(&certificates, "x2.localhost").is_none(), "there were a hundred in this second");
        assert!(Arc::ptr_eq(&first, &shown(&certificates, "x1.localhost").unwrap()), "what is ready costs nothing");
        assert!(shown(&certificates, own.as_str()).is_some(), "nobody is kept out by strangers");
        tokio::time::resume();
        edge.stop(Duration::ZERO).await;
    }

    /// Shakes hands, as far as it goes.
    fn shake(client: ClientConfig, server: ServerConfig) -> Result<(), rustls::Error> {
        let name = ServerName::try_from("access.example.com").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            client.write_tls(&mut there).unwrap();
            let mut unread = there.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets()?;
            }
            server.write_tls(&mut back).unwrap();
            let mut unread = back.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets()?;
            }
            assert!(!there.is_empty() || !back.is_empty(), "both wait for the other");
        }
        Ok(())
    }

    // F16, T4
    #[test]
    fn a_link_is_judged_by_the_edges_clock_and_not_by_the_systems() {
        let host = Hostname::parse("access.example.com").unwrap();
        // By the system's clock nothing of this is good yet.
        let now = Clock::System.now().plus(Duration::from_secs(10 * 365 * 24 * 3600));
        let ca = Ca::generate(&Hostname::parse("example.com").unwrap(), now).unwrap();
        let request = KeyAndCsr::generate().unwrap();
        let role = CertRole::Connector(TunnelId::from_random([1; 16]));
        let issued = ca.issue(&request.csr_pem, role, now).unwrap();
        let clock = Clock::manual(now);
        let shake = || {
            let mut client =
                link_client_config(ca.certificate_pem(), &issued.certificate_pem, &request.key_pem).unwrap();
            client.time_provider = Arc::new(OurTime(Clock::manual(now)));
            let certificate = Arc::new(Fixed::new(&ca, &host, now).unwrap());
            shake(client, for_links(&ca, certificate, clock.clone()).unwrap())
        };
        assert_eq!(shake(), Ok(()));
        clock.advance(issued.expires.since(now) + Duration::from_secs(1));
        assert!(matches!(shake(), Err(rustls::Error::InvalidCertificate(_))));
    }

    /// One link after the other between two such ends; for each of both ends, whether it was resumed.
    async fn links(client: ClientConfig, server: ServerConfig) -> Vec<(bool, bool)> {
        let (client, server) = (Arc::new(client), Arc::new(server));
        let mut resumed = Vec::new();
        for _ in 0..4 {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let name = ServerName::try_from("access.example.com").unwrap();
            let ends = tokio::try_join!(connect(client.clone(), name, near), accept(server.clone(), far));
            let (mut client, mut server) = ends.unwrap();
            // Tickets come before what is said next.
            server.write_all(b"hello").await.unwrap();
            client.read_exact(&mut [0; 5]).await.unwrap();
            assert_eq!(client.agreed().group, Some(NamedGroup::X25519MLKEM768), "keys are new ones every time");
            resumed.push((client.agreed().resumed, server.agreed().resumed));
        }
        resumed
    }

    // R23
    #[tokio::test]
    async fn links_of_access_clients_are_resumed_by_tickets_and_those_of_connectors_never() {
        let host = Hostname::parse("access.example.com").unwrap();
        let now = Clock::System.now();
        let ca = Ca::generate(&Hostname::parse("example.com").unwrap(), now).unwrap();
        let fixed = Arc::new(Fixed::new(&ca, &host, now).unwrap());

        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate_der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).unwrap();
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![ALPN_ACCESS.to_vec()];
        client.enable_secret_extraction = true;
        let server = for_access(fixed.clone()).unwrap();
        assert!(server.ticketer.enabled() && !server.session_storage.can_cache(), "nothing is kept at the edge");
        let resumed = links(client.clone(), server).await;
        assert_eq!(resumed, [(false, false), (true, true), (true, true), (true, true)]);
        // What one edge gave is nothing to another.
        let one = for_access(fixed.clone()).unwrap();
        assert_eq!(links(client, one).await.first(), Some(&(false, false)));

        let request = KeyAndCsr::generate().unwrap();
        let issued = ca.issue(&request.csr_pem, CertRole::Connector(TunnelId::from_random([1; 16])), now).unwrap();
        let mut client = link_client_config(ca.certificate_pem(), &issued.certificate_pem, &request.key_pem).unwrap();
        assert_eq!(
            links(client.clone(), for_links(&ca, fixed.clone(), Clock::System).unwrap()).await,
            [(false, false); 4]
        );
        // Nor one that would like to.
        client.resumption = Resumption::in_memory_sessions(8);
        assert_eq!(links(client, for_links(&ca, fixed, Clock::System).unwrap()).await, [(false, false); 4]);
    }

    // R23
    #[test]
    fn nothing_is_taken_before_a_handshake_is_over() {
        let host = Hostname::parse("access.example.com").unwrap();
        let now = UnixTime(1_800_000_000);
        let ca = Ca::generate(&Hostname::parse("example.com").unwrap(), now).unwrap();
        let certificates = Arc::new(Fixed::new(&ca, &host, now).unwrap());
        for config in [for_visitors, for_access, for_challenges].map(|make| make(certificates.clone()).unwrap()) {
            assert_eq!(config.max_early_data_size, 0, "{:?}", config.alpn_protocols);
        }
    }
}
