//! Endpoints behind gates: two small HTTP services that say their names, and clients that know nothing but a gate.
//!
//! Whoever answers is judged by what the clients saw: after the first answer of the new service none of the old one
//! comes through any gate.

use crate::harness::{BINARY, PATIENCE};
use anyhow::{Context, Result, anyhow, ensure};
use primacy_testbed::{Cluster, ClusterOptions, wait_for};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

const MODEL: &str = "model";
/// An answer that was on its way may be read late on a busy machine.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

/// A service that says its name, and how it is at `/healthz`.
struct Service {
    name: &'static str,
    address: String,
    sick: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Service {
    async fn start(name: &'static str) -> Service {
        let address = format!("127.0.0.1:{}", primacy_testbed::ports::free().unwrap());
        let mut service = Service { name, address, sick: Arc::default(), serving: None };
        service.restart().await;
        service
    }

    async fn restart(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        let (name, sick) = (self.name, self.sick.clone());
        self.serving = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(answer(stream, name, sick.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        }));
    }

    /// Its connections end with it.
    async fn kill(&mut self) {
        let serving = self.serving.take().expect("it runs");
        serving.abort();
        let _ = serving.await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

async fn answer(mut stream: TcpStream, name: &'static str, sick: Arc<AtomicBool>) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut request).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let unwell = request.starts_with(b"GET /healthz") && sick.load(Ordering::SeqCst);
        let status = if unwell { "503 Service Unavailable" } else { "200 OK" };
        let body = format!("{name}\n");
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        request.clear();
    }
}

/// One answer, as a client saw it.
#[derive(Clone, Debug)]
struct Answer {
    gate: u64,
    by: String,
    sent: Instant,
    received: Instant,
}

/// Asks over one connection.
async fn ask(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(b"GET /who HTTP/1.1\r\nhost: model\r\n\r\n").await?;
    let mut text = Vec::new();
    while !text.ends_with(b"\n") || text.ends_with(b"\r\n") {
        ensure!(stream.read_buf(&mut text).await? > 0, "the connection ended");
    }
    let text = String::from_utf8(text)?;
    let (_, body) = text.split_once("\r\n\r\n").context("no body")?;
    Ok(body.trim().to_owned())
}

/// Clients at all gates, until it is stopped.
struct Clients {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    running: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(cluster: &Cluster, at_each: usize) -> Clients {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut running = Vec::new();
        for node in cluster.nodes() {
            for _ in 0..at_each {
                let gate = node.gate(MODEL).unwrap().to_owned();
                running.push(tokio::spawn(client(node.id(), gate, stop.clone(), answers.clone())));
            }
        }
        Clients { stop, answers, running }
    }

    fn seen(&self) -> Vec<Answer> {
        self.answers.lock().unwrap().clone()
    }

    /// Waits until each of these gates has led to `name`, from now on.
    async fn wait_led_to(&self, name: &str, gates: &[u64]) {
        let from = Instant::now();
        wait_for(&format!("the gates {gates:?} to lead to {name}"), PATIENCE, async || {
            let seen = self.seen();
            let led = |gate: &u64| seen.iter().any(|a| a.gate == *gate && a.by == name && a.sent > from);
            ensure!(gates.iter().all(led), "the last: {:?}", seen.last());
            Ok(())
        })
        .await
        .unwrap();
    }

    async fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.running {
            client.await.unwrap();
        }
        let mut answers = self.answers.lock().unwrap().clone();
        answers.sort_by_key(|a| a.received);
        answers
    }
}

