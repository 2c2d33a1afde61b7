use std::time::Duration;

use serde_json::{Value, json};
use tunnel_edge::{
    gate::{Permit, Turnaway},
    keys::Keys,
    pages::FORM_TOKEN,
    session::Session,
    store::{AuditEvent, LoginMethod, LoginMethodKind, OpenIdMethod, PasskeyMethod},
};
use tunnel_policy::{ProviderGroup, Selector};
use tunnel_proto::{PersonId, UnixTime};

use crate::providers::{
    provider::Provider,
    site::{Browser, LOGIN_HOST, Site, openid},
};

/// How often the provider is asked, in seconds, and a time after which it surely is again.
const HOUR: u64 = 3600;
const DUE: u64 = 3300;

/// An OpenID method whose provider is asked every hour.
fn hourly(keys: &Keys, name: &str, provider: &Provider) -> LoginMethod {
    let mut method = openid(keys, name, provider);
    change(&mut method, |method| method.revalidate = Some(Duration::from_secs(HOUR)));
    method
}

fn change(method: &mut LoginMethod, change: impl FnOnce(&mut OpenIdMethod)) {
    let LoginMethodKind::OpenId(openid) = &mut method.kind else { panic!("{method:?}") };
    change(openid);
}

/// Somebody who logged in at a provider that is asked every hour, and has something open.
async fn logged_in() -> (Provider, Site, Browser, Permit) {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![hourly(keys, "work", &provider)]).await;
    provider.follow(&site.clock);
    let (browser, permit) = log_in(&site, &provider).await;
    (provider, site, browser, permit)
}

async fn log_in(site: &Site, provider: &Provider) -> (Browser, Permit) {
    let mut browser = Browser::default();
    let handed = site.log_in(&mut browser, "work", provider).await;
    site.get(&mut browser, handed.location()).await;
    let permit = site.opens(&browser).unwrap();
    (browser, permit)
}

/// Whether what is open may stay open.
fn holds(site: &Site, permit: &Permit) -> bool {
    permit.still_holds(site.gate(), site.clock.now())
}

/// The reasons for which sessions ended, the last first.
async fn ends(site: &Site) -> Vec<String> {
    let records = site.audited(AuditEvent::Revoked).await;
    assert!(records.iter().all(|record| record.actor.as_deref() == Some("edge")), "{records:?}");
    assert!(records.iter().all(|record| record.object.as_deref() == Some("ann@example.com")), "{records:?}");
    records.into_iter().filter_map(|record| record.detail).collect()
}

/// Everything is over, for this reason.
async fn assert_ended(site: &Site, browser: &Browser, permit: &Permit, why: &str) {
    assert!(!site.is_logged_in(browser), "{why}");
    assert!(matches!(site.opens(browser), Err(Turnaway::Login(_))), "{why}");
    assert!(!holds(site, permit), "{why}");
    tokio::time::timeout(Duration::ZERO, permit.holder().ended()).await.expect("what is open is told");
    assert!(site.sessions.list(site.clock.now()).is_empty() && site.store.revalidations().await.unwrap().is_empty());
    let ends = ends(site).await;
    assert!(ends.len() == 1 && ends[0].starts_with("session ended: by work: ") && ends[0].contains(why), "{ends:?}");
    let audit = format!("{:?}", site.store.audit(1000).await.unwrap());
    assert!(!audit.contains("REFRESH") && !audit.contains("ACCESS"), "A7: {audit}");
}

fn invalid_grant() -> Option<(u16, Value)> {
    Some((400, json!({"error": "invalid_grant", "error_description": "no such account"})))
}

// O9
#[tokio::test]
async fn whose_account_is_gone_at_the_provider_is_out_within_the_interval() {
    let (provider, mut site, browser, permit) = logged_in().await;
    site.round_after(2800).await;
    assert_eq!(provider.asked("refresh"), 0, "it is not asked more often than it must be");
    site.round_after(500).await;
    assert_eq!(provider.asked("refresh"), 1);
    assert!(site.opens(&browser).is_ok() && holds(&site, &permit) && ends(&site).await.is_empty());
    provider.behave(|ways| ways.refresh = invalid_grant());
    site.round_after(DUE).await;
    assert_ended(&site, &browser, &permit, "its provider refuses: invalid_grant").await;
    // Nor does a restart bring it back.
    site.restart().await;
    assert!(site.sessions.list(site.clock.now()).is_empty());
}

