//! `access list`: what a person may open, as the edges say that they are logged in to, and the logins that there are.

use std::collections::BTreeMap;

use console::{Alignment, measure_text_width, pad_str};
use serde::Serialize;
use tunnel_client::{AppHost, Applications, Entry, Error, Reachable, ReachableKind, TokenStore, plain};
use tunnel_proto::{Hostname, UnixTime, dial::EdgeAddress};

use crate::{
    account::{left, now},
    cli::ListArgs,
    failure::Failure,
    print::print,
    settings::Settings,
};

/// What stands between two columns.
const GAP: &str = "  ";

/// All that is printed.
#[derive(Default, Serialize)]
struct Listing {
    edges: Vec<Edge>,
    applications: Vec<Row>,
}

/// An edge that logins are of.
#[derive(Serialize)]
struct Edge {
    edge: String,
    /// Who may open what it listed.
    email: Option<String>,
    /// Why it listed nothing.
    error: Option<String>,
}

/// What an edge said.
#[derive(Debug)]
enum Answer {
    Listed(Applications),
    /// No login of it counts.
    Over,
    Failed(Failure),
}

/// An application.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: Option<String>,
    hostname: String,
    edge: String,
    /// `http`, `tcp` or `bastion`.
    kind: Option<ReachableKind>,
    /// Whether the edge lists it; nothing if it could not be asked.
    listed: Option<bool>,
    /// The page to open, or the command to give.
    open: Option<String>,
    /// Who is logged in to it, and until when.
    email: Option<String>,
    expires: Option<UnixTime>,
}

pub(crate) async fn list(settings: &Settings, args: &ListArgs) -> Result<(), Failure> {
    let mut edges: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in settings.store().list()? {
        edges.entry(entry.issuer.clone()).or_default().push(entry);
    }
    if let Some(named) = settings.edge()? {
        let is_named = |issuer: &str| EdgeAddress::parse(issuer, None).is_ok_and(|edge| edge.name() == named.name());
        edges.retain(|issuer, _| is_named(issuer));
    }
    let mut listing = Listing::default();
    let mut failures = Vec::new();
    for (edge, entries) in edges {
        let hosts = entries.iter().map(host).collect::<Result<Vec<_>, _>>()?;
        let answer = ask(settings, &edge, &hosts).await;
        let visit = settings.visit(&hosts).await.ok().flatten();
        listing.applications.extend(rows(&edge, &entries, &answer, visit.as_deref()));
        let email = match &answer {
            Answer::Listed(answer) => Some(answer.email.to_string()),
            _ => None,
        };
        let failure = match answer {
            Answer::Failed(failure) => Some(failure),
            _ => None,
        };
        listing.edges.push(Edge { edge, email, error: failure.as_ref().map(ToString::to_string) });
        failures.extend(failure);
    }
    if args.json {
        print(&serde_json::to_string_pretty(&listing).map_err(Failure::failed)?)?;
    } else if !listing.applications.is_empty() {
        print(&table(&listing.applications, now()).join("\n"))?;
    }
    if failures.is_empty() && listing.edges.iter().all(|edge| edge.email.is_none()) {
        eprintln!("There are no logins yet, or no more: `access login https://APP` makes one.");
    }
    failures.into_iter().reduce(|all, next| all.and(&next)).map_or(Ok(()), Err)
}

async fn ask(settings: &Settings, edge: &str, hosts: &[AppHost]) -> Answer {
    let client = match settings.client("access list", hosts.to_vec()).await {
        Ok((client, _)) => client,
        Err(failure) => return Answer::Failed(failure),
    };
    match client.applications(edge).await {
        Ok(applications) => Answer::Listed(applications),
        Err(Error::NoLogin { .. }) => Answer::Over,
        Err(error) => Answer::Failed(error.into()),
    }
}

fn host(entry: &Entry) -> Result<AppHost, Error> {
    let host: AppHost = entry.host.as_str().parse()?;
    Ok(entry.port.map_or_else(|| host.clone(), |port| host.clone().or_port(port)))
}

