//! The suite that every implementation of [`Store`] passes: call [`store_conformance!`] with a function that makes an
//! empty one. The value it returns beside the store (a temporary directory, a database server) is kept while it is used.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tunnel_edge::store::{
    AuditEvent, AuditRecord, Ban, CertificateHolder, CertificateRecord, Declared, Grant, LoginMethod, LoginMethodKind,
    MailOutcome, MailRecord, Met, OnceKind, OneTime, OperatorRecord, PinAttempt, PinOutcome, PinRecord, PreviousSecret,
    Promise, RateLimit, Revalidation, RouteRecord, ServiceTokenRecord, SessionKind, SessionRecord, SessionSettings,
    Store, StoreError, Told, TunnelRecord,
};
use tunnel_policy::{
    Action, Application, AssertionAlgorithm, Attributes, Cors, EmailList, Group, IpList, Policy, Rules, SameSite,
    Selector, Target,
};
use tunnel_proto::{AppId, Identity, OperatorId, PersonId, Revision, TunnelId, UnixTime};

pub(crate) use crate::store::{passkeys::*, pins::*, visitor_certificates::*};

/// Makes one test of each sentence below.
#[macro_export]
macro_rules! store_conformance {
    ($fresh:path) => {
        $crate::store_conformance! { $fresh:
            a_declared_configuration_comes_back_as_it_was
            of_parallel_changes_to_one_revision_exactly_one_is_made
            a_change_and_its_audit_are_one
            a_session_is_replaced_and_ends_with_its_login
            what_confirms_a_login_is_gone_with_it
            what_a_provider_says_anew_is_of_the_sessions_named
            a_person_keeps_one_id_whoever_comes_first
            the_last_use_of_a_session_only_grows
            of_200_parallel_takers_exactly_one_gets_it
            a_one_time_thing_needs_its_kind_its_binding_and_its_time
            looking_does_not_use_up
            what_is_exchanged_is_never_without_both_or_with_both
            a_pin_is_right_once
            wrong_tries_are_counted_exactly_even_in_parallel
            of_200_parallel_right_tries_exactly_one_is_let_in
            a_new_code_voids_the_old_one_of_the_same_login_and_application
            a_challenge_that_was_never_armed_answers_like_one_that_was
            a_pin_counts_only_for_its_browser_and_application
            handing_the_mail_over_only_shortens_a_codes_life
            a_limit_counts_exactly_even_in_parallel_and_slides
            a_refused_event_is_not_counted
            a_mail_waits_until_it_is_due_and_leaves_a_log
            a_secret_is_kept_once
            of_parallel_replacements_of_one_secret_exactly_one_is_made
            of_parallel_claims_of_one_certificate_exactly_one_holds
            a_certificate_is_kept_with_its_record_and_survives_what_fails_after_it
            revocation_lists_what_has_not_expired
            an_operator_is_kept
            the_audit_record_comes_back_newest_first
            sweeping_removes_what_has_expired_and_nothing_else
            time_that_has_passed_is_kept_and_what_is_of_the_future_goes
            quotes_and_markup_are_only_text
            a_passkey_is_its_persons_and_nobody_elses
            passkeys_are_listed_with_whose_they_are
            a_person_has_so_many_passkeys_and_no_more_even_in_parallel
            of_parallel_uses_of_one_count_exactly_one_is_written
            of_200_parallel_guests_of_one_invitation_exactly_one_joins
            an_invitation_needs_its_person_and_its_time
            of_parallel_invitations_and_joinings_one_address_gets_one_invited_person
            people_are_found_by_who_vouches_and_by_address_however_many_came_later
            a_new_link_takes_the_place_of_what_was_there
            who_is_forgotten_has_nothing_left
            for_whom_nobody_vouches_any_more_that_is_so_until_the_next_login
        }
    };
    ($fresh:path: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, _keep) = $fresh().await;
                $crate::store::conformance::$name(std::sync::Arc::new(store)).await;
            }
        )*
    };
}

pub(crate) const T0: UnixTime = UnixTime(1_800_000_000);

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime(T0.0 + seconds)
}

pub(crate) fn h(n: u8) -> [u8; 32] {
    [n; 32]
}

pub(crate) fn app(n: u8) -> AppId {
    AppId::from_bytes([n; 32])
}

