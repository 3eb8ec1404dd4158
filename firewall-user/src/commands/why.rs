//! `rampart why`: what becomes of a packet that nobody sent, by the loaded program itself.

mod last;

use anyhow::{Context, Result};
use firewall_common::image::{Hook, Insn, Interval};
use serde_json::Value;

use super::{No, Session, Status, open, print, print_json, set};
use crate::{
    cli::observing::Why,
    compile::Manifest,
    kernel::{self, Attached, Ingress, Instance, Known, LoadedImage, Passing, Question, Shadow, Side},
    observe::{
        notes::Memory,
        why::{Outcome, Report},
    },
    packets::{Spec, State, capture, hex},
};

/// Frames of a capture file that are answered about: a person reads the answers.
const MOST_FRAMES: usize = 100_000;

pub(super) fn run(session: &Session<'_>, why: &Why) -> Result<Status> {
    let instance = open()?;
    if let Some(address) = why.last {
        return last::run(session, &instance, address);
    }
    let interface = find(&instance, why.incoming.as_deref().or(why.outgoing.as_deref()));
    let frames = frames(why, interface.as_ref().ok())?;
    let interface = interface?;
    let side = side(why.outgoing.is_some(), &interface);
    let generation = instance.generation()?;
    let manifest = instance.manifest_of(generation)?;
    let mut asked = Asked { shadow: instance.shadow(generation)?, manifest, instance: &instance, generation };
    let mut status = Status::Done;
    for (number, (frame, known)) in frames.iter().enumerate() {
        let question = Question { side, frame, ifindex: interface.ifindex, known: *known };
        let outcome = asked.answer(session, &question, &interface.name, number > 0)?;
        if why.exit_code && outcome != Outcome::Accept {
            status = Status::No;
        }
    }
    Ok(status)
}

/// Who answers.
struct Asked<'a> {
    shadow: Shadow<'a>,
    manifest: Manifest,
    instance: &'a Instance,
    generation: u32,
}

/// Answers one question in words, about an interface by its name or the only one there is. For who is no terminal.
pub(super) fn asked(packet: &str, interface: Option<&str>, is_leaving: bool) -> Result<Value> {
    let instance = open()?;
    let words: Vec<_> = packet.split_whitespace().collect();
    let mut spec = Spec::parse(&words).map_err(|error| No(error.to_string()))?;
    let interface = find(&instance, interface)?;
    if !is_leaving {
        spec.comes_in_by(kernel::hardware_address(&interface.name));
    }
    let question = Question {
        side: side(is_leaving, &interface),
        frame: &spec.frame(),
        ifindex: interface.ifindex,
        known: known(spec.state),
    };
    let generation = instance.generation()?;
    let manifest = instance.manifest_of(generation)?;
    let mut asked = Asked { shadow: instance.shadow(generation)?, manifest, instance: &instance, generation };
    asked.report(&question, &interface.name, |report| {
        let mut value = report.json();
        value["text"] = report.text().into();
        value
    })
}

impl Asked<'_> {
    /// Asks, and shows what is answered.
    fn report<T>(&mut self, question: &Question<'_>, name: &str, show: impl FnOnce(&Report<'_>) -> T) -> Result<T> {
        let answer = self.shadow.ask(question)?;
        let insns = self.instance.image(self.generation)?;
        let look_up = |at: u32| -> Option<Insn> { insns.insn(at) };
        let mut report = Report::new(&answer.trail, &self.manifest, &look_up, name);
        report.left = Some(&answer.bytes);
        report.asked = Some(question.frame);
        let known = Referred { image: &insns, instance: self.instance, manifest: &self.manifest };
        report.memory = Some(&known);
        report.outside = kernel::outside(name, passing(&report));
        Ok(show(&report))
    }

    fn answer(&mut self, session: &Session<'_>, question: &Question<'_>, name: &str, more: bool) -> Result<Outcome> {
        self.report(question, name, |report| {
            if session.global.json {
                print_json(&report.json())?;
            } else {
                print(&format!("{}{}", if more { "\n" } else { "" }, report.text()))?;
            }
            Ok(report.outcome())
        })?
    }
}

/// What rules refer to, in the generation that was asked.
struct Referred<'a> {
    image: &'a LoadedImage,
    instance: &'a Instance,
    manifest: &'a Manifest,
}

