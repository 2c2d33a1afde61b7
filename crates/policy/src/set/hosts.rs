//! Which applications a host belongs to, found without walking over all hosts.

use std::{cmp::Reverse, collections::HashMap};

use tunnel_proto::{HostMap, HostPattern, Hostname};

use crate::{Application, PathPattern};

/// What is declared for each host pattern.
#[derive(Debug)]
pub(super) struct Index(HostMap<Host>);

/// A host pattern and what is declared for it.
#[derive(Debug)]
struct Host {
    pattern: HostPattern,
    /// Equal for equally specific patterns, greater for more specific ones.
    rank: usize,
    /// Most specific path first.
    paths: Vec<Path>,
}

#[derive(Debug)]
struct Path {
    /// `None` covers every path.
    pattern: Option<PathPattern>,
    rank: usize,
    application: usize,
}

impl Path {
    fn is_under(&self, covers: &impl Fn(&PathPattern) -> bool) -> bool {
        self.pattern.as_ref().is_none_or(covers)
    }
}

/// What is declared for one host, most specific pattern first.
pub(super) struct Targets<'a>(Vec<&'a Host>);

impl Targets<'_> {
    /// Whether anything is declared for some paths only.
    pub(super) fn have_paths(&self) -> bool {
        self.0.iter().flat_map(|host| &host.paths).any(|path| path.pattern.is_some())
    }

    /// Every application that has something declared for the host.
    pub(super) fn applications(&self) -> Vec<usize> {
        self.0.iter().flat_map(|host| &host.paths).map(|path| path.application).collect()
    }

    /// Whether anything is declared for the host.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is declared for the host by its own name.
    pub(super) fn has_exact(&self) -> bool {
        self.0.iter().any(|host| !host.pattern.as_str().contains('*'))
    }

    /// Those of them that some path falls under: none of a less specific pattern than one that covers every path.
    pub(super) fn reached(&self) -> Vec<usize> {
        let whole = self.0.iter().filter(|host| host.paths.iter().any(|path| path.pattern.is_none()));
        let least = whole.map(|host| host.rank).max().unwrap_or_default();
        let reached = self.0.iter().filter(|host| host.rank >= least);
        reached.flat_map(|host| &host.paths).map(|path| path.application).collect()
    }
}

impl Index {
    pub(super) fn new(applications: &[Application]) -> Self {
        let targets = || applications.iter().zip(0..).flat_map(|(app, at)| app.targets.iter().map(move |t| (t, at)));
        let host_ranks = ranks(targets().map(|(target, _)| &target.host), |host| host.specificity());
        let path_ranks = ranks(targets().filter_map(|(target, _)| target.path.as_ref()), |path| path.specificity());
        let mut index = HostMap::<Host>::default();
        for (target, application) in targets() {
            let pattern = target.path.clone().filter(|path| !path.is_root());
            let rank = pattern.as_ref().and_then(|path| path_ranks.get(path)).map_or(0, |rank| rank.saturating_add(1));
            let path = Path { pattern, rank, application };
            match index.get_mut(&target.host) {
                Some(host) => host.paths.push(path),
                None => {
                    let rank = host_ranks.get(&target.host).copied().unwrap_or_default();
                    let host = Host { pattern: target.host.clone(), rank, paths: vec![path] };
                    index.insert(target.host.clone(), host);
                }
            }
        }
        for host in index.values_mut() {
            host.paths.sort_by(|a, b| (Reverse(a.rank), &a.pattern).cmp(&(Reverse(b.rank), &b.pattern)));
        }
        Self(index)
    }

    pub(super) fn targets(&self, host: &Hostname) -> Targets<'_> {
        let mut hosts: Vec<&Host> = self.0.matching(host).map(|(_, host)| host).collect();
        hosts.sort_by(|a, b| (Reverse(a.rank), &a.pattern).cmp(&(Reverse(b.rank), &b.pattern)));
        Targets(hosts)
    }

    /// The applications of the most specific targets of which `covers` says that the path falls under them: one, unless
    /// several are equally specific.
    pub(super) fn best(&self, targets: &Targets<'_>, covers: impl Fn(&PathPattern) -> bool) -> Vec<usize> {
        let mut best: Vec<usize> = Vec::new();
        let mut found = None;
        for host in &targets.0 {
            for path in host.paths.iter().filter(|path| path.is_under(&covers)) {
                match found {
                    None => found = Some((host.rank, path.rank)),
                    Some(rank) if rank == (host.rank, path.rank) => {}
                    Some(_) => continue,
                }
                best.push(path.application);
            }
            if found.is_some_and(|(rank, _)| rank > host.rank) {
                break;
            }
        }
        best
    }
}

/// Ranks by specificity, so that they can be compared later without knowing how it is measured.
fn ranks<'a, T: std::hash::Hash + Eq, K: Ord>(
    items: impl Iterator<Item = &'a T>,
    by: impl Fn(&T) -> K,
) -> HashMap<&'a T, usize> {
    let mut items: Vec<(K, &T)> = items.map(|item| (by(item), item)).collect();
    items.sort_by(|a, b| a.0.cmp(&b.0));
    let mut ranks = HashMap::new();
    let mut rank = 0usize;
    let mut before: Option<&K> = None;
    for (key, item) in &items {
        if before.is_some_and(|before| before != key) {
            rank = rank.saturating_add(1);
        }
        before = Some(key);
        ranks.insert(*item, rank);
    }
    ranks
}
