//! The memory of named sets: made, put into the map of sets, and found there.

mod sync;

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_map_type};
use firewall_common::sets::{Kind, LINE, LINE_WORDS, make::Spec};

use super::{Instance, KernelError, host, maps, raw::bpf, set_memory::SetMemory};
pub use sync::Synced;

use crate::{
    compile::{Compiled, Manifest, NoRoom, StateElement, StateSet, verdicts},
    config::Sets,
};

/// `BPF_F_MMAPABLE` and `BPF_F_INNER_MAP` (`include/uapi/linux/bpf.h`), as the program declares them.
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// Memory for a set, of which nobody knows yet.
pub(super) fn make(spec: &Spec) -> Result<(OwnedFd, SetMemory), KernelError> {
    let lines = u32::try_from(spec.lines()).map_err(|_| KernelError::Limit("a set of more than 256 GiB".to_owned()))?;
    // SAFETY: all zero bytes are a valid value of this union of integers.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_1.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    attr.__bindgen_anon_1.key_size = 4;
    attr.__bindgen_anon_1.value_size = LINE as u32;
    attr.__bindgen_anon_1.max_entries = lines;
    attr.__bindgen_anon_1.map_flags = FLAGS;
    let failed = KernelError::system(format!("memory for a set ({} bytes)", spec.bytes()));
    let fd = bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map_err(failed)?;
    // SAFETY: the kernel has just given it to us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let memory = SetMemory::of(fd.as_fd(), lines as usize).map_err(KernelError::system("mapping a set"))?;
    Ok((fd, memory))
}

/// Puts memory into the map of sets; from then on programs use it.
pub(super) fn put(sets: BorrowedFd<'_>, slot: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
    let value = fd.as_raw_fd();
    // SAFETY: as in `make`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_2.map_fd = sets.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = (&raw const slot) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const value) as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(|_| ())
}

/// The memory in a slot of the map of sets, if there is any.
pub(super) fn get(sets: BorrowedFd<'_>, slot: u32) -> Result<Option<SetMemory>, KernelError> {
    let mut id = 0_u32;
    // SAFETY: as in `make`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_2.map_fd = sets.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = (&raw const slot) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw mut id) as u64;
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(KernelError::System { what: "reading the map of sets".to_owned(), source: error }),
        Ok(_) => {}
    }
    let data = aya::maps::MapData::from_id(id).map_err(KernelError::map(maps::NAMED_SETS))?;
    let count = data.info().map_err(KernelError::map(maps::NAMED_SETS))?.max_entries();
    SetMemory::of(data.fd().as_fd(), count as usize).map(Some).map_err(KernelError::system("mapping a set"))
}

/// Fills the map of sets of an object that is not in force.
pub(super) fn fill(ebpf: &aya::Ebpf, sets: &[StateSet]) -> Result<(), KernelError> {
    let Some(aya::maps::Map::ArrayOfMaps(map)) = ebpf.map(maps::NAMED_SETS) else {
        return Err(KernelError::Damaged("the program has no map of sets".to_owned()));
    };
    for set in sets {
        let (fd, memory) = make(&set.spec(&set.elements))?;
        set.spec(&set.elements).begin(&memory.lines(), secret()?);
        set.fill(&memory.lines(), &set.elements, host::tick()).map_err(no_room(set))?;
        put(map.fd().as_fd(), set.slot, fd.as_fd()).map_err(KernelError::system(maps::NAMED_SETS))?;
    }
    Ok(())
}

/// Says which set it was that had no room.
fn no_room(set: &StateSet) -> impl Fn(NoRoom) -> KernelError + '_ {
    |reason| {
        let size = match (reason, set.size) {
            (NoRoom::Full, Some(size)) => format!(": its size is {size}"),
            _ => String::new(),
        };
        KernelError::Limit(format!("set `{}` of table `{} {}`: {reason}{size}", set.name, set.family, set.table))
    }
}

/// Refuses more elements than the set's size says.
fn refuse_too_many(set: &StateSet, elements: &[StateElement]) -> Result<(), KernelError> {
    let count = set.count(elements);
    let Some(size) = set.size.filter(|size| count > *size as usize) else { return Ok(()) };
    Err(KernelError::Limit(format!(
        "set `{}` of table `{} {}`: {count} elements, and its size is {size}",
        set.name, set.family, set.table
    )))
}