async fn client(id: u64, gate: String, stop: Arc<AtomicBool>, answers: Arc<Mutex<Vec<Answer>>>) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(&gate).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        for _ in 0..50 {
            let sent = Instant::now();
            // A frozen node keeps the connection: whoever waits must be able to stop.
            let Ok(Ok(by)) = timeout(Duration::from_secs(20), ask(&mut stream)).await else { break };
            answers.lock().unwrap().push(Answer { gate: id, by, sent, received: Instant::now() });
            if stop.load(Ordering::SeqCst) {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// How long nobody answered at any gate, when `old` was followed by `new`, and that `old` was never heard again.
fn handed_over(answers: &[Answer], old: &str, new: &str) -> Duration {
    let first = answers.iter().find(|a| a.by == new).expect("the new one has answered").received;
    let late: Vec<&Answer> = answers
        .iter()
        .filter(|a| a.by == old && (a.sent > first || a.received > first + ON_ITS_WAY))
        .collect();
    assert!(late.is_empty(), "{old} answered after {new}: {late:?}");
    let on_its_way = answers.iter().filter(|a| a.by == old && a.received > first).count();
    let last =
        answers.iter().filter(|a| a.by == old).map(|a| a.received).max().expect("the old one has answered");
    let gap = first.saturating_duration_since(last);
    eprintln!("{old} -> {new}: {gap:?} without an answer, {on_its_way} of {} read late", answers.len());
    gap
}

async fn cli(cluster: &Cluster, words: &str) -> Result<String> {
    let output = cluster.cli().run(words.split(' ')).await?;
    eprintln!("$ {}\n{}{}[{:?}]", output.command, output.stdout, output.stderr, output.status);
    Ok(output.success()?.stdout)
}

/// Three nodes with a gate each, and two services at east and north.
async fn start(probe: &str) -> (Cluster, Service, Service) {
    let (east, north) = (Service::start("east").await, Service::start("north").await);
    let mut options = ClusterOptions::new(BINARY);
    options.gates = vec![MODEL.to_owned()];
    let cluster = Cluster::start(options).await.unwrap();
    let member = |s: &Service, priority: u32| {
        format!(
            "[[endpoint.member]]\nname = \"{0}\"\nsite = \"{0}\"\naddress = \"{1}\"\npriority = {priority}\nprobe = \
             \"{probe}\"\n",
            s.name, s.address
        )
    };
    let text = format!("[[endpoint]]\nname = \"{MODEL}\"\n{}{}", member(&east, 200), member(&north, 100));
    let file = cluster.dir().join("groups.toml");
    std::fs::write(&file, text).unwrap();
    let node = cluster.nodes()[0].dir().join("node.toml");
    let checked = cli(&cluster, &format!("check -c {} -f {}", node.display(), file.display())).await.unwrap();
    assert!(!checked.contains("problem"), "{checked}");
    cli(&cluster, &format!("apply -f {}", file.display())).await.unwrap();
    wait_serving(&cluster, "east").await;
    (cluster, east, north)
}

async fn wait_serving(cluster: &Cluster, member: &str) -> Value {
    wait_for(&format!("{member} to serve"), PATIENCE, async || {
        let output = cluster.cli().run(["primary", MODEL, "-o", "json"]).await?.success()?;
        let answer: Value = serde_json::from_str(&output.stdout)?;
        ensure!(answer["state"] == "serving" && answer["member"] == member, "{answer}");
        Ok(answer)
    })
    .await
    .unwrap()
}

/// The newest transition, once it has ended.
async fn last_transition(cluster: &Cluster) -> Value {
    wait_for("the transition to end", PATIENCE, async || {
        let output = cluster.cli().run(["history", MODEL, "--last", "1", "-o", "json"]).await?.success()?;
        let line = output.stdout.lines().next().ok_or_else(|| anyhow!("no history"))?;
        let transition: Value = serde_json::from_str(line)?;
        ensure!(transition["outcome"] != "waiting", "{transition}");
        Ok(transition)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_endpoint_is_replaced_behind_every_gate() {
    let (cluster, mut east, _north) = start("tcp").await;
    let clients = Clients::start(&cluster, 2);
    clients.wait_led_to("east", &[1, 2, 3]).await;
    let killed = Instant::now();
    east.kill().await;
    clients.wait_led_to("north", &[1, 2, 3]).await;
    let took = killed.elapsed();
    eprintln!("all gates lead to north {took:?} after the kill");
    wait_serving(&cluster, "north").await;
    let transition = last_transition(&cluster).await;
    assert_eq!((&transition["cause"], &transition["outcome"]), (&"silence".into(), &"settled".into()));
    assert_eq!(transition["lost"]["bytes"], 0);
    for words in [format!("status {MODEL}"), "groups".to_owned(), format!("history {MODEL}")] {
        cli(&cluster, &words).await.unwrap();
    }
    // What was a primary comes back as a standby, and a failback leads to it again.
    east.restart().await;
    wait_for("a failback", PATIENCE, async || cli(&cluster, &format!("failback {MODEL}")).await)
        .await
        .unwrap();
    clients.wait_led_to("east", &[1, 2, 3]).await;
    clients.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_under_load_leads_every_request_to_one_endpoint() {
    let (cluster, _east, _north) = start("http:/healthz").await;
    let clients = Clients::start(&cluster, 8);
    clients.wait_led_to("east", &[1, 2, 3]).await;
    wait_for("a switchover", PATIENCE, async || {
        cli(&cluster, &format!("switchover {MODEL} --to north")).await
    })
    .await
    .unwrap();
    clients.wait_led_to("north", &[1, 2, 3]).await;
    let answers = clients.stop().await;
    handed_over(&answers, "east", "north");
    let transition = last_transition(&cluster).await;
    assert_eq!((&transition["cause"], &transition["outcome"]), (&"operator".into(), &"settled".into()));
    cli(&cluster, &format!("history {MODEL}")).await.unwrap();
}

/// The old endpoint serves on, sick as it is; only the gates keep clients from it, and one of them does not hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_gate_leads_nobody_to_an_endpoint_that_was_replaced() {
    let (cluster, east, _north) = start("http:/healthz").await;
    let leader = cluster.leader().await.unwrap();
    let frozen = (1..=3).find(|id| *id != leader).unwrap();
    let others: Vec<u64> = (1..=3).filter(|id| *id != frozen).collect();
    let clients = Clients::start(&cluster, 4);
    clients.wait_led_to("east", &[1, 2, 3]).await;
    cluster.node(frozen).unwrap().freeze().unwrap();
    east.sick.store(true, Ordering::SeqCst);
    let sick = Instant::now();
    clients.wait_led_to("north", &others).await;
    eprintln!("the other gates lead to north {:?} after it fell sick", sick.elapsed());
    let transition = last_transition(&cluster).await;
    assert_eq!(transition["outcome"], "settled", "{transition}");
    cluster.node(frozen).unwrap().thaw().unwrap();
    clients.wait_led_to("north", &[frozen]).await;
    handed_over(&clients.stop().await, "east", "north");
    cli(&cluster, &format!("history {MODEL}")).await.unwrap();
}
