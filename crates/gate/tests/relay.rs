//! That a relay does what TCP does: ends of one direction, slow readers, and who the client is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Stand, door_to, eventually, options, read_to_the_end, server, soon};
use primacy_gate::GateOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_said_all_still_hears_the_answer() {
    let (target, _) = server(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(format!("{} bytes", all.len()).as_bytes()).await.unwrap();
    })
    .await;
    let stand = Stand::new(Some(door_to(target))).await;
    let mut client = stand.client().await;
    client.write_all(&vec![1; 1_000_000]).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_to_the_end(&mut client).await, b"1000000 bytes");
    eventually("the connection to end", async || stand.gate.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_has_said_all_still_hears_the_client() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let (target, _) = server(move |mut stream: TcpStream| {
        let count = count.clone();
        async move {
            stream.write_all(b"that is all").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            count.fetch_add(all.len(), Ordering::SeqCst);
        }
    })
    .await;
    let stand = Stand::new(Some(door_to(target))).await;
    let mut client = stand.client().await;
    assert_eq!(read_to_the_end(&mut client).await, b"that is all");
    client.write_all(b"understood").await.unwrap();
    client.shutdown().await.unwrap();
    eventually("the target to hear it", async || heard.load(Ordering::SeqCst) == 10).await;
}

/// Writes until a write has waited for half a second, and says how much went.
async fn write_until_stuck(stream: &mut TcpStream) -> usize {
    let block = vec![1; 1 << 16];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write(&block)).await {
        sent += written.unwrap();
        assert!(sent < 1 << 30, "nothing stops the writer");
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_target_stops_the_client_and_loses_nothing() {
    let go = Arc::new(Notify::new());
    let going = go.clone();
    let (target, _) = server(move |mut stream: TcpStream| {
        let going = going.clone();
        async move {
            going.notified().await;
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            let _ = stream.write_all(all.len().to_string().as_bytes()).await;
        }
    })
    .await;
    let stand = Stand::new(Some(door_to(target))).await;
    let mut client = stand.client().await;
    let sent = write_until_stuck(&mut client).await;
    go.notify_one();
    client.shutdown().await.unwrap();
    assert_eq!(read_to_the_end(&mut client).await, sent.to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_stops_the_target_and_loses_nothing() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let (target, _) = server(move |mut stream: TcpStream| {
        let counted = counted.clone();
        async move {
            counted.store(write_until_stuck(&mut stream).await, Ordering::SeqCst);
        }
    })
    .await;
    let stand = Stand::new(Some(door_to(target))).await;
    let mut client = stand.client().await;
    eventually("the target to be stopped", async || sent.load(Ordering::SeqCst) > 0).await;
    let received = read_to_the_end(&mut client).await.len();
    assert_eq!(received, sent.load(Ordering::SeqCst));
}

/// A PROXY protocol v2 header over IPv4, as a server reads it.
async fn read_header(stream: &mut TcpStream) -> (SocketAddr, SocketAddr) {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).await.unwrap();
    assert_eq!(&fixed[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(fixed[12..], [0x21, 0x11, 0, 12]);
    let mut rest = [0; 12];
    stream.read_exact(&mut rest).await.unwrap();
    let address = |ip: &[u8], port: &[u8]| -> SocketAddr {
        let ip: [u8; 4] = ip.try_into().unwrap();
        (Ipv4Addr::from(ip), u16::from_be_bytes(port.try_into().unwrap())).into()
    };
    (address(&rest[..4], &rest[8..10]), address(&rest[4..8], &rest[10..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_learns_who_the_client_is() {
    let (target, _) = server(|mut stream| async move {
        let (source, destination) = read_header(&mut stream).await;
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        stream.write_all(format!("{source} {destination}").as_bytes()).await.unwrap();
    })
    .await;
    let stand = Stand::with(Some(door_to(target)), GateOptions { proxy_protocol: true, ..options() }).await;
    let mut client = stand.client().await;
    client.write_all(b"hello").await.unwrap();
    let expected = format!("{} {}", client.local_addr().unwrap(), stand.address);
    assert_eq!(read_to_the_end(&mut client).await, expected.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_address_family_is_reached() {
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        return println!("no IPv6 here: not tested");
    };
    let stand = Stand::new(Some(door_to(listener.local_addr().unwrap()))).await;
    let mut client = stand.client().await;
    let (mut target, _) = soon("the gate", listener.accept()).await.unwrap();
    client.write_all(b"six").await.unwrap();
    let mut said = [0; 3];
    soon("the bytes", target.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"six");
}
