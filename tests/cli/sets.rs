//! `rampart set`: elements of sets and maps, while packets come.

use std::{net::Ipv4Addr, process::Command, thread, time::Duration};

use firewall_tests::{
    command::{Rampart, Scratch, rampart_path},
    screen::Screen,
    sockets::{Outcome, PATIENTLY, ping},
    topology::{CLIENT, Pair, SERVER},
};

const RULES: &str = "table inet t {
	set blocked { type ipv4_addr; flags interval,timeout; counter; }
	set few { type inet_service; size 2; }
	map marks { type ipv4_addr : mark; }
	set logins { type ipv4_addr; flags dynamic; }
	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr @blocked drop
		tcp dport @few drop
		meta mark set ip saddr map @marks meta mark 7 drop
		tcp dport 1 add @logins { ip saddr limit rate 5/second }
	}
}
";

fn told(rampart: &Rampart<'_>, arguments: &[&str]) -> String {
    rampart.run(arguments).success().stdout
}

fn refused(rampart: &Rampart<'_>, arguments: &[&str]) -> String {
    let output = rampart.run(arguments);
    assert_ne!(output.status, 0, "{arguments:?}");
    output.stderr
}

#[test]
fn elements_of_sets_and_maps() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let client = CLIENT.to_string();
    let answers = || ping(&pair.client, SERVER, PATIENTLY);
    assert_eq!(answers(), Outcome::Connected);
    // A set.
    told(&rampart, &["set", "add", "blocked", &client, "timeout", "1h", "203.0.113.0/24"]);
    assert_ne!(answers(), Outcome::Connected);
    let listed = told(&rampart, &["set", "list", "t", "blocked"]);
    assert!(listed.contains(&format!("{client} counter packets ")), "{listed}");
    assert!(listed.contains("timeout 1h expires 59m"), "{listed}");
    told(&rampart, &["set", "get", "blocked", "203.0.113.77"]);
    told(&rampart, &["set", "delete", "inet", "t", "blocked", &client]);
    assert_eq!(answers(), Outcome::Connected);
    told(&rampart, &["set", "flush", "blocked"]);
    assert_eq!(told(&rampart, &["set", "list", "blocked"]), "");
    // A map.
    told(&rampart, &["set", "add", "marks", &format!("{client} : 7")]);
    assert_ne!(answers(), Outcome::Connected);
    assert_eq!(told(&rampart, &["set", "list", "marks"]), format!("{client} : 0x00000007\n"));
    told(&rampart, &["set", "delete", "marks", &client]);
    assert_eq!(answers(), Outcome::Connected);
    // What is refused, and why.
    let message = refused(&rampart, &["set", "add", "few", "1", "2", "3"]);
    assert!(message.contains("its size is 2"), "{message}");
    assert_eq!(told(&rampart, &["set", "list", "few"]), "", "not even those that had room");
    let message = refused(&rampart, &["set", "add", "blocked", "192.0.2.300"]);
    assert!(message.contains("192.0.2.300"), "{message}");
    let message = refused(&rampart, &["set", "add", "blocked", "192.0.2.3 comment \"x\""]);
    assert!(message.contains("comments are kept"), "{message}");
    let message = refused(&rampart, &["set", "list", "blokced"]);
    assert!(message.contains("inet t blocked"), "{message}");
}

const VERDICTS: &str = "table inet t {
	map by_client { type ipv4_addr : verdict; elements = { 203.0.113.1 : jump strict }; }
	map by_port { type inet_service : verdict; flags interval; elements = { 1-9 : drop, * : continue }; }
	map by_pair { type ipv4_addr . inet_proto : verdict; flags interval; elements = { 203.0.113.0/24 . 1-9 : jump strict }; }
	chain strict { drop; }
	chain asks { ip saddr vmap @by_client; }
	chain out { type filter hook output priority filter; policy accept; }
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport vmap @by_port
		ip saddr . ip protocol vmap @by_pair
		ip saddr vmap @by_client counter comment \"behind\"
	}
}
";

