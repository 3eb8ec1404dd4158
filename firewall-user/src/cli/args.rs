//! The command line: one table that help, manual pages and completions come from.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::bans::{BanArgs, Unban};
use super::conns::Conns;
use super::observing::{Agent, Capture, Metrics, Test, Top, Trace, Why};
use super::values::{self, EventFilter};

/// Where the rules are when no file is named.
pub const DEFAULT_RULESET: &str = "/etc/rampart/rampart.nft";

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  the answer is no: the ruleset has errors, nothing is in force (status)
  2  wrong usage
  3  the kernel or the machine refused

Files:
  /etc/rampart/rampart.nft   the ruleset, in the language of nftables
  /etc/rampart/rampart.toml  settings, if there are any: how connections are tracked

Environment:
  RAMPART_CONFIG  another file of settings
  NO_COLOR  never colour anything";

/// A stateful firewall that decides in XDP and reads the nftables language.
///
/// All state is in the kernel: no daemon runs, every command works on what is pinned there, and filtering goes on
/// when no process of rampart's is alive. Each network namespace has a firewall of its own.
#[derive(Debug, Parser)]
#[command(name = "rampart", version, after_long_help = EXIT_STATUS, max_term_width = 100, propagate_version = false)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb has, before it or behind it.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// Work in this network namespace, as `ip -n NAME` does
    #[arg(long, global = true, value_name = "NAME")]
    pub netns: Option<String>,
    /// Print JSON: one object, or one a line from `monitor`
    #[arg(short = 'j', long, global = true)]
    pub json: bool,
    /// Read the settings from this file; without it, from /etc/rampart/rampart.toml if there is one
    #[arg(long, global = true, value_name = "FILE", env = "RAMPART_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
    /// Never colour anything (as the variable `NO_COLOR` does)
    #[arg(long, global = true, alias = "no-colour")]
    pub no_color: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say whether a ruleset can be applied, without touching the kernel
    ///
    /// Reads the ruleset, includes and all, and prints every error with its line and a caret. Needs no privileges.
    Check(Check),
    /// Turn what `iptables-save` or `ip6tables-save` printed into a ruleset
    ///
    /// Prints the ruleset, checked as `check` does, or every line that has no meaning here, and then no ruleset at all.
    /// The translation is that of `iptables-restore-translate`, from the package iptables. ufw and firewalld (with its
    /// backend `iptables`) put their rules where `iptables-save` finds them.
    Import(Import),
    /// Put a ruleset in force
    ///
    /// Compiles the ruleset, loads and verifies it, and puts it in the place of the one before by a single step: no packet
    /// sees half a ruleset. Connections live on, and a rule that the old ruleset had too keeps its counts.
    Apply(Apply),
    /// Keep a ruleset that was applied with --confirm
    ///
    /// It then stays in force until the next apply.
    Confirm,
    /// Go back to the ruleset before
    Rollback,
    /// Show the rules that are in force, with their counters
    ///
    /// Prints the rules as `nft list ruleset` would: the output can be applied again. With --json, in the schema of
    /// `nft -j list ruleset`.
    #[command(visible_alias = "rules")]
    List(List),
    /// Show what is in force, and on which interfaces
    ///
    /// For each interface: how packets are met on their way in (native or generic XDP, tc) and out (tcx, clsact), and the
    /// reason when it is not the fastest way. Exit status 1 says that nothing is in force.
    Status,
    /// Show the connections
    ///
    /// Prints one connection a line: protocol, state, the two ends as the first packet had them, packets and bytes in
    /// each direction (original/reply), age, time to live without another packet, and the rule that let it in.
    #[command(visible_alias = "conntrack")]
    Conns(Conns),
    /// Show what each interface received, sent and dropped, and why
    ///
    /// Every packet is counted exactly once: as passed, or under the one reason it was dropped for, with the layer it was
    /// refused at. Counters and quotas with a name follow.
    Counters(Counters),
    /// Change named sets while packets come
    ///
    /// Elements added here stay when a ruleset is applied that keeps the set's declaration.
    Set(SetCommand),
    /// Drop everything that comes from an address, for a time
    ///
    /// Ahead of every rule and of known connections, on every interface, and without a change of the ruleset: the ban stays when
    /// another one is applied. What is answered to that address still leaves.
    Ban(BanArgs),
    /// Lift bans before their time is over
    Unban(Unban),
    /// Show the bans: how much time is left, what they stopped, why they are there
    Bans,
    /// Follow drops, log statements and new connections as they happen
    ///
    /// Prints a line an event until it is interrupted. It may be started before a ruleset is applied, and it goes on when
    /// another one is.
    Monitor(Monitor),
    /// Serve metrics and a page, send events to logs, attach to new interfaces
    ///
    /// Runs until it is interrupted. Nothing depends on it: filtering goes on without it, and what it did not see is in the
    /// counters all the same.
    Agent(Agent),
    /// Print metrics once, as Prometheus reads them
    ///
    /// Packets and bytes by interface, direction, outcome and reason; connections; rules with counters.
    Metrics(Metrics),
    /// Watch rates: interfaces, rules, sources and destinations, drop reasons, connections
    ///
    /// For a terminal of 80 columns and 24 lines or more, over ssh as well. Reads what is counted anyway: packets pay nothing for
    /// it.
    Top(Top),
    /// Show live packets and every rule that each of them meets
    ///
    /// Ends by itself: after so many packets, after so long, or when another ruleset is put in force.
    Trace(Trace),
    /// Write live packets to a capture file, each with its verdict and rule as a comment
    Capture(Capture),
    /// Run packets through a ruleset and compare with what is expected of them
    ///
    /// Exit status 1 says that a packet did not do as expected; the answer of `rampart why` is shown with it.
    Test(Test),
    /// Say what becomes of a packet, and why
    ///
    /// The packet runs through a shadow of the loaded ruleset in the kernel: the same program, the same rules, copies of
    /// the connections it would meet. Nothing live changes. Printed are every rule it meets, the verdict, what the
    /// sender sees, and what would let a dropped one through; and what else may be in the way.
    Why(Why),
    /// Say what is wrong with this machine or with what is in force, and what to do about it
    ///
    /// Looks at the kernel, at every interface that is up, at what is in force and what it dropped for reasons of its own, and at
    /// other rulesets that can drop packets too. Changes nothing. Exit status 1 says that a problem was found.
    Doctor,
    /// Detach from every interface and remove everything, connections included
    Stop(Stop),
    /// Print a completion script for a shell
    ///
    /// For example: `rampart completions bash > /etc/bash_completion.d/rampart`
    Completions(Completions),
    /// Print the manual page, or write all of them to a directory
    ///
    /// In the format of man(7), section 8.
    Man(Man),
}

