//! Logging in.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures::future::join_all;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use tunnel_edge::{
    session::cookie::SESSION_COOKIE,
    store::{AuditEvent, Ban, ISSUER_INVITED, ISSUER_MAILBOX},
};

use crate::passkeys::{
    authenticator::Authenticator,
    scene::{
        ACCOUNT, CALLBACK, OPTIONS, PROVIDER, RENEW, adding, authenticator, begun, code, furnished, furnished_by,
        invite, invited, log_in_by_pin, login_page, login_page_of, method, open, person, post, provider, read,
    },
    site::{NOW, issued, query},
};

const HOUR: u64 = 3600;

#[tokio::test]
async fn a_person_logs_in_by_a_passkey_and_is_the_same_person_with_no_more_than_the_passkey_says() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    site.wait(3600);
    let form = login_page(&site).await;
    let answer = form.log_in(&site, &mut key).await;
    let session = begun(&site, &answer);
    let identity = session.identity();
    assert_eq!(
        (identity.person, identity.email.as_str(), &identity.method),
        (person("ann"), "ann@example.com", &method())
    );
    assert_eq!((identity.authenticated, session.parent()), (site.clock.now(), None));
    assert_eq!(session.attributes().amr, ["hwk", "user", "mfa"]);
    // The groups were the provider's word, and it was not asked.
    assert!(session.attributes().groups.is_empty());
    // The script goes back to the login page, which sends whoever is logged in on their way.
    let next = read(&answer)["next"].as_str().unwrap().to_owned();
    assert!(next.starts_with("/.access/login?app="), "{next}");
    let on = site.get(&next, &answer.cookie(SESSION_COOKIE).unwrap()).await;
    assert_eq!((on.status, on.location()), (StatusCode::SEE_OTHER, "https://access.example.com/.access/account"));
    // O9: the issuer has vouched at the login by PIN, and not since.
    let known = site.store.person(person("ann")).await.unwrap().unwrap();
    assert_eq!((known.seen, known.method.as_str()), (NOW, "pin"));
    let kept = site.store.passkeys(person("ann")).await.unwrap();
    assert_eq!((kept[0].label.as_str(), kept[0].created, kept[0].used), ("Laptop", NOW, Some(site.clock.now())));
    let logins = site.audited(AuditEvent::Login).await;
    assert_eq!(logins[0].detail.as_deref(), Some("logged in by passkey"));
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_parallel_answers_to_one_question_exactly_one_logs_in() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let before = site.sessions.list(site.clock.now()).len();
    let form = std::sync::Arc::new(login_page(&site).await);
    let asked = read(&form.ask(&site, OPTIONS).await);
    let body = form.answer(&asked, key.get(&asked["options"]));
    let all = (0..200).map(|_| {
        let (site, form, body) = (site.clone(), form.clone(), body.clone());
        tokio::spawn(async move { post(&site, CALLBACK, &form.cookie, &form.token, &body).await })
    });
    let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    let (good, bad): (Vec<_>, Vec<_>) = all.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.len(), 1, "exactly one");
    begun(&site, good[0]);
    assert!(bad.iter().all(|answer| code(answer) == "passkey_void"));
    assert_eq!(site.sessions.list(site.clock.now()).len(), before + 1);
}

#[tokio::test]
async fn a_question_is_answered_in_its_browser_in_its_time_and_for_what_it_was_asked() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let (form, other) = (login_page(&site).await, login_page(&site).await);
    let program = login_page_of(&site, "rdp").await;
    let asked = read(&form.ask(&site, OPTIONS).await);
    let mut body = form.answer(&asked, key.get(&asked["options"]));
    // Another browser, with a form of its own.
    let elsewhere = other.answer(&asked, body["credential"].clone());
    assert_eq!(code(&post(&site, CALLBACK, &other.cookie, &other.token, &elsewhere).await), "passkey_void");
    // Another login of the same browser's, for something else.
    let mixed = json!({"app": program.fields["app"], "request": program.fields["request"], "challenge": asked["challenge"],
        "credential": body["credential"]});
    let both = format!("{}; {}", form.cookie, program.cookie);
    assert_eq!(code(&post(&site, CALLBACK, &both, &form.token, &mixed).await), "passkey_void");
    // That one used it up.
    assert_eq!(code(&post(&site, CALLBACK, &form.cookie, &form.token, &body).await), "passkey_void");
    for challenge in ["", "nonsense", &"A".repeat(43)] {
        body["challenge"] = json!(challenge);
        assert_eq!(code(&post(&site, CALLBACK, &form.cookie, &form.token, &body).await), "passkey_void");
    }
    // Too late.
    let asked = read(&form.ask(&site, OPTIONS).await);
    let body = form.answer(&asked, key.get(&asked["options"]));
    site.wait(300);
    assert_eq!(code(&post(&site, CALLBACK, &form.cookie, &form.token, &body).await), "passkey_void");
    begun(&site, &form.log_in(&site, &mut key).await);
}

