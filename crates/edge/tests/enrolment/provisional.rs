//! The quick start: publishing admits the administrators, until somebody declares otherwise.

use std::net::IpAddr;

use tunnel_edge::{
    snapshot::{BuiltIn, Snapshot, SnapshotError},
    store::RouteRecord,
    tunnels::{Principal, TunnelRef},
};
use tunnel_policy::{
    Action, Application, Attributes, Circumstances, Group, Policy, Rules, Selector, Subject, Target, Verdict,
};
use tunnel_proto::{AppId, Identity, PersonId, Revision, UnixTime};

use crate::enrolment::desk::{Office, admin, create};

const LOCAL: Principal = Principal::Local;
const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn built_in() -> BuiltIn {
    let login_host = Some("access.localhost".parse().unwrap());
    BuiltIn { administrators: vec![admin()], quick_start: true, login_host, ..BuiltIn::default() }
}

async fn snapshot(office: &Office, built_in: &BuiltIn) -> Result<Snapshot, SnapshotError> {
    Snapshot::new(Revision(1), office.declared().await, built_in)
}

fn admitted(snapshot: &Snapshot, host: &str, email: &str) -> Option<bool> {
    let application = snapshot.policies.applications_for(&host.parse().unwrap(), "/").raw?;
    let identity = Identity {
        person: PersonId::from_bytes([1; 16]),
        email: email.parse().unwrap(),
        method: "pin".parse().unwrap(),
        authenticated: UnixTime(0),
    };
    let (attributes, now) = (Attributes::new(), UnixTime(0));
    let here = Circumstances { source: SOURCE, country: None, now };
    let decision = snapshot.policies.decide(application, &Subject::person(&identity, &attributes, here));
    Some(matches!(decision.verdict, Verdict::Allow { .. }))
}

fn application(name: &str, host: &str, policy: &str) -> Application {
    let targets = vec![Target { host: host.parse().unwrap(), path: None }];
    Application::new(AppId::from_bytes([3; 32]), name.parse().unwrap(), targets, vec![policy.parse().unwrap()])
}

#[tokio::test]
async fn publishing_admits_the_administrators_and_nobody_else() {
    let office = Office::quick_start().await;
    let made = office.desk().create_or_reuse(&LOCAL, &create("www", &["www.localhost"])).await.unwrap();
    assert_eq!(made.urls, ["http://www.localhost:8080"]);
    let served = snapshot(&office, &built_in()).await.unwrap();
    assert_eq!(admitted(&served, "www.localhost", "admin@example.com"), Some(true));
    assert_eq!(admitted(&served, "www.localhost", "other@example.com"), Some(false));
    assert_eq!(admitted(&served, "ftp.localhost", "admin@example.com"), None);
    // Publishing again makes no second one.
    office.desk().create_or_reuse(&LOCAL, &create("www", &["www.localhost"])).await.unwrap();
    assert_eq!(office.declared().await.applications.len(), 1);
}

// A8
#[tokio::test]
async fn without_an_administrator_nobody_is_admitted() {
    let office = Office::quick_start().await;
    office.desk().create_or_reuse(&LOCAL, &create("www", &["www.localhost"])).await.unwrap();
    let nobody = BuiltIn { administrators: Vec::new(), ..built_in() };
    let served = snapshot(&office, &nobody).await.unwrap();
    assert!(!served.has_administrator());
    assert_eq!(admitted(&served, "www.localhost", "admin@example.com"), Some(false));
    // One that is added later counts as well.
    office.declare(|declared| declared.administrators.push("late@example.com".parse().unwrap())).await;
    let served = snapshot(&office, &nobody).await.unwrap();
    assert_eq!(admitted(&served, "www.localhost", "late@example.com"), Some(true));
}

#[tokio::test]
async fn in_a_real_zone_publishing_admits_nobody() {
    let office = Office::open().await;
    office.desk().create_or_reuse(&LOCAL, &create("www", &["www.example.com"])).await.unwrap();
    assert!(office.declared().await.applications.is_empty());
}

