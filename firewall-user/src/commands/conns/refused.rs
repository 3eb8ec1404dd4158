//! Which connections the rules in force would not let begin: asked with the first packet that each would have, of a shadow
//! of the loaded programs.

use anyhow::Result;
use firewall_common::wire::{icmp, sctp, tcp, udp};

use crate::{
    kernel::{Attached, Flow, Ingress, Instance, Known, Question, Shadow, Side},
    observe::conns::Conn,
    packets::Spec,
};

/// Who is asked.
pub(super) struct Judge<'a> {
    shadow: Shadow<'a>,
    interfaces: Vec<Attached>,
    /// Connections that nothing was asked about: how their protocols begin is not known here.
    pub(super) unasked: u64,
}

impl<'a> Judge<'a> {
    pub(super) fn new(instance: &'a Instance) -> Result<Self> {
        let shadow = instance.shadow(instance.generation()?)?;
        Ok(Self { shadow, interfaces: instance.interfaces()?, unasked: 0 })
    }

    /// Would the connection's first packet be dropped if it came now?
    pub(super) fn refuses(&mut self, flow: &Flow, conn: &Conn) -> Result<bool> {
        let Some(frame) = first_packet(conn) else {
            self.unasked += 1;
            return Ok(false);
        };
        let came_in_by = flow.entry.ifindex;
        if came_in_by != 0 {
            let interface = self.interfaces.iter().find(|one| one.ifindex == came_in_by);
            // Of an interface that is not filtered any more nothing is refused.
            let Some(interface) = interface else { return Ok(false) };
            let side = if interface.ingress == Ingress::Tc { Side::TcIngress } else { Side::Xdp };
            return Ok(!self.passes(&frame, side, came_in_by)?);
        }
        // Made here: by which interface it would leave is a matter of routes, so it is refused when all refuse it.
        let leaving_by: Vec<u32> = self.interfaces.iter().map(|one| one.ifindex).collect();
        for ifindex in &leaving_by {
            if self.passes(&frame, Side::TcEgress, *ifindex)? {
                return Ok(false);
            }
        }
        Ok(!leaving_by.is_empty())
    }

    fn passes(&mut self, frame: &[u8], side: Side, ifindex: u32) -> Result<bool> {
        Ok(self.shadow.passes(&Question { side, frame, ifindex, known: Known::Nothing })?)
    }
}

/// The packet that a connection begins with.
fn first_packet(conn: &Conn) -> Option<Vec<u8>> {
    let (source, destination) = (conn.source, conn.destination);
    let with_port = |address: std::net::IpAddr, port| std::net::SocketAddr::new(address, port).to_string();
    let words = match conn.protocol {
        tcp::PROTOCOL | udp::PROTOCOL | udp::PROTOCOL_LITE => {
            [with_port(source.address, source.port), with_port(destination.address, destination.port)]
        }
        sctp::PROTOCOL | sctp::PROTOCOL_DCCP => return None,
        icmp::PROTOCOL if !source.address.is_ipv4() => return None,
        _ => [source.address.to_string(), destination.address.to_string()],
    };
    let protocol = match conn.protocol {
        icmp::PROTOCOL => "icmp".to_owned(),
        icmp::PROTOCOL_V6 => "icmp6".to_owned(),
        number => number.to_string(),
    };
    let [source, destination] = words;
    Spec::parse(&[protocol, source, destination]).ok().map(|spec| spec.frame())
}
