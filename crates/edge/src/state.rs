//! What all of an edge's tasks share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tunnel_proto::Hostname;

use crate::{
    audit::Audit, clock::Clock, config::Config, gate::Decisions, keys::Keys, mail::Mailer, registry::Registry,
    session::Sessions, snapshot::Snapshot, store::Store,
};

/// The edge's shared state. Each part has one owner, named by its type; the snapshot is replaced whole.
pub struct State {
    /// What the process was started with.
    pub config: Config,
    /// The wall clock.
    pub clock: Clock,
    /// What is kept on disk.
    pub store: Arc<dyn Store>,
    /// Sealing, hashing and signing keys.
    pub keys: Keys,
    /// The edge's own certificate authority.
    pub ca: tunnel_proto::identity::Ca,
    /// What is served from.
    pub snapshot: ArcSwap<Snapshot>,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Which links are up.
    pub registry: Registry,
    /// Decisions made before, for as long as they hold.
    pub decisions: Decisions,
    /// The append-only record.
    pub audit: Audit,
    /// Outgoing mail.
    pub mail: Mailer,
}

impl State {
    /// The host at which people log in: `access.ZONE`.
    pub fn login_host(&self) -> &Hostname {
        &self.config.login_host
    }
}