pub(crate) fn declared() -> Declared {
    let name = |text: &str| text.parse().unwrap();
    let tunnel = TunnelId::from_bytes([4; 16]);
    let operator = OperatorId::from_bytes([5; 16]);
    Declared {
        login_methods: vec![LoginMethod { name: name("pin"), kind: LoginMethodKind::OneTimePin }],
        groups: vec![Group {
            name: name("staff"),
            rules: Rules {
                include: vec![Selector::EmailDomain("example.com".parse().unwrap()), Selector::Everyone],
                require: vec![Selector::Ip("203.0.113.0/24".parse().unwrap()), Selector::EmailList(name("partners"))],
                exclude: vec![Selector::Email("guest@example.com".parse().unwrap())],
            },
        }],
        policies: vec![Policy {
            name: name("staff-only"),
            action: Action::Allow,
            rules: Rules {
                include: vec![Selector::Group(name("staff")), Selector::LoginMethod(name("pin"))],
                ..Rules::default()
            },
            session_duration: Some(Duration::from_secs(3600)),
            destinations: vec!["192.168.1.0/24:3389".parse().unwrap()],
        }],
        applications: vec![Application {
            id: app(1),
            name: name("www"),
            targets: vec![Target { host: "*.example.com".parse().unwrap(), path: Some("/admin/*".parse().unwrap()) }],
            login_methods: vec![name("pin")],
            policies: vec![name("staff-only")],
            websocket_origins: vec!["https://www.example.com".into()],
            upgrades: vec!["tcp".into()],
            compatible_headers: false,
            device_login: false,
            provisional: true,
            session_duration: Some(Duration::from_secs(60)),
            session_idle: Some(Duration::from_secs(30)),
            since: Some(UnixTime(7)),
            assertion: AssertionAlgorithm::Rs256,
            same_site: SameSite::None,
            cors: Some(Cors {
                allowed_origins: vec!["https://desk.example.com".into()],
                allowed_methods: vec!["PUT".into()],
                allowed_headers: vec!["x-api".into()],
                allow_credentials: true,
                max_age: Some(Duration::from_secs(600)),
            }),
        }],
        email_lists: vec![EmailList { name: name("partners"), emails: vec!["ann@example.org".parse().unwrap()] }],
        ip_lists: vec![IpList { name: name("offices"), ranges: vec!["192.0.2.0/24".parse().unwrap()] }],
        sessions: SessionSettings { duration: Some(Duration::from_secs(9)), idle: None },
        tunnels: vec![TunnelRecord { id: tunnel, name: name("office"), created: T0, owner: Some(operator) }],
        routes: vec![RouteRecord { hostname: "www.example.com".parse().unwrap(), tunnel }],
        administrators: vec!["admin@example.com".parse().unwrap()],
        service_tokens: vec![ServiceTokenRecord {
            name: "backup".parse().unwrap(),
            id: "0123456789abcdef0123456789abcdef.access".into(),
            secret: [6; 32],
            previous: Some(PreviousSecret { secret: [7; 32], until: UnixTime(50) }),
            created: UnixTime(1),
            expires: UnixTime(100),
        }],
        bans: vec![Ban {
            email: "eve@example.com".parse().unwrap(),
            people: vec![PersonId::from_bytes([9; 16])],
            since: UnixTime(2),
            reason: Some("left".into()),
        }],
        promises: vec![Promise { hostname: "wiki.example.com".parse().unwrap(), operator, from: tunnel }],
    }
}

fn changed(detail: &str) -> AuditRecord {
    AuditRecord { detail: Some(detail.into()), ..AuditRecord::new(T0, AuditEvent::ConfigurationChanged) }
}

pub(crate) async fn a_declared_configuration_comes_back_as_it_was(store: Arc<impl Store>) {
    assert_eq!(store.declared().await.unwrap(), (Revision(0), Declared::default()));
    assert_eq!(store.replace_declared(Revision(0), &declared(), &[changed("x")]).await.unwrap(), Revision(1));
    assert_eq!(store.declared().await.unwrap(), (Revision(1), declared()));
}

pub(crate) async fn of_parallel_changes_to_one_revision_exactly_one_is_made(store: Arc<impl Store>) {
    let declared = declared();
    let audit = [changed("x")];
    let answers = join_all((0..20).map(|_| store.replace_declared(Revision(0), &declared, &audit))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 19));
    assert!(refused.iter().all(|r| matches!(r, Err(StoreError::Conflict(Revision(1))))));
    assert_eq!(store.audit(100).await.unwrap().len(), 1);
}

// A9
pub(crate) async fn a_change_and_its_audit_are_one(store: Arc<impl Store>) {
    store.replace_declared(Revision(7), &declared(), &[changed("lost")]).await.unwrap_err();
    assert_eq!(store.declared().await.unwrap(), (Revision(0), Declared::default()));
    assert_eq!(store.audit(10).await.unwrap(), []);
    store.replace_declared(Revision(0), &declared(), &[changed("one"), changed("two")]).await.unwrap();
    assert_eq!(store.audit(10).await.unwrap(), [changed("two"), changed("one")]);
}

