//! The agent's page in a real browser: its numbers follow the traffic, its form answers, nobody else is asked.

use std::{
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use firewall_tests::{
    browser::Browser,
    command::{Background, Rampart},
    sockets::{BRIEFLY, Outcome, PATIENTLY, TcpEcho, tcp_connect, tcp_echo},
    topology::{CLIENT, Pair, SERVER},
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established accept
        tcp dport 22 counter accept comment \"ssh\"
        tcp dport 23 counter drop
    }
}";

/// The packets of the rule with `dport 22`, as the page shows them.
const SSH: &str = "[...document.querySelectorAll('#rules tr')].find(row => row.textContent.includes('dport 22'))?.cells[3].textContent";

/// The agent, when it serves.
fn agent(rampart: &Rampart<'_>, pair: &Pair) -> Background {
    let agent = rampart.start(&["agent"]);
    let end = Instant::now() + Duration::from_secs(30);
    while pair.server.run(|| TcpStream::connect(("127.0.0.1", 9630))).is_err() {
        assert!(Instant::now() < end, "the agent does not serve");
        std::thread::sleep(Duration::from_millis(50));
    }
    agent
}

/// Fills in the form and presses its button.
fn ask(browser: &mut Browser, packet: &str) {
    browser.value(&format!(
        "document.getElementById('packet').value = '{packet}'; document.getElementById('answer').textContent = '';
         document.querySelector('#why button').click()"
    ));
}

#[test]
fn numbers_follow_the_traffic_and_the_form_answers() {
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let agent = agent(&rampart, &pair);
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    let mut browser = Browser::open(&pair.server, "http://127.0.0.1:9630/");
    browser.until("the rules", |text| text.contains("generation 1, 3 rules") && text.contains("tcp dport 22 counter"));
    assert_eq!(browser.value(SSH), "0");

    assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
    let text = browser.until("the traffic", |text| text.contains("ESTABLISHED") || text.contains("TIME_WAIT"));
    let text = if text.contains("tcp port 23") {
        text
    } else {
        browser.until("the drop", |text| text.contains("tcp port 23"))
    };
    assert!(text.contains("ruleset\trule\t") && text.contains(&CLIENT.to_string()), "{text}");
    assert_eq!(browser.value(SSH), "1");
    assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    browser.until("one more", |text| {
        text.contains("tcp dport 22 counter accept comment \"ssh\"\t0\t2\t") || text.contains("\t1\t2\t")
    });

    ask(&mut browser, &format!("tcp {CLIENT}:40000 {SERVER}:443"));
    let text = browser.until("an answer", |text| text.contains("the sender sees:"));
    assert!(text.contains("drop (policy, ruleset) by policy drop of chain input in table inet filter"), "{text}");
    assert!(text.contains("no rule in chain input accepts tcp 443 from 192.0.2.1; nearest: "), "{text}");
    browser.picture(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent-page.png"));
    ask(&mut browser, "nonsense");
    browser.until("what is wrong", |text| text.contains("`nonsense`"));
    assert_eq!(browser.value(SSH), "2", "a question is no packet");

    let asked = browser
        .value("performance.getEntriesByType('resource').every(one => one.name.startsWith('http://127.0.0.1:9630/'))");
    assert_eq!(asked, true, "nobody else is asked");
    drop(agent);
    browser.until("that nobody answers", |text| text.contains("the agent does not answer"));
}

/// Another site's page, which the browser got from somewhere, cannot read what the agent says.
#[test]
fn another_page_cannot_read_it() {
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let agent = agent(&rampart, &pair);
    let mut browser = Browser::open(&pair.server, "http://127.0.0.1:9630/");
    browser.until("the rules", |text| text.contains("generation 1"));
    let mut other = Browser::open(&pair.server, "data:text/html,<p>another site</p>");
    other.until("the other site", |text| text.contains("another site"));
    let told = other.value(
        "fetch('http://127.0.0.1:9630/api/why?packet=tcp+192.0.2.1+192.0.2.2:22').then(answer => answer.text()).catch(() => 'refused')",
    );
    assert_eq!(told, "refused");
    drop(agent);
}
