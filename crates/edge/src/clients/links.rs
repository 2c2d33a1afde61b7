//! How many links each person and each machine has (T6).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tunnel_proto::{Name, PersonId};

use crate::holder::Holder;

/// Links of one person or one service token at a time. Each running client has one; whoever starts hundreds of commands at
/// once has as many.
const LINKS_PER_HOLDER: usize = 512;

/// Whose a link is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Person(PersonId),
    Machine(Name),
}

impl Whose {
    /// Nobody's, where nobody in particular has been admitted.
    pub(super) fn of(holder: &Holder) -> Option<Self> {
        match (holder.identity(), holder.machine()) {
            (Some(identity), _) => Some(Self::Person(identity.person)),
            (None, Some(machine)) => Some(Self::Machine(machine.name().clone())),
            (None, None) => None,
        }
    }
}

/// The links of everybody.
#[derive(Debug, Default)]
pub struct ClientLinks(Mutex<HashMap<Whose, usize>>);

impl ClientLinks {
    /// Counts another link; `None` when it is one too many.
    pub(super) fn another(self: &Arc<Self>, whose: Whose) -> Option<OneLink> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = links.entry(whose.clone()).or_default();
        if *count >= LINKS_PER_HOLDER {
            return None;
        }
        *count = count.saturating_add(1);
        Some(OneLink { links: self.clone(), whose })
    }
}

/// One link of somebody's; counted until dropped.
pub(super) struct OneLink {
    links: Arc<ClientLinks>,
    whose: Whose,
}

impl Drop for OneLink {
    fn drop(&mut self) {
        let mut links = self.links.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = links.get_mut(&self.whose) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                links.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T6
    #[test]
    fn nobody_has_links_without_end_and_each_has_their_own() {
        let links = Arc::<ClientLinks>::default();
        let (ann, robot) = (Whose::Person(PersonId::from_random([1; 16])), Whose::Machine("robot".parse().unwrap()));
        let held: Vec<_> = (0..LINKS_PER_HOLDER).map(|_| links.another(ann.clone()).unwrap()).collect();
        assert!(links.another(ann.clone()).is_none());
        assert!(links.another(robot).is_some());
        drop(held);
        assert!(links.0.lock().unwrap().is_empty());
        assert!(links.another(ann).is_some());
    }
}
