//! Tables, chains, sets, rules and the commands about them.

use std::collections::HashMap;

use super::{
    Made, Translator,
    expression::unknown,
    forms::{NAMES, OBJECTS},
    leaf,
    value::{Kind, Member, Node},
};
use crate::language::{diagnostic::Diagnostic, source::Span};

/// Commands; an object without one is added.
const VERBS: &[&str] = &["add", "create", "insert", "replace", "delete", "destroy", "flush", "rename", "list", "reset"];

/// Objects that are no [`OBJECTS`]: they have no braces of their own.
const OTHERS: &[&str] = &["rule", "element", "ruleset", "metainfo"];

/// A table of a listing with all that belongs to it.
struct Block<'n> {
    table: &'n Member,
    parts: Vec<&'n Member>,
    chains: Vec<(&'n Member, Vec<&'n Member>)>,
}

/// Objects one after the other, put where they belong.
#[derive(Default)]
struct Listing<'n> {
    blocks: Vec<Block<'n>>,
    tables: HashMap<(&'n str, &'n str), usize>,
    chains: HashMap<(&'n str, &'n str, &'n str), (usize, usize)>,
    /// What belongs to nothing in the listing: it must be there already.
    alone: Vec<&'n Member>,
}

fn text<'n>(member: &'n Member, name: &str) -> &'n str {
    member.value.get(name).and_then(Node::text).unwrap_or("")
}

impl<'n> Listing<'n> {
    fn put(&mut self, object: &'n Member) {
        let (family, table) = (text(object, "family"), text(object, "table"));
        let block = self.tables.get(&(family, table)).copied();
        match (&*object.name, block) {
            ("table", _) => {
                self.tables.insert((family, text(object, "name")), self.blocks.len());
                self.blocks.push(Block { table: object, parts: Vec::new(), chains: Vec::new() });
            }
            ("chain", Some(at)) => {
                let chains = &mut self.blocks[at].chains;
                self.chains.insert((family, table, text(object, "name")), (at, chains.len()));
                chains.push((object, Vec::new()));
            }
            ("rule", Some(_)) => match self.chains.get(&(family, table, text(object, "chain"))) {
                Some((at, chain)) => self.blocks[*at].chains[*chain].1.push(object),
                None => self.alone.push(object),
            },
            ("element" | "ruleset", _) | (_, None) => self.alone.push(object),
            (_, Some(at)) => self.blocks[at].parts.push(object),
        }
    }
}

impl Translator {
    /// The objects of a document, in order.
    pub(super) fn document(&mut self, items: &[Node]) {
        let mut listing = Listing::default();
        for item in items {
            let Some(object) = item.only() else {
                let message = "expected an object of one member: what it is, or what to do with it";
                self.report(Diagnostic::error(item.span, message));
                continue;
            };
            match &*object.name {
                "metainfo" => self.attempt(|_| metainfo(&object.value)),
                verb if VERBS.contains(&verb) => {
                    self.listed(std::mem::take(&mut listing));
                    self.attempt(|made| made.command(object));
                }
                kind if is_kind(kind) => listing.put(object),
                _ => {
                    let known = OBJECTS.iter().map(|form| form.0).chain(VERBS.iter().chain(OTHERS).copied());
                    self.report(unknown("object or command", object, known));
                }
            }
        }
        self.listed(listing);
    }

    fn listed(&mut self, listing: Listing<'_>) {
        for block in &listing.blocks {
            self.block(block);
        }
        for object in listing.alone {
            self.attempt(|made| made.object_command("add", object.span, object));
        }
    }

    fn block(&mut self, block: &Block<'_>) {
        let table = block.table;
        if !self.opened("table", table, &["family", "name"]) {
            return;
        }
        for part in &block.parts {
            if self.opened(&part.name, part, &["name"]) {
                self.out.glued("}\n", part.span);
            }
        }
        for (chain, rules) in &block.chains {
            if self.opened("chain", chain, &["name"]) {
                for rule in rules {
                    self.attempt(|made| made.rule(&rule.value));
                }
                self.out.glued("}\n", chain.span);
            }
        }
        self.out.glued("}\n", table.span);
    }

    /// Writes an object up to what else stands in its braces. Not when it has no name: then there is nothing to open.
    fn opened(&mut self, kind: &str, object: &Member, names: &[&str]) -> bool {
        let before = self.problems.len();
        self.attempt(|made| {
            made.out.glued(kind, object.span);
            made.out.blank();
            made.names(&object.value, names)?;
            made.out.glued(" {", object.span);
            Ok(())
        });
        let opened = self.problems.len() == before;
        if opened {
            self.attempt(|made| made.body(object));
        }
        opened
    }

    /// What stands in the braces of an object.
    fn body(&mut self, object: &Member) -> Made<()> {
        self.interfaces = text(object, "type") == "ifname";
        let made = self.by_form(OBJECTS, object, NAMES);
        self.interfaces = false;
        made.unwrap_or_else(|| Err(unknown("object", object, OBJECTS.iter().map(|form| form.0))))
    }

