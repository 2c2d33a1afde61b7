//! What is ordered, how it can be proven, and when: decided without asking anybody.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tunnel_proto::{HostPattern, Hostname, UnixTime};

use crate::{
    config::{ChallengeKind, DnsBy},
    store::{HeldCertificate, VisitorCertificate},
};

use super::Acme;

/// Certificates at most.
pub(super) const CERTIFICATES_MAX: usize = 4096;
/// How long after the first failure it is tried again, when the authority cannot be reached.
const UNREACHABLE_FIRST: Duration = Duration::from_secs(15);
/// The same when it says no: authorities count failures (Let's Encrypt: five an hour for a name).
const REFUSED_FIRST: Duration = Duration::from_secs(300);
/// The longest time between tries.
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 3600);
/// How long after the first failure it is tried by another kind of challenge.
const OTHER_WAY: Duration = Duration::from_secs(5);
/// How long after a success nothing is ordered again, whatever seems to be due.
const REST_MAX: Duration = Duration::from_secs(3600);
/// How long a claim holds: an edge that died keeps nobody waiting.
pub(super) const CLAIM: Duration = Duration::from_secs(90);
/// The longest that an authority may ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A certificate that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// By what it is known.
    pub(super) name: HostPattern,
    /// What stands in it.
    pub(super) names: Vec<String>,
    /// The challenges that can be answered, the best first.
    pub(super) how: Vec<ChallengeKind>,
}

impl Wish {
    /// Whether a host has to be proven for it: that of a name, or the one above a wildcard.
    pub(super) fn is_about(&self, host: &Hostname) -> bool {
        self.names.iter().any(|name| name.strip_prefix("*.").unwrap_or(name) == host.as_str())
    }
}

/// What is wanted, by name, and what cannot be had.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) wanted: BTreeMap<HostPattern, Wish>,
    pub(super) beyond: BTreeSet<HostPattern>,
}

impl Acme {
    /// What is wanted for hosts that applications have, and for the login host.
    pub(super) fn wishes<'a>(&self, hosts: impl Iterator<Item = &'a HostPattern>) -> Wishes {
        let login_host = HostPattern::from(self.login_host.clone());
        let mut wishes = Wishes::default();
        for host in std::iter::once(login_host).chain(hosts.cloned()) {
            match self.wish(&host) {
                Some(wish) if wishes.wanted.len() < CERTIFICATES_MAX || wishes.wanted.contains_key(&wish.name) => {
                    wishes.wanted.insert(wish.name.clone(), wish);
                }
                _ => {
                    wishes.beyond.insert(host);
                }
            }
        }
        wishes
    }

    fn wish(&self, host: &HostPattern) -> Option<Wish> {
        let parent = parent(host);
        let one = |how| Wish { name: host.clone(), names: vec![host.as_str().to_owned()], how };
        let in_zone = host.as_str() == self.zone.as_str() || parent.as_ref() == Some(&self.zone);
        if in_zone && self.has_records(&self.zone) {
            let name: HostPattern = format!("*.{}", self.zone).parse().ok()?;
            let names = vec![name.as_str().to_owned(), self.zone.as_str().to_owned()];
            return Some(Wish { name, names, how: vec![ChallengeKind::Dns01] });
        }
        let Some(exact) = host.exact() else {
            // Of patterns, certificates know only a whole first label.
            let whole = host.as_str().starts_with("*.");
            return parent.filter(|parent| whole && self.has_records(parent)).map(|_| one(vec![ChallengeKind::Dns01]));
        };
        if self.has_records(&exact) {
            return Some(one(vec![ChallengeKind::Dns01]));
        }
        match self.settings.challenge {
            Some(ChallengeKind::Dns01) => None,
            Some(only) => Some(one(vec![only])),
            None if self.plain => Some(one(vec![ChallengeKind::TlsAlpn01, ChallengeKind::Http01])),
            None => Some(one(vec![ChallengeKind::TlsAlpn01])),
        }
    }

    /// Whether records can be made for a host.
    fn has_records(&self, host: &Hostname) -> bool {
        match self.settings.dns.as_ref().map(|dns| &dns.by) {
            None => false,
            Some(DnsBy::Update { zone, .. }) => host.is_within(zone),
            // What a program can do beyond the zone only its owner knows, and says so by naming the challenge.
            Some(DnsBy::Hook { .. }) => {
                self.settings.challenge == Some(ChallengeKind::Dns01) || host.is_within(&self.zone)
            }
        }
    }
}

/// The name above a pattern, when only its first label has a `*`.
fn parent(host: &HostPattern) -> Option<Hostname> {
    Hostname::parse(host.as_str().split_once('.')?.1).ok()
}