#[tokio::test]
async fn a_declared_application_replaces_the_provisional_one() {
    let office = Office::quick_start().await;
    office.desk().create_or_reuse(&LOCAL, &create("www", &["www.localhost"])).await.unwrap();
    office
        .declare(|declared| {
            let rules = Rules { include: vec![Selector::Everyone], ..Rules::default() };
            let name = "all".parse().unwrap();
            declared.policies.push(Policy {
                name,
                action: Action::Allow,
                rules,
                session_duration: None,
                destinations: Vec::new(),
            });
            // Of the same name, too.
            declared.applications.push(application("www.localhost", "www.localhost", "all"));
        })
        .await;
    let served = snapshot(&office, &built_in()).await.unwrap();
    assert_eq!(admitted(&served, "www.localhost", "other@example.com"), Some(true));
    assert_eq!(served.policies.applications().count(), 1);
}

#[tokio::test]
async fn a_declared_application_of_that_name_elsewhere_is_no_error() {
    let office = Office::quick_start().await;
    office.desk().create_or_reuse(&LOCAL, &create("www", &["www.localhost"])).await.unwrap();
    office.declare(|d| d.applications.push(application("www.localhost", "ftp.localhost", "administrators"))).await;
    let served = snapshot(&office, &built_in()).await.unwrap();
    assert_eq!(admitted(&served, "www.localhost", "admin@example.com"), Some(true));
    assert_eq!(admitted(&served, "ftp.localhost", "admin@example.com"), Some(true));
}

#[tokio::test]
async fn a_hostname_that_a_declared_wildcard_answers_for_gets_no_provisional_application() {
    let office = Office::quick_start().await;
    office.declare(|d| d.applications.push(application("all", "*.localhost", "administrators"))).await;
    office.desk().create_or_reuse(&LOCAL, &create("www", &["www.localhost"])).await.unwrap();
    assert_eq!(office.declared().await.applications.len(), 1);
}

#[tokio::test]
async fn a_deleted_tunnel_takes_its_provisional_application_along() {
    let office = Office::quick_start().await;
    office.desk().create_or_reuse(&LOCAL, &create("www", &["www.localhost", "*.lab.localhost"])).await.unwrap();
    assert_eq!(office.declared().await.applications.len(), 2);
    office.desk().delete(&LOCAL, &TunnelRef::Name("www".parse().unwrap())).await.unwrap();
    assert!(office.declared().await.applications.is_empty());
}

#[tokio::test]
async fn nothing_takes_the_place_of_what_is_built_in() {
    let office = Office::quick_start().await;
    let everyone = Rules { include: vec![Selector::Everyone], ..Rules::default() };
    let name = tunnel_edge::snapshot::administrators();
    let group = Group { name: name.clone(), rules: everyone.clone() };
    let policy =
        Policy { name, action: Action::Allow, rules: everyone, session_duration: None, destinations: Vec::new() };
    let base = office.declared().await;
    let refused = |change: &dyn Fn(&mut tunnel_edge::store::Declared)| {
        let mut declared = base.clone();
        change(&mut declared);
        Snapshot::new(Revision(1), declared, &built_in()).unwrap_err()
    };
    let kind = |error| match error {
        SnapshotError::BuiltInName { kind } => kind,
        other => panic!("{other}"),
    };
    assert_eq!(kind(refused(&|declared| declared.groups.push(group.clone()))), "group");
    assert_eq!(kind(refused(&|declared| declared.policies.push(policy.clone()))), "policy");
    let login_host = application("evil", "ACCESS.localhost.", "administrators");
    let error = refused(&|declared| declared.applications.push(login_host.clone()));
    assert!(matches!(error, SnapshotError::LoginHost { kind: "application", .. }), "{error}");
    let nowhere =
        RouteRecord { hostname: "x.localhost".parse().unwrap(), tunnel: tunnel_proto::TunnelId::from_bytes([1; 16]) };
    let error = refused(&|declared| declared.routes.push(nowhere.clone()));
    assert!(matches!(error, SnapshotError::RouteToNowhere(_)), "{error}");
}
