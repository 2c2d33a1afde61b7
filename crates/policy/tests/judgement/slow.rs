//! The same meaning, written down a second time as plainly as possible and from the description alone: on texts, by name, by
//! recursion, without any index and without a type of the engine.

use tunnel_policy::PathPattern;

/// A rule list, as texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowRules {
    pub(crate) include: Vec<String>,
    pub(crate) require: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

/// A policy: name, action, rules, destinations.
#[derive(Clone, Debug)]
pub(crate) struct SlowPolicy {
    pub(crate) name: String,
    pub(crate) action: &'static str,
    pub(crate) rules: SlowRules,
    pub(crate) destinations: Vec<&'static str>,
}

/// Everything that is declared, and the policies in the order of the one application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slow {
    pub(crate) email_lists: Vec<(&'static str, Vec<&'static str>)>,
    pub(crate) ip_lists: Vec<(&'static str, Vec<&'static str>)>,
    pub(crate) groups: Vec<(String, SlowRules)>,
    pub(crate) policies: Vec<SlowPolicy>,
}

/// Who asks, as it would be typed.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Nobody,
    Machine(&'static str),
    Person(Person),
}

#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) email: &'static str,
    pub(crate) method: &'static str,
    pub(crate) amr: Vec<&'static str>,
    pub(crate) groups: Vec<&'static str>,
    /// `ORG` or `ORG/TEAM`.
    pub(crate) github: Vec<&'static str>,
    /// `NAME=JSON`.
    pub(crate) claims: Vec<&'static str>,
    /// Hosts of evaluations that said yes.
    pub(crate) evaluations: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Asks {
    pub(crate) who: Who,
    pub(crate) source: &'static str,
    pub(crate) country: Option<&'static str>,
    pub(crate) now: u64,
    pub(crate) destination: Option<&'static str>,
}

impl Slow {
    /// `bypass NAME`, `allow NAME` or `deny`.
    pub(crate) fn decide(&self, asks: &Asks) -> String {
        // Phase 1: Service Auth and Bypass policies, top to bottom; the first match admits.
        for policy in &self.policies {
            let matches = self.matches(&policy.rules, asks);
            let listed = |to| policy.destinations.iter().any(|range| leads(range, to));
            match (policy.action, &asks.who, asks.destination) {
                ("bypass", _, None) if matches => return format!("bypass {}", policy.name),
                ("service_auth", Who::Machine(_), None) if matches => return format!("allow {}", policy.name),
                ("service_auth", Who::Machine(_), Some(_)) if matches && policy.destinations.is_empty() => {
                    return "deny".to_owned();
                }
                ("service_auth", Who::Machine(_), Some(to)) if matches && listed(to) => {
                    return format!("allow {}", policy.name);
                }
                _ => {}
            }
        }
        self.decide_about_people(asks)
    }

    /// Phase 2: Allow and Block policies, top to bottom; the first match decides. Without one, deny.
    pub(crate) fn decide_about_people(&self, asks: &Asks) -> String {
        for policy in &self.policies {
            let matches = self.matches(&policy.rules, asks);
            let listed = |to| policy.destinations.iter().any(|range| leads(range, to));
            let (everywhere, person) = (policy.destinations.is_empty(), matches!(asks.who, Who::Person(_)));
            match (policy.action, asks.destination) {
                ("block", None) if matches && everywhere => return "deny".to_owned(),
                ("block", Some(to)) if matches && (everywhere || listed(to)) => return "deny".to_owned(),
                ("allow", None) if matches && person => return format!("allow {}", policy.name),
                ("allow", Some(_)) if matches && person && everywhere => return "deny".to_owned(),
                ("allow", Some(to)) if matches && person && listed(to) => return format!("allow {}", policy.name),
                _ => {}
            }
        }
        "deny".to_owned()
    }

