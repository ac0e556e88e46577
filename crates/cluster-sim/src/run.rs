//! One seed, from its first step to its verdict.

use crate::check::{Checker, Counts};
use crate::client;
use crate::cluster::Cluster;
use crate::converge;
use crate::defect::Defect;
use crate::executor::{Executor, Step, WORLD};
use crate::fault::{self, Fault};
use crate::net::Net;
use crate::setup::Setup;
use primacy_sim::Violation;
use std::cell::RefCell;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

/// How a run is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A mistake that is to be found.
    pub defect: Option<Defect>,
    /// Whether a transcript is kept.
    pub told: bool,
    /// The numbers of the faults that are left out.
    pub without: Vec<usize>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What must never be, and was.
    pub violation: Option<Violation>,
    /// Of the order of all steps.
    pub hash: u64,
    /// How many steps there were.
    pub steps: u64,
    /// How many messages between nodes.
    pub messages: u64,
    /// How much time passed in it, in microseconds.
    pub took_us: u64,
    /// What went wrong, by number.
    pub faults: Vec<(usize, Fault)>,
    /// What was exercised.
    pub counts: Counts,
    /// What happened, in words.
    pub transcript: String,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic in a task is caught there; here is told what it was.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let simulated = RUNNING.with(|running| *running.borrow());
            if simulated {
                PANIC.with(|held| held.borrow_mut().get_or_insert_with(|| info.to_string()).truncate(2_000));
            } else {
                former(info);
            }
        }));
    });
}

thread_local! {
    static RUNNING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs one seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    watch_panics();
    RUNNING.with(|running| *running.borrow_mut() = true);
    let outcome = run_watched(seed, options);
    RUNNING.with(|running| *running.borrow_mut() = false);
    outcome
}

fn run_watched(seed: u64, options: &Options) -> Outcome {
    let setup = Setup::new(seed, options.defect);
    let executor = Executor::new(seed, setup.pace);
    let _installed = primacy_runtime::install(executor.backend());
    let checker = Arc::new(Mutex::new(Checker::new(options.told)));
    let net = Net::new(executor.clone(), seed, setup.weather, options.defect);
    let cluster = Cluster::new(executor.clone(), net.clone(), setup.clone(), options.defect, checker.clone());
    let faults: Vec<(usize, Fault)> =
        fault::plan(&setup).into_iter().enumerate().filter(|(i, _)| !options.without.contains(i)).collect();
    let done = Arc::new(AtomicBool::new(false));
    begin(&cluster, &faults, &done);
    drive(&cluster, &checker, &done);
    let took_us = executor.now_us();
    let (steps, hash) = executor.trace();
    executor.end();
    let (messages, snapshots) = net.counts();
    let checker = checker.lock().unwrap_or_else(PoisonError::into_inner);
    let mut counts = checker.counts().clone();
    counts.insert("snapshots_sent", snapshots);
    Outcome {
        violation: checker.violation().cloned(),
        hash,
        steps,
        messages,
        took_us,
        faults,
        counts,
        transcript: checker.transcript(),
    }
}

fn begin(cluster: &Cluster, faults: &[(usize, Fault)], done: &Arc<AtomicBool>) {
    (1..=cluster.setup().nodes).for_each(|node| cluster.start(node));
    for (_, fault) in faults {
        cluster.beside(fault::strike(cluster.clone(), *fault));
    }
    let calm_us = cluster.setup().calm_us;
    for client in 0..cluster.setup().clients {
        cluster.beside(client::run(cluster.clone(), client, calm_us + converge::WITHIN_US));
    }
    let (ending, done) = (cluster.clone(), done.clone());
    cluster.beside(async move {
        ending.executor().sleep_until_us(calm_us).await;
        converge::watch(&ending).await;
        done.store(true, Ordering::Relaxed);
    });
}

fn drive(cluster: &Cluster, checker: &Arc<Mutex<Checker>>, done: &AtomicBool) {
    let executor = cluster.executor().clone();
    while !done.load(Ordering::Relaxed) {
        let step = executor.step();
        let now_us = executor.now_us();
        let mut found = match step {
            Step::Ran(place) if place.node != WORLD => {
                if let Some(living) = cluster.process(place.node).filter(|living| living.place == place) {
                    let mut checker = checker.lock().unwrap_or_else(PoisonError::into_inner);
                    checker.look(&executor, &living, || cluster.living());
                }
                None
            }
            Step::Ran(_) | Step::Waited => None,
            Step::Dead => Some("no task can run any more".to_owned()),
            Step::Spins => Some("tasks wake each other without end".to_owned()),
        };
        found = found.or_else(|| PANIC.with(|held| held.borrow_mut().take()));
        let mut checker = checker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = found {
            checker.violate("runs", now_us, text);
        }
        if checker.violation().is_some() {
            return;
        }
    }
}

/// The same run with as few faults as will do.
pub fn shrink(seed: u64, options: &Options) -> Options {
    let fails = |options: &Options| run(seed, options).violation.map(|v| v.invariant);
    let Some(wanted) = fails(options) else { return options.clone() };
    let mut least = options.clone();
    for (number, _) in run(seed, options).faults {
        let mut fewer = least.clone();
        fewer.without.push(number);
        if fails(&fewer) == Some(wanted) {
            least = fewer;
        }
    }
    least
}
