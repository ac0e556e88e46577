//! One stretch of time in which a gate leads to one target under one epoch, and the connections that live by it.

use crate::door::Door;
use crate::hold::Hold;
use crate::stats::{Counters, add};
use primacy_core::{Address, Epoch, Moment};
use primacy_runtime::{Task, now, spawn};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// [`Opening::until_us`] of a door that needs no lease.
const NEVER_US: u64 = u64::MAX;

pub(crate) struct Opening {
    epoch: Epoch,
    target: Address,
    until_us: AtomicU64,
    ended: AtomicBool,
    hold: Option<Arc<Hold>>,
    counters: Arc<Counters>,
    failed: Arc<Notify>,
    tasks: Mutex<Tasks>,
}

/// What runs in an opening. Dropping a task ends it, and a connection's sockets are its own.
#[derive(Default)]
struct Tasks {
    ended: bool,
    next: u64,
    connections: HashMap<u64, Task<()>>,
    hold: Option<Task<()>>,
}

impl Opening {
    /// Opens for `door`; `failed` is told when it ends by itself.
    pub(crate) fn new(door: Door, counters: Arc<Counters>, failed: Arc<Notify>) -> Arc<Self> {
        let (hold, covers) = door.hold.map(|cover| Hold::new(cover, counters.clone())).unzip();
        let opening = Arc::new(Opening {
            epoch: door.epoch,
            target: door.target,
            until_us: AtomicU64::new(in_us(door.until)),
            ended: AtomicBool::new(false),
            hold: hold.map(Arc::new),
            counters,
            failed,
            tasks: Mutex::default(),
        });
        if let (Some(hold), Some(covers)) = (&opening.hold, covers) {
            opening.tasks().hold = Some(spawn(hold.clone().run(covers, opening.clone())));
        }
        opening
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn target(&self) -> &Address {
        &self.target
    }

    pub(crate) fn hold(&self) -> Option<&Arc<Hold>> {
        self.hold.as_ref()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether bytes may pass now. Asked right before each write, because a process can freeze anywhere else.
    pub(crate) fn is_open(&self) -> bool {
        if self.ended.load(Ordering::SeqCst) {
            return false;
        }
        let until_us = self.until_us.load(Ordering::SeqCst);
        until_us == NEVER_US || now() < Moment(until_us)
    }

    /// [`Opening::is_open`] as an error.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_open() { Ok(()) } else { Err(io::Error::other("the door has ended")) }
    }

    /// Whether `door` is this one, renewed.
    pub(crate) fn continues(&self, door: &Door) -> bool {
        !self.ended.load(Ordering::SeqCst)
            && self.epoch == door.epoch
            && self.target == door.target
            && self.hold.is_some() == door.hold.is_some()
    }

    /// Takes over the end and the cover of `door`.
    pub(crate) fn renew(&self, door: &Door) {
        self.until_us.store(in_us(door.until), Ordering::SeqCst);
        if let (Some(hold), Some(cover)) = (&self.hold, &door.hold) {
            hold.replace_cover(cover);
        }
    }

    /// Runs `connection` until it is over or the opening is. It may be over already, then nothing runs.
    pub(crate) fn run(self: &Arc<Self>, connection: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        if tasks.ended {
            return;
        }
        let key = tasks.next;
        tasks.next += 1;
        let opening = self.clone();
        // Under the lock, so that a connection cannot be over before it stands in the table.
        let task = spawn(async move {
            connection.await;
            let own = opening.tasks().connections.remove(&key);
            // Dropped here: the abort finds a task that comes to its end anyway.
            drop(own);
        });
        tasks.connections.insert(key, task);
    }

    /// Nothing passes any more when this returns, and every connection is being closed. How many it cut.
    pub(crate) fn end(&self) -> usize {
        self.ended.store(true, Ordering::SeqCst);
        let (connections, hold) = {
            let mut tasks = self.tasks();
            tasks.ended = true;
            (std::mem::take(&mut tasks.connections), tasks.hold.take())
        };
        drop(hold);
        add(&self.counters.cut, connections.len());
        connections.len()
    }

    /// Ends because what it needs has failed, and has whoever keeps the door make a new one.
    pub(crate) fn fail(&self) {
        self.end();
        self.failed.notify_one();
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_us(until: Option<Moment>) -> u64 {
    until.map_or(NEVER_US, |until| until.0)
}
