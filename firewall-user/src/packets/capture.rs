//! Frames of capture files: pcap and pcapng.

use std::{fs::File, io::Read, path::Path};

use pcap_file::{
    DataLink,
    pcap::PcapReader,
    pcapng::{Block, PcapNgReader},
};

/// Why a capture file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be opened.
    #[error("{0}: {1}")]
    Open(String, std::io::Error),
    /// It is no capture file, or a broken one.
    #[error("{0}: {1}")]
    Broken(String, pcap_file::PcapError),
    /// Its frames have no Ethernet headers.
    #[error("{0}: its frames are of link type {1:?}; only Ethernet can be asked about")]
    NoEthernet(String, DataLink),
}

/// The first word of a pcapng file (its section header block, draft-ietf-opsawg-pcapng).
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// The frames of a file, up to `most` of them.
pub fn read(path: &Path, most: usize) -> Result<Vec<Vec<u8>>, CaptureError> {
    let name = path.display().to_string();
    let open = || File::open(path).map_err(|error| CaptureError::Open(name.clone(), error));
    let mut magic = [0; 4];
    open()?.read_exact(&mut magic).map_err(|error| CaptureError::Open(name.clone(), error))?;
    if magic == SECTION_HEADER { read_pcapng(open()?, &name, most) } else { read_pcap(open()?, &name, most) }
}

fn read_pcap(file: File, name: &str, most: usize) -> Result<Vec<Vec<u8>>, CaptureError> {
    let broken = |error| CaptureError::Broken(name.to_owned(), error);
    let mut reader = PcapReader::new(file).map_err(broken)?;
    check_link(name, reader.header().datalink)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet().filter(|_| frames.len() < most) {
        frames.push(packet.map_err(broken)?.data.into_owned());
    }
    Ok(frames)
}

fn read_pcapng(file: File, name: &str, most: usize) -> Result<Vec<Vec<u8>>, CaptureError> {
    let broken = |error| CaptureError::Broken(name.to_owned(), error);
    let mut reader = PcapNgReader::new(file).map_err(broken)?;
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.map_err(broken)? {
            _ if frames.len() >= most => break,
            Block::InterfaceDescription(interface) => check_link(name, interface.linktype)?,
            Block::EnhancedPacket(packet) => frames.push(packet.data.into_owned()),
            Block::SimplePacket(packet) => frames.push(packet.data.into_owned()),
            _ => {}
        }
    }
    Ok(frames)
}

fn check_link(name: &str, link: DataLink) -> Result<(), CaptureError> {
    if link == DataLink::ETHERNET { Ok(()) } else { Err(CaptureError::NoEthernet(name.to_owned(), link)) }
}