impl Memory for Referred<'_> {
    fn of_rule(&self, rule: u32) -> Vec<Insn> {
        self.image.of_rule(rule)
    }

    fn interval(&self, at: u32) -> Option<Interval> {
        self.image.interval(at)
    }

    fn constant(&self, at: u32) -> Option<[u32; 4]> {
        self.image.constant(at)
    }

    fn cell(&self, slot: u32) -> Option<u64> {
        self.instance.cells([slot]).ok()?.remove(&slot)
    }

    fn now_ns(&self) -> u64 {
        kernel::monotonic_ns()
    }

    fn member(&self, set: u32, value: u128) -> Option<String> {
        set::member(self.instance, self.manifest, set, value)
    }
}

/// A packet, for what comes behind rampart.
pub(super) fn passing(report: &Report<'_>) -> Option<Passing> {
    let packet = report.packet();
    let (_, destination) = packet.addresses?;
    Some(Passing {
        protocol: packet.protocol,
        destination,
        port: packet.ports.map(|(_, port)| port),
        is_input: !report.is_leaving() && report.hook() == Some(Hook::Input),
        is_incoming: !report.is_leaving(),
        is_accepted: report.outcome() == Outcome::Accept,
    })
}

/// The frames asked about, with what is known of their connections.
fn frames(why: &Why, interface: Option<&Attached>) -> Result<Vec<(Vec<u8>, Known)>> {
    let supposed =
        |state: &str| Spec::parse(&["tcp", "192.0.2.1:1", "192.0.2.2:1", "state", state]).map(|spec| spec.state);
    let known = match why.state.as_deref().map(supposed) {
        Some(state) => known(state.map_err(|error| No(error.to_string()))?),
        None => Known::Live,
    };
    if let Some(digits) = &why.hex {
        let frame = hex(digits).map_err(No)?;
        return Ok(vec![(checked(frame)?, known)]);
    }
    if let Some(path) = &why.pcap {
        let frames = capture::read(path, MOST_FRAMES)?;
        return frames.into_iter().map(|frame| Ok((checked(frame)?, known))).collect();
    }
    let mut words = why.packet.clone();
    for (word, value) in [("flags", &why.flags), ("state", &why.state)] {
        words.extend(value.iter().flat_map(|value| [word.to_owned(), value.clone()]));
    }
    let mut spec = Spec::parse(&words).map_err(|error| No(error.to_string()))?;
    if let Some(interface) = interface.filter(|_| why.outgoing.is_none()) {
        spec.comes_in_by(kernel::hardware_address(&interface.name));
    }
    Ok(vec![(spec.frame(), self::known(spec.state))])
}

/// The kernel runs programs over nothing shorter than an Ethernet header and nothing longer than a page.
fn checked(frame: Vec<u8>) -> Result<Vec<u8>> {
    match frame.len() {
        14..=3500 => Ok(frame),
        length => Err(No(format!("a frame of {length} bytes cannot be asked about; 14 to 3500 can")).into()),
    }
}

pub(super) const fn known(state: State) -> Known {
    match state {
        State::Live => Known::Live,
        State::New => Known::Nothing,
        State::Established => Known::Established,
        State::Reply => Known::Reply,
    }
}

/// The interface of a name, or the only one there is.
fn find(instance: &Instance, name: Option<&str>) -> Result<Attached> {
    let all = instance.interfaces()?;
    let names = || all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => {
            let found = all.iter().find(|one| one.name == name).cloned();
            found.with_context(|| format!("rampart is not attached to an interface `{name}`, but to {}", names()))
        }
        None => match &all[..] {
            [only] => Ok(only.clone()),
            [] => Err(No("rampart is attached to no interface: nothing is filtered".to_owned()).into()),
            _ => Err(No(format!("which interface? `--in IF` or `--out IF`, of {}", names())).into()),
        },
    }
}

fn side(is_leaving: bool, interface: &Attached) -> Side {
    match (is_leaving, interface.ingress) {
        (true, _) => Side::TcEgress,
        (false, Ingress::Native | Ingress::Generic) => Side::Xdp,
        (false, Ingress::Tc) => Side::TcIngress,
    }
}
