//! The hot pieces, one by one.

use std::cell::LazyCell;

use criterion::Criterion;
use tokio::runtime::Builder;
use tunnel_benches::pieces::{self, NAMES};

pub(crate) fn all(criterion: &mut Criterion) {
    // Made when the first bench runs: listing them, as test runners do, starts nothing.
    let mut pieces = LazyCell::new(|| {
        let links = Builder::new_current_thread().enable_all().build().unwrap();
        pieces::all(links).unwrap()
    });
    let mut group = criterion.benchmark_group("piece");
    for (at, name) in NAMES.into_iter().enumerate() {
        group.bench_function(name, |bencher| {
            let piece = pieces.get_mut(at).unwrap();
            bencher.iter(|| piece.run());
        });
    }
}
