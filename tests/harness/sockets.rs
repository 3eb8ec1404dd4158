//! Real TCP, UDP and ping, and what the peer saw.

mod echo;

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};

pub use echo::{TcpEcho, UdpEcho};

use crate::netns::Namespace;

/// How long to wait for an answer that is not expected.
pub const BRIEFLY: Duration = Duration::from_millis(400);
/// How long to wait for an answer that is expected: reached only when something is wrong.
pub const PATIENTLY: Duration = Duration::from_secs(10);

/// What a peer sees of an attempt to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was an answer: the connection stands, the echo came back.
    Connected,
    /// Nothing came back in the time given.
    TimedOut,
    /// The other side said no: TCP reset, or port unreachable.
    Refused,
    /// The network said no, or our own side did: [`ErrorKind::HostUnreachable`], [`ErrorKind::NetworkUnreachable`],
    /// [`ErrorKind::PermissionDenied`] and the like.
    Unreachable(ErrorKind),
}

impl Outcome {
    /// What an error means to the one who tried.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Self::Refused,
            other => Self::Unreachable(other),
        }
    }
}

impl<T> From<io::Result<T>> for Outcome {
    fn from(result: io::Result<T>) -> Self {
        result.map_or_else(|error| Self::of(&error), |_| Self::Connected)
    }
}

/// A TCP connection that stays open.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    /// Messages sent.
    sent: u64,
}

impl Talk {
    /// Connects from a namespace.
    pub fn open(from: &Namespace, to: impl Into<SocketAddr>, patience: Duration) -> Result<Self, Outcome> {
        let to = to.into();
        from.run(|| TcpStream::connect_timeout(&to, patience))
            .map(|stream| Self { stream, sent: 0 })
            .map_err(|error| Outcome::of(&error))
    }

    /// Sends a message to an echo server and waits until it is back. Answers to earlier messages, given up on, may
    /// come first.
    pub fn echo(&mut self, patience: Duration) -> Outcome {
        self.exchange(patience).into()
    }

    /// The address on our side.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    fn exchange(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        self.sent += 1;
        let message = self.sent.to_be_bytes();
        self.stream.write_all(&message)?;
        let mut answer = [0; size_of::<u64>()];
        while answer != message {
            self.stream.read_exact(&mut answer)?;
        }
        Ok(())
    }
}

/// Connects, and says how that went.
pub fn tcp_connect(from: &Namespace, to: impl Into<SocketAddr>, patience: Duration) -> Outcome {
    Talk::open(from, to, patience).map_or_else(|outcome| outcome, |_| Outcome::Connected)
}

/// Connects to a [`TcpEcho`] and sends something there and back.
pub fn tcp_echo(from: &Namespace, to: impl Into<SocketAddr>, patience: Duration) -> Outcome {
    Talk::open(from, to, patience).map_or_else(|outcome| outcome, |mut talk| talk.echo(patience))
}

/// Sends a datagram to a [`UdpEcho`] and waits until it is back.
pub fn udp_echo(from: &Namespace, to: impl Into<SocketAddr>, patience: Duration) -> Outcome {
    let to = to.into();
    from.run(|| udp_exchange(to, patience)).into()
}

fn udp_exchange(to: SocketAddr, patience: Duration) -> io::Result<usize> {
    let socket = UdpSocket::bind(any_address(to.ip()))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"rampart?")?;
    socket.recv(&mut [0; 64])
}

/// Pings once.
pub fn ping(from: &Namespace, to: impl Into<IpAddr>, patience: Duration) -> Outcome {
    let to = to.into().to_string();
    let patience = patience.as_secs_f32().to_string();
    let output = from.run(|| Command::new("ping").args(["-n", "-c", "1", "-W", &patience, &to]).output());
    let output = output.expect("ping (iputils-ping) is installed");
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match told {
        _ if output.status.success() => Outcome::Connected,
        told if told.contains("nreachable") => Outcome::Unreachable(ErrorKind::HostUnreachable),
        told if told.contains("prohibited") || told.contains("not permitted") => {
            Outcome::Unreachable(ErrorKind::PermissionDenied)
        }
        _ => Outcome::TimedOut,
    }
}

/// Any address of that family, any port.
fn any_address(like: IpAddr) -> SocketAddr {
    match like {
        IpAddr::V4(_) => ([0; 4], 0).into(),
        IpAddr::V6(_) => ([0; 16], 0).into(),
    }
}
