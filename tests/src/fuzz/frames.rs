//! Frames and messages of the wire.

use tunnel_proto::{
    frame::{FrameError, HEADER_LEN, Header, SKIPPED_FRAME_MAX, TABLE_FRAME_MAX},
    message::Message,
    version::Version,
};

/// Whatever bytes come, they are read within limits; what is understood is written so that it is understood the same.
pub(super) fn run(data: &[u8]) {
    let mut rest = data;
    loop {
        match Message::parse(rest, Version::V1) {
            Ok((message, taken)) => {
                assert!(taken >= HEADER_LEN && taken <= rest.len(), "{taken} of {} bytes were taken", rest.len());
                if let Some(message) = &message {
                    again(message, &rest[..taken]);
                } else {
                    assert!(taken <= HEADER_LEN + SKIPPED_FRAME_MAX, "a frame of {taken} bytes is not skipped");
                }
                rest = &rest[taken..];
            }
            Err(error) => return refused(rest, &error),
        }
    }
}

fn again(message: &Message, frame: &[u8]) {
    let kind = message.kind();
    assert_eq!(kind.tag(), frame[0]);
    assert!(Version::V1.lists(kind), "{kind:?} belongs to no version");
    let body = &frame[HEADER_LEN..];
    assert!(body.len() <= kind.max_len(), "{kind:?} of {} bytes was read", body.len());
    // What was read may have been written at more length than need be, but what we make of it fits.
    let written =
        message.encode().unwrap_or_else(|error| panic!("{message:?} was read and cannot be written: {error}"));
    let read = Message::parse(&written, Version::V1);
    assert_eq!(read, Ok((Some(message.clone()), written.len())), "{message:?} does not come back");
    assert_eq!(message.encode().as_ref(), Ok(&written), "a message is written in one way");
    // One frame for another: a body means nothing under a type that is not its own limit's.
    for cut in [0, body.len() / 2, body.len().saturating_sub(1)] {
        if cut < body.len() {
            let _ = Message::decode(kind, &body[..cut]);
        }
    }
}

fn refused(rest: &[u8], error: &FrameError) {
    let Some((header, body)) = rest.split_first_chunk::<HEADER_LEN>() else {
        return assert_eq!(*error, FrameError::Short, "less than a header is a frame cut short");
    };
    match Header::parse(*header, Version::V1) {
        // A peer cannot make anybody wait for more than the longest frame.
        Ok(header) => {
            assert!(header.body_len() <= TABLE_FRAME_MAX);
            assert_eq!(*error == FrameError::Short, body.len() < header.body_len(), "{error}");
        }
        Err(said) => assert_eq!(*error, said),
    }
}
