//! Administration while no edge runs.
#![cfg(unix)]

use std::{os::unix::net::UnixListener, path::Path};

use tunnel_edge::{
    Clock,
    keys::Keys,
    socket::{
        Administration, AuditQuery, InviteUser, Lock, NamedTunnel, NamedUser, Offline, RemovePasskeys, RotateKeys,
        WhichSessions, WhosePasskeys,
    },
    store::{
        AuditEvent, AuditRecord, CertificateHolder, CertificateRecord, DATABASE_NAME, Declared, ISSUER_MAILBOX,
        InvitationRecord, Joined, Joining, Met, PasskeyKept, PasskeyRecord, RouteRecord, SessionKind, SessionRecord,
        Store, TunnelRecord, sqlite::SqliteStore,
    },
};
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Identity, PersonId, Revision, TunnelId, UnixTime, enrol::SOCKET_NAME};

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

pub(crate) fn session(id: u8, email: &str) -> SessionRecord {
    SessionRecord {
        id: [id; 32],
        kind: SessionKind::Browser,
        device: None,
        source: None,
        host: "www.example.com".parse().unwrap(),
        parent: None,
        identity: Identity {
            person: PersonId::from_bytes([id; 16]),
            email: email.parse().unwrap(),
            method: "pin".parse().unwrap(),
            authenticated: NOW,
        },
        issuer: ISSUER_MAILBOX.to_owned(),
        attributes: Attributes::default(),
        created: NOW,
        seen: NOW,
        expires: UnixTime(NOW.0 + 60),
        grants: vec![],
    }
}

async fn furnish(dir: &Path) {
    let store = SqliteStore::open(dir.join(DATABASE_NAME)).await.unwrap();
    let tunnel = TunnelId::from_bytes([1; 16]);
    let declared = Declared {
        tunnels: vec![TunnelRecord { id: tunnel, name: "office".parse().unwrap(), created: NOW, owner: None }],
        routes: vec![RouteRecord { hostname: "www.example.com".parse().unwrap(), tunnel }],
        ..Declared::default()
    };
    let made = AuditRecord::new(NOW, AuditEvent::ConfigurationChanged);
    store.replace_declared(Revision(0), &declared, &[made]).await.unwrap();
    let certificate = CertificateRecord {
        serial: "0a".into(),
        holder: CertificateHolder::Tunnel(tunnel),
        issued: NOW,
        expires: UnixTime(NOW.0 + 60),
    };
    store.put_certificate(&certificate).await.unwrap();
    for (id, email) in [(0x11, "a@example.com"), (0x12, "a@example.com"), (0x22, "b@example.com")] {
        store.put_session(&session(id, email)).await.unwrap();
    }
    store.close().await;
}

async fn offline(dir: &Path) -> Offline {
    Offline::open(dir, Clock::manual(NOW)).await.unwrap()
}

#[tokio::test]
async fn tunnels_and_sessions_are_listed_and_ended_on_the_store_and_audited() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let office = offline(dir.path()).await;
    let tunnels = office.tunnels().await.unwrap();
    assert_eq!((tunnels.len(), tunnels[0].hostnames.len(), tunnels[0].links), (1, 1, None));
    assert_eq!(office.sessions().await.unwrap().len(), 3);

    let by_id = |prefix: &str| office.end_sessions(WhichSessions::Id(prefix.into()));
    assert_eq!(by_id("1111").await.unwrap_err().code, "bad_request", "too short");
    assert_eq!(by_id("3333333333").await.unwrap_err().code, "unknown_session");
    assert_eq!(by_id("1111111111").await.unwrap().ended, 1);
    let b = WhichSessions::Email("b@example.com".parse().unwrap());
    assert_eq!(office.end_sessions(b.clone()).await.unwrap().ended, 1);
    assert_eq!(office.end_sessions(b).await.unwrap_err().code, "unknown_session");
    assert_eq!(office.sessions().await.unwrap()[0].id, "12".repeat(32));

    let revoked = office.revoke_tunnel(NamedTunnel { name: "office".parse().unwrap() }).await.unwrap();
    assert_eq!(revoked.hostnames.len(), 1, "its routes stay");
    assert_eq!(office.store().revoked_serials(NOW).await.unwrap(), ["0a"]);
    let unknown = office.revoke_tunnel(NamedTunnel { name: "x".parse().unwrap() }).await.unwrap_err();
    assert_eq!(unknown.code, "unknown_tunnel");

    let audit = office.audit(AuditQuery { limit: 10 }).await.unwrap();
    let told: Vec<_> = audit.iter().map(|r| (r.event, r.actor.as_deref(), r.object.as_deref())).collect();
    let revoked = |object| (AuditEvent::Revoked, Some("local"), Some(object));
    let expected = [revoked("office"), revoked("b@example.com"), revoked("a@example.com")];
    assert_eq!(told, [&expected[..], &[(AuditEvent::ConfigurationChanged, None, None)]].concat());
}