impl Verb {
    /// The word that was typed.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Check(_) => "check",
            Self::Import(_) => "import",
            Self::Apply(_) => "apply",
            Self::Confirm => "confirm",
            Self::Rollback => "rollback",
            Self::List(_) => "list",
            Self::Status => "status",
            Self::Conns(_) => "conns",
            Self::Counters(_) => "counters",
            Self::Set(_) => "set",
            Self::Ban(_) => "ban",
            Self::Unban(_) => "unban",
            Self::Bans => "bans",
            Self::Monitor(_) => "monitor",
            Self::Agent(_) => "agent",
            Self::Metrics(_) => "metrics",
            Self::Test(_) => "test",
            Self::Top(_) => "top",
            Self::Trace(_) => "trace",
            Self::Capture(_) => "capture",
            Self::Why(_) => "why",
            Self::Doctor => "doctor",
            Self::Stop(_) => "stop",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The ruleset; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  iptables-save | rampart import > rampart.nft
  ip6tables-save | rampart import --ip6 >> rampart.nft
  rampart import --keep-going rules.v4     # what can be translated, the rest as comments")]
pub struct Import {
    /// What `iptables-save` printed; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// The file is of `ip6tables-save`
    #[arg(short = '6', long)]
    pub ip6: bool,
    /// Print what can be translated even when not all of it can; the exit status is 1 all the same
    #[arg(long)]
    pub keep_going: bool,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  rampart apply                          # /etc/rampart/rampart.nft on every interface that is up
  rampart apply --confirm 60s new.nft    # the old rules come back unless `rampart confirm` follows
  rampart apply -i eth0 -i eth1 new.nft  # on these interfaces only
  generate-rules | rampart apply -")]
pub struct Apply {
    /// The ruleset; `-` is standard input
    #[arg(value_name = "FILE", default_value = DEFAULT_RULESET)]
    pub file: PathBuf,
    /// Attach to this interface (repeatable); without it, to every one that is up, loopback aside
    #[arg(short, long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Go back to the ruleset before unless `rampart confirm` follows within this time (60s, 5m, 1h)
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub confirm: Option<Duration>,
    /// Room for so many connections, instead of what the settings say; takes effect when nothing is in force yet
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub flows: Option<u32>,
    /// What to do about connections that the new rules would not let begin
    ///
    /// They live on unless it says `drop`, which is also what it means without a value. Each is asked about with the first packet
    /// that it would have now; `rampart conns --refused` shows them at any time.
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        default_value = "count",
        default_missing_value = "drop"
    )]
    pub reevaluate: Reevaluate,
    /// Refuse unless these packets do as expected (see `rampart test`); repeatable
    #[arg(long = "test", value_name = "FILE")]
    pub tests: Vec<PathBuf>,
    /// Check and compile only; the kernel is not touched
    #[arg(long)]
    pub dry_run: bool,
}

