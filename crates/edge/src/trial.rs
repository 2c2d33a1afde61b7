//! Policies tried out: on somebody who might ask, on everybody who is known, and on decisions of the past.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunnel_policy::{Application, Attributes, Circumstances, Country, Decision, DenyReason, Subject, Verdict};
use tunnel_proto::{EmailAddress, Identity, Name, PersonId, UnixTime};

use crate::{
    change::failed,
    countries::Countries,
    snapshot::Snapshot,
    socket::{Answer, problem},
    store::{AuditRecord, Decided, DecidedCaller, PersonRecord, Store},
};

/// The most people that a policy is tried on at once.
pub const PEOPLE_MAX: u32 = 10_000;
/// The most decisions that are made again at once.
pub const DECISIONS_MAX: u32 = 100_000;
/// The most records of one reference that are explained.
const RECORDS_MAX: u32 = 20;
/// The most differences that are told one by one.
const DIFFERENCES_MAX: usize = 1000;

/// Asks whether somebody would get in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestPolicy {
    /// The application.
    pub application: Name,
    /// Who would ask.
    pub who: Who,
    /// Where from; where a known person last came from, or no place that anybody would write down.
    pub source: Option<IpAddr>,
    /// The country, where the file of countries is not to be asked.
    pub country: Option<Country>,
    /// When; now.
    pub at: Option<UnixTime>,
    /// Where a bastion's stream would lead.
    pub destination: Option<SocketAddr>,
    /// The external evaluations that would say yes, by where they are asked. Nobody is asked for a test.
    #[serde(default)]
    pub evaluations: Vec<String>,
}

/// Who would ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Everybody who ever logged in, as they were then.
    Everyone,
    /// Somebody who has not logged in.
    Nobody,
    /// A machine with this service token.
    Service(Name),
    /// This address: as everybody who is known by it, or as described here.
    Person {
        /// The address.
        email: EmailAddress,
        /// The login method; with it, what follows counts in place of what is known.
        method: Option<Name>,
        /// What the method would say.
        attributes: Box<Attributes>,
    },
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyTested {
    /// The application.
    pub application: Name,
    /// How many would get in.
    pub admitted: usize,
    /// Each, in the order in which they were last seen.
    pub tested: Vec<Tested>,
}

/// One of those that a policy was tried on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// Who, in words.
    pub who: String,
    /// Whether this is somebody who logged in once.
    pub known: bool,
    /// Where they would come from.
    pub source: IpAddr,
    /// Whether they would get in.
    pub admitted: bool,
    /// In one sentence, why.
    pub why: String,
    /// Rule by rule, in words.
    pub explanation: String,
    /// Rule by rule, for programs.
    pub trace: Value,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The records, newest first.
    pub records: Vec<ExplainedRecord>,
}

/// One record, and what would be decided today.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedRecord {
    /// The record.
    pub record: AuditRecord,
    /// The same question, asked of today's policies as of then.
    pub today: Option<Tested>,
}

/// What would have differed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// Since when decisions were looked at.
    pub since: UnixTime,
    /// How many there were.
    pub decisions: usize,
    /// How many were about applications that would not be there.
    pub gone: usize,
    /// Those that would have come out otherwise, by person, application and way: the newest of each.
    pub differences: Vec<Difference>,
}

/// Decisions of one person about one application that would have come out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Who.
    pub who: String,
    /// The application.
    pub application: Name,
    /// Whether they got in.
    pub was: bool,
    /// Whether they would have.
    pub would: bool,
    /// How many decisions.
    pub count: usize,
    /// The newest.
    pub last: UnixTime,
    /// Where that came from.
    pub source: IpAddr,
    /// Its reference.
    pub reference: Option<String>,
    /// In one sentence, why it would.
    pub why: String,
}

