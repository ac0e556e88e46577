//! Where the clients of a load write down what they saw, while it runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Progress;
use super::link::Written;
use crate::ledger::{Entry, Ledger, MemberRun, Page, RecordShape, Refusal};

/// A client that is refused all the time is written down this often.
const REFUSAL_INTERVAL_NS: u64 = 5_000_000;

/// The members and runs that were met, numbered.
#[derive(Debug, Default)]
struct Names {
    members: Vec<String>,
    runs: Vec<MemberRun>,
}

/// The open book: one page a client, each with a lock that nobody else wants.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) shape: RecordShape,
    origin: Instant,
    names: Mutex<Names>,
    writers: Vec<Mutex<Page>>,
    strays: Vec<Mutex<Page>>,
    closed: AtomicBool,
    writers_open: AtomicUsize,
}

impl Book {
    pub(super) fn new(shape: RecordShape, writers: usize, strays: usize) -> Self {
        let pages = |count| (0..count).map(|_| Mutex::default()).collect();
        Self {
            shape,
            origin: Instant::now(),
            names: Mutex::default(),
            writers: pages(writers),
            strays: pages(strays),
            closed: AtomicBool::new(false),
            writers_open: AtomicUsize::new(writers),
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn writer_done(&self) {
        self.writers_open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there were writers and all have ended.
    pub(super) fn writers_are_done(&self) -> bool {
        !self.writers.is_empty() && self.writers_open.load(Ordering::Relaxed) == 0
    }

    pub(super) fn acknowledged(&self, writer: usize, member: &str, n: u64, written: &Written<'_>) {
        self.accept(&self.writers[writer], member, n, written);
    }

    pub(super) fn stray_acknowledged(&self, stray: usize, member: &str, n: u64, written: &Written<'_>) {
        self.accept(&self.strays[stray], member, n, written);
    }

    pub(super) fn refused(&self, writer: usize, member: &str) {
        self.refuse(&self.writers[writer], member);
    }

    pub(super) fn stray_refused(&self, stray: usize, member: &str) {
        self.refuse(&self.strays[stray], member);
    }

    pub(super) fn failed(&self, writer: usize, reason: String) {
        let mut page = locked(&self.writers[writer]);
        page.failures += 1;
        page.last_failure = Some(reason);
    }

    fn accept(&self, page: &Mutex<Page>, member: &str, n: u64, written: &Written<'_>) {
        let run = locked(&self.names).run(member, written.run_id);
        let entry = Entry { n, sent_ns: self.ns(written.sent), at_ns: self.ns(written.at), run };
        locked(page).entries.push(entry);
    }

    fn refuse(&self, page: &Mutex<Page>, member: &str) {
        let member = locked(&self.names).member(member);
        let at_ns = self.ns(Instant::now());
        let mut page = locked(page);
        let acked_ns = page.entries.last().map_or(0, |entry| entry.at_ns);
        let known = |last: &&Refusal| last.member == member && at_ns - last.at_ns < REFUSAL_INTERVAL_NS;
        if page.refusals.last().filter(known).is_none_or(|last| last.at_ns <= acked_ns) {
            page.refusals.push(Refusal { member, at_ns });
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let mut progress = Progress { acked: 0, failures: 0, last_ack: None, last_failure: None };
        let mut last: Option<Entry> = None;
        for page in &self.writers {
            let page = locked(page);
            progress.acked += page.entries.len() as u64;
            progress.failures += page.failures;
            progress.last_failure = page.last_failure.clone().or(progress.last_failure);
            last = page.entries.last().copied().into_iter().chain(last).max_by_key(|entry| entry.at_ns);
        }
        progress.last_ack = last.map(|entry| {
            let names = locked(&self.names);
            let member = usize::from(names.runs[usize::from(entry.run)].member);
            (self.origin + Duration::from_nanos(entry.at_ns), names.members[member].clone())
        });
        progress
    }

    pub(super) fn ledger(&self) -> Ledger {
        let copy = |pages: &[Mutex<Page>]| pages.iter().map(|page| locked(page).clone()).collect();
        // Pages first: the names of all that they mention are known by then.
        let (writers, strays) = (copy(&self.writers), copy(&self.strays));
        let names = locked(&self.names);
        Ledger {
            origin: self.origin,
            members: names.members.clone(),
            runs: names.runs.clone(),
            shape: self.shape.clone(),
            writers,
            strays,
        }
    }

    fn ns(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Names {
    fn member(&mut self, name: &str) -> u16 {
        let index = self.members.iter().position(|known| known == name).unwrap_or_else(|| {
            self.members.push(name.to_owned());
            self.members.len() - 1
        });
        index as u16
    }

    fn run(&mut self, member: &str, run_id: &str) -> u16 {
        let member = self.member(member);
        let is_this = |run: &MemberRun| run.member == member && run.run_id == run_id;
        let index = self.runs.iter().position(is_this).unwrap_or_else(|| {
            self.runs.push(MemberRun { member, run_id: run_id.to_owned() });
            self.runs.len() - 1
        });
        index as u16
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
