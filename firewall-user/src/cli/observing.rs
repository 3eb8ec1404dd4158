//! Arguments of the verbs that explain and watch.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

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
