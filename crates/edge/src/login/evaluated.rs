//! What services of the operator's own say about whoever opens an application.

use std::time::Duration;

use tunnel_policy::{Application, Attributes, Circumstances};
use tunnel_proto::Identity;

use crate::{
    evaluations::About,
    identity,
    store::{AuditEvent, AuditRecord, RateLimit},
};

use super::{Ask, Desk};

/// How often evaluations are made for one login: whoever reloads pages has nobody asked without end.
pub(crate) const PER_LOGIN: [RateLimit; 2] = [
    RateLimit { events: 30, window: Duration::from_secs(60) },
    RateLimit { events: 300, window: Duration::from_secs(3600) },
];

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
