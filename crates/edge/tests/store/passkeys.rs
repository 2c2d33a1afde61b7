//! The part of the suite for every [`Store`] that is about passkeys and invitations.

use std::sync::Arc;

use futures::future::join_all;
use tunnel_edge::store::{
    HeldPasskey, ISSUER_INVITED, ISSUER_MAILBOX, InvitationRecord, Joined, Joining, Met, PASSKEYS_MAX, PasskeyKept,
    PasskeyRecord, PersonRecord, Store,
};
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Name, PersonId, UnixTime};

const T0: UnixTime = UnixTime(1_800_000_000);

fn at(seconds: u64) -> UnixTime {
    UnixTime(T0.0 + seconds)
}

fn person(n: u8) -> PersonId {
    PersonId::from_bytes([n; 16])
}

fn email() -> EmailAddress {
    "ann@example.com".parse().unwrap()
}

fn method() -> Name {
    "passkey".parse().unwrap()
}

fn passkey(id: u8, of: u8) -> PasskeyRecord {
    PasskeyRecord {
        id: [id; 32],
        person: person(of),
        label: "Laptop".into(),
        credential: "{\"counter\":1}".into(),
        created: at(id.into()),
        used: None,
    }
}

fn invitation(key: u8, of: u8) -> InvitationRecord {
    InvitationRecord {
        key: [key; 32],
        person: person(of),
        subject: format!("subject {of}"),
        email: email(),
        name: Some("Ann".into()),
        created: T0,
        expires: at(60),
    }
}

async fn meet(store: &impl Store, n: u8) {
    let (email, method, attributes) = (email(), method(), Attributes::default());
    let met = Met {
        issuer: ISSUER_MAILBOX,
        subject: &format!("p{n}@example.com"),
        email: &email,
        method: &method,
        attributes: &attributes,
        candidate: person(n),
        now: T0,
        source: None,
    };
    assert_eq!(store.meet(&met).await.unwrap(), person(n));
}

async fn join(store: &impl Store, key: u8, passkey: &PasskeyRecord, now: UnixTime) -> Joined {
    let source = Some([192, 0, 2, 1].into());
    store.join(&Joining { key: &[key; 32], passkey, method: &method(), now, source }).await.unwrap()
}

pub(crate) async fn a_passkey_is_its_persons_and_nobody_elses(store: Arc<impl Store>) {
    assert_eq!(store.put_passkey(&passkey(1, 1)).await.unwrap(), PasskeyKept::NoPerson);
    meet(&*store, 1).await;
    meet(&*store, 2).await;
    for id in [2, 1] {
        assert_eq!(store.put_passkey(&passkey(id, 1)).await.unwrap(), PasskeyKept::Yes);
    }
    assert_eq!(store.put_passkey(&passkey(1, 2)).await.unwrap(), PasskeyKept::Taken);
    assert_eq!(store.passkeys(person(1)).await.unwrap(), [passkey(1, 1), passkey(2, 1)]);
    assert_eq!(store.passkeys(person(2)).await.unwrap(), []);
    assert_eq!(store.passkey(&[2; 32]).await.unwrap(), Some(passkey(2, 1)));
    assert_eq!(store.passkey(&[3; 32]).await.unwrap(), None);
    assert!(!store.delete_passkey(person(2), &[1; 32]).await.unwrap(), "A3: it is another's");
    assert!(store.delete_passkey(person(1), &[1; 32]).await.unwrap());
    assert!(!store.delete_passkey(person(1), &[1; 32]).await.unwrap(), "once");
    assert_eq!(store.passkeys(person(1)).await.unwrap(), [passkey(2, 1)]);
}

