//! The frame: one byte of type, three bytes of length, then a CBOR map. Control frames and stream openings are the same.
//!
//! Nothing here reads or waits; a reader hands over the four bytes of a header, learns how much follows, and hands that
//! over too.

use crate::version::Version;

/// The bytes of a frame's header: the type, then the length of the body as a 24-bit big-endian number.
pub const HEADER_LEN: usize = 4;
/// Set in the type of a frame that a receiver may skip when it does not know it. Any other unknown frame is refused.
pub const IGNORABLE: u8 = 0x80;

/// The longest body of `Hello`, `Welcome` and `Refuse`: what a peer that has said nothing yet can make us hold.
pub const HANDSHAKE_FRAME_MAX: usize = 16 * 1024;
/// The longest body of `Table`, and so of any frame: a thousand rules with long paths.
pub const TABLE_FRAME_MAX: usize = 1024 * 1024;
/// The longest body of any other control frame: certificates and requests in PEM, a list of tunnels.
pub const CONTROL_FRAME_MAX: usize = 128 * 1024;
/// The longest body of `Open`, `Accepted` and `StreamRefused`: every stream begins with one.
pub const STREAM_FRAME_MAX: usize = 4 * 1024;
/// The longest body of a frame that is skipped because it is unknown and ignorable.
pub const SKIPPED_FRAME_MAX: usize = 16 * 1024;

