//! The setup link: once, for one, while it is needed.

use futures::future::join_all;
use tunnel_edge::{
    setup::{MadeBy, SetupError, check, complete, make_link},
    store::AuditEvent,
};

use crate::enrolment::desk::{Office, admin};

async fn link(office: &Office, made_by: MadeBy) -> String {
    let url = make_link(&office.desk(), made_by).await.unwrap();
    url.strip_prefix("http://access.localhost:8080/.access/setup?token=").unwrap().to_owned()
}

// A8
#[tokio::test]
async fn looking_at_a_link_does_not_use_it_up_and_using_it_does() {
    let office = Office::quick_start().await;
    let token = link(&office, MadeBy::QuickStart).await;
    for _ in 0..3 {
        assert_eq!(check(&office.desk(), &token, false).await, Ok(()));
    }
    complete(&office.desk(), &token, &admin(), &[]).await.unwrap();
    assert_eq!(office.declared().await.administrators, [admin()]);
    assert_eq!(office.audited(AuditEvent::SetUp).await, 1);
    assert_eq!(check(&office.desk(), &token, true).await, Err(SetupError::Gone));
    let other = "other@example.com".parse().unwrap();
    assert_eq!(complete(&office.desk(), &token, &other, &[]).await, Err(SetupError::Gone));
    assert_eq!(office.declared().await.administrators, [admin()]);
}

// A8
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_hold_links_one_becomes_administrator() {
    let office = Office::quick_start().await;
    let tokens = [link(&office, MadeBy::QuickStart).await, link(&office, MadeBy::QuickStart).await];
    let attempt = async |n: usize| {
        let email = format!("person-{n}@example.com").parse().unwrap();
        complete(&office.desk(), &tokens[n % 2], &email, &[]).await
    };
    let answers = join_all((0..100).map(attempt)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(office.declared().await.administrators.len(), 1);
}

// A8
#[tokio::test]
async fn the_quick_starts_link_is_worthless_once_there_is_an_administrator() {
    let office = Office::quick_start().await;
    let printed = link(&office, MadeBy::QuickStart).await;
    let other = "other@example.com".parse().unwrap();
    assert_eq!(complete(&office.desk(), &printed, &other, &[admin()]).await, Err(SetupError::Done));
    office.declare(|declared| declared.administrators.push(admin())).await;
    assert_eq!(check(&office.desk(), &printed, true).await, Err(SetupError::Done));
    assert_eq!(complete(&office.desk(), &printed, &other, &[]).await, Err(SetupError::Done));
    // The command's link is for exactly this.
    let asked_for = link(&office, MadeBy::Command).await;
    complete(&office.desk(), &asked_for, &other, &[]).await.unwrap();
    assert_eq!(office.declared().await.administrators, [admin(), other]);
}

// A8
#[tokio::test]
async fn a_link_lapses_after_an_hour_and_none_can_be_guessed() {
    let office = Office::quick_start().await;
    let token = link(&office, MadeBy::QuickStart).await;
    for guess in ["", "0", &token[1..], &token.to_lowercase(), &"A".repeat(43), &"A".repeat(10_000)] {
        assert_eq!(check(&office.desk(), guess, false).await, Err(SetupError::Gone));
        assert_eq!(complete(&office.desk(), guess, &admin(), &[]).await, Err(SetupError::Gone));
    }
    office.wait(3599);
    assert_eq!(check(&office.desk(), &token, false).await, Ok(()));
    office.wait(1);
    assert_eq!(complete(&office.desk(), &token, &admin(), &[]).await, Err(SetupError::Gone));
    assert!(office.declared().await.administrators.is_empty());
}
