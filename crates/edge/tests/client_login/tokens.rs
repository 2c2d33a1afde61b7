//! What a token opens, and how it ends.

use http::{HeaderValue, StatusCode};
use tunnel_auth::{ClientToken, SessionId};
use tunnel_edge::{
    pages::FORM_TOKEN,
    session::{Sessions, cookie::SESSION_COOKIE},
    store::{AuditEvent, ISSUER_MAILBOX},
};
use tunnel_policy::{Evaluation, Selector};
use tunnel_proto::access::{Reachable, ReachableKind, TokenAnswer, TokenRequest};

use crate::client_login::site::{ELSEWHERE, HOME, LIFE, NOW, Site, answer, host, refused};

// S1
#[tokio::test]
async fn a_token_opens_its_own_host_and_no_other_and_neither_is_a_token_a_cookie_nor_a_cookie_a_token() {
    let site = Site::open().await;
    let login = site.log_in("ann").await;
    let login = login.strip_prefix(&format!("{SESSION_COOKIE}=")).unwrap();
    let tokens = [("rdp", site.issued("rdp").await.token), ("db", site.issued("db").await.token)];
    for (of, token) in &tokens {
        for at in ["rdp", "db", "access"] {
            assert_eq!(site.opens(token, at).is_some(), *of == at, "{of} at {at}");
            let cookie = HeaderValue::try_from(format!("{SESSION_COOKIE}={token}")).unwrap();
            assert!(site.sessions.find(&host(at), [&cookie], NOW).is_none(), "{of} as a cookie at {at}");
            assert!(site.opens(login, at).is_none());
        }
    }
    assert!(SessionId::parse(login).is_some(), "it was a cookie's value");
    let loaded = Sessions::load(site.store.clone(), NOW).await.unwrap();
    let token = ClientToken::parse(&tokens[0].1).unwrap();
    assert!(loaded.find_client(&host("rdp"), &token, NOW).is_some(), "also after a restart");
    assert!(loaded.find_client(&host("db"), &token, NOW).is_none());
}

#[tokio::test]
async fn a_token_ends_at_its_time() {
    let site = Site::open().await;
    let token = site.issued("rdp").await.token;
    site.wait(LIFE - 1);
    assert!(site.opens(&token, "rdp").is_some());
    site.wait(1);
    assert!(site.opens(&token, "rdp").is_none());
}

// S10
#[tokio::test]
async fn a_logout_ends_the_tokens_that_came_from_the_login() {
    let site = Site::open().await;
    let cookie = site.log_in("ann").await;
    let back = site.decide(&crate::client_login::site::query("rdp", |_| ()), &cookie, "approve").await;
    let code = back.location().split_once("?code=").unwrap().1.split('&').next().unwrap();
    let token = crate::client_login::site::issued(&site.redeem(code).await).token;
    let session = site.opens(&token, "rdp").unwrap();
    let page = site.get("/.access/logout", &cookie).await;
    let gone = site.post("/.access/logout", &cookie, &[(FORM_TOKEN, &page.field(FORM_TOKEN))]).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert!(site.opens(&token, "rdp").is_none() && session.is_ended());
}

#[tokio::test]
async fn whoever_holds_a_token_can_end_it_and_nothing_else() {
    let site = Site::open().await;
    let (token, other) = (site.issued("rdp").await.token, site.issued("db").await.token);
    let end = async |token: &str| answer(&site.token(HOME, &TokenRequest::End { token: token.to_owned() }).await);
    let login = site.log_in("ann").await;
    for nothing in ["", "x", &"A".repeat(43), login.strip_prefix(&format!("{SESSION_COOKIE}=")).unwrap()] {
        assert_eq!(end(nothing).await, TokenAnswer::Ended);
    }
    assert_eq!(site.sessions.list(NOW).len(), 5);
    assert_eq!(end(&token).await, TokenAnswer::Ended);
    assert_eq!(end(&token).await, TokenAnswer::Ended);
    assert!(site.opens(&token, "rdp").is_none() && site.opens(&other, "db").is_some());
    assert_eq!(site.audited(AuditEvent::Logout).await.len(), 1);
}

#[tokio::test]
async fn whoever_holds_a_token_learns_what_its_person_may_open_and_no_more() {
    let site = Site::open().await;
    let token = site.issued("rdp").await.token;
    let list = async |source, token: &str| site.token(source, &TokenRequest::List { token: token.to_owned() }).await;
    let one =
        |name: &str, kind| Reachable { name: name.parse().unwrap(), host: host(name).as_str().parse().unwrap(), kind };
    let both = vec![one("db", None), one("rdp", Some(ReachableKind::Bastion))];
    let applications = async |source| match answer(&list(source, &token).await) {
        TokenAnswer::Applications { email, applications } => {
            assert_eq!(email.as_str(), "ann@example.com");
            applications
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(applications(HOME).await, both);
    // Judged for this person and this place, each application by itself.
    assert_eq!(applications(ELSEWHERE).await, vec![]);
    site.change(|declared| {
        let mut others = declared.policies[0].clone();
        others.name = "others".parse().unwrap();
        others.rules.include = vec![Selector::Email("bob@example.com".parse().unwrap())];
        declared.policies.push(others);
        declared.applications[1].policies = vec!["others".parse().unwrap()];
    });
    assert_eq!(applications(HOME).await, both[1..]);
    // Nobody without a token that counts, and nobody without end.
    let login = site.log_in("ann").await;
    for nothing in ["", "x", &"A".repeat(43), login.strip_prefix(&format!("{SESSION_COOKIE}=")).unwrap()] {
        assert_eq!(list(HOME, nothing).await.status, StatusCode::GONE);
    }
    let mut asked = 3;
    while list(HOME, &token).await.status == StatusCode::OK {
        asked += 1;
    }
    assert_eq!((asked, list(HOME, &token).await.status), (20, StatusCode::TOO_MANY_REQUESTS));
    site.wait(LIFE);
    assert_eq!(list(HOME, &token).await.status, StatusCode::GONE);
}

// S5
#[tokio::test]
async fn a_token_knows_who_vouched_and_none_is_made_of_a_login_whose_method_is_gone() {
    let site = Site::open().await;
    let token = site.issued("rdp").await.token;
    assert_eq!(site.opens(&token, "rdp").unwrap().issuer(), ISSUER_MAILBOX);
    let code = site.code("rdp").await;
    site.change(|declared| declared.login_methods.clear());
    let reason = refused(&site.redeem(&code).await);
    assert!(reason.contains("no longer counts"), "{reason}");
    // Nor does one that there is still tell what there is.
    let request = TokenRequest::List { token };
    assert!(!site.token(HOME, &request).await.body.contains("rdp.example.com"));
}

#[tokio::test]
async fn whoever_logs_in_anew_has_services_asked_no_more_often() {
    let site = Site::open().await;
    let evaluation = Evaluation {
        evaluate_url: "https://127.0.0.1:1/ask".to_owned(),
        keys_url: "https://127.0.0.1:1/keys".to_owned(),
        danger_allow_private_address: true,
    };
    site.change(|declared| declared.policies[0].rules.require = vec![Selector::ExternalEvaluation(evaluation)]);
    // Each with a login of its own.
    for _ in 0..30 {
        let code = site.code("rdp").await;
        refused(&site.redeem(&code).await);
    }
    let code = site.code("rdp").await;
    assert_eq!(site.redeem(&code).await.status, StatusCode::TOO_MANY_REQUESTS);
    site.wait(60);
    let code = site.code("rdp").await;
    refused(&site.redeem(&code).await);
}
