//! A desk over a database of its own.

use std::{sync::Arc, time::Duration};

use tunnel_edge::{
    Clock,
    enroll::{self, Allowed, Ask, Verdict},
    store::{AuditEvent, Declared, Store, sqlite::SqliteStore},
    tunnels::{Desk, Principal},
};
use tunnel_proto::{
    EmailAddress, HostPattern, Hostname, UnixTime,
    enrol::{CreateTunnel, EnrolAnswer, Operator},
    identity::{Ca, KeyAndCsr},
};

/// An edge's store and authority, with a clock that the test moves.
pub(crate) struct Office {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ca: Ca,
    pub(crate) clock: Clock,
    pub(crate) quick_start: bool,
    login_host: Hostname,
    _folder: tempfile::TempDir,
}

impl Office {
    pub(crate) async fn open() -> Self {
        Self::of_zone("example.com", false).await
    }

    pub(crate) async fn quick_start() -> Self {
        Self::of_zone("localhost", true).await
    }

    async fn of_zone(zone: &str, quick_start: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(folder.path().join("edge.db")).await.unwrap());
        let zone = Hostname::parse(zone).unwrap();
        let clock = Clock::manual(UnixTime(1_800_000_000));
        let ca = Ca::generate(&zone, clock.now()).unwrap();
        Self { store, ca, clock, quick_start, login_host: zone.child("access").unwrap(), _folder: folder }
    }

    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk {
            store: &*self.store,
            ca: &self.ca,
            login_host: &self.login_host,
            quick_start: self.quick_start,
            visit: if self.quick_start { "http://HOST:8080" } else { "https://HOST" },
            now: self.clock.now(),
            source: None,
        }
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn declared(&self) -> Declared {
        self.store.declared().await.unwrap().1
    }

    /// Replaces what is declared with what `change` makes of it.
    pub(crate) async fn declare(&self, change: impl FnOnce(&mut Declared)) {
        let (revision, mut declared) = self.store.declared().await.unwrap();
        change(&mut declared);
        self.store.replace_declared(revision, &declared, &[]).await.unwrap();
    }

    /// How often something is in the audit.
    pub(crate) async fn audited(&self, event: AuditEvent) -> usize {
        self.store.audit(1000).await.unwrap().iter().filter(|record| record.event == event).count()
    }

    /// The tunnel that `hostname` is routed to, by name.
    pub(crate) async fn serves(&self, hostname: &str) -> Option<String> {
        let declared = self.declared().await;
        let route = declared.routes.iter().find(|route| route.hostname.as_str() == hostname)?;
        Some(declared.tunnel(route.tunnel).unwrap().name.to_string())
    }

    /// Begins a login; gives its public id and the polling secret.
    pub(crate) async fn login(&self, hostnames: &[&str]) -> (String, String) {
        // Each login from an address of its own, so that rates do not come into it.
        let source = std::net::Ipv4Addr::from(rand_u32());
        match enroll::begin(&self.desk(), ask(hostnames), source.into()).await.unwrap() {
            EnrolAnswer::Started { url, secret, .. } => (url.split_once("?id=").unwrap().1.to_owned(), secret),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn poll(&self, secret: &str) -> EnrolAnswer {
        enroll::poll(&self.desk(), secret).await.unwrap()
    }

    /// A machine that was approved for `hostnames`, each with the tunnel it may be taken from.
    pub(crate) async fn operator(&self, allowed: &[Allowed]) -> (Operator, Principal) {
        let (id, secret) = self.login(&[]).await;
        let verdict = Verdict::Approve(allowed.to_vec());
        enroll::decide(&self.desk(), &admin(), &id, &verdict).await.unwrap();
        let EnrolAnswer::Approved(operator) = self.poll(&secret).await else { panic!("not approved") };
        let record = self.store.operator(operator.id).await.unwrap().unwrap();
        (operator, Principal::Operator(record))
    }
}

fn rand_u32() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0001);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn admin() -> EmailAddress {
    "admin@example.com".parse().unwrap()
}

pub(crate) fn csr() -> String {
    KeyAndCsr::generate().unwrap().csr_pem
}

pub(crate) fn ask(hostnames: &[&str]) -> Ask {
    Ask { machine: "nas".into(), software: "connector 0.1.0".into(), hostnames: patterns(hostnames), csr: csr() }
}

pub(crate) fn patterns(hostnames: &[&str]) -> Vec<HostPattern> {
    hostnames.iter().map(|hostname| hostname.parse().unwrap()).collect()
}

pub(crate) fn create(name: &str, hostnames: &[&str]) -> CreateTunnel {
    CreateTunnel { name: name.parse().unwrap(), hostnames: patterns(hostnames), csr: csr() }
}

pub(crate) fn allowed(hostnames: &[&str]) -> Vec<Allowed> {
    patterns(hostnames).into_iter().map(|hostname| Allowed { hostname, from: None }).collect()
}