// O9
#[tokio::test]
async fn whom_the_provider_refuses_has_nothing_left_that_a_passkey_began() {
    let (provider, mut site, browser, permit) = logged_in().await;
    let kind = LoginMethodKind::Passkey(PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT });
    site.declare(|declared| declared.login_methods.push(LoginMethod { name: "passkey".parse().unwrap(), kind }));
    site.round_after(60).await;
    let theirs = site.sessions.list(site.clock.now());
    let (login, open) = theirs.iter().partition::<Vec<_>, _>(|session| session.parent().is_none());
    let ann = login[0].identity().person;
    // The same by a passkey, in another browser: a login and what came from it. And somebody else's.
    let by_passkey = |session: &Session, id: u8, parent: Option<u8>, person: PersonId| {
        let mut record = session.record().clone();
        (record.id, record.parent, record.identity.person) = ([id; 32], parent.map(|parent| [parent; 32]), person);
        record.identity.method = "passkey".parse().unwrap();
        record
    };
    let other = PersonId::from_bytes([9; 16]);
    for record in
        [by_passkey(login[0], 1, None, ann), by_passkey(open[0], 2, Some(1), ann), by_passkey(login[0], 3, None, other)]
    {
        site.sessions.start(record, site.clock.now()).await.unwrap();
    }
    site.round_after(DUE - 60).await;
    assert_eq!((provider.asked("refresh"), site.sessions.list(site.clock.now()).len()), (1, 5), "while it vouches");
    provider.behave(|ways| ways.refresh = invalid_grant());
    site.round_after(DUE).await;
    assert!(!site.is_logged_in(&browser) && !holds(&site, &permit));
    let left: Vec<_> = site.sessions.list(site.clock.now()).iter().map(|session| *session.id()).collect();
    assert_eq!(left, [[3; 32]], "only another person's");
    assert_eq!(site.store.person(ann).await.unwrap().unwrap().seen, UnixTime(0), "nor does the passkey begin another");
    site.restart().await;
    assert_eq!(site.sessions.list(site.clock.now()).len(), 1);
}

// O9
#[tokio::test]
async fn while_a_provider_is_down_logins_go_on_and_end_with_the_grace() {
    let (provider, site, browser, permit) = logged_in().await;
    provider.behave(|ways| ways.refresh = Some((503, json!({}))));
    site.round_after(DUE).await;
    assert!(site.opens(&browser).is_ok());
    site.round_after(1).await;
    assert_eq!(provider.asked("refresh"), 1, "it is left alone for a while");
    site.round_after(9).await;
    assert_eq!(provider.asked("refresh"), 2);
    provider.behave(|ways| ways.refresh = Some((400, json!({"error": "temporarily_unavailable"}))));
    site.round_after(60).await;
    assert_eq!(provider.asked("refresh"), 3);
    provider.behave(|ways| ways.refresh = None);
    site.round_after(60).await;
    assert_eq!(provider.asked("refresh"), 4);
    // From here on it counts anew.
    provider.behave(|ways| ways.refresh = Some((401, json!({"error": "invalid_client"}))));
    site.round_after(2 * HOUR - 1).await;
    assert!(site.opens(&browser).is_ok() && holds(&site, &permit), "a second before the grace is over");
    assert!(ends(&site).await.is_empty());
    site.clock.advance(Duration::from_secs(1));
    assert!(matches!(site.opens(&browser), Err(Turnaway::Login(_))), "whether anybody ends it or not");
    assert!(!holds(&site, &permit));
    site.round_after(0).await;
    assert_ended(&site, &browser, &permit, "the provider refuses the client: invalid_client").await;
}

