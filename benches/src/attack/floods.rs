//! The floods: what is sent, by whom, and what is done with streams on the side that has to bear it.

use std::time::Duration;

use tunnel_proto::{
    GrantId,
    frame::FrameType,
    link::Settings,
    message::{Message, OpenGrant, Role},
    mux::{Header, Kind, WINDOW_START, flags},
};

/// What an edge holds for whoever has shown no credential yet.
const STRANGER_MEMORY: usize = 256 * 1024;
/// Time for a frame to be finished, and for something to be taken of what is sent: an edge gives ten seconds and a minute.
const DEADLINE: Duration = Duration::from_secs(1);
/// Streams on which more is sent than a link may hold: each takes nearly its window.
const HOARDS: u32 = 320;
/// Frames of 16 KiB that each of them takes, with what opened it, before its window is used up.
const HOARD_FRAMES: u32 = 15;
/// Streams that a stranger opens first, at most: 200 in a second are borne.
const OF_STRANGERS: u32 = 100;

/// Who floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody without a certificate, who has shown no credential.
    Stranger,
    /// An access client whose credential was good.
    Client,
    /// An enrolled connector.
    Connector,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::Stranger, Self::Client, Self::Connector];

    /// How the command line names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Client => "client",
            Self::Connector => "connector",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Stranger => "Of somebody without a certificate or a credential",
            Self::Client => "Of an access client whose credential was good",
            Self::Connector => "Of an enrolled connector",
        }
    }

    pub(super) const fn role(self) -> Role {
        match self {
            Self::Stranger | Self::Client => Role::Access,
            Self::Connector => Role::Connector,
        }
    }

    /// How an edge runs a link to it, from the beginning, with shorter deadlines.
    pub(super) fn settings(self) -> Settings {
        let settings = match self {
            // Whoever shows a credential later begins as a stranger, too.
            Self::Stranger | Self::Client => {
                Settings { memory: STRANGER_MEMORY, stranger: true, ..Settings::default() }
            }
            Self::Connector => Settings::for_edge(),
        };
        Settings { frame_deadline: DEADLINE, write_deadline: DEADLINE, ..settings }
    }

    /// The number of a stream, the first of which is 0: of those that it opens, or that are opened to it.
    fn stream(self, index: u32) -> u32 {
        match self {
            Self::Stranger | Self::Client => 3 + 2 * index,
            Self::Connector => 2 + 2 * index,
        }
    }
}

/// What is done with streams on the other side. Those of a stranger are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// They are read, as fast as anything comes.
    Read,
    /// They are held, and nothing is read.
    Hold,
    /// As much is sent on them as may be.
    Send,
}

/// One kind of flood.
#[derive(Debug)]
pub(super) struct Flood {
    pub(super) name: &'static str,
    peers: &'static [Peer],
    /// Streams that there are from the beginning: a connector's are opened to it, others open theirs.
    streams: u32,
    pub(super) does: Does,
    /// Whether the flooder reads what answers it.
    pub(super) reads_answers: bool,
    /// How long it waits after each piece.
    pub(super) pace: Option<Duration>,
    /// The n-th piece: whole frames. `None`: nothing more, and the flooder stays.
    pub(super) piece: fn(Peer, u32) -> Option<Vec<u8>>,
}

/// What most of them are, but for what is sent.
const PLAIN: Flood = Flood {
    name: "",
    peers: &Peer::ALL,
    streams: 0,
    does: Does::Read,
    reads_answers: true,
    pace: None,
    piece: |_, _| None,
};

/// Those that open streams for themselves.
const ACCESS: &[Peer] = &[Peer::Stranger, Peer::Client];
/// Those with whom streams are held open.
const KNOWN: &[Peer] = &[Peer::Client, Peer::Connector];

/// No flood at all: what the end of any link costs.
pub(super) const GOODBYE: Flood = Flood {
    name: "the end of everything, at once",
    piece: |_, n| (n == 0).then(|| bare(Kind::GoAway, 0, 0, 0)),
    ..PLAIN
};

