//! Making, routing, deleting, rotating.

use futures::future::join_all;
use tunnel_edge::{
    store::AuditEvent,
    tunnels::{Principal, Problem, TunnelRef},
};
use tunnel_proto::{
    HostPattern,
    identity::{CertRole, peer_identity},
};

use crate::enrolment::desk::{Office, allowed, create, csr, patterns};

const LOCAL: Principal = Principal::Local;

fn named(name: &str) -> TunnelRef {
    TunnelRef::Name(name.parse().unwrap())
}

fn serial(office: &Office, certificate: &str) -> (CertRole, String) {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let peer = peer_identity(office.ca.zone(), &der).unwrap();
    (peer.role, peer.serial_hex)
}

#[tokio::test]
async fn a_tunnel_is_made_routed_and_certified_in_one_step() {
    let office = Office::open().await;
    let made = office.desk().create_or_reuse(&LOCAL, &create("office", &["www.example.com"])).await.unwrap();
    assert_eq!(made.urls, ["https://www.example.com"]);
    assert_eq!(serial(&office, &made.certificate).0, CertRole::Connector(made.tunnel));
    assert_eq!(office.serves("www.example.com").await.as_deref(), Some("office"));
    assert_eq!(office.audited(AuditEvent::ConfigurationChanged).await, 1);
    assert_eq!(office.audited(AuditEvent::CertificateIssued).await, 1);
    // Again: the same tunnel, a certificate of its own, nothing else changed.
    let again = office.desk().create_or_reuse(&LOCAL, &create("office", &["www.example.com"])).await.unwrap();
    assert_eq!(again.tunnel, made.tunnel);
    assert_ne!(again.certificate, made.certificate);
    assert_eq!(office.audited(AuditEvent::ConfigurationChanged).await, 1);
    assert_eq!(office.audited(AuditEvent::CertificateIssued).await, 2);
}

#[tokio::test]
async fn a_hostname_of_another_tunnel_stays_there_and_nothing_is_half_written() {
    let office = Office::open().await;
    office.desk().create_or_reuse(&LOCAL, &create("office", &["www.example.com"])).await.unwrap();
    let before = office.store.declared().await.unwrap();
    let wanted = create("other", &["new.example.com", "www.example.com"]);
    let refused = office.desk().create_or_reuse(&LOCAL, &wanted).await.unwrap_err();
    assert_eq!(refused.code(), "hostname_taken");
    assert!(refused.to_string().contains("`office`") && refused.to_string().contains("connector delete office"));
    let mut bad = create("other", &["new.example.com"]);
    bad.csr = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n".into();
    assert_eq!(office.desk().create_or_reuse(&LOCAL, &bad).await, Err(Problem::Csr));
    let reserved = create("other", &["new.example.com", "access.example.com"]);
    let refused = office.desk().create_or_reuse(&LOCAL, &reserved).await.unwrap_err();
    assert_eq!(refused.code(), "hostname_reserved");
    assert_eq!(office.store.declared().await.unwrap(), before);
}

// T2
#[tokio::test]
async fn tunnels_of_others_are_unknown_to_an_operator() {
    let office = Office::open().await;
    office.desk().create_or_reuse(&LOCAL, &create("office", &["www.example.com"])).await.unwrap();
    let (_, one) = office.operator(&allowed(&["one.example.com"])).await;
    let (_, two) = office.operator(&allowed(&["two.example.com"])).await;
    let desk = office.desk();
    desk.create_or_reuse(&one, &create("first", &["one.example.com"])).await.unwrap();
    for name in ["office", "first", "nonesuch"] {
        let unknown = Err(Problem::UnknownTunnel(name.to_owned()));
        assert_eq!(desk.route(&two, &named(name), &patterns(&["two.example.com"])).await, unknown);
        assert_eq!(desk.delete(&two, &named(name)).await.map(drop), unknown.clone().map(drop));
        assert_eq!(desk.revoke(&two, &named(name)).await.map(drop), unknown.clone().map(drop));
        assert_eq!(desk.rotate(&two, &named(name), &csr()).await.map(drop), unknown.map(drop));
    }
    for name in ["office", "first"] {
        let taken = desk.create_or_reuse(&two, &create(name, &[])).await;
        assert_eq!(taken, Err(Problem::NameTaken(name.parse().unwrap())));
    }
    assert_eq!(desk.list(&two, |_| 0).await.unwrap(), []);
    let list = |entries: Vec<tunnel_proto::message::TunnelEntry>| entries.into_iter().map(|e| e.name.to_string());
    assert_eq!(list(desk.list(&one, |_| 0).await.unwrap()).collect::<Vec<_>>(), ["first"]);
    assert_eq!(list(desk.list(&LOCAL, |_| 0).await.unwrap()).collect::<Vec<_>>(), ["first", "office"]);
}