// O9
#[tokio::test]
async fn each_answer_brings_the_token_that_is_used_next_also_after_a_restart() {
    let (provider, mut site, browser, _) = logged_in().await;
    for asked in 1..=3 {
        let kept = site.store.revalidations().await.unwrap();
        assert_eq!(kept.len(), 1, "one for each login");
        assert!(!kept[0].sealed.windows(7).any(|piece| piece == b"REFRESH"), "A7: it is sealed");
        site.round_after(DUE).await;
        // Each counts once there: with the one before, the login would be over.
        assert_eq!(provider.asked("refresh"), asked);
        assert!(site.opens(&browser).is_ok() && ends(&site).await.is_empty(), "{asked}");
        site.restart().await;
    }
    // A token is of no use for another login.
    let (other, _) = log_in(&site, &provider).await;
    let all = site.store.revalidations().await.unwrap();
    let [one, two] = all.as_slice() else { panic!("{} are kept", all.len()) };
    let sealed = one.sealed.clone();
    assert!(site.store.rotate_revalidation(&two.login, &sealed).await.unwrap());
    site.round_after(DUE).await;
    let left = [&browser, &other].into_iter().filter(|browser| site.is_logged_in(browser)).count();
    assert_eq!((left, ends(&site).await.len()), (1, 1), "{:?}", ends(&site).await);
}

// O9
#[tokio::test]
async fn whoever_is_somebody_else_in_the_refreshed_token_is_out() {
    for (claims, why) in [
        (json!({"sub": "somebody-else"}), "speaks of another person"),
        (json!({"iss": "https://evil.example"}), "is from another issuer"),
        (json!({"aud": "other"}), "is for another client"),
        (json!({"nonce": "another"}), "belongs to another login"),
        (json!({"email": "bob@example.com"}), "names another address"),
        (json!({"email_verified": false}), "does not call `ann@example.com` verified"),
    ] {
        let (provider, site, browser, permit) = logged_in().await;
        provider.behave(|ways| ways.claims = claims);
        site.round_after(DUE).await;
        assert_ended(&site, &browser, &permit, why).await;
    }
    // What may pass is no reason yet.
    for claims in [json!({"exp": 1}), json!({"iat": 1})] {
        let (provider, site, browser, permit) = logged_in().await;
        provider.behave(|ways| ways.claims = claims);
        site.round_after(DUE).await;
        assert!(site.opens(&browser).is_ok() && holds(&site, &permit));
        provider.behave(|ways| ways.claims = json!({}));
        site.round_after(60).await;
        assert_eq!((provider.asked("refresh"), site.opens(&browser).is_ok()), (2, true), "the new token was kept");
    }
}

// O9
#[tokio::test]
async fn whoever_left_a_group_at_the_provider_is_judged_by_that_from_then_on() {
    let provider = Provider::start().await;
    let mut site = Site::open(|keys| vec![hourly(keys, "work", &provider)]).await;
    provider.follow(&site.clock);
    let group = ProviderGroup { name: "staff".into(), login_method: None };
    site.declare(|declared| declared.policies[0].rules.require = vec![Selector::IdpGroup(group)]);
    let member = json!({"groups": ["staff", "all"], "amr": ["mfa"], "department": "it"});
    provider.behave(|ways| ways.claims = member.clone());
    let (browser, permit) = log_in(&site, &provider).await;
    let changes = site.changed.subscribe();
    site.round_after(DUE).await;
    assert!(holds(&site, &permit) && !changes.has_changed().unwrap(), "nothing is another than before");
    provider.behave(|ways| ways.claims = json!({"groups": ["all"]}));
    site.round_after(DUE).await;
    assert!(changes.has_changed().unwrap(), "whoever keeps streams looks again");
    assert!(!holds(&site, &permit), "what is open ends");
    assert!(matches!(site.opens(&browser), Err(Turnaway::Denied(_))));
    assert!(site.is_logged_in(&browser) && ends(&site).await.is_empty(), "it is another answer, and not the end");
    site.restart().await;
    assert!(matches!(site.opens(&browser), Err(Turnaway::Denied(_))), "nor is it forgotten");
    for session in site.sessions.list(site.clock.now()) {
        let attributes = session.attributes();
        assert_eq!(attributes.groups, ["all"]);
        assert_eq!(attributes.amr, ["mfa"], "how they logged in is as of the login");
        assert!(attributes.claims.is_empty(), "{attributes:?}");
    }
    assert_eq!(site.store.people(1).await.unwrap()[0].attributes.groups, ["all"]);
    provider.behave(|ways| ways.claims = member);
    site.round_after(DUE).await;
    assert!(site.opens(&browser).is_ok(), "and back");
}

