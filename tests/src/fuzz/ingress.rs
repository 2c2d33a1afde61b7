//! What a connector publishes, as a person writes it.

use tunnel_origin::{EdgeAddress, Service, SocketTarget};
use tunnel_proto::message::ServiceKind;

use super::text;

/// Every service is named in one way, and an error never repeats a password.
pub(super) fn run(data: &[u8]) {
    let Some(written) = text(data) else { return };
    service(written);
    target(written);
    edge(written);
}

fn service(written: &str) {
    match written.parse::<Service>() {
        Ok(service) => {
            let shown = service.to_string();
            if let Service::Handler { kind, .. } = &service {
                return assert_eq!((*kind, shown.as_str()), (ServiceKind::Http, "a built-in service"));
            }
            let again: Service = shown.parse().unwrap_or_else(|error| panic!("{written:?} is {shown:?}: {error}"));
            assert_eq!((again.kind(), again.to_string()), (service.kind(), shown), "{written:?}");
            if let Service::Http(target) | Service::Tcp(target) = &service {
                assert_ne!(target.port(), 0);
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty());
            // What stands before an `@` behind one of our own schemes could be a password.
            let ours = ["http://", "tcp://", "ssh://", "rdp://", "smb://"];
            let secret =
                ours.iter().find_map(|scheme| written.strip_prefix(scheme)).and_then(|rest| rest.rsplit_once('@'));
            assert!(secret.is_none() || !said.contains(written), "{said:?} repeats {written:?}");
        }
    }
}

fn target(written: &str) {
    let Ok(target) = written.parse::<SocketTarget>() else { return };
    assert_ne!(target.port(), 0);
    assert_eq!(target.to_string().parse::<SocketTarget>().as_ref(), Ok(&target), "{written:?}");
    assert_eq!(SocketTarget::new(target.host(), target.port()).as_ref(), Ok(&target), "{written:?}");
}

/// An edge is dialled where its name says, and its name is one that a certificate can carry.
fn edge(written: &str) {
    let Ok(edge) = EdgeAddress::parse(written, None) else { return };
    assert_eq!(edge.name().as_str(), edge.target().host(), "{written:?}");
    let again = EdgeAddress::parse(&edge.url(), None);
    assert_eq!(again.as_ref(), Ok(&edge), "{written:?} is {}", edge.url());
}
