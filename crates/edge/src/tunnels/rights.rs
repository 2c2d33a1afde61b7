//! Who may publish which hostname: decided here and nowhere else, without touching anything.

use tunnel_proto::{EmailAddress, HostPattern, Hostname, OperatorId, TunnelId};

use crate::store::{Declared, OperatorRecord, TunnelRecord};

use super::Problem;

/// Who asks for a change of tunnels and routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A program on the edge's own machine, run by the edge's own user, over the Unix socket.
    Local,
    /// A machine whose login an administrator approved, within what was approved.
    Operator(OperatorRecord),
    /// An administrator, in person.
    Administrator(EmailAddress),
}

impl Principal {
    /// How the audit names it.
    pub fn actor(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Operator(operator) => format!("operator:{}", operator.id),
            Self::Administrator(email) => email.to_string(),
        }
    }

    /// Itself, when it is an operator.
    pub fn operator(&self) -> Option<OperatorId> {
        match self {
            Self::Operator(operator) => Some(operator.id),
            Self::Local | Self::Administrator(_) => None,
        }
    }

    /// Whether it may act on `tunnel`: an operator on its own ones, everybody else on all.
    pub fn may_act_on(&self, tunnel: &TunnelRecord) -> bool {
        self.operator().is_none_or(|operator| tunnel.owner == Some(operator))
    }

    /// Whether it may publish `hostname` at all, whoever serves it.
    pub fn may_publish(&self, hostname: &HostPattern) -> bool {
        match self {
            Self::Operator(operator) => operator.hostnames.iter().any(|scope| covers(scope, hostname)),
            Self::Local | Self::Administrator(_) => true,
        }
    }
}

/// What routing a hostname to a tunnel comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody serves it.
    Free,
    /// The tunnel serves it already.
    Held,
    /// Another tunnel serves it, and `principal` may take it from there.
    Taken {
        /// The tunnel that serves it now.
        from: TunnelId,
    },
}

/// Judges whether `principal` may route `hostname` to `tunnel`.
pub(super) fn claim(
    declared: &Declared,
    login_host: &Hostname,
    principal: &Principal,
    hostname: &HostPattern,
    tunnel: TunnelId,
) -> Result<Claim, Problem> {
    if hostname.exact().as_ref() == Some(login_host) {
        return Err(Problem::Reserved(hostname.clone()));
    }
    if !principal.may_publish(hostname) {
        return Err(Problem::OutOfScope(hostname.clone()));
    }
    let Some(from) = served_by(declared, hostname, principal.operator().is_some(), Some(tunnel)) else {
        let held = declared.routes.iter().any(|route| route.hostname == *hostname);
        return Ok(if held { Claim::Held } else { Claim::Free });
    };
    let promised = |operator| {
        let is = |p: &crate::store::Promise| p.operator == operator && p.hostname == *hostname && p.from == from;
        declared.promises.iter().any(is)
    };
    match principal.operator() {
        Some(operator) if promised(operator) => Ok(Claim::Taken { from }),
        // A stranger's tunnel is not named to a tenant.
        Some(_) => Err(Problem::Taken { hostname: hostname.clone(), tunnel: None }),
        None => {
            let tunnel = declared.tunnel(from).map(|tunnel| tunnel.name.clone());
            Err(Problem::Taken { hostname: hostname.clone(), tunnel })
        }
    }
}

/// The other tunnel whose visitors would come to `tunnel` (or to one not made yet) if `hostname` were routed there. With `shadows`, that includes
/// those whom a wildcard of the other tunnel serves today: an operator never draws visitors off a tunnel of somebody else.
pub(crate) fn served_by(
    declared: &Declared,
    hostname: &HostPattern,
    shadows: bool,
    tunnel: Option<TunnelId>,
) -> Option<TunnelId> {
    let mut others = declared.routes.iter().filter(|route| Some(route.tunnel) != tunnel);
    if let Some(same) = others.clone().find(|route| route.hostname == *hostname) {
        return Some(same.tunnel);
    }
    let drawn_off =
        |pattern: &HostPattern| overlap(pattern, hostname) && pattern.specificity() <= hostname.specificity();
    let held = declared.routes.iter().any(|route| route.hostname == *hostname);
    if !shadows || held {
        return None;
    }
    others.find(|route| drawn_off(&route.hostname)).map(|route| route.tunnel)
}

