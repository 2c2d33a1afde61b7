//! Open files and sockets on their way from a process to the one that takes its place, over a pair of sockets of which one is
//! the new process's standard input.

/// The most handles in one message.
pub const HANDLES_MAX: usize = 64;
/// The longest message, in bytes.
const LINE_MAX: usize = 64 * 1024;
/// By which a process knows that its standard input is such a socket: the number of the process at its other end.
const VARIABLE: &str = "TUNNEL_EDGE_PREDECESSOR";

#[cfg(unix)]
mod imp {
    use std::{
        fs::File,
        io::{self, IoSlice, IoSliceMut},
        mem::MaybeUninit,
        net::TcpListener,
        os::{
            fd::{AsFd, BorrowedFd, OwnedFd},
            unix::net::UnixStream as StdStream,
        },
        process::{Command, Stdio},
    };

    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    };
    use tokio::{
        io::Interest,
        net::{UnixListener, UnixStream},
    };

    use super::{HANDLES_MAX, LINE_MAX, VARIABLE};

    /// An open file or socket, for another process to go on with.
    #[derive(Debug)]
    pub struct Handle(OwnedFd);

    impl Handle {
        /// The same listener.
        pub fn of_listener(listener: &impl AsFd) -> io::Result<Self> {
            listener.as_fd().try_clone_to_owned().map(Self)
        }

        /// The same listener.
        pub fn of_local(listener: &UnixListener) -> io::Result<Self> {
            listener.as_fd().try_clone_to_owned().map(Self)
        }

        /// The same open file, with the locks that it has.
        pub fn of_file(file: &File) -> io::Result<Self> {
            file.as_fd().try_clone_to_owned().map(Self)
        }

        /// The listener that it is, which blocks nobody.
        pub fn into_listener(self) -> io::Result<TcpListener> {
            let listener = TcpListener::from(self.0);
            listener.set_nonblocking(true)?;
            Ok(listener)
        }

        /// The listener that it is.
        pub fn into_local(self) -> io::Result<UnixListener> {
            let listener = std::os::unix::net::UnixListener::from(self.0);
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        }

        /// The file that it is.
        pub fn into_file(self) -> File {
            self.0.into()
        }

        /// The same once more.
        pub fn again(&self) -> io::Result<Self> {
            self.0.try_clone().map(Self)
        }
    }

    /// What is received is not for what this process starts.
    #[cfg(not(target_vendor = "apple"))]
    const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    const FLAGS: RecvFlags = RecvFlags::empty();

    /// One end of the way between a process and the one that takes its place. Messages are lines.
    #[derive(Debug)]
    pub struct Channel {
        stream: UnixStream,
        unread: Vec<u8>,
    }

    impl Channel {
        fn new(stream: StdStream) -> io::Result<Self> {
            stream.set_nonblocking(true)?;
            Ok(Self { stream: UnixStream::from_std(stream)?, unread: Vec::new() })
        }

        /// Two ends. Needs a tokio runtime.
        pub fn pair() -> io::Result<(Self, Self)> {
            let (one, other) = StdStream::pair()?;
            Ok((Self::new(one)?, Self::new(other)?))
        }

        /// The near end of a channel whose far end `program` finds when it is started.
        pub fn to(program: &mut Command) -> io::Result<Self> {
            let (ours, theirs) = StdStream::pair()?;
            program.stdin(Stdio::from(OwnedFd::from(theirs))).env(VARIABLE, std::process::id().to_string());
            Self::new(ours)
        }

        /// The far end, in a process that was started so. `None` in any other, also in what such a process starts.
        pub fn found() -> io::Result<Option<Self>> {
            let parent = std::os::unix::process::parent_id().to_string();
            if std::env::var(VARIABLE).is_ok_and(|named| named == parent) {
                let stream = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
                rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
                return Self::new(stream).map(Some);
            }
            Ok(None)
        }

        /// Sends a line, which ends with the only line end in it, and handles beside it.
        pub async fn send(&self, line: &[u8], handles: &[Handle]) -> io::Result<()> {
            let fds: Vec<BorrowedFd<'_>> = handles.iter().map(|handle| handle.0.as_fd()).collect();
            let sent = self.stream.async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX))];
                let mut beside = SendAncillaryBuffer::new(&mut space);
                if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&fds)) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many listeners"));
                }
                Ok(sendmsg(&self.stream, &[IoSlice::new(line)], &mut beside, SendFlags::NOSIGNAL)?)
            });
            let sent = sent.await?;
            let mut rest = line.get(sent..).unwrap_or_default();
            while !rest.is_empty() {
                self.stream.writable().await?;
                match self.stream.try_write(rest) {
                    Ok(more) => rest = rest.get(more..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }

        /// The next line, with the handles that came beside it. `None` when there is nobody at the other end any more.
        pub async fn receive(&mut self) -> io::Result<Option<(Vec<u8>, Vec<Handle>)>> {
            let mut handles = Vec::new();
            loop {
                if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                    return Ok(Some((self.unread.drain(..=end).collect(), handles)));
                }
                if self.unread.len() > LINE_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
                }
                let mut buffer = [0; 4096];
                let (count, came) = self.stream.async_io(Interest::READABLE, || self.read(&mut buffer)).await?;
                if count == 0 {
                    return Ok(None);
                }
                handles.extend(came);
                self.unread.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }

        fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<Handle>)> {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(&self.stream, &mut [IoSliceMut::new(buffer)], &mut beside, FLAGS)?;
            let mut came = Vec::new();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    came.extend(fds.map(Handle));
                }
            }
            Ok((received.bytes, came))
        }
    }
}

