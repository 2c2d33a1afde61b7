//! How an edge and its machine do, as its owner sees it.

use std::{collections::HashSet, time::Instant};

use serde::{Deserialize, Serialize};
use tunnel_proto::{HostPattern, Name, TunnelId, UnixTime};

use crate::{
    State, panics, platform,
    store::{AuditEvent, AuditRecord, ROOM},
};
pub use crate::{backup::BackupStatus, clock::ClockStatus, memory::Shortage, panics::PanicStatus};

/// So few free descriptors are too few: everything that is no connection needs some now and then.
const DESCRIPTORS_LEAST: usize = 32;

/// How an edge and its machine do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Its clock.
    pub clock: ClockStatus,
    /// Copies of its database.
    pub backups: BackupStatus,
    /// What only an edge knows that runs; nothing when none does.
    pub running: Option<Running>,
}

/// How an edge does that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// That changes cannot be written; nothing while they can.
    pub unwritable: Option<UnwritableStatus>,
    /// What is free on the disk of its data, in bytes, where the system says it.
    pub room: Option<u64>,
    /// Audit records that are not on disk.
    pub audit: AuditStatus,
    /// How short memory is.
    pub memory: Shortage,
    /// Descriptors, where the system says it.
    pub descriptors: Option<DescriptorStatus>,
    /// Certificates for visitors with which something is wrong.
    pub certificates: Vec<CertificateTrouble>,
    /// Tunnels that have a hostname and a certificate, and no connector.
    pub tunnels_down: Vec<Name>,
    /// How often something panicked.
    #[serde(default)]
    pub panics: PanicStatus,
}

/// That changes cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwritableStatus {
    /// Since when.
    pub since: UnixTime,
    /// Why the last one failed.
    pub why: String,
}

/// Audit records that are not on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// How many wait in memory.
    pub waiting: usize,
    /// Since when the store takes none; nothing while it does.
    pub held_since: Option<UnixTime>,
    /// How many were dropped meanwhile.
    pub lost: u32,
}

/// Descriptors of the edge's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorStatus {
    /// How many are open.
    pub open: usize,
    /// How many the system gives.
    pub limit: usize,
}

/// A certificate for visitors with which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateTrouble {
    /// The names it is for, or would be.
    pub names: Vec<HostPattern>,
    /// Until when the present one is good; nothing when there is none.
    pub until: Option<UnixTime>,
    /// Why it could not be had or renewed the last time; nothing when it has only ended.
    pub why: Option<String>,
}

impl Health {
    /// Whether nothing needs anybody's attention.
    pub fn is_well(&self) -> bool {
        let backed_up = self.backups.failed.is_none();
        self.clock.behind().is_none() && backed_up && self.running.as_ref().is_none_or(Running::is_well)
    }
}

impl Running {
    fn is_well(&self) -> bool {
        let described = self.descriptors.as_ref().is_none_or(|descriptors| !descriptors.is_short());
        self.unwritable.is_none()
            && !self.is_full()
            && !self.audit.is_held()
            && self.memory == Shortage::None
            && described
            && self.certificates.is_empty()
            && self.tunnels_down.is_empty()
            && !self.panics.recent
    }

    /// Whether the disk of its data is as good as full.
    pub fn is_full(&self) -> bool {
        self.room.is_some_and(|room| room < ROOM)
    }
}

impl AuditStatus {
    /// Whether the record is not complete, and not about to be.
    pub const fn is_held(&self) -> bool {
        self.held_since.is_some() || self.lost > 0
    }
}

impl DescriptorStatus {
    /// Whether there are hardly any left.
    pub const fn is_short(&self) -> bool {
        self.limit.saturating_sub(self.open) < DESCRIPTORS_LEAST
    }
}

/// Looks at an edge that runs. Never fails: when the store cannot even be read, that is what is wrong.
pub(crate) async fn look(state: &State) -> Running {
    let now = state.now();
    let begun = |since: Instant| UnixTime(now.0.saturating_sub(since.elapsed().as_secs()));
    let (unwritable, audit) = (state.store.unwritable(), state.audit.held());
    let descriptors = platform::open_descriptors().zip(platform::descriptors());
    Running {
        unwritable: unwritable.map(|it| UnwritableStatus { since: begun(it.since), why: it.why }),
        room: platform::free_space(&state.config.data_dir),
        audit: AuditStatus { waiting: audit.count, held_since: audit.held.map(begun), lost: audit.lost },
        memory: state.memory.shortage(),
        descriptors: descriptors.map(|(open, limit)| DescriptorStatus { open, limit }),
        certificates: certificates(state, now).await,
        tunnels_down: tunnels_down(state, now).await,
        panics: panics::status(now),
    }
}

async fn certificates(state: &State, now: UnixTime) -> Vec<CertificateTrouble> {
    let stored = match state.certificates.acme() {
        Some(_) => state.store.visitor_certificates().await.unwrap_or_default(),
        None => Vec::new(),
    };
    let all = state.certificates.list(&stored).into_iter();
    let wrong = all.filter(|one| one.error.is_some() || one.until.is_some_and(|until| until <= now));
    wrong.map(|one| CertificateTrouble { names: one.names, until: one.until, why: one.error }).collect()
}