#[tokio::test]
async fn what_proves_nothing_logs_nobody_in_and_is_on_record() {
    let site = open().await;
    type Spoil = fn(&mut Authenticator);
    let wrongs: [(&str, Spoil); 7] = [
        ("origin", |key| key.origin = "https://access.example.com.evil.example".into()),
        ("relying party", |key| key.party = "example.com".into()),
        ("user verified", |key| key.verifies = false),
        ("backup", |key| key.synced = true),
        ("", |key| key.bogus = true),
        ("unknown passkey", |key| key.user = person("bob").as_bytes().to_vec()),
        ("unknown passkey", |key| key.user = b"short".to_vec()),
    ];
    furnished(&site, "bob").await;
    for (why, wrong) in wrongs {
        let mut key = furnished(&site, "ann").await;
        wrong(&mut key);
        let before = site.audited(AuditEvent::LoginFailed).await.len();
        assert_eq!(code(&login_page(&site).await.log_in(&site, &mut key).await), "passkey_refused", "{why}");
        let failed = site.audited(AuditEvent::LoginFailed).await;
        let detail = failed[0].detail.clone().unwrap();
        assert!(failed.len() == before + 1 && detail.starts_with("by passkey: "), "{detail}");
        assert!(detail.to_lowercase().contains(why), "{why}: {detail}");
        assert_eq!(failed[0].actor, None, "who it is was not proven");
    }
    // One that nobody has registered.
    let mut stranger = authenticator();
    stranger.user = person("ann").as_bytes().to_vec();
    assert_eq!(code(&login_page(&site).await.log_in(&site, &mut stranger).await), "passkey_refused");
}

#[tokio::test]
async fn a_copy_of_a_passkey_is_refused_and_on_record() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
    key.counter -= 1;
    assert_eq!(code(&login_page(&site).await.log_in(&site, &mut key).await), "passkey_refused");
    let failed = site.audited(AuditEvent::LoginFailed).await;
    assert!(failed[0].detail.as_deref().unwrap().contains("there may be a copy"), "{failed:?}");
    assert_eq!(failed[0].actor.as_deref(), Some("ann@example.com"), "whose it is, is certain");
    begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
}

// O9
#[tokio::test]
async fn a_passkey_counts_only_while_the_login_before_it_is_repeated() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    for half in [RENEW / 2, RENEW / 2 - 1] {
        site.wait(half);
        begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
    }
    site.wait(1);
    let answer = login_page(&site).await.log_in(&site, &mut key).await;
    assert_eq!(code(&answer), "passkey_renew");
    let said = read(&answer);
    assert!(said["message"].as_str().unwrap().contains("pin"), "the way to mend it is named: {said}");
    assert_eq!(said["link"], ACCOUNT);
    let failed = site.audited(AuditEvent::LoginFailed).await;
    assert!(failed[0].actor.as_deref() == Some("ann@example.com"), "{failed:?}");
    // Once again by PIN, and it works for as long again.
    log_in_by_pin(&site, "ann").await;
    site.wait(RENEW - 1);
    begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
}

// O9
#[tokio::test]
async fn whom_the_provider_refused_no_passkey_brings_back_before_the_next_login() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
    site.store.unvouch(person("ann")).await.unwrap();
    assert_eq!(code(&login_page(&site).await.log_in(&site, &mut key).await), "passkey_renew");
    log_in_by_pin(&site, "ann").await;
    begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
}

