//! The quick start's provisional applications: published, and admitted to the administrators, until somebody decides.

use tunnel_policy::{Application, Target};
use tunnel_proto::{AppId, HostPattern, Hostname, Name};

use crate::{snapshot, store::Declared};

/// Makes a provisional application for `hostname`, unless an application answers for it or it is not of the zone.
pub(super) fn offer(declared: &mut Declared, zone: &Hostname, hostname: &HostPattern, id: AppId) {
    let below_zone = hostname.as_str() == zone.as_str() || hostname.as_str().ends_with(&format!(".{zone}"));
    let answered = declared.applications.iter().any(|app| match app.provisional {
        true => app.targets.iter().any(|target| target.host == *hostname),
        false => snapshot::answers_for(app, hostname),
    });
    if !below_zone || answered {
        return;
    }
    let taken = |name: &Name| declared.applications.iter().any(|app| app.name == *name);
    let by_hostname = hostname.as_str().parse().ok().filter(|name| !taken(name));
    let Some(name) = by_hostname.or_else(|| snapshot::provisional_name(&id)) else { return };
    let targets = vec![Target { host: hostname.clone(), path: None }];
    declared.applications.push(Application {
        provisional: true,
        ..Application::new(id, name, targets, vec![snapshot::administrators()])
    });
}

/// Removes the provisional applications of hostnames that nobody serves any more.
pub(super) fn withdraw(declared: &mut Declared, hostnames: &[HostPattern]) {
    let gone = |host: &HostPattern| hostnames.contains(host);
    declared.applications.retain(|app| !(app.provisional && app.targets.iter().all(|target| gone(&target.host))));
}