fn session(id: u8, parent: Option<u8>, expires: UnixTime) -> SessionRecord {
    SessionRecord {
        id: h(id),
        kind: SessionKind::Browser,
        device: None,
        source: None,
        host: "www.example.com".parse().unwrap(),
        parent: parent.map(h),
        identity: Identity {
            person: PersonId::from_bytes([3; 16]),
            email: "a@example.com".parse().unwrap(),
            method: "pin".parse().unwrap(),
            authenticated: T0,
        },
        issuer: "https://a.example".into(),
        attributes: Attributes::default(),
        created: T0,
        seen: T0,
        expires,
        grants: vec![Grant { app: app(1), expires }],
    }
}

async fn session_ids(store: &impl Store, now: UnixTime) -> Vec<u8> {
    let mut ids: Vec<_> = store.sessions(now).await.unwrap().iter().map(|s| s.id[0]).collect();
    ids.sort_unstable();
    ids
}

pub(crate) async fn a_session_is_replaced_and_ends_with_its_login(store: Arc<impl Store>) {
    for session in [session(1, None, at(60)), session(2, Some(1), at(60)), session(3, Some(1), at(60))] {
        store.put_session(&session).await.unwrap();
    }
    store.put_session(&session(4, None, at(60))).await.unwrap();
    store.put_session(&session(5, Some(4), at(60))).await.unwrap();
    let (kind, device) = (SessionKind::Client, Some("ann-laptop".to_owned()));
    let issuer = "https://b.example".to_owned();
    let wider = SessionRecord { kind, device, issuer, grants: vec![], expires: at(90), ..session(2, Some(1), at(0)) };
    store.put_session(&wider).await.unwrap();
    let stored = store.sessions(T0).await.unwrap().into_iter().find(|s| s.id == h(2));
    assert!(stored == Some(wider), "the later one counts");
    assert!(!store.put_session(&session(6, Some(7), at(60))).await.unwrap(), "from a login that there is not");
    assert!(store.move_session(&h(5), &h(1)).await.unwrap() && store.move_session(&h(5), &h(4)).await.unwrap());
    for (id, login) in [(5, 7), (6, 4)] {
        assert!(!store.move_session(&h(id), &h(login)).await.unwrap(), "nothing comes back");
    }
    assert_eq!(session_ids(&*store, at(60)).await, [2], "a session ends at its time, not after it");
    store.end_sessions(&[h(1), h(5)]).await.unwrap();
    assert_eq!(session_ids(&*store, T0).await, [4]);
}

fn revalidation(login: u8) -> Revalidation {
    Revalidation { login: h(login), method: "work".parse().unwrap(), sealed: vec![login; 9], confirmed: T0 }
}

// O9
pub(crate) async fn what_confirms_a_login_is_gone_with_it(store: Arc<impl Store>) {
    assert!(!store.put_revalidation(&revalidation(1)).await.unwrap(), "there is no such login");
    for session in [session(1, None, at(60)), session(2, Some(1), at(600)), session(3, None, at(60))] {
        store.put_session(&session).await.unwrap();
    }
    for login in [1, 3] {
        assert!(store.put_revalidation(&revalidation(login)).await.unwrap());
    }
    assert!(store.rotate_revalidation(&h(1), b"another").await.unwrap());
    let kept = Revalidation { sealed: b"another".to_vec(), ..revalidation(1) };
    assert!(store.revalidation(&h(1)).await.unwrap() == Some(kept));
    // The login lapses first, and what came from it is confirmed by the same until it lapses, too.
    store.sweep(at(100)).await.unwrap();
    assert!(store.revalidations().await.unwrap().iter().map(|one| one.login).eq([h(1)]));
    store.confirm_login(&h(1), at(100), None).await.unwrap();
    assert_eq!(store.revalidation(&h(1)).await.unwrap().unwrap().confirmed, at(100));
    store.sweep(at(700)).await.unwrap();
    assert!(store.revalidations().await.unwrap().is_empty());
    // A logout forgets it at once, and what comes too late does not bring it back.
    store.put_session(&session(4, None, at(9999))).await.unwrap();
    store.put_revalidation(&revalidation(4)).await.unwrap();
    store.end_sessions(&[h(4)]).await.unwrap();
    assert!(!store.rotate_revalidation(&h(4), b"late").await.unwrap());
    assert!(!store.put_revalidation(&revalidation(4)).await.unwrap());
    assert!(store.revalidations().await.unwrap().is_empty());
    store.put_session(&session(5, None, at(9999))).await.unwrap();
    store.put_revalidation(&revalidation(5)).await.unwrap();
    store.forget_revalidation(&h(5)).await.unwrap();
    assert!(store.revalidation(&h(5)).await.unwrap().is_none() && session_ids(&*store, T0).await == [5]);
}