#[test]
fn maps_to_verdicts() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(VERDICTS).check();
    let client = CLIENT.to_string();
    let answers = || ping(&pair.client, SERVER, PATIENTLY) == Outcome::Connected;
    assert!(answers());
    for (verdict, passes) in [("drop", false), ("jump strict", false), ("accept", true), ("goto strict", false)] {
        told(&rampart, &["set", "add", "by_client", &format!("{client} : {verdict}")]);
        assert_eq!(
            told(&rampart, &["set", "list", "by_client"]).lines().next(),
            Some(&*format!("{client} : {verdict}"))
        );
        assert_eq!(answers(), passes, "{verdict}");
        told(&rampart, &["set", "delete", "by_client", &client]);
        assert!(answers());
    }
    // What was added stays, as long as there is a chain for it; the text's own elements are those of the text.
    told(&rampart, &["set", "add", "by_client", &client, ":", "jump", "strict"]);
    rampart.apply(&VERDICTS.replace("203.0.113.1 :", "203.0.113.2 :")).check();
    assert!(!answers());
    let listed = told(&rampart, &["set", "list", "by_client"]);
    assert_eq!(listed, format!("{client} : jump strict\n203.0.113.2 : jump strict\n"));
    let other = VERDICTS.replace("strict", "severe");
    let refused_text = rampart.apply(&other);
    assert!(refused_text.status != 0 && refused_text.stderr.contains("`jump strict`"), "{}", refused_text.stderr);
    assert!(!answers());
    told(&rampart, &["set", "delete", "by_client", &client]);
    rampart.apply(&other).check();
    assert!(answers());
    // What is refused, and why.
    let message = refused(&rampart, &["set", "add", "by_client", "192.0.2.9 : jump nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
    let message = refused(&rampart, &["set", "add", "by_client", "192.0.2.9 : jump asks"]);
    assert!(message.contains("`jump asks`: the rules in force"), "{message}");
    told(&rampart, &["set", "add", "by_port", "22 : drop"]);
    let listed = told(&rampart, &["set", "list", "by_port"]);
    assert_eq!(listed, "1-9 : drop\n22 : drop\n");
    rampart.apply(&other.replace("1-9 : drop", "1-7 : drop")).check();
    let listed = told(&rampart, &["set", "list", "by_port"]);
    assert_eq!(listed, "1-7 : drop\n22 : drop\n");
}

#[test]
fn maps_to_verdicts_by_concatenations_of_ranges() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(VERDICTS).check();
    let answers = || ping(&pair.client, SERVER, PATIENTLY) == Outcome::Connected;
    assert!(answers());
    // ICMP is protocol 1, and the client is in that network.
    let element = format!("{CLIENT}/25 . 1-5");
    for (verdict, passes) in [("drop", false), ("accept", true), ("jump strict", false), ("continue", true)] {
        told(&rampart, &["set", "add", "by_pair", &format!("{element} : {verdict}")]);
        let listed = told(&rampart, &["set", "list", "by_pair"]);
        assert_eq!(listed, format!("192.0.2.0/25 . 1-5 : {verdict}\n203.0.113.0/24 . 1-9 : jump strict\n"));
        assert_eq!(answers(), passes, "{verdict}");
        rampart.apply(VERDICTS).check();
        assert_eq!(answers(), passes, "{verdict} stays");
        told(&rampart, &["set", "delete", "by_pair", &element]);
        assert!(answers());
    }
}

