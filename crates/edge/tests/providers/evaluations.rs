//! Services are asked about people who open an application, and believed only when they say yes to the very question.

use std::sync::Arc;

use http::HeaderValue;
use tunnel_auth::Jwks;
use tunnel_edge::{
    session::{Session, cookie::SESSION_COOKIE},
    store::AuditEvent,
};
use tunnel_policy::{Circumstances, Selector, Subject};

use crate::providers::{
    evaluator::{Evaluator, Way},
    provider::Provider,
    site::{Browser, NOW, Site, WWW, app, openid},
};

/// A site whose `www` admits ann and bob if every one of these services says yes.
async fn site(provider: &Provider, evaluators: &[&Evaluator]) -> Site {
    let mut site = Site::open(|keys| vec![openid(keys, "work", provider)]).await;
    site.keys.tend(&*site.store, NOW).await.unwrap();
    let rules = evaluators.iter().map(|one| Selector::ExternalEvaluation(one.evaluation())).collect();
    site.declare(|declared| declared.policies[0].rules.require = rules);
    site
}

/// The session that somebody has at `www` who was handed over.
async fn session(site: &Site, browser: &mut Browser, handed: &crate::providers::site::Answer) -> Arc<Session> {
    assert_eq!(handed.status, 303, "{}", handed.body);
    site.get(browser, handed.location()).await;
    let cookie = format!("{SESSION_COOKIE}={}", browser.cookie(WWW, SESSION_COOKIE).unwrap());
    let (host, cookie) = (WWW.parse().unwrap(), HeaderValue::try_from(cookie).unwrap());
    site.sessions.find(&host, [&cookie], NOW).unwrap()
}

/// Opens the application again, with the login that there is.
async fn again(site: &Site, browser: &mut Browser) -> crate::providers::site::Answer {
    let url = site.begin(browser);
    site.get(browser, &url).await
}

async fn silences(site: &Site) -> Vec<String> {
    site.audited(AuditEvent::EvaluationFailed).await.into_iter().filter_map(|record| record.detail).collect()
}

#[tokio::test]
async fn who_a_service_says_yes_of_gets_in_and_the_service_can_check_who_asks() {
    let (provider, evaluator) = (Provider::start().await, Evaluator::start(Way::Yes).await);
    provider.behave(|ways| ways.claims = serde_json::json!({"groups": ["g"], "amr": ["mfa"], "department": "it"}));
    let site = site(&provider, &[&evaluator]).await;
    let mut browser = Browser::default();
    let handed = site.log_in(&mut browser, "work", &provider).await;
    let session = session(&site, &mut browser, &handed).await;
    assert_eq!(session.attributes().evaluations, [evaluator.evaluation().key(&app())]);
    let here = Circumstances { source: browser.source, country: None, now: NOW };
    let application = site.snapshot.policies.application(&app()).unwrap();
    let admits = |evaluations: Vec<String>| {
        let attributes = tunnel_policy::Attributes { evaluations, ..session.attributes().clone() };
        let subject = Subject::person(session.identity(), &attributes, here);
        site.snapshot.policies.decide(application, &subject).is_allow()
    };
    assert!(admits(session.attributes().evaluations.clone()), "the session opens the application");
    assert!(!admits(vec![]), "and would not without the yes");

    let asked = evaluator.asked();
    assert_eq!(asked.len(), 1);
    let aud = evaluator.evaluation().evaluate_url;
    for certs in ["/.access/certs", "/cdn-cgi/access/certs"] {
        let certs = site.get(&mut Browser::default(), certs).await;
        let keys = Jwks::from_json(&certs.body).unwrap();
        let question = keys.verify_question(&asked[0], "https://access.example.com", &aud, NOW).unwrap();
        assert_eq!((question.app.id, question.app.name.as_str()), (app(), "www"));
        assert_eq!((question.sub, question.identity.user_uuid), (session.identity().person, question.sub));
        let identity = question.identity;
        assert_eq!((identity.email.as_str(), identity.idp.id.as_str()), ("ann@example.com", "work"));
        assert_eq!((identity.idp.kind.as_deref(), identity.ip), (Some("oidc"), browser.source));
        assert_eq!((identity.groups, identity.amr), (vec!["g".to_owned()], vec!["mfa".to_owned()]));
        assert_eq!(identity.oidc_fields["department"], "it");
        assert!(question.nonce.len() >= 22, "{}", question.nonce);
        // It is no assertion about anybody.
        assert!(keys.verify(&asked[0], "https://access.example.com", &app(), NOW).is_err());
    }
    let again = again(&site, &mut browser).await;
    assert_eq!((again.status.as_u16(), evaluator.fetched()), (303, 1), "its keys are kept");
    assert_ne!(evaluator.asked()[0], evaluator.asked()[1], "each question has a nonce of its own");
}

