//! Tables that connectors announce: how often one is taken, and what comes of it.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::Instant};
use tunnel_proto::{
    TunnelId,
    message::{Message, Table, TableAccepted, TableRefusal, TableRefused},
};

use crate::{
    State,
    registry::{Rules, Uplink},
};

/// Tables that a link may announce one right after the other. A connector announces one, and another when its rules change.
const AT_ONCE: u32 = 4;
/// How often another one is taken: compiling its path expressions costs (T10).
const EVERY: Duration = Duration::from_secs(5);

/// The tables of one link, in time.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When all of the budget is there again.
    full: Option<Instant>,
}

impl Budget {
    /// How long the table that has come at `now` has to wait.
    pub(super) fn spend(&mut self, now: Instant) -> Duration {
        let owed = self.full.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        self.full = Some(now + owed + EVERY);
        owed.saturating_sub(EVERY.saturating_mul(AT_ONCE - 1))
    }
}

/// Takes a table, or says why it is not taken.
pub(super) async fn take(state: &State, uplink: &Uplink, table: Table) -> Message {
    let (before, revision) = (uplink.table.load_full(), table.revision);
    // Beside what serves everybody.
    let Ok((table, compiled)) = spawn_blocking(move || compile(table, &before)).await else {
        let text = "the edge could not read it".to_owned();
        return TableRefused { revision, rule: None, code: TableRefusal::Internal, text }.into();
    };
    match compiled {
        // Some may be routed later; a table of which nothing is routed is a mistake that somebody waits to hear of.
        Ok(_) if !is_routed(state, uplink.tunnel, &table) => TableRefused {
            revision,
            rule: table.rules.first().map(|rule| rule.id),
            code: TableRefusal::NotRouted,
            text: "not routed to this tunnel".to_owned(),
        }
        .into(),
        Ok(rules) => {
            uplink.table.store(Arc::new(rules));
            state.registry.note_announced();
            TableAccepted { revision }.into()
        }
        Err(refused) => refused.into(),
    }
}

fn compile(table: Table, before: &Rules) -> (Table, Result<Rules, TableRefused>) {
    crate::faults::at("table");
    let compiled = Rules::compile(&table, before);
    (table, compiled)
}

fn is_routed(state: &State, tunnel: TunnelId, table: &Table) -> bool {
    let snapshot = state.snapshot.load();
    table.rules.is_empty() || table.rules.iter().any(|rule| snapshot.routes(tunnel, &rule.hostname))
}

#[cfg(test)]
mod tests {
    use super::*;

    // T10
    #[test]
    fn a_few_tables_come_at_once_and_then_one_at_a_time() {
        let (start, mut budget) = (Instant::now(), Budget::default());
        let waits = [0, 0, 0, 0, 5, 10].map(Duration::from_secs);
        assert_eq!(waits.map(|_| budget.spend(start)), waits);
        let later = start + EVERY * 6;
        assert_eq!([0, 0, 0, 0, 5].map(|_| budget.spend(later).as_secs()), [0, 0, 0, 0, 5], "time gives all back");
    }
}
