//! A program with a browser on the same computer: the page, the code, the token.

use futures::future::join_all;
use http::{StatusCode, header};
use tunnel_edge::{pages::FORM_TOKEN, store::AuditEvent};
use tunnel_proto::access::CLI_PATH;

use crate::client_login::site::{
    ELSEWHERE, HOME, LIFE, NOW, REDIRECT, Site, VERIFIER, app, host, issued, query, redeem, refused, state,
};

// C5
#[tokio::test]
async fn a_person_lets_a_program_in_and_it_gets_a_token_for_one_host() {
    let site = Site::open().await;
    let cookie = site.log_in("ann").await;
    let page = site.get(&format!("{CLI_PATH}?{}", query("rdp", |_| ())), &cookie).await;
    assert_eq!(page.status, StatusCode::OK);
    for shown in ["rdp.example.com", "ann@example.com", "7492", "ann-laptop", "access rdp --hostname", "198.51.100.7"] {
        assert!(page.body.contains(shown), "{shown}");
    }
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("form-action 'self';"), "{policy}");
    let token = issued(&site.redeem(&site.code("rdp").await).await);
    assert_eq!((token.host, token.app, token.expires.0), (host("rdp"), app("rdp"), NOW.0 + LIFE));
    assert_eq!(token.email.as_str(), "ann@example.com");
    let session = site.opens(&token.token, "rdp").unwrap();
    assert!(session.grant(&app("rdp"), NOW).is_some() && session.grant(&app("db"), NOW).is_none());
    assert_eq!(session.record().device.as_deref(), Some("ann-laptop"));
    assert!(site.opens(&token.token, "db").is_none());
    for event in [AuditEvent::ClientAsked, AuditEvent::ClientApproved, AuditEvent::Login] {
        let records = site.audited(event).await;
        assert!(!records.is_empty() && records.iter().all(|one| one.object.as_deref() == Some("rdp")), "{event:?}");
        assert!(records.iter().all(|one| !format!("{one:?}").contains(&token.token)));
    }
}

// T3
#[tokio::test(flavor = "multi_thread")]
async fn of_200_parallel_redeemers_one_gets_the_token() {
    let site = Site::open().await;
    let code = site.code("rdp").await;
    let answers = join_all((0..200).map(|_| site.redeem(&code))).await;
    let (given, gone): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!((given.len(), gone.len()), (1, 199));
    assert!(gone.iter().all(|answer| answer.status == StatusCode::GONE && answer.body.contains("\"gone\"")));
    assert!(site.opens(&issued(given[0]).token, "rdp").is_some());
    assert_eq!(site.sessions.list(NOW).len(), 2, "the login and one token");
}

