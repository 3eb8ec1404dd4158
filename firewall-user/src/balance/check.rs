//! One look at a backend: does it take a connection, does it answer a request?

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A TCP connection can be made.
    Tcp,
    /// `GET PATH` is answered with this status (RFC 9110).
    Http {
        /// The request's target.
        path: String,
        /// `Host`; the backend's own address when it is not said.
        host: Option<String>,
        /// The status wanted.
        status: u16,
    },
}

/// Bytes of an answer that are read: its status line stands in front.
const ENOUGH: usize = 4096;

impl Check {
    /// Looks once; the error says what was wrong.
    pub fn look(&self, backend: SocketAddr, timeout: Duration) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        let mut stream = TcpStream::connect_timeout(&backend, timeout)?;
        let Self::Http { path, host, status } = self else { return Ok(()) };
        let host = host.clone().unwrap_or_else(|| backend.to_string());
        stream.set_write_timeout(Some(left(deadline)?))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rampart\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let found = status_of(&mut stream, deadline)?;
        if found == *status {
            return Ok(());
        }
        Err(io::Error::other(format!("status {found} instead of {status}")))
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The status of an answer.
fn status_of(stream: &mut TcpStream, deadline: Instant) -> io::Result<u16> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let count = stream.read(&mut buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })?;
        bytes.extend_from_slice(&buffer[..count]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&bytes);
        if let Some(code) = response.code {
            return Ok(code);
        }
        if parsed.is_err() || count == 0 || bytes.len() > ENOUGH {
            return Err(io::Error::other("no answer of HTTP"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use rstest::rstest;

    use super::*;

    fn http(status: u16) -> Check {
        Check::Http { path: "/healthz".to_owned(), host: Some("www.example".to_owned()), status }
    }

    /// Who answers each connection with these bytes, a piece at a time.
    fn server(pieces: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let count = stream.read(&mut request).expect("a request");
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            assert!(request.starts_with("GET /healthz HTTP/1.1\r\nHost: www.example\r\n"), "{request}");
            for piece in pieces {
                stream.write_all(piece.as_bytes()).expect("it is read");
                stream.flush().expect("it is read");
            }
        });
        address
    }

    #[rstest]
    #[case(&["HTTP/1.1 200 OK\r\n\r\n"], Ok(()))]
    #[case(&["HTTP/1.1 2", "00 OK\r\nServer: x\r\n\r\nfine"], Ok(()))]
    #[case(&["HTTP/1.1 503 Service Unavailable\r\n\r\n"], Err("status 503 instead of 200"))]
    #[case(&["SSH-2.0-server\r\n"], Err("no answer of HTTP"))]
    #[case(&[], Err("no answer of HTTP"))]
    fn answers(#[case] pieces: &'static [&'static str], #[case] wanted: Result<(), &str>) {
        let looked = http(200).look(server(pieces), Duration::from_secs(20)).map_err(|error| error.to_string());
        assert_eq!(looked, wanted.map_err(str::to_owned));
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        assert!(Check::Tcp.look(address, Duration::from_secs(20)).is_ok());
        let error = http(200).look(address, Duration::from_millis(200)).expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(listener);
        assert!(Check::Tcp.look(address, Duration::from_secs(20)).is_err());
    }
}
