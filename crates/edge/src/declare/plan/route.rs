//! Which tunnel serves which hostname, by the tunnels of a file.

use std::collections::HashMap;

use tunnel_proto::{HostPattern, TunnelId};

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
    let id = |item: &Item<TunnelText>| after.tunnel_named(&item.name.value).map(|tunnel| tunnel.id);
    let listed: HashMap<TunnelId, &Vec<At<HostPattern>>> =
        items.iter().filter_map(|item| Some((id(item)?, item.body.hostnames.as_ref()?))).collect();
    let exists = |tunnel: TunnelId| after.tunnel(tunnel).is_some();
    let mut routes: Vec<RouteRecord> = Vec::new();
    for route in &after.routes {
        let keeps = match listed.get(&route.tunnel) {
            Some(list) => list.iter().any(|host| host.value == route.hostname),
            None => exists(route.tunnel),
        };
        if !keeps {
            continue;
        }
        if let Some((item, host)) = wanted.get(&route.hostname)
            && id(item) != Some(route.tunnel)
            && !listed.contains_key(&route.tunnel)
        {
            let name = after.tunnel(route.tunnel).map_or_else(|| route.tunnel.to_string(), |t| t.name.to_string());
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
    for item in items {
        let Some(tunnel) = id(item) else { continue };
        for host in item.body.hostnames.iter().flatten() {
            if !routes.iter().any(|route| route.hostname == host.value) {
                routes.push(RouteRecord { hostname: host.value.clone(), tunnel });
            }
        }
    }
    let tunnels = &after.tunnels;
    after.promises.retain(|promise| tunnels.iter().any(|tunnel| tunnel.id == promise.from));
    after.routes = routes;
}
