//! A decision is remembered until a rule about time could change it.

use std::{net::Ipv4Addr, sync::Arc};

use http::HeaderMap;
use tunnel_auth::ServiceSecret;
use tunnel_edge::{
    Clock, Lang, Reference, Visit,
    audit::Audit,
    gate::{self, Asked, Decisions, Gate, Permit, Presented, Turnaway},
    session::Sessions,
    snapshot::{BuiltIn, Snapshot},
    store::{Declared, ServiceTokenRecord, Store, sqlite::SqliteStore},
};
use tunnel_policy::{Action, Application, Policy, Rules, Selector, Target};
use tunnel_proto::{AppId, Hostname, Revision, UnixTime};

/// 2026-09-01, a Tuesday, 17:59:00 UTC.
const BEFORE: UnixTime = UnixTime(1_788_285_540);
/// A minute later the office closes.
const END: UnixTime = UnixTime(BEFORE.0 + 60);
/// 09:00 of the next day.
const MORNING: UnixTime = UnixTime(END.0 + 15 * 3600);

struct Door {
    snapshot: Arc<Snapshot>,
    sessions: Sessions,
    decisions: Decisions,
    audit: Audit,
    login_host: Hostname,
    machine: Presented,
    _dir: tempfile::TempDir,
}

impl Door {
    /// Machines are admitted to `www.example.com` from nine to six, UTC.
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("edge.db")).await.unwrap());
        let secret = ServiceSecret::from_random([7; 32]);
        let token = ServiceTokenRecord {
            name: "backup".parse().unwrap(),
            id: "0123.access".to_owned(),
            secret: secret.hash(),
            previous: None,
            created: UnixTime(0),
            expires: UnixTime(u64::MAX),
        };
        let office = r#"{"time_of_week": {"days": ["mon-fri"], "from": "09:00", "to": "18:00", "zone": "UTC"}}"#;
        let include = vec![Selector::AnyServiceToken];
        let require = vec![serde_json::from_str(office).unwrap()];
        let machines = Policy {
            name: "machines".parse().unwrap(),
            action: Action::ServiceAuth,
            rules: Rules { include, require, ..Rules::default() },
            session_duration: None,
            destinations: Vec::new(),
        };
        let targets = vec![Target { host: "www.example.com".parse().unwrap(), path: None }];
        let (id, name) = (AppId::from_bytes([1; 32]), "www".parse().unwrap());
        let declared = Declared {
            applications: vec![Application::new(id, name, targets, vec![machines.name.clone()])],
            policies: vec![machines],
            service_tokens: vec![token],
            ..Declared::default()
        };
        Self {
            snapshot: Arc::new(Snapshot::new(Revision(1), declared, &BuiltIn::default()).unwrap()),
            sessions: Sessions::load(store.clone(), BEFORE).await.unwrap(),
            decisions: Decisions::default(),
            audit: Audit::start(store, Clock::manual(BEFORE)),
            login_host: "access.example.com".parse().unwrap(),
            machine: Presented::ServiceToken { id: "0123.access".to_owned(), secret: secret.reveal() },
            _dir: dir,
        }
    }

    fn gate(&self) -> Gate<'_> {
        Gate {
            snapshot: &self.snapshot,
            sessions: &self.sessions,
            decisions: &self.decisions,
            audit: &self.audit,
            login_host: &self.login_host,
        }
    }

    fn ask(&self, now: UnixTime) -> Result<Permit, Turnaway> {
        let visit = Visit {
            host: "www.example.com".parse().unwrap(),
            https: true,
            port: None,
            source: Ipv4Addr::new(192, 0, 2, 1).into(),
            country: None,
            now,
            reference: Reference::from_random([0; 6]),
            lang: Lang::En,
        };
        let (headers, credential) = (HeaderMap::new(), &self.machine);
        let asked = Asked { visit: &visit, path: "/", headers: &headers, credential, websocket: false, upgrade: None };
        gate::admit(self.gate(), asked)
    }
}

#[tokio::test]
async fn a_decision_is_not_remembered_beyond_the_time_that_a_rule_names() {
    let door = Door::open().await;
    assert!(door.ask(BEFORE).is_ok());
    assert!(door.ask(UnixTime(END.0 - 1)).is_ok());
    assert!(matches!(door.ask(END), Err(Turnaway::Denied(None))));
    assert!(matches!(door.ask(UnixTime(MORNING.0 - 1)), Err(Turnaway::Denied(None))));
    assert!(door.ask(MORNING).is_ok());
}

#[tokio::test]
async fn what_stays_open_is_judged_again_when_the_time_comes() {
    let door = Door::open().await;
    let permit = door.ask(BEFORE).unwrap();
    assert_eq!(permit.judged_until(&door.snapshot), END);
    assert!(permit.still_holds(door.gate(), UnixTime(END.0 - 1)));
    assert!(!permit.still_holds(door.gate(), END));
    // One that begins in the morning outlives the next change of the clock that says nothing about it.
    let permit = door.ask(MORNING).unwrap();
    for hour in 0..9 {
        assert!(permit.still_holds(door.gate(), UnixTime(MORNING.0 + hour * 3600)), "{hour}");
    }
    assert!(!permit.still_holds(door.gate(), UnixTime(MORNING.0 + 9 * 3600)));
}
