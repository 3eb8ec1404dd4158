//! Filter files of `ClassBench`: `@SRC DST SPORT : SPORT DPORT : DPORT PROTO/MASK FLAGS`, packed by gzip or not.

use std::{net::Ipv4Addr, path::Path, process::Command};

use super::rules::{Prefix, Rule};

const ANY_PORT: (u16, u16) = (0, u16::MAX);

/// The rules of a file; TCP flags are left out.
pub(crate) fn read(path: &Path) -> Vec<Rule> {
    let text = if path.extension().is_some_and(|extension| extension == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip");
        String::from_utf8(output.stdout).expect("text")
    } else {
        std::fs::read_to_string(path).expect("a file of filters")
    };
    text.lines().filter_map(|line| Some(rule(line.strip_prefix('@')?))).collect()
}

/// The same rules for IPv6: the address's bits stand behind `2001:db8::/32`, and a host is the first one of its /64.
pub(crate) fn wide(rules: &[Rule]) -> Vec<Rule> {
    const NETWORK: u128 = 0x2001_0db8 << 96;
    let prefix = |Prefix { address, length }: Prefix| match length {
        0 => Prefix { address, length },
        32 => Prefix { address: NETWORK | address << 64 | 1, length: 128 },
        _ => Prefix { address: NETWORK | address << 64, length: 32 + length },
    };
    let wide = |rule: &Rule| {
        let (source, destination) = (prefix(rule.source), prefix(rule.destination));
        Rule { is_v6: true, source, destination, ..*rule }
    };
    rules.iter().map(wide).collect()
}

fn rule(line: &str) -> Rule {
    let mut columns = line.split('\t').map(str::trim);
    let mut next = || columns.next().expect("a column");
    let (source, destination, source_ports, destination_ports) =
        (prefix(next()), prefix(next()), ports(next()), ports(next()));
    let (protocol, mask) = next().split_once('/').expect("a protocol and a mask");
    let number = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number");
    let protocol = (number(mask) != 0).then(|| number(protocol));
    let has_ports = matches!(protocol, Some(6 | 17));
    let of = |ports| if has_ports { ports } else { ANY_PORT };
    Rule {
        is_v6: false,
        source,
        destination,
        source_ports: of(source_ports),
        destination_ports: of(destination_ports),
        protocol,
    }
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("a prefix");
    let (address, length): (Ipv4Addr, u32) = (address.parse().expect("an address"), length.parse().expect("a length"));
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    Prefix { address: u128::from(address.to_bits() & mask), length }
}

fn ports(text: &str) -> (u16, u16) {
    let (low, high) = text.split_once(':').expect("a range of ports");
    let number = |text: &str| text.trim().parse().expect("a port");
    (number(low), number(high))
}
