//! Certificates that visitors are shown: who orders one, and what is kept.

use std::sync::Arc;

use futures::future::join_all;
use tunnel_edge::store::{AuditEvent, AuditRecord, HeldCertificate, OrderFailed, Store};
use tunnel_proto::{HostPattern, UnixTime};

const NOW: UnixTime = UnixTime(1_800_000_000);
const LATER: UnixTime = UnixTime(1_800_000_090);

fn name() -> HostPattern {
    "*.example.test".parse().unwrap()
}

fn held(expires: UnixTime) -> HeldCertificate {
    HeldCertificate {
        chain: "PEM".into(),
        sealed: vec![1, 2, 3],
        directory: "https://ca.test/".into(),
        issued: NOW,
        expires,
    }
}

fn record(event: AuditEvent) -> [AuditRecord; 1] {
    [AuditRecord::new(NOW, event)]
}

pub(crate) async fn of_parallel_claims_of_one_certificate_exactly_one_holds(store: Arc<impl Store>) {
    let claim = |n: u8| {
        let store = store.clone();
        async move { (n, store.claim_visitor_certificate(&name(), &[n; 32], NOW, LATER).await.unwrap()) }
    };
    let done: Vec<_> = join_all((1..=50).map(claim)).await.into_iter().filter(|(_, done)| *done).collect();
    let [(winner, _)] = done[..] else { panic!("{done:?}") };
    let loser = if winner == 1 { 2 } else { 1 };
    assert!(store.claim_visitor_certificate(&name(), &[winner; 32], NOW, LATER).await.unwrap(), "once more");
    // Whoever does not have the claim changes nothing.
    let failed = OrderFailed { failures: 1, next: LATER, error: "no" };
    let issued = record(AuditEvent::CertificateIssued);
    assert!(!store.put_visitor_certificate(&name(), &[loser; 32], &held(LATER), LATER, &issued).await.unwrap());
    assert!(!store.fail_visitor_certificate(&name(), &[loser; 32], &failed, &issued).await.unwrap());
    assert!(store.audit(10).await.unwrap().is_empty());
    let all = store.visitor_certificates().await.unwrap();
    assert_eq!((all.len(), &all[0].held, all[0].claimed), (1, &None, LATER));
    // An edge that died keeps nobody waiting for ever.
    assert!(store.claim_visitor_certificate(&name(), &[loser; 32], LATER, UnixTime(LATER.0 + 90)).await.unwrap());
    assert!(!store.put_visitor_certificate(&name(), &[winner; 32], &held(LATER), LATER, &issued).await.unwrap());
}

pub(crate) async fn a_certificate_is_kept_with_its_record_and_survives_what_fails_after_it(store: Arc<impl Store>) {
    let me = [7; 32];
    let ends = UnixTime(NOW.0 + 1000);
    assert!(store.claim_visitor_certificate(&name(), &me, NOW, LATER).await.unwrap());
    let issued = record(AuditEvent::CertificateIssued);
    assert!(store.put_visitor_certificate(&name(), &me, &held(ends), LATER, &issued).await.unwrap());
    assert!(
        !store.put_visitor_certificate(&name(), &me, &held(ends), LATER, &issued).await.unwrap(),
        "the claim is given back"
    );
    assert_eq!(store.visitor_certificates().await.unwrap()[0].next, LATER);
    assert!(store.claim_visitor_certificate(&name(), &me, NOW, LATER).await.unwrap(), "it is free at once");
    assert!(!store.claim_visitor_certificate(&name(), &[8; 32], NOW, LATER).await.unwrap());
    let long_ago = UnixTime(NOW.0 - 1000);
    let claim = store.claim_visitor_certificate(&name(), &[8; 32], long_ago, UnixTime(long_ago.0 + 90)).await.unwrap();
    assert!(claim, "a clock that was wrong claims nothing for years");
    assert!(store.claim_visitor_certificate(&name(), &me, NOW, LATER).await.unwrap());
    let failed = OrderFailed { failures: 3, next: UnixTime(NOW.0 + 500), error: "the authority says no" };
    let record = record(AuditEvent::CertificateFailed);
    assert!(store.fail_visitor_certificate(&name(), &me, &failed, &record).await.unwrap());
    let all = store.visitor_certificates().await.unwrap();
    assert_eq!(all[0].held, Some(held(ends)));
    assert_eq!((all[0].failures, all[0].next, all[0].claimed), (3, UnixTime(NOW.0 + 500), UnixTime(0)));
    assert_eq!(all[0].error.as_deref(), Some("the authority says no"));
    let events: Vec<_> = store.audit(10).await.unwrap().iter().map(|record| record.event).collect();
    assert_eq!(events, [AuditEvent::CertificateFailed, AuditEvent::CertificateIssued]);
    let other: HostPattern = "other.example.test".parse().unwrap();
    assert!(!store.renew_visitor_certificate(&other).await.unwrap());
    assert!(store.renew_visitor_certificate(&name()).await.unwrap());
    let all = store.visitor_certificates().await.unwrap();
    assert_eq!(all[0].held, Some(HeldCertificate { directory: String::new(), ..held(ends) }), "it serves until then");
    assert_eq!(all[0].next, UnixTime(0));
    // Also one that has ended is remembered for a while, with what went wrong.
    store.sweep(UnixTime(ends.0 + 24 * 3600)).await.unwrap();
    assert_eq!(store.visitor_certificates().await.unwrap().len(), 1);
    store.sweep(UnixTime(ends.0 + 31 * 24 * 3600)).await.unwrap();
    assert!(store.visitor_certificates().await.unwrap().is_empty());
}