// S7
#[tokio::test]
async fn keys_are_changed_on_the_store_and_count_from_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let office = offline(dir.path()).await;
    let before = office.keys().await.unwrap();
    let after = office.rotate_keys(RotateKeys { revoke_now: true }).await.unwrap();
    assert_eq!(office.keys().await.unwrap(), after);
    assert!(after.iter().all(|new| before.iter().all(|old| old.id != new.id)), "{before:?} {after:?}");
    let next = office.rotate_keys(RotateKeys { revoke_now: false }).await.unwrap();
    assert_eq!(next.len(), 4);
    let keys = Keys::load(dir.path(), office.store(), NOW).await.unwrap();
    assert_eq!(keys.status(NOW), next);
    let audit = office.audit(AuditQuery { limit: 1 }).await.unwrap();
    assert_eq!((audit[0].event, audit[0].actor.as_deref()), (AuditEvent::KeysRotated, Some("local")));
    let applications = office.applications().await.unwrap();
    assert!(applications.is_empty(), "{applications:?}");
}

#[tokio::test]
async fn who_was_invited_is_listed_and_removed_on_the_store_and_audited() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let office = offline(dir.path()).await;
    let invitation = |key: u8, email: &str| InvitationRecord {
        key: [key; 32],
        person: PersonId::from_bytes([key; 16]),
        subject: format!("subject {key}"),
        email: email.parse().unwrap(),
        name: None,
        created: NOW,
        expires: UnixTime(NOW.0 + 60),
    };
    // The first has joined, and has the sessions of `furnish`; the second has not.
    for (key, email) in [(0x11, "a@example.com"), (0x33, "c@example.com")] {
        office.store().put_invitation(&invitation(key, email)).await.unwrap();
    }
    let passkey = PasskeyRecord {
        id: [1; 32],
        person: PersonId::from_bytes([0x11; 16]),
        label: "Laptop".into(),
        credential: "{}".into(),
        created: NOW,
        used: Some(NOW),
    };
    let method = "passkey".parse().unwrap();
    let joining = Joining { key: &[0x11; 32], passkey: &passkey, method: &method, now: NOW, source: None };
    assert_eq!(office.store().join(&joining).await.unwrap(), Joined::Yes);

    let users = office.users().await.unwrap();
    let told: Vec<_> = users
        .iter()
        .map(|user| (user.email.as_str(), user.joined, user.passkeys, user.used, user.invited_until))
        .collect();
    let until = Some(UnixTime(NOW.0 + 60));
    assert_eq!(told, [("a@example.com", Some(NOW), 1, Some(NOW), None), ("c@example.com", None, 0, None, until)]);
    let named = |email: &str| NamedUser { email: email.parse().unwrap() };
    assert_eq!(
        office.remove_user(named("b@example.com")).await.unwrap_err().code,
        "unknown_user",
        "who was not invited"
    );
    let removed = office.remove_user(named("a@example.com")).await.unwrap();
    assert_eq!((removed.passkeys, removed.sessions), (1, 1), "the session of that person, not of the address");
    assert_eq!(office.sessions().await.unwrap().len(), 2);
    office.remove_user(named("c@example.com")).await.unwrap();
    assert!(office.users().await.unwrap().is_empty());
    assert!(office.store().invitation(&[0x33; 32], NOW).await.unwrap().is_none());
    let guest = InviteUser { email: "d@example.com".parse().unwrap(), name: None };
    assert_eq!(office.invite_user(guest).await.unwrap_err().code, "edge_not_running");
    assert_eq!(office.reset_user(named("d@example.com")).await.unwrap_err().code, "edge_not_running");
    let audit = office.audit(AuditQuery { limit: 2 }).await.unwrap();
    let told: Vec<_> = audit.iter().map(|record| (record.event, record.object.as_deref().unwrap())).collect();
    assert_eq!(told, [(AuditEvent::UserRemoved, "c@example.com"), (AuditEvent::UserRemoved, "a@example.com")]);
}

/// `email`, known by a PIN, with passkeys of these numbers.
async fn furnish_with_passkeys(office: &Offline, id: u8, email: &str, passkeys: &[u8]) {
    let (address, method, attributes) = (email.parse().unwrap(), "pin".parse().unwrap(), Attributes::default());
    let met = Met {
        issuer: ISSUER_MAILBOX,
        subject: &format!("{id} {email}"),
        email: &address,
        method: &method,
        attributes: &attributes,
        candidate: PersonId::from_bytes([id; 16]),
        now: NOW,
        source: None,
    };
    let person = office.store().meet(&met).await.unwrap();
    for number in passkeys {
        let passkey = PasskeyRecord {
            id: [*number; 32],
            person,
            label: format!("Key {number:02x}"),
            credential: "{}".into(),
            created: NOW,
            used: None,
        };
        assert_eq!(office.store().put_passkey(&passkey).await.unwrap(), PasskeyKept::Yes);
    }
}

