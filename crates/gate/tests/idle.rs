//! Ten thousand idle connections are cheap and in nobody's way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Stand, door_to, eventually, exchange, raise_open_files, thrifty_echo};

const CONNECTIONS: usize = 10_000;
/// The client's, the gate's two, and the target's: all of them are in this process.
const FILES_EACH: usize = 4;
/// With the tasks and sockets of client, gate and target; far less than one buffer.
const BYTES_EACH_MAX: usize = 8 * 1024;

/// What this process holds in memory.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_hold_no_buffers() {
    let wanted = CONNECTIONS * FILES_EACH + 1_000;
    let files = raise_open_files(wanted as u64) as usize;
    let connections = CONNECTIONS.min((files - 500) / FILES_EACH);
    if connections < CONNECTIONS {
        println!("{files} open files are permitted here: tested with {connections} connections");
    }
    let stand = Stand::new(Some(door_to(thrifty_echo().await))).await;
    // The first ones bring what is there once: threads' buffers, tables.
    let mut clients = vec![stand.echoed_client().await];
    let before = resident_bytes();
    while clients.len() < connections {
        clients.push(stand.echoed_client().await);
    }
    let each = resident_bytes().saturating_sub(before) / connections;
    assert!(each < BYTES_EACH_MAX, "{each} bytes for each idle connection");
    println!("{connections} connections, {each} bytes each");
    for client in clients.iter_mut().step_by(97) {
        assert_eq!(exchange(client, b"awake").await.unwrap(), b"awake");
    }
    assert_eq!(stand.gate.connections(), connections);
    stand.door.send(None);
    eventually("all to be closed", async || stand.gate.connections() == 0).await;
    assert_eq!(stand.gate.stats().cut_total, connections as u64);
}
