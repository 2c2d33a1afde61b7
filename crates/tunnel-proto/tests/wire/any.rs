//! Any message there can be, and any damage to it.

use std::{collections::HashSet, net::IpAddr};

use proptest::{
    collection::vec, option, prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner,
};
use tunnel_proto::{
    EmailAddress, GrantId, HostPattern, Identity, InstanceId, LinkId, Name, PersonId, Revision, RuleId, TunnelId,
    UnixTime,
    enrol::{CreateTunnel, EnrolProblem, TunnelCreated},
    frame::HEADER_LEN,
    message::*,
    version::Version,
};

fn text(max: usize) -> impl Strategy<Value = String> {
    // Up to four bytes a character.
    vec(any::<char>(), 0..max / 4).prop_map(String::from_iter)
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn host() -> impl Strategy<Value = HostPattern> {
    "(\\*\\.)?[a-z][a-z0-9]{0,20}(\\.[a-z][a-z0-9]{0,10}){1,3}".prop_map(|text| text.parse().unwrap())
}

fn hosts() -> impl Strategy<Value = Vec<HostPattern>> {
    vec(host(), 0..8)
}

fn tunnel() -> impl Strategy<Value = TunnelId> {
    any::<[u8; 16]>().prop_map(TunnelId::from_bytes)
}

fn identity() -> impl Strategy<Value = Identity> {
    let email = "[a-z]{1,20}@[a-z]{1,20}\\.example".prop_map(|text| text.parse::<EmailAddress>().unwrap());
    (any::<[u8; 16]>(), email, name(), any::<u64>()).prop_map(|(person, email, method, at)| Identity {
        person: PersonId::from_bytes(person),
        email,
        method,
        authenticated: UnixTime(at),
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    (any::<u32>(), host(), option::of(text(200)), select(ServiceKind::ALL), option::of(text(100)), any::<bool>())
        .prop_map(|(id, hostname, path, kind, host_header, tls)| Rule {
            id: RuleId(id),
            hostname,
            path,
            kind,
            http: HttpOptions { host_header, tls },
        })
}

fn greeting() -> impl Strategy<Value = Message> {
    let hello = (vec(any::<u16>(), 0..8), vec(text(64), 0..4), select(Role::ALL), text(200), any::<[u8; 16]>());
    let welcome = (any::<u16>(), any::<[u8; 16]>(), any::<(u32, u32)>(), vec(text(64), 0..4));
    prop_oneof![
        hello.prop_map(|(versions, features, role, agent, instance)| {
            Hello { versions, features, role, agent, instance: InstanceId::from_bytes(instance) }.into()
        }),
        welcome.prop_map(|(version, link, (streams, rules), edges)| {
            Welcome { version, link: LinkId::from_bytes(link), limits: Limits { streams, rules }, edges }.into()
        }),
        (select(LinkRefusal::ALL), text(TEXT_MAX), any::<bool>()).prop_map(|(code, text, retryable)| Refuse {
            code,
            text,
            retryable
        }
        .into()),
    ]
}

fn control() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u64>().prop_map(|nonce| Ping { nonce }.into()),
        any::<u64>().prop_map(|nonce| Pong { nonce }.into()),
        (select(DrainReason::ALL), any::<u32>())
            .prop_map(|(reason, deadline_secs)| Drain { reason, deadline_secs }.into()),
        (any::<u64>(), vec(rule(), 0..8))
            .prop_map(|(revision, rules)| Table { revision: Revision(revision), rules }.into()),
        any::<u64>().prop_map(|revision| TableAccepted { revision: Revision(revision) }.into()),
        (any::<u64>(), option::of(any::<u32>()), select(TableRefusal::ALL), text(TEXT_MAX)).prop_map(
            |(revision, rule, code, text)| {
                TableRefused { revision: Revision(revision), rule: rule.map(RuleId), code, text }.into()
            }
        ),
        text(2000).prop_map(|csr| Renew { csr }.into()),
        (text(2000), text(2000)).prop_map(|(certificate, ca)| Renewed { certificate, ca }.into()),
    ]
}

fn management() -> impl Strategy<Value = Message> {
    let created = (tunnel(), name(), text(2000), text(2000), hosts(), vec(text(100), 0..4));
    let entry = (tunnel(), name(), hosts(), any::<u32>()).prop_map(|(tunnel, name, hostnames, links)| TunnelEntry {
        tunnel,
        name,
        hostnames,
        links,
    });
    prop_oneof![
        (name(), hosts(), text(2000)).prop_map(|(name, hostnames, csr)| CreateTunnel { name, hostnames, csr }.into()),
        created.prop_map(|(tunnel, name, certificate, ca, hostnames, urls)| {
            TunnelCreated { tunnel, name, certificate, ca, hostnames, urls }.into()
        }),
        (tunnel(), hosts()).prop_map(|(tunnel, hostnames)| Route { tunnel, hostnames }.into()),
        Just(List {}.into()),
        vec(entry, 0..8).prop_map(|tunnels| Tunnels { tunnels }.into()),
        tunnel().prop_map(|tunnel| Delete { tunnel }.into()),
        (tunnel(), text(2000)).prop_map(|(tunnel, csr)| Rotate { tunnel, csr }.into()),
        Just(Done {}.into()),
        (text(64), text(500)).prop_map(|(code, message)| EnrolProblem { code, message }.into()),
    ]
}

fn granting() -> impl Strategy<Value = Message> {
    let credential = prop_oneof![
        text(CREDENTIAL_MAX).prop_map(Credential::ClientToken),
        (text(CREDENTIAL_MAX), text(CREDENTIAL_MAX)).prop_map(|(id, secret)| Credential::ServiceToken { id, secret }),
    ];
    let host = "[a-z][a-z0-9]{0,20}(\\.[a-z][a-z0-9]{0,10}){1,3}".prop_map(|text| text.parse().unwrap());
    prop_oneof![
        (any::<u32>(), host, credential).prop_map(|(grant, hostname, credential)| Present {
            grant: GrantId(grant),
            hostname,
            credential
        }
        .into()),
        any::<(u32, u64)>()
            .prop_map(|(grant, expires)| Granted { grant: GrantId(grant), expires: UnixTime(expires) }.into()),
        (any::<u32>(), select(GrantRefusal::ALL), text(TEXT_MAX)).prop_map(|(grant, code, text)| Refused {
            grant: GrantId(grant),
            code,
            text
        }
        .into()),
        (any::<u32>(), select(CutReason::ALL)).prop_map(|(grant, reason)| Cut { grant: GrantId(grant), reason }.into()),
        (any::<u32>(), select(RevokedReason::ALL)).prop_map(|(grant, reason)| Revoked {
            grant: GrantId(grant),
            reason
        }
        .into()),
    ]
}

fn opening() -> impl Strategy<Value = Message> {
    let destination = option::of("[a-z]{1,30}\\.example:[0-9]{1,5}");
    let to = destination.clone();
    let by = (option::of(identity()), option::of(name()));
    let open = (any::<(u64, u32)>(), destination, any::<IpAddr>(), by, any::<[u8; 16]>(), any::<bool>());
    prop_oneof![
        open.prop_map(|((revision, rule), destination, source, (identity, service_token), trace, resolve)| {
            let open = Open::new(Revision(revision), RuleId(rule), source, trace);
            Open { destination, identity, service_token, resolve, ..open }.into()
        }),
        (any::<u32>(), to).prop_map(|(grant, destination)| OpenGrant { grant: GrantId(grant), destination }.into()),
        vec(any::<IpAddr>(), 0..=ADDRESSES_MAX).prop_map(|addresses| Accepted { addresses }.into()),
        (select(StreamRefusal::ALL), text(TEXT_MAX)).prop_map(|(code, text)| StreamRefused { code, text }.into()),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![greeting(), control(), management(), granting(), opening()]
}

/// Or a new message would have no round trip, and nobody would notice.
#[test]
fn every_message_of_the_version_is_among_those_tried() {
    let mut runner = TestRunner::deterministic();
    let messages = std::iter::repeat_with(|| message().new_tree(&mut runner).unwrap().current());
    let tried: HashSet<_> = messages.take(2_000).map(|message| message.kind()).collect();
    let missing: Vec<_> = Version::V1.listed().iter().filter(|kind| !tried.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        let frame = message.encode().unwrap();
        prop_assert_eq!(Message::parse(&frame, Version::V1), Ok((Some(message), frame.len())));
    }

    /// A frame that stops anywhere is short, never something else, and never waits for more than it announced.
    #[test]
    fn a_cut_frame_is_short(message in message(), at in any::<prop::sample::Index>()) {
        let frame = message.encode().unwrap();
        let cut = &frame[..at.index(frame.len())];
        prop_assert!(matches!(Message::parse(cut, Version::V1), Err(tunnel_proto::frame::FrameError::Short)));
    }

    /// Damaged bytes are refused or mean something within the limits; they never panic.
    #[test]
    fn damaged_frames_never_panic(
        message in message(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut frame = message.encode().unwrap();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Ok((Some(read), taken)) = Message::parse(&frame, Version::V1) {
            prop_assert!(taken <= frame.len());
            // What was read is within the limits, or it could not be written.
            prop_assert!(read.encode().is_ok());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..4096)) {
        if let Ok((_, taken)) = Message::parse(&bytes, Version::V1) {
            prop_assert!((HEADER_LEN..=bytes.len()).contains(&taken));
        }
    }

    /// Behind a right header, so that the decoders are reached.
    #[test]
    fn random_bodies_never_panic(kind in select(Version::V1.listed()), body in vec(any::<u8>(), 0..1024)) {
        let _ = Message::decode(kind, &body);
    }
}