// O9
#[tokio::test]
async fn where_a_provider_is_asked_again_neither_a_passkey_nor_what_it_began_outlasts_its_word() {
    let site = open().await;
    site.change(|declared| declared.login_methods.push(provider("work", Some(2 * HOUR))));
    // The strictest of two methods of one issuer has it.
    site.change(|declared| declared.login_methods.push(provider("strict", Some(HOUR))));
    let mut key = furnished_by(&site, "ann", PROVIDER).await;
    site.wait(2 * HOUR - 600);
    let answer = login_page(&site).await.log_in(&site, &mut key).await;
    let login = begun(&site, &answer);
    assert_eq!((login.issuer(), login.expires()), (PROVIDER, NOW.plus(Duration::from_secs(2 * HOUR))));
    // A policy would let the program stay for an hour.
    let cookie = answer.cookie(SESSION_COOKIE).unwrap();
    let asked = site.get(&format!("/.access/cli?{}", query("rdp", |_| ())), &cookie).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.body);
    let sent = site.decide(&query("rdp", |_| ()), &cookie, "approve").await;
    let code_of = sent.location().split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let token = issued(&site.redeem(&code_of).await);
    assert_eq!(token.expires, login.expires());
    site.wait(600);
    assert!(site.opens(&token.token, "rdp").is_none());
    assert_eq!(site.get(ACCOUNT, &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(code(&login_page(&site).await.log_in(&site, &mut key).await), "passkey_renew");
    // Nobody is asked any more: it is as with any other method.
    site.change(|declared| declared.login_methods.retain(|one| one.kind.revalidate().is_none()));
    site.change(|declared| declared.login_methods.push(provider("work", None)));
    begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
    // And what lasts longer when that is declared again, ends then.
    let later = login_page(&site).await.log_in(&site, &mut key).await;
    let cookie = later.cookie(SESSION_COOKIE).unwrap();
    site.change(|declared| declared.login_methods.push(provider("strict", Some(HOUR))));
    site.wait(2 * HOUR - 1);
    assert_eq!(site.get(ACCOUNT, &cookie).await.status, StatusCode::OK);
    site.wait(1);
    assert_eq!(site.get(ACCOUNT, &cookie).await.status, StatusCode::SEE_OTHER);
}

// S5
#[tokio::test]
async fn a_passkey_of_somebody_known_by_a_mailbox_is_told_which_methods_count_where_only_a_provider_is_listed() {
    let site = open().await;
    site.change(|declared| {
        declared.login_methods.push(provider("work", None));
        declared.applications[0].login_methods = vec!["work".parse().unwrap(), method()];
    });
    let mut key = furnished(&site, "ann").await;
    let before = site.sessions.list(site.clock.now()).len();
    let answer = login_page_of(&site, "rdp").await.log_in(&site, &mut key).await;
    assert_eq!(code(&answer), "passkey_elsewhere");
    assert!(read(&answer)["message"].as_str().unwrap().contains("work"), "{}", answer.body);
    assert_eq!(site.sessions.list(site.clock.now()).len(), before, "nobody is logged in");
    let failed = site.audited(AuditEvent::LoginFailed).await;
    assert_eq!(failed[0].actor.as_deref(), Some("ann@example.com"));
    assert!(failed[0].detail.as_deref().unwrap().contains("not known by a login method that counts there"));
    // Elsewhere it is as good as before, and of people whom the listed provider made known here as well.
    begun(&site, &login_page_of(&site, "db").await.log_in(&site, &mut key).await);
    let mut bob = furnished_by(&site, "bob", PROVIDER).await;
    begun(&site, &login_page_of(&site, "rdp").await.log_in(&site, &mut bob).await);
}

// O9, S5
#[tokio::test]
async fn a_passkey_of_somebody_for_whom_nobody_vouches_any_more_logs_nobody_in() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let answer = login_page(&site).await.log_in(&site, &mut key).await;
    assert_eq!(begun(&site, &answer).issuer(), ISSUER_MAILBOX);
    let cookie = answer.cookie(SESSION_COOKIE).unwrap();
    assert_eq!(site.get(ACCOUNT, &cookie).await.status, StatusCode::OK);
    // The way by which ann came to be known is removed.
    site.change(|declared| declared.login_methods.retain(|one| one.name == method()));
    assert_eq!(site.get(ACCOUNT, &cookie).await.status, StatusCode::SEE_OTHER, "nor does the login before");
    assert_eq!(code(&login_page(&site).await.log_in(&site, &mut key).await), "passkey_refused");
    let failed = site.audited(AuditEvent::LoginFailed).await;
    assert!(failed[0].detail.as_deref().unwrap().contains("no login method is declared any more"), "{failed:?}");
    // Whoever was invited is known by no method.
    invite(&site, "guest", "secret").await;
    let mut guest = authenticator();
    let joined = invited(&site, "secret").await.make(&site, &mut guest).await;
    assert_eq!(begun(&site, &joined).issuer(), ISSUER_INVITED);
    let answer = login_page(&site).await.log_in(&site, &mut guest).await;
    assert_eq!(begun(&site, &answer).issuer(), ISSUER_INVITED);
}

#[tokio::test]
async fn the_passkey_of_somebody_who_was_invited_needs_no_other_login() {
    let site = open().await;
    invite(&site, "guest", "secret").await;
    let mut key = authenticator();
    let joined = invited(&site, "secret").await.make(&site, &mut key).await;
    begun(&site, &joined);
    site.wait(10 * RENEW);
    let session = begun(&site, &login_page(&site).await.log_in(&site, &mut key).await);
    assert_eq!(session.identity().email.as_str(), "guest@example.com");
}