/// Whether the certificate of this name is one for a host.
pub(super) fn covers(name: &HostPattern, host: &Hostname) -> bool {
    name.matches(host) || name.as_str().strip_prefix("*.") == Some(host.as_str())
}

/// Whether one of these names is that of a certificate for a host. Asked for each name that a stranger makes up, so that it
/// must not take longer the more names there are.
pub(super) fn wants(names: &HashSet<HostPattern>, host: &Hostname) -> bool {
    let above = host.as_str().split_once('.').map(|(_, above)| format!("*.{above}"));
    let mut may_be = [Some(host.as_str().to_owned()), above, Some(format!("*.{host}"))].into_iter().flatten();
    may_be.any(|name| name.parse().is_ok_and(|name: HostPattern| names.contains(&name)))
}

/// When a certificate is renewed: when two thirds of its life are over, a little earlier for each name, so that not all come
/// at once. The moment that the authority names (RFC 9773) counts in its place, but for the last tenth.
pub(crate) fn renews(name: &HostPattern, issued: UnixTime, expires: UnixTime, suggested: Option<UnixTime>) -> UnixTime {
    let life = expires.since(issued).as_secs();
    if let Some(suggested) = suggested {
        return suggested.min(issued.plus(Duration::from_secs(life.saturating_sub(life / 10))));
    }
    let mut hasher = DefaultHasher::new();
    name.as_str().hash(&mut hasher);
    let early = hasher.finish() % (life / 50).saturating_add(1);
    issued.plus(Duration::from_secs((life / 3).saturating_mul(2).saturating_sub(early)))
}

/// From when a certificate of the authority with this directory may be ordered.
pub(super) fn due(
    stored: Option<&VisitorCertificate>,
    directory: &str,
    suggested: Option<UnixTime>,
    now: UnixTime,
) -> UnixTime {
    let Some(stored) = stored else { return UnixTime(0) };
    let renewed = |held: &HeldCertificate| renews(&stored.name, held.issued, held.expires, suggested);
    // What lies farther ahead than anybody waits was written by a clock that was wrong.
    let within = |moment: UnixTime, most: Duration| if moment.since(now) > most { now } else { moment };
    of_directory(stored, directory)
        .map_or(UnixTime(0), renewed)
        .max(within(stored.next, RETRY_AFTER_MAX))
        .max(within(stored.claimed, CLAIM.saturating_mul(2)))
}

/// The certificate that is kept, if it is one of the authority with this directory.
pub(super) fn of_directory<'a>(stored: &'a VisitorCertificate, directory: &str) -> Option<&'a HeldCertificate> {
    stored.held.as_ref().filter(|held| held.directory == directory)
}

/// How long after a success nothing is ordered again: an authority that gives what is due at once is not asked without end.
pub(super) fn rest(held: &HeldCertificate) -> Duration {
    REST_MAX.min(held.expires.since(held.issued) / 10)
}

/// The moment of a renewal in the window that the authority names: the one before, as long as it is inside.
pub(super) fn moment(before: Option<UnixTime>, start: UnixTime, end: UnixTime, chance: u64) -> UnixTime {
    let drawn = || UnixTime(start.0.saturating_add(chance % end.since(start).as_secs().saturating_add(1)));
    before.filter(|before| (start..=end).contains(before)).unwrap_or_else(drawn)
}

/// Why there is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The authority cannot be reached, or is in trouble itself.
    Unreachable,
    /// It says no.
    Refused,
    /// It says that it was asked too often, and perhaps for how long not to ask.
    Limited(Option<Duration>),
    /// It does not know our account any more.
    NoAccount,
}

/// How long to wait after so many failures in a row (from 1) where there are `ways` kinds of challenges, which take turns.
pub(super) fn pause(cause: Cause, failures: u32, ways: usize, chance: u8) -> Duration {
    let is_another_left = usize::try_from(failures).is_ok_and(|failures| failures < ways);
    if cause == Cause::Refused && is_another_left { OTHER_WAY } else { backoff(cause, failures, chance) }
}