// O9
pub(crate) async fn what_a_provider_says_anew_is_of_the_sessions_named(store: Arc<impl Store>) {
    for session in [session(1, None, at(60)), session(2, Some(1), at(60)), session(3, Some(1), at(60))] {
        store.put_session(&session).await.unwrap();
    }
    store.put_revalidation(&revalidation(1)).await.unwrap();
    let attributes = Attributes { groups: vec!["new".into()], ..Attributes::default() };
    let (person, method) = (PersonId::from_bytes([3; 16]), "work".parse().unwrap());
    let sessions = [1, 3, 9].map(|id| (h(id), attributes.clone()));
    let told = Told { person, method: &method, attributes: &attributes, sessions: &sessions };
    store.confirm_login(&h(1), at(5), Some(told)).await.unwrap();
    let sessions = store.sessions(T0).await.unwrap();
    let mut anew: Vec<_> = sessions.iter().filter(|one| one.attributes == attributes).map(|one| one.id[0]).collect();
    anew.sort_unstable();
    assert_eq!((anew, sessions.len()), (vec![1, 3], 3), "and a session that is gone stays gone");
    assert_eq!(store.revalidation(&h(1)).await.unwrap().unwrap().confirmed, at(5));
}

pub(crate) async fn a_person_keeps_one_id_whoever_comes_first(store: Arc<impl Store>) {
    let (email, method) = ("a@example.com".parse().unwrap(), "pin".parse().unwrap());
    let attributes = Attributes { amr: vec!["otp".into()], ..Attributes::default() };
    let met = |issuer, subject, id: u8, now| Met {
        issuer,
        subject,
        email: &email,
        method: &method,
        attributes: &attributes,
        candidate: PersonId::from_bytes([id; 16]),
        now,
        source: Some([192, 0, 2, 1].into()),
    };
    let first = (0..50).map(|n| met("https://a.example", "1", n, T0)).collect::<Vec<_>>();
    let ids = join_all(first.iter().map(|met| store.meet(met))).await;
    let ids: Vec<_> = ids.into_iter().map(Result::unwrap).collect();
    assert!(ids[0].as_bytes()[0] < 50 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // O6: the same address from another issuer, or of another subject, is somebody else.
    for (issuer, subject, id) in [("https://b.example", "1", 98), ("https://a.example", "2", 99)] {
        let other = store.meet(&met(issuer, subject, id, at(1))).await.unwrap();
        assert_eq!(other, PersonId::from_bytes([id; 16]));
    }
    store.meet(&met("https://a.example", "1", 97, at(5))).await.unwrap();
    let people = store.people(2).await.unwrap();
    assert_eq!(people.iter().map(|one| one.id.as_bytes()[0]).collect::<Vec<_>>(), [ids[0].as_bytes()[0], 98]);
    assert_eq!((people[0].created, people[0].seen, &people[0].attributes), (T0, at(5), &attributes));
    assert_eq!(store.person(ids[0]).await.unwrap(), people.into_iter().next());
    assert_eq!(store.person(PersonId::from_bytes([97; 16])).await.unwrap(), None);
}

pub(crate) async fn the_last_use_of_a_session_only_grows(store: Arc<impl Store>) {
    store.put_session(&session(1, None, at(60))).await.unwrap();
    for (uses, seen) in [([(h(1), at(9)), (h(2), at(9))], at(9)), ([(h(1), at(5)), (h(3), at(5))], at(9))] {
        store.touch_sessions(&uses).await.unwrap();
        let found = store.sessions(T0).await.unwrap();
        assert_eq!(found.iter().map(|session| session.seen).collect::<Vec<_>>(), [seen]);
    }
}

fn thing(kind: OnceKind, key: u8) -> OneTime {
    OneTime { kind, key: h(key), bind: h(9), payload: vec![key; 3], expires: at(30) }
}

// P4, T3
pub(crate) async fn of_200_parallel_takers_exactly_one_gets_it(store: Arc<impl Store>) {
    store.put_once(&thing(OnceKind::HandOver, 1)).await.unwrap();
    let takers = (0..200).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.take_once(OnceKind::HandOver, &h(1), &h(9), T0).await.unwrap() })
    });
    let got: Vec<_> = join_all(takers).await.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(got, [vec![1; 3]]);
}

