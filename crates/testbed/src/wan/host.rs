//! A host: a network namespace with one address.
//!
//! The namespace has no name. It lives as long as somebody is in it or holds a handle to it, so nothing is left of it
//! when the process that made it is killed.

use std::fmt;
use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::loopback;
use crate::process::Spawner;

const PREFIX_BITS: u8 = 16;
const MTU: u16 = 1500;
/// What the kernel keeps while the router is busy with others: more than a burst of one TCP window.
const DEVICE_QUEUE_PACKETS: u32 = 4096;

/// A network of its own, joined to the others by a [`Wan`](super::Wan). Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    name: String,
    address: Ipv4Addr,
    namespace: File,
    spawner: Spawner,
}

impl Host {
    /// Creates the network, and the device whose other end the router holds.
    pub(super) fn create(name: &str, address: Ipv4Addr) -> Result<(Self, SyncDevice)> {
        let (spawner, (namespace, device)) =
            Spawner::start(&format!("host {name}"), move || become_network(address))
                .with_context(|| format!("cannot create the network of {name}"))?;
        Ok((Self(Arc::new(Inner { name: name.to_owned(), address, namespace, spawner })), device))
    }

    /// Its name: that of its site, or `site/host`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its address, which all hosts of the WAN reach.
    pub fn address(&self) -> Ipv4Addr {
        self.0.address
    }

    /// Moves the calling thread into this network for good: sockets that it creates, and threads and processes that it
    /// starts from now on, belong there.
    pub fn join(&self) -> Result<()> {
        setns(&self.0.namespace, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network of {}", self.name()))
    }

    /// Runs `work` on a thread in this network and returns what it returns.
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let result = std::thread::scope(|scope| scope.spawn(|| self.join().map(|()| work())).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(crate) fn spawn(&self, command: Command) -> Result<Child> {
        Ok(self.0.spawner.spawn(command)?)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({} {})", self.name(), self.address())
    }
}

/// Gives the calling thread a network of its own.
fn become_network(address: Ipv4Addr) -> Result<(File, SyncDevice)> {
    unshare(CloneFlags::CLONE_NEWNET).context("no new network namespace")?;
    loopback::set_up()?;
    let device = DeviceBuilder::new()
        .name("wan")
        .ipv4(address, PREFIX_BITS, None)
        .mtu(MTU)
        .with(|device| {
            device.tx_queue_len(DEVICE_QUEUE_PACKETS);
        })
        .build_sync()
        .context("no TUN device")?;
    device.set_nonblocking(true)?;
    let namespace = File::open("/proc/thread-self/ns/net").context("no handle to the network namespace")?;
    Ok((namespace, device))
}
