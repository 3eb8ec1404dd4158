//! Servers that send back what they are sent.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::netns::Namespace;

/// How often a server looks whether it should end.
const TICK: Duration = Duration::from_millis(5);

/// A TCP server that sends back what it is sent, for as long as the value lives.
#[derive(Debug)]
pub struct TcpEcho {
    service: Service,
    /// Connections accepted.
    accepted: Arc<AtomicUsize>,
}

/// A UDP server that sends back what it is sent, for as long as the value lives.
#[derive(Debug)]
pub struct UdpEcho {
    service: Service,
}

/// A thread that ends when it is told to.
#[derive(Debug)]
struct Service {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TcpEcho {
    /// Listens in a namespace.
    pub fn start(namespace: &Namespace, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let listener = namespace.run(|| TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|error| panic!("listening on {address}: {error}"));
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let address = listener.local_addr().expect("a listener has an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let service = Service::start(address, move |stop| serve(&listener, &count, stop));
        Self { service, accepted }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// How many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl UdpEcho {
    /// Listens in a namespace.
    pub fn start(namespace: &Namespace, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let socket = namespace.run(|| UdpSocket::bind(address));
        let socket = socket.unwrap_or_else(|error| panic!("binding to {address}: {error}"));
        socket.set_read_timeout(Some(TICK)).expect("a socket takes a timeout");
        let address = socket.local_addr().expect("a bound socket has an address");
        let service = Service::start(address, move |stop| send_back(&socket, stop));
        Self { service }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }
}

impl Service {
    fn start(address: SocketAddr, work: impl FnOnce(&Arc<AtomicBool>) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { address, stop, thread: Some(thread::spawn(move || work(&told))) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the server on {} panicked", self.address);
        }
    }
}

/// Accepts connections until told to stop, each answered by a thread of its own.
fn serve(listener: &TcpListener, accepted: &AtomicUsize, stop: &Arc<AtomicBool>) {
    let mut threads = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                accepted.fetch_add(1, Ordering::Relaxed);
                let stop = Arc::clone(stop);
                threads.push(thread::spawn(move || echo(stream, &stop)));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
            // A connection that was reset before it was accepted.
            Err(_) => {}
        }
    }
    for thread in threads {
        // A connection that breaks is what a firewall's tests are about.
        drop(thread.join());
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TICK))?;
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => stream.write_all(&buffer[..length])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send_back(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        // An error is a tick without a datagram, or news about one sent earlier.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(&buffer[..length], from));
        }
    }
}
