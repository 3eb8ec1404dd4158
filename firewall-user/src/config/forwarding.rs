//! `[forwarding]`: packets on their way through.

use serde::{Deserialize, Serialize};

/// The section `[forwarding]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Forwarding {
    /// Which connections take the way past the rules.
    pub fast_path: FastPath,
    /// Ends of veth pairs by which packets come with checksums that are whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub whole_checksums: Vec<String>,
}

/// Which connections take the way past the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FastPath {
    /// Those for which a rule says `flow add`.
    #[default]
    Rules,
    /// All that the chains of forward let pass.
    All,
}

impl FastPath {
    /// The word in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::All => "all",
        }
    }
}