    /// `ANY(include) AND ALL(require) AND NOT ANY(exclude)`.
    fn matches(&self, rules: &SlowRules, asks: &Asks) -> bool {
        let holds = |rule: &String| self.holds(rule, asks);
        rules.include.iter().any(holds) && rules.require.iter().all(holds) && !rules.exclude.iter().any(holds)
    }

    fn holds(&self, rule: &str, asks: &Asks) -> bool {
        let (kind, value) = rule.split_once(':').unwrap_or((rule, ""));
        let person = match &asks.who {
            Who::Person(person) => Some(person),
            Who::Nobody | Who::Machine(_) => None,
        };
        let machine = match &asks.who {
            Who::Machine(name) => Some(*name),
            Who::Nobody | Who::Person(_) => None,
        };
        match kind {
            "everyone" => true,
            "any-token" => machine.is_some(),
            "token" => machine == Some(value),
            "ip" => is_in(asks.source, value),
            "ips" => {
                let (_, ranges) = self.ip_lists.iter().find(|(name, _)| *name == value).expect("a known list");
                ranges.iter().any(|range| is_in(asks.source, range))
            }
            "country" => asks.country == Some(value),
            "time" => is_time(value, asks.now),
            "group" => {
                let (_, rules) = self.groups.iter().find(|(name, _)| name == value).expect("a known group");
                self.matches(rules, asks)
            }
            _ => person.is_some_and(|person| self.holds_of(kind, value, person)),
        }
    }

    fn holds_of(&self, kind: &str, value: &str, person: &Person) -> bool {
        let (what, method) = value.split_once('@').unwrap_or((value, ""));
        let by_method = method.is_empty() || method == person.method;
        match kind {
            "email" => same_address(person.email, value),
            "domain" => spelled(person.email.split('@').next_back().expect("an address")) == spelled(value),
            "emails" => {
                let (_, listed) = self.email_lists.iter().find(|(name, _)| *name == value).expect("a known list");
                listed.iter().any(|one| same_address(person.email, one))
            }
            "method" => person.method == value,
            "amr" => person.amr.contains(&value),
            "idp" => by_method && person.groups.contains(&what),
            "github" => {
                by_method
                    && person.github.iter().any(|member| {
                        let member = member.to_lowercase();
                        let what = what.to_lowercase();
                        member == what || (!what.contains('/') && member.starts_with(&format!("{what}/")))
                    })
            }
            "claim" => {
                let (name, wanted) = what.split_once('=').expect("a value");
                by_method
                    && person.claims.iter().any(|claim| {
                        let (claimed, json) = claim.split_once('=').expect("a value");
                        claimed == name && is_claimed(json, wanted)
                    })
            }
            "eval" => person.evaluations.contains(&value),
            other => panic!("{other}"),
        }
    }
}

/// Letters in lower case; the one internationalised domain in its other form.
fn spelled(text: &str) -> String {
    text.to_lowercase().replace("b\u{fc}cher", "xn--bcher-kva")
}

fn same_address(one: &str, other: &str) -> bool {
    spelled(one) == spelled(other)
}

/// Whether the JSON, a scalar or a flat list of scalars, says `wanted`.
fn is_claimed(json: &str, wanted: &str) -> bool {
    let elements = match json.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.split(',').collect(),
        None => vec![json],
    };
    elements.into_iter().any(|element| element != "null" && element.trim_matches('"') == wanted)
}

/// The bits of an address and the length of a range: IPv4, also in IPv6 clothes, are 32 of them.
fn bits(text: &str) -> String {
    match text.parse().expect("an address") {
        std::net::IpAddr::V4(v4) => format!("4:{:032b}", u32::from(v4)),
        std::net::IpAddr::V6(v6) => {
            let all = format!("{:0128b}", u128::from(v6));
            let clothes = format!("{:080b}{:016b}", 0, 0xffff);
            all.strip_prefix(&clothes).map_or_else(|| format!("6:{all}"), |v4| format!("4:{v4}"))
        }
    }
}

