//! Segments as short as a table's cells.

use std::net::IpAddr;

use firewall_tests::packet::{Frame, Tcp};

use super::support::{packets::between, sequence::flags};

/// Port of the server in every script.
pub(crate) const SERVER_PORT: u16 = 443;

/// Where the two sides begin to count: both numbers wrap soon.
const CLIENT_ORIGIN: u32 = u32::MAX - 100;
const SERVER_ORIGIN: u32 = u32::MAX - 3000;

/// A segment: `> PA 1 1 8000 100`: direction, flags, `seq` counted from the sender's first number, `ack` from the
/// receiver's (`zero`: 0 on the wire), window, bytes of data; then options: `ws7` (window scale), `sackok`,
/// `sack:1001-2001` (counted like `ack`).
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Does the one who began send it?
    pub(crate) forth: bool,
    tcp: Tcp,
    length: usize,
}

impl Segment {
    /// Reads one, of the connection from this port.
    pub(crate) fn read(text: &str, port: u16) -> Self {
        let words: Vec<_> = text.split_whitespace().collect();
        let forth = words[0] == ">";
        let (ports, origins) = if forth {
            ((port, SERVER_PORT), (CLIENT_ORIGIN, SERVER_ORIGIN))
        } else {
            ((SERVER_PORT, port), (SERVER_ORIGIN, CLIENT_ORIGIN))
        };
        let tcp = Tcp {
            window: words[4].parse().expect("a window"),
            options: words[6..].iter().flat_map(|word| option(word, origins.1)).collect(),
            ..Tcp::new(ports.0, ports.1, flags(words[1])).at(number(words[2], origins.0), number(words[3], origins.1))
        };
        Self { forth, tcp, length: words[5].parse().expect("a length") }
    }

    /// The frame, between these two.
    pub(crate) fn frame(&self, client: impl Into<IpAddr>, server: impl Into<IpAddr>) -> Frame {
        let (client, server) = (client.into(), server.into());
        let (source, destination) = if self.forth { (client, server) } else { (server, client) };
        between(source, destination, self.tcp.clone()).payload(&vec![0x55; self.length])
    }
}

fn number(word: &str, origin: u32) -> u32 {
    if word == "zero" {
        return 0;
    }
    origin.wrapping_add(word.parse::<i64>().unwrap_or_else(|_| panic!("`{word}`: no number")) as u32)
}

fn option(word: &str, origin: u32) -> Vec<u8> {
    if let Some(shift) = word.strip_prefix("ws") {
        return vec![1, 3, 3, shift.parse().expect("a shift")];
    }
    if let Some((left, right)) = word.strip_prefix("sack:").and_then(|block| block.split_once('-')) {
        let edges = [left, right].map(|edge| number(edge, origin).to_be_bytes());
        return [&[1, 1, 5, 10][..], &edges.concat()].concat();
    }
    assert_eq!(word, "sackok", "no option");
    vec![1, 1, 4, 2]
}
