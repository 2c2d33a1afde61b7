//! How the machine of an edge does, as its owner sees it.

use serde::{Deserialize, Serialize};
use tunnel_proto::UnixTime;

use crate::store::{AuditEvent, AuditRecord};
pub use crate::{backup::BackupStatus, clock::ClockStatus};

/// How the machine of an edge does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Its clock.
    pub clock: ClockStatus,
    /// Copies of its database.
    pub backups: BackupStatus,
}

/// The record of an administrator who goes by what the clock shows, `before` the edge did.
pub(crate) fn accepted(before: UnixTime, shown: UnixTime) -> AuditRecord {
    AuditRecord {
        actor: Some("local".to_owned()),
        detail: Some(format!("the clock is believed: it shows {}, the edge went by {}", shown.0, before.0)),
        ..AuditRecord::new(shown, AuditEvent::ConfigurationChanged)
    }
}
