//! The front page of the login host: what a person may open, and where they are logged in. Whoever is logged in sees their
//! own; everybody else logs in and comes back.

use std::time::Duration;

use tunnel_proto::{HostPattern, message::ServiceKind};

use crate::{
    Response, account,
    client_login::list::{self, KindAt, Place},
    login::{Answer, Ask, Desk},
    pages::{Launcher, TcpOnly, Tile, TileKind, TooManyRequests},
    store::RateLimit,
};

/// Where it is.
pub(crate) const PATH: &str = "/";
/// How often one login may look: every time judges every application.
const PER_LOGIN: [RateLimit; 1] = [RateLimit { events: 60, window: Duration::from_secs(60) }];
/// How long to wait after that, in seconds.
const WAIT: u32 = 60;
/// The longest text that is searched for, in characters.
const FIND_MAX: usize = 64;

/// `GET /` of the login host; `find` narrows the list.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>, kind_at: KindAt<'_>) -> Answer<Response> {
    crate::faults::at("launcher");
    let session = desk.require_member(ask, PATH, None)?;
    let key = tunnel_auth::secret::hash("launcher", session.id());
    let held = desk.store.count(&key, ask.visit.now, &PER_LOGIN).await.map_err(|error| desk.fault(ask, &error))?;
    if !held {
        let page = TooManyRequests { retry_after: WAIT, reference: ask.visit.reference, at: ask.visit.now };
        return Err(Box::new(page.render(&desk.context(ask))));
    }
    let find: String = ask.parameter("find").trim().chars().take(FIND_MAX).collect();
    let wanted = find.to_lowercase();
    let open = list::admitted(desk, ask, &session);
    let all = open.len();
    let tiles = open.into_iter().map(|place| tile(ask, place, kind_at));
    let tiles = tiles
        .filter(|tile| tile.name.as_str().contains(&wanted) || tile.place.to_lowercase().contains(&wanted))
        .collect();
    let page = Launcher {
        email: session.identity().email.clone(),
        tiles,
        all,
        find,
        sessions: account::sessions(desk, ask, &session),
        form: account::form(desk, &session).with(account::FROM, account::LAUNCHER),
        logout: crate::logout::form(desk.keys, &session),
    };
    Ok(page.render(&desk.context(ask)))
}

fn tile(ask: &Ask<'_>, place: Place<'_>, kind_at: KindAt<'_>) -> Tile {
    let Place { host: pattern, name, path } = place;
    let kind = match list::sample(pattern).and_then(|host| kind_at(&host)) {
        Some(ServiceKind::Http | ServiceKind::H2c) => TileKind::Web,
        Some(ServiceKind::Tcp) => TileKind::Tcp,
        Some(ServiceKind::Bastion) => TileKind::Bastion,
        None => TileKind::Away,
    };
    let path = path.filter(|path| !path.is_root()).map_or("", |path| path.as_str());
    // Of a pattern, the part before it is all that is sure to be a place.
    let fixed = path.split('*').next().unwrap_or_default();
    let host = HostPattern::exact(pattern);
    let url = matches!(kind, TileKind::Web | TileKind::Away).then_some(host.as_ref()).flatten().map(|host| {
        let path = if fixed.is_empty() { PATH } else { fixed };
        ask.visit.url(host, path)
    });
    let command = match kind {
        TileKind::Tcp => host.as_ref().map(|host| TcpOnly::command(host, ask.visit.port)),
        TileKind::Bastion => host.as_ref().map(|host| TcpOnly::command_to(host, ask.visit.port)),
        TileKind::Web | TileKind::Away => None,
    };
    Tile { name: name.clone(), place: format!("{pattern}{path}"), kind, url, command }
}
