//! One thread, virtual time, one seed: what the runtime seam runs on in a simulation.
//!
//! The problem: an election is decided by which task runs first and by what one process does while another stands
//! still, and an executor that is fast decides both by accident. The idea: every task belongs to a place, which is a
//! process of a node or the world around them. Of the tasks that can run the seed chooses the next; the clock moves
//! when none can, or by the time that a step takes. A place can be frozen while time goes on, and killed: its tasks
//! are dropped where they stand.
//!
//! This module must not know what the tasks do.

mod clock;
mod queue;

pub(crate) use clock::{Clock, SleepUntil};

use futures::future::BoxFuture;
use primacy_core::{Moment, WallTime};
use primacy_runtime::{Backend, Job, Stream};
use primacy_sim::Dice;
use queue::{Ready, Running};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// The place of all that is no node: the network, the disks, the clients, the faults.
pub(crate) const WORLD: u64 = 0;

/// Steps without any time passing, after which something turns in a circle.
const STEPS_AT_ONCE_MAX: u64 = 2_000_000;

/// Where the wall clocks begin, in microseconds.
const WALL_START_US: u64 = 1_790_000_000_000_000;

/// One process of a node. A restarted one is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The node, or [`WORLD`].
    pub(crate) node: u64,
    /// Counts its processes.
    pub(crate) life: u32,
}

/// How the next task is chosen, and what a step costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The oldest that can run, instead of any.
    pub(crate) in_order: bool,
    /// Microseconds that pass with each step.
    pub(crate) step_us: u64,
}

/// Runs tasks. Clones share it.
#[derive(Clone)]
pub(crate) struct Executor(Arc<Shared>);

struct Shared {
    ready: Arc<Mutex<Ready>>,
    inner: Mutex<Inner>,
}

struct Inner {
    now_us: u64,
    pace: Pace,
    /// Chooses tasks.
    order: Dice,
    /// What programs draw.
    luck: Dice,
    timers: BTreeMap<(u64, u64), Waker>,
    timers_set: u64,
    tasks_made: u64,
    here: Place,
    lives: BTreeMap<u64, u32>,
    clocks: BTreeMap<u64, Clock>,
    frozen: BTreeSet<u64>,
    /// What would run on a frozen node.
    held: BTreeMap<u64, Vec<Arc<Running>>>,
    tasks: BTreeMap<Place, BTreeMap<u64, Arc<Running>>>,
    steps: u64,
    steps_at_once: u64,
    hash: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A task of this place ran.
    Ran(Place),
    /// The clock moved.
    Waited,
    /// No task can ever run again.
    Dead,
    /// Tasks wake each other without end.
    Spins,
}

impl Executor {
    /// An empty world at time 0.
    pub(crate) fn new(seed: u64, pace: Pace) -> Self {
        let inner = Inner {
            now_us: 0,
            pace,
            order: Dice::new(seed, 101),
            luck: Dice::new(seed, 102),
            timers: BTreeMap::new(),
            timers_set: 0,
            tasks_made: 0,
            here: Place { node: WORLD, life: 0 },
            lives: BTreeMap::new(),
            clocks: BTreeMap::new(),
            frozen: BTreeSet::new(),
            held: BTreeMap::new(),
            tasks: BTreeMap::new(),
            steps: 0,
            steps_at_once: 0,
            hash: 0xcbf2_9ce4_8422_2325,
        };
        Self(Arc::new(Shared { ready: Arc::default(), inner: Mutex::new(inner) }))
    }