/// What becomes of connections that new rules would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reevaluate {
    /// They are counted, ten thousand connections at most being asked about
    Count,
    /// They are shown, and live on
    List,
    /// They are forgotten
    Drop,
    /// Nobody asks
    Skip,
}

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Also if another version of rampart put it in force, whose connections cannot be read
    #[arg(short, long)]
    pub yes: bool,
    /// Instead, remove what is left of network namespaces that do not exist any more
    #[arg(long, conflicts_with = "yes")]
    pub dead: bool,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Show handles
    #[arg(short = 'a', long)]
    pub handle: bool,
    /// Then set all counters and quotas back to nothing, those of rules and those with a name
    ///
    /// No packet is missing: it is in what this prints or in what the next one prints. `rampart metrics` goes on from where
    /// it was.
    #[arg(long)]
    pub reset: bool,
}

/// Arguments of `set`.
#[derive(Debug, Args)]
pub struct SetCommand {
    /// What to do
    #[command(subcommand)]
    pub verb: SetVerb,
}

/// What can be done with sets.
#[derive(Debug, Subcommand)]
pub enum SetVerb {
    /// Show the sets, or the elements of one
    List(SetWords),
    /// Add elements: `blocked 203.0.113.9 timeout 1h`
    Add(SetWords),
    /// Remove elements
    Delete(SetWords),
    /// Remove all elements
    Flush(SetWords),
    /// Ask whether elements are in a set
    Get(SetWords),
    /// Make a set hold the elements of a file, one a line: only what differs changes
    Load(SetLoad),
}

/// A set, and elements.
#[derive(Debug, Args)]
pub struct SetWords {
    /// `[FAMILY] [TABLE] SET`, and elements behind it
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
}

/// Arguments of `set load`.
#[derive(Debug, Args)]
pub struct SetLoad {
    /// The file; `-` for standard input
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    pub file: String,
    /// Keep what is not in the file as well
    #[arg(long)]
    pub add: bool,
    /// `[FAMILY] [TABLE] SET`
    #[arg(value_name = "WORD", required = true)]
    pub words: Vec<String>,
}

/// Arguments of `counters`.
#[derive(Debug, Args)]
pub struct Counters {
    /// Only this interface (repeatable), and no named counters and quotas
    #[arg(short, long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Then set the named counters and quotas back to nothing, as `nft reset counters` and `nft reset quotas` do
    ///
    /// What interfaces counted stays: it adds up, and metrics are made of it. `rampart list --reset` is for rules.
    #[arg(long, conflicts_with = "interfaces")]
    pub reset: bool,
}

/// Arguments of `monitor`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Filters:
  dropped, logged, new, closed, table_full, nat_exhausted, flood_on, flood_off,
  apply, ban, unban, backend_up, backend_down
                               a kind of event
  banned                       drops by a ban
  proto=tcp                    protocol, by name or number
  src=192.0.2.0/24  dst=...    address or prefix; host=... is either of them
  sport=443  dport=22          port; port=... is either of them
  reason=policy                reason of a drop
  layer=network                layer of a drop: link, network, transport, ruleset, internal
  hook=input                   prerouting, input, forward, output
  interface=eth0               interface
Filters of one kind add up, different ones must all hold.

Examples:
  rampart monitor
  rampart monitor --filter dropped --filter dport=22 --filter dport=80
  rampart monitor --json | jq .packet")]
pub struct Monitor {
    /// Show only these events (repeatable), see below
    #[arg(short, long = "filter", value_name = "FILTER")]
    pub filters: Vec<EventFilter>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages of all verbs to this directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in
            ["rampart --netns blue --json status", "rampart status --netns blue -j", "rampart -j status --netns=blue"]
        {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert_eq!((cli.global.netns.as_deref(), cli.global.json), (Some("blue"), true), "{line}");
        }
    }

    #[test]
    fn every_verb_and_argument_says_what_it_is() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            assert!(verb.get_arguments().all(|argument| argument.get_help().is_some()), "{}", verb.get_name());
        }
    }
}