macro_rules! frame_types {
    ($($(#[$doc:meta])* $variant:ident = $tag:literal max $max:ident,)*) => {
        /// Every tag there is. Retired and reserved tags stay listed, so that no number is ever given a second meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FrameType {
            $($(#[$doc])* $variant = $tag,)*
        }

        impl FrameType {
            /// Every type, in the order of the tags.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The type with this tag.
            pub const fn from_tag(tag: u8) -> Option<Self> {
                match tag {
                    $($tag => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The longest body, in bytes.
            pub const fn max_len(self) -> usize {
                match self { $(Self::$variant => $max,)* }
            }
        }
    };
}

frame_types! {
    /// The opening of a link, by the side that connected.
    Hello = 0x01 max HANDSHAKE_FRAME_MAX,
    /// The link is up.
    Welcome = 0x02 max HANDSHAKE_FRAME_MAX,
    /// The link is not wanted.
    Refuse = 0x03 max HANDSHAKE_FRAME_MAX,

    /// Are you there?
    Ping = 0x08 max CONTROL_FRAME_MAX,
    /// I am.
    Pong = 0x09 max CONTROL_FRAME_MAX,
    /// No new streams, please; live ones end in their own time.
    Drain = 0x0a max CONTROL_FRAME_MAX,

    /// A connector's table of rules, whole.
    Table = 0x10 max TABLE_FRAME_MAX,
    /// The table with this revision is in force.
    TableAccepted = 0x11 max CONTROL_FRAME_MAX,
    /// The table with this revision is not, and why; the one before it stays.
    TableRefused = 0x12 max CONTROL_FRAME_MAX,
    /// Asks for the next certificate.
    Renew = 0x13 max CONTROL_FRAME_MAX,
    /// The next certificate.
    Renewed = 0x14 max CONTROL_FRAME_MAX,
    /// Reserved: an edge asks a connector for its log. May be skipped.
    LogTail = 0x95 max CONTROL_FRAME_MAX,

    /// An operator asks for a tunnel.
    CreateTunnel = 0x20 max CONTROL_FRAME_MAX,
    /// The tunnel and its certificate.
    TunnelCreated = 0x21 max CONTROL_FRAME_MAX,
    /// An operator routes hostnames to a tunnel.
    Route = 0x22 max CONTROL_FRAME_MAX,
    /// An operator asks for its tunnels.
    List = 0x23 max CONTROL_FRAME_MAX,
    /// Its tunnels.
    Tunnels = 0x24 max CONTROL_FRAME_MAX,
    /// An operator deletes a tunnel.
    Delete = 0x25 max CONTROL_FRAME_MAX,
    /// An operator asks for a new certificate of a tunnel; the ones before it are revoked.
    Rotate = 0x26 max CONTROL_FRAME_MAX,
    /// What was asked is done.
    Done = 0x27 max CONTROL_FRAME_MAX,
    /// What was asked is not done, and why.
    Problem = 0x28 max CONTROL_FRAME_MAX,

    /// An access client presents a credential for an application.
    Present = 0x30 max CONTROL_FRAME_MAX,
    /// The credential opens the application.
    Granted = 0x31 max CONTROL_FRAME_MAX,
    /// It does not, and why.
    Refused = 0x32 max CONTROL_FRAME_MAX,
    /// A grant ended, and its streams with it.
    Revoked = 0x33 max CONTROL_FRAME_MAX,
    /// A stream of a grant was cut, and why.
    Cut = 0x34 max CONTROL_FRAME_MAX,

    /// The first frame of a stream from an edge.
    Open = 0x40 max STREAM_FRAME_MAX,
    /// The stream is a connection to the service from here on.
    Accepted = 0x41 max STREAM_FRAME_MAX,
    /// The stream is not.
    StreamRefused = 0x42 max STREAM_FRAME_MAX,
    /// The first frame of a stream from an access client.
    OpenGrant = 0x43 max STREAM_FRAME_MAX,
}

impl FrameType {
    /// The byte on the wire.
    pub const fn tag(self) -> u8 {
        self as u8
    }
}

/// What a header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A frame to read and decode.
    Frame {
        /// Its type.
        kind: FrameType,
        /// The length of its body, within the type's limit.
        len: usize,
    },
    /// A frame to read and drop.
    Skip {
        /// The length of its body, within [`SKIPPED_FRAME_MAX`].
        len: usize,
    },
}

impl Header {
    /// Judges a header on a link that speaks `version`. Whether the frame may come from this peer, and now, is judged by
    /// [`crate::version::Version::allows`].
    pub fn parse(bytes: [u8; HEADER_LEN], version: Version) -> Result<Self, FrameError> {
        let [tag, a, b, c] = bytes;
        // At most 2^24 - 1, which any `usize` holds that tokio supports.
        let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        match FrameType::from_tag(tag).filter(|kind| version.lists(*kind)) {
            Some(kind) if len <= kind.max_len() => Ok(Self::Frame { kind, len }),
            None if tag & IGNORABLE != 0 && len <= SKIPPED_FRAME_MAX => Ok(Self::Skip { len }),
            None if tag & IGNORABLE == 0 => Err(FrameError::Unknown { tag, version }),
            _ => Err(FrameError::TooLong { tag, len }),
        }
    }

    /// The length of the body that follows.
    pub const fn body_len(&self) -> usize {
        match self {
            Self::Frame { len, .. } | Self::Skip { len } => *len,
        }
    }
}

/// Puts a header before `body`.
pub(crate) fn assemble(kind: FrameType, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let too_long = FrameError::TooLong { tag: kind.tag(), len: body.len() };
    if body.len() > kind.max_len() {
        return Err(too_long);
    }
    let [_, a, b, c] = u32::try_from(body.len()).map_err(|_| too_long)?.to_be_bytes();
    let mut frame = Vec::with_capacity(HEADER_LEN.saturating_add(body.len()));
    frame.extend_from_slice(&[kind.tag(), a, b, c]);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The type is not one that this version of the protocol has, and may not be skipped.
    #[error("frame type {tag:#04x} does not belong to version {version}")]
    Unknown {
        /// The type's byte.
        tag: u8,
        /// The version that the link speaks.
        version: Version,
    },
    /// The body is longer than its type allows.
    #[error("a frame of type {tag:#04x} with {len} bytes is too long")]
    TooLong {
        /// The type's byte.
        tag: u8,
        /// The announced length.
        len: usize,
    },
    /// The frame exists, but this peer may not send it, or not now.
    #[error("frame {kind:?} is out of place")]
    OutOfPlace {
        /// The frame's type.
        kind: FrameType,
    },
    /// The body is not what its type says.
    #[error("malformed {kind:?}: {reason}")]
    Malformed {
        /// The frame's type.
        kind: FrameType,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes end before the frame does.
    #[error("the frame is cut short")]
    Short,
}