/// Whether every hostname that `wanted` matches is matched by `scope`. Where that cannot be told label by label, no.
fn covers(scope: &HostPattern, wanted: &HostPattern) -> bool {
    match wanted.exact() {
        Some(host) => scope.matches(&host),
        None => pairs(scope, wanted).is_some_and(|mut pairs| pairs.all(|(s, w)| s == w || s == "*")),
    }
}

/// Whether some hostname matches both patterns; in doubt, yes.
fn overlap(one: &HostPattern, other: &HostPattern) -> bool {
    pairs(one, other).is_some_and(|mut pairs| pairs.all(|(a, b)| labels_overlap(a, b)))
}

fn labels_overlap(one: &str, other: &str) -> bool {
    let (head, tail) = one.split_once('*').unwrap_or((one, one));
    let (other_head, other_tail) = other.split_once('*').unwrap_or((other, other));
    match (one.contains('*'), other.contains('*')) {
        (false, false) => one == other,
        _ => {
            (head.starts_with(other_head) || other_head.starts_with(head))
                && (tail.ends_with(other_tail) || other_tail.ends_with(tail))
        }
    }
}

fn pairs<'a>(one: &'a HostPattern, other: &'a HostPattern) -> Option<impl Iterator<Item = (&'a str, &'a str)>> {
    let (ours, theirs) = (one.as_str().split('.'), other.as_str().split('.'));
    (ours.clone().count() == theirs.clone().count()).then(|| ours.zip(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Promise, RouteRecord};
    use tunnel_proto::UnixTime;

    const OURS: [u8; 16] = [1; 16];
    const THEIRS: [u8; 16] = [2; 16];

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    fn operator(scope: &[&str]) -> Principal {
        Principal::Operator(OperatorRecord {
            id: OperatorId::from_bytes([7; 16]),
            machine: "nas".into(),
            hostnames: scope.iter().map(|s| pattern(s)).collect(),
            approved_by: "admin@example.com".parse().unwrap(),
            approved: UnixTime(0),
        })
    }

    fn declared(routes: &[(&str, [u8; 16])]) -> Declared {
        let tunnel = |id, name: &str| TunnelRecord {
            id: TunnelId::from_bytes(id),
            name: name.parse().unwrap(),
            created: UnixTime(0),
            owner: None,
        };
        Declared {
            tunnels: vec![tunnel(OURS, "ours"), tunnel(THEIRS, "theirs")],
            routes: routes
                .iter()
                .map(|(host, id)| RouteRecord { hostname: pattern(host), tunnel: TunnelId::from_bytes(*id) })
                .collect(),
            ..Declared::default()
        }
    }

    fn judge(declared: &Declared, principal: &Principal, hostname: &str) -> Result<Claim, Problem> {
        let login_host = "access.example.com".parse().unwrap();
        claim(declared, &login_host, principal, &pattern(hostname), TunnelId::from_bytes(OURS))
    }

    // T2
    #[test]
    fn an_operator_publishes_only_what_was_approved() {
        for (scope, wanted, may) in [
            (&["www.example.com"][..], "www.example.com", true),
            (&["www.example.com"], "WWW.example.com.", true),
            (&["www.example.com"], "ftp.example.com", false),
            (&["www.example.com"], "www.example.com.evil.com", false),
            (&["www.example.com"], "example.com", false),
            (&["www.example.com"], "*.example.com", false),
            (&["*.example.com"], "www.example.com", true),
            (&["*.example.com"], "a.b.example.com", false),
            (&["*.example.com"], "example.com", false),
            (&["*.example.com"], "*.example.com", true),
            (&["*.example.com"], "*-dev.example.com", true),
            (&["*-dev.example.com"], "*.example.com", false),
            (&["*-dev.example.com"], "shop-dev.example.com", true),
            (&["*.*.example.com"], "*.lab.example.com", true),
            (&["*.lab.example.com"], "*.*.example.com", false),
            (&[], "www.example.com", false),
        ] {
            let answer = judge(&declared(&[]), &operator(scope), wanted);
            let expected = if may { Ok(Claim::Free) } else { Err(Problem::OutOfScope(pattern(wanted))) };
            assert_eq!(answer, expected, "scope {scope:?}, wanted {wanted}");
        }
    }

    // T2
    #[test]
    fn no_hostname_is_drawn_from_another_tunnel() {
        let all = operator(&["*.example.com", "*.*.example.com"]);
        for (routes, wanted, local, by_operator) in [
            (&[("www.example.com", THEIRS)][..], "www.example.com", false, false),
            (&[("*.example.com", THEIRS)], "*.example.com", false, false),
            // Below a wildcard of another tunnel: the machine's owner may, a tenant may not.
            (&[("*.example.com", THEIRS)], "www.example.com", true, false),
            (&[("*.example.com", THEIRS)], "*-dev.example.com", true, false),
            (&[("a*.example.com", THEIRS)], "*b.example.com", true, false),
            // Above it: the other tunnel's closer route goes on serving its visitors.
            (&[("www.example.com", THEIRS)], "*.example.com", true, true),
            (&[("a*.example.com", THEIRS)], "*.example.com", true, true),
            // Elsewhere, or our own.
            (&[("*.lab.example.com", THEIRS)], "www.example.com", true, true),
            (&[("a*.example.com", THEIRS)], "b*.example.com", true, true),
            (&[("*.example.com", OURS)], "www.example.com", true, true),
            (&[("www.example.com", OURS), ("*.example.com", THEIRS)], "www.example.com", true, true),
        ] {
            let declared = declared(routes);
            assert_eq!(judge(&declared, &Principal::Local, wanted).is_ok(), local, "local: {routes:?} {wanted}");
            assert_eq!(judge(&declared, &all, wanted).is_ok(), by_operator, "operator: {routes:?} {wanted}");
        }
    }

    // T2
    #[test]
    fn a_tenant_is_not_told_whose_a_hostname_is() {
        let declared = declared(&[("www.example.com", THEIRS)]);
        let told = |principal: &Principal| judge(&declared, principal, "www.example.com").unwrap_err().to_string();
        assert!(!told(&operator(&["www.example.com"])).contains("theirs"));
        assert!(told(&Principal::Local).contains("theirs"));
    }

    #[test]
    fn nobody_publishes_the_login_host() {
        let admin = Principal::Administrator("admin@example.com".parse().unwrap());
        for principal in [Principal::Local, operator(&["*.example.com", "access.example.com"]), admin] {
            for spelling in ["access.example.com", "ACCESS.Example.COM."] {
                let answer = judge(&declared(&[]), &principal, spelling);
                assert_eq!(answer, Err(Problem::Reserved(pattern("access.example.com"))));
            }
        }
    }

    #[test]
    fn a_promise_counts_only_for_its_operator_its_hostname_and_its_tunnel() {
        let mut declared = declared(&[("www.example.com", THEIRS)]);
        let asks = operator(&["*.example.com"]);
        let from = TunnelId::from_bytes(THEIRS);
        let good = Promise { hostname: pattern("www.example.com"), operator: OperatorId::from_bytes([7; 16]), from };
        let others = [
            Promise { operator: OperatorId::from_bytes([8; 16]), ..good.clone() },
            Promise { hostname: pattern("ftp.example.com"), ..good.clone() },
            Promise { from: TunnelId::from_bytes([9; 16]), ..good.clone() },
        ];
        for other in others {
            declared.promises = vec![other];
            assert!(judge(&declared, &asks, "www.example.com").is_err());
        }
        declared.promises = vec![good];
        assert_eq!(judge(&declared, &asks, "www.example.com"), Ok(Claim::Taken { from }));
        assert!(judge(&declared, &Principal::Local, "www.example.com").is_err());
    }
}
