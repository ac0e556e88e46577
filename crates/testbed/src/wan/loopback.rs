//! Sets the loopback device of the calling thread's network up: a new network has it, and has it down.
//!
//! One request over netlink. Connections of a host to its own address take this device.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// From linux/rtnetlink.h, linux/netlink.h and linux/if.h.
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const HEADER_BYTES: usize = 16;

pub(super) fn set_up() -> Result<()> {
    let link =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .context("cannot speak to the kernel about devices")?;
    let index = if_nametoindex("lo").context("this network has no loopback device")?;
    send(link.as_raw_fd(), &request(index), MsgFlags::empty())
        .context("cannot ask for the loopback device")?;
    let mut answer = [0; 256];
    let length = recv(link.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match error_of(&answer[..length]) {
        Some(0) => Ok(()),
        Some(error) => {
            Err(Errno::from_raw(error.saturating_neg())).context("cannot set the loopback device up")
        }
        None => bail!("the kernel answered something else than whether the loopback device is up"),
    }
}

/// An nlmsghdr and an ifinfomsg.
fn request(index: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * HEADER_BYTES);
    bytes.extend((2 * HEADER_BYTES as u32).to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    // Sequence and sender: there is one question, and one who asks.
    bytes.extend([0; 8]);
    // Any family, any type of device.
    bytes.extend([0; 4]);
    bytes.extend(index.to_ne_bytes());
    // The flags, and which of them change.
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes
}

/// The code in an answer; 0 says that it is done.
fn error_of(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4)?.try_into().ok()?;
    (kind == NLMSG_ERROR).then(|| i32::from_ne_bytes(code))
}
