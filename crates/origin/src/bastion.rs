//! Where a bastion leads. The edge judges who may go where; here the connector's own list decides again, whatever the
//! edge says, and neither can widen the other.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;
use tunnel_proto::{
    Destination, DestinationRange, Hostname,
    dial::SocketTarget,
    message::{ADDRESSES_MAX, StreamRefusal},
};

/// How long the name of a destination may take to resolve.
pub(crate) const RESOLVE_LIMIT: Duration = Duration::from_secs(10);

/// What an opening for a bastion comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Dial this address, and no other.
    Connect(SocketTarget),
    /// Say that the destination, which is an address, is this one.
    Known(IpAddr),
    /// Say which addresses this name has.
    Resolve(Hostname),
}

/// Why an opening comes to nothing: the stable code, and a text for people.
pub(crate) type Refused = (StreamRefusal, String);

/// What an opening that names `destination` comes to. With `resolve` it only asks for addresses.
///
/// A name is never dialled: between the edge's judgement of its addresses and the dialling it could have got others.
pub(crate) fn judge(allow: &[DestinationRange], destination: &Destination, resolve: bool) -> Result<Verdict, Refused> {
    match (destination.address(), destination.name()) {
        (Some(address), _) if !is_allowed(allow, address) => Err(denied(destination)),
        (Some(address), _) if resolve => Ok(Verdict::Known(address.ip())),
        (Some(address), _) => SocketTarget::new(&address.ip().to_string(), address.port())
            .map(Verdict::Connect)
            .map_err(|error| (StreamRefusal::Malformed, error.to_string())),
        (None, Some(name)) if resolve => Ok(Verdict::Resolve(name.clone())),
        (None, _) => {
            Err((StreamRefusal::WrongKind, format!("`{destination}` is a name: its addresses are asked for first")))
        }
    }
}

/// The addresses of `name`, looked up once. Every one must be allowed: whoever answers for the name could put one that
/// is not among others that are.
pub(crate) async fn resolve<L>(
    allow: &[DestinationRange],
    name: &Hostname,
    port: u16,
    look_up: impl FnOnce(Hostname, u16) -> L,
) -> Result<Vec<IpAddr>, Refused>
where
    L: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let unreachable = |why: &str| (StreamRefusal::ServiceUnreachable, format!("the name `{name}` {why}"));
    let found = match timeout(RESOLVE_LIMIT, look_up(name.clone(), port)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            debug!(%name, %error, "the name of a destination does not resolve");
            return Err(unreachable("does not resolve at the connector"));
        }
        Err(_) => {
            let text = format!("the name `{name}` did not resolve within {} s", RESOLVE_LIMIT.as_secs());
            return Err((StreamRefusal::ServiceTimeout, text));
        }
    };
    let mut addresses = Vec::new();
    for address in found {
        let ip = address.ip().to_canonical();
        if !is_allowed(allow, SocketAddr::new(ip, port)) {
            // Which address is for the log of this machine; whoever asked need not learn what names mean here.
            debug!(%name, %ip, "an address of the name is not allowed");
            return Err(denied(&format_args!("{name}:{port}")));
        }
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() { Err(unreachable("has no address at the connector")) } else { Ok(addresses) }
}

/// Names that are looked up at a time. The system's resolver keeps a thread for each as long as it likes, and the connector
/// needs some for itself.
const LOOK_UPS_MAX: usize = 16;

/// The system's resolver, asked by a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Resolver(Arc<Semaphore>);

impl Default for Resolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOK_UPS_MAX)))
    }
}

impl Resolver {
    /// Looks a name up. The place is kept until the resolver has answered, whether or not anybody waits for it still.
    pub(crate) async fn look_up(self, name: Hostname, port: u16) -> io::Result<Vec<SocketAddr>> {
        let place = self.0.try_acquire_owned();
        let place = place.map_err(|_| io::Error::other("too many names are being looked up; try again"))?;
        let asking = tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
            drop(place);
            found
        });
        asking.await.map_err(io::Error::other)?
    }
}

/// Whether a connection to `peer` has stayed on this machine, by whichever of its addresses, and may: this machine's own
/// services are in no range, and must be written out.
pub(crate) fn stays_here(allow: &[DestinationRange], local: SocketAddr, peer: SocketAddr) -> bool {
    local.ip().to_canonical() == peer.ip().to_canonical() && !allow.iter().any(|range| range.names(peer))
}

/// What is said of such a connection.
pub(crate) fn own(asked: &dyn std::fmt::Display) -> Refused {
    let text = format!(
        "`{asked}` is the connector's own machine, which no range holds: its list (--allow) has to name that very address"
    );
    (StreamRefusal::DestinationDenied, text)
}

fn is_allowed(allow: &[DestinationRange], address: SocketAddr) -> bool {
    allow.iter().any(|range| range.contains(address))
}

