//! Bytes that no client of ours sends, on every port of every node: the nodes go on serving, and nothing fails over.

use crate::harness::{self, GROUP, PATIENCE, transitions};
use primacy_client::v1;
use primacy_client::v1::directory_client::DirectoryClient;
use primacy_testbed::{Deployment, wait_for};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Endpoint;

/// Connections to each port at a time, and for how long in all.
const CROWD: usize = 12;
const TIME: Duration = Duration::from_secs(8);

/// So many streams of events a node serves.
const WATCHERS_MAX: usize = 1_024;

/// Enough of a generator to fill bytes from a seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// The `turn`th hostile thing to say: noise, and noise behind what each protocol begins with.
fn words(turn: u64) -> Vec<u8> {
    let some = noise(turn + 1, 1 + (turn as usize * 37) % 5_000);
    let begin: &[u8] = match turn % 9 {
        0 => b"",
        1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // A frame of headers that is as long as a frame can say.
        2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\xff\xff\xff\x01\x04\0\0\0\x01",
        // Settings without an end.
        3 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\x04\0\0\0\0\0",
        4 => b"GET /primary/",
        5 => b"POST /v1/status HTTP/1.1\r\nContent-Length: 99999999999\r\nHost: ",
        6 => b"*1000000\r\n$1000000000\r\n",
        7 => b"*3\r\n$5\r\nRPUSH\r\n$1\r\nx\r\n$",
        _ => b"PSYNC ? -1\r\nREPLCONF ACK 999999999999\r\n",
    };
    [begin, &some].concat()
}

/// Says hostile things to a port until the time is over; returns how often.
async fn pester(address: String, mut turn: u64, until: Instant) -> u64 {
    let mut said = 0;
    while Instant::now() < until {
        if let Ok(mut stream) = TcpStream::connect(&address).await
            && stream.write_all(&words(turn)).await.is_ok()
        {
            said += 1;
            let mut answer = [0; 512];
            // Some are answered, some closed, some let wait.
            let _ = tokio::time::timeout(Duration::from_millis(30), stream.read(&mut answer)).await;
        }
        turn += CROWD as u64;
    }
    said
}

fn ports(d: &Deployment) -> Vec<String> {
    let of = |node: &primacy_testbed::Node| {
        [node.address(), node.http(), node.gate(GROUP).unwrap()].map(str::to_owned)
    };
    d.cluster.nodes().iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_go_on_serving_under_random_bytes_on_each_port() {
    let mut options = harness::options();
    options.cluster.gates = vec![GROUP.to_owned()];
    let d = Deployment::start_serving(options).await.unwrap();
    harness::at_rest(&d).await;
    let load = harness::load(&d);
    harness::writes_go_on(&load, 100).await;
    let before = transitions(&d, 1).await.len();
    let pids: Vec<u32> = d.cluster.nodes().iter().map(|node| node.process().pid()).collect();

    let mut crowd = JoinSet::new();
    let until = Instant::now() + TIME;
    for (index, port) in ports(&d).into_iter().enumerate() {
        for turn in 0..CROWD {
            crowd.spawn(pester(port.clone(), (index + turn) as u64, until));
        }
    }
    while Instant::now() < until {
        harness::writes_go_on(&load, 20).await;
        for node in d.cluster.nodes() {
            wait_for("a node that answers while it is pestered", PATIENCE, async || node.ready().await)
                .await
                .unwrap();
        }
        d.primary().await.unwrap();
    }
    let said: u64 = crowd.join_all().await.iter().sum();
    eprintln!("FIGURE hostile: {said} times on {} ports", ports(&d).len());
    assert!(said > 1_000, "{said} times is too few to show anything");

    harness::at_rest(&d).await;
    for (node, pid) in d.cluster.nodes().iter().zip(pids) {
        assert!(node.process().is_running() && node.process().pid() == pid, "n{} ended", node.id());
        let log = std::fs::read_to_string(node.process().log()).unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }
    assert_eq!(transitions(&d, before).await.len(), before, "something failed over");
    harness::reckon(&d, load, 0).await;
}

/// A request that is too long, and more watchers than a node serves: each is told why, and room that is given back is
/// there for the next.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_and_harms_nobody() {
    let d = harness::deployment().await;
    let address = d.cluster.nodes()[0].address().to_owned();
    let connect = async || {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        DirectoryClient::new(endpoint.connect().await.unwrap())
    };

    let mut client = connect().await;
    let long = v1::GetPrimaryRequest { group: "x".repeat(5 << 20), ..Default::default() };
    let refused = client.get_primary(long).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");

    // As many as it serves, on two connections: one carries as many streams as that, and no more.
    let mut watching = Vec::new();
    let mut clients = [client, connect().await];
    let refused = loop {
        assert!(watching.len() <= WATCHERS_MAX, "{} watchers, and none was refused", watching.len());
        let carrier = usize::from(watching.len() >= WATCHERS_MAX / 2);
        match clients[carrier].watch(v1::WatchRequest::default()).await {
            Ok(stream) => watching.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(watching.len(), WATCHERS_MAX, "{refused:?}");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("ask another node"), "{refused:?}");
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("east-a"));

    watching.truncate(WATCHERS_MAX - 1);
    wait_for("the room that was given back", PATIENCE, async || {
        Ok(clients[0].clone().watch(v1::WatchRequest::default()).await.map(drop)?)
    })
    .await
    .unwrap();
}
