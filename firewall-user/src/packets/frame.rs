//! A packet's bytes, with lengths and checksums that are right.

use std::net::IpAddr;

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacket, EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header,
    Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
};

use super::Spec;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

pub(super) fn build(spec: &Spec) -> Vec<u8> {
    let (ether_type, network) = match (spec.protocol, spec.source, spec.destination) {
        (None, ..) => (EtherType::ARP, arp(spec)),
        (Some(protocol), IpAddr::V4(source), IpAddr::V4(destination)) => {
            (EtherType::IPV4, ipv4(spec, protocol, source.octets(), destination.octets()))
        }
        (Some(protocol), source, destination) => {
            (EtherType::IPV6, ipv6(spec, protocol, mapped(source), mapped(destination)))
        }
    };
    let tag = spec.vlan.and_then(|id| VlanId::try_new(id).ok());
    let outer = if tag.is_some() { EtherType::VLAN_TAGGED_FRAME } else { ether_type };
    let link = Ethernet2Header { source: spec.ether.0, destination: spec.ether.1, ether_type: outer };
    let mut bytes = link.to_bytes().to_vec();
    if let Some(vlan_id) = tag {
        let tag = SingleVlanHeader { vlan_id, ether_type, ..SingleVlanHeader::default() };
        bytes.extend_from_slice(&tag.to_bytes());
    }
    bytes.extend_from_slice(&network);
    bytes
}

/// The words were checked to be of one family: only an IPv6 address comes here.
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Who has the destination, tell the source.
fn arp(spec: &Spec) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let packet = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: spec.ether.0,
        sender_ipv4: octets(spec.source),
        target_mac: [0; 6],
        target_ipv4: octets(spec.destination),
    };
    ArpPacket::from(packet).to_bytes().to_vec()
}

fn ipv4(spec: &Spec, protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let payload = vec![0; spec.payload];
    let mut header = Ipv4Header {
        time_to_live: spec.ttl,
        protocol: IpNumber(protocol),
        source,
        destination,
        ..Ipv4Header::default()
    };
    let upper = match protocol {
        TCP => {
            let mut tcp = tcp(spec);
            tcp.checksum = tcp.calc_checksum_ipv4_raw(source, destination, &payload).unwrap_or(0);
            tcp.to_bytes().to_vec()
        }
        UDP => {
            let (sport, dport) = spec.ports;
            let udp = UdpHeader::without_ipv4_checksum(sport, dport, payload.len()).ok();
            let sum = udp.as_ref().and_then(|udp| udp.calc_checksum_ipv4_raw(source, destination, &payload).ok());
            udp.map(|udp| UdpHeader { checksum: sum.unwrap_or(0), ..udp }.to_bytes().to_vec()).unwrap_or_default()
        }
        ICMP => {
            let (type_u8, code_u8) = spec.icmp;
            let kind = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8: [0, 1, 0, 1] };
            Icmpv4Header::with_checksum(kind, &payload).to_bytes().to_vec()
        }
        _ => other(spec),
    };
    let length = upper.len() + payload.len();
    // Too large a payload cannot be said: it has sixteen bits and the headers are added to it.
    let _ = header.set_payload_len(length);
    header.header_checksum = header.calc_header_checksum();
    [header.to_bytes().to_vec(), upper, payload].concat()
}

fn ipv6(spec: &Spec, protocol: u8, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
    let payload = vec![0; spec.payload];
    let mut header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: 0,
        next_header: IpNumber(protocol),
        hop_limit: spec.ttl,
        source,
        destination,
    };
    let upper = match protocol {
        TCP => {
            let mut tcp = tcp(spec);
            tcp.checksum = tcp.calc_checksum_ipv6_raw(source, destination, &payload).unwrap_or(0);
            tcp.to_bytes().to_vec()
        }
        UDP => {
            let (sport, dport) = spec.ports;
            let udp = UdpHeader::without_ipv4_checksum(sport, dport, payload.len()).ok();
            let sum = udp.as_ref().and_then(|udp| udp.calc_checksum_ipv6_raw(source, destination, &payload).ok());
            udp.map(|udp| UdpHeader { checksum: sum.unwrap_or(0), ..udp }.to_bytes().to_vec()).unwrap_or_default()
        }
        ICMPV6 => {
            let (type_u8, code_u8) = spec.icmp;
            let kind = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8: [0, 1, 0, 1] };
            let icmp = Icmpv6Header::with_checksum(kind, source, destination, &payload);
            icmp.map(|icmp| icmp.to_bytes().to_vec()).unwrap_or_default()
        }
        _ => other(spec),
    };
    let _ = header.set_payload_length(upper.len() + payload.len());
    [header.to_bytes().to_vec(), upper, payload].concat()
}

fn tcp(spec: &Spec) -> TcpHeader {
    let flag = |bit: u8| spec.flags & bit != 0;
    let (sport, dport) = spec.ports;
    let mut tcp = TcpHeader::new(sport, dport, 1000, 65_535);
    tcp.fin = flag(0x01);
    tcp.syn = flag(0x02);
    tcp.rst = flag(0x04);
    tcp.psh = flag(0x08);
    tcp.ack = flag(0x10);
    tcp.urg = flag(0x20);
    tcp.ece = flag(0x40);
    tcp.cwr = flag(0x80);
    tcp.acknowledgment_number = if tcp.ack { 2000 } else { 0 };
    tcp
}

/// The ports of protocols that have them, and room for the rest of the longest header among them.
fn other(spec: &Spec) -> Vec<u8> {
    let (sport, dport) = spec.ports;
    [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0; 16]].concat()
}
