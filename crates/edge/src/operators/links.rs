//! Which links of operators are up.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;
use tunnel_proto::OperatorId;

/// Links of all operators, beside those of connectors.
pub(crate) const OPERATOR_LINKS_MAX: usize = 256;
/// Links of one operator at a time: each command has one, for as long as it takes.
const LINKS_PER_OPERATOR: usize = 8;

/// The links of all operators.
#[derive(Debug, Default)]
pub struct OperatorLinks(Mutex<Vec<Arc<Managing>>>);

/// One link, as far as it is known.
#[derive(Debug)]
struct Managing {
    operator: OperatorId,
    serial: String,
    over: CancellationToken,
}

impl OperatorLinks {
    /// Counts another link, of the certificate with this serial number; `None` when it is one too many.
    pub(crate) fn another(self: &Arc<Self>, operator: OperatorId, serial: &str) -> Option<OperatorLink> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if links.iter().filter(|one| one.operator == operator).count() >= LINKS_PER_OPERATOR {
            return None;
        }
        let one = Arc::new(Managing { operator, serial: serial.to_owned(), over: CancellationToken::new() });
        links.push(one.clone());
        Some(OperatorLink { links: self.clone(), one })
    }

    /// Ends those whose certificate is among these.
    pub(crate) fn end(&self, revoked: &HashSet<String>) {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().filter(|one| revoked.contains(&one.serial)).for_each(|one| one.over.cancel());
    }
}

/// One link of an operator; counted until dropped.
#[derive(Debug)]
pub(crate) struct OperatorLink {
    links: Arc<OperatorLinks>,
    one: Arc<Managing>,
}

impl OperatorLink {
    /// Waits until its certificate is revoked.
    pub(crate) async fn over(&self) {
        self.one.over.cancelled().await;
    }
}

impl Drop for OperatorLink {
    fn drop(&mut self) {
        let mut links = self.links.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|other| !Arc::ptr_eq(other, &self.one));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T6
    #[test]
    fn an_operator_has_a_few_links_and_those_of_a_revoked_certificate_end() {
        let links = Arc::<OperatorLinks>::default();
        let (a, b) = (OperatorId::from_random([1; 16]), OperatorId::from_random([2; 16]));
        let held: Vec<_> = (0..LINKS_PER_OPERATOR).map(|_| links.another(a, "01").unwrap()).collect();
        assert!(links.another(a, "02").is_none(), "whatever the certificate");
        let other = links.another(b, "03").unwrap();
        links.end(&HashSet::from(["01".to_owned()]));
        assert!(held.iter().all(|link| link.one.over.is_cancelled()) && !other.one.over.is_cancelled());
        drop(held);
        assert!(links.another(a, "02").is_some());
    }
}