pub(crate) async fn a_one_time_thing_needs_its_kind_its_binding_and_its_time(store: Arc<impl Store>) {
    store.put_once(&thing(OnceKind::HandOver, 1)).await.unwrap();
    for (kind, key, bind, now) in [
        (OnceKind::Setup, h(1), h(9), T0),
        (OnceKind::HandOver, h(2), h(9), T0),
        (OnceKind::HandOver, h(1), h(8), T0),
        (OnceKind::HandOver, h(1), h(9), at(30)),
    ] {
        assert_eq!(store.take_once(kind, &key, &bind, now).await.unwrap(), None);
    }
    // None of these used it up.
    assert_eq!(store.take_once(OnceKind::HandOver, &h(1), &h(9), at(29)).await.unwrap(), Some(vec![1; 3]));
    assert_eq!(store.take_once(OnceKind::HandOver, &h(1), &h(9), at(29)).await.unwrap(), None);
}

pub(crate) async fn looking_does_not_use_up(store: Arc<impl Store>) {
    store.put_once(&thing(OnceKind::Setup, 1)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(store.peek_once(OnceKind::Setup, &h(1), T0).await.unwrap(), Some(vec![1; 3]));
    }
    assert_eq!(store.peek_once(OnceKind::Setup, &h(1), at(30)).await.unwrap(), None);
    assert_eq!(store.peek_once(OnceKind::HandOver, &h(1), T0).await.unwrap(), None);
    assert!(store.take_once(OnceKind::Setup, &h(1), &h(9), T0).await.unwrap().is_some());
    assert_eq!(store.peek_once(OnceKind::Setup, &h(1), T0).await.unwrap(), None);
}

// O1
pub(crate) async fn what_is_exchanged_is_never_without_both_or_with_both(store: Arc<impl Store>) {
    let next = || OneTime { payload: vec![7], ..thing(OnceKind::ProviderDone, 1) };
    store.put_once(&thing(OnceKind::ProviderLogin, 1)).await.unwrap();
    for (bind, now) in [(h(8), T0), (h(9), at(30))] {
        let taken = store.exchange_once(OnceKind::ProviderLogin, &h(1), &bind, now, &next()).await.unwrap();
        assert_eq!(taken, None);
        assert_eq!(store.peek_once(OnceKind::ProviderDone, &h(1), T0).await.unwrap(), None, "nothing in its place");
    }
    let takers = (0..50).map(|_| {
        let (store, next) = (store.clone(), next());
        tokio::spawn(async move {
            let taken = store.exchange_once(OnceKind::ProviderLogin, &h(1), &h(9), T0, &next).await.unwrap();
            // Whoever comes too late finds what there is instead.
            (taken, store.peek_once(OnceKind::ProviderDone, &h(1), T0).await.unwrap())
        })
    });
    let all: Vec<_> = join_all(takers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(all.iter().filter(|(taken, _)| taken.is_some()).count(), 1);
    assert!(all.iter().all(|(_, next)| next.as_deref() == Some(&[7][..])));
    assert_eq!(store.peek_once(OnceKind::ProviderLogin, &h(1), T0).await.unwrap(), None);
}

fn limit(events: u32, seconds: u64) -> RateLimit {
    RateLimit { events, window: Duration::from_secs(seconds) }
}

// P1, P3
pub(crate) async fn a_limit_counts_exactly_even_in_parallel_and_slides(store: Arc<impl Store>) {
    let events = (0..60).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.count(&h(1), T0, &[limit(5, 3600), limit(20, 86_400)]).await.unwrap() })
    });
    let within = join_all(events).await.into_iter().filter(|within| *within.as_ref().unwrap()).count();
    assert_eq!(within, 5);
    assert!(store.count(&h(2), T0, &[limit(5, 3600)]).await.unwrap(), "another key has its own count");
    assert!(!store.count(&h(1), at(3599), &[limit(5, 3600)]).await.unwrap());
    assert!(store.count(&h(1), at(3600), &[limit(5, 3600)]).await.unwrap());
    assert!(store.count(&h(1), T0, &[]).await.unwrap());
}

pub(crate) async fn a_refused_event_is_not_counted(store: Arc<impl Store>) {
    let limits = [limit(1, 30), limit(3, 3600)];
    assert!(store.count(&h(1), T0, &limits).await.unwrap());
    for second in 1..30 {
        assert!(!store.count(&h(1), at(second), &limits).await.unwrap());
    }
    assert!(store.count(&h(1), at(30), &limits).await.unwrap());
    assert!(store.count(&h(1), at(60), &limits).await.unwrap());
    assert!(!store.count(&h(1), at(90), &limits).await.unwrap());
}

