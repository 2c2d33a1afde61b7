//! Headers, lengths, unknown types and unknown keys.

use tunnel_proto::{
    frame::{FrameError, FrameType, Header, SKIPPED_FRAME_MAX, STREAM_FRAME_MAX},
    message::*,
    version::Version,
};

use super::examples::examples;

fn header(tag: u8, len: u32) -> [u8; 4] {
    let [_, a, b, c] = len.to_be_bytes();
    [tag, a, b, c]
}

#[test]
fn a_frame_is_as_long_as_its_type_allows_and_no_longer() {
    for kind in Version::V1.listed() {
        let most = u32::try_from(kind.max_len()).unwrap();
        let expected = Header::Frame { kind: *kind, len: kind.max_len() };
        assert_eq!(Header::parse(header(kind.tag(), most), Version::V1), Ok(expected));
        let longer = Header::parse(header(kind.tag(), most + 1), Version::V1);
        assert!(matches!(longer, Err(FrameError::TooLong { .. })), "{kind:?}: {longer:?}");
    }
    let open = Message::from(Renew { csr: "x".repeat(200_000) });
    assert!(matches!(open.encode(), Err(FrameError::TooLong { .. })), "nor is a longer one written");
    const { assert!(STREAM_FRAME_MAX < SKIPPED_FRAME_MAX) };
}

#[test]
fn an_unknown_frame_is_refused_unless_it_may_be_skipped() {
    let known: Vec<u8> = Version::V1.listed().iter().map(|kind| kind.tag()).collect();
    for tag in (0..=u8::MAX).filter(|tag| !known.contains(tag)) {
        let parsed = Header::parse(header(tag, 5), Version::V1);
        if tag >= 0x80 {
            assert_eq!(parsed, Ok(Header::Skip { len: 5 }), "{tag:#x}");
            assert_eq!(Message::parse(&[&header(tag, 2)[..], b"xyz"].concat(), Version::V1), Ok((None, 6)));
        } else {
            assert_eq!(parsed, Err(FrameError::Unknown { tag, version: Version::V1 }), "{tag:#x}");
        }
    }
    let long = u32::try_from(SKIPPED_FRAME_MAX).unwrap() + 1;
    assert!(matches!(Header::parse(header(0xff, long), Version::V1), Err(FrameError::TooLong { .. })));
}

/// A frame of another version is refused: here, every frame on a link that speaks a version which has none of them.
#[test]
fn a_frame_of_another_version_is_refused() {
    for (label, message) in examples() {
        let refused = Message::parse(&message.encode().unwrap(), Version(2));
        assert!(matches!(refused, Err(FrameError::Unknown { .. })), "{label}: {refused:?}");
    }
    for reserved in FrameType::ALL.iter().filter(|kind| !Version::V1.lists(**kind)) {
        let parsed = Message::parse(&[&header(reserved.tag(), 1)[..], &[0xa0]].concat(), Version::V1);
        let skipped = reserved.tag() >= 0x80;
        assert_eq!(parsed.is_ok(), skipped, "{reserved:?}: {parsed:?}");
    }
}

#[test]
fn unknown_keys_are_ignored_and_bytes_after_the_end_are_not() {
    // {0: 5, 9: [1, "x"]}
    let body = [0xa2, 0x00, 0x05, 0x09, 0x82, 0x01, 0x61, b'x'];
    assert_eq!(Message::decode(FrameType::Ping, &body), Ok(Ping { nonce: 5 }.into()));
    let longer = [&body[..], &[0]].concat();
    assert!(matches!(Message::decode(FrameType::Ping, &longer), Err(FrameError::Malformed { .. })));
    assert!(matches!(Message::decode(FrameType::Ping, &[0xa0]), Err(FrameError::Malformed { .. })), "a key is missing");
}

#[test]
fn an_absent_value_may_be_null() {
    // Rule {0: 1, 1: "a.example", 2: null, 3: 1, 4: {0: null}} in a Table of revision 5.
    let rule = [&[0xa5, 0x00, 0x01, 0x01, 0x69][..], b"a.example", &[0x02, 0xf6, 0x03, 0x01, 0x04, 0xa1, 0x00, 0xf6]];
    let body = [&[0xa2, 0x00, 0x05, 0x01, 0x81][..], &rule.concat()].concat();
    let Ok(Message::Table(table)) = Message::decode(FrameType::Table, &body) else { panic!("a table") };
    assert_eq!((table.rules[0].path.as_ref(), table.rules[0].http.host_header.as_ref()), (None, None));
}

#[test]
fn an_unknown_code_means_the_general_one_where_there_is_one() {
    // Drain {0: 999, 1: 1} and a rule of kind 999.
    let drain = [0xa2, 0x00, 0x19, 0x03, 0xe7, 0x01, 0x01];
    let read = Message::decode(FrameType::Drain, &drain);
    assert_eq!(read, Ok(Drain { reason: DrainReason::Unspecified, deadline_secs: 1 }.into()));
    let refuse = [0xa3, 0x00, 0x19, 0x03, 0xe7, 0x01, 0x60, 0x02, 0xf5];
    let read = Message::decode(FrameType::Refuse, &refuse);
    assert_eq!(read, Ok(Refuse { code: LinkRefusal::Internal, text: String::new(), retryable: true }.into()));
    let (_, table) = examples().into_iter().find(|(label, _)| *label == "Table").unwrap();
    let mut bytes = table.encode().unwrap();
    // The key 3 and the kind of the first rule.
    let kind = bytes.windows(2).position(|pair| pair == [0x03, 0x01]).unwrap();
    bytes[kind + 1] = 0x17;
    assert!(matches!(Message::parse(&bytes, Version::V1), Err(FrameError::Malformed { .. })));
}

#[test]
fn lists_and_texts_have_their_limits_both_ways() {
    let rule = |id| Rule {
        id: tunnel_proto::RuleId(id),
        hostname: "a.example".parse().unwrap(),
        path: None,
        kind: ServiceKind::Http,
        http: HttpOptions::default(),
    };
    let table = |rules: u32| Table { revision: tunnel_proto::Revision(1), rules: (0..rules).map(rule).collect() };
    assert!(Message::from(table(1024)).encode().is_ok());
    assert!(Message::from(table(1025)).encode().is_err());
    let refused = |len| Message::from(StreamRefused { code: StreamRefusal::Internal, text: "x".repeat(len) });
    assert!(refused(TEXT_MAX).encode().is_ok());
    assert!(refused(TEXT_MAX + 1).encode().is_err());
    // {0: 0, 1: 513 bytes of text}
    let body = [&[0xa2, 0x00, 0x00, 0x01, 0x79, 0x02, 0x01][..], &[b'x'; 513]].concat();
    assert!(matches!(Message::decode(FrameType::StreamRefused, &body), Err(FrameError::Malformed { .. })));
    assert_eq!(short_text("あ".repeat(TEXT_MAX)).len(), TEXT_MAX - TEXT_MAX % 3, "cut between characters");
}