// O9
#[tokio::test]
async fn without_an_id_token_userinfo_has_the_word() {
    let (provider, site, browser, permit) = logged_in().await;
    provider.behave(|ways| {
        ways.refresh = Some((200, json!({"access_token": "ACCESS"})));
        ways.userinfo = json!({"sub": "somebody", "groups": ["new"]});
    });
    site.round_after(DUE).await;
    assert!(site.opens(&browser).is_ok() && holds(&site, &permit));
    let sessions = site.sessions.list(site.clock.now());
    assert!(sessions.len() == 2 && sessions.iter().all(|session| session.attributes().groups == ["new"]));
    provider.behave(|ways| ways.userinfo_status = 503);
    site.round_after(DUE).await;
    assert!(site.opens(&browser).is_ok() && ends(&site).await.is_empty());
    provider.behave(|ways| ways.userinfo_status = 401);
    site.round_after(60).await;
    assert_ended(&site, &browser, &permit, "userinfo answers with status 401").await;
    let known = json!({"sub": "somebody", "email": "ann@example.com"});
    for (userinfo, why) in [
        (known, None),
        (json!({"sub": "somebody-else"}), Some("speaks of another person")),
        (json!({"sub": "somebody", "email": "bob@example.com", "email_verified": true}), Some("names another address")),
        (json!({"sub": "somebody", "email": "bob@example.com"}), Some("names another address")),
        (
            json!({"sub": "somebody", "email": "ann@example.com", "email_verified": false}),
            Some("does not call `ann@example.com` verified"),
        ),
        (json!({"sub": "somebody", "email": 3}), Some("holds no e-mail address")),
    ] {
        let (provider, site, browser, permit) = logged_in().await;
        provider.behave(|ways| {
            ways.refresh = Some((200, json!({"access_token": "ACCESS"})));
            ways.userinfo = userinfo;
        });
        site.round_after(DUE).await;
        match why {
            Some(why) => assert_ended(&site, &browser, &permit, why).await,
            None => assert!(site.opens(&browser).is_ok() && holds(&site, &permit)),
        }
    }
}

// O9
#[tokio::test]
async fn whoever_belongs_to_another_domain_by_userinfo_alone_is_out() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| {
        let mut method = hourly(keys, "work", &provider);
        change(&mut method, |method| method.hosted_domain = Some("example.com".parse().unwrap()));
        vec![method]
    })
    .await;
    provider.follow(&site.clock);
    provider.behave(|ways| ways.claims = json!({"hd": "example.com"}));
    let (browser, permit) = log_in(&site, &provider).await;
    provider.behave(|ways| {
        ways.refresh = Some((200, json!({"access_token": "ACCESS"})));
        ways.userinfo = json!({"sub": "somebody", "hd": "other.example"});
    });
    site.round_after(DUE).await;
    assert_ended(&site, &browser, &permit, "does not belong to `example.com`").await;
}

// O9
#[tokio::test]
async fn a_method_that_does_not_ask_again_asks_for_nothing_and_keeps_nothing() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    provider.follow(&site.clock);
    let location = site.sent(&mut Browser::default(), "work").await;
    assert!(!location.contains("offline_access") && !location.contains("prompt="), "{location}");
    // This provider gives a refresh token without being asked.
    let (browser, permit) = log_in(&site, &provider).await;
    assert!(site.store.revalidations().await.unwrap().is_empty());
    site.round_after(20 * HOUR).await;
    assert!(site.opens(&browser).is_ok() && holds(&site, &permit));
    assert_eq!(provider.asked("refresh"), 0);
    let (provider, site, ..) = logged_in().await;
    let location = site.sent(&mut Browser::default(), "work").await;
    assert!(location.contains("scope=openid+email+profile+offline_access"), "{location}");
    assert!(location.contains("prompt=consent"), "{location}");
    assert_eq!((site.store.revalidations().await.unwrap().len(), provider.asked("refresh")), (1, 0));
}

