//! What the demo tries, and what the ruleset in `examples/demo.nft` promises about it.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use firewall_tests::{
    sockets::{BRIEFLY, Outcome, PATIENTLY, TcpEcho, UdpEcho, ping, tcp_echo, udp_echo},
    topology::{CLIENT, CLIENT6, Pair, SERVER, SERVER6},
};

/// One attempt to talk: to the server it comes from the client, to the client from the server.
pub(super) struct Attempt {
    to: To,
    what: What,
    /// What the one who tries is to see.
    pub(super) promised: Outcome,
    /// Which part of the ruleset says so.
    pub(super) why: &'static str,
}

/// Where it goes, and by which family.
#[derive(Clone, Copy)]
enum To {
    Server,
    Server6,
    Client,
    Client6,
}

/// A way to talk.
#[derive(Clone, Copy)]
enum What {
    Tcp(u16),
    Udp(u16),
    Ping,
}

const fn allowed(to: To, what: What, why: &'static str) -> Attempt {
    Attempt { to, what, promised: Outcome::Connected, why }
}

const fn denied(to: To, what: What, why: &'static str) -> Attempt {
    Attempt { to, what, promised: Outcome::TimedOut, why }
}

/// With the ruleset in force. The last one is logged: it marks the end of the events.
pub(super) const ATTEMPTS: &[Attempt] = &[
    allowed(To::Server, What::Ping, "icmp type echo-request accept"),
    allowed(To::Server6, What::Ping, "icmpv6 type echo-request accept"),
    allowed(To::Server, What::Tcp(22), "ip saddr $office tcp dport 22 accept"),
    allowed(To::Server6, What::Tcp(80), "tcp dport { 80, 443 } accept"),
    allowed(To::Server, What::Udp(53), "udp dport 53 accept"),
    denied(To::Server, What::Tcp(23), "no rule: logged and dropped"),
    denied(To::Server6, What::Tcp(8080), "no rule: logged and dropped"),
    denied(To::Server, What::Udp(161), "no rule: logged and dropped"),
    allowed(To::Client, What::Ping, "the answer is ct state established"),
    allowed(To::Client, What::Tcp(80), "the answers are ct state established"),
    allowed(To::Client6, What::Udp(53), "the answer is ct state established"),
    denied(To::Client, What::Tcp(25), "chain output: this host sends no mail"),
];

/// After `rampart stop`.
pub(super) const UNPROTECTED: &[Attempt] = &[
    allowed(To::Server, What::Tcp(23), "no firewall any more"),
    allowed(To::Client, What::Tcp(25), "no firewall any more"),
];

/// Who answers the attempts, on every port that one is made to.
pub(super) struct Servers {
    _tcp: Vec<TcpEcho>,
    _udp: Vec<UdpEcho>,
}

impl Servers {
    pub(super) fn start(pair: &Pair) -> Self {
        let ports = ATTEMPTS.iter().map(|attempt| (attempt.is_to_server(), attempt.what));
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for (to_server, what) in ports {
            let namespace = if to_server { &pair.server } else { &pair.client };
            match what {
                // The unspecified IPv6 address stands for both families.
                What::Tcp(port) => tcp.push(TcpEcho::start(namespace, (Ipv6Addr::UNSPECIFIED, port))),
                What::Udp(port) => udp.push(UdpEcho::start(namespace, (Ipv6Addr::UNSPECIFIED, port))),
                What::Ping => {}
            }
        }
        Self { _tcp: tcp, _udp: udp }
    }
}

impl Attempt {
    fn is_to_server(&self) -> bool {
        matches!(self.to, To::Server | To::Server6)
    }

    fn address(&self) -> IpAddr {
        match self.to {
            To::Server => SERVER.into(),
            To::Server6 => SERVER6.into(),
            To::Client => CLIENT.into(),
            To::Client6 => CLIENT6.into(),
        }
    }

    /// Makes it, and says what was seen.
    pub(super) fn make(&self, pair: &Pair) -> Outcome {
        let from = if self.is_to_server() { &pair.client } else { &pair.server };
        let patience = if self.promised == Outcome::TimedOut { BRIEFLY } else { PATIENTLY };
        match self.what {
            What::Tcp(port) => tcp_echo(from, (self.address(), port), patience),
            What::Udp(port) => udp_echo(from, (self.address(), port), patience),
            What::Ping => ping(from, self.address(), patience),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.is_to_server() { "client -> server" } else { "server -> client" };
        let family = if self.address().is_ipv4() { "IPv4" } else { "IPv6" };
        let what = match self.what {
            What::Tcp(port) => format!("TCP port {port}"),
            What::Udp(port) => format!("UDP port {port}"),
            What::Ping => "ping".to_owned(),
        };
        f.pad(&format!("{direction}  {family}  {what}"))
    }
}

/// An outcome in the words of the one who tried.
pub(super) fn word(outcome: Outcome) -> String {
    match outcome {
        Outcome::Connected => "connected".to_owned(),
        Outcome::TimedOut => "timed out".to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::Unreachable(kind) => kind.to_string(),
    }
}
