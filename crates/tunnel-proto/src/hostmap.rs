//! Things by host pattern, found without looking at every pattern.

use std::{collections::HashMap, iter};

use crate::{HostPattern, Hostname};

/// Things by host pattern. A hostname is looked up by each of its own endings: that costs as much as it has labels, however many
/// patterns there are. Patterns that are alike after their last `*` (`a*.example.com` and `b*.example.com`) are looked at one
/// after the other.
#[derive(Clone, Debug)]
pub struct HostMap<T>(HashMap<Box<str>, Vec<(HostPattern, T)>>);

impl<T> HostMap<T> {
    /// Adds a thing; a pattern may have several.
    pub fn insert(&mut self, pattern: HostPattern, thing: T) {
        self.0.entry(ending(&pattern).into()).or_default().push((pattern, thing));
    }

    /// The things of every pattern that `host` matches, in no particular order.
    pub fn matching<'a>(&'a self, host: &Hostname) -> impl Iterator<Item = (&'a HostPattern, &'a T)> {
        let text = host.as_str();
        let below = text.match_indices('.').filter_map(move |(dot, _)| text.get(dot.saturating_add(1)..));
        let endings = iter::once(text).chain(below).chain(iter::once(""));
        let near = endings.filter_map(move |ending| self.0.get(ending)).flatten();
        near.filter(move |(pattern, _)| pattern.matches(host)).map(|(pattern, thing)| (pattern, thing))
    }

    /// The first thing of exactly this pattern.
    pub fn get(&self, pattern: &HostPattern) -> Option<&T> {
        self.0.get(ending(pattern))?.iter().find(|(other, _)| other == pattern).map(|(_, thing)| thing)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, pattern: &HostPattern) -> Option<&mut T> {
        self.0.get_mut(ending(pattern))?.iter_mut().find(|(other, _)| other == pattern).map(|(_, thing)| thing)
    }

    /// Every thing, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().flatten().map(|(_, thing)| thing)
    }
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> FromIterator<(HostPattern, T)> for HostMap<T> {
    fn from_iter<I: IntoIterator<Item = (HostPattern, T)>>(all: I) -> Self {
        let mut map = Self::default();
        all.into_iter().for_each(|(pattern, thing)| map.insert(pattern, thing));
        map
    }
}

/// The labels after the last one with a `*`; all of them when there is none.
fn ending(pattern: &HostPattern) -> &str {
    match pattern.as_str().rsplit_once('*') {
        None => pattern.as_str(),
        Some((_, rest)) => rest.split_once('.').map_or("", |(_, ending)| ending),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few labels, so that many patterns meet many hosts.
    fn host() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "ab", "b", "aab"]), 1..4)
            .prop_map(|labels| labels.join("."))
    }

    fn pattern() -> impl Strategy<Value = String> {
        let label = prop::sample::select(vec!["a", "ab", "b", "*", "a*", "*b", "a*b"]);
        prop::collection::vec(label, 1..4).prop_map(|labels| labels.join("."))
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_looking_at_every_pattern_finds(
            patterns in prop::collection::vec(pattern(), 0..40),
            host in host(),
        ) {
            let patterns: Vec<HostPattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
            let host = Hostname::parse(&host).unwrap();
            let map: HostMap<usize> = patterns.iter().cloned().zip(0..).collect();
            let mut found: Vec<usize> = map.matching(&host).map(|(_, at)| *at).collect();
            found.sort_unstable();
            let slow: Vec<usize> = (0..patterns.len()).filter(|at| patterns[*at].matches(&host)).collect();
            prop_assert_eq!(found, slow);
            for pattern in &patterns {
                prop_assert_eq!(map.get(pattern).copied(), patterns.iter().position(|other| other == pattern));
            }
        }
    }
}
