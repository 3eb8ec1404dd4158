//! A new generation: loaded, probed, put in force by one flip, and the old one retired.
//!
//! The order is that of safety. Until the control value flips, packets take the old generation and whatever was made
//! for the new one is unreachable; a process killed on the way leaves pins that the next apply removes. Once it has
//! flipped, the new generation is whole. New interfaces are attached before the flip, so that a failure to attach
//! leaves the old rules in force; only the first ruleset must be in force before anything is attached.

use std::time::{Duration, Instant};

use firewall_common::{
    abi::ABI_VERSION,
    control::Control,
    image::{Forest, Image, Settings, USES_LOCAL_NAT},
    interface::{Interface as Entry, WHOLE},
};

use super::{
    Attached, Instance, KernelError, Lock, attach, cookies, fast,
    generation::{Generation, Programs},
    host, instance,
    interfaces::{self, Interface},
    maps, object, pins,
    registration::{check_index, is_attached},
    way_back,
};
use crate::{
    compile::{Compiled, Manifest},
    config::Config,
};

/// How to apply.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// Interfaces to attach to beside those that are attached already; none: all that are up, but loopback.
    pub interfaces: Vec<String>,
    /// Go back to the ruleset before unless confirmed within this time.
    pub confirm: Option<Duration>,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The generation that is in force now.
    pub generation: u32,
    /// Interfaces attached by this apply.
    pub attached: Vec<Attached>,
    /// Interfaces that were attached before.
    pub kept: usize,
    /// Instructions the verifier looked at, of the three programs together.
    pub verified_instructions: u32,
    /// How long it took.
    pub took: Duration,
    /// How much time there is to confirm.
    pub confirm_by: Option<Duration>,
}

impl Instance {
    /// Puts a compiled ruleset in force. On an error the kernel is as it was before.
    pub fn apply(&self, _lock: &Lock, compiled: &Compiled, options: &ApplyOptions) -> Result<Applied, KernelError> {
        let started = Instant::now();
        let is_new = !self.pins.exists();
        let result = self.try_apply(compiled, options);
        if result.is_err() {
            if is_new {
                pins::remove(&self.pins.root())?;
            } else {
                self.remove_unused_generations()?;
            }
        }
        result.map(|applied| Applied { took: started.elapsed(), ..applied })
    }

