//! The network between sites: how fast it is, how it fails, and that nothing is left of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use primacy_testbed::load::StaticLocate;
use primacy_testbed::{
    Host, Load, LoadOptions, RedisGroup, RedisOptions, RedisSentinel, RedisServer, Reject, SentinelOptions,
    Target, Verdict, Wan, WanLink, WanOptions, Workdir, wait_for,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
/// What the machine may add to the shortest of many round trips. It may add more to others: the ends are threads of
/// this test, and wait for their turn when the machine is busy.
const SLACK: Duration = Duration::from_millis(5);
const RTT: Duration = Duration::from_millis(40);
/// Long enough that what has not come until then will not come.
const SILENCE: Duration = Duration::from_millis(400);

/// One test at a time: they measure time, and count what is left.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test in the lab.
fn in_lab<T: Send>(options: &WanOptions, test: impl AsyncFnOnce(Wan) -> T + Send) -> T {
    let _alone = alone();
    Wan::run(options, test).unwrap()
}

/// Runs `work` at a host, on a runtime of its own.
async fn at<T: Send + 'static>(host: &Host, work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let host = host.clone();
    tokio::task::spawn_blocking(move || {
        host.enter(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work())
        })
        .unwrap()
    })
    .await
    .unwrap()
}

/// Echoes what comes, until the WAN is gone. Returns its address.
fn echo_at(host: &Host) -> String {
    let listener = host.enter(|| std::net::TcpListener::bind((host.address(), 0)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

/// A connection from a host; it keeps working on the runtime of the caller.
async fn connect(host: &Host, address: &str) -> std::io::Result<TcpStream> {
    let (host, address) = (host.clone(), address.to_owned());
    let connected = tokio::task::spawn_blocking(move || {
        let address = address.parse().unwrap();
        host.enter(|| std::net::TcpStream::connect_timeout(&address, SILENCE)).unwrap()
    });
    let stream = connected.await.unwrap()?;
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ping(stream: &mut TcpStream) -> std::io::Result<Duration> {
    let start = Instant::now();
    stream.write_all(b"x").await?;
    stream.read_u8().await?;
    Ok(start.elapsed())
}

async fn pings(stream: &mut TcpStream, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(ping(stream).await.unwrap());
    }
    times.sort();
    times
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, ping(stream)).await.is_err()
}

#[test]
fn a_wan_is_available() {
    let _alone = alone();
    Wan::available().unwrap();
}

#[test]
fn a_round_trip_takes_the_delays_and_little_more() {
    in_lab(&WanOptions::with_rtt(RTT), async |wan| {
        let echo = echo_at(wan.host("east").unwrap());
        let mut stream = connect(wan.host("west").unwrap(), &echo).await.unwrap();
        let times = pings(&mut stream, 25).await;
        let median = times[times.len() / 2];
        println!("{RTT:?}: shortest {:?}, median {median:?}, longest {:?}", times[0], times[24]);
        assert!(times[0] >= RTT && times[0] < RTT + SLACK && median < 2 * RTT, "{times:?}");

        // The lab is next to everybody, and a link may differ from the others, each way.
        let mut stream = connect(wan.lab(), &echo).await.unwrap();
        let times = pings(&mut stream, 25).await;
        println!("lab: shortest {:?}, median {:?}", times[0], times[12]);
        assert!(times[0] < SLACK, "{times:?}");
        wan.set_link_one_way("north", "east", &WanLink::default()).unwrap();
        let mut stream = connect(wan.host("north").unwrap(), &echo).await.unwrap();
        let times = pings(&mut stream, 25).await;
        println!("one way only: shortest {:?}, median {:?}", times[0], times[12]);
        assert!(times[0] >= RTT / 2 && times[0] < RTT / 2 + SLACK, "{times:?}");
    });
}

#[test]
fn a_cut_is_silent_and_heals() {
    in_lab(&WanOptions::with_rtt(Duration::from_millis(2)), async |wan| {
        let (east, west, north) =
            (wan.host("east").unwrap(), wan.host("west").unwrap(), wan.host("north").unwrap());
        let echo = echo_at(east);
        let mut from_west = connect(west, &echo).await.unwrap();
        let mut from_north = connect(north, &echo).await.unwrap();
        let mut from_lab = connect(wan.lab(), &echo).await.unwrap();
        pings(&mut from_west, 1).await;
        wan.cut("east", "west").unwrap();
        assert!(is_silent(&mut from_west).await);
        assert_eq!(connect(west, &echo).await.unwrap_err().kind(), ErrorKind::TimedOut);
        pings(&mut from_north, 3).await;
        wan.isolate("east").unwrap();
        assert!(is_silent(&mut from_north).await);
        pings(&mut from_lab, 3).await;
        wan.heal_all();
        // What was sent meanwhile is sent again, as over any network.
        timeout(PATIENCE, from_west.read_u8()).await.unwrap().unwrap();
        timeout(PATIENCE, from_north.read_u8()).await.unwrap().unwrap();
        pings(&mut from_west, 1).await;
        connect(west, &echo).await.unwrap();
    });
}

#[test]
fn a_one_way_cut_lets_the_question_through_and_not_the_answer() {
    in_lab(&WanOptions::with_rtt(Duration::from_millis(2)), async |wan| {
        let echo = echo_at(wan.host("east").unwrap());
        wan.cut_one_way("east", "west").unwrap();
        let (asked, lost) = (wan.traffic("west", "east").unwrap(), wan.traffic("east", "west").unwrap().lost);
        let error = connect(wan.host("west").unwrap(), &echo).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(wan.traffic("west", "east").unwrap().connections > asked.connections);
        assert!(wan.traffic("east", "west").unwrap().lost > lost);
        wan.heal("east", "west").unwrap();
        connect(wan.host("west").unwrap(), &echo).await.unwrap();
    });
}

#[test]
fn a_firewall_resets_new_connections_only_or_all() {
    in_lab(&WanOptions::with_rtt(RTT), async |wan| {
        let west = wan.host("west").unwrap();
        let echo = echo_at(wan.host("east").unwrap());
        let mut open = connect(west, &echo).await.unwrap();
        wan.reject("west", "east", Reject::NewConnections).unwrap();
        let mut shortest = PATIENCE;
        for _ in 0..9 {
            let start = Instant::now();
            let error = connect(west, &echo).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            shortest = shortest.min(start.elapsed());
        }
        assert!(shortest < RTT, "the firewall is at the sender's: {shortest:?}");
        pings(&mut open, 2).await;

        wan.reject("west", "east", Reject::Everything).unwrap();
        let error = timeout(PATIENCE, ping(&mut open)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(connect(west, &echo).await.is_err());
        wan.heal("west", "east").unwrap();
        pings(&mut connect(west, &echo).await.unwrap(), 1).await;
    });
}

#[test]
fn a_firewall_that_resets_all_ends_the_connection_at_the_other_end_too() {
    in_lab(&WanOptions::with_rtt(Duration::from_millis(2)), async |wan| {
        let east = wan.host("east").unwrap();
        let listener = east.enter(|| std::net::TcpListener::bind((east.address(), 0)).unwrap()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut client = connect(wan.host("west").unwrap(), &address).await.unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut server = TcpStream::from_std(server).unwrap();
        wan.reject("west", "east", Reject::Everything).unwrap();
        client.write_all(b"x").await.unwrap();
        let error = timeout(PATIENCE, server.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_filter_tells_hosts_of_a_site_apart() {
    let mut options = WanOptions::with_rtt(Duration::from_millis(2));
    options.hosts = vec!["west/clients".into(), "east/clients".into()];
    in_lab(&options, async |wan| {
        let (east, west) = (wan.host("east").unwrap(), wan.host("west").unwrap());
        let (ours, theirs) = (west.address(), wan.host("west/clients").unwrap());
        assert_ne!(ours, theirs.address());
        let echo = echo_at(east);
        wan.filter(
            "west",
            "east",
            move |header| {
                if *header.source.ip() == ours { Verdict::Reject } else { Verdict::Pass }
            },
        )
        .unwrap();
        assert_eq!(connect(west, &echo).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        pings(&mut connect(theirs, &echo).await.unwrap(), 1).await;

        // Within a site, too, where nothing is delayed.
        let neighbour = wan.host("east/clients").unwrap();
        wan.set_link("east", "west", &WanLink::with_rtt(RTT)).unwrap();
        let times = pings(&mut connect(neighbour, &echo).await.unwrap(), 9).await;
        assert!(times[0] < SLACK, "{times:?}");
        wan.filter("east", "east", |_| Verdict::Drop).unwrap();
        assert_eq!(connect(neighbour, &echo).await.unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_bulk_stream_keeps_to_the_rate_and_is_fast_without_one() {
    const RATE: u64 = 4 << 20;
    in_lab(&WanOptions::with_rtt(Duration::from_millis(10)), async |wan| {
        let (east, west) = (wan.host("east").unwrap(), wan.host("west").unwrap());
        let before = wan.traffic("west", "east").unwrap();
        let (bytes, took) = (64 << 20, push(east, west, 64 << 20).await);
        let packets = wan.traffic("west", "east").unwrap().packets - before.packets;
        println!(
            "no limit: {:.1} MB/s, {:.0} packets/s",
            f64::from(bytes) / took.as_secs_f64() / 1e6,
            packets as f64 / took.as_secs_f64()
        );
        assert!(packets as f64 / took.as_secs_f64() > 10_000.0, "{packets} packets in {took:?}");

        wan.set_link("east", "west", &WanLink { rate_bytes: Some(RATE), ..WanLink::with_rtt(RTT) }).unwrap();
        let took = push(east, west, 2 * RATE as usize).await.as_secs_f64();
        println!("limited to {RATE}: {:.0} bytes/s", 2.0 * RATE as f64 / took);
        assert!((1.9..3.5).contains(&took), "{took} s");
    });
}

/// Sends bytes from one host to another and returns how long it took until the last had come.
async fn push(to: &Host, from: &Host, bytes: usize) -> Duration {
    let listener = to.enter(|| std::net::TcpListener::bind((to.address(), 0)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let receiver = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });
    let start = Instant::now();
    let mut stream = connect(from, &address).await.unwrap();
    stream.write_all(&vec![0; bytes]).await.unwrap();
    drop(stream);
    assert_eq!(receiver.await.unwrap(), bytes as u64);
    start.elapsed()
}

#[test]
fn redis_is_far_away_and_replicates_over_the_wan() {
    in_lab(&WanOptions::with_rtt(RTT), async |wan| {
        let dir = Workdir::create().unwrap();
        let sites = ["east", "north", "west"];
        let group = RedisGroup::start_replicating_over(Some(&wan), "g", &sites, dir.path(), PATIENCE);
        let group = group.await.unwrap();
        let east = group.member("east-a").unwrap();
        let west = wan.host("west").unwrap();
        let replicas = east.info().await.unwrap();
        assert!(replicas["slave0"].contains("ip=10.77."), "{}", replicas["slave0"]);

        let address = east.redis_address().clone();
        let took = at(west, async move || {
            let mut connection = address.connect().await.unwrap();
            let start = Instant::now();
            redis::cmd("SET").arg("k").arg("v").query_async::<()>(&mut connection).await.unwrap();
            start.elapsed()
        })
        .await;
        println!("SET from the west: {took:?}");
        assert!(took >= RTT, "{took:?}");
        let from_lab = group.member("west-a").unwrap();
        wait_for("the write to be in the west", PATIENCE, async || {
            let mut connection = from_lab.connection().await?;
            let value: Option<String> = redis::cmd("GET").arg("k").query_async(&mut connection).await?;
            anyhow::ensure!(value.as_deref() == Some("v"), "{value:?}");
            Ok(())
        })
        .await
        .unwrap();
        let mut options = SentinelOptions::new("west-s", dir.path().join("west-s"), "g", east.address());
        options.host = Some(west.clone());
        let sentinel = RedisSentinel::start(options).await.unwrap();
        assert!(sentinel.address().starts_with(&west.address().to_string()));
        sentinel.wait_discovered(2, 0, PATIENCE).await.unwrap();

        wan.cut("east", "west").unwrap();
        let mut connection = east.connection().await.unwrap();
        redis::cmd("SET").arg("k").arg("w").query_async::<()>(&mut connection).await.unwrap();
        let north = group.member("north-a").unwrap();
        wait_for("the write to be in the north", PATIENCE, async || {
            let value: Option<String> =
                redis::cmd("GET").arg("k").query_async(&mut north.connection().await?).await?;
            anyhow::ensure!(value.as_deref() == Some("w"), "{value:?}");
            Ok(())
        })
        .await
        .unwrap();
        let mut connection = from_lab.connection().await.unwrap();
        let value: String = redis::cmd("GET").arg("k").query_async(&mut connection).await.unwrap();
        assert_eq!(value, "v");
    });
}

#[test]
fn a_load_runs_at_a_host() {
    in_lab(&WanOptions::with_rtt(RTT), async |wan| {
        let dir = Workdir::create().unwrap();
        let mut options = RedisOptions::new("east-a", dir.path().join("east-a"));
        options.host = Some(wan.host("east").unwrap().clone());
        let server = RedisServer::start(options).await.unwrap();
        let target = Target::new("east-a", server.address());
        let options = LoadOptions { writers: 2, records_max: 5, ..LoadOptions::default() };
        let west = wan.host("west").unwrap();
        let start = Instant::now();
        let load = Load::start_at(west, options, move || Ok(StaticLocate::new([target]))).unwrap();
        let ledger = load.finished().await;
        assert_eq!(ledger.acked(), 10);
        assert!(start.elapsed() >= 5 * RTT, "{:?}", start.elapsed());
        assert_eq!(wan.traffic("west", "east").unwrap().connections, 2);
        let failing = Load::start_at(west, LoadOptions::default(), || {
            anyhow::bail!("nobody knows the primary");
            #[allow(unreachable_code)]
            Ok(StaticLocate::new([]))
        });
        assert!(failing.unwrap_err().to_string().contains("nobody knows"));
    });
}

#[test]
fn names_that_nobody_has_are_refused() {
    let mut options = WanOptions::with_rtt(RTT);
    in_lab(&options, async |wan| {
        assert!(wan.cut("east", "south").unwrap_err().to_string().contains("no site south"));
        assert!(wan.isolate("lab").is_err());
        assert!(wan.host("east/clients").is_err());
    });
    options.hosts = vec!["south/clients".into()];
    let _alone = alone();
    assert!(Wan::start(&options).unwrap_err().to_string().contains("no site south"));
}

/// The networks that processes and threads of this machine are in.
fn networks() -> BTreeSet<String> {
    let links = |dir: std::path::PathBuf| std::fs::read_link(dir.join("ns/net")).ok();
    let tasks = |pid: std::path::PathBuf| std::fs::read_dir(pid.join("task")).into_iter().flatten().flatten();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .flat_map(tasks)
        .filter_map(|task| links(task.path()))
        .map(|link| link.display().to_string())
        .collect()
}

#[test]
fn nothing_is_left_of_a_wan() {
    let threads = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("wan router") || name.starts_with("host ")).count()
    };
    let files = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        files.filter(|file| file.to_str().is_some_and(|f| f.contains("tun") || f.contains("net:["))).count()
    };
    let _alone = alone();
    let test = async |wan: Wan| {
        let dir = Workdir::create().unwrap();
        let mut options = RedisOptions::new("east-a", dir.path().join("east-a"));
        options.host = Some(wan.host("east").unwrap().clone());
        let server = RedisServer::start(options).await.unwrap();
        let mut stream = connect(wan.host("west").unwrap(), server.address()).await.unwrap();
        stream.write_all(b"PING\r\n").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'+');
        assert_eq!((threads(), files()), (5, 8));
        let of = |path: String| std::fs::read_link(path).unwrap().display().to_string();
        let redis = of(format!("/proc/{}/ns/net", server.process().pid()));
        assert_ne!(redis, of("/proc/thread-self/ns/net".to_owned()));
        [redis, of("/proc/thread-self/ns/net".to_owned())]
    };
    let inside = Wan::run(&WanOptions::with_rtt(RTT), test).unwrap();
    // A thread is seen a moment longer than it takes to join it.
    let deadline = Instant::now() + PATIENCE;
    while (threads(), files()) != (0, 0) {
        assert!(Instant::now() < deadline, "{} threads and {} files are left", threads(), files());
        std::thread::yield_now();
    }
    let left = networks();
    assert!(inside.iter().all(|network| !left.contains(network)), "{inside:?} in {left:?}");
}
