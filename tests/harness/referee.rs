//! A ruleset given to the kernel's own `nft`, and what it counted.

use serde_json::Value;

use crate::{
    command::{self, Output},
    netns::Namespace,
};

/// The kernel's netfilter in one namespace. Its ruleset goes away with the namespace.
#[derive(Debug)]
pub struct Referee<'a> {
    namespace: &'a Namespace,
}

/// A rule with a counter, as `nft` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Family of its table.
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The number that `nft` gave the rule.
    pub handle: u64,
    /// The rule's comment, empty without one.
    pub comment: String,
    /// Packets that reached the counter.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
}

impl<'a> Referee<'a> {
    /// Loads a ruleset; panics with what `nft` says if it does not like it.
    #[track_caller]
    pub fn load(namespace: &'a Namespace, ruleset: &str) -> Self {
        let referee = Self { namespace };
        referee.replace(ruleset);
        referee
    }

    /// The rules that are in force there.
    pub fn of(namespace: &'a Namespace) -> Self {
        Self { namespace }
    }

    /// Replaces all rules by these.
    #[track_caller]
    pub fn replace(&self, ruleset: &str) {
        self.nft(&["-f", "-"], &format!("flush ruleset\n{ruleset}")).check();
    }

    /// Does `nft` take this ruleset? What it says if not. Nothing is changed.
    pub fn check(namespace: &Namespace, ruleset: &str) -> Result<(), String> {
        let output = Referee { namespace }.nft(&["-c", "-f", "-"], ruleset);
        if output.status == 0 { Ok(()) } else { Err(output.stderr) }
    }

    /// Adds to the rules in force.
    #[track_caller]
    pub fn add(&self, ruleset: &str) {
        self.nft(&["-f", "-"], ruleset).check();
    }

    /// The rules in force, as `nft list ruleset` prints them.
    #[track_caller]
    pub fn text(&self) -> String {
        self.nft(&["list", "ruleset"], "").success().stdout
    }

    /// The rules in force, as libnftables' JSON.
    #[track_caller]
    pub fn list(&self) -> Value {
        self.nft(&["-j", "list", "ruleset"], "").success().json()
    }

    /// Every rule that has a counter, in order.
    #[track_caller]
    pub fn counted(&self) -> Vec<Counted> {
        let list = self.list();
        let objects = list["nftables"].as_array().expect("a list of objects");
        objects.iter().filter_map(|object| Counted::of(&object["rule"])).collect()
    }

    /// Packets counted by the rules with this comment.
    #[track_caller]
    pub fn packets(&self, comment: &str) -> u64 {
        self.counted().iter().filter(|rule| rule.comment == comment).map(|rule| rule.packets).sum()
    }

    #[track_caller]
    fn nft(&self, arguments: &[&str], input: &str) -> Output {
        command::run(Some(self.namespace), "nft", arguments, input)
    }
}

impl Counted {
    /// Reads a rule of libnftables' JSON; `None` when it is none, or has no counter.
    fn of(rule: &Value) -> Option<Self> {
        let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        let counter = rule["expr"].as_array()?.iter().find_map(|expression| expression.get("counter"))?;
        Some(Self {
            family: text("family"),
            table: text("table"),
            chain: text("chain"),
            handle: rule["handle"].as_u64()?,
            comment: text("comment"),
            packets: counter["packets"].as_u64()?,
            bytes: counter["bytes"].as_u64()?,
        })
    }
}