pub(super) const FLOODS: &[Flood] = &[
    GOODBYE,
    Flood {
        name: "frames of one byte, on the control stream",
        // Messages of no known kind, which may be skipped, without a body.
        piece: |_, n| Some(data(1, 0, &[if n % 4 == 0 { FrameType::LogTail.tag() } else { 0 }])),
        ..PLAIN
    },
    Flood {
        name: "frames of one byte, which nobody reads",
        peers: KNOWN,
        streams: 1,
        does: Does::Hold,
        piece: |peer, _| Some(data(peer.stream(0), 0, b"x")),
        ..PLAIN
    },
    Flood { name: "pings", piece: |_, n| Some(bare(Kind::Ping, flags::SYN, 0, n)), ..PLAIN },
    Flood { name: "window updates of nothing", piece: |_, _| Some(bare(Kind::WindowUpdate, 0, 1, 0)), ..PLAIN },
    Flood {
        name: "more credit than can be counted",
        piece: |_, _| Some(bare(Kind::WindowUpdate, 0, 1, 0xffff_0000)),
        ..PLAIN
    },
    Flood {
        name: "openings that are reset at once",
        piece: |_, n| {
            let id = 3 + 2 * n;
            Some([data(id, flags::SYN, &opening()), bare(Kind::Data, flags::RST, id, 0)].concat())
        },
        ..PLAIN
    },
    Flood {
        name: "openings without end",
        peers: ACCESS,
        does: Does::Hold,
        piece: |peer, n| Some(data(peer.stream(n), flags::SYN, &opening())),
        ..PLAIN
    },
    Flood {
        name: "openings without end, of which no answer is read",
        peers: ACCESS,
        does: Does::Hold,
        reads_answers: false,
        piece: |peer, n| Some(data(peer.stream(n), flags::SYN, &opening())),
        ..PLAIN
    },
    Flood {
        name: "openings that are begun and not finished",
        peers: ACCESS,
        piece: |peer, n| Some(data(peer.stream(n), flags::SYN, &unfinished())),
        ..PLAIN
    },
    Flood {
        name: "a frame that is begun and not finished",
        piece: |_, n| (n == 0).then(|| bare(Kind::Data, 0, 1, 100_000)),
        ..PLAIN
    },
    Flood {
        name: "a frame larger than its window",
        // The window of the control stream is used up in part, that of a new one not at all.
        piece: |peer, _| match peer {
            Peer::Connector => Some(bare(Kind::Data, 0, 1, WINDOW_START as u32 + 1)),
            Peer::Stranger | Peer::Client => Some(bare(Kind::Data, flags::SYN, 3, WINDOW_START as u32 + 1)),
        },
        ..PLAIN
    },
    Flood {
        name: "data for streams that there are not",
        piece: |_, n| Some(data(1001 + 2 * (n % 1000), 0, &[7; 40])),
        ..PLAIN
    },
    Flood {
        name: "data that nobody reads",
        streams: HOARDS,
        does: Does::Hold,
        piece: |peer, n| {
            let streams = of(peer, HOARDS);
            (n / streams < HOARD_FRAMES).then(|| data(peer.stream(n % streams), 0, &[7; 16 * 1024]))
        },
        ..PLAIN
    },
    Flood {
        name: "nothing taken of what is sent, with signs of life",
        peers: KNOWN,
        streams: 16,
        does: Does::Send,
        reads_answers: false,
        pace: Some(Duration::from_millis(50)),
        piece: |_, _| Some(bare(Kind::WindowUpdate, 0, 1, 0)),
    },
];

impl Flood {
    /// Whether it says something about this peer.
    pub(super) fn is_for(&self, peer: Peer) -> bool {
        self.peers.contains(&peer)
    }

    /// Streams that are opened to the peer before.
    pub(super) fn opened_to(&self, peer: Peer) -> u32 {
        if peer == Peer::Connector { self.streams } else { 0 }
    }

    /// Everything that the peer sends, piece by piece: its streams come first.
    pub(super) fn pieces(&self, peer: Peer) -> impl Iterator<Item = Vec<u8>> {
        let opens = if peer == Peer::Connector { 0 } else { of(peer, self.streams) };
        let piece = self.piece;
        let openings = (0..opens).map(move |index| data(peer.stream(index), flags::SYN, &opening()));
        openings.chain((0..).map_while(move |n| piece(peer, n)))
    }
}

fn of(peer: Peer, streams: u32) -> u32 {
    if peer == Peer::Stranger { streams.min(OF_STRANGERS) } else { streams }
}

/// A frame of the multiplexer without what may follow its header.
pub(super) fn bare(kind: Kind, flags: u16, stream: u32, len: u32) -> Vec<u8> {
    Header { kind, flags, stream, len }.bytes().to_vec()
}

/// A frame of the multiplexer with data.
pub(super) fn data(stream: u32, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = bare(Kind::Data, flags, stream, u32::try_from(body.len()).unwrap());
    frame.extend_from_slice(body);
    frame
}

/// What a stream of an access client begins with.
fn opening() -> Vec<u8> {
    Message::from(OpenGrant { grant: GrantId(1), destination: None }).encode().unwrap()
}

/// The longest one that there may be, without its end.
fn unfinished() -> Vec<u8> {
    let mut opening = vec![FrameType::OpenGrant.tag(), 0, 0x10, 0];
    opening.resize(4000, 0);
    opening
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flood_has_a_name_of_its_own_and_pieces_for_whom_it_is() {
        for (at, flood) in FLOODS.iter().enumerate() {
            assert!(FLOODS.iter().skip(at + 1).all(|other| other.name != flood.name), "{}", flood.name);
            for peer in Peer::ALL.into_iter().filter(|peer| flood.is_for(*peer)) {
                assert!(flood.pieces(peer).next().is_some(), "{} by a {}", flood.name, peer.name());
            }
        }
    }
}
