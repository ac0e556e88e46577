//! The thread that carries packets between the devices of the hosts.
//!
//! It waits for the next packet or the next due time, whichever is first, with nothing in between that a busy test
//! could hold up: no runtime, a high priority, and timers without slack.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::prctl;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::setpriority_process;
use tun_rs::SyncDevice;

use super::network::Network;

/// Packets read from one device before the others, and what is due, get their turn.
const BATCH_PACKETS: usize = 32;
const PACKET_BYTES_MAX: usize = 2048;
const PRIORITY: i32 = -20;

/// A running router. Dropping it ends the thread and with it the devices.
#[derive(Debug)]
pub(super) struct Router {
    network: Arc<Mutex<Network>>,
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// Carries packets between the devices, one for each place of the network.
    pub(super) fn start(network: Network, devices: Vec<SyncDevice>) -> Result<Self> {
        let network = Arc::new(Mutex::new(network));
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("no eventfd")?);
        let thread = std::thread::Builder::new().name("wan router".to_owned()).spawn({
            let (network, end) = (network.clone(), end.clone());
            move || {
                // Without the right to it the delays are only a little less exact.
                let _ = setpriority_process(None, PRIORITY);
                let _ = prctl::set_timerslack(1);
                run(&network, &devices, &end);
            }
        })?;
        Ok(Self { network, end, thread: Some(thread) })
    }

    /// The network, to change it: no packet moves meanwhile.
    pub(super) fn network(&self) -> MutexGuard<'_, Network> {
        locked(&self.network)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let ended = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            && ended.is_ok()
        {
            // It can only have panicked, and then there is nothing left to end.
            let _ = thread.join();
        }
    }
}

fn run(network: &Mutex<Network>, devices: &[SyncDevice], end: &OwnedFd) {
    let mut buffer = [0; PACKET_BYTES_MAX];
    loop {
        let due = locked(network).next_due();
        let readable = match wait(devices, end, due) {
            Ok(Some(readable)) => readable,
            Ok(None) => return,
            Err(error) => return tracing::error!("the network between the sites has ended: {error}"),
        };
        let mut network = locked(network);
        for (host, device) in devices.iter().enumerate().filter(|(host, _)| readable[*host]) {
            for _ in 0..BATCH_PACKETS {
                let Ok(length) = device.recv(&mut buffer) else { break };
                if let Some(answer) = network.arrive(Instant::now(), host, buffer[..length].to_vec()) {
                    put(device, &answer);
                }
            }
        }
        network.deliver(Instant::now(), |host, packet| put(&devices[host], packet));
    }
}

/// What a device does not take is lost, as on any network.
fn put(device: &SyncDevice, packet: &[u8]) {
    if let Err(error) = device.send(packet) {
        tracing::debug!("a packet was lost in the router: {error}");
    }
}

/// Which devices have packets; `None` when the router is to end.
fn wait(
    devices: &[SyncDevice],
    end: &OwnedFd,
    due: Option<Instant>,
) -> rustix::io::Result<Option<Vec<bool>>> {
    let mut fds: Vec<PollFd<'_>> = devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
    fds.push(PollFd::new(end, PollFlags::IN));
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    // Too long for the kernel's clock is as good as forever.
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    let mut readable: Vec<bool> = fds.iter().map(|fd| fd.revents().contains(PollFlags::IN)).collect();
    let ended = readable.pop().unwrap_or(true);
    Ok((!ended).then_some(readable))
}

fn locked(network: &Mutex<Network>) -> MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}