/// A list is loaded again and again: only what differs changes, and what stays keeps what it counted and its time.
#[test]
fn a_list_changes_what_differs() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let load = |list: &str| rampart.run_with(&["set", "load", "blocked", "--json"], list).success().json();
    let told = |said: &serde_json::Value| ["added", "removed", "changed", "kept"].map(|what| said[what].as_u64());
    let client = CLIENT.to_string();
    let said =
        load(&format!("# a list\n{client} timeout 1h\n\n203.0.113.0/24 # a network\n198.51.100.1-198.51.100.9\n"));
    // The range is kept as four prefixes.
    assert_eq!(told(&said), [Some(6), Some(0), Some(0), Some(0)], "{said}");
    assert_ne!(ping(&pair.client, SERVER, Duration::from_millis(300)), Outcome::Connected);
    let element = |of: &str| {
        let listed = rampart.run(&["set", "list", "blocked"]).success().stdout;
        listed.lines().find(|line| line.starts_with(of)).unwrap_or_else(|| panic!("{of}: {listed}")).to_owned()
    };
    let packets = || {
        let line = element(&client);
        let words: Vec<_> = line.split(' ').collect();
        words[words.iter().position(|word| *word == "packets").expect("a counter") + 1]
            .parse::<u64>()
            .expect("a number")
    };
    let before = packets();
    assert!(before > 0);
    thread::sleep(Duration::from_millis(2500));
    let said = load(&format!("{client} timeout 1h\n203.0.113.0/25\n198.51.100.1-198.51.100.9\n"));
    assert_eq!(told(&said), [Some(1), Some(1), Some(0), Some(5)], "{said}");
    assert_eq!(packets(), before);
    assert!(element(&client).contains("timeout 1h expires 59m5"), "its time went on: {}", element(&client));
    // Another time is a change, and the count goes on.
    let said = load(&format!("{client} timeout 2h\n203.0.113.0/25\n198.51.100.1-198.51.100.9\n"));
    assert_eq!(told(&said), [Some(0), Some(0), Some(1), Some(5)], "{said}");
    assert!(element(&client).contains("timeout 2h") && packets() == before, "{}", element(&client));
    // Nothing is changed by a list with something wrong, and its line is named.
    let wrong = rampart.run_with(&["set", "load", "blocked"], "192.0.2.77\n# more\n192.0.2.300\n");
    assert!(wrong.status != 0 && wrong.stderr.contains(":3:"), "{}", wrong.stderr);
    assert_eq!(rampart.run(&["set", "list", "blocked"]).success().stdout.lines().count(), 3);
    // What is added leaves the others there.
    rampart.run_with(&["set", "load", "blocked", "--add"], "192.0.2.77\n").check();
    assert_eq!(rampart.run(&["set", "list", "blocked"]).success().stdout.lines().count(), 4);
    // Many at once: the set is made anew, and what stays keeps what it had.
    let many: Vec<_> = (0..4000).map(|number| format!("10.{}.{}.1\n", number >> 8, number & 0xff)).collect();
    let many = many.concat();
    let said = load(&format!("{many}{client} timeout 2h\n"));
    assert_eq!(told(&said), [Some(4000), Some(6), Some(0), Some(1)], "{said}");
    assert_eq!(packets(), before);
    let said = load("");
    assert_eq!(told(&said), [Some(0), Some(4001), Some(0), Some(0)], "{said}");
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
}

/// Ports that touch are one range in memory, and the same list is no change.
#[test]
fn a_list_of_ports_is_the_same_twice() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply("table inet t { set s { type inet_service; }\n chain c { type filter hook input priority 0; tcp dport @s drop; }; }").check();
    let list = "80\n81\n82\n443\n";
    rampart.run_with(&["set", "load", "s"], list).check();
    let said = rampart.run_with(&["set", "load", "s", "--json"], list).success().json();
    assert_eq!((&said["added"], &said["removed"], &said["kept"]), (&0.into(), &0.into(), &2.into()), "{said}");
}

/// So many different addresses, a line each.
fn addresses(count: u32) -> String {
    (0..count).fold(String::new(), |text, number| text + &Ipv4Addr::from_bits(0x0a00_0000 | number).to_string() + "\n")
}

const FEED: &str = "table inet t {
	set feed { type ipv4_addr; }
	set small { type ipv4_addr; elements = { 192.0.2.1 }; }
	chain input { type filter hook input priority filter; policy accept; ip saddr @feed drop; ip saddr @small drop; }
}
";

