//! The rule or policy that a number in an event or entry stands for.

use firewall_common::image::{NO_RULE, POLICY};
use serde_json::{Value, json};

use super::words::printable;
use crate::compile::{ChainRecord, Manifest, RuleRecord};

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Author<'a> {
    /// Neither a rule nor a policy.
    Nobody,
    /// A rule.
    Rule(&'a RuleRecord),
    /// The policy of a chain.
    Policy(&'a ChainRecord),
    /// Something of a generation that is gone.
    Forgotten,
}

impl<'a> Author<'a> {
    /// Whom a number stands for in a generation, if that one is still known.
    pub fn of(number: u32, manifest: Option<&'a Manifest>) -> Self {
        if number == NO_RULE {
            return Self::Nobody;
        }
        let Some(manifest) = manifest else { return Self::Forgotten };
        if number & POLICY != 0 {
            manifest.chain(number & !POLICY).map_or(Self::Forgotten, Self::Policy)
        } else {
            manifest.rule(number).map_or(Self::Forgotten, Self::Rule)
        }
    }

    /// `demo.nft:31`, `policy of chain input`; nothing for nobody.
    pub fn short(&self) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Rule(rule) => Some(printable(&format!("{}:{}", rule.file, rule.line))),
            Self::Policy(chain) => Some(format!("policy of chain {}", chain.name)),
            Self::Forgotten => Some("a ruleset before".to_owned()),
        }
    }

    /// `rule demo.nft:31 "everything else"`, `policy drop of chain input in table inet filter`
    pub fn long(&self) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Rule(rule) => {
                let comment = rule.comment.as_ref().map_or_else(String::new, |comment| format!(" \"{comment}\""));
                Some(printable(&format!("rule {}:{}{comment}", rule.file, rule.line)))
            }
            Self::Policy(ChainRecord { name, family, table, policy, .. }) => {
                let policy = policy.as_deref().unwrap_or("");
                Some(format!("policy {policy} of chain {name} in table {family} {table}"))
            }
            Self::Forgotten => Some("a rule of a ruleset before".to_owned()),
        }
    }

    /// The rule as JSON, or null.
    pub fn rule_json(&self) -> Value {
        match self {
            Self::Rule(RuleRecord { handle, file, line, text, family, table, chain, comment, .. }) => json!({
                "file": file, "line": line, "text": text, "handle": handle,
                "family": family, "table": table, "chain": chain, "comment": comment,
            }),
            Self::Nobody | Self::Policy(_) | Self::Forgotten => Value::Null,
        }
    }

    /// The policy as JSON, or null.
    pub fn policy_json(&self) -> Value {
        match self {
            Self::Policy(ChainRecord { family, table, name, policy, .. }) => {
                json!({ "family": family, "table": table, "chain": name, "policy": policy })
            }
            Self::Nobody | Self::Rule(_) | Self::Forgotten => Value::Null,
        }
    }
}