/// Tries an application's policies.
pub(crate) async fn test(
    store: &dyn Store,
    snapshot: &Snapshot,
    countries: &Countries,
    request: &TestPolicy,
    now: UnixTime,
) -> Answer<PolicyTested> {
    let app = application(snapshot, &request.application)?;
    let said_yes = said_yes(snapshot, app, &request.evaluations)?;
    let try_on = |who: String, caller: &DecidedCaller, known: Option<&PersonRecord>| {
        let mut caller = caller.clone();
        if let DecidedCaller::Person { attributes, .. } = &mut caller {
            attributes.evaluations.clone_from(&said_yes);
        }
        let source = request.source.or(known.and_then(|known| known.source)).unwrap_or(NOWHERE);
        let country = request.country.or_else(|| countries.of(source));
        let here = Circumstances { source, country, now: request.at.unwrap_or(now) };
        let subject = Subject { caller: caller.caller(), here, destination: request.destination };
        judge(snapshot, app, &subject, who, (known.is_some(), known.map(|known| known.issuer.as_str())))
    };
    let tested: Vec<Tested> = match &request.who {
        Who::Nobody => vec![try_on("nobody who is logged in".to_owned(), &DecidedCaller::Nobody, None)],
        Who::Service(name) => {
            let exists = snapshot.declared.service_tokens.iter().any(|token| token.name == *name);
            if !exists {
                let text = format!("there is no service token `{name}`; `edge admin service-token list` shows them");
                return Err(problem("unknown_service_token", text));
            }
            vec![try_on(format!("service token `{name}`"), &DecidedCaller::Service(name.clone()), None)]
        }
        Who::Everyone => {
            let people = store.people(PEOPLE_MAX).await.map_err(failed)?;
            people.iter().map(|person| try_on(named(person), &of(person), Some(person))).collect()
        }
        Who::Person { email, method: Some(method), attributes } => {
            let attributes = attributes.clone();
            let identity = Identity {
                person: PersonId::from_random(crate::random()),
                email: email.clone(),
                method: method.clone(),
                authenticated: request.at.unwrap_or(now),
            };
            let caller = DecidedCaller::Person { identity: Box::new(identity), attributes };
            vec![try_on(format!("{email} by {method}"), &caller, None)]
        }
        Who::Person { email, method: None, .. } => {
            let people = store.people(PEOPLE_MAX).await.map_err(failed)?;
            let known: Vec<_> = people.iter().filter(|person| person.email == *email).collect();
            if known.is_empty() {
                let text =
                    format!("nobody is known by `{email}`; say by which login method they would come, with `--method`");
                return Err(problem("unknown_person", text));
            }
            known.into_iter().map(|person| try_on(named(person), &of(person), Some(person))).collect()
        }
    };
    let admitted = tested.iter().filter(|one| one.admitted).count();
    Ok(PolicyTested { application: app.name.clone(), admitted, tested })
}

/// Explains what a reference leads to.
pub async fn explain(store: &dyn Store, snapshot: &Snapshot, reference: &str) -> Answer<Explained> {
    let reference = reference.trim().to_ascii_uppercase();
    let records = store.audit_of(&reference, RECORDS_MAX).await.map_err(failed)?;
    if records.is_empty() {
        let text = format!(
            "nothing is recorded under `{reference}`; a reference looks like `7F3A-92C1-E08B`, and repeated refusals are \
             counted under the first one"
        );
        return Err(problem("unknown_reference", text));
    }
    let explained = records.into_iter().map(|record| {
        let today = record.decided.as_ref().and_then(|decided| {
            let app = snapshot.policies.application(&decided.app)?;
            let who = record.actor.clone().unwrap_or_else(|| "nobody who is logged in".to_owned());
            Some(judge(snapshot, app, &decided.subject(), who, (true, decided.issuer.as_deref())))
        });
        ExplainedRecord { record, today }
    });
    Ok(Explained { records: explained.collect() })
}

/// Makes decisions of the past again, by the policies of `snapshot`.
pub async fn replay(store: &dyn Store, snapshot: &Snapshot, since: UnixTime) -> Answer<Replayed> {
    let records = store.decisions(since, DECISIONS_MAX).await.map_err(failed)?;
    let (decisions, mut gone) = (records.len(), 0usize);
    let mut differences: BTreeMap<(String, Name, bool), Difference> = BTreeMap::new();
    for record in records {
        let Some(decided) = &record.decided else { continue };
        let Decided { admitted: was, source, at, .. } = **decided;
        let Some(app) = snapshot.policies.application(&decided.app) else {
            gone = gone.saturating_add(1);
            continue;
        };
        let who = record.actor.clone().unwrap_or_else(|| "nobody who is logged in".to_owned());
        let tested = judge(snapshot, app, &decided.subject(), who.clone(), (true, decided.issuer.as_deref()));
        if tested.admitted == was {
            continue;
        }
        let key = (who.clone(), app.name.clone(), was);
        let full = differences.len() >= DIFFERENCES_MAX;
        match differences.get_mut(&key) {
            Some(difference) => difference.count = difference.count.saturating_add(1),
            None if full => {}
            None => {
                let (application, why, reference) = (app.name.clone(), tested.why, record.reference.clone());
                let would = tested.admitted;
                let difference =
                    Difference { who, application, was, would, count: 1, last: at, source, reference, why };
                differences.insert(key, difference);
            }
        }
    }
    Ok(Replayed { since, decisions, gone, differences: differences.into_values().collect() })
}

/// An address in none of the ranges that anybody would write down.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn application<'a>(snapshot: &'a Snapshot, name: &Name) -> Answer<&'a Application> {
    let found = snapshot.policies.applications().find(|app| app.name == *name);
    found.ok_or_else(|| {
        let known: Vec<_> = snapshot.policies.applications().map(|app| app.name.as_str()).take(20).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        problem("unknown_application", format!("there is no application `{name}`; known: {known}"))
    })
}

