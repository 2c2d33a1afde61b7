//! Orders that fail, which certificate is shown, and what strangers cost.

use std::net::Ipv4Addr;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    authority::{Authority, Finds},
    order::Failure,
    plan::{Cause, Wish},
    *,
};
use crate::{
    Edge,
    certificates::RenewCertificate,
    config::ChallengeKind,
    edge::Screen,
    store::{DATABASE_NAME, HeldCertificate, Store as _, sqlite::SqliteStore},
};

/// All ways to prove a name.
const WAYS: [ChallengeKind; 3] = [ChallengeKind::Http01, ChallengeKind::TlsAlpn01, ChallengeKind::Dns01];

/// What orders, with an authority beside it, and a program that writes down which records it was to make.
struct Scene {
    authority: Authority,
    acme: Arc<Acme>,
    store: Arc<SqliteStore>,
    keys: Arc<Keys>,
    dir: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = format!("echo \"$@\" >> '{}'", dir.path().join("records").display());
        let dns = format!("[tls.acme.dns]\nhook = [\"/bin/sh\", \"-c\", {write:?}, \"hook\"]\nwait = 0\n");
        Self::with(dir, &dns).await
    }

    async fn with(dir: TempDir, rest: &str) -> Self {
        Self::at(dir, rest, Clock::System).await
    }

    async fn at(dir: TempDir, rest: &str, clock: Clock) -> Self {
        let authority = Authority::start(dir.path()).await;
        let config = config(dir.path(), &authority.toml(rest));
        let config::Tls::Acme(settings) = &config.tls else { panic!("not acme") };
        let acme = Arc::new(Acme::new(&config, settings, clock).unwrap());
        let store = Arc::new(SqliteStore::open(&dir.path().join("edge.db")).await.unwrap());
        let keys = Arc::new(Keys::load(dir.path(), &*store, Clock::System.now()).await.unwrap());
        Self { authority, acme, store, keys, dir }
    }

    /// An order by itself, to its end.
    fn order(&self, how: ChallengeKind) -> impl Future<Output = Result<HeldCertificate, Failure>> + Send + use<> {
        let (acme, store, keys) = (self.acme.clone(), self.store.clone(), self.keys.clone());
        async move {
            let name: HostPattern = "www.example.test".parse().unwrap();
            let wish = Wish { names: vec![name.as_str().to_owned()], name, how: vec![how] };
            let account = acme.accounts.account(&*store, &keys).await?;
            acme.obtain(&account, &wish, how, None, &keys).await
        }
    }

    /// Fails an order; says why.
    async fn fail(&self) -> Failure {
        self.order(ChallengeKind::Http01).await.unwrap_err()
    }

    /// What the program was to do: with which record, and what.
    fn records(&self) -> Vec<String> {
        let written = std::fs::read_to_string(self.dir.path().join("records")).unwrap_or_default();
        written.lines().map(ToOwned::to_owned).collect()
    }

    /// Nothing is laid out any more, and each record that was made was removed.
    fn assert_clear(&self, what: &str) {
        assert_eq!(format!("{:?}", self.acme.answers), format!("{:?}", Arc::<Answers>::default()), "{what}");
        let records = self.records();
        let of = |deed: &str| records.iter().filter_map(|line| line.strip_prefix(deed)).collect::<HashSet<_>>();
        assert_eq!(of("add "), of("remove "), "{what}");
    }
}

fn config(data_dir: &Path, rest: &str) -> Config {
    let text = format!("zone = \"example.test\"\ndata_dir = {data_dir:?}\nlisten = [\"127.0.0.1:443\"]\n{rest}");
    let mut config = Config::parse(&text, Path::new("edge.toml"), None).unwrap();
    config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    config
}

/// Waits until something is so.
async fn until(what: &str, is: impl Fn() -> bool) {
    let looking = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.expect(what);
}

