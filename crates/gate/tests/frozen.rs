//! A process that freezes and wakes long after its lease has ended passes nothing on, although no timer has run yet.
//!
//! The clock is the test's, and timers never fire: what holds the bytes back is the look at the clock before each write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cover::Steered;
use common::{Stand, door_to, held_door_to, read_to_the_end, soon};
use futures::FutureExt;
use futures::future::BoxFuture;
use primacy_core::{Moment, WallTime};
use primacy_gate::Door;
use primacy_runtime::{Backend, Job, Stream, install};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LEASE_END: Moment = Moment(1_000_000);

/// tokio, but for a clock that stands still until it is set.
#[derive(Default)]
struct Stopped {
    now_us: AtomicU64,
}

impl Stopped {
    fn wake_after_ten_seconds(&self) {
        self.now_us.store(LEASE_END.0 + 10_000_000, Ordering::SeqCst);
    }
}

impl Backend for Stopped {
    fn now(&self) -> Moment {
        Moment(self.now_us.load(Ordering::SeqCst))
    }
    fn wall(&self) -> WallTime {
        WallTime(0)
    }
    fn random_u64(&self) -> u64 {
        4
    }
    fn spawn(&self, job: Job) {
        tokio::spawn(job);
    }
    fn sleep_until(&self, _: Moment) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }
    fn connect(&self, _: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        async { Err(io::ErrorKind::Unsupported.into()) }.boxed()
    }
}

/// A client and its target with a gate between them, through which a byte has gone.
async fn connected(door: impl FnOnce(std::net::SocketAddr) -> Door) -> (Stand, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = Door { until: Some(LEASE_END), ..door(listener.local_addr().unwrap()) };
    let stand = Stand::new(Some(door)).await;
    let mut client = stand.client().await;
    client.write_all(b"a").await.unwrap();
    let (mut target, _) = soon("the gate", listener.accept()).await.unwrap();
    let mut said = [0];
    soon("a byte", target.read_exact(&mut said)).await.unwrap();
    (stand, client, target)
}

#[tokio::test]
async fn a_request_that_was_read_before_the_end_is_not_written_after_it() {
    let clock = Arc::new(Stopped::default());
    let _installed = install(clock.clone());
    let (stand, mut client, mut target) = connected(door_to).await;
    clock.wake_after_ten_seconds();
    client.write_all(b"late").await.unwrap();
    assert_eq!(read_to_the_end(&mut target).await, b"");
    assert_eq!(read_to_the_end(&mut client).await, b"");
    assert_eq!(stand.gate.stats().sent_bytes_total, 1);
}

#[tokio::test]
async fn a_reply_is_not_written_after_the_end_either() {
    let clock = Arc::new(Stopped::default());
    let _installed = install(clock.clone());
    let (_stand, mut client, mut target) = connected(door_to).await;
    clock.wake_after_ten_seconds();
    target.write_all(b"late").await.unwrap();
    assert_eq!(read_to_the_end(&mut client).await, b"");
}

#[tokio::test]
async fn a_held_reply_is_not_released_after_the_end() {
    let clock = Arc::new(Stopped::default());
    let _installed = install(clock.clone());
    let (cover, mut questions) = Steered::new();
    let held = cover.clone();
    let (stand, mut client, mut target) = connected(|target| held_door_to(target, held)).await;
    target.write_all(b"written").await.unwrap();
    let answer = soon("a barrier", questions.recv()).await.unwrap();
    clock.wake_after_ten_seconds();
    cover.cover_up_to(100);
    answer.send(Ok(100)).unwrap();
    assert_eq!(read_to_the_end(&mut client).await, b"");
    assert_eq!(stand.gate.stats().received_bytes_total, 0);
}

#[tokio::test]
async fn a_new_connection_is_refused_after_the_end() {
    let clock = Arc::new(Stopped::default());
    let _installed = install(clock.clone());
    let (stand, _client, _target) = connected(door_to).await;
    clock.wake_after_ten_seconds();
    assert_eq!(read_to_the_end(&mut stand.client().await).await, b"");
    assert_eq!(stand.gate.stats().refused_total, 1);
}