/// What names the yes of the evaluations at these addresses, among those that the application asks for.
fn said_yes(snapshot: &Snapshot, app: &Application, addresses: &[String]) -> Answer<Vec<String>> {
    let asked = snapshot.policies.evaluations_of(app);
    for address in addresses {
        if !asked.iter().any(|evaluation| evaluation.evaluate_url == *address) {
            let known: Vec<_> = asked.iter().map(|evaluation| evaluation.evaluate_url.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let text = format!("`{}` does not ask `{address}`; it asks: {known}", app.name);
            return Err(problem("unknown_evaluation", text));
        }
    }
    let yes = asked.iter().filter(|evaluation| addresses.contains(&evaluation.evaluate_url));
    Ok(yes.map(|evaluation| evaluation.key(&app.id)).collect())
}

fn named(person: &PersonRecord) -> String {
    format!("{} by {}", person.email, person.method)
}

/// A person as they were when they last logged in.
fn of(person: &PersonRecord) -> DecidedCaller {
    let identity = Identity {
        person: person.id,
        email: person.email.clone(),
        method: person.method.clone(),
        authenticated: person.seen,
    };
    DecidedCaller::Person { identity: Box::new(identity), attributes: Box::new(person.attributes.clone()) }
}

/// Judges somebody who is known or made up, by the word of an issuer where it is known whose it was.
fn judge(
    snapshot: &Snapshot,
    app: &Application,
    subject: &Subject<'_>,
    who: String,
    (known, issuer): (bool, Option<&str>),
) -> Tested {
    let decision = snapshot.policies.decide(app, subject);
    let public = matches!(decision.verdict, Verdict::Bypass { .. });
    let beside = beside(snapshot, app, subject, issuer).filter(|_| !public);
    let admitted = beside.is_none() && decision.admits();
    let why = beside.unwrap_or_else(|| match silent(snapshot, app, subject).filter(|_| !public) {
        Some(silent) => format!("{}, as long as {silent} does not say yes", sentence(&decision)),
        None => sentence(&decision),
    });
    Tested {
        who,
        known,
        source: subject.here.source,
        admitted,
        why,
        explanation: decision.trace.to_string(),
        trace: serde_json::to_value(&decision.trace).unwrap_or(Value::Null),
    }
}

/// The external evaluations that have not said yes about a person: they said no, or were not asked. Nobody is asked here.
fn silent(snapshot: &Snapshot, app: &Application, subject: &Subject<'_>) -> Option<String> {
    let tunnel_policy::Caller::Person(_, attributes) = subject.caller else { return None };
    let asked = snapshot.policies.evaluations_of(app);
    let silent = asked.iter().filter(|evaluation| !attributes.evaluations.contains(&evaluation.key(&app.id)));
    let silent: Vec<_> = silent.map(|evaluation| format!("`{}`", evaluation.evaluate_url)).collect();
    (!silent.is_empty()).then(|| silent.join(" or "))
}

/// What turns somebody away whatever the policies say.
fn beside(snapshot: &Snapshot, app: &Application, subject: &Subject<'_>, issuer: Option<&str>) -> Option<String> {
    let tunnel_policy::Caller::Person(identity, _) = subject.caller else { return None };
    if snapshot.is_banned(identity.person, &identity.email) {
        return Some(format!("`{}` is banned", identity.email));
    }
    let Identity { email, method, .. } = identity;
    let stands = issuer.map_or_else(|| snapshot.has_login_method(method), |issuer| snapshot.stands_by(method, issuer));
    if !stands {
        return Some(if !snapshot.has_login_method(method) {
            format!("there is no login method `{method}`")
        } else if snapshot.passkeys(method).is_some() {
            format!("no login method vouches for `{email}` any more")
        } else {
            format!("the login method `{method}` is another issuer's now")
        });
    }
    if !app.offers(method) {
        return Some(format!("`{}` does not offer the login method `{method}`", app.name));
    }
    let believed = issuer.is_none_or(|issuer| snapshot.believes(&app.id, method, issuer));
    (!believed)
        .then(|| format!("`{}` takes a passkey only of people whom another of its login methods made known", app.name))
}

fn sentence(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Allow { policy, .. } => format!("policy `{policy}` admits"),
        Verdict::Bypass { policy } => format!("policy `{policy}` admits whoever asks"),
        Verdict::Deny { reason } => match reason {
            DenyReason::Blocked { policy } => format!("policy `{policy}` blocks"),
            DenyReason::NoDestinations { policy } => format!("policy `{policy}` lists no destinations"),
            DenyReason::NothingMatched => "no policy matches".to_owned(),
            DenyReason::LoginRequired => "nobody is logged in; a login might help".to_owned(),
            DenyReason::Hopeless => "nobody is logged in, and no login could help from there".to_owned(),
            _ => "refused".to_owned(),
        },
    }
}
