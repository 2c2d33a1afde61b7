//! Where the frames of a WebSocket end (RFC 6455 §5.2): their heads are followed, and what they carry is passed over unread.
//! Extensions change nothing in that, compression included.

/// The opcode in a frame's first byte.
const OPCODE: u8 = 0x0f;
/// That of a Close, behind which nothing follows (RFC 6455 §5.5.1).
const CLOSE: u8 = 8;
/// Whether a masking key comes, in the second byte. A server has none to send; one that does is followed as well.
const MASKED: u8 = 0x80;
/// How long that key is.
const KEY: u64 = 4;
/// Lengths in the second byte that stand for one in the next two bytes, or in the next eight.
const IN_TWO: u8 = 126;
const IN_EIGHT: u8 = 127;
/// The longest payload: the first bit of its length is 0.
const PAYLOAD_MAX: u64 = u64::MAX >> 1;

/// Follows what one side sends, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(super) struct Frames {
    at: At,
    /// The present frame is a Close.
    closes: bool,
}

/// Where what has been sent ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Between two frames, or before the first.
    #[default]
    Between,
    /// Behind the first byte of a frame.
    Opcode,
    /// In a length of several bytes: so many of them are still to come.
    Length { left: u8, known: u64, masked: bool },
    /// Before so many bytes of key and payload.
    Payload(u64),
    /// Behind a Close, or in what is no frame.
    Over,
}

impl Frames {
    /// Goes on with the next bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, behind)) = bytes.split_first() {
            (self.at, bytes) = match self.at {
                At::Between => {
                    self.closes = byte & OPCODE == CLOSE;
                    (At::Opcode, behind)
                }
                At::Opcode => {
                    let masked = byte & MASKED != 0;
                    let at = match byte & !MASKED {
                        IN_TWO => At::Length { left: 2, known: 0, masked },
                        IN_EIGHT => At::Length { left: 8, known: 0, masked },
                        length => self.before(u64::from(length), masked),
                    };
                    (at, behind)
                }
                At::Length { left, known, masked } => {
                    let (left, known) = (left.saturating_sub(1), (known << 8) | u64::from(byte));
                    let at = if left > 0 { At::Length { left, known, masked } } else { self.before(known, masked) };
                    (at, behind)
                }
                At::Payload(left) => {
                    let some = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let at = self.rest(left.saturating_sub(some as u64));
                    (at, bytes.get(some..).unwrap_or_default())
                }
                At::Over => return,
            };
        }
    }

    /// Whether a frame may be put behind what was sent: that ends where a frame does, and nothing in it was a Close.
    pub(super) fn takes_another(&self) -> bool {
        self.at == At::Between
    }

    /// Behind a length.
    fn before(&self, length: u64, masked: bool) -> At {
        if length > PAYLOAD_MAX {
            return At::Over;
        }
        self.rest(length.saturating_add(if masked { KEY } else { 0 }))
    }

    /// Before so many bytes of the present frame.
    fn rest(&self, left: u64) -> At {
        match left {
            0 if self.closes => At::Over,
            0 => At::Between,
            left => At::Payload(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    };

    use super::*;

    fn after(bytes: &[u8]) -> bool {
        let mut frames = Frames::default();
        frames.follow(bytes);
        frames.takes_another()
    }

    #[test]
    fn only_a_whole_frame_is_one_and_behind_a_close_there_is_none() {
        for (bytes, expected) in [
            (&b""[..], true),
            // The examples of RFC 6455 §5.7.
            (b"\x81\x05Hello", true),
            (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", true),
            (b"\x01\x03Hel", true),
            (b"\x01\x03Hel\x80\x02lo", true),
            (b"\x89\x05Hello", true),
            // Nothing in it, with and without a key.
            (b"\x82\x00", true),
            (b"\x82\x80\x01\x02\x03\x04", true),
            (b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00", true),
            (b"\x82\x80\x01\x02\x03", false),
            (b"\x82", false),
            (b"\x82\x7e\x00", false),
            (b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x02a", false),
            // No length has its first bit.
            (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", false),
            (b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", false),
            (b"\x88\x02\x03\xe8", false),
            (b"\x88\x00", false),
            (b"\x88\x00\x81\x00", false),
            // A Close inside of a payload is none.
            (b"\x82\x02\x88\x00", true),
        ] {
            assert_eq!(after(bytes), expected, "{bytes:02x?}");
        }
        // The longest payload never comes to its end.
        assert!(!after(&[&b"\xc2\xff\x7f\xff\xff\xff\xff\xff\xff\xff"[..], &[0x88; 100_000]].concat()));
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![0..4_usize, 120..130_usize, 65_530..65_540_usize, 0..3000_usize]
    }

    fn opcode() -> impl Strategy<Value = OpCode> {
        let data = [Data::Continue, Data::Text, Data::Binary, Data::Reserved(5)].map(OpCode::Data);
        let control = [Control::Ping, Control::Pong, Control::Reserved(11)].map(OpCode::Control);
        proptest::sample::select([data.to_vec(), control.to_vec()].concat())
    }

    fn written(opcode: OpCode, length: usize, (is_final, rsv1, masked, fill): (bool, bool, bool, u8)) -> Vec<u8> {
        let mask = masked.then_some([fill; 4]);
        let head = FrameHeader { is_final, rsv1, opcode, mask, ..FrameHeader::default() };
        let mut bytes = Vec::new();
        head.format(length as u64, &mut bytes).unwrap();
        bytes.extend(vec![fill; length]);
        bytes
    }

    proptest! {
        // H8: what the library writes, in pieces that know nothing of frames.
        #[test]
        fn the_end_of_every_frame_is_known_and_nothing_else_is_one(
            frames in proptest::collection::vec((opcode(), lengths(), any::<(bool, bool, bool, u8)>()), 0..8),
            cuts in proptest::collection::vec(prop_oneof![1..4_usize, 1..9000_usize], 1..20),
            closed in any::<bool>(),
        ) {
            let (mut bytes, mut ends) = (Vec::new(), vec![0]);
            for (opcode, length, rest) in frames {
                bytes.extend(written(opcode, length, rest));
                ends.push(bytes.len());
            }
            if closed {
                bytes.extend(written(OpCode::Control(Control::Close), 2, (true, false, false, 3)));
                bytes.extend(written(OpCode::Data(Data::Text), 2, (true, false, false, 3)));
            }
            let (mut followed, mut at) = (Frames::default(), 0);
            for size in cuts.into_iter().cycle() {
                prop_assert_eq!(followed.takes_another(), ends.contains(&at), "after {} bytes", at);
                let rest = &bytes[at..];
                if rest.is_empty() {
                    break;
                }
                let piece = &rest[..size.min(rest.len())];
                followed.follow(piece);
                at += piece.len();
            }
        }
    }
}
