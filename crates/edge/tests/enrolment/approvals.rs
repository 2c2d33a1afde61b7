//! `connector login`: asking, approving, fetching, each once.

use std::net::IpAddr;

use futures::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt;
use tunnel_edge::{
    Lang, Reference, Visit,
    enroll::{self, Allowed, EnrolError, Verdict, approval},
    pages::PageContext,
    store::AuditEvent,
    tunnels::{Principal, Problem},
};
use tunnel_proto::{
    enrol::{EnrolAnswer, EnrolProblem, EnrolRequest},
    identity::{CertRole, peer_identity},
};

use crate::enrolment::desk::{Office, admin, allowed, ask, create};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 24));

// T3, C5
#[tokio::test]
async fn nothing_is_given_before_an_administrator_approves() {
    let office = Office::open().await;
    let (id, secret) = office.login(&["www.example.com"]).await;
    assert_eq!(office.poll(&secret).await, EnrolAnswer::Pending);
    let wish = enroll::waiting(&office.desk(), &id).await.unwrap().unwrap();
    assert_eq!(wish.ask.machine, "nas");
    let verdict = Verdict::Approve(allowed(&["www.example.com"]));
    enroll::decide(&office.desk(), &admin(), &id, &verdict).await.unwrap();
    let EnrolAnswer::Approved(operator) = office.poll(&secret).await else { panic!() };
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_slice(operator.certificate.as_bytes()).unwrap();
    let peer = peer_identity(office.ca.zone(), &der).unwrap();
    assert_eq!(peer.role, CertRole::Operator(operator.id));
    assert_eq!(peer.expires.since(office.clock.now()).as_secs(), 90 * 86400);
    assert_eq!(operator.ca, office.ca.certificate_pem());
    assert_eq!(office.audited(AuditEvent::Enrolled).await, 1);
    let record = office.store.operator(operator.id).await.unwrap().unwrap();
    assert_eq!((record.approved_by, record.hostnames), (admin(), operator.hostnames));
}

// T3
#[tokio::test]
async fn an_answer_is_fetched_once() {
    let office = Office::open().await;
    let (id, secret) = office.login(&["www.example.com"]).await;
    let verdict = Verdict::Approve(allowed(&["www.example.com"]));
    enroll::decide(&office.desk(), &admin(), &id, &verdict).await.unwrap();
    assert!(matches!(office.poll(&secret).await, EnrolAnswer::Approved(_)));
    assert!(matches!(office.poll(&secret).await, EnrolAnswer::Refused { .. }));
}