// R32
#[tokio::test]
async fn nothing_of_an_order_stays_laid_out_whether_it_ends_fails_or_is_given_up() {
    let scene = Scene::new().await;
    let held = scene.order(ChallengeKind::Dns01).await.unwrap();
    assert!(held.chain.starts_with("-----BEGIN CERTIFICATE-----") && held.expires > held.issued);
    let records = scene.records();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[0].starts_with("add _acme-challenge.www.example.test "), "{records:?}");
    scene.assert_clear("ended");
    scene.authority.desk().finds = Finds::SomethingElse;
    for how in WAYS {
        let failure = scene.order(how).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Refused);
        assert!(failure.text.contains("something else is there"), "{}", failure.text);
        scene.assert_clear(how.as_str());
    }
    scene.authority.desk().finds = Finds::Nothing;
    for how in WAYS {
        let tried = scene.authority.asked("/challenge");
        let order = tokio::spawn(scene.order(how));
        until("it is laid out", || scene.authority.asked("/challenge") > tried).await;
        let is_laid = format!("{:?}", scene.acme.answers) != format!("{:?}", Arc::<Answers>::default());
        assert_eq!(is_laid, how != ChallengeKind::Dns01);
        order.abort();
        assert!(order.await.unwrap_err().is_cancelled());
        // As when the edge ends.
        scene.acme.cleared().await;
        scene.assert_clear(how.as_str());
    }
    assert_eq!(scene.records().len(), 2 * 3, "one record for each order by records, and its end");
}

#[tokio::test]
async fn what_a_program_does_not_do_fails_the_order_and_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let write =
        format!("echo \"$@\" >> '{}'; echo no such zone >&2; test $1 = remove", dir.path().join("records").display());
    let dns = format!("[tls.acme.dns]\nhook = [\"/bin/sh\", \"-c\", {write:?}, \"hook\"]\nwait = 0\n");
    let scene = Scene::with(dir, &dns).await;
    let failure = scene.order(ChallengeKind::Dns01).await.unwrap_err();
    assert!(failure.cause == Cause::Refused && failure.text.contains("no such zone"), "{}", failure.text);
    assert_eq!(scene.authority.asked("/challenge"), 0, "the authority is not sent to look");
    assert_eq!(scene.records().len(), 2, "also when it is not known whether it was made");
    scene.assert_clear("failed");
}

#[tokio::test]
async fn an_authority_has_nothing_proven_that_was_not_ordered() {
    let scene = Scene::new().await;
    scene.authority.desk().asks_about = Some("victim.test");
    for how in WAYS {
        let failure = scene.order(how).await.unwrap_err();
        assert!(failure.cause == Cause::Refused && failure.text.contains("victim.test"), "{}", failure.text);
    }
    scene.authority.desk().asks_about = None;
    scene.authority.desk().too_many = 1;
    let failure = scene.order(ChallengeKind::Dns01).await.unwrap_err();
    assert!(failure.text.contains("more names than were ordered"), "{}", failure.text);
    assert_eq!((scene.records(), scene.authority.asked("/challenge")), (Vec::new(), 0));
}

// F24
#[tokio::test]
async fn a_certificate_without_one_of_the_names_that_were_ordered_is_of_no_use() {
    let scene = Scene::new().await;
    let both = ["www.example.test", "mail.example.test"];
    let names = both.map(ToOwned::to_owned).to_vec();
    let wish = Wish { names, name: both[0].parse().unwrap(), how: vec![ChallengeKind::Http01] };
    let account = scene.acme.accounts.account(&*scene.store, &scene.keys).await.unwrap();
    let order = || scene.acme.obtain(&account, &wish, ChallengeKind::Http01, None, &scene.keys);
    order().await.unwrap();
    for left_out in both {
        scene.authority.desk().leaves_out = Some(left_out);
        let failure = order().await.unwrap_err();
        let says = format!("`{left_out}` is not in it");
        assert!(failure.cause == Cause::Refused && failure.text.contains(&says), "{}", failure.text);
    }
}

// F16, F24
#[tokio::test]
async fn whose_clock_was_wrong_for_long_is_told_what_to_do_when_no_certificate_is_good() {
    const LONG: Duration = Duration::from_secs(100 * 24 * 3600);
    let said = async |clock: Clock| {
        let scene = Scene::at(tempfile::tempdir().unwrap(), "", clock).await;
        scene.order(ChallengeKind::Http01).await.unwrap_err().text
    };
    let now = Clock::System.now();
    let right_again = said(Clock::System.lasting(Some(now.plus(LONG)))).await;
    assert!(right_again.contains("run `edge admin clock accept`"), "{right_again}");
    let wrong = said(Clock::manual(now.plus(LONG)).lasting(Some(now))).await;
    assert!(wrong.contains("leapt forward by 8640000 s. Set it right"), "{wrong}");
    let slow = said(Clock::manual(UnixTime(now.0 - LONG.as_secs()))).await;
    assert!(slow.contains("set the clock of this machine right if it is wrong; else the authority's is"), "{slow}");
}