/// What there is at one edge: what it lists, then what is remembered and not listed. `visit` is where pages of the quick
/// start are.
fn rows(edge: &str, entries: &[Entry], answer: &Answer, visit: Option<&str>) -> Vec<Row> {
    let (listed, asked) = match answer {
        Answer::Listed(answer) => (&answer.applications[..], true),
        _ => (&[][..], false),
    };
    let row = |about: Option<&Reachable>, hostname: String, entry: Option<&Entry>| {
        let login = entry.and_then(|entry| entry.login.as_ref()).filter(|login| login.expires > now());
        let login = login.filter(|_| !matches!(answer, Answer::Over));
        Row {
            name: about.map(|about| about.name.to_string()),
            open: about.and_then(|about| opened(about.kind?, &hostname, edge, visit)),
            hostname,
            edge: edge.to_owned(),
            kind: about.and_then(|about| about.kind),
            listed: asked.then_some(about.is_some()),
            email: login.map(|login| login.email.to_string()),
            expires: login.map(|login| login.expires),
        }
    };
    let exact = |about: &Reachable| entries.iter().find(|entry| about.host.as_str() == entry.host.as_str());
    let mut rows: Vec<_> = listed.iter().map(|about| row(Some(about), about.host.to_string(), exact(about))).collect();
    // A login is for one host of a pattern. A host without a login is only what is remembered.
    for entry in entries.iter().filter(|entry| !listed.iter().any(|about| about.host.as_str() == entry.host.as_str())) {
        let row = row(closest(listed, &entry.host), entry.host.to_string(), Some(entry));
        if row.expires.is_some() || !asked {
            rows.push(row);
        }
    }
    rows
}

/// The listed application that a host is of.
fn closest<'a>(listed: &'a [Reachable], host: &Hostname) -> Option<&'a Reachable> {
    listed.iter().filter(|about| about.host.matches(host)).max_by_key(|about| about.host.specificity())
}

/// The page, or the command that opens it.
fn opened(kind: ReachableKind, hostname: &str, edge: &str, visit: Option<&str>) -> Option<String> {
    // Of a pattern, whoever opens one of its hosts knows the name.
    let hostname = &hostname.replacen('*', "NAME", 1);
    let port = EdgeAddress::parse(edge, None).ok().map(|edge| edge.target().port());
    let authority = match port.filter(|port| *port != tunnel_proto::dial::EDGE_PORT) {
        Some(port) => format!("{hostname}:{port}"),
        None => hostname.to_owned(),
    };
    Some(match (kind, visit) {
        (ReachableKind::Http, Some(visit)) => visit.replace(crate::settings::HOST, hostname),
        (ReachableKind::Http, None) => format!("https://{authority}"),
        (ReachableKind::Tcp, _) => format!("access tcp --hostname {authority} --url 127.0.0.1:PORT"),
        (ReachableKind::Bastion, _) => {
            format!("access rdp --hostname {authority} --destination HOST:PORT --url 127.0.0.1:PORT")
        }
    })
}

/// The lines of a table, the last column of which may be of any length: it is meant to be copied.
fn table(rows: &[Row], now: UnixTime) -> Vec<String> {
    let heading = ["name", "hostname", "login", "open"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let login = match (&row.email, row.expires) {
            (Some(email), Some(expires)) => format!("{email}, for {}", left(expires, now)),
            _ => "not logged in".to_owned(),
        };
        let open = match (&row.open, row.listed) {
            (Some(open), _) => open.clone(),
            (None, Some(true)) => "offline".to_owned(),
            (None, Some(false)) => "not listed any more".to_owned(),
            (None, None) => "unknown".to_owned(),
        };
        [row.name.clone().unwrap_or_else(|| "-".to_owned()), row.hostname.clone(), login, open].map(|cell| plain(&cell))
    });
    let lines: Vec<_> = std::iter::once(heading).chain(cells).collect();
    let widths = lines.iter().fold([0; 4], |widest, line| {
        let mut widths = widest;
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = measure_text_width(cell).max(*width);
        }
        widths
    });
    let padded = |line: &[String; 4]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| pad_str(cell, width, Alignment::Left, None));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    lines.iter().map(padded).collect()
}

