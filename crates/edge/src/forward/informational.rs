//! Informational answers (1xx), which a service may send before its answer, and must not send without end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use http::Request;
use tokio::sync::Notify;

/// How many there may be before one answer (T11).
const INFORMATIONAL_MAX: usize = 8;

/// Ends when more have come than there may be; they are not passed on.
pub(super) fn too_many<B>(request: &mut Request<B>) -> impl Future<Output = ()> + use<B> {
    let (too_many, count) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let told = too_many.clone();
    hyper::ext::on_informational(request, move |_| {
        if count.fetch_add(1, Relaxed) >= INFORMATIONAL_MAX {
            told.notify_one();
        }
    });
    async move { too_many.notified().await }
}
