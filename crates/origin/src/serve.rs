//! One stream from the edge: find its rule, connect to the service, carry the bytes.

use std::{io, net::IpAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::{net::TcpStream, time::timeout};
use tracing::{debug, info};
use tunnel_proto::{
    Destination, DestinationRange, HostPattern, Revision, RuleId,
    dial::{DialError, RelayError, SocketTarget, UnixStream, connect_unix, dial, relay},
    link::{Pending, Stream},
    message::{HttpOptions, Open, Opening, Rule, ServiceKind, StreamRefusal, Table},
};

use crate::{
    bastion::{self, Refused, Resolver, Verdict},
    service::{self, Service, StreamHandler},
    status::Meters,
};

/// How long a service may take to accept a connection, unless told otherwise.
pub const SERVICE_CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// What a connector publishes, and what it says about it.
pub(crate) struct Rules {
    revision: Revision,
    rules: Vec<(RuleId, HostPattern, Service)>,
    resolver: Resolver,
}

impl Rules {
    pub(crate) fn new(services: Vec<(HostPattern, Service)>) -> Self {
        let rules = (0..).map(RuleId).zip(services).map(|(id, (hostname, service))| (id, hostname, service)).collect();
        Self { revision: Revision(1), rules, resolver: Resolver::default() }
    }

    /// The table as it is announced: hostnames and kinds, and nothing of where the services are.
    pub(crate) fn table(&self) -> Table {
        let rules = self.rules.iter().map(|(id, hostname, service)| Rule {
            id: *id,
            hostname: hostname.clone(),
            path: None,
            kind: service.kind(),
            http: HttpOptions::default(),
        });
        Table { revision: self.revision, rules: rules.collect() }
    }

    pub(crate) fn hostname(&self, rule: RuleId) -> Option<&HostPattern> {
        self.rules.iter().find(|(id, ..)| *id == rule).map(|(_, hostname, _)| hostname)
    }

    /// The service that an opening names, if it is one of ours and the opening fits it; and where to, for a bastion.
    fn find(&self, open: &Open) -> Result<(&HostPattern, &Service, Option<Destination>), Refused> {
        if open.revision != self.revision {
            return Err((StreamRefusal::StaleTable, format!("the table in force is {}", self.revision)));
        }
        let Some((_, hostname, service)) = self.rules.iter().find(|(id, ..)| *id == open.rule) else {
            return Err((StreamRefusal::UnknownRule, "no such rule".to_owned()));
        };
        let kind = service.kind();
        let wrong = || (StreamRefusal::WrongKind, format!("the rule is for {kind}"));
        // A stream of a web service is shared by visitors, so it belongs to no one of them.
        let shared = matches!(kind, ServiceKind::Http | ServiceKind::H2c);
        if shared && (open.identity.is_some() || open.service_token.is_some()) {
            return Err(wrong());
        }
        // Only a bastion goes where a visitor says, and it goes nowhere else.
        let destination = match (&open.destination, kind) {
            (Some(text), ServiceKind::Bastion) => text
                .parse()
                .map(Some)
                .map_err(|_| (StreamRefusal::Malformed, "the destination could not be understood".to_owned()))?,
            (None, ServiceKind::Bastion) | (Some(_), _) => return Err(wrong()),
            (None, _) if open.resolve => return Err(wrong()),
            (None, _) => None,
        };
        Ok((hostname, service, destination))
    }
}

/// Serves one stream to its end.
pub(crate) async fn serve(pending: Pending, rules: Arc<Rules>, limit: Duration, meters: Arc<Meters>) {
    let Opening::Service(open) = pending.opening.clone() else {
        return refuse(pending, StreamRefusal::Malformed, "an edge opens services".to_owned(), &meters).await;
    };
    let trace = u128::from_be_bytes(open.trace);
    let (hostname, published, destination) = match rules.find(&open) {
        Ok((hostname, service, destination)) => (hostname.clone(), service.clone(), destination),
        Err((code, text)) => return refuse(pending, code, text, &meters).await,
    };
    let service = match lead(&published, destination.as_ref(), open.resolve, &rules.resolver).await {
        Ok(Led::Service(leads_to)) => leads_to,
        Ok(Led::Addresses(addresses)) => {
            // Whoever asked may have gone.
            pending.resolved(addresses).await.ok();
            return;
        }
        Err((code, text)) => {
            if code == StreamRefusal::DestinationDenied {
                info!(%hostname, destination = open.destination, trace = format_args!("{trace:032x}"), "destination denied");
            }
            return refuse(pending, code, text, &meters).await;
        }
    };
    let connection = match timeout(limit, connect(&service)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            debug!(%hostname, %service, %error, "the service cannot be reached");
            let code = refusal(&error);
            return refuse(pending, code, format!("{service}: {error}"), &meters).await;
        }
        Err(_) => {
            debug!(%hostname, %service, "the service does not accept the connection in time");
            let text = format!("{service}: no answer within {} s", limit.as_secs());
            return refuse(pending, StreamRefusal::ServiceTimeout, text, &meters).await;
        }
    };
    if let Some(destination) = &destination
        && connection.stays_here(&published)
    {
        let (code, text) = bastion::own(destination);
        info!(%hostname, %destination, trace = format_args!("{trace:032x}"), "destination denied: this machine");
        return refuse(pending, code, text, &meters).await;
    }
    let opening = service::Opening {
        rule: hostname.clone(),
        source: open.source,
        identity: open.identity,
        service_token: open.service_token,
        destination,
        trace: open.trace,
    };
    let counted = meters.open_stream();
    let Ok(stream) = pending.accept().await else { return };
    let ended = connection.carry(stream, opening, &meters).await;
    drop(counted);
    match ended {
        Ok(()) => debug!(%hostname, trace = format_args!("{trace:032x}"), "stream ended"),
        Err(error) => debug!(%hostname, trace = format_args!("{trace:032x}"), %error, "stream was cut"),
    }
}

