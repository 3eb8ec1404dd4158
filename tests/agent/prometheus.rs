//! A real Prometheus that scrapes the agent.

use std::process::Command;

use firewall_tests::{
    command::{Background, Rampart, Scratch},
    topology::Pair,
};
use serde_json::Value;

use crate::{RULES, request_at, traffic, until};

const PORT: u16 = 9090;

const CONFIG: &str = "global: { scrape_interval: 1s }
scrape_configs:
  - job_name: rampart
    static_configs: [ { targets: [ \"127.0.0.1:9630\" ] } ]
rule_files: [ ALERTS ]
";

/// What Prometheus knows of an expression: the value of the first series.
fn value(pair: &Pair, expression: &str) -> Option<f64> {
    let query = expression.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    let text = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = request_at(&pair.server, PORT, &text);
    let value: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    value["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn a_real_prometheus_scrapes_the_agent() {
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let files = Scratch::new();
    let alerts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/observing/alerts.yml");
    let config = files.write("prometheus.yml", CONFIG.replace("ALERTS", &alerts.display().to_string()));
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let _agent = rampart.start(&["agent"]);
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", files.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{PORT}")).arg("--log.level=error");
    let _prometheus = pair.server.run(|| Background::start(command));
    until("it scrapes", || value(&pair, "up{job=\"rampart\"}") == Some(1.0));
    assert_eq!(value(&pair, "rampart_up"), Some(1.0));
    let dropped = "sum(rampart_dropped_packets_total{interface=\"eth0\",direction=\"in\",layer=\"ruleset\"})";
    let before = value(&pair, dropped).unwrap_or_default();
    traffic(&pair);
    until("the drops are in its data", || value(&pair, dropped).is_some_and(|now| now >= before + 2.0));
    // In each scrape, not only in the last one: what came in is what passed and what was dropped.
    let missing = "max_over_time((sum(rampart_seen_packets_total) - sum(rampart_passed_packets_total)
        - sum(rampart_dropped_packets_total))[1m:1s])";
    until("nothing is missing", || value(&pair, missing) == Some(0.0));
    let unexplained = "max(max_over_time(rampart_unexplained_packets[1m]))";
    until("everything is explained", || value(&pair, unexplained) == Some(0.0));
    assert_eq!(value(&pair, "count(ALERTS{alertstate=\"firing\"})"), None, "nothing is wrong");
}
