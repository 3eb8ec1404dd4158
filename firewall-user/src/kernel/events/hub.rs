//! Several readers of one ring. A record that was read is gone for others, and a ring for each reader would cost every
//! event once more in the kernel: whoever reads the ring first passes records on to the others, over a socket beside the
//! lock. When it ends, however it ends, one of the others takes its place.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
};

use firewall_common::{abi::ABI_VERSION, event::Event};

/// What comes first: both ends must know the same records.
const GREETING: [u8; 8] = {
    let version = ABI_VERSION.to_ne_bytes();
    [b'e', b'v', b't', b'1', version[0], version[1], version[2], version[3]]
};
/// Bytes of a record on the socket: how many were not sent before it, and the event.
const FRAME: usize = 8 + size_of::<Event>();
/// Records that wait for a reader; one that is slower than this loses some, and is told how many.
const WAITING: usize = 8192;
/// Readers besides the first.
const READERS: usize = 64;
/// Only its owner and group may read.
const MODE: u32 = 0o660;

/// The end that passes records on.
pub(super) struct Hub {
    listener: UnixListener,
    readers: Vec<Reader>,
}

/// Somebody who reads along.
struct Reader {
    stream: UnixStream,
    waiting: VecDeque<u8>,
    lost: u64,
}

impl Hub {
    /// Listens. The caller has the lock, so a socket that is there is a dead reader's.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, readers: Vec::new() })
    }

    /// Lets in who waits for it, and sends what waits to be sent.
    pub(super) fn tend(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // More are turned away, and come again.
            if self.readers.len() < READERS && stream.set_nonblocking(true).is_ok() {
                self.readers.push(Reader { stream, waiting: GREETING.into(), lost: 0 });
            }
        }
        self.readers.retain_mut(|reader| reader.send().is_ok());
    }

    /// Passes a record on, before it is gone from the ring: if this process is killed the next one reads it once more,
    /// and nobody misses it.
    pub(super) fn pass(&mut self, record: &[u8]) {
        for reader in &mut self.readers {
            reader.take(record);
            // Who is gone is forgotten when readers are tended.
            let _ = reader.send();
        }
    }

    /// Does anybody read along?
    pub(super) fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }
}

impl Reader {
    fn take(&mut self, record: &[u8]) {
        if self.waiting.len() >= WAITING * FRAME || record.len() != size_of::<Event>() {
            self.lost += 1;
            return;
        }
        self.waiting.extend(std::mem::take(&mut self.lost).to_ne_bytes());
        self.waiting.extend(record);
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.stream.write(self.waiting.as_slices().0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.waiting.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The end that reads along.
pub(super) struct Along {
    stream: UnixStream,
    bytes: Vec<u8>,
    has_greeted: bool,
    has_ended: bool,
    lost: u64,
}

impl Along {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, bytes: Vec::new(), has_greeted: false, has_ended: false, lost: 0 })
    }

    /// The next event that has come.
    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            if !self.has_greeted && self.bytes.len() >= GREETING.len() {
                let greeting: Vec<u8> = self.bytes.drain(..GREETING.len()).collect();
                // Another version's records: nothing of it is believed.
                self.has_ended |= greeting != GREETING;
                self.has_greeted = true;
            }
            if self.has_greeted && !self.has_ended && self.bytes.len() >= FRAME {
                let frame: Vec<u8> = self.bytes.drain(..FRAME).collect();
                let (lost, event) = frame.split_at(8);
                self.lost += lost.try_into().map_or(0, u64::from_ne_bytes);
                return Event::from_bytes(event);
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Reads more; `false` when there is nothing for now.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 32 * FRAME];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.has_ended = true,
            Ok(count) => {
                self.bytes.extend_from_slice(&chunk[..count]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => self.has_ended = true,
        }
        false
    }

    /// Is the other end gone, and everything read that it sent?
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Events that were not sent because this end was slow, since it was last asked.
    pub(super) fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

impl AsFd for Along {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("rampart-hub-{}-{name}", std::process::id()))
    }

    fn record(number: u8) -> Vec<u8> {
        vec![number; size_of::<Event>()]
    }

    /// Both ends until nothing moves any more.
    fn read(hub: &mut Hub, along: &mut Along) -> Vec<u8> {
        let mut found = Vec::new();
        loop {
            hub.tend();
            let before = found.len();
            while let Some(event) = along.next() {
                found.push(event.time_ns as u8);
            }
            if found.len() == before {
                return found;
            }
        }
    }

    #[test]
    fn all_readers_get_all_records_from_where_they_came() {
        let path = socket("all");
        let mut hub = Hub::open(&path).expect("a socket");
        let mut one = Along::open(&path).expect("connected");
        hub.tend();
        hub.pass(&record(1));
        let mut other = Along::open(&path).expect("connected");
        hub.tend();
        hub.pass(&record(2));
        assert_eq!(read(&mut hub, &mut one), [1, 2]);
        assert_eq!(read(&mut hub, &mut other), [2]);
        drop(other);
        hub.pass(&record(3));
        hub.tend();
        assert!(hub.readers.len() == 1, "the one that is gone is forgotten");
        let mode = fs::metadata(&path).expect("a socket").permissions().mode() & 0o777;
        assert_eq!(mode, MODE);
        drop(hub);
        assert_eq!(one.next().map(|event| event.time_ns as u8), Some(3), "what was sent is read to its end");
        assert!(one.next().is_none() && one.has_ended());
        fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let path = socket("slow");
        let mut hub = Hub::open(&path).expect("a socket");
        let mut along = Along::open(&path).expect("connected");
        hub.tend();
        let sent = WAITING + 5000;
        for _ in 0..sent {
            hub.pass(&record(1));
        }
        let mut found = read(&mut hub, &mut along).len();
        hub.pass(&record(2));
        found += read(&mut hub, &mut along).len();
        let lost = along.lost();
        assert!(lost > 0);
        assert_eq!(found as u64 + lost, sent as u64 + 1);
        fs::remove_file(path).expect("removed");
    }

    #[test]
    fn another_version_is_not_believed() {
        let path = socket("version");
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut along = Along::open(&path).expect("connected");
        let (mut stream, _) = listener.accept().expect("accepted");
        stream.write_all(&[b'x'; 8 + FRAME]).expect("written");
        assert!(along.next().is_none() && along.has_ended());
        fs::remove_file(path).expect("removed");
    }
}