#[cfg(test)]
mod tests {
    use tunnel_client::{Login, Token};

    use super::*;

    const EDGE: &str = "https://access.example.com";

    fn entry(host: &str, lasts: bool) -> Entry {
        let login = Login {
            token: Token::new("token".to_owned()).unwrap(),
            app: tunnel_proto::AppId::from_bytes([1; 32]),
            email: "ann@example.com".parse().unwrap(),
            expires: if lasts { UnixTime(now().0 + 7300) } else { UnixTime(1) },
        };
        Entry { host: host.parse().unwrap(), port: None, issuer: EDGE.to_owned(), login: Some(login) }
    }

    fn answer() -> Applications {
        let reachable =
            |name: &str, host: &str, kind| Reachable { name: name.parse().unwrap(), host: host.parse().unwrap(), kind };
        Applications {
            email: "ann@example.com".parse().unwrap(),
            applications: vec![
                reachable("bastion", "b.example.com", Some(ReachableKind::Bastion)),
                reachable("db", "db.example.com", Some(ReachableKind::Tcp)),
                reachable("wiki", "wiki.example.com", Some(ReachableKind::Http)),
                reachable("off", "off.example.com", None),
                reachable("test", "*.test.example.com", Some(ReachableKind::Tcp)),
            ],
        }
    }

    fn printed(rows: &[Row]) -> Vec<String> {
        table(rows, now()).iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn what_may_be_opened_stands_before_what_is_remembered() {
        let entries = [
            entry("db.example.com", true),
            entry("off.example.com", false),
            entry("gone.example.com", true),
            entry("over.example.com", false),
            entry("a.test.example.com", true),
        ];
        assert_eq!(
            printed(&rows(EDGE, &entries, &Answer::Listed(answer()), None)),
            [
                "name hostname login open",
                "bastion b.example.com not logged in access rdp --hostname b.example.com --destination HOST:PORT --url 127.0.0.1:PORT",
                "db db.example.com ann@example.com, for 2 hours access tcp --hostname db.example.com --url 127.0.0.1:PORT",
                "wiki wiki.example.com not logged in https://wiki.example.com",
                "off off.example.com not logged in offline",
                "test *.test.example.com not logged in access tcp --hostname NAME.test.example.com --url 127.0.0.1:PORT",
                "- gone.example.com ann@example.com, for 2 hours not listed any more",
                "test a.test.example.com ann@example.com, for 2 hours access tcp --hostname a.test.example.com --url 127.0.0.1:PORT",
            ]
        );
    }

    #[test]
    fn of_an_edge_that_does_not_answer_everything_remembered_is_shown() {
        let entries = [entry("db.example.com", true), entry("over.example.com", false)];
        assert_eq!(
            printed(&rows(EDGE, &entries, &Answer::Failed(Failure::failed("no")), None)),
            [
                "name hostname login open",
                "- db.example.com ann@example.com, for 2 hours unknown",
                "- over.example.com not logged in unknown",
            ]
        );
        let over = printed(&rows(EDGE, &entries, &Answer::Over, None));
        assert_eq!(over[1], "- db.example.com not logged in unknown", "the edge knows better");
    }

    #[test]
    fn an_edge_at_another_port_is_named_with_it() {
        let edge = "https://access.example.com:8443";
        assert_eq!(opened(ReachableKind::Http, "a.example.com", edge, None).unwrap(), "https://a.example.com:8443");
        let command = opened(ReachableKind::Tcp, "a.example.com", edge, None).unwrap();
        assert!(command.contains("--hostname a.example.com:8443 "), "{command}");
        let visit = opened(ReachableKind::Http, "a.localhost", edge, Some("http://HOST:8080")).unwrap();
        assert_eq!(visit, "http://a.localhost:8080");
    }
}
