//! What a machine may be short of when it connects to something.

use std::io;

/// What this program or its system has none left of. That passes, and says nothing about what was to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Descriptors, of this program or of the whole system.
    Descriptors,
    /// Local ports for connections to that address.
    Ports,
    /// Memory, or the system's room for sockets. Windows says so of ports, too.
    Room,
    /// Something that is taken for the moment, such as the places in the queue of a Unix socket.
    Moment,
}

impl Shortage {
    /// What is short by `error`, if anything is: one of looking a name up, or of connecting from any local port.
    pub fn of(error: &io::Error) -> Option<Self> {
        match (error.raw_os_error(), error.kind()) {
            // ENFILE and EMFILE of Linux and macOS, WSAEMFILE of Windows: the standard library has no name for them.
            (Some(23 | 24 | 10_024), _) => Some(Self::Descriptors),
            // ENOBUFS of Linux, macOS and Windows, which has no name either. ENOMEM has one.
            (Some(105 | 55 | 10_055), _) | (_, io::ErrorKind::OutOfMemory) => Some(Self::Room),
            // Nobody chose the local port, so that what is taken is every one of them.
            (_, io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse) => Some(Self::Ports),
            (_, io::ErrorKind::WouldBlock) => Some(Self::Moment),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_is_wrong() {
        let number = io::Error::from_raw_os_error;
        for (error, short) in [
            (number(23), Some(Shortage::Descriptors)),
            (number(24), Some(Shortage::Descriptors)),
            (number(10_024), Some(Shortage::Descriptors)),
            (number(55), Some(Shortage::Room)),
            (number(105), Some(Shortage::Room)),
            (number(10_055), Some(Shortage::Room)),
            (io::ErrorKind::OutOfMemory.into(), Some(Shortage::Room)),
            (io::ErrorKind::AddrNotAvailable.into(), Some(Shortage::Ports)),
            (io::ErrorKind::AddrInUse.into(), Some(Shortage::Ports)),
            (io::ErrorKind::WouldBlock.into(), Some(Shortage::Moment)),
            (io::ErrorKind::ConnectionRefused.into(), None),
            (io::ErrorKind::NetworkUnreachable.into(), None),
            (io::Error::other("no such name"), None),
        ] {
            assert_eq!(Shortage::of(&error), short, "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_number_for_no_memory_has_a_name() {
        assert_eq!(Shortage::of(&io::Error::from_raw_os_error(12)), Some(Shortage::Room));
    }
}
