//! One's own page: adding and deleting passkeys, ending sessions.

use futures::future::join_all;
use http::{HeaderValue, StatusCode};
use tunnel_edge::{
    pages::FORM_TOKEN,
    session::cookie::SESSION_COOKIE,
    store::{AuditEvent, Ban, PASSKEYS_MAX, SessionKind, SessionRecord},
};

use crate::passkeys::{
    scene::{
        ACCOUNT, ADD, REGISTER, REGISTER_OPTIONS, adding, authenticator, begun, code, furnished, log_in_by_pin,
        login_page, open, person, post, read,
    },
    site::{NOW, Site},
};

fn number(id: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(id)
}

async fn numbers(site: &Site, name: &str) -> Vec<String> {
    site.store.passkeys(person(name)).await.unwrap().iter().map(|passkey| number(&passkey.id)).collect()
}

#[tokio::test]
async fn adding_needs_a_login_from_a_moment_ago() {
    let site = open().await;
    let cookie = log_in_by_pin(&site, "ann").await;
    let form = adding(&site, &cookie).await;
    site.wait(15 * 60 + 1);
    let answer = form.make(&site, &mut authenticator()).await;
    assert_eq!(code(&answer), "sign_in_again");
    assert_eq!(read(&answer)["link"], ADD);
    // The page asks for a login, whoever is logged in, and comes back.
    let asked = site.get(ADD, &cookie).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    let target = asked.location().strip_prefix("https://access.example.com").unwrap().to_owned();
    let page = site.get(&target, &cookie).await;
    assert!(page.status == StatusCode::OK && page.body.contains("type=\"email\""), "{}", page.body);
    let again = log_in_by_pin(&site, "ann").await;
    let on = site.get(&target, &again).await;
    assert_eq!(
        (on.status, on.location()),
        (StatusCode::SEE_OTHER, "https://access.example.com/.access/account/passkey")
    );
    assert_eq!(adding(&site, &again).await.make(&site, &mut authenticator()).await.status, StatusCode::OK);
    // Without any login there is nothing to add to.
    for cookie in ["", "__Host-access=nonsense"] {
        assert_eq!(code(&post(&site, REGISTER_OPTIONS, cookie, &form.token, &form.fields).await), "login_required");
        assert_eq!(code(&post(&site, REGISTER, cookie, &form.token, &form.fields).await), "form_refused");
    }
}

#[tokio::test]
async fn a_person_has_twenty_passkeys_at_most_and_none_twice() {
    let site = open().await;
    let mut first = furnished(&site, "ann").await;
    let cookie = log_in_by_pin(&site, "ann").await;
    let form = adding(&site, &cookie).await;
    assert_eq!(code(&form.make(&site, &mut first).await), "passkey_not_made", "the same one");
    for _ in 1..PASSKEYS_MAX {
        assert_eq!(form.make(&site, &mut authenticator()).await.status, StatusCode::OK);
    }
    assert_eq!(code(&form.make(&site, &mut authenticator()).await), "passkeys_many");
    // Twenty are shown, the first as it was named.
    let page = site.get(ACCOUNT, &cookie).await;
    assert_eq!(page.body.matches("/.access/account/delete?id=").count(), PASSKEYS_MAX as usize);
}

