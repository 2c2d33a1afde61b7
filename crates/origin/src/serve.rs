//! One stream from the edge: find its rule, reach the service, carry the bytes.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::ClientConfig;
use tracing::{debug, info, warn};
use tunnel_proto::{
    Destination, DestinationRange, HostPattern, Revision, RuleId, faults,
    link::Pending,
    message::{HttpOptions, Open, Opening, Rule, ServiceKind, StreamRefusal, Table},
};

use crate::{
    bastion::{self, Refused, Resolver, Verdict},
    options::{OptionsError, ServiceOptions},
    reach::{Unreached, Way, ended_unsaid},
    service::{self, Service},
    status::Meters,
    tls::{Tls, client_config},
};

/// What a connector publishes, and what it says about it.
pub(crate) struct Rules {
    revision: Revision,
    rules: Vec<Ingress>,
    resolver: Resolver,
}

/// One rule: what is published at a hostname, and how it is reached.
struct Ingress {
    id: RuleId,
    hostname: HostPattern,
    service: Service,
    kind: ServiceKind,
    http: HttpOptions,
    way: Way,
    trouble: Trouble,
    /// It was said that the service ends TLS without saying so.
    unsaid: AtomicBool,
}

impl Rules {
    /// Rules for these services, each of which may take `limit` to accept a connection unless its options say otherwise.
    pub(crate) fn new(
        services: Vec<(HostPattern, Service, ServiceOptions)>,
        limit: Duration,
    ) -> Result<Self, OptionsError> {
        let mut rules = Vec::with_capacity(services.len());
        // A service at several hostnames has the same options at each; reading whom the system trusts takes its time.
        let mut last: Option<(ServiceOptions, Arc<ClientConfig>)> = None;
        for (id, (hostname, service, options)) in (0..).map(RuleId).zip(services) {
            options.check(&hostname, &service)?;
            let tls = match options.tls_name(&hostname, &service)? {
                None => None,
                Some(name) => {
                    let config = match last.take_if(|(before, _)| *before == options) {
                        Some((_, config)) => config,
                        None => Arc::new(client_config(&options)?),
                    };
                    last = Some((options.clone(), config.clone()));
                    Some(Tls::new(config, name, &options))
                }
            };
            if options.unverified {
                warn!(%hostname, %service, "the certificate of the service is not verified: no_tls_verify");
            }
            rules.push(Ingress {
                id,
                kind: options.kind(&service),
                http: options.http(&service),
                way: Way { limit: options.connect_timeout.unwrap_or(limit), tls },
                hostname,
                service,
                trouble: Trouble::default(),
                unsaid: AtomicBool::new(false),
            });
        }
        Ok(Self { revision: Revision(1), rules, resolver: Resolver::default() })
    }

    /// The table as it is announced: hostnames, kinds and whether there is TLS, and nothing of where the services are.
    pub(crate) fn table(&self) -> Table {
        let rules = self.rules.iter().map(|rule| Rule {
            id: rule.id,
            hostname: rule.hostname.clone(),
            path: None,
            kind: rule.kind,
            http: rule.http.clone(),
        });
        Table { revision: self.revision, rules: rules.collect() }
    }

    pub(crate) fn hostname(&self, rule: RuleId) -> Option<&HostPattern> {
        self.rules.iter().find(|other| other.id == rule).map(|rule| &rule.hostname)
    }

    /// The rule that an opening names, if it is one of ours and the opening fits it; and where to, for a bastion.
    fn find(&self, open: &Open) -> Result<(&Ingress, Option<Destination>), Refused> {
        if open.revision != self.revision {
            return Err((StreamRefusal::StaleTable, format!("the table in force is {}", self.revision)));
        }
        let Some(rule) = self.rules.iter().find(|rule| rule.id == open.rule) else {
            return Err((StreamRefusal::UnknownRule, "no such rule".to_owned()));
        };
        let kind = rule.kind;
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
        Ok((rule, destination))
    }
}

