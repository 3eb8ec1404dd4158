//! Backends that come and go: who answers gets connections, who does not gets none, and nobody loses one for another's sake.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use firewall_tests::{
    command::{Background, Rampart, Scratch},
    netns::Namespace,
    topology::{FAR_SERVER, INTERFACE, ROUTER, Routed},
};

/// The server has a second address.
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
const PATIENCE: Duration = Duration::from_secs(30);

const RULES: &str = "table ip nat {
    map web {
        typeof numgen inc mod 31 : ip daddr . tcp dport
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport 80 dnat to numgen inc mod 31 map @web
    }
}";

/// A web server of one address: it answers with that address until it is stopped, and what it has accepted goes on.
struct Server {
    ends: Arc<AtomicBool>,
    done: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(namespace: &Namespace, address: Ipv4Addr, status: &'static str) -> Self {
        let listener = namespace.run(|| TcpListener::bind((address, 8080))).expect("a listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ends);
        let work = move || {
            while !asked.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(thread::spawn(move || talk(stream, status))),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        };
        Self { ends, done: Some(thread::spawn(work)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.done.take().map(thread::JoinHandle::join);
    }
}

/// Answers each request on a connection with the address that it came to.
fn talk(mut stream: TcpStream, status: &str) {
    stream.set_nonblocking(false).expect("blocking");
    let own = stream.local_addr().expect("an address").ip();
    let mut request = [0; 1024];
    while stream.read(&mut request).is_ok_and(|count| count > 0) {
        let body = own.to_string();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The field: clients, the router with rampart and its agent, both backends.
struct Field {
    routed: Routed,
    files: Scratch,
}

impl Field {
    fn new() -> Self {
        let routed = Routed::new();
        routed.server.ip(&format!("address add {SECOND}/24 dev {INTERFACE}"));
        Self { routed, files: Scratch::new() }
    }

    fn put_in_force<'a>(&'a self, settings: &str) -> (Rampart<'a>, Background) {
        let rampart = Rampart::on(&self.routed.router);
        let rules = self.files.write("balance.nft", RULES).to_string_lossy().into_owned();
        let backends = format!("backends = [\"{FAR_SERVER}:8080\", \"{SECOND}:8080\"]");
        let settings =
            format!("[balance.web]\n{backends}\nplaces = 31\ninterval_ms = 100\nfall = 2\nrise = 1\n{settings}");
        let settings = self.files.write("rampart.toml", settings).to_string_lossy().into_owned();
        rampart.run(&["--config", &settings, "apply", &rules]).check();
        let agent = rampart.start(&["agent", "--listen", "127.0.0.1:9630"]);
        (rampart, agent)
    }

    fn connect(&self) -> Option<TcpStream> {
        let to = SocketAddr::from((ROUTER, 80));
        let stream = self.routed.client.run(|| TcpStream::connect_timeout(&to, PATIENCE)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Some(stream)
    }

    /// Who answers so many new connections, one after the other; none of them may fail.
    fn shares(&self, times: usize) -> BTreeMap<IpAddr, usize> {
        let mut shares = BTreeMap::new();
        for _ in 0..times {
            let mut stream = self.connect().expect("a connection");
            *shares.entry(ask(&mut stream)).or_default() += 1;
        }
        shares
    }

    /// The metrics of the agent.
    fn metrics(&self) -> String {
        let mut text = String::new();
        if let Ok(mut stream) = self.routed.router.run(|| TcpStream::connect(("127.0.0.1", 9630))) {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost:9630\r\n\r\n");
            let _ = stream.read_to_string(&mut text);
        }
        text
    }

    #[track_caller]
    fn wait_for(&self, address: Ipv4Addr, up: u8, places: impl Fn(u32) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let is_so = || {
            let metrics = self.metrics();
            let value = |name: &str| {
                let line = format!("rampart_backend_{name}{{map=\"web\",backend=\"{address}:8080\"}} ");
                metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse::<u32>().ok())
            };
            value("up") == Some(up.into()) && value("places").is_some_and(&places)
        };
        while !is_so() {
            assert!(Instant::now() < deadline, "backend {address} is never {up}: {}", self.metrics());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Asks on a connection, which may have been used before.
fn ask(stream: &mut TcpStream) -> IpAddr {
    try_to_ask(stream).expect("an answer")
}

fn try_to_ask(stream: &mut TcpStream) -> Option<IpAddr> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n").ok()?;
    let mut answer = vec![0; 1024];
    let count = stream.read(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    answer.rsplit("\r\n").next()?.parse().ok()
}

#[test]
fn a_backend_that_dies_gets_no_new_connections_and_returns() {
    let field = Field::new();
    let _first = Server::start(&field.routed.server, FAR_SERVER, "200 OK");
    let second = Server::start(&field.routed.server, SECOND, "200 OK");
    let (rampart, _agent) = field.put_in_force("check = \"http\"\n");
    let monitor = rampart.start(&["monitor", "--filter", "backend_down", "--filter", "backend_up"]);
    let told = |what: &str| {
        let wanted = format!("{what} {SECOND}:8080 of web");
        let lines = monitor.lines_until(PATIENCE, |line| line.contains(&wanted));
        assert!(lines.iter().any(|line| line.contains(&wanted)), "no {wanted} in {lines:?}");
    };
    field.wait_for(SECOND, 1, |places| places >= 10);
    let shares = field.shares(31);
    assert!(shares.get(&SECOND.into()).is_some_and(|count| (10..=21).contains(count)), "{shares:?}");
    // Connections that stand stay where they are, whoever comes or goes.
    let mut standing: Vec<(TcpStream, IpAddr)> = (0..8)
        .map(|_| field.connect().expect("a connection"))
        .map(|mut stream| {
            let backend = ask(&mut stream);
            (stream, backend)
        })
        .collect();
    drop(second);
    field.wait_for(SECOND, 0, |places| places == 0);
    field.wait_for(FAR_SERVER, 1, |places| places == 31);
    told("backend_down");
    assert_eq!(field.shares(31), BTreeMap::from([(FAR_SERVER.into(), 31)]));
    for (stream, backend) in &mut standing {
        assert_eq!(ask(stream), *backend);
    }
    let _second = Server::start(&field.routed.server, SECOND, "200 OK");
    field.wait_for(SECOND, 1, |places| places >= 10);
    told("backend_up");
    assert!(field.shares(31).contains_key(&SECOND.into()));
    for (stream, backend) in &mut standing {
        assert_eq!(ask(stream), *backend);
    }
}

#[test]
fn a_backend_that_answers_otherwise_is_dead_too() {
    let field = Field::new();
    let _first = Server::start(&field.routed.server, FAR_SERVER, "503 Service Unavailable");
    let _second = Server::start(&field.routed.server, SECOND, "204 No Content");
    let (_rampart, _agent) = field.put_in_force("check = \"http\"\nstatus = 204\n");
    field.wait_for(FAR_SERVER, 0, |places| places == 0);
    field.wait_for(SECOND, 1, |places| places == 31);
}

/// Who has connections gets fewer new ones.
#[test]
fn least_connections() {
    let field = Field::new();
    let first = Server::start(&field.routed.server, FAR_SERVER, "200 OK");
    let (_rampart, _agent) = field.put_in_force("choose = \"least-connections\"\n");
    field.wait_for(SECOND, 0, |places| places == 0);
    let mut standing: Vec<TcpStream> = (0..20).map(|_| field.connect().expect("a connection")).collect();
    for stream in &mut standing {
        assert_eq!(ask(stream), IpAddr::from(FAR_SERVER));
    }
    let _second = Server::start(&field.routed.server, SECOND, "200 OK");
    field.wait_for(SECOND, 1, |places| places >= 25);
    let shares = field.shares(10);
    assert!(shares.get(&SECOND.into()).is_some_and(|count| *count >= 7), "{shares:?}");
    drop((standing, first));
}

/// While clients come and talk without a pause, a backend dies and returns: conversations with the other one never fail, and none fails
/// once the dead one's places are the other's.
#[test]
fn a_backend_dies_under_load_and_nobody_else_notices() {
    let field = Field::new();
    let _first = Server::start(&field.routed.server, FAR_SERVER, "200 OK");
    let second = Server::start(&field.routed.server, SECOND, "200 OK");
    let (_rampart, _agent) = field.put_in_force("");
    field.wait_for(SECOND, 1, |places| places >= 10);
    let mut standing: Vec<_> = std::iter::repeat_with(|| field.connect().expect("a connection"))
        .filter_map(|mut stream| (ask(&mut stream) == IpAddr::from(FAR_SERVER)).then_some(stream))
        .take(4)
        .collect();
    let (ends, may_fail) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let talks = scope.spawn(|| {
            let mut count = 0_u32;
            while !ends.load(Ordering::Relaxed) {
                for stream in &mut standing {
                    assert_eq!(ask(stream), IpAddr::from(FAR_SERVER));
                    count += 1;
                }
            }
            count
        });
        let comes = || {
            let mut found = BTreeMap::<IpAddr, u32>::new();
            while !ends.load(Ordering::Relaxed) {
                let might_fail = may_fail.load(Ordering::Relaxed);
                // One that the dead one's system had taken already, and it had not, ends as well.
                match field.connect().and_then(|mut stream| try_to_ask(&mut stream)) {
                    Some(backend) => *found.entry(backend).or_default() += 1,
                    None => assert!(might_fail || may_fail.load(Ordering::Relaxed), "a connection failed"),
                }
            }
            found
        };
        let comers = [scope.spawn(comes), scope.spawn(comes)];
        may_fail.store(true, Ordering::Relaxed);
        drop(second);
        field.wait_for(SECOND, 0, |places| places == 0);
        may_fail.store(false, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(500));
        let _second = Server::start(&field.routed.server, SECOND, "200 OK");
        field.wait_for(SECOND, 1, |places| places >= 10);
        thread::sleep(Duration::from_millis(500));
        ends.store(true, Ordering::Relaxed);
        assert!(talks.join().expect("no conversation failed") > 100);
        for comer in comers {
            let found = comer.join().expect("only the dead one's connections failed");
            assert_eq!(found.len(), 2, "{found:?}");
        }
    });
}
