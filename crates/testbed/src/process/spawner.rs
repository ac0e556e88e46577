//! The thread that is the parent of all children.
//!
//! The problem: the kernel sends the parent death signal when the *thread* that forked ends, and a runtime's worker
//! threads come and go. The idea: one thread that lives as long as the process forks for everybody.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

struct Order {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

static ORDERS: Mutex<Option<Sender<Order>>> = Mutex::new(None);

/// Starts `command` from the thread that never ends.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = channel();
    orders()?.send(Order { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn orders() -> io::Result<Sender<Order>> {
    let mut orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(orders) = &*orders {
        return Ok(orders.clone());
    }
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("spawner".to_owned()).spawn(move || run(&receiver))?;
    *orders = Some(sender.clone());
    Ok(sender)
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
