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
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
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
        file.write(trail, interface, &report.summary())
    })?;
    file.writer.into_inner().flush()?;
    session.note(&format!("{}, {} lost{}", counted(end.seen, "packet"), end.lost, end.because()));
    Ok(Status::Done)
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

    fn write(&mut self, trail: &Trail, interface: &str, comment: &str) -> Result<()> {
        let interface_id = self.interface(interface)?;
        let length = (trail.captured as usize).min(trail.bytes.len());
        let way = if trail.path == 0 { INBOUND } else { OUTBOUND };
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: self.zero + Duration::from_nanos(trail.time_ns),
            original_len: trail.packet.frame_length,
            data: Cow::Borrowed(&trail.bytes[..length]),
            options: vec![EnhancedPacketOption::Comment(Cow::Borrowed(comment)), EnhancedPacketOption::Flags(way)],
        };
        self.writer.write_pcapng_block(block)?;
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
