//! Flowtables: which interfaces a rule's `flow add` may take connections past the rules on.

use firewall_common::image::Hook;

use super::{
    print,
    ruleset::{Base, ChainType, Family},
};

/// A table of connections that are forwarded past the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flowtable {
    /// Its name.
    pub name: String,
    /// Its priority at hook ingress: lower ones see packets first.
    pub priority: i32,
    /// Names of its interfaces, sorted.
    pub devices: Vec<String>,
    /// `counter`: connections count what passes here.
    pub counter: bool,
}

impl Flowtable {
    /// What stands in its braces, a line each.
    pub fn lines(&self) -> Vec<String> {
        let Self { name: _, priority, devices, counter } = self;
        let base = Base { kind: ChainType::Filter, hook: Hook::Ingress, priority: *priority, drops: false };
        let mut lines = vec![format!("hook ingress priority {}", print::priority(&base, Family::Netdev))];
        if !devices.is_empty() {
            lines.push(format!("devices = {{ {} }}", devices.join(", ")));
        }
        if *counter {
            lines.push("counter".to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests;
