//! `[attach]`: how interfaces are attached.

use serde::{Deserialize, Serialize};

/// The section `[attach]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attach {
    /// Interfaces whose packets are met by tc on their way in, not by XDP; a name that ends in `*` stands for all that begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tc: Vec<String>,
}

impl Attach {
    /// Is the interface one of those that tc is wanted for?
    pub fn wants_tc(&self, interface: &str) -> bool {
        self.tc.iter().any(|name| is_named(name, interface))
    }
}

/// Is the interface the one of this name, or one of those that begin so, if it ends in `*`?
pub(super) fn is_named(name: &str, interface: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => interface.starts_with(beginning),
        None => interface == name,
    }
}
