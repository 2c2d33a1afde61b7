//! A store, and the short way to declare to it.

use tempfile::TempDir;
use tunnel_edge::{
    declare::{self, ApplyError, Ground, Report, Request, Secrets},
    keys::Keys,
    snapshot::BuiltIn,
    store::{AuditRecord, Declared, Store, sqlite::SqliteStore},
};
use tunnel_policy::{Application, Target};
use tunnel_proto::{AppId, UnixTime};

/// The file that most tests begin with.
pub(crate) const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
groups:
  - {name: staff, include: [{email_domain: tnkeng.work}]}
policies:
  - name: staff-only
    action: allow
    include: [{group: staff}]
    require: [{ip: 203.0.113.0/24}]
    exclude: [{email: guest@tnkeng.work}]
    session_duration: 24h
applications:
  - {name: www, hostnames: [www.tnkeng.work], login_methods: [pin], policies: [staff-only]}
tunnels:
  - {name: office, hostnames: [www.tnkeng.work, rdp.tnkeng.work]}
";

pub(crate) struct Desk {
    pub(crate) store: SqliteStore,
    pub(crate) built_in: BuiltIn,
    pub(crate) mail: bool,
    pub(crate) countries: bool,
    pub(crate) keys: Keys,
    _dir: TempDir,
}

impl Desk {
    /// A configured edge of `tnkeng.work` that can send mail.
    pub(crate) async fn configured() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("edge.db")).await.unwrap();
        let login_host = Some("access.tnkeng.work".parse().unwrap());
        let administrators = vec!["admin@tnkeng.work".parse().unwrap()];
        let built_in = BuiltIn { administrators, login_host, ..BuiltIn::default() };
        let keys = Keys::load(dir.path(), &store, UnixTime(1_800_000_000)).await.unwrap();
        Self { store, built_in, mail: true, countries: true, keys, _dir: dir }
    }

    pub(crate) fn ground(&self) -> Ground<'_> {
        let (mail, countries, keys, now) = (self.mail, self.countries, Some(&self.keys), UnixTime(1_800_000_000));
        Ground { built_in: &self.built_in, mail, countries, keys, actor: "local", now }
    }

    pub(crate) async fn ask(&self, text: &str, dry_run: bool, prune: bool) -> Result<Report, ApplyError> {
        let (file, text) = ("access.yaml".to_owned(), text.to_owned());
        self.send(&Request { file, text, secrets: Secrets::new(), dry_run, prune }).await
    }

    pub(crate) async fn send(&self, request: &Request) -> Result<Report, ApplyError> {
        declare::apply(&self.store, request, &self.ground()).await
    }

    pub(crate) async fn apply(&self, text: &str) -> Report {
        self.ask(text, false, false).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn prune(&self, text: &str) -> Report {
        self.ask(text, false, true).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a file is refused with; nothing may have been written.
    pub(crate) async fn refusal(&self, text: &str) -> String {
        self.refusal_of(text, false).await
    }

    pub(crate) async fn refusal_of(&self, text: &str, prune: bool) -> String {
        let before = (self.store.declared().await.unwrap(), self.audit().await);
        let error = self.ask(text, false, prune).await.expect_err(text);
        assert_eq!((self.store.declared().await.unwrap(), self.audit().await), before, "nothing is half-written");
        error.to_string()
    }

    /// Makes a provisional application, as publishing in the quick start does.
    pub(crate) async fn provisional(&self, name: &str, host: &str) {
        let (revision, mut declared) = self.store.declared().await.unwrap();
        let (id, name) = (AppId::from_bytes([9; 32]), name.parse().unwrap());
        let targets = vec![Target { host: host.parse().unwrap(), path: None }];
        let policies = vec!["administrators".parse().unwrap()];
        declared.applications.push(Application { provisional: true, ..Application::new(id, name, targets, policies) });
        self.store.replace_declared(revision, &declared, &[]).await.unwrap();
    }

    pub(crate) async fn export(&self) -> String {
        declare::export(&self.store).await.unwrap()
    }

    pub(crate) async fn declared(&self) -> Declared {
        self.store.declared().await.unwrap().1
    }

    pub(crate) async fn audit(&self) -> Vec<AuditRecord> {
        self.store.audit(1000).await.unwrap()
    }
}
