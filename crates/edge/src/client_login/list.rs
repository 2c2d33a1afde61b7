//! What the person behind a token may open: an answer for their program, which opens nothing by it.

use std::{collections::BTreeMap, time::Duration};

use tunnel_auth::{ClientToken, secret::hash};
use tunnel_policy::PathPattern;
use tunnel_proto::{
    HostPattern, Hostname, Name,
    access::{APPLICATIONS_MAX, Reachable, ReachableKind, TokenAnswer},
    message::ServiceKind,
};

use crate::{
    login::{
        Ask, Desk,
        destination::{Destination, Judged},
    },
    session::Session,
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
    let applications = admitted(desk, ask, &session).into_iter().map(|Place { host, name, .. }| Reachable {
        kind: sample(host).and_then(|host| kind_at(&host)).map(|kind| match kind {
            ServiceKind::Http | ServiceKind::H2c => ReachableKind::Http,
            ServiceKind::Tcp => ReachableKind::Tcp,
            ServiceKind::Bastion => ReachableKind::Bastion,
        }),
        name: name.clone(),
        host: host.clone(),
    });
    let email = session.identity().email.clone();
    Ok(TokenAnswer::Applications { email, applications: applications.collect() })
}

/// A place of an application.
pub(crate) struct Place<'a> {
    pub(crate) host: &'a HostPattern,
    pub(crate) name: &'a Name,
    /// Which paths of it; without one, all of them.
    pub(crate) path: Option<&'a PathPattern>,
}

/// Every application that the policies let a person open from the address that asks, at each of its hosts.
pub(crate) fn admitted<'a>(desk: &Desk<'a>, ask: &Ask<'_>, session: &Session) -> Vec<Place<'a>> {
    let mut found: BTreeMap<_, Option<&PathPattern>> = BTreeMap::new();
    for app in desk.snapshot.policies.applications() {
        let destination = Destination::Client(app);
        let admitted = destination.accepts(desk.snapshot, session.identity(), session.issuer())
            && matches!(destination.prospect(desk.snapshot, session.who(), ask.visit.here()), Judged::Admitted(_));
        for target in app.targets.iter().filter(|_| admitted) {
            // One line for a host: where all of it is the application's, without a path.
            let path = found.entry((&target.host, &app.name)).or_insert(target.path.as_ref());
            *path = path.and(target.path.as_ref()).and(*path);
        }
        if found.len() >= APPLICATIONS_MAX {
            break;
        }
    }
    let places = found.into_iter().take(APPLICATIONS_MAX);
    places.map(|((host, name), path)| Place { host, name, path }).collect()
}

/// A hostname that the pattern stands for.
pub(crate) fn sample(pattern: &HostPattern) -> Option<Hostname> {
    pattern.as_str().replace('*', "x").parse().ok()
}
