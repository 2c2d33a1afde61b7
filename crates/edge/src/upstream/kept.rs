//! What is kept of streams, by the link that carries it: what is done for one link costs nothing for the others, of which there
//! may be thousands.

use std::collections::HashMap;

use tunnel_proto::LinkId;

use super::{KEPT_PER_LINK, Key};

/// Things that are kept, by what they can be used for again.
pub(super) struct Kept<T>(HashMap<LinkId, HashMap<Key, Vec<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Kept<T> {
    pub(super) fn get(&self, key: &Key) -> Option<&[T]> {
        self.0.get(&key.link)?.get(key).map(Vec::as_slice)
    }

    /// Lets `act` change what is kept for a key, if anything is.
    pub(super) fn change<R>(&mut self, key: &Key, act: impl FnOnce(&mut Vec<T>) -> R) -> Option<R> {
        let of_link = self.0.get_mut(&key.link)?;
        let kept = of_link.get_mut(key)?;
        let done = act(kept);
        if kept.is_empty() {
            of_link.remove(key);
        }
        if of_link.is_empty() {
            self.0.remove(&key.link);
        }
        Some(done)
    }

    /// Keeps only what `is_kept` of a key, and one more if there is room for it among all of the link's, and at most `most` of the
    /// key.
    pub(super) fn put(&mut self, key: Key, one: T, most: usize, is_kept: impl Fn(&T) -> bool) {
        let has_room = self.has_room(key.link);
        self.0.entry(key.link).or_default().entry(key.clone()).or_default();
        self.change(&key, |kept| {
            kept.retain(is_kept);
            if has_room && kept.len() < most {
                kept.push(one);
            }
        });
    }

    /// Whether another one of a link's may be kept.
    fn has_room(&self, link: LinkId) -> bool {
        let of_link = self.0.get(&link).into_iter().flatten();
        of_link.map(|(_, kept)| kept.len()).sum::<usize>() < KEPT_PER_LINK
    }

    /// Drops what is kept of a link.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.0.remove(&link);
    }

    /// Drops whatever is not worth being kept.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&T) -> bool) {
        self.0.retain(|_, of_link| {
            of_link.retain(|_, kept| {
                kept.retain(&is_kept);
                !kept.is_empty()
            });
            !of_link.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use tunnel_proto::{Revision, RuleId};

    use super::*;

    fn key(link: u8, owner: u8) -> Key {
        let link = LinkId::from_bytes([link; 16]);
        Key { link, revision: Revision(1), rule: RuleId(0), owner: Some([owner; 32]) }
    }

    // S1c
    #[test]
    fn what_is_kept_leaves_a_link_room_for_requests() {
        let mut kept = Kept::default();
        let put = |kept: &mut Kept<u8>, link, owner| kept.put(key(link, owner), owner, 2, |_| true);
        (0..127).for_each(|owner| put(&mut kept, 1, owner));
        assert!(kept.has_room(key(1, 0).link));
        put(&mut kept, 1, 0);
        assert!(!kept.has_room(key(1, 0).link) && kept.has_room(key(2, 0).link));
        put(&mut kept, 1, 200);
        assert!(kept.get(&key(1, 200)).is_none(), "no room, and nothing is left of it");
        assert_eq!(kept.get(&key(1, 0)), Some(&[0, 0][..]));
        put(&mut kept, 2, 1);
        put(&mut kept, 2, 1);
        put(&mut kept, 2, 1);
        assert_eq!(kept.get(&key(2, 1)), Some(&[1, 1][..]), "as many as there may be of a key");
    }

    #[test]
    fn a_link_is_forgotten_alone_and_nothing_is_left_of_what_is_used_up() {
        let mut kept = Kept::default();
        for (link, owner) in [(1, 1), (1, 2), (2, 1), (3, 3)] {
            kept.put(key(link, owner), owner, 9, |_| true);
        }
        kept.forget(key(1, 0).link);
        assert!(kept.get(&key(1, 1)).is_none() && kept.get(&key(2, 1)).is_some());
        assert_eq!(kept.change(&key(2, 1), Vec::pop), Some(Some(1)));
        assert_eq!(kept.change(&key(2, 1), Vec::pop), None);
        kept.retain(|owner| *owner < 3);
        assert!(kept.0.is_empty());
    }
}