#[test]
fn sets_beyond_their_memory_are_refused_before_anything_changes() {
    let (pair, files) = (Pair::new(), Scratch::new());
    let rampart = Rampart::on(&pair.server);
    let settings = files.write("rampart.toml", "[sets]\nmax_mib = 1\n").to_string_lossy().into_owned();
    let many = files.write("many", addresses(100_000)).to_string_lossy().into_owned();
    let few = files.write("few", "203.0.113.1\n203.0.113.2\n").to_string_lossy().into_owned();
    let apply = |text: &str| {
        let rules = files.write("rules.nft", text).to_string_lossy().into_owned();
        rampart.run(&["apply", "--config", &settings, &rules])
    };
    // Elements of the text.
    let elements = addresses(100_000).trim().replace('\n', ", ");
    let large = FEED.replace("ipv4_addr; }", &format!("ipv4_addr; elements = {{ {elements} }}; }}"));
    let limit = "more than the 1 MiB that named sets may take together: `max_mib` of `[sets]`";
    let output = apply(&large);
    assert!(output.status != 0 && output.stderr.contains(limit), "{}", output.stderr);
    assert!(output.stderr.contains("the named sets would take 3 MiB"), "{}", output.stderr);
    assert!(rampart.run(&["list"]).stderr.contains("no ruleset is applied"), "nothing is left of it");
    // Elements of a file.
    apply(FEED).check();
    told(&rampart, &["set", "load", "feed", "--file", &few]);
    for how in
        [&["set", "load", "feed", "--file", many.as_str()][..], &["set", "load", "--add", "feed", "--file", &many]]
    {
        let message = refused(&rampart, how);
        assert!(message.contains(limit) && message.contains("in set `feed` of table `inet t`"), "{message}");
        assert_eq!(told(&rampart, &["set", "list", "feed"]), "203.0.113.1\n203.0.113.2\n", "{how:?}");
    }
    // Without a limit of its own there is room.
    let rules = files.write("rules.nft", FEED).to_string_lossy().into_owned();
    rampart.run(&["apply", &rules]).check();
    assert!(told(&rampart, &["set", "load", "feed", "--file", &many]).contains("100000 loaded"));
}

#[test]
fn a_million_elements_are_told_of_on_a_terminal() {
    let (pair, files) = (Pair::new(), Scratch::new());
    let rampart = Rampart::on(&pair.server);
    rampart.apply(FEED).check();
    let file = files.write("feed", addresses(1_000_000));
    let mut command = Command::new("sh");
    let program = rampart_path();
    let line = format!(
        "{} set load feed --file {} --netns {}; read line",
        program.display(),
        file.display(),
        pair.server.name()
    );
    command.args(["-c", &line]);
    let screen = Screen::start(&command, (200, 24));
    screen.until("a bar moves while the file is read", |text| text.contains("reading ") && text.contains("#..."));
    screen.until("memory, before it is taken", |text| {
        text.contains("1,000,000 elements of") && text.contains("KiB of memory")
    });
    screen.until("it is done", |text| text.contains("1000000 added"));
}

/// 20,000 networks with two ranges of ports each, as an access list of a large site has them.
#[test]
fn concatenations_of_intervals_may_be_many() {
    let (pair, files) = (Pair::new(), Scratch::new());
    let rampart = Rampart::on(&pair.server);
    let one = |number: u32| {
        let network = Ipv4Addr::from_bits(0x0a00_0000 | number << 8);
        format!("{network}/24 . 1000-{}, {network}/24 . 3000-3999", 1100 + number % 100)
    };
    let elements: Vec<String> = (0..20_000).map(one).collect();
    let rules = |more: &str| {
        format!(
            "table inet t {{ set s {{ type ipv4_addr . inet_service; flags interval; elements = {{ {}{more} }}; }}
            chain input {{ type filter hook input priority filter; policy accept; ip saddr . tcp dport @s drop; }}
            }}",
            elements.join(", ")
        )
    };
    let file = files.write("rules.nft", rules("")).to_string_lossy().into_owned();
    rampart.run(&["apply", &file]).check();
    for (element, is_there) in [
        ("10.78.31.7 . 1199", true),
        ("10.78.31.7 . 1200", false),
        ("10.0.0.255 . 3999", true),
        ("10.78.32.0 . 1000", false),
    ] {
        assert_eq!(rampart.run(&["set", "get", "s", element]).status == 0, is_there, "{element}");
    }
    let file = files.write("rules.nft", rules(", 10.7.7.128/25 . 3500")).to_string_lossy().into_owned();
    let message = refused(&rampart, &["apply", &file]);
    assert!(message.contains("this element overlaps another one of the set"), "{message}");
}
