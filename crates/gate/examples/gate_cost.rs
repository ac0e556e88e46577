//! What a gate costs: a real redis-server reached directly, through a gate, through a gate that holds replies, and
//! through a relay by splice(2); then a plain stream of bytes through each.
//!
//! `cargo run --release -p primacy-gate --example gate_cost -- [rounds [threads]]` needs `redis-server` and `redis-benchmark`.
//! The four share the machine's cores with the server and the load, so compare the rows and not machines.

#![allow(clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use anyhow::{Context, Result, bail};
use common::cover::Asking;
use common::{Stand, door_to, held_door_to};
use primacy_gate::Door;
use primacy_testbed::{RedisOptions, RedisServer, Workdir};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const PIPELINED: usize = 500_000;
const SINGLE: usize = 100_000;
const BULK_BYTES: usize = 2 << 30;
const BULK_LIMIT: Duration = Duration::from_mins(1);

type Figures = BTreeMap<(usize, &'static str), Vec<f64>>;

/// One way to the server.
struct Way {
    name: &'static str,
    redis: SocketAddr,
    sink: SocketAddr,
}

fn main() -> Result<()> {
    let argument = |at| std::env::args().nth(at).map(|text| text.parse::<usize>()).transpose();
    let (rounds, threads) = (argument(1)?.unwrap_or(5), argument(2)?.unwrap_or(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(compare(rounds))
}

async fn compare(rounds: usize) -> Result<()> {
    let workdir = Workdir::create()?;
    let server = RedisServer::start(RedisOptions::new("gate-cost", workdir.subdir("redis")?)).await?;
    let redis: SocketAddr = server.address().parse()?;
    let sink = sink().await;
    let mut stands = Vec::new();
    let mut gate = async |door| {
        let stand = Stand::new(Some(door)).await;
        let address = stand.address;
        stands.push(stand);
        address
    };
    let ways = [
        Way { name: "direct", redis, sink },
        Way { name: "gate", redis: gate(door_to(redis)).await, sink: gate(door_to(sink)).await },
        Way { name: "splice", redis: spliced(redis).await?, sink: spliced(sink).await? },
        Way {
            name: "held",
            redis: gate(held_door_to(redis, Asking::new(redis, true).await)).await,
            sink: gate(held_door_to(sink, Asking::new(redis, true).await)).await,
        },
    ];
    let mut figures = Figures::new();
    for _ in 0..rounds {
        for (at, way) in ways.iter().enumerate() {
            measure(at, way, &mut figures).await?;
        }
    }
    print(&ways, &figures);
    for connections in [10, 50, 200, 1_000, 10_000] {
        closing(connections).await?;
    }
    Ok(())
}

/// How long after the end of the lease the gate has closed both sockets of so many connections. Neither client nor target
/// has a task of its own here, so that the machine does the gate's work alone.
async fn closing(connections: usize) -> Result<()> {
    // Client, gate and target are in this process.
    let permitted = common::raise_open_files(4 * connections as u64 + 500) as usize;
    let connections = connections.min((permitted - 500) / 4);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let target = listener.local_addr()?;
    let stand = Stand::new(Some(door_to(target))).await;
    let mut ends = Vec::new();
    for _ in 0..connections {
        ends.push((std::net::TcpStream::connect(stand.address)?, listener.accept().await?.0.into_std()?));
    }
    let until = common::in_time(Duration::from_millis(300));
    stand.door.send(Some(Door { until: Some(until), ..door_to(target) }));
    let closed = tokio::task::spawn_blocking(move || {
        let ms = || primacy_runtime::now().since(until).as_secs_f64() * 1_000.0;
        let mut first = None;
        loop {
            let open = stand.gate.connections();
            if open < connections && first.is_none() {
                first = Some(ms());
            }
            if open == 0 {
                return (first.unwrap_or_default(), ms());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    let (first, last) = closed.await?;
    println!(
        "{connections} connections closed by the gate after {first:.1} ms (first) to {last:.1} ms (last)"
    );
    Ok(())
}

async fn measure(at: usize, way: &Way, figures: &mut Figures) -> Result<()> {
    let mut note = |what, value| figures.entry((at, what)).or_default().push(value);
    let began = cpu_ns();
    let (set, _) = benchmark(way.redis, "set", 50, 16, PIPELINED).await?;
    note("1 SET/s, 50 clients, pipeline 16", set);
    let (get, _) = benchmark(way.redis, "get", 50, 16, PIPELINED).await?;
    note("2 GET/s, 50 clients, pipeline 16", get);
    note("3 CPU of the relay for each, ns", (cpu_ns() - began) / (2 * PIPELINED) as f64);
    let began = cpu_ns();
    let (plain, p50_ms) = benchmark(way.redis, "set", 50, 1, SINGLE).await?;
    note("4 SET/s, 50 clients, no pipeline", plain);
    note("5 p50 of those, us", p50_ms * 1_000.0);
    note("6 CPU of the relay for each, ns", (cpu_ns() - began) / SINGLE as f64);
    let (_, p50_ms) = benchmark(way.redis, "set", 1, 1, SINGLE / 10).await?;
    note("7 p50 of one client, us", p50_ms * 1_000.0);
    for (what_cpu, what, streams) in [
        ("8 stream of bytes: CPU s/GiB, all ends", "8 stream of bytes: GiB/s", 1),
        ("9 8 streams: CPU s/GiB, all ends", "9 8 streams: GiB/s", 8),
    ] {
        let began = cpu_ns();
        note(what, bulk(way.sink, streams).await?);
        note(what_cpu, (cpu_ns() - began) / 1e9 / (BULK_BYTES >> 30) as f64);
    }
    Ok(())
}

/// What this process, which is the relay, has used.
fn cpu_ns() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e9 + used.tv_nsec as f64
}

/// Requests a second and their median time in ms.
async fn benchmark(
    to: SocketAddr,
    test: &str,
    clients: usize,
    pipeline: usize,
    requests: usize,
) -> Result<(f64, f64)> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &to.ip().to_string(), "-p", &to.port().to_string(), "--csv", "-t", test]);
    command.args(["-c", &clients.to_string(), "-P", &pipeline.to_string(), "-n", &requests.to_string()]);
    command.args(["-r", "100000"]).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(2), command.output()).await??;
    let text = String::from_utf8(output.stdout)?;
    let row = text.lines().last().context("redis-benchmark printed nothing")?;
    let cells: Vec<&str> = row.split(',').map(|cell| cell.trim_matches('"')).collect();
    let [_, rps, _, _, p50_ms, ..] = cells[..] else { bail!("redis-benchmark printed {row}") };
    Ok((rps.parse()?, p50_ms.parse()?))
}

/// A server that swallows what comes and says a byte at the end.
async fn sink() -> SocketAddr {
    let serve = |mut stream: TcpStream| async move {
        let mut buffer = vec![0; 1 << 18];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        let _ = stream.write_all(b".").await;
    };
    common::server(serve).await.0
}

async fn bulk(to: SocketAddr, streams: usize) -> Result<f64> {
    let began = Instant::now();
    let sending = (0..streams).map(|_| async move {
        let mut stream = TcpStream::connect(to).await?;
        let block = vec![7; 1 << 18];
        for _ in 0..BULK_BYTES / streams / block.len() {
            stream.write_all(&block).await?;
        }
        stream.shutdown().await?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await?;
        anyhow::ensure!(said == b".", "the stream ended early");
        Ok::<_, anyhow::Error>(())
    });
    tokio::time::timeout(BULK_LIMIT, futures::future::try_join_all(sending)).await??;
    Ok(BULK_BYTES as f64 / (1_u64 << 30) as f64 / began.elapsed().as_secs_f64())
}

/// A relay to `target` that moves pages through pipes, as plain as it can be made.
async fn spliced(target: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let target = TcpStream::connect(target).await?;
                client.set_nodelay(true)?;
                target.set_nodelay(true)?;
                tokio::try_join!(splice_all(&client, &target), splice_all(&target, &client))
            });
        }
    });
    Ok(address)
}

async fn splice_all(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (pipe_out, pipe_in) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    loop {
        let fill = || Ok(splice(from, None, &pipe_in, None, 1 << 16, flags)?);
        let mut in_pipe = from.async_io(Interest::READABLE, fill).await?;
        if in_pipe == 0 {
            return Ok(rustix::net::shutdown(to, rustix::net::Shutdown::Write)?);
        }
        while in_pipe > 0 {
            let drain = || Ok(splice(&pipe_out, None, to, None, in_pipe, flags)?);
            in_pipe -= to.async_io(Interest::WRITABLE, drain).await?;
        }
    }
}

fn print(ways: &[Way], figures: &Figures) {
    let median = |at, what| {
        let mut values: Vec<f64> = figures.get(&(at, what)).cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let row = |head: &str, cells: Vec<String>| {
        print!("{head:42}");
        for cell in cells {
            print!("{cell:>11}");
        }
        println!();
    };
    row("medians", ways.iter().map(|way| way.name.to_owned()).collect());
    for what in figures.keys().filter(|(at, _)| *at == 0).map(|(_, what)| *what) {
        row(what, (0..ways.len()).map(|at| format!("{:.2}", median(at, what))).collect());
    }
}