// T2
#[tokio::test(flavor = "multi_thread")]
async fn of_many_tunnels_that_want_one_hostname_exactly_one_gets_it() {
    let office = Office::open().await;
    let want = async |n: u32| {
        let request = create(&format!("tunnel-{n}"), &["www.example.com", &format!("own-{n}.example.com")]);
        office.desk().create_or_reuse(&LOCAL, &request).await
    };
    let answers = join_all((0..40).map(want)).await;
    let (got, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((got.len(), refused.len()), (1, 39));
    assert!(refused.iter().all(|answer| answer.as_ref().unwrap_err().code() == "hostname_taken"));
    let declared = office.declared().await;
    assert_eq!((declared.tunnels.len(), declared.routes.len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_many_at_a_time_are_all_kept() {
    let office = Office::open().await;
    let make = async |n: u32| {
        let request = create(&format!("tunnel-{n}"), &[&format!("own-{n}.example.com")]);
        office.desk().create_or_reuse(&LOCAL, &request).await.unwrap();
    };
    join_all((0..40).map(make)).await;
    let declared = office.declared().await;
    assert_eq!((declared.tunnels.len(), declared.routes.len()), (40, 40));
    assert_eq!(office.audited(AuditEvent::ConfigurationChanged).await, 40);
}

// T4
#[tokio::test]
async fn revoked_certificates_are_listed_and_cannot_be_renewed() {
    let office = Office::open().await;
    let desk = office.desk();
    let made = desk.create_or_reuse(&LOCAL, &create("office", &[])).await.unwrap();
    let (_, first) = serial(&office, &made.certificate);
    let renewed = desk.renew(made.tunnel, &first, &csr()).await.unwrap();
    let (role, second) = serial(&office, &renewed.certificate);
    assert_eq!(role, CertRole::Connector(made.tunnel));
    desk.revoke(&LOCAL, &named("office")).await.unwrap();
    let mut revoked = office.store.revoked_serials(desk.now).await.unwrap();
    revoked.sort();
    let mut both = [first.clone(), second.clone()];
    both.sort();
    assert_eq!(revoked, both);
    assert!(desk.renew(made.tunnel, &first, &csr()).await.is_err());
    assert!(desk.renew(made.tunnel, &second, &csr()).await.is_err());
}

// T4
#[tokio::test]
async fn rotating_leaves_only_the_new_certificate() {
    let office = Office::open().await;
    let desk = office.desk();
    let made = desk.create_or_reuse(&LOCAL, &create("office", &[])).await.unwrap();
    let (_, old) = serial(&office, &made.certificate);
    assert_eq!(desk.rotate(&LOCAL, &named("office"), "not a request").await.map(drop), Err(Problem::Csr));
    assert_eq!(office.store.revoked_serials(desk.now).await.unwrap(), Vec::<String>::new());
    let (tunnel, renewed) = desk.rotate(&LOCAL, &named("office"), &csr()).await.unwrap();
    assert_eq!(tunnel, made.tunnel);
    assert_eq!(office.store.revoked_serials(desk.now).await.unwrap(), [old]);
    let (_, new) = serial(&office, &renewed.certificate);
    assert!(desk.renew(made.tunnel, &new, &csr()).await.is_ok());
}

#[tokio::test]
async fn deleting_frees_the_name_and_the_hostnames() {
    let office = Office::open().await;
    let desk = office.desk();
    let made = desk.create_or_reuse(&LOCAL, &create("office", &["www.example.com"])).await.unwrap();
    let (_, serial) = serial(&office, &made.certificate);
    assert_eq!(desk.delete(&LOCAL, &named("office")).await, Ok(made.tunnel));
    assert_eq!(office.store.revoked_serials(desk.now).await.unwrap(), std::slice::from_ref(&serial));
    assert!(desk.renew(made.tunnel, &serial, &csr()).await.is_err());
    let again = desk.create_or_reuse(&LOCAL, &create("office", &["www.example.com"])).await.unwrap();
    assert_ne!(again.tunnel, made.tunnel);
}

#[tokio::test]
async fn a_request_for_too_much_is_refused_by_number() {
    let office = Office::open().await;
    let hostnames: Vec<HostPattern> = (0..257).map(|n| format!("h{n}.example.com").parse().unwrap()).collect();
    let request = tunnel_proto::enrol::CreateTunnel { hostnames, ..create("office", &[]) };
    let refused = office.desk().create_or_reuse(&LOCAL, &request).await.unwrap_err();
    assert_eq!(refused.code(), "too_many");
    assert!(office.declared().await.tunnels.is_empty());
}