#[tokio::test]
async fn whatever_is_no_yes_to_this_question_keeps_people_out_and_is_recorded() {
    let (provider, evaluator) = (Provider::start().await, Evaluator::start(Way::No).await);
    let site = site(&provider, &[&evaluator]).await;
    let mut browser = Browser::default();
    assert_eq!(site.log_in(&mut browser, "work", &provider).await.status, 403);
    assert_eq!(silences(&site).await, Vec::<String>::new(), "a no is an answer");
    for (way, why) in [
        (Way::Unclear, "no `success` that is true or false"),
        (Way::OtherNonce, "(`nonce`)"),
        (Way::Expired, "has expired"),
        (Way::Lasting, "valid for too long"),
        (Way::OtherKey, "the signature of the ID token is wrong"),
        (Way::Hs256, "an algorithm that does not count here"),
        (Way::Unsigned, "an algorithm that does not count here"),
        (Way::Echo, "another type of token"),
        (Way::NoToken, "no object with a `token`"),
        (Way::NoJson, "no object with a `token`"),
        (Way::Status(500), "status 500"),
        (Way::Status(201), "status 201"),
        (Way::Redirect, "status 307"),
        (Way::TooLarge, "more than 1048576 bytes"),
    ] {
        evaluator.behave(way);
        let refused = again(&site, &mut browser).await;
        assert_eq!(refused.status, 403, "{way:?}");
        assert!(
            silences(&site).await.iter().any(|silence| silence.contains(why)),
            "{way:?}: {:?}",
            silences(&site).await
        );
    }
    let tokens = evaluator.asked();
    assert!(silences(&site).await.iter().all(|silence| tokens.iter().all(|token| !silence.contains(token.as_str()))));
    evaluator.behave(Way::Yes);
    assert_eq!(again(&site, &mut browser).await.status, 303);
}

#[tokio::test]
async fn a_service_that_takes_too_long_or_is_not_there_has_not_said_yes() {
    let (provider, evaluator) = (Provider::start().await, Evaluator::start(Way::Slow).await);
    let site = site(&provider, &[&evaluator]).await;
    let mut browser = Browser::default();
    let since = std::time::Instant::now();
    assert_eq!(site.log_in(&mut browser, "work", &provider).await.status, 403);
    assert!(since.elapsed() < tunnel_edge::evaluations::PATIENCE * 2, "{:?}", since.elapsed());
    assert!(silences(&site).await[0].contains("did not answer within 5 seconds"), "{:?}", silences(&site).await);
    drop(evaluator);
    assert_eq!(again(&site, &mut browser).await.status, 403);
    assert_eq!(silences(&site).await.len(), 2, "{:?}", silences(&site).await);
}

#[tokio::test]
async fn keys_that_change_are_read_again_at_most_once_a_minute() {
    let (provider, evaluator) = (Provider::start().await, Evaluator::start(Way::Yes).await);
    let site = site(&provider, &[&evaluator]).await;
    let mut browser = Browser::default();
    assert_eq!(site.log_in(&mut browser, "work", &provider).await.status, 303);
    evaluator.rotate("two");
    assert_eq!(again(&site, &mut browser).await.status, 303);
    assert_eq!(evaluator.fetched(), 2);
    evaluator.rotate("three");
    for _ in 0..3 {
        assert_eq!(again(&site, &mut browser).await.status, 403);
    }
    assert_eq!(evaluator.fetched(), 2, "whoever names new keys all the time has nobody fetch them");
}

#[tokio::test]
async fn of_two_services_each_speaks_for_itself() {
    let provider = Provider::start().await;
    let (one, two) = (Evaluator::start(Way::Yes).await, Evaluator::start(Way::No).await);
    let site = site(&provider, &[&one, &two]).await;
    let mut browser = Browser::default();
    assert_eq!(site.log_in(&mut browser, "work", &provider).await.status, 403);
    assert_eq!((one.asked().len(), two.asked().len()), (1, 1));
    two.behave(Way::Yes);
    let handed = again(&site, &mut browser).await;
    let session = session(&site, &mut browser, &handed).await;
    let keys = [&one, &two].map(|one| one.evaluation().key(&app()));
    assert_eq!(session.attributes().evaluations, keys);
    // What was said before counts for nobody who comes later.
    two.behave(Way::No);
    assert_eq!(again(&site, &mut browser).await.status, 403);
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 403);
}

#[tokio::test]
async fn nobody_is_asked_about_people_whom_no_answer_could_admit() {
    let (provider, evaluator) = (Provider::start().await, Evaluator::start(Way::Yes).await);
    let site = site(&provider, &[&evaluator]).await;
    provider.behave(|ways| ways.claims = serde_json::json!({"email": "eve@example.com"}));
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 403);
    assert_eq!((evaluator.asked().len(), evaluator.fetched()), (0, 0));
}

#[tokio::test]
async fn whoever_reloads_has_nobody_asked_without_end() {
    let (provider, evaluator) = (Provider::start().await, Evaluator::start(Way::Yes).await);
    let site = site(&provider, &[&evaluator]).await;
    let mut browser = Browser::default();
    site.log_in(&mut browser, "work", &provider).await;
    let mut asked = 1;
    while again(&site, &mut browser).await.status == 303 {
        asked += 1;
        assert!(asked <= 30, "no limit");
    }
    assert_eq!((asked, evaluator.asked().len()), (30, 30));
    assert_eq!(again(&site, &mut browser).await.status, 429);
    // Nor does it help to log in anew.
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 429);
    assert_eq!(evaluator.asked().len(), 30);
    provider.behave(|ways| {
        ways.claims = serde_json::json!({"sub": "another", "email": "bob@example.com"});
        ways.userinfo = serde_json::json!({"sub": "another"});
    });
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 303, "others do not wait for it");
}