    /// This executor as the seam takes it.
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        locked(&self.0.inner)
    }

    /// The time of the world, in microseconds.
    pub(crate) fn now_us(&self) -> u64 {
        self.inner().now_us
    }

    /// How many steps there were, and a hash of their order.
    pub(crate) fn trace(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.steps, inner.hash)
    }

    /// Is done once the world's time has reached `at_us`, whatever the clock of the caller shows.
    pub(crate) fn sleep_until_us(&self, at_us: u64) -> SleepUntil {
        SleepUntil::new(self.clone(), at_us)
    }

    /// Where the caller runs.
    pub(crate) fn here(&self) -> Place {
        self.inner().here
    }

    /// Begins a new process of `node` with `clock`.
    pub(crate) fn begin(&self, node: u64, clock: Clock) -> Place {
        let mut inner = self.inner();
        inner.clocks.insert(node, clock);
        let life = inner.lives.entry(node).or_insert(0);
        *life += 1;
        Place { node, life: *life }
    }

    /// Runs `job` at `place`, unless that process is over.
    pub(crate) fn spawn_at(&self, place: Place, job: impl Future<Output = ()> + Send + 'static) {
        self.start(place, Box::pin(job));
    }

    fn start(&self, place: Place, job: Job) {
        let mut inner = self.inner();
        if place.node != WORLD && inner.lives.get(&place.node) != Some(&place.life) {
            drop(inner);
            // Outside of the lock: what it holds may use the seam.
            return drop(job);
        }
        inner.tasks_made += 1;
        let id = inner.tasks_made;
        let task = Running::new(id, place, job, self.0.ready.clone());
        inner.tasks.entry(place).or_default().insert(id, task.clone());
        drop(inner);
        locked(&self.0.ready).push(task);
    }

    /// Makes the clock of `node` show so much less from now on.
    pub(crate) fn set_back(&self, node: u64, by_us: u64) {
        let mut inner = self.inner();
        let now_us = inner.now_us;
        if let Some(clock) = inner.clocks.get_mut(&node) {
            let first_us = clock.shows(now_us).saturating_sub(by_us);
            *clock = Clock { began_us: now_us, first_us, ..*clock };
        }
    }

    /// Stops `node` where it stands; its kernel goes on.
    pub(crate) fn freeze(&self, node: u64) {
        self.inner().frozen.insert(node);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self, node: u64) {
        let mut inner = self.inner();
        inner.frozen.remove(&node);
        let held = inner.held.remove(&node).unwrap_or_default();
        drop(inner);
        let mut ready = locked(&self.0.ready);
        for task in held {
            ready.push(task);
        }
    }

    /// Ends the process of `node`: its tasks are dropped in the order in which they began.
    pub(crate) fn kill(&self, node: u64) {
        let mut inner = self.inner();
        let life = inner.lives.entry(node).or_insert(0);
        let place = Place { node, life: *life };
        // From here on nothing begins in it any more.
        *life += 1;
        inner.frozen.remove(&node);
        inner.held.remove(&node);
        let tasks = inner.tasks.remove(&place).unwrap_or_default();
        drop(inner);
        self.at(place, || {
            for task in tasks.into_values() {
                drop(locked(&task.job).take());
            }
        });
    }

    /// Runs `f` as if at `place`: with its clock, and what it spawns belongs there.
    pub(crate) fn at<R>(&self, place: Place, f: impl FnOnce() -> R) -> R {
        let before = std::mem::replace(&mut self.inner().here, place);
        let result = f();
        self.inner().here = before;
        result
    }

    /// Ends everything, the nodes first.
    pub(crate) fn end(&self) {
        let places: Vec<Place> = self.inner().tasks.keys().rev().copied().collect();
        for place in places {
            let tasks = self.inner().tasks.remove(&place).unwrap_or_default();
            self.at(place, || tasks.into_values().for_each(|task| drop(locked(&task.job).take())));
        }
    }

    /// Runs one task once, or moves the clock to the next timer.
    pub(crate) fn step(&self) -> Step {
        self.fire();
        match self.choose() {
            Some(task) => self.run(&task),
            None => self.wait(),
        }
    }

    /// Wakes what is due.
    fn fire(&self) {
        loop {
            let mut inner = self.inner();
            let now_us = inner.now_us;
            let due = inner.timers.first_entry().filter(|entry| entry.key().0 <= now_us);
            let Some(waker) = due.map(std::collections::btree_map::OccupiedEntry::remove) else { return };
            drop(inner);
            waker.wake();
        }
    }

    fn choose(&self) -> Option<Arc<Running>> {
        loop {
            let mut inner = self.inner();
            let mut ready = locked(&self.0.ready);
            let task = if inner.pace.in_order {
                ready.first()?
            } else {
                let length = ready.len();
                if length == 0 {
                    return None;
                }
                ready.take(if length > 1 { inner.order.index(length) } else { 0 })?
            };
            drop(ready);
            if !inner.frozen.contains(&task.place.node) {
                return Some(task);
            }
            inner.held.entry(task.place.node).or_default().push(task);
        }
    }

    fn run(&self, task: &Arc<Running>) -> Step {
        let mut inner = self.inner();
        inner.steps += 1;
        inner.steps_at_once += 1;
        inner.now_us += inner.pace.step_us;
        let word = inner.now_us ^ task.id << 40 ^ task.place.node << 32;
        // FNV-1a over 64-bit words.
        inner.hash = (inner.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        inner.here = task.place;
        let spins = inner.steps_at_once > STEPS_AT_ONCE_MAX;
        drop(inner);
        task.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(task.clone());
        let job = locked(&task.job).take();
        let mut over = true;
        if let Some(mut job) = job {
            let polled = catch_unwind(AssertUnwindSafe(|| {
                job.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            }));
            // What a panic was about is told by the hook of whoever runs this.
            over = polled.unwrap_or(true);
            if over {
                drop(job);
            } else {
                *locked(&task.job) = Some(job);
            }
        }
        let mut inner = self.inner();
        inner.here = Place { node: WORLD, life: 0 };
        if over && let Some(tasks) = inner.tasks.get_mut(&task.place) {
            tasks.remove(&task.id);
        }
        if spins { Step::Spins } else { Step::Ran(task.place) }
    }

    fn wait(&self) -> Step {
        let mut inner = self.inner();
        let Some((&(at, _), _)) = inner.timers.first_key_value() else { return Step::Dead };
        if at > inner.now_us {
            inner.now_us = at;
            inner.steps_at_once = 0;
        }
        Step::Waited
    }
}

impl Backend for Executor {
    fn now(&self) -> Moment {
        let inner = self.inner();
        Moment(inner.clock().shows(inner.now_us))
    }

    fn wall(&self) -> WallTime {
        WallTime(WALL_START_US + self.now_us())
    }

    fn random_u64(&self) -> u64 {
        let mut inner = self.inner();
        // Two halves, because a range is below its bound.
        let (high, low) = (inner.luck.below(1 << 32), inner.luck.below(1 << 32));
        high << 32 | low
    }

    fn spawn(&self, job: Job) {
        self.start(self.here(), job);
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        let at_us = self.inner().clock().reaches(at.0);
        Box::pin(self.sleep_until_us(at_us))
    }

    /// Nothing here speaks TCP: the nodes' transport is another.
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, authority.to_owned());
        Box::pin(std::future::ready(Err(refused)))
    }
}

impl Inner {
    fn clock(&self) -> Clock {
        self.clocks.get(&self.here.node).copied().unwrap_or_default()
    }
}