/// Serves one stream to its end.
pub(crate) async fn serve(pending: Pending, rules: Arc<Rules>, meters: Arc<Meters>) {
    faults::at("stream");
    let Opening::Service(open) = pending.opening.clone() else {
        return refuse(pending, StreamRefusal::Malformed, "an edge opens services".to_owned(), &meters).await;
    };
    let trace = u128::from_be_bytes(open.trace);
    let (rule, destination) = match rules.find(&open) {
        Ok(found) => found,
        Err((code, text)) => return refuse(pending, code, text, &meters).await,
    };
    let hostname = &rule.hostname;
    let service = match lead(&rule.service, destination.as_ref(), open.resolve, &rules.resolver).await {
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
    let connection = match rule.way.connect(&service).await {
        Ok(connection) => connection,
        Err(error) => {
            rule.tell(&service, destination.is_some(), &error);
            return refuse(pending, error.code(), format!("{service}: {error}"), &meters).await;
        }
    };
    if rule.trouble.is_over() {
        info!(%hostname, %service, "the service is reached again");
    }
    if let Some(destination) = &destination
        && connection.stays_here(&rule.service)
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
        Err(error) => {
            debug!(%hostname, trace = format_args!("{trace:032x}"), %error, "stream was cut");
            if rule.kind == ServiceKind::Http && ended_unsaid(&error) {
                rule.tell_unsaid(&service);
            }
        }
    }
}

impl Ingress {
    /// Writes into the log why a service is not reached. What is wrong with a bastion's destination is no concern of this
    /// machine's, and visitors choose it.
    fn tell(&self, service: &Service, chosen: bool, error: &Unreached) {
        let hostname = &self.hostname;
        if !chosen && self.trouble.is_news(error.to_string()) {
            warn!(%hostname, %service, %error, help = error.help(), "the service cannot be reached");
        } else {
            debug!(%hostname, %service, %error, "the service cannot be reached");
        }
    }

    /// Writes into the log, once, that an answer of the service may look cut. Where HTTP says how long an answer is, it does not.
    fn tell_unsaid(&self, service: &Service) {
        if !self.unsaid.swap(true, Ordering::Relaxed) {
            warn!(
                hostname = %self.hostname,
                %service,
                help = "if its answers arrive whole, nothing is wrong; if not, have it send Content-Length or chunks, or end TLS in order",
                "the service ends TLS connections without saying so (no close_notify): its answers without a length are broken off"
            );
        }
    }
}

/// What keeps a service from being reached, so that the log says it once and not for every request.
#[derive(Default)]
struct Trouble(Mutex<Option<String>>);

impl Trouble {
    fn is_news(&self, what: String) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let differs = known.as_ref() != Some(&what);
        *known = Some(what);
        differs
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn open(revision: u64, rule: u32) -> Open {
        Open::new(Revision(revision), RuleId(rule), [192, 0, 2, 1].into(), [0; 16])
    }

    fn rules() -> Rules {
        let services = [
            ("www.example.com", "http://127.0.0.1:1"),
            ("db.example.com", "tcp://127.0.0.1:2"),
            ("jump.example.com", "bastion:10.0.0.0/8:22"),
        ];
        let plain = |(hostname, service): (&str, &str)| {
            (hostname.parse().unwrap(), service.parse().unwrap(), ServiceOptions::new())
        };
        Rules::new(services.map(plain).into(), Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn only_what_stands_in_the_table_is_served() {
        let rules = rules();
        let hostname = |open: &Open| rules.find(open).map(|(rule, _)| rule.hostname.to_string()).unwrap();
        assert_eq!(hostname(&open(1, 0)), "www.example.com");
        assert_eq!(hostname(&open(1, 1)), "db.example.com");
        let to = |destination: &str, opening: Open| Open { destination: Some(destination.to_owned()), ..opening };
        let (_, destination) = rules.find(&to("10.0.0.1:22", open(1, 2))).unwrap();
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
            assert_eq!(rules.find(&opening).err().unwrap().0, code);
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
    fn trouble_is_told_once_until_it_changes_or_is_over() {
        let trouble = Trouble::default();
        assert!(!trouble.is_over());
        assert!(trouble.is_news("refused".to_owned()) && !trouble.is_news("refused".to_owned()));
        assert!(trouble.is_news("no answer".to_owned()));
        assert!(trouble.is_over() && !trouble.is_over());
        assert!(trouble.is_news("no answer".to_owned()));
    }

    #[test]
    fn options_that_do_not_fit_make_no_rules() {
        let service = ("a.example.com".parse().unwrap(), "http://localhost".parse().unwrap());
        let options = ServiceOptions::new().danger_no_tls_verify();
        assert!(Rules::new(vec![(service.0, service.1, options)], Duration::from_secs(1)).is_err());
    }
}
