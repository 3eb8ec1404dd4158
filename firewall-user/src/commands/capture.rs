//! `rampart capture`: live packets as pcapng, each with its verdict and rule as a comment.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use firewall_common::trail::{Trail, WANTS_BYTES};
use pcap_file::{
    DataLink,
    pcapng::{
        PcapNgWriter, RawBlock,
        blocks::{
            ENHANCED_PACKET_BLOCK,
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use super::{
    Session, Status, open,
    watch::{self, Wish},
};
use crate::{
    cli::observing::Capture,
    kernel::monotonic_ns,
    observe::{why::Report, words::counted},
};

/// Of `epb_flags` (draft-ietf-opsawg-pcapng section 4.3.1): inbound, outbound.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Options of a packet (sections 3.5 and 4.3), among them a custom one with text, which who copies the packet may copy (section 3.5.1), of the enterprise number that is kept for examples
/// (RFC 5612), as rampart has none.
const CUSTOM: u16 = 2988;
const COMMENT: u16 = 1;
const FLAGS: u16 = 2;
const END: u16 = 0;
/// Bytes of a block around its body.
const BLOCK: u32 = 12;
const PEN: u32 = 32473;

pub(super) fn run(session: &Session<'_>, capture: &Capture) -> Result<Status> {
    let instance = open()?;
    let out: Box<dyn Write> = if capture.write.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        let path = &capture.write;
        Box::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?)
    };
    let mut file = Pcap::new(BufWriter::new(out))?;
    let wish = Wish {
        filters: &capture.filters,
        flags: WANTS_BYTES,
        snap: capture.snap,
        per_tick: watch::PER_TICK * 8,
        count: capture.count,
        time: capture.time,
    };
    let end = watch::watch(&instance, &wish, |trail, manifest, interface| {
        let report = Report::new(trail, manifest, &|_| None, interface);
        file.write(trail, interface, (&report.summary(), report.verdict_json().to_string()))
    })?;
    file.writer.into_inner().flush()?;
    session.note(&format!("{}, {} lost{}", counted(end.seen, "packet"), end.lost, end.because()));
    Ok(Status::Done)
}

/// Adds bytes, and zeros up to a multiple of four.
fn put_padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A file of packets.
struct Pcap<W: Write> {
    writer: PcapNgWriter<W>,
    interfaces: HashMap<String, u32>,
    /// Time of day at zero of the kernel's clock.
    zero: Duration,
}

impl<W: Write> Pcap<W> {
    fn new(out: W) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let zero = now.saturating_sub(Duration::from_nanos(monotonic_ns()));
        Ok(Self { writer: PcapNgWriter::new(out)?, interfaces: HashMap::new(), zero })
    }

    fn write(&mut self, trail: &Trail, interface: &str, (comment, verdict): (&str, String)) -> Result<()> {
        let interface_id = self.interface(interface)?;
        let length = (trail.captured as usize).min(trail.bytes.len());
        let way = if trail.path == 0 { INBOUND } else { OUTBOUND };
        let time = (self.zero + Duration::from_nanos(trail.time_ns)).as_nanos() as u64;
        let custom = [&PEN.to_ne_bytes(), verdict.as_bytes()].concat();
        let mut body = Vec::new();
        for word in [interface_id, (time >> 32) as u32, time as u32, length as u32, trail.packet.frame_length] {
            body.extend(word.to_ne_bytes());
        }
        put_padded(&mut body, &trail.bytes[..length]);
        for (code, value) in [(COMMENT, comment.as_bytes()), (FLAGS, &way.to_ne_bytes()), (CUSTOM, &custom), (END, &[])]
        {
            body.extend(code.to_ne_bytes());
            body.extend((value.len() as u16).to_ne_bytes());
            put_padded(&mut body, value);
        }
        let length = body.len() as u32 + BLOCK;
        let block =
            RawBlock { type_: ENHANCED_PACKET_BLOCK, initial_len: length, body: Cow::Owned(body), trailer_len: length };
        self.writer.write_raw_block(&block)?;
        Ok(())
    }

    /// The number of an interface in the file, described when it is met first.
    fn interface(&mut self, name: &str) -> Result<u32> {
        if let Some(number) = self.interfaces.get(name) {
            return Ok(*number);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        };
        self.writer.write_pcapng_block(block)?;
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(name.to_owned(), number);
        Ok(number)
    }
}