fn is_in(source: &str, range: &str) -> bool {
    let (address, length) = range.split_once('/').expect("a range");
    let (network, length): (String, usize) = (bits(address), length.parse().expect("a length"));
    match network.starts_with("4:") && address.contains(':') {
        // A range of IPv6 that is wider than all clothes has no IPv4 address in it; our sources there are all below.
        true if length < 96 => false,
        true => bits(source).starts_with(&network[..2 + length - 96]),
        false => bits(source).starts_with(&network[..2 + length]),
    }
}

/// Whether `10.0.0.0/24:3389` or `10.0.0.0/8:*` holds `10.0.0.5:3389`.
fn leads(range: &str, to: &str) -> bool {
    let ((range, ports), (address, port)) =
        (range.rsplit_once(':').expect("a port"), to.rsplit_once(':').expect("one"));
    (ports == "*" || ports == port) && is_in(address, range)
}

/// Whether a clock in the zone shows such a time: `mon-fri,sun/22:00-06:00/Asia/Tokyo`.
fn is_time(text: &str, now: u64) -> bool {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let (days, rest) = text.split_once('/').expect("days");
    let (span, zone) = rest.split_once('/').expect("a span");
    let (from, to) = span.split_once('-').expect("two times");
    let local = now.checked_add_signed(offset(zone, now)).expect("after 1970");
    let (day, time) = (local / 86_400, local % 86_400);
    let shown = format!("{:02}:{:02}", time / 3600, time % 3600 / 60);
    let listed = |day: u64| {
        // The first of January 1970 was a Thursday.
        let day = usize::try_from((day + 3) % 7).expect("small");
        days.split(',').any(|part| match part.split_once('-') {
            None => part == NAMES[day],
            Some((first, last)) => {
                let place = |name| NAMES.iter().position(|known| *known == name).expect("a day");
                let (first, last) = (place(first), place(last));
                if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last }
            }
        })
    };
    let (shown, crosses) = (shown.as_str(), from > to);
    match crosses {
        false => listed(day) && from <= shown && shown < to,
        true => (listed(day) && from <= shown) || (listed(day - 1) && shown < to),
    }
}

/// By how many seconds clocks there are ahead, by the rules of 2007 and after.
fn offset(zone: &str, now: u64) -> i64 {
    let year = 1970 + now / 31_556_952;
    match zone {
        "UTC" => 0,
        "Asia/Tokyo" => 9 * 3600,
        // From the last Sunday of March to the last of October, at 01:00 UTC.
        "Europe/Berlin" => {
            let summer = sunday(year, 3, 25) + 3600..sunday(year, 10, 25) + 3600;
            if summer.contains(&now) { 7200 } else { 3600 }
        }
        // From the second Sunday of March to the first of November, at 02:00 of the clock there.
        "America/New_York" => {
            let summer = sunday(year, 3, 8) + 7 * 3600..sunday(year, 11, 1) + 6 * 3600;
            if summer.contains(&now) { -4 * 3600 } else { -5 * 3600 }
        }
        other => panic!("{other}"),
    }
}

/// The beginning, in UTC, of the first Sunday on or after that day.
fn sunday(year: u64, month: u64, day: u64) -> u64 {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u64 = lengths.iter().take(usize::try_from(month - 1).expect("small")).sum();
    let day = years + months + day - 1;
    (day..).find(|day| (day + 3) % 7 == 6).expect("a Sunday") * 86_400
}

/// Whether the pattern covers the path: itself or with anything below it.
pub(crate) fn covers(pattern: Option<&PathPattern>, path: &str) -> bool {
    let text = pattern.map_or("/", PathPattern::as_str);
    text == "/" || glob(text.as_bytes(), path.as_bytes()) || glob(format!("{text}/*").as_bytes(), path.as_bytes())
}

fn glob(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([b'*', pattern @ ..], path) => (0..=path.len()).any(|skip| glob(pattern, &path[skip..])),
        ([p, pattern @ ..], [c, path @ ..]) => p == c && glob(pattern, path),
        _ => false,
    }
}
