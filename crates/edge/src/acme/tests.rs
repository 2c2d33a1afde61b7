//! Which certificate is shown, and what strangers cost.

use super::*;

fn names(names: &[&str]) -> Vec<HostPattern> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn a_names_own_certificate_gives_way_to_a_shared_one_that_is_good_for_longer() {
    let shared = names(&["*.example.test", "example.test"]);
    let outlived = |own: &[&str], expires| is_outlived(&names(own), UnixTime(expires), &[(&shared, UnixTime(100))]);
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
    acme.ordering.send_modify(|names| drop(names.insert(ours.clone())));
    let before = tokio::time::Instant::now();
    for number in 0..20_000 {
        let host = Hostname::parse(&format!("x{number}.example.test")).unwrap();
        acme.ready(&host).await;
        assert!(!acme.lacks(&host), "{host}");
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waited");
    assert_eq!(*acme.ordering.borrow(), HashSet::from([ours]), "nothing was ordered");
    assert_eq!((acme.wanted.load().len(), acme.waiting.available_permits()), (1, WAITING_MAX));
    // Whoever names what is being ordered does wait, and no longer than it takes.
    let www = Hostname::parse("www.example.test").unwrap();
    assert!(acme.lacks(&www));
    acme.ready(&www).await;
    assert_eq!(before.elapsed().as_secs(), HANDSHAKE_WAIT.as_secs());
}