// O9
#[tokio::test]
async fn a_token_is_sent_to_nobody_else_when_the_method_is_declared_anew() {
    let (provider, mut site, browser, permit) = logged_in().await;
    site.declare(|declared| change(&mut declared.login_methods[0], |method| method.client_id = "another".into()));
    site.round_after(DUE).await;
    assert_eq!(provider.asked("refresh"), 0);
    assert_ended(&site, &browser, &permit, "declared anew").await;
    // No more is asked: nothing is kept, and the login goes on as it did before there was anything to ask.
    let (provider, mut site, browser, permit) = logged_in().await;
    site.declare(|declared| change(&mut declared.login_methods[0], |method| method.revalidate = None));
    site.round_after(3 * HOUR).await;
    assert!(site.opens(&browser).is_ok() && holds(&site, &permit));
    assert!(site.store.revalidations().await.unwrap().is_empty());
    assert_eq!(provider.asked("refresh"), 0);
    // Asked from now on: whoever logged in before that has nothing to be asked by.
    site.declare(|declared| {
        change(&mut declared.login_methods[0], |method| method.revalidate = Some(Duration::from_secs(4 * HOUR)));
    });
    site.round_after(HOUR - 1).await;
    assert!(site.opens(&browser).is_ok());
    site.round_after(1).await;
    assert_ended(&site, &browser, &permit, "it gave no refresh token").await;
}

// O9
#[tokio::test]
async fn without_a_refresh_token_a_login_lasts_for_one_interval() {
    let provider = Provider::start().await;
    provider.behave(|ways| ways.gives_refresh = false);
    let site = Site::open(|keys| vec![hourly(keys, "work", &provider)]).await;
    let (browser, permit) = log_in(&site, &provider).await;
    site.clock.advance(Duration::from_secs(HOUR - 1));
    assert!(site.opens(&browser).is_ok());
    site.clock.advance(Duration::from_secs(1));
    assert!(matches!(site.opens(&browser), Err(Turnaway::Login(_))) && !holds(&site, &permit));
    site.round_after(0).await;
    assert_ended(&site, &browser, &permit, "it gave no refresh token").await;
}

// O9
#[tokio::test]
async fn nobody_is_asked_about_a_login_that_was_not_used_for_a_day() {
    let provider = Provider::start().await;
    let mut site = Site::open(|keys| vec![hourly(keys, "work", &provider)]).await;
    provider.follow(&site.clock);
    site.declare(|declared| declared.sessions.duration = Some(Duration::from_secs(7 * 24 * HOUR)));
    let (browser, permit) = log_in(&site, &provider).await;
    site.round_after(DUE).await;
    // As when the edge was away: whoever was there yesterday is asked about.
    site.round_after(24 * HOUR - DUE).await;
    assert_eq!(provider.asked("refresh"), 2);
    assert!(site.is_logged_in(&browser) && ends(&site).await.is_empty());
    site.round_after(DUE).await;
    assert_eq!(provider.asked("refresh"), 2);
    assert_ended(&site, &browser, &permit, "it was not used").await;
}

// O9, S10
#[tokio::test]
async fn a_logout_forgets_the_token() {
    let (provider, site, mut browser, permit) = logged_in().await;
    assert_eq!(site.store.revalidations().await.unwrap().len(), 1);
    let asked = site.get(&mut browser, &format!("https://{LOGIN_HOST}/.access/logout")).await;
    let form = format!("{FORM_TOKEN}={}", asked.field(FORM_TOKEN));
    let logout = http::Request::post("/.access/logout")
        .header("accept", "text/html")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(site.send(&mut browser, LOGIN_HOST, logout.body(form.into()).unwrap()).await.status, 200);
    assert!(site.store.revalidations().await.unwrap().is_empty() && !holds(&site, &permit));
    site.round_after(DUE).await;
    assert_eq!(provider.asked("refresh"), 0);
    assert!(ends(&site).await.is_empty(), "nobody else ended it");
}

// O9
#[tokio::test]
async fn for_whom_a_round_has_no_time_is_counted_and_asked_about_in_the_next() {
    let (provider, site, browser, permit) = logged_in().await;
    site.clock.advance(Duration::from_secs(DUE));
    assert_eq!(site.round().within(Duration::ZERO).await, 1);
    assert_eq!(provider.asked("refresh"), 0);
    assert_eq!(site.round().run().await, 0);
    assert_eq!(provider.asked("refresh"), 1);
    assert!(site.opens(&browser).is_ok() && holds(&site, &permit) && ends(&site).await.is_empty());
}
