use super::*;

#[test]
fn prefixes_are_words_and_masks() {
    let words = |text: &str| text.parse::<Prefix>().expect(text).words();
    assert_eq!(words("192.0.2.7/24"), (2, [0xc000_0200, 0, 0, 0], [0xffff_ff00, 0, 0, 0]));
    assert_eq!(words("0.0.0.0/0"), (2, [0; 4], [0; 4]));
    let all = u32::MAX;
    assert_eq!(words("2001:db8::1"), (10, [0x2001_0db8, 0, 0, 1], [all; 4]));
}

#[test]
fn durations() {
    let seconds = |text| duration(text).map(|duration| duration.as_secs()).ok();
    for (text, wanted) in [("60", 60), ("60s", 60), ("5m", 300), ("1m30s", 90), ("2h", 7200), ("1d", 86_400)] {
        assert_eq!(seconds(text), Some(wanted), "{text}");
    }
    for text in ["", "0", "0s", "s", "1x", "-1s", "1.5s", "8d", "99999999999999999999s", "18446744073709551615d", "5 m"]
    {
        assert_eq!(seconds(text), None, "{text}");
    }
}

#[test]
fn prefixes_contain_their_addresses() {
    let contains = |prefix: &str, address: &str| {
        prefix.parse::<Prefix>().expect(prefix).contains(address.parse().expect("an address"))
    };
    assert!(contains("192.0.2.0/24", "192.0.2.255"));
    assert!(!contains("192.0.2.0/24", "192.0.3.0"));
    assert!(contains("192.0.2.7", "192.0.2.7"));
    assert!(!contains("192.0.2.7", "192.0.2.6"));
    assert!(contains("0.0.0.0/0", "203.0.113.1"));
    assert!(contains("::/0", "2001:db8::1"));
    assert!(!contains("::/0", "192.0.2.1"));
    assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
    assert!(!contains("2001:db8::/32", "2001:db9::1"));
    for text in ["", "192.0.2.0/33", "192.0.2/24", "::/129", "192.0.2.0/", "x", "192.0.2.0/-1", "192.0.2.0/24/24"] {
        assert!(text.parse::<Prefix>().is_err(), "{text}");
    }
}

#[test]
fn protocols_and_states_by_name() {
    let numbers = [("tcp", 6), ("UDP", 17), ("icmp", 1), ("icmpv6", 58), ("ipv6-icmp", 58), ("47", 47)];
    for (text, number) in numbers {
        assert_eq!(protocol(text), Ok(number), "{text}");
    }
    assert!(protocol("256").is_err() && protocol("tpc").is_err());
    assert_eq!(state("established").as_deref(), Ok("ESTABLISHED"));
    assert_eq!(state("syn-sent").as_deref(), Ok("SYN_SENT"));
    assert_eq!(state("stream").as_deref(), Ok("STREAM"));
    assert!(state("listen").is_err_and(|text| text.contains("TIME_WAIT") && !text.contains("BUSY")));
}

#[test]
fn event_filters() {
    let parse = |text: &str| text.parse::<EventFilter>();
    assert_eq!(parse("drop"), Ok(EventFilter::Kind(Kind::Dropped)));
    assert_eq!(parse("dport=22"), Ok(EventFilter::DestinationPort(22)));
    assert_eq!(parse("reason=policy"), Ok(EventFilter::Reason(Reason::Policy)));
    assert_eq!(parse("layer=network"), Ok(EventFilter::Layer(Layer::Network)));
    for text in ["", "dropp", "colour=red", "dport=x", "dport=65536", "reason=bad", "src=", "proto="] {
        assert!(parse(text).is_err(), "{text}");
    }
}
