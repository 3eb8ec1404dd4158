//! Named sets and maps, and sets of concatenations.

use super::{
    ruleset::{Limit, MapElement, Quota, Selector, Subject, Values, Verdict},
    types::Type,
};

/// What a map gives for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A verdict.
    Verdict(Verdict),
    /// Data: a value for each part of its concatenation. Only a map of intervals gives more than single values.
    Values(Vec<Values>),
}

/// What a map is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapData {
    /// `: verdict`
    Verdicts,
    /// `: ipv4_addr . inet_service`
    Values {
        /// The types of the parts.
        types: Vec<Type>,
        /// Declared by `typeof` these instead of `type`; else empty.
        type_of: Vec<Selector>,
        /// `interval` in front: ranges and prefixes.
        interval: bool,
    },
}

/// A statement that elements of a set keep, each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfElement {
    /// `counter`: packets and bytes to start from.
    Counter(u64, u64),
    /// `limit rate 5/second`
    Limit(Limit),
    /// `quota over 10 mbytes`
    Quota(Quota),
    /// `ct count over 20`
    Connections {
        /// `over`
        over: bool,
        /// How many.
        count: u32,
    },
}

impl OfElement {
    /// The word nftables uses.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Counter(..) => "counter",
            Self::Limit(_) => "limit",
            Self::Quota(_) => "quota",
            Self::Connections { .. } => "ct count",
        }
    }

    /// As nftables prints it where nothing has happened yet.
    pub fn text(&self) -> String {
        match self {
            Self::Counter(..) => "counter".to_owned(),
            Self::Limit(limit) => format!("limit {}", limit.text()),
            Self::Quota(quota) => format!("quota {}", quota.text()),
            Self::Connections { over, count } => format!("ct count {}{count}", if *over { "over " } else { "" }),
        }
    }

    /// The same statement before anything has happened.
    #[must_use]
    pub const fn fresh(self) -> Self {
        match self {
            Self::Counter(..) => Self::Counter(0, 0),
            Self::Quota(Quota { over, bytes, used: _ }) => Self::Quota(Quota { over, bytes, used: 0 }),
            Self::Limit(_) | Self::Connections { .. } => self,
        }
    }
}

/// What an element has besides its key and data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `counter`: packets and bytes to start from.
    pub counter: Option<(u64, u64)>,
    /// Its other statements.
    pub others: Vec<OfElement>,
    /// `timeout`, in milliseconds, when not the set's.
    pub timeout: Option<u64>,
    /// `expires`: how much of it is left, in milliseconds.
    pub expires: Option<u64>,
    /// Its comment.
    pub comment: Option<String>,
}

/// An element of a set or map of concatenations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The values of each part.
    pub key: Vec<Values>,
    /// What a map gives for them.
    pub given: Option<Given>,
    /// The rest.
    pub extras: Extras,
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
    pub given: Option<Given>,
    /// The rest.
    pub extras: Extras,
}

/// `*`: the element for whatever no other element stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchAll {
    /// What a map gives.
    pub given: Option<Given>,
    /// The rest.
    pub extras: Extras,
}

/// A named set or map.
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
    /// `flags dynamic`: rules change it.
    pub dynamic: bool,
    /// `flags timeout`: elements may end.
    pub timeouts: bool,
    /// `timeout`: when elements end that do not say when, in milliseconds.
    pub timeout: Option<u64>,
    /// `gc-interval`, in milliseconds.
    pub gc_interval: Option<u64>,
    /// `auto-merge`
    pub auto_merge: bool,
    /// `size`
    pub size: Option<u32>,
    /// `policy memory`
    pub saves_memory: bool,
    /// `counter`, `limit rate 5/second`: every element has them, in this order.
    pub statements: Vec<OfElement>,
    /// It stands in a rule, as `meter`.
    pub meter: bool,
    /// What it gives, when it is a map.
    pub data: Option<MapData>,
    /// `*`
    pub catch_all: Option<CatchAll>,
    /// Its comment.
    pub comment: Option<String>,
    /// Sorted and disjoint.
    pub elements: Vec<SetElement>,
    /// Set when the keys are concatenations: then `element_type` and `type_of` are of the first part, and there are
    /// no `elements`.
    pub concat: Option<Concat>,
}

impl Given {
    /// The verdict, if it is one.
    pub const fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Verdict(verdict) => Some(*verdict),
            Self::Values(_) => None,
        }
    }
}

impl Tuple {
    /// The verdict that it gives in a verdict map.
    pub fn verdict(&self) -> Option<Verdict> {
        self.given.as_ref().and_then(Given::verdict)
    }
}

impl SetElement {
    /// The verdict that it gives in a verdict map.
    pub fn verdict(&self) -> Option<Verdict> {
        self.given.as_ref().and_then(Given::verdict)
    }
}

impl Set {
    /// `map` or `set`.
    pub const fn kind(&self) -> &'static str {
        if self.data.is_some() { "map" } else { "set" }
    }

    /// Has each element a counter?
    pub fn counts(&self) -> bool {
        self.statements.iter().any(|one| matches!(one, OfElement::Counter(..)))
    }

    /// Is it a map to verdicts?
    pub const fn gives_verdicts(&self) -> bool {
        matches!(self.data, Some(MapData::Verdicts))
    }

    /// The types of a data map's data; none for a set or a map to verdicts.
    pub fn data_types(&self) -> &[Type] {
        match &self.data {
            Some(MapData::Values { types, type_of: _, interval: _ }) => types,
            Some(MapData::Verdicts) | None => &[],
        }
    }

    /// The types of its keys' parts.
    pub fn key_types(&self) -> Vec<Type> {
        self.concat.as_ref().map_or_else(|| vec![self.element_type], |concat| concat.types.clone())
    }

    /// The verdict of `*`.
    pub fn default_verdict(&self) -> Option<Verdict> {
        self.catch_all.as_ref().and_then(|any| any.given.as_ref()).and_then(Given::verdict)
    }

    /// A map as an anonymous one would have it: sorted by key, `*` last.
    pub fn map_elements(&self) -> Vec<MapElement> {
        let keyed =
            |element: &SetElement| element.verdict().map(|verdict| MapElement { key: Some(element.values), verdict });
        let default = self.default_verdict().map(|verdict| MapElement { key: None, verdict });
        self.elements.iter().filter_map(keyed).chain(default).collect()
    }
}

/// What a rule does with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateOperation {
    /// `add`: makes it, and leaves one that is there as it is.
    Add,
    /// `update`: makes it, and lets one that is there live as long as a new one.
    Update,
    /// `delete`
    Delete,
}

impl UpdateOperation {
    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A part of what a rule puts into a set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// What the packet has.
    Of(Subject),
    /// Always this value of this type.
    Constant(Values, Type),
}

impl Put {
    /// What the packet has.
    pub const fn subject(&self) -> Option<Subject> {
        match self {
            Self::Of(subject) => Some(*subject),
            Self::Constant(..) => None,
        }
    }
}

/// `update @set { ip saddr timeout 5m counter : 7 }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// What is done.
    pub operation: UpdateOperation,
    /// The set, by its index in [`Table::sets`].
    pub set: usize,
    /// The key's parts.
    pub key: Vec<Put>,
    /// When a new element ends, in milliseconds; else as the set says.
    pub timeout: Option<u64>,
    /// What new elements keep for themselves, where the set does not say so for all.
    pub statements: Vec<OfElement>,
    /// What a map gives for it.
    pub data: Option<Vec<Put>>,
}