    fn braces(&mut self, object: &Member) -> Made<()> {
        self.out.glued(" { ", object.span);
        self.body(object)?;
        self.out.glued("}", object.span);
        Ok(())
    }

    /// These members, with blanks between them.
    fn names(&mut self, node: &Node, names: &[&str]) -> Made<()> {
        for (at, name) in names.iter().enumerate() {
            let Some(value) = node.get(name) else {
                return Err(Diagnostic::error(node.span, format!("`{name}` is missing in this object")));
            };
            if at > 0 {
                self.out.glued(" ", value.span);
            }
            leaf::name(&mut self.out, value, name)?;
        }
        Ok(())
    }

    fn rule(&mut self, node: &Node) -> Made<()> {
        if let Some(strange) = node.members().into_iter().flatten().find(|member| !is_of_rule(&member.name)) {
            return Err(unknown("member", strange, ["expr", "comment", "chain", "index", "handle"].into_iter()));
        }
        let Some(statements) = node.get("expr") else {
            return Err(Diagnostic::error(node.span, "`expr` is missing in this rule: its statements"));
        };
        let Some(list) = statements.items() else {
            return Err(Diagnostic::error(statements.span, format!("`expr` is an array, not {}", statements.what())));
        };
        self.statements(list)?;
        if let Some(comment) = node.get("comment") {
            self.out.word("comment ", comment.span);
            leaf::quoted(&mut self.out, leaf::text(comment, "comment")?, comment.span)?;
        }
        Ok(())
    }

    /// `{"add": {"rule": ..}}`
    fn command(&mut self, command: &Member) -> Made<()> {
        if let Some(object) = command.value.only() {
            return self.object_command(&command.name, command.span, object);
        }
        let message = format!("`{}` is followed by an object of one member: what it is about", command.name);
        Err(Diagnostic::error(command.value.span, message))
    }

    fn object_command(&mut self, verb: &str, span: Span, object: &Member) -> Made<()> {
        let makes = matches!(verb, "add" | "create" | "insert" | "replace");
        self.out.glued(verb, span);
        self.out.word(&object.name, object.span);
        self.out.blank();
        match &*object.name {
            "ruleset" => match object.value.get("family") {
                Some(family) => leaf::name(&mut self.out, family, "family"),
                None => Ok(()),
            },
            "rule" => self.rule_command(verb, makes, &object.value),
            "element" => {
                self.names(&object.value, &["family", "table", "name"])?;
                self.out.blank();
                match object.value.get("elem") {
                    Some(elements) => self.elements(elements),
                    None => Err(Diagnostic::error(object.value.span, "`elem` is missing in this object")),
                }
            }
            "table" => {
                self.names(&object.value, &["family", "name"])?;
                if makes { self.braces(object) } else { Ok(()) }
            }
            kind if !is_kind(kind) => Err(unknown("object", object, OBJECTS.iter().map(|form| form.0))),
            _ => {
                self.names(&object.value, &["family", "table", "name"])?;
                if verb == "rename" {
                    self.out.blank();
                    return self.names(&object.value, &["newname"]);
                }
                if makes { self.braces(object) } else { Ok(()) }
            }
        }
    }

    fn rule_command(&mut self, verb: &str, makes: bool, node: &Node) -> Made<()> {
        self.names(node, &["family", "table", "chain"])?;
        // nft prints handles with what it lists: they say where only when a rule is put beside, or in the place of, another.
        let places = if verb == "add" { &["index"][..] } else { &["index", "handle"][..] };
        for place in places {
            if let Some(number) = node.get(place) {
                self.out.word(place, number.span);
                self.out.blank();
                self.expression(number)?;
            }
        }
        if makes { self.rule(node) } else { Ok(()) }
    }

    /// Does something that may fail: then nothing of it stays in the text, and the rest goes on.
    fn attempt(&mut self, what: impl FnOnce(&mut Self) -> Made<()>) {
        let before = self.out.text.len();
        match what(self) {
            Ok(()) => self.out.line(),
            Err(diagnostic) => {
                self.out.text.truncate(before);
                self.report(diagnostic);
            }
        }
    }
}

fn metainfo(node: &Node) -> Made<()> {
    let version = node.get("json_schema_version");
    match version.map(|version| (&version.kind, version.span)) {
        Some((Kind::Number(number), _)) if &**number == "1" => Ok(()),
        Some((_, span)) => Err(Diagnostic::error(span, "this schema is not known: version 1 is")),
        None => Ok(()),
    }
}

fn is_of_rule(name: &str) -> bool {
    matches!(name, "family" | "table" | "chain" | "handle" | "index" | "comment" | "expr")
}

fn is_kind(name: &str) -> bool {
    OTHERS.contains(&name) || OBJECTS.iter().any(|form| form.0 == name)
}