// A3
#[tokio::test]
async fn a_person_is_told_of_each_new_passkey_until_there_have_been_many() {
    let site = open().await;
    furnished(&site, "ann").await;
    let told = async |count: usize| {
        for _ in 0..1000 {
            if site.told.lock().unwrap().len() >= count {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        site.told.lock().unwrap().clone()
    };
    let first = told(1).await.remove(0);
    assert_eq!((first.to.as_str(), first.label.as_str(), first.added), ("ann@example.com", "Laptop", NOW));
    assert_eq!(first.source, crate::passkeys::site::HOME);
    let cookie = log_in_by_pin(&site, "ann").await;
    let form = adding(&site, &cookie).await;
    for _ in 0..12 {
        assert_eq!(form.make(&site, &mut authenticator()).await.status, StatusCode::OK, "whatever becomes of the mail");
    }
    // Those of somebody else are counted apart, and come after all of hers.
    furnished(&site, "bob").await;
    let all = told(11).await;
    let whom: Vec<_> = all.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(whom, [&["ann@example.com"; 10][..], &["bob@example.com"]].concat());
}

// A3
#[tokio::test]
async fn a_passkey_is_deleted_by_its_person_after_a_question_and_opens_nothing_any_more() {
    let site = open().await;
    let (mut key, _) = (furnished(&site, "ann").await, furnished(&site, "bob").await);
    let cookie = log_in_by_pin(&site, "ann").await;
    let (mine, bobs) = (numbers(&site, "ann").await.remove(0), numbers(&site, "bob").await.remove(0));
    let page = site.get(&format!("/.access/account/delete?id={mine}"), &cookie).await;
    assert!(page.status == StatusCode::OK && page.body.contains("Laptop"), "{}", page.body);
    assert_eq!(numbers(&site, "ann").await.len(), 1, "asking deletes nothing");
    let token = page.field(FORM_TOKEN);
    for other in [bobs.as_str(), "", "nonsense"] {
        let page = site.get(&format!("/.access/account/delete?id={other}"), &cookie).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "another's is not shown");
        let fields = [(FORM_TOKEN, token.as_str()), ("id", other)];
        assert_eq!(site.post("/.access/account/delete", &cookie, &fields).await.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(numbers(&site, "bob").await.len(), 1);
    let fields = [(FORM_TOKEN, token.as_str()), ("id", mine.as_str())];
    let forged = site.post_from("/.access/account/delete", &cookie, "same-site", &fields).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    let bob = log_in_by_pin(&site, "bob").await;
    assert_eq!(site.post("/.access/account/delete", &bob, &fields).await.status, StatusCode::FORBIDDEN);
    // What was asked before is answered after.
    let form = login_page(&site).await;
    let asked = read(&form.ask(&site, crate::passkeys::scene::OPTIONS).await);
    let body = form.answer(&asked, key.get(&asked["options"]));
    let done = site.post("/.access/account/delete", &cookie, &fields).await;
    assert_eq!((done.status, done.location()), (StatusCode::SEE_OTHER, "https://access.example.com/.access/account"));
    assert!(numbers(&site, "ann").await.is_empty());
    assert_eq!(
        code(&post(&site, crate::passkeys::scene::CALLBACK, &form.cookie, &form.token, &body).await),
        "passkey_refused"
    );
    let removed = site.audited(AuditEvent::PasskeyRemoved).await;
    assert_eq!((removed.len(), removed[0].detail.as_deref()), (1, Some("`Laptop`, by the person")));
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_parallel_answers_to_one_question_exactly_one_passkey_is_added() {
    let site = open().await;
    let cookie = log_in_by_pin(&site, "ann").await;
    let form = std::sync::Arc::new(adding(&site, &cookie).await);
    let asked = read(&form.ask(&site, REGISTER_OPTIONS).await);
    // Each by an authenticator of its own, so that nothing but the question stands in the way of a second.
    let all = (0..200).map(|_| {
        let (site, form) = (site.clone(), form.clone());
        let body = form.answer(&asked, authenticator().create(&asked["options"]));
        tokio::spawn(async move { post(&site, REGISTER, &form.cookie, &form.token, &body).await })
    });
    let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    let (good, bad): (Vec<_>, Vec<_>) = all.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.len(), 1, "exactly one");
    assert_eq!(read(good[0])["next"], ACCOUNT);
    assert!(bad.iter().all(|answer| code(answer) == "passkey_void"));
    assert_eq!(numbers(&site, "ann").await.len(), 1);
    assert_eq!(site.audited(AuditEvent::PasskeyAdded).await.len(), 1);
}

// A3, S10
#[tokio::test]
async fn a_passkey_that_its_person_deletes_takes_along_what_passkeys_began_elsewhere() {
    let site = open().await;
    let (mut key, mut bobs) = (furnished(&site, "ann").await, furnished(&site, "bob").await);
    let by_pin = log_in_by_pin(&site, "ann").await;
    let (here, lost) = (login_page(&site).await, login_page(&site).await);
    let here = here.log_in(&site, &mut key).await;
    let (cookie, here) = (here.cookie(SESSION_COOKIE).unwrap(), begun(&site, &here));
    let lost = begun(&site, &lost.log_in(&site, &mut key).await);
    let bob = begun(&site, &login_page(&site).await.log_in(&site, &mut bobs).await);
    for record in [
        child(lost.record(), 1, SessionKind::Browser, "db.example.com"),
        child(lost.record(), 2, SessionKind::Client, "rdp.example.com"),
        child(here.record(), 3, SessionKind::Browser, "rdp.example.com"),
    ] {
        site.sessions.start(record, NOW).await.unwrap();
    }
    let mine = numbers(&site, "ann").await.remove(0);
    let page = site.get(&format!("/.access/account/delete?id={mine}"), &cookie).await;
    let token = page.field(FORM_TOKEN);
    let fields = [(FORM_TOKEN, token.as_str()), ("id", mine.as_str())];
    assert_eq!(site.post("/.access/account/delete", &cookie, &fields).await.status, StatusCode::SEE_OTHER);
    assert!(lost.is_ended() && !here.is_ended() && !bob.is_ended());
    let left: Vec<_> = site.sessions.list(NOW).iter().map(|session| *session.id()).collect();
    assert!(!left.contains(&[1; 32]) && !left.contains(&[2; 32]), "what came from it has ended with it");
    assert!(left.contains(&[3; 32]), "what came from the login in use goes on");
    assert_eq!(site.get(ACCOUNT, &by_pin).await.status, StatusCode::OK, "no passkey began it");
}

fn child(of: &SessionRecord, id: u8, kind: SessionKind, host: &str) -> SessionRecord {
    SessionRecord {
        id: [id; 32],
        kind,
        host: host.parse().unwrap(),
        parent: Some(of.id),
        device: Some("ann-laptop".into()),
        ..of.clone()
    }
}

// A3, S10
#[tokio::test]
async fn sessions_are_listed_by_device_and_ended_by_their_person_alone() {
    let site = open().await;
    let (here, there) = (log_in_by_pin(&site, "ann").await, log_in_by_pin(&site, "ann").await);
    let bob = log_in_by_pin(&site, "bob").await;
    let find = |cookie: &str| {
        let header = HeaderValue::from_str(cookie).unwrap();
        site.sessions.find(&"access.example.com".parse().unwrap(), [&header], site.clock.now())
    };
    let (login, other, bobs) = (find(&here).unwrap(), find(&there).unwrap(), find(&bob).unwrap());
    for record in [
        child(login.record(), 1, SessionKind::Browser, "db.example.com"),
        child(login.record(), 2, SessionKind::Client, "rdp.example.com"),
        child(other.record(), 3, SessionKind::Browser, "rdp.example.com"),
    ] {
        site.sessions.start(record, NOW).await.unwrap();
    }
    let page = site.get(ACCOUNT, &here).await;
    assert_eq!(page.status, StatusCode::OK);
    let lines = page.body.matches("name=\"session\"").count();
    assert_eq!(lines, 3, "two logins and a program; what a browser opened stands with its login: {}", page.body);
    assert_eq!(page.body.matches("This browser").count(), 1);
    assert!(page.body.contains("Access client on ann-laptop") && !page.body.contains("bob@"), "{}", page.body);
    assert!(page.body.contains("<small>db.example.com</small>"), "{}", page.body);

    let token = page.field(FORM_TOKEN);
    let page_token = page.body.rsplit_once("name=\"form_token\" value=\"").unwrap().1.split('"').next().unwrap();
    assert_ne!(token, page_token, "the first form logs out");
    let end = |cookie: &str, number: String| {
        let (cookie, token) = (cookie.to_owned(), page_token.to_owned());
        let site = site.clone();
        async move {
            let fields = [(FORM_TOKEN, token.as_str()), ("session", number.as_str())];
            site.post(ACCOUNT, &cookie, &fields).await.status
        }
    };
    assert_eq!(end(&bob, number(login.id())).await, StatusCode::FORBIDDEN, "the form is for one browser");
    assert_eq!(end(&here, number(bobs.id())).await, StatusCode::SEE_OTHER);
    assert!(find(&bob).is_some(), "another's session is left alone");
    assert_eq!(end(&here, number(&[2; 32])).await, StatusCode::SEE_OTHER);
    assert_eq!(end(&here, number(other.id())).await, StatusCode::SEE_OTHER);
    let left: Vec<_> = site.sessions.list(NOW).iter().map(|session| *session.id()).collect();
    assert!(left.len() == 3 && left.contains(&[1; 32]) && find(&here).is_some() && find(&there).is_none());
    assert_eq!(site.audited(AuditEvent::Logout).await.len(), 2);

    let fields = [(FORM_TOKEN, page_token), ("all", "1")];
    assert_eq!(site.post_from(ACCOUNT, &here, "cross-site", &fields).await.status, StatusCode::FORBIDDEN);
    let ended = site.post(ACCOUNT, &here, &fields).await;
    assert!(ended.status == StatusCode::OK && ended.cookie(SESSION_COOKIE).as_deref() == Some("__Host-access="));
    let left: Vec<_> = site.sessions.list(NOW).iter().map(|session| session.identity().person).collect();
    assert_eq!(left, [person("bob")]);
}

#[tokio::test]
async fn ending_this_browsers_own_session_logs_it_out() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let answer = login_page(&site).await.log_in(&site, &mut key).await;
    let (session, cookie) = (begun(&site, &answer), answer.cookie(SESSION_COOKIE).unwrap());
    let page = site.get(ACCOUNT, &cookie).await;
    let token = page.body.rsplit_once("name=\"form_token\" value=\"").unwrap().1.split('"').next().unwrap();
    let ended = site.post(ACCOUNT, &cookie, &[(FORM_TOKEN, token), ("session", &number(session.id()))]).await;
    assert!(ended.status == StatusCode::OK && ended.body.contains("signed out"), "{}", ended.body);
    assert_eq!(ended.cookie(SESSION_COOKIE).as_deref(), Some("__Host-access="));
    assert!(session.is_ended());
}

#[tokio::test]
async fn the_page_is_for_whoever_is_logged_in_at_the_login_host_and_not_banned() {
    let site = open().await;
    let cookie = log_in_by_pin(&site, "ann").await;
    for path in [ACCOUNT, ADD, "/.access/account/delete?id=00"] {
        assert_eq!(site.get(path, "").await.status, StatusCode::SEE_OTHER, "{path}");
        let elsewhere = http::Request::get(path).header("accept", "text/html").body(axum::body::Body::empty()).unwrap();
        let elsewhere = site.send("rdp.example.com", crate::passkeys::site::HOME, elsewhere).await;
        assert_eq!(elsewhere.status, StatusCode::NOT_FOUND, "{path} is at the login host alone");
    }
    let ban = Ban { email: "ann@example.com".parse().unwrap(), people: vec![], since: NOW, reason: None };
    let form = adding(&site, &cookie).await;
    site.change(|declared| declared.bans.push(ban));
    for path in [ACCOUNT, ADD, "/.access/account/delete?id=00"] {
        assert_eq!(site.get(path, &cookie).await.status, StatusCode::SEE_OTHER, "{path}");
    }
    assert_eq!(code(&form.make(&site, &mut authenticator()).await), "login_required");
}

// P2
#[tokio::test]
async fn a_code_for_the_page_goes_to_whoever_could_open_something() {
    let site = open().await;
    for (name, mails) in [("ann", 1), ("admin", 1), ("stranger", 0)] {
        let begun = site.get(ACCOUNT, "").await;
        let login = begun.cookie(tunnel_edge::session::cookie::LOGIN_COOKIE).unwrap();
        let page = site.get(begun.location().strip_prefix("https://access.example.com").unwrap(), &login).await;
        let (app, request) = (page.field("app"), page.field("request"));
        let token = page.body.rsplit_once("name=\"form_token\" value=\"").unwrap().1.split('"').next().unwrap();
        let email = format!("{name}@example.com");
        let fields = [
            (FORM_TOKEN, token),
            ("app", app.as_str()),
            ("request", request.as_str()),
            ("method", "pin"),
            ("email", email.as_str()),
        ];
        site.mails.lock().unwrap().clear();
        let asked = site.post("/.access/login", &login, &fields).await;
        assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.body);
        for _ in 0..200 {
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            if mails > 0 && !site.mails.lock().unwrap().is_empty() {
                break;
            }
        }
        assert_eq!(site.mails.lock().unwrap().len(), mails, "{name}");
    }
}