// T3
#[tokio::test]
async fn a_code_counts_only_beside_its_verifier_and_its_address_and_those_who_have_neither_do_not_use_it_up() {
    let site = Site::open().await;
    let code = site.code("rdp").await;
    let other = "x".repeat(43);
    for (verifier, redirect) in [
        (other.as_str(), REDIRECT),
        (VERIFIER, "http://127.0.0.1:4712/abcdefghijklmnopqrst"),
        (VERIFIER, ""),
        (VERIFIER, "http://[::1]:4711/abcdefghijklmnopqrst"),
    ] {
        let answer = site.token(HOME, &redeem(&code, verifier, redirect)).await;
        assert_eq!(answer.status, StatusCode::GONE, "{verifier} {redirect}");
    }
    for verifier in ["", "short", &"x".repeat(129), &format!("{}é", "x".repeat(43)), &" ".repeat(43)] {
        let answer = site.token(HOME, &redeem(&code, verifier, REDIRECT)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{verifier}");
    }
    for made_up in ["", "x", &"A".repeat(43), &code[1..], &format!("{code}A")] {
        assert_eq!(site.redeem(made_up).await.status, StatusCode::GONE, "{made_up}");
    }
    issued(&site.redeem(&code).await);
    assert_eq!(site.redeem(&code).await.status, StatusCode::GONE);
}

// T3
#[tokio::test]
async fn a_code_counts_for_a_minute() {
    let site = Site::open().await;
    let (early, late) = (site.code("rdp").await, site.code("rdp").await);
    site.wait(59);
    issued(&site.redeem(&early).await);
    site.wait(1);
    assert_eq!(site.redeem(&late).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn a_refusal_goes_back_to_the_program_and_opens_nothing() {
    let site = Site::open().await;
    let cookie = site.log_in("ann").await;
    for answer in ["refuse", "", "Approve", "approve "] {
        let refused = site.decide(&query("rdp", |_| ()), &cookie, answer).await;
        assert_eq!(
            refused.status,
            StatusCode::OK,
            "a page that is left at once, so that no policy has to name the port"
        );
        assert_eq!(refused.location(), format!("{REDIRECT}?error=access_denied&state={}", state()));
    }
    assert_eq!(site.audited(AuditEvent::ClientRefused).await.len(), 4);
    assert!(site.audited(AuditEvent::ClientApproved).await.is_empty());
    assert_eq!(site.sessions.list(NOW).len(), 1);
}

// C5, A1
#[tokio::test]
async fn only_the_persons_own_form_from_our_own_page_approves() {
    let site = Site::open().await;
    let (ann, bob) = (site.log_in("ann").await, site.log_in("bob").await);
    let asked = query("rdp", |_| ());
    let target = format!("{CLI_PATH}?{asked}");
    let token = site.get(&target, &ann).await.field(FORM_TOKEN);
    let of_bob = site.get(&target, &bob).await.field(FORM_TOKEN);
    let with = |token: &str| [(FORM_TOKEN, token.to_owned()), ("query", asked.clone()), ("answer", "approve".into())];
    for (cookie, origin, token) in [
        (ann.as_str(), "cross-site", token.as_str()),
        (&ann, "same-site", &token),
        (&ann, "none", &token),
        (&ann, "same-origin", ""),
        (&ann, "same-origin", &of_bob),
        ("", "same-origin", &token),
        (&bob, "same-origin", &token),
    ] {
        let fields = with(token);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = site.post_from(CLI_PATH, cookie, origin, &fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        assert!(!answer.headers.contains_key(header::LOCATION));
    }
    assert!(site.audited(AuditEvent::ClientApproved).await.is_empty());
}

// C5, H12
#[tokio::test]
async fn a_request_that_makes_no_sense_leads_nowhere() {
    let site = Site::open().await;
    let cookie = site.log_in("ann").await;
    let redirect = |uri: &str| query("rdp", |query| query.redirect_uri = uri.to_owned());
    let odd = [
        redirect("https://evil.example/abcdefghijklmnop"),
        redirect("http://localhost:4711/abcdefghijklmnop"),
        redirect("http://127.0.0.1:4711/abcdefghijklmnop?x=y"),
        redirect("http://127.0.0.1@evil.example:80/abcdefghijklmnop"),
        query("rdp", |query| query.code_challenge_method = "plain".into()),
        query("rdp", |query| query.state = "x".into()),
        query("rdp", |query| query.code = "<b>!".into()),
        query("rdp", |_| ()) + "&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fabcdefghijklmnop",
        String::new(),
    ];
    for (query, status) in odd.iter().map(|query| (query.clone(), StatusCode::BAD_REQUEST)).chain([
        (query("rdp", |query| query.app = app("db")), StatusCode::NOT_FOUND),
        (query("rdp", |query| query.host = host("nowhere")), StatusCode::NOT_FOUND),
        (query("rdp", |query| query.host = host("access")), StatusCode::NOT_FOUND),
    ]) {
        for cookie in [cookie.as_str(), ""] {
            let page = site.get(&format!("{CLI_PATH}?{query}"), cookie).await;
            assert_eq!(page.status, status, "{query}");
            assert!(!page.headers.contains_key(header::LOCATION), "{query}");
        }
        // Nor does a form with it, sent by whoever has a token of another page.
        let token = site.get(&format!("{CLI_PATH}?{}", crate::client_login::site::query("rdp", |_| ())), &cookie).await;
        let (token, fields) = (token.field(FORM_TOKEN), [("query", query.as_str()), ("answer", "approve")]);
        let answer = site.post(CLI_PATH, &cookie, &[(FORM_TOKEN, &token), fields[0], fields[1]]).await;
        assert_eq!((answer.status, answer.headers.contains_key(header::LOCATION)), (status, false), "{query}");
    }
}

#[tokio::test]
async fn whom_no_policy_admits_lets_nobody_in() {
    let site = Site::open().await;
    let cookie = site.log_in("eve").await;
    let page = site.get(&format!("{CLI_PATH}?{}", query("rdp", |_| ())), &cookie).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    // The code stands in the page's own address, to which its links to other languages lead back, and is shown nowhere.
    assert!(page.body.contains("eve@example.com") && !page.body.replace("code%3D7492", "").contains("7492"));
    assert_eq!(site.audited(AuditEvent::Refused).await.len(), 1);
    assert!(site.audited(AuditEvent::ClientAsked).await.is_empty());
}

#[tokio::test]
async fn a_program_at_an_address_from_which_nobody_is_admitted_gets_no_token() {
    let site = Site::open().await;
    let code = site.code("rdp").await;
    let reason = crate::client_login::site::refused(&site.token(ELSEWHERE, &redeem(&code, VERIFIER, REDIRECT)).await);
    assert!(reason.contains("203.0.113.9") && reason.contains("reference"), "{reason}");
    assert_eq!(site.redeem(&code).await.status, StatusCode::GONE, "it was used up");
    assert_eq!(site.sessions.list(NOW).len(), 1);
    let refused = site.audited(AuditEvent::Refused).await;
    assert!(refused.iter().any(|record| record.object.as_deref() == Some("rdp")));
}

#[tokio::test]
async fn a_code_of_a_login_that_was_ended_meanwhile_gives_nothing() {
    let site = Site::open().await;
    let code = site.code("rdp").await;
    let logins: Vec<_> = site.sessions.list(NOW).iter().map(|one| *one.id()).collect();
    site.sessions.end(&logins).await.unwrap();
    assert!(refused(&site.redeem(&code).await).contains("ended"));
    assert!(site.sessions.list(NOW).is_empty());
}