fn mail(due: UnixTime) -> MailRecord {
    MailRecord {
        id: 0,
        sealed: b"sealed".to_vec(),
        recipient: h(1),
        domain: "example.com".into(),
        queued: T0,
        due,
        expires: at(1800),
        tries: 0,
    }
}

// P7
pub(crate) async fn a_mail_waits_until_it_is_due_and_leaves_a_log(store: Arc<impl Store>) {
    for due in [at(20), at(10), at(10)] {
        store.queue_mail(&mail(due)).await.unwrap();
    }
    assert!(store.due_mails(at(9), 10).await.unwrap().is_empty());
    let due = store.due_mails(at(20), 10).await.unwrap();
    assert_eq!(due.iter().map(|m| m.due).collect::<Vec<_>>(), [at(10), at(10), at(20)]);
    assert_eq!(store.due_mails(at(20), 2).await.unwrap().len(), 2);
    let (first, second, third) = (due[0].id, due[1].id, due[2].id);
    assert!(due[0] == MailRecord { id: first, ..mail(at(10)) });
    store.mail_outcome(first, &MailOutcome::Deferred(at(40), "try later".into()), at(21)).await.unwrap();
    store.mail_outcome(second, &MailOutcome::Sent, at(22)).await.unwrap();
    store.mail_outcome(third, &MailOutcome::Bounced("no such mailbox".into()), at(23)).await.unwrap();
    store.mail_outcome(third, &MailOutcome::Sent, at(24)).await.unwrap();
    let left = store.due_mails(at(99), 10).await.unwrap();
    assert_eq!(left.iter().map(|m| (m.id, m.due, m.tries)).collect::<Vec<_>>(), [(first, at(40), 1)]);
    let log = store.mail_log(10).await.unwrap();
    let states: Vec<_> = log.iter().map(|e| (e.id, e.state.as_str(), e.detail.as_deref())).collect();
    assert_eq!(
        states,
        [
            (third, "bounced", Some("no such mailbox")),
            (second, "sent", None),
            (first, "deferred", Some("try later")),
            // As they were queued: the last one first.
            (second, "queued", None),
            (first, "queued", None),
            (third, "queued", None),
        ]
    );
}

pub(crate) async fn a_secret_is_kept_once(store: Arc<impl Store>) {
    assert_eq!(store.secret("ca").await.unwrap(), None);
    let candidates: Vec<Vec<u8>> = (0..20).map(|n| vec![n; 8]).collect();
    let kept = join_all(candidates.iter().map(|sealed| store.put_secret_if_absent("ca", sealed))).await;
    let kept: Vec<_> = kept.into_iter().map(Result::unwrap).collect();
    assert!(kept.iter().all(|one| *one == kept[0]));
    assert_eq!(store.secret("ca").await.unwrap().as_ref(), Some(&kept[0]));
    assert_eq!(store.secret("c").await.unwrap(), None);
}

// T4
pub(crate) async fn of_parallel_replacements_of_one_secret_exactly_one_is_made(store: Arc<impl Store>) {
    let record = |n: u8| AuditRecord {
        detail: Some(format!("replacement {n}")),
        ..AuditRecord::new(T0, AuditEvent::KeysRotated)
    };
    assert!(!store.replace_secret("keys", b"old", b"new", &[record(0)]).await.unwrap(), "there is none");
    assert_eq!(store.secret("keys").await.unwrap(), None);
    store.put_secret_if_absent("keys", b"old").await.unwrap();
    store.put_secret_if_absent("other", b"old").await.unwrap();
    let replace = |n: u8| {
        let store = store.clone();
        async move { (n, store.replace_secret("keys", b"old", &[n], &[record(n)]).await.unwrap()) }
    };
    let done: Vec<_> = join_all((1..=50).map(replace)).await.into_iter().filter(|(_, done)| *done).collect();
    let [(winner, _)] = done[..] else { panic!("{done:?}") };
    assert_eq!(store.secret("keys").await.unwrap(), Some(vec![winner]));
    assert_eq!(store.secret("other").await.unwrap().as_deref(), Some(b"old".as_slice()));
    // Neither a change without its record, nor a record without its change.
    let audit = store.audit(100).await.unwrap();
    let details: Vec<_> = audit.iter().filter_map(|record| record.detail.clone()).collect();
    assert_eq!(details, [format!("replacement {winner}")]);
    assert!(!store.replace_secret("keys", b"old", b"new", &[]).await.unwrap(), "it is another one by now");
    assert!(store.replace_secret("keys", &[winner], b"new", &[]).await.unwrap());
}

