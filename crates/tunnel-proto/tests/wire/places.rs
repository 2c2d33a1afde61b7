//! Who may say what, and where.

use tunnel_proto::{
    frame::FrameType as F,
    message::Role,
    version::{Place, Version},
};

const ROLES: &[Role] = Role::ALL;

/// Everything that version 1 allows; whatever is not here is refused.
fn allowed(kind: F) -> Vec<(Role, Place)> {
    use Role::{Access, Connector, Edge, Operator};
    let to_edge = |role| (role, Place::Control(Edge));
    let from_edge = |role| (Edge, Place::Control(role));
    let everywhere = |place| ROLES.iter().map(move |role| (*role, place)).collect();
    match kind {
        F::Hello => everywhere(Place::Greeting),
        F::Welcome | F::Refuse => everywhere(Place::Reply),
        F::Ping | F::Pong | F::Drain => {
            ROLES.iter().flat_map(|one| ROLES.iter().map(|other| (*one, Place::Control(*other)))).collect()
        }
        F::Table | F::Renew => vec![to_edge(Connector)],
        F::TableAccepted | F::TableRefused => vec![from_edge(Connector)],
        F::Renewed | F::Problem => vec![from_edge(Connector), from_edge(Operator)],
        F::CreateTunnel | F::Route | F::List | F::Delete | F::Rotate => vec![to_edge(Operator)],
        F::TunnelCreated | F::Tunnels | F::Done => vec![from_edge(Operator)],
        F::Present => vec![to_edge(Access)],
        F::Granted | F::Refused | F::Revoked | F::Cut => vec![from_edge(Access)],
        F::Open => vec![Connector, Operator, Edge].into_iter().map(|role| (role, Place::StreamOpening)).collect(),
        F::OpenGrant => vec![(Access, Place::StreamOpening)],
        F::Accepted | F::StreamRefused => everywhere(Place::StreamAnswer),
        F::LogTail => Vec::new(),
    }
}

#[test]
fn each_frame_has_its_sender_and_its_place() {
    let fixed = [Place::Greeting, Place::Reply, Place::StreamOpening, Place::StreamAnswer];
    let places: Vec<Place> = fixed.into_iter().chain(ROLES.iter().map(|role| Place::Control(*role))).collect();
    for kind in F::ALL {
        let allowed = allowed(*kind);
        for sender in ROLES {
            for place in &places {
                let expected = allowed.contains(&(*sender, *place));
                assert_eq!(Version::V1.allows(*kind, *sender, *place), expected, "{kind:?} from {sender} in {place:?}");
                assert!(!Version(2).allows(*kind, *sender, *place), "{kind:?} in a version that there is not");
            }
        }
    }
}

#[test]
fn the_newest_common_version_is_chosen() {
    assert_eq!(Version::negotiate(&[1]), Some(Version::V1));
    assert_eq!(Version::negotiate(&[9, 1, 3]), Some(Version::V1));
    assert_eq!(Version::negotiate(&[2, 3]), None);
    assert_eq!(Version::negotiate(&[]), None);
}
