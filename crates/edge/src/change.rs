//! A small change of what is declared, by whoever administers the edge from its own machine.

use tunnel_proto::{UnixTime, enrol::EnrolProblem};

use crate::{
    socket::{Answer, problem},
    store::{AuditEvent, AuditRecord, Declared, Store, StoreError},
};

/// How often a change is decided anew because others came first.
const RETRIES: u32 = 1000;

/// Decides a change of `object` on the newest configuration and stores it with its record, as often as others come in
/// between.
pub(crate) async fn change<T>(
    store: &dyn Store,
    object: &str,
    detail: &str,
    now: UnixTime,
    decide: impl Fn(&mut Declared) -> Answer<T> + Send,
) -> Answer<T> {
    let record = AuditRecord {
        actor: Some("local".to_owned()),
        object: Some(object.to_owned()),
        detail: Some(detail.to_owned()),
        ..AuditRecord::new(now, AuditEvent::ConfigurationChanged)
    };
    for _ in 0..RETRIES {
        let (revision, mut declared) = store.declared().await.map_err(failed)?;
        let answer = decide(&mut declared)?;
        match store.replace_declared(revision, &declared, std::slice::from_ref(&record)).await {
            Ok(_) => return Ok(answer),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(problem("internal", "the change lost against others too often; try again"))
}

/// The store failed, in words for whoever asked.
pub(crate) fn failed(error: StoreError) -> EnrolProblem {
    problem("internal", error.to_string())
}
