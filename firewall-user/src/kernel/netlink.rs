//! Questions to the kernel by netlink that no library asks: what drivers can do with frames, whether there are `IPsec` policies.

use std::io;

use rtnetlink::sys::{Socket, protocols::NETLINK_GENERIC};

/// What drivers can, by the generic netlink family `netdev` (Documentation/netlink/specs/netdev.yaml, Linux 6.3).
pub(super) struct Features {
    socket: Socket,
    family: u16,
}

/// `NETDEV_XDP_ACT_NDO_XMIT` (include/uapi/linux/netdev.h): the driver takes frames that XDP redirects to it. Of the end of a veth pair the
/// kernel says so while the other end has an XDP program or `gro`.
const TAKES_FRAMES: u64 = 4;
/// `GENL_ID_CTRL`
const CONTROLLER: u16 = 16;

impl Features {
    /// `None` before Linux 6.3.
    pub(super) fn open() -> Option<Self> {
        let socket = Socket::new(NETLINK_GENERIC).ok()?;
        // CTRL_CMD_GETFAMILY (3) by CTRL_ATTR_FAMILY_NAME (2): CTRL_ATTR_FAMILY_ID (1), include/uapi/linux/genetlink.h.
        let answer = ask(&socket, CONTROLLER, &generic(3, (2, b"netdev\0"))).ok()?;
        let family = attribute(&answer, 1)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))?;
        Some(Self { socket, family })
    }

    /// Can frames be redirected to the interface?
    pub(super) fn takes_frames(&self, ifindex: u32) -> bool {
        // NETDEV_CMD_DEV_GET (1) by NETDEV_A_DEV_IFINDEX (1): NETDEV_A_DEV_XDP_FEATURES (3).
        let answer = ask(&self.socket, self.family, &generic(1, (1, &ifindex.to_ne_bytes()))).unwrap_or_default();
        let features = attribute(&answer, 3).and_then(|bytes| bytes.first_chunk().copied());
        features.is_some_and(|bytes| u64::from_ne_bytes(bytes) & TAKES_FRAMES != 0)
    }
}

/// `NETLINK_XFRM` and `XFRM_MSG_GETSPDINFO`, `XFRM_MSG_NEWSPDINFO` (include/uapi/linux/xfrm.h).
const NETLINK_XFRM: isize = 6;
const GET_POLICIES: u16 = 0x25;

/// `IPsec` policies of packets that leave or are forwarded, in this network namespace.
pub(super) fn ipsec_policies() -> u32 {
    let Ok(socket) = Socket::new(NETLINK_XFRM) else { return 0 };
    let answer = ask(&socket, GET_POLICIES, &[0; 4]).unwrap_or_default();
    // `struct xfrmu_spdinfo`: policies in, out, forwarded, then those of sockets.
    let counts = attribute(&answer, 1).unwrap_or_default();
    let count =
        |at: usize| counts.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word));
    count(4).saturating_add(count(8))
}

/// Length of `struct nlmsghdr`, and of what a family puts in front of attributes.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// A generic netlink command with one attribute.
fn generic(command: u8, (kind, value): (u16, &[u8])) -> Vec<u8> {
    let length = 4 + value.len();
    let mut message = vec![command, 1, 0, 0];
    message.extend((length as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(FAMILY_HEADER + length.next_multiple_of(4), 0);
    message
}

/// Asks; the attributes of the answer, none when it is an error.
fn ask(socket: &Socket, kind: u16, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = Vec::with_capacity(HEADER + message.len());
    request.extend(((HEADER + message.len()) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    // NLM_F_REQUEST
    request.extend(1_u16.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(message);
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answered = answer.get(4..6).and_then(|bytes| bytes.first_chunk().copied()).map(u16::from_ne_bytes);
    // NLMSG_ERROR
    if answered == Some(2) {
        Ok(Vec::new())
    } else {
        Ok(answer.get(HEADER + FAMILY_HEADER..).unwrap_or_default().to_vec())
    }
}

/// An attribute's value.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [low, high, kind_low, kind_high] = *bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = bytes.get(4..length)?;
        // The upper two bits are flags.
        if u16::from_ne_bytes([kind_low, kind_high]) & 0x3fff == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others_and_cut_ones_are_not() {
        let bytes = [5, 0, 1, 0, 9, 0, 0, 0, 8, 0, 3, 0x40, 1, 2, 3, 4];
        assert_eq!(attribute(&bytes, 1), Some(&[9][..]));
        assert_eq!(attribute(&bytes, 3), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(&bytes, 2), None);
        assert_eq!(attribute(&bytes[..14], 3), None);
        assert_eq!(attribute(&[0; 8], 1), None);
    }
}