pub(crate) async fn revocation_lists_what_has_not_expired(store: Arc<impl Store>) {
    let tunnel = CertificateHolder::Tunnel(TunnelId::from_bytes([1; 16]));
    // The same bytes are another holder.
    let operator = CertificateHolder::Operator(OperatorId::from_bytes([1; 16]));
    let put = |serial: &str, holder: &CertificateHolder, expires| CertificateRecord {
        serial: serial.into(),
        holder: holder.clone(),
        issued: T0,
        expires,
    };
    for certificate in [put("0a", &tunnel, at(10)), put("0b", &tunnel, at(99)), put("0c", &operator, at(99))] {
        store.put_certificate(&certificate).await.unwrap();
    }
    assert!(store.revoked_serials(T0).await.unwrap().is_empty());
    let id = TunnelId::from_bytes([1; 16]);
    assert_eq!(store.certified_tunnels(at(98)).await.unwrap(), [id], "once, and no operator");
    assert!(store.certified_tunnels(at(99)).await.unwrap().is_empty(), "they have expired");
    store.revoke_certificates(&tunnel, at(1)).await.unwrap();
    assert!(store.certified_tunnels(at(2)).await.unwrap().is_empty(), "they are revoked");
    assert_eq!(store.revoked_serials(at(9)).await.unwrap(), ["0a", "0b"]);
    assert_eq!(store.revoked_serials(at(10)).await.unwrap(), ["0b"]);
    store.put_certificate(&put("0d", &tunnel, at(99))).await.unwrap();
    assert_eq!(store.revoked_serials(at(10)).await.unwrap(), ["0b"], "what is issued later is good");
    assert_eq!(store.certified_tunnels(at(10)).await.unwrap(), [id]);
}

pub(crate) async fn an_operator_is_kept(store: Arc<impl Store>) {
    let id = OperatorId::from_bytes([1; 16]);
    assert_eq!(store.operator(id).await.unwrap(), None);
    let operator = OperatorRecord {
        id,
        machine: "nas".into(),
        hostnames: vec!["*.example.com".parse().unwrap(), "x.example.org".parse().unwrap()],
        approved_by: "admin@example.com".parse().unwrap(),
        approved: T0,
    };
    store.put_operator(&operator).await.unwrap();
    assert_eq!(store.operator(id).await.unwrap(), Some(operator.clone()));
    let narrower = OperatorRecord { hostnames: vec![], ..operator };
    store.put_operator(&narrower).await.unwrap();
    assert_eq!(store.operator(id).await.unwrap(), Some(narrower));
}

pub(crate) async fn the_audit_record_comes_back_newest_first(store: Arc<impl Store>) {
    let full = AuditRecord {
        actor: Some("a@example.com".into()),
        source: Some("2001:db8::1".parse().unwrap()),
        object: Some("www".into()),
        detail: Some("policy `staff-only`".into()),
        reference: Some("7F3A-92C1-E08B".into()),
        count: 17,
        ..AuditRecord::new(T0, AuditEvent::Refused)
    };
    store.append_audit(&[changed("1"), full.clone()]).await.unwrap();
    store.append_audit(&[]).await.unwrap();
    store.append_audit(&[changed("3")]).await.unwrap();
    assert_eq!(store.audit(10).await.unwrap(), [changed("3"), full.clone(), changed("1")]);
    assert_eq!(store.audit(2).await.unwrap(), [changed("3"), full]);
}

