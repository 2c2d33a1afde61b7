//! Hostnames and the tunnels that serve them.

use tunnel_edge::store::{CertificateHolder, CertificateRecord, Store};
use tunnel_proto::UnixTime;

use crate::declare::desk::Desk;

const TWO: &str = "\
tunnels:
  - {name: office, hostnames: [www.tnkeng.work]}
  - {name: cloud, hostnames: [api.tnkeng.work]}
";

async fn routes(desk: &Desk) -> Vec<String> {
    let declared = desk.declared().await;
    let name = |route: &tunnel_edge::store::RouteRecord| declared.tunnel(route.tunnel).unwrap().name.to_string();
    let mut routes: Vec<_> =
        declared.routes.iter().map(|route| format!("{} {}", route.hostname, name(route))).collect();
    routes.sort();
    routes
}

#[tokio::test]
async fn a_hostname_routed_to_two_tunnels_is_an_error_naming_both() {
    let desk = Desk::configured().await;
    let refusal = desk.refusal(&TWO.replace("api", "www")).await;
    assert_eq!(
        refusal,
        "access.yaml:3:31: `www.tnkeng.work` is routed to tunnel `office` (line 2) and to tunnel `cloud`"
    );
}

#[tokio::test]
async fn a_hostname_moves_only_from_a_tunnel_that_the_file_lists() {
    let desk = Desk::configured().await;
    desk.apply(TWO).await;
    let refusal = desk.refusal("tunnels:\n  - {name: cloud, hostnames: [api.tnkeng.work, www.tnkeng.work]}\n").await;
    assert!(
        refusal.starts_with(
            "access.yaml:2:48: `www.tnkeng.work` is routed to tunnel `office`, which this file does not list"
        ),
        "{refusal}"
    );
    let refusal = desk.refusal("tunnels:\n  - {name: cloud, hostnames: [www.tnkeng.work]}\n  - {name: office}\n").await;
    assert!(refusal.contains("is routed to tunnel `office`"), "{refusal}");
    desk.apply("tunnels:\n  - {name: cloud, hostnames: [www.tnkeng.work]}\n  - {name: office, hostnames: []}\n").await;
    assert_eq!(routes(&desk).await, ["www.tnkeng.work cloud"]);
}

#[tokio::test]
async fn a_tunnel_without_a_list_keeps_its_routes() {
    let desk = Desk::configured().await;
    desk.apply(TWO).await;
    assert_eq!(desk.prune("tunnels:\n  - {name: office}\n  - {name: cloud}\n").await.to_string(), "no changes");
    assert_eq!(routes(&desk).await, ["api.tnkeng.work cloud", "www.tnkeng.work office"]);
}

#[tokio::test]
async fn a_pruned_tunnel_loses_its_routes_and_certificates() {
    let desk = Desk::configured().await;
    desk.apply(TWO).await;
    let office = desk.declared().await.tunnel_named(&"office".parse().unwrap()).unwrap().id;
    let certificate = CertificateRecord {
        serial: "0a".to_owned(),
        holder: CertificateHolder::Tunnel(office),
        issued: UnixTime(1_800_000_000),
        expires: UnixTime(1_900_000_000),
    };
    desk.store.put_certificate(&certificate).await.unwrap();
    let report = desk.prune("tunnels:\n  - {name: cloud, hostnames: [api.tnkeng.work, www.tnkeng.work]}\n").await;
    let expected = "\
~ tunnel `cloud`
    hostnames: api.tnkeng.work → api.tnkeng.work, www.tnkeng.work
- tunnel `office`
2 changes applied (revision 2)";
    assert_eq!(report.to_string(), expected);
    assert_eq!(routes(&desk).await, ["api.tnkeng.work cloud", "www.tnkeng.work cloud"]);
    assert_eq!(desk.store.revoked_serials(UnixTime(1_800_000_001)).await.unwrap(), ["0a"]);
}
