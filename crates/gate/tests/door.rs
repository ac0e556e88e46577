//! When a gate is open, and that it is shut otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    SOON, Stand, address_of, door_to, echo, eventually, exchange, in_time, options, read_to_the_end, soon,
};
use primacy_core::Epoch;
use primacy_gate::{Door, GateOptions};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;

const LEASE: Duration = Duration::from_millis(200);

fn leased(target: SocketAddr, lease: Duration) -> Door {
    Door { until: Some(in_time(lease)), ..door_to(target) }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways() {
    let stand = Stand::new(Some(door_to(echo().await))).await;
    let mut client = stand.echoed_client().await;
    let block: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    assert_eq!(exchange(&mut client, &block).await.unwrap(), block);
    let stats = stand.gate.stats();
    assert_eq!((stats.open, stand.gate.connections()), (1, 1));
    eventually("both ways to be counted", async || {
        let stats = stand.gate.stats();
        (stats.sent_bytes_total, stats.received_bytes_total) == (100_001, 100_001)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_door_a_connection_is_closed_at_once() {
    let stand = Stand::new(None).await;
    let mut client = stand.client().await;
    assert_eq!(soon("the end", client.read(&mut [0])).await.unwrap(), 0);
    let stats = stand.gate.stats();
    assert_eq!((stats.refused_total, stats.accepted_total, stats.open), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_is_over_does_not_open() {
    let stand = Stand::new(None).await;
    stand.door.send(Some(leased(echo().await, Duration::ZERO)));
    assert_eq!(read_to_the_end(&mut stand.client().await).await, b"");
    assert_eq!(stand.gate.stats().accepted_total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_lease_ends_every_connection() {
    let target = echo().await;
    let stand = Stand::new(Some(door_to(target))).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(stand.echoed_client().await);
    }
    stand.door.send(Some(leased(target, LEASE)));
    for client in &mut clients {
        assert_eq!(read_to_the_end(client).await, b"");
    }
    assert!(stand.door.borrow().as_ref().unwrap().until.unwrap() <= in_time(Duration::ZERO));
    eventually("the places to be free", async || stand.gate.connections() == 0).await;
    assert_eq!(stand.gate.stats().cut_total, 20);
    assert_eq!(read_to_the_end(&mut stand.client().await).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_keeps_connections() {
    let target = echo().await;
    let stand = Stand::new(Some(leased(target, 5 * LEASE))).await;
    let mut client = stand.echoed_client().await;
    let began = std::time::Instant::now();
    // Several leases long.
    while began.elapsed() < 12 * LEASE {
        stand.door.send(Some(leased(target, 5 * LEASE)));
        assert_eq!(exchange(&mut client, b"still here").await.unwrap(), b"still here");
        tokio::time::sleep(LEASE / 10).await;
    }
    assert_eq!(stand.gate.stats().cut_total, 0);
    assert_eq!(read_to_the_end(&mut client).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_door_another_epoch_and_another_target_end_every_connection() {
    let (target, other) = (echo().await, echo().await);
    let doors = [
        None,
        Some(Door { epoch: Epoch(8), ..door_to(target) }),
        Some(Door { target: address_of(other), ..door_to(target) }),
    ];
    for door in doors {
        let stand = Stand::new(Some(door_to(target))).await;
        let mut client = stand.echoed_client().await;
        let opens_again = door.is_some();
        stand.door.send(door);
        assert_eq!(read_to_the_end(&mut client).await, b"");
        if opens_again {
            stand.echoed_client().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_shut_once_the_last_connection_is_gone() {
    let stand = Stand::new(Some(door_to(echo().await))).await;
    let _client = stand.echoed_client().await;
    assert!(!stand.gate.is_shut());
    stand.door.send(None);
    soon("the gate to be shut", async {
        while !stand.gate.is_shut() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(stand.gate.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_whoever_decides_is_the_end_of_the_door() {
    let stand = Stand::new(Some(door_to(echo().await))).await;
    let mut client = stand.echoed_client().await;
    let Stand { gate, address, door } = stand;
    drop(door);
    assert_eq!(read_to_the_end(&mut client).await, b"");
    assert_eq!(read_to_the_end(&mut TcpStream::connect(address).await.unwrap()).await, b"");
    drop(gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_ends_resets_the_target_and_discards_what_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stand = Stand::new(Some(door_to(listener.local_addr().unwrap()))).await;
    let mut client = stand.client().await;
    let (mut target, _) = soon("the gate", listener.accept()).await.unwrap();
    let block = vec![1; 1 << 16];
    // Until all buffers on the way are full, because the target does not read.
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(300), tokio::io::AsyncWriteExt::write(&mut client, &block))
            .await
    {
        sent += written.unwrap();
    }
    stand.door.send(None);
    read_to_the_end(&mut client).await;
    let mut received = 0;
    let ended = loop {
        match soon("the end", target.read(&mut vec![0; 1 << 16])).await {
            Ok(0) => break "closed",
            Ok(read) => received += read,
            Err(_) => break "reset",
        }
    };
    assert_eq!(ended, "reset");
    assert!(received < sent, "all {sent} bytes arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_permitted_are_refused_until_one_ends() {
    let target = echo().await;
    let limited = GateOptions { connections_max: 2, ..options() };
    let stand = Stand::with(Some(door_to(target)), limited).await;
    let first = stand.echoed_client().await;
    let mut second = stand.echoed_client().await;
    assert_eq!(read_to_the_end(&mut stand.client().await).await, b"");
    assert_eq!(exchange(&mut second, b"unharmed").await.unwrap(), b"unharmed");
    drop(first);
    eventually("the first to be gone", async || stand.gate.connections() == 1).await;
    stand.echoed_client().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_or_does_not_answer_costs_its_client_only() {
    // Its queue of connections is full, so that the system answers no further SYN.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = silent.listen(1).unwrap();
    let address = silent.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        filling.push(connected.unwrap());
        assert!(filling.len() < 100);
    }
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for target in [address, refusing] {
        let hasty = GateOptions { connect_within: Duration::from_millis(50), ..options() };
        let stand = Stand::with(Some(door_to(target)), hasty).await;
        assert_eq!(read_to_the_end(&mut stand.client().await).await, b"");
        assert_eq!(stand.gate.stats().unreachable_total, 1);
        eventually("its place to be free", async || stand.gate.connections() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_gate_leaves_nothing_behind() {
    let target = echo().await;
    let settled = || Handle::current().metrics().num_alive_tasks();
    let before = settled();
    let stand = Stand::new(Some(door_to(target))).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(stand.echoed_client().await);
    }
    assert!(settled() > before);
    let address = stand.address;
    drop(stand);
    for client in &mut clients {
        assert_eq!(read_to_the_end(client).await, b"");
    }
    // The echo's tasks end with their connections.
    eventually("every task to end", async || settled() <= before).await;
    assert!(tokio::time::timeout(SOON, TcpStream::connect(address)).await.unwrap().is_err());
}
