//! Replies wait for their cover. The target is the test's, and so is every answer of the cover.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cover::{Asked, Steered};
use common::{Stand, door_to, eventually, held_door_to, read_to_the_end, soon};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;

/// A gate that holds, and both ends of one connection through it.
struct Scene {
    stand: Stand,
    cover: Arc<Steered>,
    questions: UnboundedReceiver<Asked>,
    listener: TcpListener,
    client: TcpStream,
    target: TcpStream,
    /// Bytes that targets have said, and that clients have heard.
    said: u64,
    heard: u64,
}

impl Scene {
    async fn new() -> Scene {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (cover, questions) = Steered::new();
        let door = held_door_to(listener.local_addr().unwrap(), cover.clone());
        let stand = Stand::new(Some(door)).await;
        let client = stand.client().await;
        let (target, _) = soon("the gate", listener.accept()).await.unwrap();
        Scene { stand, cover, questions, listener, client, target, said: 0, heard: 0 }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    async fn another(&self) -> (TcpStream, TcpStream) {
        soon("a connection through the gate", async {
            loop {
                let client = self.stand.client().await;
                tokio::select! {
                    accepted = self.listener.accept() => return (client, accepted.unwrap().0),
                    // Refused: a gate whose barrier has failed takes a moment to open again.
                    _ = client.readable() => {}
                }
            }
        })
        .await
    }

    /// The target says `bytes`, and the gate has read them.
    async fn target_says(&mut self, bytes: &[u8]) {
        self.target.write_all(bytes).await.unwrap();
        self.said += bytes.len() as u64;
        self.all_is_counted().await;
    }

    /// What clients have heard is counted as passed on, and the rest of what targets have said as held.
    async fn all_is_counted(&self) {
        eventually("the gate to count what was said", async || {
            let stats = self.stand.gate.stats();
            stats.received_bytes_total == self.heard && stats.held_bytes == self.said - self.heard
        })
        .await;
    }

    async fn barrier(&mut self) -> Asked {
        soon("a barrier", self.questions.recv()).await.unwrap()
    }

    async fn client_hears(&mut self, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        soon("the reply", self.client.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, expected);
        self.heard += heard.len() as u64;
        self.all_is_counted().await;
    }

    /// Nothing is on its way: what was released arrived, and a byte that was released wrongly would have, too.
    fn client_hears_nothing(&self) {
        let error = self.client.try_read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(self.stand.gate.stats().open, 1);
    }

    async fn cut(mut self) -> Scene {
        assert_eq!(read_to_the_end(&mut self.client).await, b"");
        let stand = &self.stand;
        eventually("the connection to end", async || stand.gate.connections() == 0).await;
        let stats = stand.gate.stats();
        assert_eq!(stats.held_bytes, 0);
        self.said = self.heard;
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pass_at_once_and_a_reply_waits_for_its_cover() {
    let mut scene = Scene::new().await;
    scene.client.write_all(b"set").await.unwrap();
    let mut request = [0; 3];
    soon("the request", scene.target.read_exact(&mut request)).await.unwrap();
    scene.target_says(b"done").await;
    let asked = scene.barrier().await;
    scene.client_hears_nothing();
    asked.send(Ok(100)).unwrap();
    scene.cover.cover_up_to(99);
    scene.target_says(b"!").await;
    // It is asked after what 99 covers was released.
    scene.barrier().await.send(Ok(101)).unwrap();
    scene.client_hears_nothing();
    scene.cover.cover_up_to(100);
    scene.client_hears(b"done").await;
    scene.client_hears_nothing();
    scene.cover.cover_up_to(101);
    scene.client_hears(b"!").await;
    assert_eq!(scene.stand.gate.stats().received_bytes_total, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_barrier_is_in_flight_and_covers_what_was_read_before_it_was_sent() {
    let mut scene = Scene::new().await;
    let (mut other, mut other_target) = scene.another().await;
    scene.target_says(b"first").await;
    let first = scene.barrier().await;
    scene.target_says(b"second").await;
    other_target.write_all(b"other").await.unwrap();
    scene.said += 5;
    scene.all_is_counted().await;
    assert!(scene.questions.is_empty());
    // Whatever is covered: the first barrier says nothing of what was read after it was sent.
    scene.cover.cover_up_to(1_000);
    first.send(Ok(10)).unwrap();
    scene.client_hears(b"first").await;
    let second = scene.barrier().await;
    assert_eq!(scene.stand.gate.stats().held_bytes, 11);
    second.send(Ok(20)).unwrap();
    let mut heard = [0; 5];
    soon("the other's reply", other.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"other");
    scene.heard += 5;
    scene.client_hears(b"second").await;
    assert_eq!(scene.stand.gate.stats().barriers_total, 2);
    assert_eq!(scene.cover.in_flight_max.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_is_covered_already_releases_at_once() {
    let mut scene = Scene::new().await;
    scene.cover.cover_up_to(50);
    for _ in 0..3 {
        scene.target_says(b"value").await;
        scene.barrier().await.send(Ok(50)).unwrap();
        scene.client_hears(b"value").await;
    }
    assert_eq!(scene.stand.gate.stats().held_bytes, 0);
    // Silence asks nothing.
    assert!(scene.questions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_barrier_drops_what_is_held_and_the_next_connection_begins_anew() {
    let mut scene = Scene::new().await;
    scene.target_says(b"never heard").await;
    scene.barrier().await.send(Err(io::Error::other("the primary is gone"))).unwrap();
    let mut scene = scene.cut().await;
    scene.cover.cover_up_to(1_000);
    assert_eq!(scene.stand.gate.stats().barriers_failed_total, 1);
    (scene.client, scene.target) = scene.another().await;
    scene.target_says(b"anew").await;
    scene.barrier().await.send(Ok(1)).unwrap();
    scene.client_hears(b"anew").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_door_drops_what_is_held() {
    let mut scene = Scene::new().await;
    scene.target_says(b"never heard").await;
    let asked = scene.barrier().await;
    scene.stand.door.send(None);
    let scene = scene.cut().await;
    scene.cover.cover_up_to(1_000);
    let _ = asked.send(Ok(1));
    assert_eq!(scene.stand.gate.stats().received_bytes_total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_back_is_a_failure() {
    let mut scene = Scene::new().await;
    scene.target_says(b"one").await;
    scene.barrier().await.send(Ok(100)).unwrap();
    scene.target_says(b"two").await;
    scene.barrier().await.send(Ok(60)).unwrap();
    scene.cut().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cover_decides_about_what_is_held_and_holding_itself_cannot_end() {
    let mut scene = Scene::new().await;
    scene.target_says(b"written").await;
    scene.barrier().await.send(Ok(100)).unwrap();
    let (nearer, mut questions) = Steered::new();
    nearer.cover_up_to(100);
    scene.stand.door.send(Some(held_door_to(scene.address(), nearer.clone())));
    scene.client_hears(b"written").await;
    scene.target_says(b"again").await;
    let asked = soon("a barrier", questions.recv()).await.unwrap();
    scene.client_hears_nothing();
    drop(asked.send(Ok(100)));
    scene.client_hears(b"again").await;
    scene.target_says(b"never heard").await;
    scene.stand.door.send(Some(door_to(scene.address())));
    scene.cut().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_said_before_its_end_is_heard_once_covered() {
    let mut scene = Scene::new().await;
    scene.target_says(b"last words").await;
    let asked = scene.barrier().await;
    scene.target.shutdown().await.unwrap();
    scene.client_hears_nothing();
    asked.send(Ok(100)).unwrap();
    scene.cover.cover_up_to(100);
    assert_eq!(read_to_the_end(&mut scene.client).await, b"last words");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_bounded_and_stops_the_target() {
    let mut scene = Scene::new().await;
    let block = vec![7; 1 << 16];
    let mut said = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), scene.target.write(&block)).await
    {
        said += written.unwrap();
        assert!(said < 1 << 28, "nothing stops the target");
    }
    let held = scene.stand.gate.stats().held_bytes as usize;
    assert!(held <= 1 << 20 && held < said, "{held} of {said} held");
    scene.cover.cover_up_to(u64::MAX);
    let Scene { stand, mut client, mut target, mut questions, .. } = scene;
    let answering = tokio::spawn(async move {
        while let Some(asked) = questions.recv().await {
            let _ = asked.send(Ok(1));
        }
    });
    target.shutdown().await.unwrap();
    assert_eq!(read_to_the_end(&mut client).await.len(), said);
    assert_eq!(stand.gate.stats().held_bytes, 0);
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody_else() {
    let mut scene = Scene::new().await;
    let (mut other, mut other_target) = scene.another().await;
    scene.cover.cover_up_to(u64::MAX);
    let mut questions = std::mem::replace(&mut scene.questions, tokio::sync::mpsc::unbounded_channel().1);
    let answering = tokio::spawn(async move {
        while let Some(asked) = questions.recv().await {
            let _ = asked.send(Ok(1));
        }
    });
    let block = vec![7; 1 << 16];
    let mut said = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), scene.target.write(&block)).await
    {
        said += written.unwrap();
        assert!(said < 1 << 28, "nothing stops the target");
    }
    for _ in 0..100 {
        other_target.write_all(b"value").await.unwrap();
        let mut heard = [0; 5];
        soon("the other's reply", other.read_exact(&mut heard)).await.unwrap();
    }
    scene.target.shutdown().await.unwrap();
    assert_eq!(read_to_the_end(&mut scene.client).await.len(), said);
    answering.abort();
}