pub(crate) async fn passkeys_are_listed_with_whose_they_are(store: Arc<impl Store>) {
    store.put_invitation(&invitation(1, 1)).await.unwrap();
    assert_eq!(join(&*store, 1, &passkey(3, 1), at(1)).await, Joined::Yes);
    meet(&*store, 2).await;
    for id in [2, 1] {
        assert_eq!(store.put_passkey(&passkey(id, 2)).await.unwrap(), PasskeyKept::Yes);
    }
    let held = |id: u8, of: u8, issuer: &str| {
        let (email, method, issuer) = (email(), method(), issuer.to_owned());
        HeldPasskey { passkey: passkey(id, of), email, method, issuer }
    };
    let all = [held(1, 2, ISSUER_MAILBOX), held(2, 2, ISSUER_MAILBOX), held(3, 1, ISSUER_INVITED)];
    assert_eq!(store.held_passkeys(None, 10).await.unwrap(), all);
    assert_eq!(store.held_passkeys(Some(&email()), 10).await.unwrap(), all);
    assert_eq!(store.held_passkeys(None, 1).await.unwrap(), all[..1]);
    let nobody = "bob@example.com".parse().unwrap();
    assert_eq!(store.held_passkeys(Some(&nobody), 10).await.unwrap(), []);
}

pub(crate) async fn a_person_has_so_many_passkeys_and_no_more_even_in_parallel(store: Arc<impl Store>) {
    meet(&*store, 1).await;
    let all: Vec<_> = (0..60).map(|id| passkey(id, 1)).collect();
    let kept = join_all(all.iter().map(|one| store.put_passkey(one))).await;
    let kept: Vec<_> = kept.into_iter().map(Result::unwrap).collect();
    assert_eq!(kept.iter().filter(|one| **one == PasskeyKept::Yes).count() as u32, PASSKEYS_MAX);
    assert_eq!(kept.iter().filter(|one| **one == PasskeyKept::TooMany).count() as u32, 60 - PASSKEYS_MAX);
}

pub(crate) async fn of_parallel_uses_of_one_count_exactly_one_is_written(store: Arc<impl Store>) {
    meet(&*store, 1).await;
    store.put_passkey(&passkey(1, 1)).await.unwrap();
    let before = passkey(1, 1).credential;
    let uses = (0..50).map(|n| {
        let (store, before) = (store.clone(), before.clone());
        async move { store.use_passkey(&[1; 32], &before, &format!("use {n}"), at(9)).await.unwrap() }
    });
    assert_eq!(join_all(uses).await.into_iter().filter(|written| *written).count(), 1);
    let after = store.passkey(&[1; 32]).await.unwrap().unwrap();
    assert!(after.credential.starts_with("use ") && after.used == Some(at(9)), "{after:?}");
    assert!(!store.use_passkey(&[2; 32], "", "", at(9)).await.unwrap());
    // One that does not count is used as often as one likes.
    for _ in 0..2 {
        assert!(store.use_passkey(&[1; 32], &after.credential, &after.credential, at(10)).await.unwrap());
    }
}

// P4
pub(crate) async fn of_200_parallel_guests_of_one_invitation_exactly_one_joins(store: Arc<impl Store>) {
    store.put_invitation(&invitation(1, 1)).await.unwrap();
    let guests = (0..200).map(|n| {
        let store = store.clone();
        async move { join(&*store, 1, &passkey(n, 1), at(1)).await }
    });
    let joined = join_all(guests).await;
    assert_eq!(joined.iter().filter(|one| **one == Joined::Yes).count(), 1);
    assert_eq!(joined.iter().filter(|one| **one == Joined::Gone).count(), 199);
    assert_eq!(store.passkeys(person(1)).await.unwrap().len(), 1);
    let people = store.people(10).await.unwrap();
    let told = (people.len(), people[0].id, people[0].issuer.as_str(), people[0].subject.as_str());
    assert_eq!(told, (1, person(1), ISSUER_INVITED, "subject 1"));
    assert_eq!((&people[0].email, &people[0].method, people[0].seen), (&email(), &method(), at(1)));
}

