//! The same meaning, written down a second time as plainly as possible: by name, by recursion, without any index.

use tunnel_policy::{Action, Application, Caller, Group, PathPattern, Policy, Rules, Selector, Subject};

pub(crate) struct Slow<'a> {
    pub(crate) groups: &'a [Group],
    pub(crate) policies: &'a [Policy],
}

impl Slow<'_> {
    /// The name of the policy that admits, if one does.
    pub(crate) fn admitted_by(&self, app: &Application, subject: &Subject<'_>) -> Option<String> {
        let Caller::Person(..) = subject.caller else { return None };
        for name in &app.policies {
            let policy = self.policies.iter().find(|policy| policy.name == *name).expect("a known policy");
            if self.matches(&policy.rules, subject) {
                return (policy.action == Action::Allow).then(|| policy.name.to_string());
            }
        }
        None
    }

    fn matches(&self, rules: &Rules, subject: &Subject<'_>) -> bool {
        let holds = |selector: &Selector| self.holds(selector, subject);
        rules.include.iter().any(holds) && rules.require.iter().all(holds) && !rules.exclude.iter().any(holds)
    }

    fn holds(&self, selector: &Selector, subject: &Subject<'_>) -> bool {
        let Caller::Person(identity, _) = subject.caller else { panic!("asked of people only") };
        match selector {
            Selector::Email(email) => identity.email.to_string() == email.to_string(),
            Selector::EmailDomain(domain) => identity.email.to_string().ends_with(&format!("@{domain}")),
            Selector::Ip(range) => range.contains(&subject.here.source),
            Selector::Everyone => true,
            Selector::LoginMethod(method) => identity.method == *method,
            Selector::Group(name) => {
                let group = self.groups.iter().find(|group| group.name == *name).expect("a known group");
                self.matches(&group.rules, subject)
            }
            other => panic!("{other:?}"),
        }
    }
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
