//! Arguments of the verbs that explain and watch.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::values::{self, EventFilter};

/// Arguments of `why`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The packet, in words:
  tcp SOURCE[:PORT] DESTINATION:PORT     also udp, sctp
  icmp [TYPE] SOURCE DESTINATION         icmp6; TYPE is echo or another name, or TYPE/CODE
  arp SOURCE DESTINATION
then pairs of a word and its value: flags syn,ack  state established  ttl 3  payload 100  vlan 7
ether-source MAC  ether-destination MAC. IPv6 with a port is [ADDRESS]:PORT.

States of its connection that can be supposed:
  live         what the kernel knows of it now (the default)
  new          nothing
  established  it stands, and the packet is of the side that began it
  reply        it stands, and the packet is of the other side

Examples:
  rampart why tcp 198.51.100.7:40000 203.0.113.10:443 --in eth0
  rampart why icmp echo 198.51.100.7 203.0.113.10
  rampart why udp 203.0.113.10:53 198.51.100.7:5353 --out eth0 --state reply
  rampart why --pcap lost.pcap --in eth0 --json
  rampart why --last 198.51.100.7")]
pub struct Why {
    /// The packet, see below
    #[arg(value_name = "WORD")]
    pub packet: Vec<String>,
    /// It comes in by this interface; without it, by the only one there is
    #[arg(long = "in", value_name = "IF", conflicts_with = "outgoing")]
    pub incoming: Option<String>,
    /// It is made here and leaves by this interface
    #[arg(long = "out", value_name = "IF")]
    pub outgoing: Option<String>,
    /// TCP flags: syn, syn,ack, none; the same as the words `flags ...`
    #[arg(long, value_name = "FLAGS")]
    pub flags: Option<String>,
    /// Suppose this of its connection: live, new, established, reply
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// The whole frame, as hexadecimal digits
    #[arg(long, value_name = "DIGITS", conflicts_with_all = ["packet", "pcap"])]
    pub hex: Option<String>,
    /// Every frame of a capture file (pcap or pcapng)
    #[arg(long, value_name = "FILE", conflicts_with = "packet")]
    pub pcap: Option<PathBuf>,
    /// What was dropped of this address last, from the drop ledger
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["packet", "pcap", "hex"])]
    pub last: Option<IpAddr>,
    /// Exit status 1 when a packet is not accepted
    #[arg(long)]
    pub exit_code: bool,
}

/// Arguments of `metrics`.
#[derive(Debug, Args)]
pub struct Metrics {
    /// In the format of `OpenMetrics`
    #[arg(long)]
    pub open_metrics: bool,
    /// Tell rules with counters one by one unless they are more than this
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub rules: usize,
}

/// Arguments of `agent`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The agent is never needed: filtering goes on without it. It serves, on one port and read only:
  /metrics     Prometheus text, or OpenMetrics when that is asked for
  /            a page for people
  /api/state   what the page shows, as JSON
Requests whose Host header is neither an address of this machine nor one of --host are refused.

Example:
  rampart agent --events-file /var/log/rampart/events.jsonl --follow-interfaces")]
pub struct Agent {
    /// Where to listen, instead of 127.0.0.1:9630
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// Answer requests for this host name too (repeatable)
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Tell rules with counters one by one unless they are more than this, instead of 200
    #[arg(long, value_name = "N")]
    pub rules: Option<usize>,
    /// Attach to interfaces that come up while it runs
    #[arg(long)]
    pub follow_interfaces: bool,
    /// Write events to this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub events_file: Option<PathBuf>,
    /// Begin the file anew at this size, MiB, instead of 64; four old ones are kept
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub events_file_size: Option<u64>,
    /// Send events to the system's log (`/dev/log`)
    #[arg(long)]
    pub syslog: bool,
    /// Send events to journald, with fields
    #[arg(long)]
    pub journald: bool,
    /// Only these events, as `monitor --filter` has them (repeatable)
    #[arg(short, long = "filter", value_name = "FILTER")]
    pub filters: Vec<EventFilter>,
}

/// Arguments of `test`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A line of the file is a packet, `->`, and what is expected of it; `#` begins a comment:

  interface eth0 203.0.113.10/24
  the office: in eth0 tcp 198.51.100.7 203.0.113.10:22 -> accept comment \"office\"
  in eth0 tcp 192.0.2.1 203.0.113.10:23 -> drop reason policy
  in eth0 tcp 192.0.2.1 203.0.113.10:80 -> accept to 192.0.2.80:8080
  out eth0 udp 203.0.113.10:53 198.51.100.7:5353 state reply -> accept

Packets are written as `rampart why` has them. Expected can be accept, drop or reject, and behind it: reason NAME,
line N or comment TEXT of the rule that decides, to ADDRESS[:PORT] and from ADDRESS[:PORT] once it is translated.

Without --ruleset the packets run through a shadow of the ruleset in force. With it, through that ruleset in a network
namespace made for them, with the interfaces that the packets name and the addresses that `interface` lines give them;
a packet for another host is forwarded only if there is a route for it.")]
pub struct Test {
    /// The packets
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Through this ruleset, which need not be in force; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub ruleset: Option<PathBuf>,
    /// Write the results to this file, for build servers (`JUnit` XML)
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Keys:
  1-5, Tab     the page: overview, rules, hosts, drops, connections
  s, r         sort by something else, turn over
  /            only rows with this text (Enter keeps it, Esc drops it)
  p            stand still
  up, down     choose a row
  Enter        the last packets that were dropped for this reason, a source each; Esc goes back
  q            the end

Examples:
  rampart top
  rampart top --interval 5s
  rampart top --json --count 1     # rates of one second, for a program")]
pub struct Top {
    /// Between two looks
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration, default_value = "1s")]
    pub interval: Duration,
    /// End after so many looks
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Filters are those of `rampart monitor --filter`: proto=tcp, src=192.0.2.0/24, dst=..., host=..., sport=443, dport=22,
port=..., interface=eth0, hook=input, dropped, reason=policy, layer=network.

While it runs, a twin of the ruleset that notes what packets meet stands in its place; it judges the same, on the same
state. Afterwards the ruleset stands there again: a trace that does not run costs nothing.

Examples:
  rampart trace src=198.51.100.7
  rampart trace proto=tcp dport=443 dropped --count 3 --json")]
pub struct Trace {
    /// Show only these packets, see below
    #[arg(value_name = "FILTER")]
    pub filters: Vec<EventFilter>,
    /// End after so many packets
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub count: u64,
    /// End after this time
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration, default_value = "30s")]
    pub time: Duration,
}

/// Arguments of `capture`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The file is pcapng; each packet has a comment with its verdict, reason and rule, its interface and its direction. Filters
are those of `rampart trace`.

Examples:
  rampart capture dropped -w drops.pcapng --for 1m
  rampart capture host=198.51.100.7 -w - | wireshark -k -i -")]
pub struct Capture {
    /// Only these packets, see below
    #[arg(value_name = "FILTER")]
    pub filters: Vec<EventFilter>,
    /// Write to this file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub write: PathBuf,
    /// End after so many packets
    #[arg(short, long, value_name = "N", default_value_t = 10_000)]
    pub count: u64,
    /// End after this time
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration, default_value = "1m")]
    pub time: Duration,
    /// Bytes of each packet that are kept
    #[arg(long, value_name = "BYTES", default_value_t = 1536, value_parser = clap::value_parser!(u32).range(14..=1536))]
    pub snap: u32,
}