#[tokio::test]
async fn an_authority_in_trouble_is_told_from_one_that_says_no() {
    let scene = Scene::new().await;
    let authority = &scene.authority;
    authority.instead("/order", 403, None, "rejectedIdentifier");
    assert_eq!(scene.fail().await.cause, Cause::Refused);
    authority.instead("/order", 400, None, "accountDoesNotExist");
    assert_eq!(scene.fail().await.cause, Cause::NoAccount);
    authority.instead("/order", 500, None, "serverInternal");
    assert_eq!(scene.fail().await.cause, Cause::Unreachable);
    authority.instead("/nonce", 500, None, "serverInternal");
    assert_eq!(scene.fail().await.cause, Cause::Unreachable);
    // A nonce that it does not take is followed by another one, but not for ever.
    for _ in 0..3 {
        authority.instead("/order", 400, None, "badNonce");
    }
    assert_eq!(scene.fail().await.cause, Cause::Unreachable);
    authority.instead("/order", 400, None, "badNonce");
    authority.instead("/challenge", 400, None, "badNonce");
    authority.instead("/finalize", 400, None, "badNonce");
    scene.order(ChallengeKind::Http01).await.unwrap();
    // What nobody can wait for breaks nothing.
    authority.instead("/order/1", 500, Some("18446744073709551615"), "serverInternal");
    assert_eq!(scene.fail().await.cause, Cause::Unreachable);
    assert_eq!(scene.acme.accounts.hold(), None, "none of it holds up the others");
}

#[tokio::test]
async fn who_is_asked_too_often_is_asked_again_when_it_says() {
    let scene = Scene::new().await;
    scene.authority.instead("/order", 429, Some("7200"), "rateLimited");
    let limited = |failure: &Failure, most: u64| match failure.cause {
        Cause::Limited(Some(asked)) => (most - 20..=most).contains(&asked.as_secs()),
        _ => false,
    };
    let failure = scene.fail().await;
    assert!(limited(&failure, 7200), "{failure:?}");
    let hold = scene.acme.accounts.hold().unwrap();
    assert!(hold <= Duration::from_secs(3600) && hold > Duration::from_secs(3580), "{hold:?}");
    scene.authority.instead("/order", 503, Some("120"), "serverInternal");
    let failure = scene.fail().await;
    assert!(limited(&failure, 120), "{failure:?}");
    scene.authority.instead("/order", 429, None, "rateLimited");
    let failure = scene.fail().await;
    assert!(limited(&failure, 300), "{failure:?}");
    assert!(scene.acme.accounts.hold().is_some(), "thousands of names do not each find it out");
}

#[tokio::test]
async fn an_account_is_bound_by_the_key_in_the_file_and_the_key_stays_there() {
    let dir = tempfile::tempdir().unwrap();
    let (key, file) = (BASE64URL_NOPAD.encode(b"a key that both know"), dir.path().join("eab.key"));
    std::fs::write(&file, format!("{key}\n")).unwrap();
    let bound = format!("[tls.acme.external_account]\nkey_id = \"kid-1\"\nkey_file = {file:?}\n");
    let scene = Scene::with(dir, &bound).await;
    scene.acme.accounts.account(&*scene.store, &scene.keys).await.unwrap();
    let account = scene.authority.desk().accounts.remove(0);
    assert!(!account.to_string().contains(&key));
    let bound = &account["externalAccountBinding"];
    let part = |name: &str| bound[name].as_str().unwrap();
    let head: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(part("protected").as_bytes()).unwrap()).unwrap();
    assert_eq!((&head["alg"], &head["kid"]), (&Value::from("HS256"), &Value::from("kid-1")));
    assert!(head["url"].as_str().unwrap().ends_with("/account"), "{head}");
    let signed = format!("{}.{}", part("protected"), part("payload"));
    let signature = BASE64URL_NOPAD.decode(part("signature").as_bytes()).unwrap();
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, b"a key that both know");
    hmac::verify(&hmac_key, signed.as_bytes(), &signature).unwrap();
    for useless in ["", "=\n", "not base64url!"] {
        std::fs::write(&file, useless).unwrap();
        let config = config(
            scene.dir.path(),
            &scene.authority.toml(&format!("[tls.acme.external_account]\nkey_id = \"kid-1\"\nkey_file = {file:?}\n")),
        );
        let config::Tls::Acme(settings) = &config.tls else { panic!("not acme") };
        let error = Acme::new(&config, settings, Clock::System).unwrap_err().to_string();
        assert!(error.contains("external_account.key_file") && error.contains("eab.key"), "{error}");
    }
    // Without a file there is no binding.
    let scene = Scene::new().await;
    scene.acme.accounts.account(&*scene.store, &scene.keys).await.unwrap();
    assert!(scene.authority.desk().accounts[0].get("externalAccountBinding").is_none());
}

