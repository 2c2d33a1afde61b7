//! What the person behind a token may open: an answer for their program, which opens nothing by it.

use std::{collections::BTreeSet, time::Duration};

use tunnel_auth::{ClientToken, secret::hash};
use tunnel_proto::{
    HostPattern, Hostname,
    access::{APPLICATIONS_MAX, Reachable, ReachableKind, TokenAnswer},
    message::ServiceKind,
};

use crate::{
    login::{
        Ask, Desk,
        destination::{Destination, Judged},
    },
    store::RateLimit,
};

use super::{ClientError, LAPSED};

/// How often one login may ask: every answer judges every application.
const PER_LOGIN: [RateLimit; 1] = [RateLimit { events: 20, window: Duration::from_secs(60) }];

/// What the services at a host speak, if any connector serves it now.
pub(crate) type KindAt<'a> = &'a (dyn Fn(&Hostname) -> Option<ServiceKind> + Send + Sync);

/// Every application that the policies let the person of `token` open from the address that asks; where a service is to be
/// asked about them first, whatever it may say.
pub(super) async fn list(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    token: &str,
    kind_at: KindAt<'_>,
) -> Result<TokenAnswer, ClientError> {
    let now = ask.visit.now;
    let session = ClientToken::parse(token).and_then(|token| desk.sessions.of_client(&token));
    let session = session.filter(|session| desk.snapshot.counts(session, now)).ok_or(ClientError::Gone(LAPSED))?;
    let login = session.parent().unwrap_or(session.id());
    if !desk.store.count(&hash("client list", login), now, &PER_LOGIN).await? {
        return Err(ClientError::TooMany);
    }
    let identity = session.identity();
    let mut found = BTreeSet::new();
    for app in desk.snapshot.policies.applications() {
        let destination = Destination::Client(app);
        let admitted = destination.accepts(desk.snapshot, identity, session.issuer())
            && matches!(destination.prospect(desk.snapshot, session.who(), ask.visit.here()), Judged::Admitted(_));
        if admitted {
            found.extend(app.targets.iter().map(|target| (&target.host, &app.name)));
        }
        if found.len() >= APPLICATIONS_MAX {
            break;
        }
    }
    let applications = found.into_iter().take(APPLICATIONS_MAX).map(|(host, name)| Reachable {
        kind: sample(host).and_then(|host| kind_at(&host)).map(|kind| match kind {
            ServiceKind::Http | ServiceKind::H2c => ReachableKind::Http,
            ServiceKind::Tcp => ReachableKind::Tcp,
            ServiceKind::Bastion => ReachableKind::Bastion,
        }),
        name: name.clone(),
        host: host.clone(),
    });
    Ok(TokenAnswer::Applications { email: identity.email.clone(), applications: applications.collect() })
}

/// A hostname that the pattern stands for.
fn sample(pattern: &HostPattern) -> Option<Hostname> {
    pattern.as_str().replace('*', "x").parse().ok()
}
