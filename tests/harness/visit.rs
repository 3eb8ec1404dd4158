//! One host visits another over TCP, from an address of its choice: what each sees of the other.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};

use crate::netns::Namespace;

/// How long to wait for what is expected.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the one who is visited sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Who comes.
    pub source: SocketAddr,
    /// Where to.
    pub reached: SocketAddr,
}

/// Visits `to` from a host's own address (port 0: any), and exchanges a few words with who listens at `at`, which may be another
/// address than that.
pub fn visit(at: (&Namespace, SocketAddr), from: (&Namespace, SocketAddr), to: SocketAddr) -> io::Result<Visit> {
    let (listening, address) = at;
    let listener = listening.run(|| listen(address));
    let (host, own) = from;
    let mut stream = host.run(|| connect(own, to))?;
    let accepting = thread::spawn(move || {
        let (mut stream, source) = accept(&listener);
        stream.write_all(b"hello").expect("written");
        stream.read_exact(&mut [0; 5]).expect("an answer");
        Visit { source, reached: stream.local_addr().expect("connected") }
    });
    let mut hello = [0; 5];
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut hello)?;
    stream.write_all(&hello)?;
    assert_eq!(stream.peer_addr()?, to, "the answers come from somebody else");
    Ok(accepting.join().expect("somebody came"))
}

/// Listens, once the conversation before has left the port.
#[track_caller]
pub fn listen(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("listening on {address}: {error}"),
        }
    }
}

/// Waits for somebody to come.
#[track_caller]
pub fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).expect("non-blocking");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false).expect("blocking");
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                return (stream, peer);
            }
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("nobody came: {error}"),
        }
    }
}

/// Connects from an address and port of our own choice; port 0 for any.
pub fn connect(own: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(own))?;
    let timeout = nix::sys::time::TimeVal::new(PATIENCE.as_secs() as i64, 0);
    setsockopt(&fd, sockopt::SendTimeout, &timeout)?;
    nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(fd))
}