#[tokio::test]
async fn a_key_is_kept_sealed() {
    let scene = Scene::new().await;
    let held = scene.order(ChallengeKind::Http01).await.unwrap();
    let name: HostPattern = "www.example.test".parse().unwrap();
    let now = Clock::System.now();
    assert!(scene.store.claim_visitor_certificate(&name, &[1; 32], now, now.plus(plan::CLAIM)).await.unwrap());
    assert!(scene.store.put_visitor_certificate(&name, &[1; 32], &held, now, &[]).await.unwrap());
    // Where the private number of a P-256 key stands in PKCS #8 (RFC 5958, RFC 5915).
    let key = scene.keys.open(SEALED, name.as_str().as_bytes(), &held.sealed).unwrap();
    let secret = &key.expose()[40..60];
    let mut files = 0;
    for file in std::fs::read_dir(scene.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        assert!(!content.windows(secret.len()).any(|some| some == secret), "{}", path.display());
        files += 1;
    }
    assert!(files >= 2, "the store and the authority's certificate are among them");
    assert!(scene.keys.open(SEALED, b"other.example.test", &held.sealed).is_err(), "it is no other name's");
    assert!(open(&name, &held.chain, &held.sealed, &scene.keys).is_ok());
}

/// What the store knows of the login host's certificate, once it is so.
async fn known(edge: &Edge, is: impl Fn(&VisitorCertificate) -> bool) -> VisitorCertificate {
    let looking = async {
        loop {
            let stored = edge.state().store.visitor_certificates().await.unwrap();
            if let Some(one) = stored.into_iter().find(|one| is(one)) {
                return one;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.expect("it comes to that")
}

async fn edge(dir: &TempDir, authority: &Authority) -> Edge {
    let config = config(&dir.path().join("edge"), &authority.toml(""));
    Edge::start(config, Clock::System, Screen::new(std::io::sink())).await.unwrap()
}

// F24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_renewed_is_listed_and_tried_later_while_the_present_one_serves() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::start(dir.path()).await;
    let edge = edge(&dir, &authority).await;
    let before = known(&edge, |one| one.held.is_some()).await;
    let state = edge.state();
    let acme = state.certificates.acme().unwrap();
    // While another process takes this one's place, nothing is begun.
    assert!(acme.rest(Duration::from_secs(10)).await);
    let request = RenewCertificate { name: before.name.clone() };
    crate::certificates::renew(&*state.store, &request).await.unwrap();
    state.changed.send_modify(|_| ());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(authority.asked("/order"), 1);
    drop(authority);
    acme.work();
    state.changed.send_modify(|_| ());
    let after = known(&edge, |one| one.failures > 0).await;
    let chain = |one: &VisitorCertificate| one.held.as_ref().map(|held| held.chain.clone());
    assert_eq!((after.failures, chain(&after)), (1, chain(&before)));
    // 15 s, a fifth more or less.
    let pause = after.next.since(state.now()).as_secs();
    assert!(pause <= 18, "{pause}");
    let listed = state.certificates.list(std::slice::from_ref(&after)).remove(0);
    assert_eq!((listed.next, &listed.error), (Some(after.next), &after.error));
    assert!(listed.error.is_some_and(|error| error.contains("localhost")) && listed.until.is_some());
    let served = acme.served.load_full();
    assert!(served.find(&state.config.login_host).is_some());
    edge.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_certificate_is_ordered_once_whoever_else_would_order_it_and_not_before_the_authority_says() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::start(dir.path()).await;
    // Another process orders it, and goes away without a word.
    let data_dir = dir.path().join("edge");
    crate::platform::private_dir(&data_dir).unwrap();
    let name: HostPattern = "access.example.test".parse().unwrap();
    let until = Clock::System.now().plus(Duration::from_secs(3));
    let store = SqliteStore::open(&data_dir.join(DATABASE_NAME)).await.unwrap();
    assert!(store.claim_visitor_certificate(&name, &[1; 32], Clock::System.now(), until).await.unwrap());
    store.close().await;
    authority.instead("/order", 429, Some("7200"), "rateLimited");
    let edge = edge(&dir, &authority).await;
    let failed = known(&edge, |one| one.failures > 0).await;
    assert!(Clock::System.now() >= until, "not while somebody else may be ordering it");
    let pause = failed.next.since(Clock::System.now()).as_secs();
    assert!((7100..=7200).contains(&pause), "{pause}");
    // Neither a change of what is declared nor somebody's order to renew it counts for more than the authority's word.
    let request = RenewCertificate { name };
    crate::certificates::renew(&*edge.state().store, &request).await.unwrap();
    for _ in 0..5 {
        edge.state().changed.send_modify(|_| ());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(authority.asked("/order"), 1);
    edge.stop(Duration::ZERO).await;
}

fn names(names: &[&str]) -> Vec<HostPattern> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn a_names_own_certificate_gives_way_to_a_shared_one_that_is_good_for_longer() {
    let shared = names(&["*.example.test", "example.test"]);
    let outlived =
        |own: &[&str], expires| is_outlived(&names(own), UnixTime(expires), &[(shared.as_slice(), UnixTime(100))]);
    assert!(outlived(&["www.example.test"], 99));
    assert!(outlived(&["example.test"], 99));
    assert!(!outlived(&["www.example.test"], 100), "as long as it is good for as long, it is shown");
    assert!(!outlived(&["a.b.example.test"], 99));
    assert!(!outlived(&["other.test"], 99));
    assert!(!outlived(&["www.example.test", "other.test"], 99), "it is for more names");
    assert!(!outlived(&["*.example.test", "example.test"], 100), "not by itself");
}

// R32: whatever name a stranger makes up, nothing is ordered, and nobody waits.
#[tokio::test(start_paused = true)]
async fn a_flood_of_names_that_nobody_has_orders_nothing_and_waits_for_nothing() {
    let text = "zone = \"example.test\"\ndata_dir = \"/tmp/x\"\n[tls]\nmode = \"acme\"\n";
    let config = Config::parse(text, Path::new("edge.toml"), None).unwrap();
    let config::Tls::Acme(settings) = &config.tls else { panic!("not acme") };
    let acme = Acme::new(&config, settings, Clock::System).unwrap();
    let ours: HostPattern = "www.example.test".parse().unwrap();
    acme.wanted.store(Arc::new([ours.clone()].into()));
    acme.ordering.send_modify(|names| {
        names.insert(ours.clone());
    });
    let before = tokio::time::Instant::now();
    for number in 0..20_000 {
        let host = Hostname::parse(&format!("x{number}.example.test")).unwrap();
        acme.ready(&host).await;
        assert!(!acme.lacks(&host), "{host}");
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waited");
    assert_eq!(*acme.ordering.borrow(), HashSet::from([ours]), "nothing was ordered");
    assert_eq!((acme.wanted.load().len(), acme.waiting.available_permits()), (1, WAITING_MAX));
    // Nor does another process take this one's place in the middle of it, but for a while.
    assert!(!acme.rest(Duration::from_secs(10)).await);
    let before = tokio::time::Instant::now();
    // Whoever names what is being ordered does wait, and no longer than it takes.
    let www = Hostname::parse("www.example.test").unwrap();
    assert!(acme.lacks(&www));
    acme.ready(&www).await;
    assert_eq!(before.elapsed().as_secs(), HANDSHAKE_WAIT.as_secs());
}