    fn try_apply(&self, compiled: &Compiled, options: &ApplyOptions) -> Result<Applied, KernelError> {
        let mut all = interfaces::list()?;
        fast::trust_checksums(&mut all, &compiled.manifest.config);
        let mut chosen = interfaces::choose(&all, &options.interfaces)?;
        let loopback = all.iter().find(|interface| interface.is_loopback);
        let is_chosen = chosen.iter().any(|interface| interface.is_loopback);
        let translates_here = compiled.image.settings.uses & USES_LOCAL_NAT != 0;
        if let Some(loopback) = loopback.filter(|_| translates_here && !is_chosen) {
            chosen.push(Interface { unasked: true, ..loopback.clone() });
        }
        for interface in &mut chosen {
            interface.rewrites = compiled.manifest.rewrites();
        }
        let control = self.begin()?;
        refuse_unconfirmed(&control)?;
        let entries = self.entries_or_none()?;
        let (fresh, kept): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|one| !is_attached(&entries, one));
        refuse_unfit(&entries, &all, compiled)?;
        refuse_unfinished(&entries, &all, compiled)?;
        for interface in &fresh {
            attach::refuse_foreign(interface)?;
            check_index(interface)?;
        }
        interfaces::refuse_vrf(&all, &fresh)?;
        fast::check(compiled)?;
        way_back::check(&compiled.image)?;
        cookies::check(object::uses(compiled))?;
        Self::refuse_large_sets(compiled)?;
        self.refuse_lost_verdicts(compiled)?;
        let number = self.next_generation(&control)?;
        // Programs that are attached to an interface must be loaded here.
        let spare = if fresh.is_empty() { self.reuse(compiled, &control, number)? } else { None };
        let mut generation = match spare {
            Some(generation) => generation,
            None => self.prepare(compiled, number)?,
        };
        self.fill_addresses(compiled)?;
        self.make_sets(compiled)?;
        self.start_counters(compiled)?;
        let config = &compiled.manifest.config;
        self.rename(&entries, &all, config)?;
        self.name_others(&all, config)?;
        let control = self.install_fallback(control, options, config)?;
        let attached = if control.generation[control.active as usize & 1] == 0 {
            // The entry programs drop what no generation judges: there must be one before they are attached.
            self.put_in_force(&generation, control, options)?;
            let attached = self.attach_fresh(&mut generation, &fresh, (&all, config))?;
            self.fill_devices(&mut generation, compiled, &all)?;
            attached
        } else {
            let attached = self.attach_fresh(&mut generation, &fresh, (&all, config))?;
            let filled = self.fill_devices(&mut generation, compiled, &all);
            if let Err(error) = filled.and_then(|()| self.put_in_force(&generation, control, options)) {
                self.detach_all(&attached)?;
                return Err(error);
            }
            attached
        };
        // The new rules are in force, and what is left behind changes no verdict: the next apply tries again.
        if !translates_here {
            let _ = self.leave_unasked(&entries);
        }
        let _ = self.remove_unused_generations();
        Ok(Applied {
            generation: generation.number,
            attached: attached.iter().filter_map(|(place, entry)| Attached::of(*place, entry, true)).collect(),
            kept: kept.len(),
            verified_instructions: generation.verified_instructions,
            took: Duration::ZERO,
            confirm_by: options.confirm,
        })
    }

    /// Tells the generation by which interfaces packets may take the fast path.
    fn fill_devices(
        &self,
        generation: &mut Generation,
        compiled: &Compiled,
        all: &[Interface],
    ) -> Result<(), KernelError> {
        let mut maps = match &mut generation.programs {
            Programs::Loaded(ebpf) => maps::Maps::Loaded(ebpf),
            Programs::Pinned(directory) => maps::Maps::Pinned(directory),
        };
        maps.fill(maps::DEVICES, &fast::devices(&compiled.manifest, all, &self.entries()?))
    }

    fn attach_fresh(
        &self,
        generation: &mut Generation,
        fresh: &[Interface],
        (all, config): (&[Interface], &Config),
    ) -> Result<Vec<(u32, Entry)>, KernelError> {
        match &mut generation.programs {
            Programs::Loaded(ebpf) => self.attach_all(ebpf, fresh, (all, config)),
            Programs::Pinned(_) => Ok(Vec::new()),
        }
    }

    /// The control value to start from, in an instance that may be new.
    fn begin(&self) -> Result<Control, KernelError> {
        self.pins.create()?;
        let mut control = if self.pins.exists() { self.control()? } else { Control::default() };
        if control.abi == 0 {
            control = Control { abi: ABI_VERSION, secret: instance::new_secret()?, ..Control::default() };
        }
        // An unconfirmed generation past its deadline has lost its place: make that so in the slot number as well.
        let in_force = control.slot(host::monotonic_ns);
        if in_force != control.active {
            control.active = in_force;
            self.set_control(&control)?;
        }
        Ok(control)
    }

    fn entries_or_none(&self) -> Result<Vec<(u32, Entry)>, KernelError> {
        if self.pins.state().join(maps::INTERFACES).exists() { self.entries() } else { Ok(Vec::new()) }
    }

    /// What an unconfirmed first ruleset hands back to: one that lets everything pass, as it was before.
    fn install_fallback(
        &self,
        mut control: Control,
        options: &ApplyOptions,
        config: &Config,
    ) -> Result<Control, KernelError> {
        if options.confirm.is_none() || control.generation[control.active as usize & 1] != 0 {
            return Ok(control);
        }
        let image = Image {
            insns: Vec::new(),
            constants: Vec::new(),
            intervals: Vec::new(),
            settings: Settings::EMPTY,
            forest: Forest::default(),
        };
        let empty = crate::language::parse_text("empty", "", &crate::language::Options::default());
        let manifest = empty
            .ok()
            .and_then(|parsed| crate::compile::compile(&parsed.ruleset, None).ok())
            .map(|compiled| compiled.manifest)
            .unwrap_or_default();
        let manifest = Manifest { config: config.clone(), ..manifest };
        let compiled =
            Compiled { image, manifest, fresh_counters: Vec::new(), fresh_cells: Vec::new(), sets: Vec::new() };
        let generation = self.prepare(&compiled, self.next_generation(&control)?)?;
        self.set_slot(&generation, control.active)?;
        control.generation[control.active as usize & 1] = generation.number;
        self.set_control(&control)?;
        Ok(control)
    }

    /// The flip.
    fn put_in_force(
        &self,
        generation: &Generation,
        mut control: Control,
        options: &ApplyOptions,
    ) -> Result<(), KernelError> {
        let target = control.active ^ 1;
        let at = target as usize & 1;
        self.set_slot(generation, target)?;
        control.generation[at] = generation.number;
        control.unconfirmed[at] = u32::from(options.confirm.is_some());
        let wait = options.confirm.map_or(0, |wait| wait.as_nanos() as u64);
        control.deadline_ns[at] = host::monotonic_ns().saturating_add(wait);
        self.set_control(&control)?;
        control.active = target;
        self.set_control(&control)
    }
}

/// Interfaces that were attached before must be so in a way that lets packets be rewritten.
fn refuse_unfit(entries: &[(u32, Entry)], all: &[Interface], compiled: &Compiled) -> Result<(), KernelError> {
    if !compiled.image.rewrites() {
        return Ok(());
    }
    for (_, entry) in entries {
        let Some(interface) = all.iter().find(|one| one.index == entry.ifindex) else { continue };
        let interface = Interface { rewrites: true, ..interface.clone() };
        if entry.flags & attach::NAME_ONLY == 0 && attach::cannot_rewrite(&interface, entry) {
            return Err(KernelError::Limit(format!(
                "interface `{}` is attached by XDP, and its packets come with checksums that are still to be finished: to \
                 rewrite them it must be attached by tc; `rampart stop`, then `rampart apply`, does that",
                interface.name
            )));
        }
    }
    Ok(())
}

/// Refuses to look at checksums where an interface that stays attached is by tc.
fn refuse_unfinished(entries: &[(u32, Entry)], all: &[Interface], compiled: &Compiled) -> Result<(), KernelError> {
    for (_, entry) in entries {
        let Some(interface) = all.iter().find(|one| one.index == entry.ifindex) else { continue };
        let wanted = attach::entry(interface, &compiled.manifest.config);
        if entry.flags & attach::NAME_ONLY == 0 {
            let flags = wanted.flags & WHOLE | entry.flags & !WHOLE;
            attach::refuse_unfinished(&Entry { flags, ..wanted }, &interface.name)?;
        }
    }
    Ok(())
}

/// A ruleset that waits for confirmation would be what a third one falls back to: nobody has seen it work.
fn refuse_unconfirmed(control: &Control) -> Result<(), KernelError> {
    if control.unconfirmed[control.active as usize & 1] == 0 {
        return Ok(());
    }
    Err(KernelError::NothingTo("a ruleset waits to be confirmed: `rampart confirm` or `rampart rollback` it first"))
}