async fn refuse(pending: Pending, code: StreamRefusal, text: String, meters: &Meters) {
    meters.refused.fetch_add(1, Ordering::Relaxed);
    pending.refuse(code, text).await;
}

/// Where an opening leads.
enum Led {
    /// To this service. For a bastion, to the one address that was judged.
    Service(Service),
    /// Nowhere: it asked which addresses its destination has.
    Addresses(Vec<IpAddr>),
}

/// Leads a bastion's opening to its destination, and any other to its service.
async fn lead(
    service: &Service,
    destination: Option<&Destination>,
    resolve: bool,
    resolver: &Resolver,
) -> Result<Led, Refused> {
    let (Service::Bastion(allow), Some(destination)) = (service, destination) else {
        // A handler that takes destinations judges them itself; of names it knows nothing.
        let text = || "this bastion resolves no names".to_owned();
        return if resolve { Err((StreamRefusal::WrongKind, text())) } else { Ok(Led::Service(service.clone())) };
    };
    let allow: &[DestinationRange] = allow;
    match bastion::judge(allow, destination, resolve)? {
        Verdict::Connect(target) => Ok(Led::Service(Service::Tcp(target))),
        Verdict::Known(address) => Ok(Led::Addresses(vec![address])),
        Verdict::Resolve(name) => {
            let look_up = |name, port| resolver.clone().look_up(name, port);
            bastion::resolve(allow, &name, destination.port(), look_up).await.map(Led::Addresses)
        }
    }
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Handler(Arc<dyn StreamHandler>),
}

async fn connect(service: &Service) -> Result<Connection, DialError> {
    match service {
        Service::Http(target) | Service::Tcp(target) => connect_tcp(target).await,
        Service::Unix(path) => connect_unix(path).await.map(Connection::Unix).map_err(DialError::Connect),
        Service::Handler { handler, .. } => Ok(Connection::Handler(handler.clone())),
        // Led to a destination before, or refused.
        Service::Bastion(_) => Err(DialError::Connect(io::ErrorKind::Unsupported.into())),
    }
}

async fn connect_tcp(target: &SocketTarget) -> Result<Connection, DialError> {
    dial(target).await.map(Connection::Tcp)
}

impl Connection {
    /// Whether a bastion's connection has stayed on this machine without leave.
    fn stays_here(&self, service: &Service) -> bool {
        let (Service::Bastion(allow), Self::Tcp(tcp)) = (service, self) else { return false };
        match (tcp.local_addr(), tcp.peer_addr()) {
            (Ok(local), Ok(peer)) => bastion::stays_here(allow, local, peer),
            // Gone already.
            _ => true,
        }
    }