pub(crate) async fn an_invitation_needs_its_person_and_its_time(store: Arc<impl Store>) {
    store.put_invitation(&invitation(1, 1)).await.unwrap();
    assert!(store.invitation(&[1; 32], at(59)).await.unwrap() == Some(invitation(1, 1)));
    assert!(store.invitation(&[1; 32], at(60)).await.unwrap().is_none());
    assert_eq!(join(&*store, 1, &passkey(1, 1), at(60)).await, Joined::Gone, "too late");
    assert_eq!(join(&*store, 1, &passkey(1, 2), at(1)).await, Joined::Gone, "somebody else's passkey");
    assert_eq!(join(&*store, 2, &passkey(1, 1), at(1)).await, Joined::Gone, "another link");
    // A passkey that is there already leaves the invitation as it is.
    meet(&*store, 9).await;
    store.put_passkey(&passkey(9, 9)).await.unwrap();
    assert_eq!(join(&*store, 1, &passkey(9, 1), at(1)).await, Joined::Taken);
    assert!(store.person(person(1)).await.unwrap().is_none());
    assert_eq!(join(&*store, 1, &passkey(1, 1), at(1)).await, Joined::Yes);
}

// P4, O6
pub(crate) async fn of_parallel_invitations_and_joinings_one_address_gets_one_invited_person(store: Arc<impl Store>) {
    store.put_invitation(&invitation(0, 0)).await.unwrap();
    let steps = (0..60_u8).map(|n| {
        let store = store.clone();
        async move {
            if n % 2 == 0 {
                join(&*store, n / 2, &passkey(n / 2, n / 2), at(1)).await;
            } else {
                store.put_invitation(&invitation(n / 2 + 1, n / 2 + 1)).await.unwrap();
            }
        }
    });
    join_all(steps).await;
    // Whichever link is left, if one is, makes the person; then none makes another.
    for n in 0..=30 {
        join(&*store, n, &passkey(n, n), at(1)).await;
    }
    let people = store.people_of(Some(ISSUER_INVITED), Some(&email())).await.unwrap();
    assert_eq!(people.len(), 1, "{people:?}");
    assert!(!store.put_invitation(&invitation(99, 99)).await.unwrap(), "somebody has joined by the address");
    assert!(store.invitations(T0).await.unwrap().is_empty());
    let own = people[0].id.as_bytes()[0];
    assert!(store.put_invitation(&invitation(99, own)).await.unwrap(), "who has joined gets a new link");
    // Somebody with the same address and another issuer is in nobody's way.
    meet(&*store, 200).await;
    let other = InvitationRecord { email: "bob@example.com".parse().unwrap(), ..invitation(100, 100) };
    assert!(store.put_invitation(&other).await.unwrap());
}

// O6
pub(crate) async fn people_are_found_by_who_vouches_and_by_address_however_many_came_later(store: Arc<impl Store>) {
    store.put_invitation(&invitation(1, 1)).await.unwrap();
    assert_eq!(join(&*store, 1, &passkey(1, 1), at(1)).await, Joined::Yes);
    meet(&*store, 2).await;
    let bob: EmailAddress = "bob@example.com".parse().unwrap();
    let (method, attributes) = (method(), Attributes::default());
    let (issuer, subject, now, source) = (ISSUER_MAILBOX, "bob@example.com", at(9), None);
    let (email, candidate) = (&bob, person(3));
    let met = Met { issuer, subject, email, method: &method, attributes: &attributes, candidate, now, source };
    store.meet(&met).await.unwrap();
    let ann = self::email();
    for (issuer, email, found) in [
        (None, None, vec![2, 1, 3]),
        (None, Some(&ann), vec![2, 1]),
        (Some(ISSUER_INVITED), None, vec![1]),
        (Some(ISSUER_INVITED), Some(&ann), vec![1]),
        (Some(ISSUER_INVITED), Some(&bob), vec![]),
        (Some(ISSUER_MAILBOX), Some(&bob), vec![3]),
        (Some("' OR ''='"), None, vec![]),
    ] {
        let people = store.people_of(issuer, email).await.unwrap();
        let ids: Vec<_> = people.iter().map(|one| one.id.as_bytes()[0]).collect();
        assert_eq!(ids, found, "{issuer:?} {email:?}");
    }
}

