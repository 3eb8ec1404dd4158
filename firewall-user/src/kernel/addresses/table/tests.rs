use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn v4(table: u32, kind: RouteType, network: [u8; 4], length: u8, interface: u32) -> Route {
    let network = u32::from(Ipv4Addr::from(network)).into();
    Route { is_v6: false, table, network, length, kind, interface, has_gateway: false, is_kernels: true }
}

fn v6(table: u32, kind: RouteType, network: &str, length: u8) -> Route {
    let network = network.parse::<Ipv6Addr>().expect("an address").to_bits();
    Route { is_v6: true, table, network, length, kind, interface: 2, has_gateway: false, is_kernels: true }
}

fn of_v6(known: &Known, kind: u32, interface: u32, address: &str) -> Option<u32> {
    let route = v6(0, RouteType::Local, address, 128);
    known.entries.get(&(BEFORE + 128, data(kind, interface, &route))).map(|value| value[0])
}

#[test]
fn the_first_route_to_an_address_counts() {
    let known = known(&[
        v4(TABLE_LOCAL, RouteType::Broadcast, [192, 0, 2, 255], 32, 2),
        v4(TABLE_LOCAL, RouteType::Local, [192, 0, 2, 255], 32, 3),
        v4(MAIN, RouteType::Unicast, [192, 0, 2, 0], 24, 2),
    ]);
    let only: Vec<_> = known.entries.values().collect();
    assert_eq!(only, [&[BROADCAST, 2]]);
    assert_eq!(known.doubts, [None, None]);
}

#[test]
fn what_the_kernel_may_have_in_one_trie_is_doubted() {
    let loopback = v4(TABLE_LOCAL, RouteType::Local, [127, 0, 0, 0], 8, 1);
    let within = v4(MAIN, RouteType::Unicast, [127, 9, 0, 0], 16, 2);
    let doubt = known(&[loopback.clone(), within]).doubts[0].clone();
    assert_eq!(doubt.as_deref(), Some("the route to 127.9.0.0/16 is within that to 127.0.0.0/8 of table `local`"));
    assert!(known(&[v4(MAIN, RouteType::Local, [192, 0, 2, 1], 32, 2)]).doubts[0].is_some());
    assert!(known(&[loopback, v4(MAIN, RouteType::Unicast, [0; 4], 0, 2)]).doubts[0].is_none());
}

#[test]
fn the_first_address_of_a_link_is_any_routers() {
    let far = Route { has_gateway: true, ..v6(MAIN, RouteType::Unicast, "2001:db8:2::", 48) };
    let known = known(&[
        v6(TABLE_LOCAL, RouteType::Local, "2001:db8:1::1", 128),
        v6(MAIN, RouteType::Unicast, "2001:db8:1::", 64),
        v6(MAIN, RouteType::Unicast, "fe80::", 64),
        far,
    ]);
    assert_eq!(of_v6(&known, addresses::V6, 0, "2001:db8:1::"), Some(ANYCAST));
    assert_eq!(of_v6(&known, addresses::V6, 0, "2001:db8:1::1"), Some(LOCAL));
    assert_eq!(of_v6(&known, addresses::V6_OF_INTERFACE, 2, "2001:db8:1::1"), Some(LOCAL));
    assert_eq!(of_v6(&known, addresses::V6_OF_INTERFACE, 3, "2001:db8:1::1"), None);
    assert_eq!(of_v6(&known, addresses::V6, 0, "2001:db8:2::"), None);
    assert_eq!(of_v6(&known, addresses::V6, 2, "fe80::"), Some(ANYCAST));
    assert_eq!(of_v6(&known, addresses::V6, 3, "fe80::"), None);
}

#[test]
fn a_longer_route_through_a_router_takes_the_first_address_away() {
    let far = Route { has_gateway: true, ..v6(MAIN, RouteType::Unicast, "2001:db8:1::", 80) };
    let known = known(&[v6(MAIN, RouteType::Unicast, "2001:db8:1::", 64), far]);
    assert_eq!(of_v6(&known, addresses::V6, 0, "2001:db8:1::"), None);
}

#[test]
fn other_tables_that_say_what_an_address_is_are_doubted() {
    let way_out = v6(51820, RouteType::Unicast, "::", 0);
    assert!(known(std::slice::from_ref(&way_out)).doubts[1].is_none());
    let vrf = v6(1001, RouteType::Local, "2001:db8::1", 128);
    assert!(known(&[way_out, vrf]).doubts[1].is_some());
}
