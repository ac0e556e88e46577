//! Free loopback ports.
//!
//! The problem: a server must be told its port before it starts, and must find the same port free when it is
//! restarted; meanwhile other tests of this machine look for ports too, and outgoing connections take them from
//! the kernel's ephemeral range. The idea: stay below that range, claim a block of ports by a lock on a file for as
//! long as this process lives, and give each port of a block away once.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

const FIRST: u16 = 12_000;
const BLOCK_PORTS: u16 = 50;
const BLOCKS: u16 = 400;

/// The blocks that this process has claimed. A file stays open, and so locked, until the process ends.
struct Claims {
    locks: Vec<File>,
    next: u16,
    end: u16,
    blocks_tried: u16,
}

static CLAIMS: Mutex<Claims> = Mutex::new(Claims { locks: Vec::new(), next: 0, end: 0, blocks_tried: 0 });

/// A port of 127.0.0.1 that nobody listens on and that this process has not given away before.
///
/// # Errors
/// When all blocks are claimed or used up, or the lock files cannot be written.
pub fn free() -> Result<u16> {
    let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while claims.next < claims.end {
            let port = claims.next;
            claims.next += 1;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        claim_block(&mut claims)?;
    }
}

/// Several ports at once, see [`free`].
pub fn free_many<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free()?;
    }
    Ok(ports)
}

fn claim_block(claims: &mut Claims) -> Result<()> {
    let dir = lock_dir()?;
    // Start where another process probably does not, so that few locks are tried.
    let start = (std::process::id() % u32::from(BLOCKS)) as u16;
    while claims.blocks_tried < BLOCKS {
        let block = (start + claims.blocks_tried * 7) % BLOCKS;
        claims.blocks_tried += 1;
        let path = dir.join(format!("block-{block}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                claims.locks.push(file);
                claims.next = FIRST + block * BLOCK_PORTS;
                claims.end = claims.next + BLOCK_PORTS;
                return Ok(());
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    bail!(
        "no free port left on 127.0.0.1 between {FIRST} and {}: stop other demos and tests of this machine",
        FIRST + BLOCKS * BLOCK_PORTS - 1
    )
}

/// One directory a user, because another user's lock files cannot be opened.
fn lock_dir() -> Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("primacy-ports-{}", nix::unistd::getuid()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeSet;

    #[test]
    fn no_port_is_given_away_twice() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..40).map(|_| super::free().unwrap()).collect::<Vec<_>>()))
            .collect();
        let ports: Vec<u16> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 160);
    }

    #[test]
    fn a_port_in_use_is_skipped() {
        let [first, second] = super::free_many().unwrap();
        let held = std::net::TcpListener::bind(("127.0.0.1", first)).unwrap();
        assert_ne!(first, second);
        assert_eq!(held.local_addr().unwrap().port(), first);
    }
}