/// How long to wait after so many failures in a row (from 1). `chance` spreads it by a fifth to either side.
fn backoff(cause: Cause, failures: u32, chance: u8) -> Duration {
    let first = match cause {
        Cause::Unreachable => UNREACHABLE_FIRST,
        Cause::NoAccount if failures <= 1 => return Duration::from_secs(1),
        Cause::Refused | Cause::Limited(_) | Cause::NoAccount => REFUSED_FIRST,
    };
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(BACKOFF_MAX);
    // From four fifths to six.
    let spread = doubled.saturating_mul(u32::from(chance).saturating_mul(2).saturating_add(4 * 255)) / (5 * 255);
    match cause {
        Cause::Limited(Some(asked)) => spread.max(asked.min(RETRY_AFTER_MAX)),
        _ => spread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, Config};

    fn acme(rest: &str) -> Acme {
        let text = format!("zone = \"example.test\"\ndata_dir = \"/tmp/x\"\n{rest}");
        let config = Config::parse(&text, std::path::Path::new("edge.toml"), None).unwrap();
        let crate::config::Tls::Acme(settings) = &config.tls else { panic!("not acme") };
        Acme::new(&config, settings, Clock::System).unwrap()
    }

    fn wishes(rest: &str, hosts: &[&str]) -> (Vec<String>, Vec<String>) {
        let hosts: Vec<HostPattern> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let wishes = acme(rest).wishes(hosts.iter());
        let how = |wish: &Wish| wish.how.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" ");
        let wanted = wishes.wanted.values().map(|wish| format!("{}: {}", wish.names.join(" "), how(wish)));
        (wanted.collect(), wishes.beyond.iter().map(ToString::to_string).collect())
    }

    const HOSTS: [&str; 5] =
        ["www.example.test", "example.test", "a.b.example.test", "other.test", "*.apps.example.test"];
    const MODE: &str = "[tls]\nmode = \"acme\"\n";
    const HOOK: &str = "[tls.acme.dns]\nhook = [\"/bin/hook\"]\n";

    #[test]
    fn each_hostname_has_a_certificate_of_its_own_and_wildcards_have_none_without_records() {
        let both = format!("http_listen = [\"127.0.0.1:80\"]\n{MODE}");
        let (wanted, beyond) = wishes(&both, &HOSTS);
        let expected: Vec<String> =
            ["a.b.example.test", "access.example.test", "example.test", "other.test", "www.example.test"]
                .map(|name| format!("{name}: tls-alpn-01 http-01"))
                .into();
        assert_eq!((wanted, beyond), (expected, vec!["*.apps.example.test".to_owned()]));
        assert_eq!(wishes(MODE, &[]).0, ["access.example.test: tls-alpn-01"]);
        let pinned = format!("http_listen = [\"127.0.0.1:80\"]\n{MODE}[tls.acme]\nchallenge = \"http-01\"\n");
        assert_eq!(wishes(&pinned, &[]).0, ["access.example.test: http-01"]);
    }

    #[test]
    fn with_records_the_names_of_the_zone_share_one_certificate() {
        let (wanted, beyond) = wishes(&format!("{MODE}{HOOK}"), &HOSTS);
        assert_eq!(
            wanted,
            [
                "*.apps.example.test: dns-01",
                "*.example.test example.test: dns-01",
                "a.b.example.test: dns-01",
                "other.test: tls-alpn-01",
            ]
        );
        assert!(beyond.is_empty());
        let all = format!("{MODE}[tls.acme]\nchallenge = \"dns-01\"\n{HOOK}");
        assert_eq!(
            wishes(&all, &["other.test", "*x.example.test", "*x.other.test"]),
            (
                vec!["*.example.test example.test: dns-01".to_owned(), "other.test: dns-01".to_owned()],
                vec!["*x.other.test".to_owned()],
            )
        );
    }

    #[test]
    fn a_certificate_is_for_its_names() {
        for (name, host, is) in [
            ("*.example.test", "www.example.test", true),
            ("*.example.test", "example.test", true),
            ("*.example.test", "a.b.example.test", false),
            ("www.example.test", "www.example.test", true),
            ("www.example.test", "example.test", false),
        ] {
            let (one, host) = (name.parse().unwrap(), Hostname::parse(host).unwrap());
            assert_eq!(covers(&one, &host), is, "{name} {host}");
            let other = "other.test".parse().unwrap();
            assert_eq!(wants(&HashSet::from([one, other]), &host), is, "{name} {host}");
        }
    }

    #[test]
    fn only_the_hosts_of_an_order_are_proven() {
        let name: HostPattern = "*.example.test".parse().unwrap();
        let names = vec!["*.example.test".to_owned(), "example.test".to_owned(), "www.other.test".to_owned()];
        let wish = Wish { name, names, how: vec![ChallengeKind::Dns01] };
        let about = |host: &str| wish.is_about(&Hostname::parse(host).unwrap());
        assert!(about("example.test") && about("www.other.test"));
        assert!(!about("www.example.test") && !about("other.test") && !about("test") && !about("victim.test"));
    }

    // F24
    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        const DAY: u64 = 24 * 3600;
        let name: HostPattern = "www.example.test".parse().unwrap();
        let (issued, expires) = (UnixTime(1000 * DAY), UnixTime(1090 * DAY));
        let at = renews(&name, issued, expires, None);
        assert!(at <= UnixTime(1060 * DAY) && at > UnixTime(1058 * DAY), "{at:?}");
        assert_eq!(at, renews(&name, issued, expires, None), "always the same moment");
        let other: HostPattern = "app.example.test".parse().unwrap();
        assert_ne!(at, renews(&other, issued, expires, None), "not all at once");
        let suggested = |day: u64| renews(&name, issued, expires, Some(UnixTime(day * DAY)));
        assert_eq!(suggested(1020), UnixTime(1020 * DAY), "the authority wants it earlier");
        assert_eq!(suggested(1070), UnixTime(1070 * DAY), "or later");
        assert_eq!(suggested(2000), UnixTime(1081 * DAY), "but not for the last tenth");
        assert_eq!(renews(&name, UnixTime(100), UnixTime(100), None), UnixTime(100), "no life at all");
        let short = renews(&name, UnixTime(100), UnixTime(130), None);
        assert_eq!(short, UnixTime(120));
    }

    #[test]
    fn what_failed_or_is_ordered_elsewhere_waits() {
        let name: HostPattern = "www.example.test".parse().unwrap();
        let held = HeldCertificate {
            chain: String::new(),
            sealed: Vec::new(),
            directory: "https://ca.test/".to_owned(),
            issued: UnixTime(100),
            expires: UnixTime(130),
        };
        let one = |held: Option<&HeldCertificate>, next, claimed| VisitorCertificate {
            name: name.clone(),
            held: held.cloned(),
            failures: 0,
            next: UnixTime(next),
            error: None,
            claimed: UnixTime(claimed),
        };
        let at = |stored: Option<&VisitorCertificate>| due(stored, "https://ca.test/", None, UnixTime(40)).0;
        assert_eq!(at(None), 0);
        assert_eq!(at(Some(&one(None, 0, 0))), 0);
        assert_eq!(at(Some(&one(None, 50, 60))), 60);
        assert_eq!(at(Some(&one(Some(&held), 0, 0))), 120);
        assert_eq!(at(Some(&one(Some(&held), 125, 0))), 125);
        let of_another = due(Some(&one(Some(&held), 50, 0)), "https://other.test/", None, UnixTime(40));
        assert_eq!(of_another, UnixTime(50), "another authority's is replaced");
        // What a clock that was wrong has written keeps nobody waiting.
        assert_eq!(at(Some(&one(None, 4_000_000_000, 0))), 40);
        assert_eq!(at(Some(&one(None, 0, 4_000_000_000))), 40);
    }

    #[test]
    fn the_moment_of_a_renewal_stays_while_it_is_in_the_window() {
        let at = |before| moment(before, UnixTime(100), UnixTime(200), 250).0;
        assert_eq!(at(None), 100 + 250 % 101);
        assert_eq!(at(Some(UnixTime(100))), 100);
        assert_eq!(at(Some(UnixTime(200))), 200);
        assert_eq!(at(Some(UnixTime(99))), 100 + 250 % 101);
        assert_eq!(at(Some(UnixTime(201))), 100 + 250 % 101);
    }

    #[test]
    fn kinds_of_challenges_take_turns_soon_and_only_then_is_waited() {
        assert_eq!(pause(Cause::Refused, 1, 2, 0), OTHER_WAY);
        assert_eq!(pause(Cause::Refused, 2, 2, 0), backoff(Cause::Refused, 2, 0));
        assert_eq!(pause(Cause::Refused, 1, 1, 0), backoff(Cause::Refused, 1, 0));
        assert_eq!(pause(Cause::Unreachable, 1, 2, 0), backoff(Cause::Unreachable, 1, 0));
    }

    #[test]
    fn tries_become_seldom_and_the_authority_is_heeded() {
        let seconds = |cause, failures, chance| backoff(cause, failures, chance).as_secs();
        assert_eq!(seconds(Cause::Unreachable, 1, 0), 12);
        assert_eq!(seconds(Cause::Unreachable, 1, 255), 18);
        assert_eq!(seconds(Cause::Refused, 1, 0), 240);
        assert_eq!(seconds(Cause::Refused, 3, 0), 960);
        assert_eq!(seconds(Cause::Refused, u32::MAX, 255), 6 * 3600 * 6 / 5);
        assert_eq!(seconds(Cause::Limited(Some(Duration::from_secs(7200))), 1, 0), 7200);
        assert_eq!(seconds(Cause::Limited(Some(Duration::from_secs(60))), 1, 0), 240);
        assert_eq!(seconds(Cause::Limited(Some(Duration::MAX)), 1, 0), 7 * 24 * 3600);
        assert_eq!(seconds(Cause::NoAccount, 1, 0), 1);
        assert_eq!(seconds(Cause::NoAccount, 2, 0), 480);
    }
}