#[tokio::test]
async fn who_is_banned_is_not_let_in_by_a_passkey() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let ban = Ban { email: "ann@example.com".parse().unwrap(), people: vec![], since: NOW, reason: None };
    site.change(|declared| declared.bans.push(ban));
    assert_eq!(code(&login_page(&site).await.log_in(&site, &mut key).await), "not_admitted");
}

#[tokio::test]
async fn a_passkey_is_no_way_where_it_is_not_offered() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let form = login_page_of(&site, "rdp").await;
    let asked = read(&form.ask(&site, OPTIONS).await);
    let body = form.answer(&asked, key.get(&asked["options"]));
    site.change(|declared| declared.applications[0].login_methods = vec!["pin".parse().unwrap()]);
    assert_eq!(code(&post(&site, CALLBACK, &form.cookie, &form.token, &body).await), "login_incomplete");
    assert_eq!(code(&form.ask(&site, OPTIONS).await), "login_incomplete");
    let target = format!(
        "/.access/login?app={}&request={}",
        form.fields["app"].as_str().unwrap(),
        form.fields["request"].as_str().unwrap()
    );
    let page = site.get(&target, &form.cookie).await;
    assert!(!page.body.contains("data-passkey") && page.body.contains("type=\"email\""), "{}", page.body);
    assert!(!page.headers["content-security-policy"].to_str().unwrap().contains("script"), "no script without need");
    // And where nothing else is, the page offers nothing else.
    site.change(|declared| declared.applications[0].login_methods = vec![method()]);
    let page = site.get(&target, &form.cookie).await;
    assert!(page.body.contains("data-passkey=\"passkey\"") && !page.body.contains("type=\"email\""), "{}", page.body);
    begun(&site, &form.log_in(&site, &mut key).await);
}

// S2
#[tokio::test]
async fn a_login_by_passkey_takes_the_place_of_the_browsers_login_before() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let before = log_in_by_pin(&site, "bob").await;
    let mut form = login_page(&site).await;
    form.cookie = format!("{}; {before}", form.cookie);
    let session = begun(&site, &form.log_in(&site, &mut key).await);
    assert_eq!(session.identity().person, person("ann"));
    let header = HeaderValue::from_str(&before).unwrap();
    assert!(site.sessions.find(session.host(), [&header], site.clock.now()).is_none());
}

#[tokio::test]
async fn questions_are_counted_for_each_network() {
    let site = open().await;
    let form = login_page(&site).await;
    for _ in 0..60 {
        assert_eq!(form.ask(&site, OPTIONS).await.status, StatusCode::OK);
    }
    assert_eq!(form.ask(&site, OPTIONS).await.status, StatusCode::TOO_MANY_REQUESTS);
    site.wait(60);
    assert_eq!(form.ask(&site, OPTIONS).await.status, StatusCode::OK);
}

#[tokio::test]
async fn not_even_many_networks_ask_for_questions_without_end() {
    let site = open().await;
    let form = login_page(&site).await;
    for wide in 0..2 {
        for narrow in 0..5 {
            let source = Ipv6Addr::new(0x2001, 0xdb8, wide, narrow << 8, 0, 0, 0, 1).into();
            for _ in 0..60 {
                assert_eq!(form.ask_from(&site, source).await, StatusCode::OK);
            }
        }
        let source = Ipv6Addr::new(0x2001, 0xdb8, wide, 0xff00, 0, 0, 0, 1).into();
        assert_eq!(form.ask_from(&site, source).await, StatusCode::TOO_MANY_REQUESTS, "one /48 has 300 a minute");
    }
    let source = Ipv4Addr::new(192, 0, 2, 7).into();
    assert_eq!(form.ask_from(&site, source).await, StatusCode::OK, "nobody else is kept from theirs");
    // Whoever is logged in already adds a passkey in spite of them.
    let cookie = log_in_by_pin(&site, "ann").await;
    let made = adding(&site, &cookie).await.make(&site, &mut authenticator()).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    site.wait(60);
    assert_eq!(form.ask_from(&site, source).await, StatusCode::OK);
}

#[tokio::test]
async fn what_a_stranger_answers_without_end_is_counted_and_not_listed() {
    let site = open().await;
    let mut stranger = authenticator();
    stranger.user = person("ann").as_bytes().to_vec();
    let form = login_page(&site).await;
    for _ in 0..20 {
        assert_eq!(code(&form.log_in(&site, &mut stranger).await), "passkey_refused");
    }
    let failed = site.audited(AuditEvent::LoginFailed).await;
    assert_eq!(failed.len(), 2, "the first, and how many more: {failed:?}");
    assert_eq!(failed.iter().map(|record| record.count).sum::<u32>(), 20);
    assert!(failed.iter().all(|record| record.actor.is_none()));
}