#[cfg(not(unix))]
mod imp {
    use std::{convert::Infallible, io, net::TcpListener, process::Command};

    fn unsupported<T>() -> io::Result<T> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "sockets are not handed on by this system"))
    }

    /// There are none here.
    #[derive(Debug)]
    pub struct Handle(Infallible);

    impl Handle {
        /// Always fails.
        pub fn of_listener(_: &TcpListener) -> io::Result<Self> {
            unsupported()
        }

        /// Always fails.
        pub fn of_file(_: &std::fs::File) -> io::Result<Self> {
            unsupported()
        }

        /// Cannot be called.
        pub fn into_listener(self) -> io::Result<TcpListener> {
            match self.0 {}
        }

        /// Cannot be called.
        pub fn into_file(self) -> std::fs::File {
            match self.0 {}
        }

        /// Cannot be called.
        pub fn again(&self) -> io::Result<Self> {
            match self.0 {}
        }
    }

    /// There is none here.
    #[derive(Debug)]
    pub struct Channel(Infallible);

    impl Channel {
        /// Always fails.
        pub fn to(_: &mut Command) -> io::Result<Self> {
            unsupported()
        }

        /// There is none.
        pub fn found() -> io::Result<Option<Self>> {
            Ok(None)
        }

        /// Cannot be called.
        pub async fn send(&self, _: &[u8], _: &[Handle]) -> io::Result<()> {
            match self.0 {}
        }

        /// Cannot be called.
        pub async fn receive(&mut self) -> io::Result<Option<(Vec<u8>, Vec<Handle>)>> {
            match self.0 {}
        }
    }
}

pub use imp::*;

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::{File, TryLockError};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn a_listener_goes_on_in_other_hands_with_the_connections_that_wait() {
        let (near, mut far) = Channel::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut early = TcpStream::connect(address).await.unwrap();
        near.send(b"one\n", &[Handle::of_listener(&listener).unwrap()]).await.unwrap();
        drop(listener);
        let (line, mut handles) = far.receive().await.unwrap().unwrap();
        assert_eq!((line.as_slice(), handles.len()), (&b"one\n"[..], 1));
        let listener = TcpListener::from_std(handles.remove(0).into_listener().unwrap()).unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        // Who knocked before it changed hands was not turned away.
        let (mut taken, _) = listener.accept().await.unwrap();
        taken.write_all(b"x").await.unwrap();
        assert_eq!(early.read_u8().await.unwrap(), b'x');
        TcpStream::connect(address).await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_is_held_until_the_last_hand_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::options().create(true).truncate(false).write(true).open(dir.path().join("lock")).unwrap();
        let is_free = || !matches!(open().try_lock(), Err(TryLockError::WouldBlock));
        let file = open();
        file.try_lock().unwrap();
        let (near, mut far) = Channel::pair().unwrap();
        near.send(b"lock\n", &[Handle::of_file(&file).unwrap()]).await.unwrap();
        let (_, mut handles) = far.receive().await.unwrap().unwrap();
        drop(file);
        assert!(!is_free(), "the first hand let go");
        drop(handles.remove(0).into_file());
        assert!(is_free());
    }

    #[tokio::test]
    async fn lines_of_any_length_arrive_one_by_one_and_the_end_is_told() {
        let (near, mut far) = Channel::pair().unwrap();
        let long = [vec![b'x'; 20_000], b"\n".to_vec()].concat();
        for line in [&b"a\n"[..], b"b\n", &long] {
            near.send(line, &[]).await.unwrap();
        }
        drop(near);
        for line in [&b"a\n"[..], b"b\n", &long] {
            assert_eq!(far.receive().await.unwrap().unwrap().0, line);
        }
        assert!(far.receive().await.unwrap().is_none());
    }
}