    async fn carry(self, mut stream: Stream, opening: service::Opening, meters: &Meters) -> io::Result<()> {
        let ended = match self {
            Self::Tcp(mut service) => {
                let ended = relay(&mut stream, &mut service, &meters.carried).await;
                if let Err(RelayError::Edge(_)) = ended {
                    // The visitor's side was cut: the service must not take it for an orderly end.
                    service.set_zero_linger().ok();
                }
                ended
            }
            // A Unix socket has no reset; closing it is all that can be said.
            Self::Unix(mut service) => relay(&mut stream, &mut service, &meters.carried).await,
            Self::Handler(handler) => return handler.handle(stream, opening).await,
        };
        // Dropping a stream that has not ended in both directions resets it.
        ended.map_err(io::Error::other)
    }
}

fn refusal(error: &DialError) -> StreamRefusal {
    match error {
        DialError::Resolve { .. } | DialError::NoAddress { .. } => StreamRefusal::ServiceUnreachable,
        DialError::Connect(error) => match error.kind() {
            // A socket file without a listener, or none yet, is a service that is not running.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::ConnectionReset => {
                StreamRefusal::ServiceRefused
            }
            io::ErrorKind::TimedOut => StreamRefusal::ServiceTimeout,
            _ => StreamRefusal::ServiceUnreachable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(revision: u64, rule: u32) -> Open {
        Open::new(Revision(revision), RuleId(rule), [192, 0, 2, 1].into(), [0; 16])
    }

    fn rules() -> Rules {
        Rules::new(vec![
            ("www.example.com".parse().unwrap(), "http://127.0.0.1:1".parse().unwrap()),
            ("db.example.com".parse().unwrap(), "tcp://127.0.0.1:2".parse().unwrap()),
            ("jump.example.com".parse().unwrap(), "bastion:10.0.0.0/8:22".parse().unwrap()),
        ])
    }

    #[test]
    fn only_what_stands_in_the_table_is_served() {
        let rules = rules();
        assert_eq!(rules.find(&open(1, 0)).unwrap().0.as_str(), "www.example.com");
        assert_eq!(rules.find(&open(1, 1)).unwrap().0.as_str(), "db.example.com");
        let to = |destination: &str, opening: Open| Open { destination: Some(destination.to_owned()), ..opening };
        let (_, _, destination) = rules.find(&to("10.0.0.1:22", open(1, 2))).unwrap();
        assert_eq!(destination.unwrap().to_string(), "10.0.0.1:22");
        for (opening, code) in [
            (open(1, 3), StreamRefusal::UnknownRule),
            (open(0, 0), StreamRefusal::StaleTable),
            (open(2, 0), StreamRefusal::StaleTable),
            (to("10.0.0.1:22", open(1, 0)), StreamRefusal::WrongKind),
            (to("10.0.0.1:22", open(1, 1)), StreamRefusal::WrongKind),
            (Open { resolve: true, ..open(1, 1) }, StreamRefusal::WrongKind),
            (open(1, 2), StreamRefusal::WrongKind),
            (to("10.1:22", open(1, 2)), StreamRefusal::Malformed),
        ] {
            assert_eq!(rules.find(&opening).unwrap_err().0, code);
        }
    }

    #[test]
    fn the_table_says_nothing_of_where_the_services_are() {
        let table = rules().table();
        let kinds: Vec<_> = table.rules.iter().map(|rule| (rule.hostname.as_str(), rule.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("www.example.com", ServiceKind::Http),
                ("db.example.com", ServiceKind::Tcp),
                ("jump.example.com", ServiceKind::Bastion)
            ]
        );
        let table = format!("{table:?}");
        assert!(!table.contains("127.0.0.1") && !table.contains("10.0.0.0"), "{table}");
    }

    #[test]
    fn each_failure_to_connect_has_its_code() {
        let connect = |kind: io::ErrorKind| DialError::Connect(kind.into());
        for (error, code) in [
            (connect(io::ErrorKind::ConnectionRefused), StreamRefusal::ServiceRefused),
            (connect(io::ErrorKind::NotFound), StreamRefusal::ServiceRefused),
            (connect(io::ErrorKind::TimedOut), StreamRefusal::ServiceTimeout),
            (connect(io::ErrorKind::HostUnreachable), StreamRefusal::ServiceUnreachable),
            (connect(io::ErrorKind::PermissionDenied), StreamRefusal::ServiceUnreachable),
            (DialError::NoAddress { host: "x".to_owned() }, StreamRefusal::ServiceUnreachable),
        ] {
            assert_eq!(refusal(&error), code);
        }
    }
}
