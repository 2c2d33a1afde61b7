//! One message of every kind, as in PROTOCOL.md.

use tunnel_proto::{
    GrantId, Identity, InstanceId, LinkId, PersonId, Revision, RuleId, TunnelId, UnixTime,
    enrol::{CreateTunnel, EnrolProblem, TunnelCreated},
    message::*,
};

fn tunnel() -> TunnelId {
    TunnelId::from_bytes(*b"\x11\x22\x33\x44\x55\x66\x47\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x00")
}

/// Every message of version 1, with a label.
pub(super) fn examples() -> Vec<(&'static str, Message)> {
    let www = || vec!["www.example.com".parse().unwrap()];
    vec![
        ("Hello", Hello::new(Role::Connector, "connector 0.1.0", InstanceId::from_bytes([1; 16])).into()),
        (
            "Welcome",
            Welcome {
                version: 1,
                link: LinkId::from_bytes([2; 16]),
                limits: Limits::default(),
                edges: vec!["edge2.example.com:443".into()],
            }
            .into(),
        ),
        ("Refuse", Refuse { code: LinkRefusal::Revoked, text: "revoked".into(), retryable: false }.into()),
        ("Ping", Ping { nonce: 1000 }.into()),
        ("Pong", Pong { nonce: u64::MAX }.into()),
        ("Drain", Drain { reason: DrainReason::Shutdown, deadline_secs: 600 }.into()),
        (
            "Table",
            Table {
                revision: Revision(1),
                rules: vec![
                    Rule {
                        id: RuleId(0),
                        hostname: "www.example.com".parse().unwrap(),
                        path: None,
                        kind: ServiceKind::Http,
                        http: HttpOptions { host_header: Some("localhost:3000".into()), tls: false },
                    },
                    Rule {
                        id: RuleId(1),
                        hostname: "*.example.com".parse().unwrap(),
                        path: Some("^/api/".into()),
                        kind: ServiceKind::Tcp,
                        http: HttpOptions::default(),
                    },
                ],
            }
            .into(),
        ),
        ("TableAccepted", TableAccepted { revision: Revision(1) }.into()),
        (
            "TableRefused",
            TableRefused {
                revision: Revision(2),
                rule: Some(RuleId(7)),
                code: TableRefusal::BadPath,
                text: "not a regular expression".into(),
            }
            .into(),
        ),
        ("Renew", Renew { csr: "CSR".into() }.into()),
        ("Renewed", Renewed { certificate: "CERTIFICATE".into(), ca: "CA".into() }.into()),
        ("CreateTunnel", CreateTunnel { name: "office".parse().unwrap(), hostnames: www(), csr: "CSR".into() }.into()),
        (
            "TunnelCreated",
            TunnelCreated {
                tunnel: tunnel(),
                name: "office".parse().unwrap(),
                certificate: "CERTIFICATE".into(),
                ca: "CA".into(),
                hostnames: www(),
                urls: vec!["https://www.example.com".into()],
            }
            .into(),
        ),
        ("Route", Route { tunnel: tunnel(), hostnames: www() }.into()),
        ("List", List {}.into()),
        (
            "Tunnels",
            Tunnels {
                tunnels: vec![TunnelEntry {
                    tunnel: tunnel(),
                    name: "office".parse().unwrap(),
                    hostnames: www(),
                    links: 4,
                }],
            }
            .into(),
        ),
        ("Delete", Delete { tunnel: tunnel() }.into()),
        ("Rotate", Rotate { tunnel: tunnel(), csr: "CSR".into() }.into()),
        ("Done", Done {}.into()),
        ("Problem", EnrolProblem { code: "hostname_taken".into(), message: "taken".into() }.into()),
        ("Open (http)", Open::new(Revision(1), RuleId(0), [192, 0, 2, 1].into(), [9; 16]).into()),
        (
            "Open (bastion)",
            Open {
                destination: Some("192.168.1.29:3389".into()),
                identity: Some(Identity {
                    person: PersonId::from_bytes([3; 16]),
                    email: "ann@example.com".parse().unwrap(),
                    method: "pin".parse().unwrap(),
                    authenticated: UnixTime(1_790_000_000),
                }),
                ..Open::new(Revision(300), RuleId(70_000), "2001:db8::1".parse().unwrap(), [9; 16])
            }
            .into(),
        ),
        (
            "Open (addresses only)",
            Open {
                destination: Some("nas.lan:445".into()),
                service_token: Some("backup".parse().unwrap()),
                resolve: true,
                ..Open::new(Revision(300), RuleId(70_000), [192, 0, 2, 1].into(), [9; 16])
            }
            .into(),
        ),
        ("Accepted", Accepted::default().into()),
        (
            "Accepted (addresses)",
            Accepted { addresses: vec![[192, 168, 1, 5].into(), "2001:db8::5".parse().unwrap()] }.into(),
        ),
        (
            "StreamRefused",
            StreamRefused { code: StreamRefusal::ServiceRefused, text: "connection refused".into() }.into(),
        ),
        (
            "Present (client token)",
            Present {
                grant: GrantId(1),
                hostname: "rdp.example.com".parse().unwrap(),
                credential: Credential::ClientToken("TOKEN".into()),
            }
            .into(),
        ),
        (
            "Present (service token)",
            Present {
                grant: GrantId(2),
                hostname: "db.example.com".parse().unwrap(),
                credential: Credential::ServiceToken { id: "ID".into(), secret: "SECRET".into() },
            }
            .into(),
        ),
        ("Granted", Granted { grant: GrantId(1), expires: UnixTime(1_790_000_000) }.into()),
        (
            "Refused",
            Refused { grant: GrantId(2), code: GrantRefusal::BadCredential, text: "log in again".into() }.into(),
        ),
        ("Revoked", Revoked { grant: GrantId(1), reason: RevokedReason::Ended }.into()),
        ("Cut", Cut { grant: GrantId(1), reason: CutReason::ConnectorGone }.into()),
        ("OpenGrant", OpenGrant { grant: GrantId(1), destination: Some("192.168.1.29:3389".into()) }.into()),
    ]
}
