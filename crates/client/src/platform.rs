//! What differs between operating systems: owner-only files, and whose a local connection is. Windows and macOS are
//! written and untested.

use std::{fs, io, net::SocketAddr, path::Path};

/// Creates a file that only its owner can read, and fails if there is one already.
pub(crate) fn create_private(path: &Path) -> io::Result<fs::File> {
    private_options().create_new(true).open(path)
}

/// Opens a file for writing, creating it if need be.
pub(crate) fn open_private(path: &Path) -> io::Result<fs::File> {
    private_options().create(true).truncate(false).open(path)
}

fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Creates a directory, and those above it, that only its owner can enter.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Whether others than the owner can read or change what is there.
pub(crate) fn is_exposed(metadata: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        metadata.permissions().mode() & 0o077 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

/// Whether it belongs to the user of this process.
pub(crate) fn is_ours(metadata: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == rustix::process::geteuid().as_raw()
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        true
    }
}

/// Whether both are of the same file, and neither of a link to it.
pub(crate) fn is_same(named: &fs::Metadata, opened: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        named.is_file() && (named.dev(), named.ino()) == (opened.dev(), opened.ino())
    }
    #[cfg(not(unix))]
    {
        named.is_file() && opened.is_file()
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        fs::File::open(path)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(())
    }
}

