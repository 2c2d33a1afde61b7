//! The bounded queue, without the task that empties it.

use std::collections::VecDeque;

use tunnel_proto::UnixTime;

use crate::store::{AuditEvent, AuditRecord};

/// The most records that wait.
pub const QUEUE_MAX: usize = 10_000;
/// How many of these places decisions and strangers' requests cannot take.
pub const RESERVED: usize = 1_000;
/// The most records of one transaction.
const BATCH_MAX: usize = 256;

/// Records that wait, oldest first.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<AuditRecord>,
    /// How many of the oldest are with the store.
    lent: usize,
    accepted: u64,
    written: u64,
    lost: u32,
}

impl Queue {
    /// Takes a record in, or counts it as lost.
    pub(super) fn push(&mut self, record: AuditRecord) {
        let most = if yields(record.event) { QUEUE_MAX.saturating_sub(RESERVED) } else { QUEUE_MAX };
        if self.waiting.len() >= most {
            self.lost = self.lost.saturating_add(record.count);
            return;
        }
        self.accepted = self.accepted.saturating_add(1);
        self.waiting.push_back(record);
    }

    /// The oldest records, which stay until [`Queue::written`]. What was lost meanwhile is told with the first batch
    /// that leaves room for it.
    pub(super) fn batch(&mut self, now: UnixTime) -> Vec<AuditRecord> {
        if self.lent == 0 {
            if self.lost > 0 && self.waiting.len() < QUEUE_MAX {
                let lost = std::mem::take(&mut self.lost);
                let detail = Some("the queue was full: the store was too slow, or its disk full".to_owned());
                self.accepted = self.accepted.saturating_add(1);
                self.waiting.push_back(AuditRecord { detail, count: lost, ..AuditRecord::new(now, AuditEvent::Lost) });
            }
            self.lent = self.waiting.len().min(BATCH_MAX);
        }
        self.waiting.iter().take(self.lent).cloned().collect()
    }

    /// Forgets the last batch, which the store has; answers with the number of records it has had in all.
    pub(super) fn written(&mut self) -> u64 {
        self.waiting.drain(..self.lent.min(self.waiting.len()));
        self.written = self.written.saturating_add(self.lent as u64);
        self.lent = 0;
        self.written
    }

    /// How many records were ever taken in.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many were lost and are not told of yet.
    pub(super) const fn lost(&self) -> u32 {
        self.lost
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Whether a record is of the kind that anybody can cause any number of.
const fn yields(event: AuditEvent) -> bool {
    matches!(
        event,
        AuditEvent::Admitted
            | AuditEvent::Refused
            | AuditEvent::PinRequested
            | AuditEvent::PinFailed
            | AuditEvent::LoginFailed
            | AuditEvent::EnrolRequested
            | AuditEvent::ClientAsked
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: AuditEvent, count: u32) -> AuditRecord {
        AuditRecord { count, ..AuditRecord::new(UnixTime(1), event) }
    }

    // F17
    #[test]
    fn a_full_queue_drops_the_newest_decisions_keeps_places_for_logins_and_tells_how_many_it_lost() {
        let mut queue = Queue::default();
        for number in 0..20_000u64 {
            queue.push(AuditRecord::new(UnixTime(number), AuditEvent::Refused));
        }
        assert_eq!(queue.len(), QUEUE_MAX - RESERVED);
        for _ in 0..2_000 {
            queue.push(record(AuditEvent::Login, 1));
        }
        assert_eq!(queue.len(), QUEUE_MAX);
        let mut all = Vec::new();
        loop {
            let batch = queue.batch(UnixTime(5));
            if batch.is_empty() {
                break;
            }
            all.extend(batch);
            queue.written();
        }
        let count = |event| all.iter().filter(|r| r.event == event).map(|r| u64::from(r.count)).sum::<u64>();
        assert_eq!(count(AuditEvent::Refused), 9_000);
        assert_eq!(count(AuditEvent::Login), 1_000);
        assert_eq!(count(AuditEvent::Lost), 12_000);
        assert_eq!(all.first().map(|r| r.at), Some(UnixTime(0)), "the oldest are kept");
        assert_eq!(queue.written(), queue.accepted());
    }

    #[test]
    fn a_batch_that_was_not_written_is_given_out_again_unchanged() {
        let mut queue = Queue::default();
        queue.push(record(AuditEvent::Login, 1));
        let first = queue.batch(UnixTime(5));
        queue.push(record(AuditEvent::Logout, 1));
        assert_eq!(queue.batch(UnixTime(6)), first);
        assert_eq!(queue.written(), 1);
        assert_eq!(queue.batch(UnixTime(6)), [record(AuditEvent::Logout, 1)]);
    }
}