pub(crate) async fn a_new_link_takes_the_place_of_what_was_there(store: Arc<impl Store>) {
    store.put_invitation(&invitation(1, 1)).await.unwrap();
    store.put_invitation(&invitation(2, 2)).await.unwrap();
    assert!(store.invitation(&[1; 32], T0).await.unwrap().is_none(), "the same address");
    assert_eq!(join(&*store, 2, &passkey(1, 2), at(1)).await, Joined::Yes);
    // Somebody lost a passkey and gets a new link: the same person.
    store.put_invitation(&InvitationRecord { created: at(2), ..invitation(3, 2) }).await.unwrap();
    assert_eq!(store.passkeys(person(2)).await.unwrap(), []);
    assert!(store.person(person(2)).await.unwrap().is_some(), "who vouches for the person is not forgotten");
    let waiting = store.invitations(at(3)).await.unwrap();
    assert!(waiting == [InvitationRecord { created: at(2), ..invitation(3, 2) }]);
    assert_eq!(join(&*store, 3, &passkey(2, 2), at(4)).await, Joined::Yes);
    let known = store.person(person(2)).await.unwrap().unwrap();
    assert_eq!((known.created, known.seen), (at(1), at(4)));
    assert!(store.invitations(at(5)).await.unwrap().is_empty());
}

pub(crate) async fn who_is_forgotten_has_nothing_left(store: Arc<impl Store>) {
    store.put_invitation(&invitation(1, 1)).await.unwrap();
    assert_eq!(join(&*store, 1, &passkey(1, 1), at(1)).await, Joined::Yes);
    meet(&*store, 2).await;
    store.put_passkey(&passkey(2, 2)).await.unwrap();
    let other = InvitationRecord { email: "other@example.com".parse().unwrap(), ..invitation(2, 1) };
    store.put_invitation(&other).await.unwrap();
    store.forget_person(person(1)).await.unwrap();
    assert_eq!(store.person(person(1)).await.unwrap(), None);
    assert_eq!(store.passkeys(person(1)).await.unwrap(), []);
    assert_eq!(join(&*store, 2, &passkey(3, 1), at(1)).await, Joined::Gone, "a link that waited");
    assert_eq!(store.passkeys(person(2)).await.unwrap().len(), 1, "others keep theirs");
    store.put_invitation(&invitation(4, 4)).await.unwrap();
    store.sweep(at(60)).await.unwrap();
    assert!(store.invitation(&[4; 32], T0).await.unwrap().is_none(), "what has lapsed is swept");
}

// O9
pub(crate) async fn for_whom_nobody_vouches_any_more_that_is_so_until_the_next_login(store: Arc<impl Store>) {
    meet(&*store, 1).await;
    meet(&*store, 2).await;
    store.put_passkey(&passkey(1, 1)).await.unwrap();
    let before = store.person(person(1)).await.unwrap().unwrap();
    store.unvouch(person(1)).await.unwrap();
    store.unvouch(person(9)).await.unwrap();
    let after = store.person(person(1)).await.unwrap().unwrap();
    assert_eq!(after.seen, UnixTime(0));
    assert_eq!(PersonRecord { seen: before.seen, ..after }, before, "nothing else is another than before");
    assert_eq!(store.passkeys(person(1)).await.unwrap().len(), 1);
    assert_eq!(store.person(person(2)).await.unwrap().unwrap().seen, T0, "others are not concerned");
    meet(&*store, 1).await;
    assert_eq!(store.person(person(1)).await.unwrap().unwrap().seen, T0);
    // An administrator's word is not taken back by anybody else.
    store
        .put_invitation(&InvitationRecord { email: "guest@example.com".parse().unwrap(), ..invitation(3, 3) })
        .await
        .unwrap();
    assert_eq!(join(&*store, 3, &passkey(3, 3), at(1)).await, Joined::Yes);
    store.unvouch(person(3)).await.unwrap();
    assert_eq!(store.person(person(3)).await.unwrap().unwrap().seen, at(1));
}
