//! Commands that take something away, carried out on the commands before them: what is left makes the same ruleset and
//! only adds to it.

use crate::language::{
    ast::{Chain, Command, Object, Part, Set, TableName},
    ruleset::ObjectKind,
};

/// Does a command take away what others have a number for?
pub(super) fn takes_away(command: &Command) -> bool {
    match command {
        Command::Delete(..) => true,
        Command::Create(inner) | Command::Destroy(inner) => takes_away(inner),
        Command::Table(..)
        | Command::Chain(..)
        | Command::Set(..)
        | Command::Object(..)
        | Command::Flowtable(..)
        | Command::Elements(..)
        | Command::Rule { .. }
        | Command::FlushRuleset(_)
        | Command::FlushTable(_)
        | Command::Flush(..)
        | Command::DeleteTable(_)
        | Command::DeleteElements(..) => false,
    }
}

/// The commands that are left. They are right only if all of them were.
pub(super) fn left(commands: &[Command]) -> Vec<Command> {
    let mut left: Vec<Command> = Vec::with_capacity(commands.len());
    for command in commands {
        apply(command, &mut left);
    }
    left
}

fn apply(command: &Command, left: &mut Vec<Command>) {
    match command {
        Command::Destroy(inner) => apply(inner, left),
        Command::FlushRuleset(family) => {
            left.retain(|old| old.table().is_none_or(|table| family.is_some_and(|family| table.family != family)));
        }
        Command::DeleteTable(table) => left.retain(|old| !is_of(old, table)),
        Command::FlushTable(table) => change(left, table, &mut |_| Fate::Rules),
        Command::Flush(Part::Chain, table, name) => {
            change(left, table, &mut |what| if what.is_chain(&name.text) { Fate::Rules } else { Fate::Stays });
        }
        Command::Flush(Part::Set, table, name) => {
            change(left, table, &mut |what| if what.is_set(&name.text) { Fate::Elements } else { Fate::Stays });
        }
        Command::Delete(Part::Chain, table, name) => {
            change(left, table, &mut |what| if what.is_chain(&name.text) { Fate::Goes } else { Fate::Stays });
        }
        Command::Delete(Part::Set, table, name) => {
            change(left, table, &mut |what| if what.is_set(&name.text) { Fate::Goes } else { Fate::Stays });
        }
        Command::Delete(Part::Object(kind), table, name) => {
            change(left, table, &mut |what| if what.is_object(*kind, &name.text) { Fate::Goes } else { Fate::Stays });
        }
        Command::Delete(Part::Flowtable, table, name) => {
            change(left, table, &mut |what| if what.is_flowtable(&name.text) { Fate::Goes } else { Fate::Stays });
        }
        Command::Flush(Part::Object(_) | Part::Flowtable, ..) => {}
        Command::Table(..)
        | Command::Create(_)
        | Command::Chain(..)
        | Command::Set(..)
        | Command::Object(..)
        | Command::Flowtable(..)
        | Command::Elements(..)
        | Command::Rule { .. }
        | Command::DeleteElements(..) => left.push(command.clone()),
    }
}

fn is_of(command: &Command, table: &TableName) -> bool {
    command.table().is_some_and(|other| other.family == table.family && other.name.text == table.name.text)
}

/// Something that a command makes or adds to.
enum What<'a> {
    Chain(&'a str),
    Set(&'a str),
    Object(ObjectKind, &'a str),
    Flowtable(&'a str),
}

impl What<'_> {
    fn is_chain(&self, name: &str) -> bool {
        matches!(self, Self::Chain(chain) if *chain == name)
    }

    fn is_set(&self, name: &str) -> bool {
        matches!(self, Self::Set(set) if *set == name)
    }

    fn is_object(&self, kind: ObjectKind, name: &str) -> bool {
        matches!(self, Self::Object(of, object) if *of == kind && *object == name)
    }

    fn is_flowtable(&self, name: &str) -> bool {
        matches!(self, Self::Flowtable(flowtable) if *flowtable == name)
    }
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing.
    Stays,
    /// Its rules go; what is no chain has none.
    Rules,
    /// Its elements go; what is no set has none.
    Elements,
    /// All of it goes.
    Goes,
}

fn change(left: &mut Vec<Command>, table: &TableName, fate: &mut dyn FnMut(What<'_>) -> Fate) {
    left.retain_mut(|command| !is_of(command, table) || stays(command, fate));
}

/// Changes a command; does anything of it stay?
fn stays(command: &mut Command, fate: &mut dyn FnMut(What<'_>) -> Fate) -> bool {
    match command {
        Command::Table(_, body) => {
            body.chains.retain_mut(|chain| chain_stays(chain, fate));
            body.sets.retain_mut(|set| set_stays(set, fate));
            body.objects.retain(|object| object_stays(object, fate));
            body.flowtables.retain(|flowtable| fate(What::Flowtable(&flowtable.name.text)) != Fate::Goes);
            true
        }
        Command::Create(inner) | Command::Destroy(inner) => stays(inner, fate),
        Command::Chain(_, chain) => chain_stays(chain, fate),
        Command::Set(_, set) => set_stays(set, fate),
        Command::Rule { chain, .. } => fate(What::Chain(&chain.text)) == Fate::Stays,
        Command::Elements(_, set, _) | Command::DeleteElements(_, set, _) => {
            !matches!(fate(What::Set(&set.text)), Fate::Elements | Fate::Goes)
        }
        Command::Object(_, object) => object_stays(object, fate),
        Command::Flowtable(_, flowtable) => fate(What::Flowtable(&flowtable.name.text)) != Fate::Goes,
        Command::FlushRuleset(_)
        | Command::FlushTable(_)
        | Command::Flush(..)
        | Command::DeleteTable(_)
        | Command::Delete(..) => true,
    }
}

fn chain_stays(chain: &mut Chain, fate: &mut dyn FnMut(What<'_>) -> Fate) -> bool {
    let fate = fate(What::Chain(&chain.name.text));
    if fate == Fate::Rules {
        chain.body.rules.clear();
    }
    fate != Fate::Goes
}

fn object_stays(object: &Object, fate: &mut dyn FnMut(What<'_>) -> Fate) -> bool {
    fate(What::Object(object.content.kind(), &object.name.text)) != Fate::Goes
}

fn set_stays(set: &mut Set, fate: &mut dyn FnMut(What<'_>) -> Fate) -> bool {
    let fate = fate(What::Set(&set.name.text));
    if fate == Fate::Elements {
        set.body.elements = None;
    }
    fate != Fate::Goes
}
