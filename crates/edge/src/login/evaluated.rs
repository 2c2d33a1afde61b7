//! What services of the operator's own say about whoever opens an application.

use std::time::Duration;

use tunnel_policy::{Application, Attributes, Circumstances};
use tunnel_proto::{Identity, PersonId, UnixTime};

use crate::{
    evaluations::About,
    identity,
    store::{AuditEvent, AuditRecord, RateLimit, StoreError},
};

use super::{Ask, Desk};

/// How often evaluations are made for one person, however often they log in: whoever reloads pages has nobody asked without
/// end.
pub(super) const PER_PERSON: [RateLimit; 2] = [
    RateLimit { events: 30, window: Duration::from_secs(60) },
    RateLimit { events: 300, window: Duration::from_secs(3600) },
];
/// What that is called where it is counted.
pub(super) const OF_A_PERSON: &str = "evaluations of a person";

/// Whether services may be asked about somebody once more, by a program. Counted as in a browser.
pub(crate) async fn may_ask(desk: &Desk<'_>, person: &PersonId, now: UnixTime) -> Result<bool, StoreError> {
    let key = desk.keys.keyed_hash("limit", &[OF_A_PERSON.as_bytes(), person.as_bytes()]);
    desk.store.count(&key, now, &PER_PERSON).await
}

/// What counts for a session for `app` that begins now: what the login method said, and what the application's evaluations
/// say now. Of those that do not answer it is recorded why; their rules do not hold.
pub(crate) async fn attributes(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    app: &Application,
    (identity, said): (&Identity, &Attributes),
    here: Circumstances,
) -> Attributes {
    let mut attributes = Attributes { evaluations: Vec::new(), ..said.clone() };
    let wanted = desk.snapshot.policies.evaluations_of(app);
    if wanted.is_empty() {
        return attributes;
    }
    let methods = &desk.snapshot.declared.login_methods;
    let method = methods.iter().find(|method| method.name == identity.method);
    let about = About {
        keys: desk.keys,
        issuer: desk.issuer,
        app,
        identity,
        attributes: said,
        kind: method.map(|method| identity::kind(&method.kind)),
        here,
    };
    let answers = desk.evaluations.ask(about, &wanted).await;
    for (evaluation, answer) in wanted.iter().zip(answers) {
        let (url, reference) = (&evaluation.evaluate_url, &ask.visit.reference);
        match answer {
            Ok(true) => attributes.evaluations.push(evaluation.key(&app.id)),
            Ok(false) => tracing::debug!(%url, %reference, "an external evaluation says no"),
            Err(silence) => {
                tracing::warn!(%url, %reference, %silence, "an external evaluation does not answer; its rule does not hold");
                desk.audit.refused(AuditRecord {
                    actor: Some(identity.email.to_string()),
                    object: Some(app.name.to_string()),
                    detail: Some(format!("external evaluation `{url}`: {silence}")),
                    ..desk.record(ask, AuditEvent::EvaluationFailed)
                });
            }
        }
    }
    attributes
}
