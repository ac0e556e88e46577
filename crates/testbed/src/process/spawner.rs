//! Threads that are the parents of children.
//!
//! The problem: the kernel sends the parent death signal when the *thread* that forked ends, and a runtime's worker
//! threads come and go. The idea: one thread that lives as long as the process forks for everybody. A child also
//! inherits the network of the thread that forked, so each host of a WAN has such a thread of its own.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;

struct Order {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

/// A thread that starts processes. When it is dropped its children get the parent death signal.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

static OURS: Mutex<Option<Spawner>> = Mutex::new(None);

impl Spawner {
    /// Starts the thread and lets it `prepare` itself; returns what that returns.
    pub(crate) fn start<T: Send + 'static>(
        name: &str,
        prepare: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<(Self, T)> {
        let (orders, receiver) = channel();
        let (prepared, preparation) = channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let result = prepare();
            let ready = result.is_ok();
            if prepared.send(result).is_ok() && ready {
                run(&receiver);
            }
        })?;
        let spawner = Self { orders: Some(orders), thread: Some(thread) };
        let result = preparation.recv().map_err(|_| gone())??;
        Ok((spawner, result))
    }

    /// Starts `command` from the thread.
    pub(crate) fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = channel();
        self.orders.as_ref().ok_or_else(gone)?.send(Order { command, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and then there is nothing left to end.
            let _ = thread.join();
        }
    }
}

/// Starts `command` from the thread that never ends, in the network of whoever was first to call this or
/// [`start_ours`].
pub(super) fn spawn(command: Command) -> Result<Child> {
    with_ours(|spawner| Ok(spawner.spawn(command)?))
}

/// Starts the thread that never ends, so that its children live in the network of the caller.
pub(crate) fn start_ours() -> Result<()> {
    with_ours(|_| Ok(()))
}

fn with_ours<T>(use_it: impl FnOnce(&Spawner) -> Result<T>) -> Result<T> {
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let spawner = match ours.take() {
        Some(spawner) => spawner,
        None => Spawner::start("spawner", || Ok(()))?.0,
    };
    use_it(ours.insert(spawner))
}

fn run(orders: &Receiver<Order>) {
    for Order { mut command, reply } in orders {
        // Nobody waits for the answer any more: then nobody would ever kill the child either.
        if let Err(unclaimed) = reply.send(command.spawn())
            && let Ok(mut child) = unclaimed.0
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts processes has ended")
}
