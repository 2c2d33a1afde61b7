//! Joining by an invitation.

use futures::future::join_all;
use http::StatusCode;
use tunnel_edge::{
    session::cookie::SESSION_COOKIE,
    store::{AuditEvent, LoginMethod, LoginMethodKind, PasskeyMethod},
};

use crate::passkeys::{
    scene::{
        ACCOUNT, REGISTER, REGISTER_OPTIONS, adding, authenticator, begun, code, invite, invited, log_in_by_pin,
        method, open, person, post, read,
    },
    site::NOW,
};

#[tokio::test]
async fn who_is_invited_makes_a_passkey_and_is_logged_in() {
    let site = open().await;
    invite(&site, "guest", "secret").await;
    // Looking uses nothing up.
    for _ in 0..3 {
        let page = site.get("/.access/invite?token=secret", "").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.body.contains("guest@example.com"), "{}", page.body);
    }
    assert!(site.store.person(person("guest")).await.unwrap().is_none(), "nobody is known before");
    let mut key = authenticator();
    let answer = invited(&site, "secret").await.make(&site, &mut key).await;
    let session = begun(&site, &answer);
    assert_eq!(read(&answer)["next"], ACCOUNT);
    assert_eq!((session.identity().person, session.identity().email.as_str()), (person("guest"), "guest@example.com"));
    assert_eq!(session.attributes().amr, ["hwk", "user", "mfa"]);
    let known = site.store.person(person("guest")).await.unwrap().unwrap();
    assert_eq!((known.issuer.as_str(), known.subject.as_str(), known.seen), ("invited", "subject of guest", NOW));
    let kept = site.store.passkeys(person("guest")).await.unwrap();
    assert_eq!(kept[0].label, "Firefox on Linux", "it is named after the browser");
    let page = site.get(ACCOUNT, &answer.cookie(SESSION_COOKIE).unwrap()).await;
    assert!(page.body.contains("guest@example.com") && page.body.contains("Firefox on Linux"), "{}", page.body);
    let added = site.audited(AuditEvent::PasskeyAdded).await;
    assert_eq!(added[0].detail.as_deref(), Some("`Firefox on Linux`, by invitation"));
    // O6: somebody with the same address and a PIN is somebody else.
    site.store
        .meet(&tunnel_edge::store::Met {
            issuer: "mailbox",
            subject: "guest@example.com",
            email: &"guest@example.com".parse().unwrap(),
            method: &"pin".parse().unwrap(),
            attributes: &tunnel_policy::Attributes::default(),
            candidate: person("x"),
            now: NOW,
            source: None,
        })
        .await
        .unwrap();
    assert!(site.store.passkeys(person("x")).await.unwrap().is_empty());
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_parallel_users_of_one_invitation_exactly_one_joins_and_the_others_read_why() {
    let site = open().await;
    invite(&site, "guest", "secret").await;
    let mut ready = Vec::new();
    for n in 0..200 {
        if n % 50 == 49 {
            site.wait(60);
        }
        let form = invited(&site, "secret").await;
        let asked = read(&form.ask(&site, REGISTER_OPTIONS).await);
        let body = form.answer(&asked, authenticator().create(&asked["options"]));
        ready.push((form, body));
    }
    let all = ready.into_iter().map(|(form, body)| {
        let site = site.clone();
        tokio::spawn(async move { post(&site, REGISTER, &form.cookie, &form.token, &body).await })
    });
    let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    let (good, bad): (Vec<_>, Vec<_>) = all.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.len(), 1, "exactly one");
    begun(&site, good[0]);
    assert!(bad.iter().all(|answer| code(answer) == "invitation_gone"));
    assert_eq!(site.store.passkeys(person("guest")).await.unwrap().len(), 1);
    assert_eq!(site.sessions.list(site.clock.now()).len(), 1);
    // A second one who opens the link gets a clear page.
    let page = site.get("/.access/invite?token=secret", "").await;
    assert_eq!(page.status, StatusCode::GONE);
    assert!(page.body.contains("no longer works"), "{}", page.body);
}