// A3, O6, S10
#[tokio::test]
async fn passkeys_of_whoever_came_by_a_pin_are_listed_and_removed_with_what_they_began() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let office = offline(dir.path()).await;
    // Two people with one address, and another one; the sessions of `furnish` were begun by PIN.
    furnish_with_passkeys(&office, 0x11, "a@example.com", &[0xa1, 0xa2]).await;
    furnish_with_passkeys(&office, 0x12, "a@example.com", &[0xa3]).await;
    furnish_with_passkeys(&office, 0x22, "b@example.com", &[0xb1]).await;
    for (id, of, parent) in [(0x31, 0x11, None), (0x32, 0x11, Some([0x31; 32])), (0x33, 0x12, None), (0x34, 0x22, None)]
    {
        let (mut begun, person) = (session(id, "a@example.com"), PersonId::from_bytes([of; 16]));
        begun.identity.person = person;
        begun.identity.method = "passkey".parse().unwrap();
        begun.attributes.amr = ["swk", "user", "mfa"].map(str::to_owned).to_vec();
        begun.parent = parent;
        office.store().put_session(&begun).await.unwrap();
    }
    let (a, b): (EmailAddress, EmailAddress) = ("a@example.com".parse().unwrap(), "b@example.com".parse().unwrap());
    let listed = async |email: Option<EmailAddress>| {
        let list = office.passkeys(WhosePasskeys { email }).await.unwrap();
        assert!(!list.truncated);
        list.passkeys.into_iter().map(|one| one.id).collect::<Vec<String>>()
    };
    let number = |id: &str| id.repeat(32);
    assert_eq!(listed(None).await, ["a1", "a2", "a3", "b1"].map(number));
    assert_eq!(listed(Some(b)).await, [number("b1")]);
    let remove = async |id: Option<&str>| {
        let (email, id) = (a.clone(), id.map(str::to_owned));
        office.remove_passkeys(RemovePasskeys { email, id }).await
    };
    for (id, code) in [("a1a1", "bad_request"), ("b1b1b1b1", "unknown_passkey"), ("%%%%%%%%", "unknown_passkey")] {
        assert_eq!(remove(Some(id)).await.unwrap_err().code, code, "{id}");
    }
    let nobody = RemovePasskeys { email: "nobody@example.com".parse().unwrap(), id: None };
    assert_eq!(office.remove_passkeys(nobody).await.unwrap_err().code, "unknown_person");
    assert_eq!(office.sessions().await.unwrap().len(), 7, "nothing has ended yet");

    let one = remove(Some("A1A1A1A1")).await.unwrap();
    assert_eq!((one.passkeys.len(), one.sessions), (1, 2), "a login and what came from it");
    let told = (one.passkeys[0].label.as_str(), one.passkeys[0].issuer.as_str(), one.passkeys[0].method.as_str());
    assert_eq!(told, ("Key a1", ISSUER_MAILBOX, "pin"));
    let all = remove(None).await.unwrap();
    assert_eq!((all.passkeys.len(), all.sessions), (2, 1), "of both who are known by the address");
    assert_eq!(listed(None).await, [number("b1")]);
    let mut left: Vec<_> = office.sessions().await.unwrap().into_iter().map(|one| one.id).collect();
    left.sort();
    assert_eq!(left, ["11", "12", "22", "34"].map(number), "logins by PIN, and another person's passkey");
    let audit = office.audit(AuditQuery { limit: 4 }).await.unwrap();
    let told: Vec<_> = audit
        .iter()
        .filter(|record| record.event == AuditEvent::PasskeyRemoved)
        .map(|record| (record.actor.as_deref(), record.object.as_deref(), record.detail.as_deref()))
        .collect();
    let removed = |detail| (Some("local"), Some("a@example.com"), Some(detail));
    let told_of = ["`Key a3`, by an administrator", "`Key a2`, by an administrator", "`Key a1`, by an administrator"];
    assert_eq!(told, told_of.map(removed));
}

#[tokio::test]
async fn what_needs_an_edge_says_so() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let office = offline(dir.path()).await;
    for problem in [
        office.setup_link().await.unwrap_err(),
        office.login_methods().await.unwrap_err(),
        office.restart().await.unwrap_err(),
    ] {
        assert_eq!(problem.code, "edge_not_running");
        assert!(problem.message.contains("edge run"), "{}", problem.message);
    }
}

#[tokio::test]
async fn a_directory_without_an_edges_data_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let problem = Offline::open(dir.path(), Clock::System).await.unwrap_err();
    assert!(problem.message.contains("--data-dir"), "{}", problem.message);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_store_of_an_edge_that_is_starting_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let _lock = Lock::take(dir.path()).unwrap();
    drop(UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
    let problem = Offline::open(dir.path(), Clock::System).await.unwrap_err();
    assert!(problem.message.contains("in use"), "{}", problem.message);
}
