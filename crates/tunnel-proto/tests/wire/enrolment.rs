//! What is said in JSON before there is a certificate, as PROTOCOL.md §8 shows it.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tunnel_proto::{
    OperatorId, TunnelId, UnixTime,
    enrol::{CreateTunnel, EdgeInfo, EnrolAnswer, EnrolProblem, EnrolRequest, Operator, TunnelCreated},
};

use super::vectors::SPECIFICATION;

const ID: [u8; 16] = *b"\x11\x22\x33\x44\x55\x66\x47\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x00";

/// The labels and values of the block in §8: a line `LABEL`, then JSON on indented lines.
fn vectors() -> Vec<(String, Value)> {
    let block = SPECIFICATION.split("\n```json\n").nth(1).unwrap().split("```").next().unwrap();
    let mut vectors: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("  ") {
            Some(json) => vectors.last_mut().unwrap().1.push_str(json),
            None => vectors.push((line.to_owned(), String::new())),
        }
    }
    vectors.into_iter().map(|(label, json)| (label, serde_json::from_str(&json).unwrap())).collect()
}

/// Takes the vector with this label from the list, and holds it against `value` in both directions.
fn is_written_and_read<T>(vectors: &mut Vec<(String, Value)>, label: &str, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert!(!vectors.is_empty(), "{label} has no vector");
    let (shown, json) = vectors.remove(0);
    assert_eq!(shown, label);
    assert_eq!(serde_json::to_value(value).unwrap(), json, "{label} as it is written");
    assert_eq!(&serde_json::from_value::<T>(json).unwrap(), value, "{label} as it is read");
}

#[test]
fn every_request_and_answer_is_as_specified() {
    let mut vectors = vectors();
    let www = || vec!["www.example.com".parse().unwrap()];
    for (label, request) in [
        (
            "login",
            EnrolRequest::Login {
                machine: "nas".into(),
                software: "connector 0.1.0, Linux x86_64".into(),
                hostnames: vec!["www.example.com".parse().unwrap(), "*.dev.example.com".parse().unwrap()],
                csr: "CSR".into(),
            },
        ),
        ("poll", EnrolRequest::Poll { secret: "SECRET".into() }),
    ] {
        is_written_and_read(&mut vectors, label, &request);
    }
    let operator = Operator {
        id: OperatorId::from_bytes(ID),
        zone: "example.com".parse().unwrap(),
        certificate: "CERTIFICATE".into(),
        ca: "CA".into(),
        hostnames: www(),
    };
    for (label, answer) in [
        (
            "started",
            EnrolAnswer::Started {
                url: "https://access.example.com/.access/enroll?id=ID".into(),
                code: "KXBT-3MRQ".into(),
                secret: "SECRET".into(),
                expires: UnixTime(1_790_000_300),
                interval: 2,
            },
        ),
        ("pending", EnrolAnswer::Pending),
        ("approved", EnrolAnswer::Approved(operator)),
        ("refused", EnrolAnswer::Refused { reason: "an administrator refused this login".into() }),
    ] {
        is_written_and_read(&mut vectors, label, &answer);
    }
    let problem = EnrolProblem { code: "malformed".into(), message: "the request was not understood".into() };
    is_written_and_read(&mut vectors, "problem", &problem);
    let info = EdgeInfo {
        zone: "localhost".parse().unwrap(),
        edge: "https://access.localhost:8443".into(),
        ca: "CA".into(),
        version: "0.1.0".into(),
        quick_start: true,
        visit: "http://HOST:8080".into(),
    };
    is_written_and_read(&mut vectors, "info", &info);
    let create = CreateTunnel { name: "office".parse().unwrap(), hostnames: www(), csr: "CSR".into() };
    is_written_and_read(&mut vectors, "create", &create);
    let created = TunnelCreated {
        tunnel: TunnelId::from_bytes(ID),
        name: "office".parse().unwrap(),
        certificate: "CERTIFICATE".into(),
        ca: "CA".into(),
        hostnames: www(),
        urls: vec!["https://www.example.com".into()],
    };
    is_written_and_read(&mut vectors, "created", &created);
    assert_eq!(vectors, [], "every vector has been read");
}

#[test]
fn a_request_with_an_unknown_field_is_refused_and_such_an_answer_is_read() {
    for (label, mut json) in vectors() {
        json.as_object_mut().unwrap().insert("later".into(), Value::Bool(true));
        let read = match label.as_str() {
            "login" | "poll" => serde_json::from_value::<EnrolRequest>(json).is_ok(),
            "create" => serde_json::from_value::<CreateTunnel>(json).is_ok(),
            "problem" => serde_json::from_value::<EnrolProblem>(json).is_ok(),
            "info" => serde_json::from_value::<EdgeInfo>(json).is_ok(),
            "created" => serde_json::from_value::<TunnelCreated>(json).is_ok(),
            _ => serde_json::from_value::<EnrolAnswer>(json).is_ok(),
        };
        assert_eq!(read, !matches!(label.as_str(), "login" | "poll" | "create"), "{label}");
    }
}
