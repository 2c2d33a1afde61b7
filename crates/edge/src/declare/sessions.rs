//! How long logins last.

use std::time::Duration;

use super::{
    fields::{Fields, Keys, Reader},
    scalar,
    yaml::Node,
};
use crate::store::SessionSettings;

const SESSIONS: Keys = Keys { known: &["duration", "idle"], later: &[] };

/// Reads the section.
pub(super) fn sessions(read: &mut Reader, file: &Fields<'_>) -> Option<SessionSettings> {
    let fields = read.fields(file.get("sessions")?, "sessions", &SESSIONS)?;
    let duration = optional(read, &fields, "duration", scalar::login);
    let idle = idle(read, &fields, "idle", duration.flatten());
    Some(SessionSettings { duration: duration?, idle: idle? })
}

/// A time without use, which must be shorter than the time as a whole where that is said.
pub(super) fn idle(
    read: &mut Reader,
    fields: &Fields<'_>,
    key: &str,
    whole: Option<Duration>,
) -> Option<Option<Duration>> {
    let idle = optional(read, fields, key, scalar::idle)?;
    match (idle, whole, fields.get(key)) {
        (Some(idle), Some(whole), Some(Node { at, .. })) if idle > whole => {
            let (idle, whole) = (scalar::duration_text(idle), scalar::duration_text(whole));
            read.wrong(*at, format!("`{key}`: after {idle} without use nothing is left to end, since it lasts {whole}"))
        }
        _ => Some(idle),
    }
}

/// A duration that may be left out; `None` when what is there is wrong.
pub(super) fn optional(
    read: &mut Reader,
    fields: &Fields<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<Duration, String>,
) -> Option<Option<Duration>> {
    fields.get(key).map_or(Some(None), |node| read.with(node, key, parse).map(Some))
}