// T3
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_approvals_and_polls_at_a_time_make_one_certificate() {
    let office = Office::open().await;
    let (id, secret) = office.login(&["www.example.com"]).await;
    let verdict = Verdict::Approve(allowed(&["www.example.com"]));
    let approve = async |_| enroll::decide(&office.desk(), &admin(), &id, &verdict).await;
    let approvals = join_all((0..200).map(approve)).await;
    assert_eq!(approvals.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(approvals.iter().all(|answer| matches!(answer, Ok(_) | Err(EnrolError::Gone))));
    let polls = join_all((0..200).map(async |_| office.poll(&secret).await)).await;
    assert_eq!(polls.iter().filter(|answer| matches!(answer, EnrolAnswer::Approved(_))).count(), 1);
    assert_eq!(office.audited(AuditEvent::Enrolled).await, 1);
}

#[tokio::test]
async fn a_refusal_reaches_the_machine_and_is_final() {
    let office = Office::open().await;
    let (id, secret) = office.login(&["www.example.com"]).await;
    enroll::decide(&office.desk(), &admin(), &id, &Verdict::Refuse).await.unwrap();
    let late = Verdict::Approve(allowed(&["www.example.com"]));
    assert_eq!(enroll::decide(&office.desk(), &admin(), &id, &late).await, Err(EnrolError::Gone));
    let EnrolAnswer::Refused { reason } = office.poll(&secret).await else { panic!() };
    assert!(reason.contains("administrator"));
    assert_eq!(office.audited(AuditEvent::EnrolRefused).await, 1);
}

// C5
#[tokio::test]
async fn a_wish_lapses_after_five_minutes() {
    let office = Office::open().await;
    let (id, secret) = office.login(&["www.example.com"]).await;
    office.wait(299);
    assert!(enroll::waiting(&office.desk(), &id).await.unwrap().is_some());
    assert_eq!(office.poll(&secret).await, EnrolAnswer::Pending);
    office.wait(1);
    assert!(enroll::waiting(&office.desk(), &id).await.unwrap().is_none());
    assert!(matches!(office.poll(&secret).await, EnrolAnswer::Refused { .. }));
    let late = Verdict::Approve(allowed(&["www.example.com"]));
    assert_eq!(enroll::decide(&office.desk(), &admin(), &id, &late).await, Err(EnrolError::Gone));
}

#[tokio::test]
async fn an_approval_in_the_last_second_can_still_be_fetched() {
    let office = Office::open().await;
    let (id, secret) = office.login(&["www.example.com"]).await;
    office.wait(299);
    let verdict = Verdict::Approve(allowed(&["www.example.com"]));
    enroll::decide(&office.desk(), &admin(), &id, &verdict).await.unwrap();
    office.wait(60);
    assert!(matches!(office.poll(&secret).await, EnrolAnswer::Approved(_)));
}

// T3
#[tokio::test]
async fn neither_the_id_nor_the_code_stands_in_for_the_secret() {
    let office = Office::open().await;
    let (id, _) = office.login(&["www.example.com"]).await;
    let wish = enroll::waiting(&office.desk(), &id).await.unwrap().unwrap();
    for guess in [id.as_str(), wish.code.as_str(), ""] {
        assert!(matches!(office.poll(guess).await, EnrolAnswer::Refused { .. }));
    }
    assert!(enroll::waiting(&office.desk(), &wish.code).await.unwrap().is_none());
}

// T3
#[tokio::test]
async fn one_source_begins_only_so_often() {
    let office = Office::open().await;
    for _ in 0..5 {
        enroll::begin(&office.desk(), ask(&[]), SOURCE).await.unwrap();
    }
    assert_eq!(enroll::begin(&office.desk(), ask(&[]), SOURCE).await, Err(EnrolError::TooMany));
    let other = "198.51.100.7".parse().unwrap();
    enroll::begin(&office.desk(), ask(&[]), other).await.unwrap();
    office.wait(61);
    enroll::begin(&office.desk(), ask(&[]), SOURCE).await.unwrap();
}

// T3
#[tokio::test]
async fn only_so_many_wishes_wait_whoever_asks() {
    let office = Office::open().await;
    for _ in 0..200 {
        office.login(&[]).await;
    }
    assert_eq!(enroll::begin(&office.desk(), ask(&[]), SOURCE).await, Err(EnrolError::TooMany));
    office.wait(301);
    enroll::begin(&office.desk(), ask(&[]), SOURCE).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_granted_never_reaches_an_administrator() {
    let office = Office::open().await;
    let refused = async |ask| enroll::begin(&office.desk(), ask, SOURCE).await.unwrap_err();
    let reserved = refused(ask(&["access.example.com"])).await;
    assert!(matches!(reserved, EnrolError::Problem(Problem::Reserved(_))));
    let no_csr = enroll::Ask { csr: "x".repeat(100), ..ask(&[]) };
    assert_eq!(refused(no_csr).await, EnrolError::Problem(Problem::Csr));
    let many: Vec<String> = (0..65).map(|n| format!("h{n}.example.com")).collect();
    let many = many.iter().map(String::as_str).collect::<Vec<_>>();
    assert!(matches!(refused(ask(&many)).await, EnrolError::Problem(Problem::TooMany { .. })));
    assert_eq!(office.audited(AuditEvent::EnrolRequested).await, 0);
}

// T2
#[tokio::test]
async fn a_hostname_moves_only_by_a_tick_beside_the_tunnel_that_has_it() {
    let office = Office::open().await;
    let first =
        office.desk().create_or_reuse(&Principal::Local, &create("office", &["rdp.example.com"])).await.unwrap();
    // What the administrator sees.
    let (id, _) = office.login(&["rdp.example.com", "www.example.com"]).await;
    let wish = enroll::waiting(&office.desk(), &id).await.unwrap().unwrap();
    let choices = approval::choices(&office.desk(), &wish).await.unwrap();
    let shown: Vec<_> =
        choices.iter().map(|c| (c.hostname.as_str(), c.served_by.as_ref().map(|s| s.1.as_str()))).collect();
    assert_eq!(shown, [("rdp.example.com", Some("office")), ("www.example.com", None)]);
    assert_eq!(choices[0].value(), format!("rdp.example.com@{}", first.tunnel));
    // Approved as if it had been free: no word about the tunnel, so it stays.
    let (_, without) = office.operator(&allowed(&["rdp.example.com"])).await;
    let refused = office.desk().create_or_reuse(&without, &create("new", &["rdp.example.com"])).await.unwrap_err();
    assert_eq!(refused.code(), "hostname_taken");
    // Ticked knowingly: it moves, once.
    let knowing = Allowed { from: Some(first.tunnel), ..allowed(&["rdp.example.com"]).remove(0) };
    let (_, with) = office.operator(std::slice::from_ref(&knowing)).await;
    assert_eq!(office.serves("rdp.example.com").await.as_deref(), Some("office"));
    office.desk().create_or_reuse(&with, &create("new", &["rdp.example.com"])).await.unwrap();
    assert_eq!(office.serves("rdp.example.com").await.as_deref(), Some("new"));
    assert!(office.declared().await.promises.is_empty());
    // Moved back by hand, the old word is not good any more.
    office
        .declare(|declared| {
            declared.routes[0].tunnel = first.tunnel;
        })
        .await;
    let refused = office.desk().create_or_reuse(&with, &create("new", &["rdp.example.com"])).await.unwrap_err();
    assert_eq!(refused.code(), "hostname_taken");
}

fn visit(office: &Office) -> Visit {
    Visit {
        host: "access.example.com".parse().unwrap(),
        https: true,
        port: None,
        source: SOURCE,
        country: None,
        now: office.clock.now(),
        reference: Reference::from_random([0; 6]),
        lang: Lang::En,
    }
}

async fn post(office: &Office, body: &[u8]) -> (StatusCode, Vec<u8>) {
    let response = enroll::endpoint::answer(&office.desk(), &visit(office), body).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(!response.headers().contains_key("set-cookie"));
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn the_endpoint_speaks_json_and_says_what_it_does_not_understand() {
    let office = Office::open().await;
    let ask = ask(&["www.example.com"]);
    let (machine, software, hostnames, csr) = (ask.machine, ask.software, ask.hostnames, ask.csr);
    let login = EnrolRequest::Login { machine, software, hostnames, csr };
    let (status, body) = post(&office, &serde_json::to_vec(&login).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let EnrolAnswer::Started { url, code, secret, interval, .. } = serde_json::from_slice(&body).unwrap() else {
        panic!()
    };
    assert!(url.starts_with("https://access.example.com/.access/enroll?id="), "{url}");
    assert!(!url.contains(&secret) && !url.contains(&code));
    assert_eq!(interval, 2);
    let poll = serde_json::to_vec(&EnrolRequest::Poll { secret }).unwrap();
    let (status, body) = post(&office, &poll).await;
    assert_eq!((status, serde_json::from_slice(&body).unwrap()), (StatusCode::OK, EnrolAnswer::Pending));
    for (bad, expected) in [
        (&b""[..], "malformed"),
        (b"{}", "malformed"),
        (b"\xff\xfe", "malformed"),
        (br#"{"request":"become_root"}"#, "malformed"),
        (br#"{"request":"poll","secret":"x","extra":1}"#, "malformed"),
        (br#"{"request":"login","machine":"m","software":"s","hostnames":["a..b"],"csr":""}"#, "malformed"),
        (br#"{"request":"login","machine":"m","software":"s","hostnames":[],"csr":""}"#, "csr_refused"),
    ] {
        let (status, body) = post(&office, bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(serde_json::from_slice::<EnrolProblem>(&body).unwrap().code, expected);
    }
}

/// The page after `form` (or at first), its status, and whether something was decided.
async fn page(office: &Office, id: &str, form: Option<&str>) -> (StatusCode, String, bool) {
    let context = PageContext::new("example.com".parse().unwrap(), Lang::En);
    let (response, decided) = match form {
        None => (enroll::page::show(&office.desk(), &visit(office), &context, id, "TOKEN").await, false),
        Some(form) => {
            let form = approval::Form::parse(form.as_bytes());
            enroll::page::submit(&office.desk(), &visit(office), &context, &admin(), form, "TOKEN").await
        }
    };
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap(), decided)
}

// C5
#[tokio::test]
async fn the_page_shows_who_asks_and_ticks_only_what_is_free() {
    let office = Office::open().await;
    office.desk().create_or_reuse(&Principal::Local, &create("office", &["rdp.example.com"])).await.unwrap();
    let (id, secret) = office.login(&["rdp.example.com", "www.example.com"]).await;
    let wish = enroll::waiting(&office.desk(), &id).await.unwrap().unwrap();
    let (status, html, _) = page(&office, &id, None).await;
    assert_eq!(status, StatusCode::OK);
    let source = wish.source.to_string();
    for shown in [wish.code.as_str(), source.as_str(), "nas", "connector 0.1.0", "Served by office", "Free", "TOKEN"] {
        assert!(html.contains(shown), "{shown}");
    }
    assert!(!html.contains(&secret));
    let ticked =
        |host: &str| html.lines().any(|line| line.contains(&format!("value=\"{host}")) && line.contains(" checked"));
    assert!(ticked("www.example.com") && !ticked("rdp.example.com"));
}

// C5
#[tokio::test]
async fn the_page_approves_nothing_until_the_codes_were_compared() {
    let office = Office::open().await;
    let (id, secret) = office.login(&["www.example.com"]).await;
    for incomplete in
        ["host=www.example.com&answer=approve", "same=on&answer=approve", "same=on&hosts=a..b&answer=approve"]
    {
        let (status, html, decided) = page(&office, &id, Some(&format!("id={id}&{incomplete}"))).await;
        assert_eq!((status, decided), (StatusCode::UNPROCESSABLE_ENTITY, false));
        assert!(html.contains(&id));
        assert_eq!(office.poll(&secret).await, EnrolAnswer::Pending);
    }
    let reserved = format!("id={id}&same=on&hosts=access.example.com&answer=approve");
    assert_eq!(page(&office, &id, Some(&reserved)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let whole = format!("id={id}&same=on&host=www.example.com&answer=approve");
    let (status, html, decided) = page(&office, &id, Some(&whole)).await;
    assert_eq!((status, decided), (StatusCode::OK, true));
    assert!(html.contains("www.example.com"));
    assert!(matches!(office.poll(&secret).await, EnrolAnswer::Approved(_)));
    let (status, _, decided) = page(&office, &id, Some(&whole)).await;
    assert_eq!((status, decided), (StatusCode::NOT_FOUND, false));
    assert_eq!(page(&office, &id, None).await.0, StatusCode::NOT_FOUND);
}