pub(crate) async fn sweeping_removes_what_has_expired_and_nothing_else(store: Arc<impl Store>) {
    store.put_session(&session(1, None, at(10))).await.unwrap();
    store.put_session(&session(2, None, at(9999))).await.unwrap();
    store.put_once(&thing(OnceKind::Setup, 1)).await.unwrap();
    store.put_once(&OneTime { expires: at(9999), ..thing(OnceKind::Setup, 2) }).await.unwrap();
    armed(&*store, 1).await;
    store.open_pin(&PinRecord { login: h(6), expires: at(9999), ..challenge(2) }).await.unwrap();
    store.queue_mail(&mail(T0)).await.unwrap();
    store.queue_mail(&MailRecord { expires: at(9999), ..mail(T0) }).await.unwrap();
    assert!(store.count(&h(1), T0, &[limit(1, 9000)]).await.unwrap());
    store.append_audit(&[changed("kept")]).await.unwrap();

    store.sweep(at(2000)).await.unwrap();

    // Asked as of earlier, so that only removal can explain an absence.
    assert_eq!(session_ids(&*store, T0).await, [2]);
    assert_eq!(store.peek_once(OnceKind::Setup, &h(1), T0).await.unwrap(), None);
    assert!(store.peek_once(OnceKind::Setup, &h(2), T0).await.unwrap().is_some());
    assert_eq!(store.try_pin(&attempt(1, 100)).await.unwrap(), PinOutcome::Unknown);
    assert_eq!(store.try_pin(&PinAttempt { login: h(6), ..attempt(2, 99) }).await.unwrap(), PinOutcome::Wrong(4));
    assert_eq!(store.due_mails(T0, 10).await.unwrap().len(), 1);
    assert_eq!(store.mail_log(1).await.unwrap()[0].state, "lapsed");
    assert!(!store.count(&h(1), at(2000), &[limit(1, 9000)]).await.unwrap());
    assert_eq!(store.audit(10).await.unwrap(), [changed("kept")]);
}

// F16
pub(crate) async fn time_that_has_passed_is_kept_and_what_is_of_the_future_goes(store: Arc<impl Store>) {
    assert_eq!(store.passed().await.unwrap(), None);
    for passed in [at(60), at(0)] {
        store.note_passed(passed).await.unwrap();
        assert_eq!(store.passed().await.unwrap(), Some(passed));
    }
    // Begun within the hour, and by a clock that was ten years ahead.
    let years = 10 * 365 * 24 * 3600;
    let of = |id, from| SessionRecord { created: at(from), ..session(id, None, at(from + 9999)) };
    store.put_session(&of(1, 3600)).await.unwrap();
    store.put_session(&of(2, years)).await.unwrap();
    store.put_once(&OneTime { expires: at(3600), ..thing(OnceKind::Setup, 1) }).await.unwrap();
    store.put_once(&OneTime { expires: at(years), ..thing(OnceKind::Setup, 2) }).await.unwrap();
    store.open_pin(&PinRecord { created: at(years), expires: at(years + 600), ..challenge(1) }).await.unwrap();
    store.queue_mail(&MailRecord { queued: at(years), expires: at(years + 600), ..mail(T0) }).await.unwrap();
    assert!(store.count(&h(1), at(years), &[limit(1, 60)]).await.unwrap());
    store.sweep(at(0)).await.unwrap();
    assert_eq!(session_ids(&*store, at(0)).await, [1]);
    assert!(store.peek_once(OnceKind::Setup, &h(1), at(0)).await.unwrap().is_some());
    assert_eq!(store.peek_once(OnceKind::Setup, &h(2), at(0)).await.unwrap(), None);
    assert_eq!(store.try_pin(&attempt(1, 100)).await.unwrap(), PinOutcome::Unknown);
    assert_eq!(store.due_mails(T0, 10).await.unwrap().len(), 0);
    assert!(store.count(&h(1), at(0), &[limit(1, 60)]).await.unwrap(), "nobody is kept out for ten years");
    // Used, and vouched for, by that clock.
    assert!(store.put_revalidation(&revalidation(1)).await.unwrap());
    store.touch_sessions(&[(h(1), at(years))]).await.unwrap();
    store.confirm_login(&h(1), at(years), None).await.unwrap();
    store.sweep(at(5)).await.unwrap();
    assert_eq!(store.sessions(at(0)).await.unwrap()[0].seen, at(5), "it can be idle");
    assert_eq!(store.revalidation(&h(1)).await.unwrap().unwrap().confirmed, at(5), "its provider is asked");
}

// A4
pub(crate) async fn quotes_and_markup_are_only_text(store: Arc<impl Store>) {
    for nasty in ["'; DROP TABLE audit; --", "\" OR 1=1", "%_\\", "\0", "<script>", "日本語 \u{202e}", "$1 ?1 :a @b"]
    {
        assert_eq!(store.put_secret_if_absent(nasty, nasty.as_bytes()).await.unwrap(), nasty.as_bytes());
        assert_eq!(store.secret(nasty).await.unwrap().as_deref(), Some(nasty.as_bytes()));
        store.append_audit(&[changed(nasty)]).await.unwrap();
        assert_eq!(store.audit(1).await.unwrap(), [changed(nasty)]);
        store.queue_mail(&MailRecord { domain: nasty.into(), ..mail(T0) }).await.unwrap();
        assert_eq!(store.mail_log(1).await.unwrap()[0].domain, nasty);
    }
}