/// Another user of this machine whose program holds the other end of a connection from `peer` to `local`; `None` where it
/// is this user or root, and on systems that do not tell. An end that no program holds any more is an error: it could have
/// been anybody's.
pub(crate) fn foreign_user(local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
    #[cfg(target_os = "linux")]
    {
        let us = rustix::process::geteuid().as_raw();
        let owner = linux::owner(peer, local)?;
        Ok(Some(owner).filter(|owner| *owner != us && *owner != 0))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (local, peer);
        Ok(None)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        net::{IpAddr, Ipv6Addr, SocketAddr},
    };

    use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_sock_diag::{
        SockDiagMessage,
        constants::{AF_INET, AF_INET6, IPPROTO_TCP},
        inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
    };
    use netlink_sys::{Socket, SocketAddr as Port, protocols::NETLINK_SOCK_DIAG};

    /// Any socket with these addresses.
    const ANY_COOKIE: [u8; 8] = [0xff; 8];

    /// The states of a socket that may have a program at it: established, the two of one that has ended its own direction,
    /// and the one whose other direction has ended.
    const HELD_STATES: [&str; 4] = ["01", "04", "05", "08"];
    /// What stands for the file of a socket that no program holds: the user beside it says nothing, and is that of root.
    const NO_INODE: &str = "0";

    /// The same states, as the system numbers them.
    const HELD: [u8; 4] = [1, 4, 5, 8];

    /// The user of the socket whose own address is `own` and which is connected to `other`. The system is asked for that one
    /// socket, which takes microseconds; where it does not answer, all sockets are looked through, which takes milliseconds.
    pub(super) fn owner(own: SocketAddr, other: SocketAddr) -> io::Result<u32> {
        match asked(own, other) {
            Ok(Some(user)) => Ok(user),
            // What tells of sockets may be missing, and says the same as of a socket that is not there.
            Ok(None) => looked_up(own, other),
            Err(error) => {
                tracing::debug!(%error, "the system does not tell of one socket");
                looked_up(own, other)
            }
        }
    }

    /// Asks for one socket (sock_diag(7)).
    pub(super) fn asked(own: SocketAddr, other: SocketAddr) -> io::Result<Option<u32>> {
        let (own, other) = (plain(own), plain(other));
        let request = InetRequest {
            family: if own.0.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: own.1,
                destination_port: other.1,
                source_address: own.0,
                destination_address: other.0,
                interface_id: 0,
                cookie: ANY_COOKIE,
            },
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        // To the kernel, and from nobody else.
        socket.connect(&Port::new(0, 0))?;
        socket.send(&bytes, 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                let found = found.header;
                let held = HELD.contains(&found.state) && found.inode != 0;
                let id = (found.socket_id.source_address.to_canonical(), found.socket_id.source_port);
                Ok(Some(found.uid).filter(|_| held && id == own))
            }
            NetlinkPayload::Error(error) if error.to_io().kind() == io::ErrorKind::NotFound => Ok(None),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::Error::other("the system answered something else than was asked")),
        }
    }

    fn looked_up(own: SocketAddr, other: SocketAddr) -> io::Result<u32> {
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = match std::fs::read_to_string(table) {
                Ok(text) => text,
                // A system without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(user) = find(&text, own, other) {
                return Ok(user);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the system does not say whose connection it is"))
    }

    pub(super) fn find(table: &str, own: SocketAddr, other: SocketAddr) -> Option<u32> {
        let (own, other) = (plain(own), plain(other));
        table.lines().skip(1).find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
            let state = fields.next()?;
            // Queues, timer and retransmissions stand before the user, one more timer before the inode.
            let user = fields.nth(3)?.parse().ok()?;
            let inode = fields.nth(1)?;
            let held = HELD_STATES.contains(&state) && inode != NO_INODE;
            (held && plain(local) == own && plain(remote) == other).then_some(user)
        })
    }

    fn plain(address: SocketAddr) -> (IpAddr, u16) {
        (address.ip().to_canonical(), address.port())
    }

    /// Reads `0100007F:1F90`: words of four bytes, each in the order of this machine.
    fn address(text: &str) -> Option<SocketAddr> {
        let (ip, port) = text.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let mut bytes = Vec::new();
        for word in ip.as_bytes().chunks(8) {
            let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
            Ok(four) => IpAddr::from(four),
            Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
        };
        Some(SocketAddr::new(ip, port))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        // C1
        #[test]
        fn the_user_of_a_connection_is_found_in_both_tables() {
            let four = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n   \
                1: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1\n";
            let at = |text: &str| text.parse::<SocketAddr>().unwrap();
            assert_eq!(find(four, at("127.0.0.1:54321"), at("127.0.0.1:8080")), Some(1001));
            assert_eq!(find(four, at("127.0.0.1:54322"), at("127.0.0.1:8080")), None);
            let six = "  sl  local_address rem_address   st\n   \
                0: 00000000000000000000000001000000:D431 00000000000000000000000001000000:1F90 01 0:0 00:0 0  1002 0 3 1\n   \
                1: 0000000000000000FFFF00000100007F:D431 0000000000000000FFFF00000100007F:1F90 01 0:0 00:0 0  1003 0 4 1\n";
            assert_eq!(find(six, at("[::1]:54321"), at("[::1]:8080")), Some(1002));
            assert_eq!(find(six, at("127.0.0.1:54321"), at("127.0.0.1:8080")), Some(1003));
        }

        // C1
        #[test]
        fn the_system_tells_of_one_connection_what_its_tables_tell() {
            for (listen, connect) in
                [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("127.0.0.1:0", "::ffff:127.0.0.1")]
            {
                let listener = std::net::TcpListener::bind(listen).unwrap();
                let port = listener.local_addr().unwrap().port();
                let near = std::net::TcpStream::connect((connect, port)).unwrap();
                let (far, peer) = listener.accept().unwrap();
                let us = rustix::process::geteuid().as_raw();
                let local = far.local_addr().unwrap();
                assert_eq!(asked(peer, local).unwrap(), Some(us), "{listen} {connect}");
                assert_eq!(looked_up(peer, local).unwrap(), us, "{listen} {connect}");
                drop(near);
                // Nobody's any more.
                assert_eq!(asked(peer, local).unwrap(), None, "{listen} {connect}");
                assert!(owner(peer, local).is_err());
            }
        }

        // C1
        #[test]
        fn an_end_that_no_program_holds_is_nobodys() {
            let at = |text: &str| text.parse::<SocketAddr>().unwrap();
            for (state, inode, user) in [
                ("01", 7, Some(1001)),
                ("04", 7, Some(1001)),
                ("05", 7, Some(1001)),
                ("08", 7, Some(1001)),
                ("01", 0, None),
                ("05", 0, None),
                ("02", 7, None),
                ("06", 0, None),
                ("06", 7, None),
                ("07", 7, None),
            ] {
                let table = format!(
                    "  sl  local_address rem_address   st\n   \
                    1: 0100007F:D431 0100007F:1F90 {state} 00000000:00000000 00:00000000 00000000  1001        0 {inode} 1\n"
                );
                assert_eq!(find(&table, at("127.0.0.1:54321"), at("127.0.0.1:8080")), user, "{state} {inode}");
            }
        }

        // C1
        #[test]
        fn a_program_that_ended_its_direction_is_known_and_one_that_is_gone_is_not() {
            use std::net::{Shutdown, TcpListener, TcpStream};
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let (_held, peer) = listener.accept().unwrap();
            assert_eq!(super::super::foreign_user(local, peer).unwrap(), None);
            drop(client);
            // Its end takes a moment; until then it is this user's all the same.
            let began = std::time::Instant::now();
            while super::super::foreign_user(local, peer).is_ok() {
                assert!(began.elapsed().as_secs() < 5, "an end that nobody holds is taken for somebody's");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}
