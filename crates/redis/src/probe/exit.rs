//! Watching the process itself, where it runs on this host.
//!
//! The problem: a killed process resets connections with unread requests, and a child that saves to disk holds the
//! others open for a second; neither looks like death from outside. The idea: a pidfd becomes readable when the
//! process has exited, whoever holds its sockets.
//!
//! That the process is the server is checked first: its name and its start time must agree with what the server says
//! of itself, because the id may belong to another host's or another container's process.

use primacy_core::Address;
use primacy_runtime::Task;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The kernel's unit of process times, 1/100 s to user space on every architecture that Redis is built for.
const TICKS_A_SECOND: u64 = 100;
const START_TOLERANCE_S: u64 = 2;

/// What a server says of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) address: Address,
    pub(crate) pid: u32,
    pub(crate) uptime_s: u64,
    pub(crate) executable: String,
}

/// A server's process on this host, as far as it is known from its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerProcess {
    /// Where it serves.
    pub address: Address,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started, by now.
    pub uptime_s: u64,
}

/// Kills the process, if it is that server and on this host. False when it is not, or may not be killed.
pub async fn end_process(process: ServerProcess) -> bool {
    let ServerProcess { address, pid, uptime_s } = process;
    let claim = Claim { address, pid, uptime_s, executable: String::new() };
    let killed = primacy_runtime::blocking(move || {
        let Some(pidfd) = open(&claim) else { return false };
        rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL).is_ok()
    });
    killed.await.unwrap_or(false)
}

/// Whether the process is that server, and on this host.
pub(crate) fn runs_here(claim: &Claim) -> bool {
    open(claim).is_some()
}

/// Waits until the process has exited: true then. False at once when it is not a process of this host, or cannot be
/// watched.
pub(super) fn watch(claim: Claim) -> Task<bool> {
    primacy_runtime::spawn(async move {
        let opened = primacy_runtime::blocking(move || open(&claim)).await;
        let Ok(Some(pidfd)) = opened else { return false };
        // Without a reactor, as in a simulation, there are no processes either.
        if tokio::runtime::Handle::try_current().is_err() {
            return false;
        }
        #[expect(
            deprecated,
            reason = "unsound for descriptors that can be closed behind its back; this one is owned"
        )]
        let Ok(watched) = AsyncFd::with_interest(pidfd, Interest::READABLE) else { return false };
        watched.readable().await.is_ok()
    })
}

fn open(claim: &Claim) -> Option<OwnedFd> {
    if claim.pid == 0 || !is_here(&claim.address) {
        return None;
    }
    let pid = Pid::from_raw(i32::try_from(claim.pid).ok()?)?;
    // Opened before the check: what was checked is then what is watched.
    let pidfd =
        pidfd_open(pid, PidfdFlags::NONBLOCK).or_else(|_| pidfd_open(pid, PidfdFlags::empty())).ok()?;
    is_that_server(claim).then_some(pidfd)
}

/// Whether the address is one of this host's own: exactly those can be bound.
fn is_here(address: &Address) -> bool {
    let literal = address.host.parse::<IpAddr>().map(|ip| vec![ip]);
    let ips = literal.unwrap_or_else(|_| {
        let resolved = (address.host.as_str(), address.port).to_socket_addrs();
        resolved.map(|addresses| addresses.map(|a| a.ip()).collect()).unwrap_or_default()
    });
    !ips.is_empty() && ips.into_iter().all(|ip| UdpSocket::bind((ip, 0)).is_ok())
}

fn is_that_server(claim: &Claim) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", claim.pid)).unwrap_or_default();
    let since_boot = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let (Some(age_s), Some(names)) = (age_s(&stat, &since_boot), names(claim.pid, &stat)) else {
        return false;
    };
    age_s.abs_diff(claim.uptime_s) <= START_TOLERANCE_S && names.iter().any(|name| is_name(claim, name))
}

/// Seconds since the process started.
fn age_s(stat: &str, since_boot: &str) -> Option<u64> {
    // The second field is the name in brackets, which may itself contain brackets and spaces.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let started: u64 = after_name.split(' ').nth(19)?.parse().ok()?;
    let now_s: f64 = since_boot.split(' ').next()?.parse().ok()?;
    Some((now_s as u64).saturating_sub(started / TICKS_A_SECOND))
}

fn names(pid: u32, stat: &str) -> Option<Vec<String>> {
    let comm = stat.split_once('(')?.1.rsplit_once(')')?.0.to_owned();
    let command_line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = command_line.split(['\0', ' ']).next().unwrap_or_default();
    Some(vec![comm, base(program).to_owned()])
}

fn is_name(claim: &Claim, name: &str) -> bool {
    let expected = base(&claim.executable);
    name.contains("redis") || name.contains("valkey") || (!name.is_empty() && name == expected)
}

fn base(path: &str) -> &str {
    Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_process_survives_odd_names() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 6 0 1000 1 1 1";
        assert_eq!(age_s(stat, "25.50 12.0\n"), Some(15));
        assert_eq!(age_s("", "25.5"), None);
    }

    #[test]
    fn only_own_addresses_are_here() {
        let at = |host: &str| Address { host: host.to_owned(), port: 6379, tls: false };
        assert!(is_here(&at("127.0.0.1")) && is_here(&at("::1")) && is_here(&at("localhost")));
        assert!(!is_here(&at("192.0.2.1")));
    }

    #[test]
    fn this_test_is_not_redis() {
        let claim = Claim {
            address: Address { host: "127.0.0.1".into(), port: 1, tls: false },
            pid: std::process::id(),
            uptime_s: 0,
            executable: "/usr/bin/redis-server".into(),
        };
        // Its path has the name of this crate in it, its own name may not.
        assert!(!is_name(&claim, "primacy-node") && is_name(&claim, "redis-server"));
        assert!(open(&Claim { uptime_s: 1_000_000, ..claim }).is_none());
    }
}