/// Refuses memory beyond what all sets may take together, before any is taken.
fn refuse(what: &str, wanted: u64, config: Sets) -> Result<(), KernelError> {
    let most = config.most(super::instance::memory());
    if wanted <= most {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(KernelError::Limit(format!(
        "{what} {} MiB, more than the {} MiB that named sets may take together: `max_mib` of `[sets]` in the settings is their limit",
        mib(wanted),
        mib(most)
    )))
}

impl Instance {
    /// The memory of a set that is in force.
    pub fn set_memory(&self, set: &StateSet) -> Result<SetMemory, KernelError> {
        let map = maps::open(&self.pins.state(), maps::NAMED_SETS)?;
        get(map.fd().as_fd(), set.slot)?
            .ok_or_else(|| KernelError::Damaged(format!("set `{}` has no memory", set.name)))
    }

    /// Gives a set other elements, all at once: packets meet the old ones or the new ones.
    pub fn replace_set(&self, set: &StateSet, elements: &[StateElement]) -> Result<(), KernelError> {
        refuse_too_many(set, elements)?;
        self.refuse_large(set, elements)?;
        self.put_set(set, elements)
    }

    /// Bytes that a set of these elements takes.
    pub fn set_size(set: &StateSet, elements: &[StateElement]) -> u64 {
        set.spec(elements).bytes()
    }

    /// Refuses a set with which all of those in force would take too much.
    fn refuse_large(&self, set: &StateSet, elements: &[StateElement]) -> Result<(), KernelError> {
        let Ok(manifest) = self.manifest() else { return Ok(()) };
        let map = maps::open(&self.pins.state(), maps::NAMED_SETS)?;
        let mut all = Self::set_size(set, elements);
        for slot in manifest.sets.iter().filter_map(|other| other.slot).filter(|slot| *slot != set.slot) {
            all += get(map.fd().as_fd(), slot)?.map_or(0, |memory| memory.bytes());
        }
        let what = format!(
            "with {} elements in set `{}` of table `{} {}` the named sets would take",
            set.count(elements),
            set.name,
            set.family,
            set.table
        );
        refuse(&what, all, manifest.config.sets)
    }

    /// Makes a set of these elements, and puts it in the place of the one before.
    fn put_set(&self, set: &StateSet, elements: &[StateElement]) -> Result<(), KernelError> {
        let spec = set.spec(elements);
        let map = maps::open(&self.pins.state(), maps::NAMED_SETS)?;
        let (fd, memory) = make(&spec)?;
        spec.begin(&memory.lines(), secret()?);
        set.fill(&memory.lines(), elements, host::tick()).map_err(no_room(set))?;
        put(map.fd().as_fd(), set.slot, fd.as_fd()).map_err(KernelError::system(maps::NAMED_SETS))
    }

    /// Refuses sets that would take more memory than they may, before anything is touched.
    pub(super) fn refuse_large_sets(compiled: &Compiled) -> Result<(), KernelError> {
        let wanted = compiled.sets.iter().map(|set| Self::set_size(set, &set.elements)).sum();
        refuse("the named sets would take", wanted, compiled.manifest.config.sets)
    }

    /// Makes the sets that a new generation has and the one before had not, and adds to the others what the text has anew.
    /// Elements that were added while the set was in force stay: they are state, as connections and counters are.
    pub(super) fn make_sets(&self, compiled: &Compiled) -> Result<(), KernelError> {
        let before = self.manifest().ok();
        for set in &compiled.sets {
            let is_kept = before.as_ref().is_some_and(|manifest| is_in(manifest, set));
            if let Some(before) = before.as_ref().filter(|_| set.chains.is_some() && !is_kept) {
                self.put_set(set, &self.with_added(set, before)?)?;
            } else if is_kept {
                self.add_to_set(set, &set.elements)?;
            } else {
                self.put_set(set, &set.elements)?;
            }
        }
        Ok(())
    }

    /// The elements of a map to verdicts that is made anew: those of its text, and of the one before what was added since.
    fn with_added(&self, set: &StateSet, before: &Manifest) -> Result<Vec<StateElement>, KernelError> {
        let mut elements = set.elements.clone();
        for element in self.added(set, before)? {
            if !set.elements.iter().any(|one| covers(one, &element)) {
                elements.push(element);
            }
        }
        Ok(elements)
    }

    /// What a map to verdicts has beside the elements of the text that it was made from.
    fn added(&self, set: &StateSet, before: &Manifest) -> Result<Vec<StateElement>, KernelError> {
        let Some(old) = before.map_to_verdicts(set) else { return Ok(Vec::new()) };
        if old.types != set.types {
            return Ok(Vec::new());
        }
        let memory = self.set_memory(&old)?;
        let mut elements = old.elements(&memory.lines(), host::tick());
        elements.retain(|element| !old.elements.iter().any(|one| covers(one, element)));
        Ok(elements)
    }

    /// Refuses a ruleset whose rules could not do what somebody has put into a map since, before anything is touched.
    pub(super) fn refuse_lost_verdicts(&self, compiled: &Compiled) -> Result<(), KernelError> {
        let Ok(before) = self.manifest() else { return Ok(()) };
        for set in compiled.sets.iter().filter(|set| set.chains.is_some()) {
            let record = compiled.manifest.sets.iter().find(|record| record.slot == Some(set.slot));
            let known = |element: &StateElement| {
                let number = element.data.first().map_or(0, |number| *number as u64);
                record.is_some_and(|record| record.verdicts.binary_search(&number).is_ok())
            };
            let is_replaced = |element: &StateElement| set.elements.iter().any(|one| covers(one, element));
            let added = self.added(set, &before)?;
            let Some(lost) = added.iter().find(|element| !known(element) && !is_replaced(element)) else { continue };
            let chains = before.map_to_verdicts(set).and_then(|old| old.chains).unwrap_or_default();
            let verdict = verdicts::text(lost.data.first().map_or(0, |number| *number as u64), &chains);
            return Err(KernelError::Limit(format!(
                "map `{}` of table `{} {}` has an element with the verdict `{verdict}` that somebody added, and these rules have no such \
                 chain to go to: `rampart set list {}` shows it, `rampart set delete` takes it out",
                set.name, set.family, set.table, set.name
            )));
        }
        Ok(())
    }

    /// Adds elements, how many are new; a set without a size of its own that has no more room gets more. If not all can be added,
    /// none is.
    pub fn add_to_set(&self, set: &StateSet, elements: &[StateElement]) -> Result<usize, KernelError> {
        if elements.is_empty() {
            return Ok(0);
        }
        let memory = self.set_memory(set)?;
        let tick = host::tick();
        let is_new = |one: &&StateElement| !set.contains(&memory.lines(), one, tick);
        let new: Vec<StateElement> = elements.iter().filter(is_new).cloned().collect();
        // Ranges do not know which of them were added: asked before, what can be refused.
        if set.kind == Kind::Ranges && (set.size.is_some() || elements.len() > 1) {
            let mut all = set.elements(&memory.lines(), tick);
            all.extend_from_slice(elements);
            self.refuse_excess(set, &all)?;
        }
        let added = match set.add_all(&memory.lines(), elements, host::tick()) {
            Err(NoRoom::Full) if !set.dynamic => self.enlarge(set, &memory, elements),
            result => result.map(|_| ()).map_err(no_room(set)),
        };
        if added.is_err() && set.kind != Kind::Ranges {
            let _ = set.remove_all(&memory.lines(), &new, host::tick());
        }
        added.map(|()| new.len())
    }

    /// Makes a set anew with room for more elements.
    fn enlarge(&self, set: &StateSet, memory: &SetMemory, elements: &[StateElement]) -> Result<(), KernelError> {
        let mut all = set.elements(&memory.lines(), host::tick());
        all.extend_from_slice(elements);
        self.refuse_excess(set, &all)?;
        self.put_set(set, &all)
    }

    /// Refuses more elements than a set may have, or more memory than it may take.
    fn refuse_excess(&self, set: &StateSet, all: &[StateElement]) -> Result<(), KernelError> {
        if set.size.is_some_and(|size| set.count(all) > size as usize) {
            return Err(no_room(set)(NoRoom::Full));
        }
        self.refuse_large(set, all)
    }

    /// Removes elements; how many were there.
    pub fn remove_from_set(&self, set: &StateSet, elements: &[StateElement]) -> Result<usize, KernelError> {
        let memory = self.set_memory(set)?;
        match set.remove_all(&memory.lines(), elements, host::tick()) {
            Ok(count) => Ok(count),
            Err(NoRoom::Full) => {
                let (left, count) = set.without(set.elements(&memory.lines(), host::tick()), elements);
                self.replace_set(set, &left)?;
                Ok(count)
            }
            Err(reason) => Err(no_room(set)(reason)),
        }
    }
}

/// Is an element of the kernel's, which may be a part of a range, what one of the text says?
fn covers(text: &StateElement, element: &StateElement) -> bool {
    let within = |(whole, part): (&(u128, u128), &(u128, u128))| whole.0 <= part.0 && part.1 <= whole.1;
    text.parts.iter().zip(&element.parts).all(within)
}

/// Was the set in force, as it is now?
fn is_in(manifest: &Manifest, set: &StateSet) -> bool {
    let mut all = manifest.sets.iter().chain(&manifest.counts);
    all.any(|one| one.slot == Some(set.slot) && one.declaration == set.declaration())
}

/// Secret numbers of a set's hash.
pub(super) fn secret() -> Result<[u64; LINE_WORDS], KernelError> {
    let mut bytes = [0_u8; LINE];
    let random = std::fs::File::open("/dev/urandom");
    random
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes))
        .map_err(KernelError::system("/dev/urandom"))?;
    let mut numbers = [0; LINE_WORDS];
    for (number, chunk) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    Ok(numbers)
}
