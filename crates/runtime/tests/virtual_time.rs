//! Code written against the seam runs in virtual time: the same seed gives the same trace, and no time passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::future::BoxFuture;
use primacy_core::{Moment, WallTime};
use primacy_runtime::{self as runtime, Backend, Job, Stream};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// One thread, a run queue whose next task the seed chooses, and timers that move the clock.
struct World {
    ready: Arc<Mutex<VecDeque<Arc<Running>>>>,
    inner: Mutex<Inner>,
}

struct Inner {
    now_us: u64,
    timers: Arc<Mutex<BTreeMap<(u64, u64), Waker>>>,
    timers_set: u64,
    luck: SmallRng,
}

struct Running {
    job: Mutex<Option<Job>>,
    queued: AtomicBool,
    ready: Arc<Mutex<VecDeque<Arc<Running>>>>,
}

impl Wake for Running {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            let ready = self.ready.clone();
            ready.lock().unwrap().push_back(self);
        }
    }
}

impl World {
    fn new(seed: u64) -> Arc<World> {
        let inner =
            Inner { now_us: 0, timers: Arc::default(), timers_set: 0, luck: SmallRng::seed_from_u64(seed) };
        Arc::new(World { ready: Arc::default(), inner: Mutex::new(inner) })
    }

    fn next(&self) -> Option<Arc<Running>> {
        let mut ready = self.ready.lock().unwrap();
        if ready.len() > 1 {
            let chosen = self.inner.lock().unwrap().luck.random_range(0..ready.len());
            ready.swap(0, chosen);
        }
        ready.pop_front()
    }

    fn run(&self) {
        loop {
            if let Some(task) = self.next() {
                task.queued.store(false, Ordering::SeqCst);
                let waker = Waker::from(task.clone());
                let job = task.job.lock().unwrap().take();
                if let Some(mut job) = job
                    && job.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
                {
                    *task.job.lock().unwrap() = Some(job);
                }
                continue;
            }
            let mut inner = self.inner.lock().unwrap();
            let first = inner.timers.lock().unwrap().pop_first();
            let Some(((at, _), waker)) = first else { return };
            inner.now_us = inner.now_us.max(at);
            drop(inner);
            waker.wake();
        }
    }
}

impl Backend for World {
    fn now(&self) -> Moment {
        Moment(self.inner.lock().unwrap().now_us)
    }

    fn wall(&self) -> WallTime {
        WallTime(1_000_000_000 + self.now().0)
    }

    fn random_u64(&self) -> u64 {
        self.inner.lock().unwrap().luck.random()
    }

    fn spawn(&self, job: Job) {
        let ready = self.ready.clone();
        let task = Running { job: Mutex::new(Some(job)), queued: AtomicBool::new(true), ready };
        self.ready.lock().unwrap().push_back(Arc::new(task));
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        let mut inner = self.inner.lock().unwrap();
        inner.timers_set += 1;
        let (key, timers, due) = ((at.0, inner.timers_set), inner.timers.clone(), at.0 <= inner.now_us);
        drop(inner);
        let mut armed = false;
        Box::pin(poll_fn(move |cx| {
            let mut timers = timers.lock().unwrap();
            if due || (armed && !timers.contains_key(&key)) {
                return Poll::Ready(());
            }
            armed = true;
            timers.insert(key, cx.waker().clone());
            Poll::Pending
        }))
    }

    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, authority.to_owned());
        Box::pin(async move { Err(refused) })
    }
}

type Trace = Arc<Mutex<Vec<String>>>;

fn note(trace: &Trace, what: &str) {
    trace.lock().unwrap().push(format!("{} {what}", runtime::now().0));
}

/// Workers that sleep for a random time and count; one that waits for the count; a timeout; an abort.
async fn scenario(trace: Trace) {
    let (count, mut counted) = runtime::watch::channel(0_u32);
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (trace, count) = (trace.clone(), count.clone());
            runtime::spawn(async move {
                for round in 0..5 {
                    runtime::sleep(Duration::from_millis(runtime::random_u64() % 1_000)).await;
                    note(&trace, &format!("worker {worker} round {round}"));
                    count.send_if_modified(|c| {
                        *c += 1;
                        true
                    });
                }
            })
        })
        .collect();
    let endless = runtime::spawn(futures::future::pending::<()>());
    let limited = runtime::timeout(Duration::from_hours(1), futures::future::pending::<()>());
    counted.wait_for(|c| *c == 20).await.unwrap();
    note(&trace, "all counted");
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(limited.await.is_err());
    note(&trace, "an hour later");
    endless.abort();
    assert!(!endless.await.unwrap_err().panicked);
    let mut ticks = runtime::interval(Duration::from_secs(1));
    for _ in 0..3 {
        ticks.tick().await;
        note(&trace, "tick");
    }
    let refused = runtime::connect("nowhere:1", Duration::from_secs(1)).await.err().unwrap();
    note(&trace, &refused.to_string());
}

fn run(seed: u64) -> Vec<String> {
    let world = World::new(seed);
    let _installed = runtime::install(world.clone());
    let trace = Trace::default();
    runtime::spawn(scenario(trace.clone())).detach();
    world.run();
    Arc::try_unwrap(trace).unwrap().into_inner().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let started = Instant::now();
    let traces: Vec<_> = (0..20).map(run).collect();
    for (seed, trace) in traces.iter().enumerate() {
        assert_eq!(trace.len(), 26, "{trace:#?}");
        assert_eq!(*trace, run(seed as u64), "seed {seed}");
        assert!(trace.contains(&"3600000000 an hour later".to_owned()), "{trace:#?}");
    }
    assert_ne!(traces[0], traces[1]);
    assert!(started.elapsed() < Duration::from_mins(1), "hours of virtual time took real time");
}
