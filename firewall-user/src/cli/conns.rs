//! Arguments of `rampart conns`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{self, Prefix};

/// Arguments of `conns`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  rampart conns --proto tcp --dport 22
  rampart conns --src 192.0.2.0/24 --state established --count
  rampart conns --by source | head                 # who has the most connections
  rampart conns --watch --dport 443
  rampart conns kill --src 192.0.2.7 --reset       # and tell both ends
  rampart conns flush --proto udp"
)]
pub struct Conns {
    /// Which of them.
    #[command(flatten)]
    pub filter: Filter,
    /// Print how many there are instead of what they are
    #[arg(long)]
    pub count: bool,
    /// Print how many there are of each: most first
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["count", "watch"])]
    pub by: Option<By>,
    /// Print connections as they begin, change their state and end, until interrupted
    ///
    /// The table is looked at four times a second: what begins and ends between two looks is not seen.
    #[arg(short, long, conflicts_with = "count")]
    pub watch: bool,
    /// Print how long connections live, by protocol and state, as the settings in force have it
    #[arg(long, conflicts_with_all = ["count", "by", "watch"])]
    pub timeouts: bool,
    /// What to do with them.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with connections beside showing them.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Forget connections: their packets are new, or belong to none, from then on
    ///
    /// At least one filter must say which.
    Kill(Kill),
    /// Forget connections, all of them with --all
    Flush(Flush),
}

/// Arguments of `conns kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// Which.
    #[command(flatten)]
    pub filter: Filter,
    /// Reset them as well: both ends of a TCP connection are told that it is over
    #[arg(long)]
    pub reset: bool,
}

/// Arguments of `conns flush`.
#[derive(Debug, Args)]
pub struct Flush {
    /// Which.
    #[command(flatten)]
    pub filter: Filter,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// What connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Protocol and state
    State,
    /// Address that began it
    Source,
    /// Address that it was begun with
    Destination,
    /// Protocol and port that it was begun with
    Port,
}

/// Which connections: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Filter {
    /// Only this protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(short, long, value_name = "PROTO", value_parser = values::protocol)]
    pub proto: Option<u8>,
    /// Only this state, such as ESTABLISHED or `SYN_SENT`
    #[arg(short, long, value_name = "STATE", value_parser = values::state)]
    pub state: Option<String>,
    /// Only from this address or prefix
    #[arg(long, value_name = "ADDRESS")]
    pub src: Option<Prefix>,
    /// Only to this address or prefix
    #[arg(long, value_name = "ADDRESS")]
    pub dst: Option<Prefix>,
    /// Only from this port
    #[arg(long, value_name = "PORT")]
    pub sport: Option<u16>,
    /// Only to this port
    #[arg(long, value_name = "PORT")]
    pub dport: Option<u16>,
    /// Only IPv4, or only IPv6
    #[arg(short, long, value_name = "FAMILY")]
    pub family: Option<Family>,
    /// Only of this conntrack zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<u16>,
    /// Only with this connection mark: a number, or a number and a mask (0x10/0xf0)
    #[arg(short, long, value_name = "MARK")]
    pub mark: Option<values::Mark>,
    /// Only those whose addresses are translated
    #[arg(long)]
    pub nat: bool,
    /// Only those that began longer ago (60s, 5m, 2h)
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub older_than: Option<Duration>,
    /// Only those that the rules in force would not let begin
    ///
    /// Each is asked about with the first packet that it would have now, as `rampart why` does; nothing is counted.
    #[arg(long)]
    pub refused: bool,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// IPv4
    #[value(alias = "4", alias = "ip")]
    Ipv4,
    /// IPv6
    #[value(alias = "6", alias = "ip6")]
    Ipv6,
}

impl Filter {
    /// Does it let everything through?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
