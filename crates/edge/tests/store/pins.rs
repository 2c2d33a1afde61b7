//! What every store must do about codes from mails: [`crate::store_conformance`] runs it.

use std::sync::Arc;

use futures::future::join_all;
use tunnel_edge::store::{PinAttempt, PinOutcome, PinRecord, Store};

use super::conformance::{T0, app, at, h};

pub(crate) fn challenge(id: u8) -> PinRecord {
    PinRecord { id: h(id), login: h(7), app: app(1), email: vec![id; 4], created: T0, expires: at(1800) }
}

pub(crate) fn attempt(id: u8, code: u8) -> PinAttempt {
    PinAttempt { id: h(id), login: h(7), app: app(1), code: h(code), now: at(1), max_tries: 5 }
}

pub(crate) async fn armed(store: &impl Store, id: u8) {
    store.open_pin(&challenge(id)).await.unwrap();
    store.arm_pin(&h(id), &h(100)).await.unwrap();
}

// P4
pub(crate) async fn a_pin_is_right_once(store: Arc<impl Store>) {
    armed(&*store, 1).await;
    assert_eq!(store.try_pin(&attempt(1, 99)).await.unwrap(), PinOutcome::Wrong(4));
    assert_eq!(store.try_pin(&attempt(1, 100)).await.unwrap(), PinOutcome::Right(vec![1; 4]));
    assert_eq!(store.try_pin(&attempt(1, 100)).await.unwrap(), PinOutcome::Void);
    store.arm_pin(&h(1), &h(101)).await.unwrap();
    assert_eq!(store.try_pin(&attempt(1, 101)).await.unwrap(), PinOutcome::Void, "a used one is never armed again");
}

// P1
pub(crate) async fn wrong_tries_are_counted_exactly_even_in_parallel(store: Arc<impl Store>) {
    armed(&*store, 1).await;
    let tries = (0..40).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.try_pin(&attempt(1, 99)).await.unwrap() })
    });
    let mut wrong: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
    wrong.retain(|outcome| *outcome != PinOutcome::Void);
    wrong.sort_by_key(|outcome| format!("{outcome:?}"));
    assert_eq!(wrong, [1, 2, 3, 4].map(PinOutcome::Wrong));
    assert_eq!(store.try_pin(&attempt(1, 100)).await.unwrap(), PinOutcome::Void, "the right code comes too late");
}

// P4
pub(crate) async fn of_200_parallel_right_tries_exactly_one_is_let_in(store: Arc<impl Store>) {
    armed(&*store, 1).await;
    let tries = (0..200).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.try_pin(&attempt(1, 100)).await.unwrap() })
    });
    let outcomes: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
    let right = outcomes.iter().filter(|outcome| matches!(outcome, PinOutcome::Right(_))).count();
    let void = outcomes.iter().filter(|outcome| **outcome == PinOutcome::Void).count();
    assert_eq!((right, void), (1, 199));
}

pub(crate) async fn a_new_code_voids_the_old_one_of_the_same_login_and_application(store: Arc<impl Store>) {
    armed(&*store, 1).await;
    let elsewhere = PinRecord { app: app(2), ..challenge(2) };
    store.open_pin(&elsewhere).await.unwrap();
    store.arm_pin(&h(2), &h(100)).await.unwrap();
    armed(&*store, 3).await;
    assert_eq!(store.try_pin(&attempt(1, 100)).await.unwrap(), PinOutcome::Void);
    let in_the_other = PinAttempt { app: app(2), ..attempt(2, 100) };
    assert_eq!(store.try_pin(&in_the_other).await.unwrap(), PinOutcome::Right(vec![2; 4]));
    assert_eq!(store.try_pin(&attempt(3, 100)).await.unwrap(), PinOutcome::Right(vec![3; 4]));
}

// P2
pub(crate) async fn a_challenge_that_was_never_armed_answers_like_one_that_was(store: Arc<impl Store>) {
    store.open_pin(&challenge(1)).await.unwrap();
    for left in [4, 3, 2, 1] {
        assert_eq!(store.try_pin(&attempt(1, 99)).await.unwrap(), PinOutcome::Wrong(left));
    }
    assert_eq!(store.try_pin(&attempt(1, 99)).await.unwrap(), PinOutcome::Void);
    store.open_pin(&challenge(2)).await.unwrap();
    assert_eq!(store.try_pin(&attempt(2, 0)).await.unwrap(), PinOutcome::Wrong(4), "no code is no code of zeros");
}

// P5
pub(crate) async fn a_pin_counts_only_for_its_browser_and_application(store: Arc<impl Store>) {
    armed(&*store, 1).await;
    for foreign in [
        PinAttempt { login: h(8), ..attempt(1, 100) },
        PinAttempt { app: app(2), ..attempt(1, 100) },
        PinAttempt { id: h(2), ..attempt(1, 100) },
    ] {
        assert_eq!(store.try_pin(&foreign).await.unwrap(), PinOutcome::Unknown);
    }
    // Strangers do not use up the tries.
    assert_eq!(store.try_pin(&attempt(1, 99)).await.unwrap(), PinOutcome::Wrong(4));
}

pub(crate) async fn handing_the_mail_over_only_shortens_a_codes_life(store: Arc<impl Store>) {
    armed(&*store, 1).await;
    store.pin_sent(&h(1), at(600)).await.unwrap();
    store.pin_sent(&h(1), at(9999)).await.unwrap();
    let late = PinAttempt { now: at(600), ..attempt(1, 100) };
    assert_eq!(store.try_pin(&late).await.unwrap(), PinOutcome::Expired);
    let in_time = PinAttempt { now: at(599), ..attempt(1, 100) };
    assert_eq!(store.try_pin(&in_time).await.unwrap(), PinOutcome::Right(vec![1; 4]));
}
