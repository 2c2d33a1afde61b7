//! yamux on the wire: a header of twelve bytes, then the payload of data frames.
//!
//! Source: <https://github.com/hashicorp/yamux/blob/master/spec.md>, version 0.

/// The bytes of a header.
pub const HEADER: usize = 12;

/// The bits of [`Header::flags`].
pub mod flags {
    /// Opens a stream; in a ping, asks for an answer.
    pub const SYN: u16 = 1;
    /// Acknowledges a stream; in a ping, is the answer.
    pub const ACK: u16 = 2;
    /// Ends the sender's direction of a stream.
    pub const FIN: u16 = 4;
    /// Ends a stream at once.
    pub const RST: u16 = 8;
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Payload of a stream; the length says how much follows.
    Data = 0,
    /// More credit for a stream; the length says how much.
    WindowUpdate = 1,
    /// A question or an answer; the length is its number.
    Ping = 2,
    /// The end of everything; the length is a reason.
    GoAway = 3,
}

/// One header, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// See [`flags`]; unknown ones are ignored.
    pub flags: u16,
    /// The stream, or 0 for the connection.
    pub stream: u32,
    /// A number whose meaning depends on the kind.
    pub len: u32,
}

impl Header {
    /// Reads a header; `None` if its version or kind is not of the protocol.
    pub fn parse(bytes: [u8; HEADER]) -> Option<Self> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let kind = match (version, kind) {
            (0, 0) => Kind::Data,
            (0, 1) => Kind::WindowUpdate,
            (0, 2) => Kind::Ping,
            (0, 3) => Kind::GoAway,
            _ => return None,
        };
        Some(Self {
            kind,
            flags: u16::from_be_bytes([f0, f1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            len: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }

    /// The header as it is sent.
    pub fn bytes(self) -> [u8; HEADER] {
        let [f0, f1] = self.flags.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [l0, l1, l2, l3] = self.len.to_be_bytes();
        [0, self.kind as u8, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    /// The bytes that follow the header.
    pub fn body(self) -> usize {
        if self.kind == Kind::Data { usize::try_from(self.len).unwrap_or(usize::MAX) } else { 0 }
    }

    /// Whether it has this flag.
    pub const fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether it is about a stream.
    pub const fn is_of_a_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::WindowUpdate)
    }
}

/// Where in a frame the bytes of one direction are.
#[derive(Debug, Default)]
pub(super) struct Place {
    header: [u8; HEADER],
    have: usize,
    /// What is missing of the present frame's payload.
    pub(super) body: usize,
}

impl Place {
    /// Takes what the header still lacks from the front of `bytes`; the header once it is whole.
    pub(super) fn take_header(&mut self, bytes: &mut &[u8]) -> Option<[u8; HEADER]> {
        // Whole headers are the rule, and need no copy in pieces.
        if self.have == 0
            && let Some((header, rest)) = bytes.split_first_chunk::<HEADER>()
        {
            *bytes = rest;
            return Some(*header);
        }
        let taken = bytes.len().min(HEADER - self.have);
        let (head, rest) = bytes.split_at(taken);
        for (slot, byte) in self.header.iter_mut().skip(self.have).zip(head) {
            *slot = *byte;
        }
        *bytes = rest;
        self.have += taken;
        if self.have < HEADER {
            return None;
        }
        self.have = 0;
        Some(self.header)
    }

    /// Whether no frame has begun that has not ended.
    pub(super) const fn is_between(&self) -> bool {
        self.have == 0 && self.body == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_is_what_the_specification_says() {
        let bytes = [0, 1, 0, 5, 0, 0, 0, 7, 0, 1, 0, 0];
        let header = Header { kind: Kind::WindowUpdate, flags: flags::SYN | flags::FIN, stream: 7, len: 0x1_0000 };
        assert_eq!(Header::parse(bytes), Some(header));
        assert_eq!(header.bytes(), bytes);
        assert_eq!(Header::parse([1, 1, 0, 5, 0, 0, 0, 7, 0, 1, 0, 0]), None, "a version that there is not");
        assert_eq!(Header::parse([0, 4, 0, 5, 0, 0, 0, 7, 0, 1, 0, 0]), None, "a kind that there is not");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in any::<[u8; HEADER]>()) {
            if let Some(header) = Header::parse(bytes) {
                prop_assert_eq!(header.bytes(), bytes);
            }
        }

        #[test]
        fn a_header_is_the_same_in_whatever_pieces_it_comes(bytes in any::<[u8; HEADER]>(), cut in 0..=HEADER) {
            let mut place = Place::default();
            let (mut first, mut second) = bytes.split_at(cut);
            let whole = place.take_header(&mut first).or_else(|| place.take_header(&mut second));
            prop_assert_eq!(whole, Some(bytes));
            prop_assert!(place.is_between() && first.is_empty() && second.is_empty());
        }
    }
}
