//! Named sets and maps, and sets of concatenations.

use super::{
    ruleset::{MapElement, Selector, Values, Verdict},
    types::Type,
};

/// An element of a set or map of concatenations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The values of each part.
    pub key: Vec<Values>,
    /// What a map gives for them.
    pub verdict: Option<Verdict>,
    /// Its comment.
    pub comment: Option<String>,
}

/// The set or map that a concatenation is looked up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConcatKeys {
    /// In the rule: no two elements overlap.
    Listed {
        /// The elements.
        tuples: Vec<Tuple>,
        /// What a map gives for `*`.
        default: Option<Verdict>,
    },
    /// One of the table's, by its index in [`Table::sets`].
    Named(usize),
}

/// What a set or map is besides when its keys are concatenations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The types of the parts.
    pub types: Vec<Type>,
    /// Declared by `typeof` these instead of `type`; else empty.
    pub type_of: Vec<Selector>,
    /// No two overlap.
    pub tuples: Vec<Tuple>,
}

/// An element of a named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetElement {
    /// The values.
    pub values: Values,
    /// What a map gives for them.
    pub verdict: Option<Verdict>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A named set, or a map to verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element_type: Type,
    /// Declared by `typeof` this instead of `type`.
    pub type_of: Option<Selector>,
    /// `flags constant`
    pub constant: bool,
    /// `flags interval`
    pub interval: bool,
    /// `auto-merge`
    pub auto_merge: bool,
    /// `size`
    pub size: Option<u32>,
    /// `policy memory`
    pub saves_memory: bool,
    /// Is it a map?
    pub is_map: bool,
    /// What a map gives for `*`.
    pub default: Option<Verdict>,
    /// Its comment.
    pub comment: Option<String>,
    /// Sorted and disjoint.
    pub elements: Vec<SetElement>,
    /// Set when the keys are concatenations: then `element_type` and `type_of` are of the first part, and there are
    /// no `elements`.
    pub concat: Option<Concat>,
}

impl Set {
    /// A map as an anonymous one would have it: sorted by key, `*` last.
    pub fn map_elements(&self) -> Vec<MapElement> {
        let keyed =
            |element: &SetElement| element.verdict.map(|verdict| MapElement { key: Some(element.values), verdict });
        let default = self.default.map(|verdict| MapElement { key: None, verdict });
        self.elements.iter().filter_map(keyed).chain(default).collect()
    }
}