fn denied(asked: &dyn std::fmt::Display) -> Refused {
    let text = format!("the connector lets nobody reach `{asked}`: its own list (--allow) does not hold it");
    (StreamRefusal::DestinationDenied, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow() -> Vec<DestinationRange> {
        let ranges = [
            "192.168.1.0/24:3389",
            "10.0.0.5:22",
            "10.1.0.0/16:5900-5910",
            "[fd00:1::/32]:*",
            "127.0.0.1:2222",
            // Wider than anybody should write; what is special stays out even so.
            "0.0.0.0/0:8080",
            "[::/0]:8080",
        ];
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    fn code(text: &str) -> Result<Verdict, StreamRefusal> {
        let destination: Destination = text.parse().map_err(|_| StreamRefusal::Malformed)?;
        judge(&allow(), &destination, false).map_err(|(code, _)| code)
    }

    // T8
    #[test]
    fn only_what_the_connectors_own_list_holds_is_dialled() {
        for (text, dialled) in [
            ("192.168.1.29:3389", "192.168.1.29:3389"),
            ("rdp://192.168.1.29:3389", "192.168.1.29:3389"),
            ("192.168.1.0:3389", "192.168.1.0:3389"),
            ("192.168.1.255:3389", "192.168.1.255:3389"),
            ("[::ffff:192.168.1.29]:3389", "192.168.1.29:3389"),
            ("10.0.0.5:22", "10.0.0.5:22"),
            ("10.1.2.3:5900", "10.1.2.3:5900"),
            ("10.1.2.3:5910", "10.1.2.3:5910"),
            ("[fd00:1::9]:443", "[fd00:1::9]:443"),
            ("127.0.0.1:2222", "127.0.0.1:2222"),
            ("[::ffff:127.0.0.1]:2222", "127.0.0.1:2222"),
            ("8.8.8.8:8080", "8.8.8.8:8080"),
            ("[2001:db8::1]:8080", "[2001:db8::1]:8080"),
        ] {
            assert_eq!(code(text), Ok(Verdict::Connect(dialled.parse().unwrap())), "{text}");
        }
        for text in [
            // Beside the list: another port, another net, another family.
            "192.168.1.29:22",
            "192.168.1.29:3390",
            "192.168.2.29:3389",
            "10.0.0.4:22",
            "10.0.0.5:23",
            "10.0.0.6:22",
            "10.1.2.3:5899",
            "10.1.2.3:5911",
            "10.2.0.1:5900",
            "[fd00:2::9]:443",
            "[2001:db8::1]:443",
            "8.8.8.8:53",
            // This machine, however it is written.
            "127.0.0.1:22",
            "127.0.0.1:8080",
            "127.0.0.2:2222",
            "127.255.255.254:8080",
            "0.0.0.0:8080",
            "0.1.2.3:8080",
            "[::1]:2222",
            "[::1]:8080",
            "[::]:8080",
            "[::ffff:127.0.0.1]:8080",
            "[::ffff:0:127.0.0.1]:8080",
            "[::127.0.0.1]:8080",
            // Its link, and the metadata of clouds.
            "169.254.169.254:8080",
            "169.254.0.1:8080",
            "[::ffff:169.254.169.254]:8080",
            "[fe80::1]:8080",
            "[fec0::1]:8080",
            "[fd00:ec2::254]:8080",
            "[fd20:ce::254]:8080",
            "100.100.100.200:8080",
            "168.63.129.16:8080",
            // IPv6 addresses that stand for an IPv4 address: NAT64, 6to4, Teredo.
            "[64:ff9b::127.0.0.1]:8080",
            "[64:ff9b::a9fe:a9fe]:8080",
            "[64:ff9b:1::a00:5]:8080",
            "[2002:7f00:1::]:8080",
            "[2002:a9fe:a9fe::1]:8080",
            "[2001:0:7f00:1::1]:8080",
            // Groups, and nobody.
            "224.0.0.1:8080",
            "239.255.255.250:8080",
            "255.255.255.255:8080",
            "240.0.0.1:8080",
            "[ff02::1]:8080",
            "[100::1]:8080",
        ] {
            assert_eq!(code(text), Err(StreamRefusal::DestinationDenied), "{text}");
        }
        for text in [
            // What resolvers read as addresses and people do not.
            "2130706433:8080",
            "0x7f000001:8080",
            "0x7f.0.0.1:8080",
            "0177.0.0.1:8080",
            "127.1:8080",
            "127.0.1:8080",
            "010.0.0.5:22",
            "[fe80::1%eth0]:8080",
            "192.168.1.29",
            "192.168.1.29:0",
            "192.168.1.29:65536",
            "user@192.168.1.29:3389",
            "192.168.1.29:3389:22",
            "",
        ] {
            assert_eq!(code(text), Err(StreamRefusal::Malformed), "{text}");
        }
    }

    #[test]
    fn an_empty_list_leads_nowhere() {
        for text in ["10.0.0.5:22", "8.8.8.8:443", "[2001:db8::1]:1"] {
            let (code, _) = judge(&[], &text.parse().unwrap(), false).unwrap_err();
            assert_eq!(code, StreamRefusal::DestinationDenied);
        }
    }

    #[test]
    fn a_refusal_says_whose_list_it_is_and_what_was_asked() {
        let (_, text) = judge(&allow(), &"10.0.0.9:22".parse().unwrap(), false).unwrap_err();
        assert!(text.contains("--allow") && text.contains("`10.0.0.9:22`") && text.contains("connector"), "{text}");
    }

    #[test]
    fn a_name_is_resolved_and_never_dialled() {
        let nas: Destination = "nas.lan:22".parse().unwrap();
        let (code, _) = judge(&allow(), &nas, false).unwrap_err();
        assert_eq!(code, StreamRefusal::WrongKind);
        assert_eq!(judge(&allow(), &nas, true).unwrap(), Verdict::Resolve("nas.lan".parse().unwrap()));
    }

    #[test]
    fn the_address_of_an_address_is_told_only_where_it_is_allowed() {
        let known = judge(&allow(), &"10.0.0.5:22".parse().unwrap(), true);
        assert_eq!(known, Ok(Verdict::Known("10.0.0.5".parse().unwrap())));
        let (code, _) = judge(&allow(), &"10.0.0.6:22".parse().unwrap(), true).unwrap_err();
        assert_eq!(code, StreamRefusal::DestinationDenied);
    }

    async fn found(answers: &[&str]) -> Result<Vec<IpAddr>, Refused> {
        let answers: Vec<SocketAddr> = answers.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 3389)).collect();
        resolve(&allow(), &"desk.lan".parse().unwrap(), 3389, |_, _| std::future::ready(Ok(answers))).await
    }

    // T8
    #[tokio::test]
    async fn every_answer_for_a_name_must_be_allowed() {
        let two = found(&["192.168.1.5", "192.168.1.6", "192.168.1.5", "::ffff:192.168.1.6"]).await.unwrap();
        assert_eq!(two, ["192.168.1.5".parse::<IpAddr>().unwrap(), "192.168.1.6".parse().unwrap()]);
        for bad in ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "192.168.2.1"] {
            for answers in [vec![bad], vec!["192.168.1.5", bad], vec![bad, "192.168.1.5"]] {
                let (code, text) = found(&answers).await.unwrap_err();
                assert_eq!(code, StreamRefusal::DestinationDenied, "{answers:?}");
                assert!(text.contains("`desk.lan:3389`") && !text.contains(bad), "{text}");
            }
        }
        // One beyond the number that is told counts as well.
        let mut many: Vec<String> = (1..=40).map(|n| format!("192.168.1.{n}")).collect();
        let told = found(&many.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(told.len(), ADDRESSES_MAX);
        many.push("127.0.0.1".to_owned());
        let (code, _) = found(&many.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap_err();
        assert_eq!(code, StreamRefusal::DestinationDenied);
        assert_eq!(found(&[]).await.unwrap_err().0, StreamRefusal::ServiceUnreachable);
    }

    // T8
    #[tokio::test]
    async fn a_resolver_that_changes_its_mind_gains_nothing() {
        let first = found(&["192.168.1.5"]).await.unwrap();
        // What is dialled is the number that was judged; the name is not asked again.
        let dialled = judge(&allow(), &SocketAddr::new(first[0], 3389).into(), false);
        assert_eq!(dialled, Ok(Verdict::Connect("192.168.1.5:3389".parse().unwrap())));
        assert_eq!(found(&["127.0.0.1"]).await.unwrap_err().0, StreamRefusal::DestinationDenied);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_says_nothing_is_not_waited_for_without_end() {
        let silent = |_, _| std::future::pending();
        let (code, _) = resolve(&allow(), &"desk.lan".parse().unwrap(), 22, silent).await.unwrap_err();
        assert_eq!(code, StreamRefusal::ServiceTimeout);
    }

    #[test]
    fn this_machine_is_in_no_range_by_any_of_its_addresses() {
        let own: SocketAddr = "192.168.1.5:3389".parse().unwrap();
        let from = "192.168.1.5:40000".parse().unwrap();
        assert!(stays_here(&allow(), from, own));
        assert!(!stays_here(&allow(), "192.168.1.9:40000".parse().unwrap(), own), "from another machine");
        assert!(!stays_here(&["192.168.1.5:3389".parse().unwrap()], from, own), "written out");
    }

    #[tokio::test]
    async fn no_more_than_a_few_names_are_looked_up_at_a_time() {
        let resolver = Resolver::default();
        let places: Vec<_> = (0..LOOK_UPS_MAX).map(|_| resolver.0.clone().try_acquire_owned().unwrap()).collect();
        assert!(resolver.clone().look_up("localhost".parse().unwrap(), 1).await.is_err());
        drop(places);
        assert!(resolver.look_up("localhost".parse().unwrap(), 1).await.is_ok());
    }
}
