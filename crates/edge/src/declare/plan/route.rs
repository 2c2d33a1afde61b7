//! Which tunnel serves which hostname, by the tunnels of a file.

use std::collections::{HashMap, HashSet};

use tunnel_proto::{HostPattern, Name, TunnelId};

use super::super::{
    fields::At,
    problem::Problem,
    read::{Item, TunnelText},
};
use crate::store::{Declared, RouteRecord};

/// Gives every tunnel of the file exactly the hostnames that it lists there; one without a list keeps what it has. A
/// hostname is taken only from a tunnel that the file mentions with a list of its own, or that is going away.
pub(super) fn lay(items: &[Item<TunnelText>], after: &mut Declared, problems: &mut Vec<Problem>) {
    let mut wanted: HashMap<&HostPattern, (&Item<TunnelText>, &At<HostPattern>)> = HashMap::new();
    for item in items {
        for host in item.body.hostnames.iter().flatten() {
            if let Some((other, first)) = wanted.get(&host.value) {
                let (one, two, line) = (&other.name.value, &item.name.value, first.at.line);
                let text = match one == two {
                    true => format!("tunnel `{one}` lists `{}` twice, first on line {line}", host.value),
                    false => {
                        format!("`{}` is routed to tunnel `{one}` (line {line}) and to tunnel `{two}`", host.value)
                    }
                };
                problems.push(Problem::at(host.at, text));
                continue;
            }
            wanted.insert(&host.value, (item, host));
        }
    }
    let ids: HashMap<&Name, TunnelId> = after.tunnels.iter().map(|tunnel| (&tunnel.name, tunnel.id)).collect();
    let names: HashMap<TunnelId, &Name> = after.tunnels.iter().map(|tunnel| (tunnel.id, &tunnel.name)).collect();
    let id = |item: &Item<TunnelText>| ids.get(&item.name.value).copied();
    let hosts =
        |list: &Vec<At<HostPattern>>| -> HashSet<HostPattern> { list.iter().map(|host| host.value.clone()).collect() };
    let listed: HashMap<TunnelId, HashSet<HostPattern>> =
        items.iter().filter_map(|item| Some((id(item)?, hosts(item.body.hostnames.as_ref()?)))).collect();
    let mut routes: Vec<RouteRecord> = Vec::new();
    for route in &after.routes {
        let keeps = match listed.get(&route.tunnel) {
            Some(list) => list.contains(&route.hostname),
            None => names.contains_key(&route.tunnel),
        };
        if !keeps {
            continue;
        }
        if let Some((item, host)) = wanted.get(&route.hostname)
            && id(item) != Some(route.tunnel)
            && !listed.contains_key(&route.tunnel)
        {
            let name = names.get(&route.tunnel).map_or_else(|| route.tunnel.to_string(), ToString::to_string);
            let text = format!(
                "`{}` is routed to tunnel `{name}`, which this file does not list; to move it, list `{name}` with the \
                 hostnames that it keeps (`hostnames: []` for none)",
                route.hostname
            );
            problems.push(Problem::at(host.at, text));
            continue;
        }
        routes.push(route.clone());
    }
    let mut routed: HashSet<HostPattern> = routes.iter().map(|route| route.hostname.clone()).collect();
    for item in items {
        let Some(tunnel) = id(item) else { continue };
        for host in item.body.hostnames.iter().flatten() {
            if routed.insert(host.value.clone()) {
                routes.push(RouteRecord { hostname: host.value.clone(), tunnel });
            }
        }
    }
    after.promises.retain(|promise| names.contains_key(&promise.from));
    after.routes = routes;
}