async fn tunnels_down(state: &State, now: UnixTime) -> Vec<Name> {
    // One that no machine has a certificate for is not down: nobody has begun with it.
    let certified = state.store.certified_tunnels(now).await.ok();
    let certified: Option<HashSet<_>> = certified.map(|ids| ids.into_iter().collect());
    let snapshot = state.snapshot.load_full();
    let declared = &snapshot.declared;
    // Nor is one whose connectors are only just on their way to an edge that has started.
    let is_down = |id: TunnelId| {
        let routed = !snapshot.hostnames(id).is_empty();
        let certified = certified.as_ref().is_none_or(|ids| ids.contains(&id));
        routed && certified && state.registry.links(id) == 0 && state.registry.awaited(id).is_none()
    };
    let mut down: Vec<_> =
        declared.tunnels.iter().filter(|tunnel| is_down(tunnel.id)).map(|tunnel| tunnel.name.clone()).collect();
    down.sort();
    down
}

/// The record of an administrator who goes by what the clock shows, `before` the edge did.
pub(crate) fn accepted(before: UnixTime, shown: UnixTime) -> AuditRecord {
    AuditRecord {
        actor: Some("local".to_owned()),
        detail: Some(format!("the clock is believed: it shows {}, the edge went by {}", shown.0, before.0)),
        ..AuditRecord::new(shown, AuditEvent::ConfigurationChanged)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tunnel_proto::{enrol::CreateTunnel, identity::KeyAndCsr};

    use super::*;
    use crate::{Clock, Config, Edge, declare::Request, edge::Screen, office::Office, socket::Administration as _};

    // F17, F3
    #[tokio::test]
    async fn a_tunnel_is_down_once_its_connector_is_waited_for_no_more_and_never_before_it_has_one() {
        let base = tempfile::tempdir().unwrap();
        let mut config = Config::quick_start(base.path().join("edge"), Vec::new());
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let edge = Edge::start(config, Clock::System, Screen::new(std::io::sink())).await.unwrap();
        let state = edge.state();
        let office = Office::new(state.clone());
        let (name, csr) = ("office".parse::<Name>().unwrap(), KeyAndCsr::generate().unwrap().csr_pem);
        let create = CreateTunnel { name: name.clone(), hostnames: vec!["www.localhost".parse().unwrap()], csr };
        let tunnel = office.create_tunnel(create).await.unwrap().tunnel;
        let text = "tunnels: [{name: nobodys, hostnames: [nobodys.localhost]}]".to_owned();
        office.apply(Request { file: "access.yaml".to_owned(), text, ..Request::default() }).await.unwrap();
        assert_eq!(state.snapshot.load().declared.routes.len(), 2);
        let until = state.registry.awaited(tunnel).expect("the edge has just started");
        assert!(tunnels_down(state, state.now()).await.is_empty(), "it may be on its way");
        tokio::time::pause();
        tokio::time::advance(until.saturating_duration_since(tokio::time::Instant::now())).await;
        tokio::time::resume();
        assert_eq!(tunnels_down(state, state.now()).await, [name]);
        edge.stop(std::time::Duration::ZERO).await;
    }

    // F17
    #[test]
    fn whatever_is_wrong_makes_an_edge_unwell() {
        let now = UnixTime(1000);
        let well = Health {
            clock: ClockStatus { shown: now, now, passed: now },
            backups: BackupStatus::default(),
            running: Some(Running { room: Some(ROOM), ..Running::default() }),
        };
        assert!(well.is_well());
        assert!(Health { running: None, ..well.clone() }.is_well());
        let late = ClockStatus { shown: UnixTime(1), now, passed: now };
        assert!(!Health { clock: late, ..well.clone() }.is_well());
        let failed = BackupStatus { failed: Some("no room".into()), ..BackupStatus::default() };
        assert!(!Health { backups: failed, ..well.clone() }.is_well());
        let wrong: [fn(&mut Running); 9] = [
            |it| it.unwritable = Some(UnwritableStatus { since: UnixTime(1), why: "locked".into() }),
            |it| it.room = Some(ROOM - 1),
            |it| it.audit.held_since = Some(UnixTime(1)),
            |it| it.audit.lost = 1,
            |it| it.memory = Shortage::Slight,
            |it| it.descriptors = Some(DescriptorStatus { open: 1000, limit: 1024 }),
            |it| it.certificates.push(CertificateTrouble { names: Vec::new(), until: None, why: None }),
            |it| it.tunnels_down.push("office".parse().unwrap()),
            |it| it.panics = PanicStatus { count: 1, last: Some(UnixTime(1000)), recent: true },
        ];
        for (number, spoil) in wrong.into_iter().enumerate() {
            let mut health = well.clone();
            spoil(health.running.as_mut().unwrap());
            assert!(!health.is_well(), "number {number}");
        }
        let past = PanicStatus { count: 1, last: Some(UnixTime(1)), recent: false };
        assert!(Running { panics: past, ..Running::default() }.is_well());
        let enough = DescriptorStatus { open: 992, limit: 1024 };
        assert!(!enough.is_short());
    }
}