#[tokio::test]
async fn an_invitation_ends_with_its_day_and_with_a_newer_one() {
    let site = open().await;
    invite(&site, "guest", "first").await;
    invite(&site, "guest", "second").await;
    let mut form = invited(&site, "second").await;
    assert_eq!(site.get("/.access/invite?token=first", "").await.status, StatusCode::GONE);
    for wrong in ["first", "", "nonsense", &"x".repeat(1000)] {
        form.fields["invitation"] = wrong.into();
        assert_eq!(code(&form.ask(&site, REGISTER_OPTIONS).await), "invitation_gone", "{wrong}");
    }
    site.wait(24 * 3600 - 60);
    let form = invited(&site, "second").await;
    let asked = read(&form.ask(&site, REGISTER_OPTIONS).await);
    let body = form.answer(&asked, authenticator().create(&asked["options"]));
    site.wait(60);
    assert_eq!(code(&post(&site, REGISTER, &form.cookie, &form.token, &body).await), "invitation_gone");
    assert_eq!(site.get("/.access/invite?token=second", "").await.status, StatusCode::GONE);
}

#[tokio::test]
async fn an_invitation_is_not_lost_by_what_goes_wrong() {
    let site = open().await;
    invite(&site, "guest", "secret").await;
    let form = invited(&site, "secret").await;
    let mut wrong = authenticator();
    wrong.verifies = false;
    assert_eq!(code(&form.make(&site, &mut wrong).await), "passkey_not_made");
    wrong.verifies = true;
    wrong.discoverable = false;
    assert_eq!(code(&form.make(&site, &mut wrong).await), "passkey_not_kept");
    // A passkey that is somebody else's already.
    let mut taken = authenticator();
    let ann = log_in_by_pin(&site, "ann").await;
    assert_eq!(adding(&site, &ann).await.make(&site, &mut taken).await.status, StatusCode::OK);
    assert_eq!(code(&form.make(&site, &mut taken).await), "passkey_not_made");
    // While passkeys are switched off the page says so, and so does the script.
    let waiting = invited(&site, "secret").await;
    site.change(|declared| declared.login_methods.retain(|one| one.name != method()));
    assert_eq!(site.get("/.access/invite?token=secret", "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code(&waiting.ask(&site, REGISTER_OPTIONS).await), "no_method");
    assert!(!site.get(ACCOUNT, &ann).await.body.contains("/.access/account/passkey"), "nothing is offered");
    let kind = LoginMethodKind::Passkey(PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT });
    site.change(|declared| declared.login_methods.push(LoginMethod { name: method(), kind }));
    begun(&site, &waiting.make(&site, &mut authenticator()).await);
}

#[tokio::test]
async fn the_form_of_an_invitation_adds_nothing_to_whoever_is_logged_in_and_the_other_way_round() {
    let site = open().await;
    invite(&site, "guest", "secret").await;
    let ann = log_in_by_pin(&site, "ann").await;
    let (mut guest, mut member) = (invited(&site, "secret").await, adding(&site, &ann).await);
    let both = format!("{}; {}", guest.cookie, member.cookie);
    (guest.cookie, member.cookie) = (both.clone(), both);
    // The member's token with an invitation.
    let mut mixed = member.fields.clone();
    mixed["invitation"] = "secret".into();
    assert_eq!(code(&post(&site, REGISTER_OPTIONS, &member.cookie, &member.token, &mixed).await), "form_refused");
    // The guest's token without one.
    let mixed = serde_json::json!({});
    assert_eq!(code(&post(&site, REGISTER_OPTIONS, &guest.cookie, &guest.token, &mixed).await), "invitation_gone");
    // Each answers its own question only.
    let (to_guest, to_member) =
        (read(&guest.ask(&site, REGISTER_OPTIONS).await), read(&member.ask(&site, REGISTER_OPTIONS).await));
    let body = guest.answer(&to_member, authenticator().create(&to_member["options"]));
    assert_eq!(code(&post(&site, REGISTER, &guest.cookie, &guest.token, &body).await), "passkey_void");
    let body = member.answer(&to_guest, authenticator().create(&to_guest["options"]));
    assert_eq!(code(&post(&site, REGISTER, &member.cookie, &member.token, &body).await), "passkey_void");
    let session = begun(&site, &guest.make(&site, &mut authenticator()).await);
    assert_eq!(session.identity().person, person("guest"));
    assert!(site.store.passkeys(person("ann")).await.unwrap().is_empty());
}
