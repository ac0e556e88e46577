//! Kafka groups on real clusters: what nodes see of them, and a mirror that outlives the node that runs it.

use crate::harness::{BINARY, PATIENCE};
use anyhow::{Result, anyhow, ensure};
use primacy_testbed::kafka::{Jvm, java};
use primacy_testbed::{
    Cluster, ClusterOptions, KafkaCluster, KafkaOptions, KafkaVersion, Process, Workdir, http, wait_for,
};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const GROUP: &str = "events";
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;

/// Two clusters, one node beside the first and two beside the second.
struct World {
    east: KafkaCluster,
    west: KafkaCluster,
    nodes: Cluster,
    // Last, so that the processes are gone before their data is.
    dir: Workdir,
}

impl World {
    async fn start() -> World {
        World::start_as(|_| (), |_| String::new()).await
    }

    /// With these clusters, and lines for the file of each node.
    async fn start_as(kafka: impl Fn(&mut KafkaOptions), node_toml: impl Fn(&Workdir) -> String) -> World {
        let dir = Workdir::create().unwrap();
        let start = |name: &str| {
            let mut options = KafkaOptions::new(name, dir.path().join(name));
            kafka(&mut options);
            KafkaCluster::start(options)
        };
        let (east, west) = tokio::try_join!(start("east"), start("west")).unwrap();
        let mut options = ClusterOptions::new(BINARY);
        options.sites = ["east", "west", "west"].map(str::to_owned).to_vec();
        options.node_toml = node_toml(&dir);
        let nodes = Cluster::start(options).await.unwrap();
        World { east, west, nodes, dir }
    }

    /// One of Kafka's own programs.
    fn program(&self, main_class: &str, args: &[&str], log: &str) -> Process {
        let args = args.iter().map(Into::into).collect();
        let log = self.dir.path().join(log);
        Process::start(
            &java(KafkaVersion::V4_1, &Jvm::small(), main_class, args, self.dir.path(), &log).unwrap(),
        )
        .unwrap()
    }

    /// Has `kafka-acls` allow something.
    async fn allow(&self, cluster: &KafkaCluster, words: &str) {
        let bootstrap = cluster.internal_bootstrap().join(",");
        let args = ["--bootstrap-server", &bootstrap, "--add"].into_iter().chain(words.split(' '));
        let acls = self.program("org.apache.kafka.tools.AclCommand", &args.collect::<Vec<_>>(), "acls.log");
        wait_for("the ACLs to be written", PATIENCE, async || {
            let ended = acls.exit_status()?.ok_or_else(|| anyhow!("not yet"))?;
            assert!(ended.success(), "{words}: {}", acls.log_tail(20));
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Writes groups.toml; the second address is the west's unless it is given.
    fn groups_toml(&self, west: &str) -> String {
        let member = |name: &str, address: &str, priority: u32| {
            format!(
                "[[kafka.member]]\nname = \"{name}\"\nsite = \"{name}\"\nbootstrap = [\"{address}\"]\n\
                 priority = {priority}\n"
            )
        };
        let east = &self.east.bootstrap()[0];
        let text = format!(
            "[[kafka]]\nname = \"{GROUP}\"\ntopics = [\"orders\", \"clicks-.*\"]\n{}{}",
            member("east", east, 200),
            member("west", west, 100)
        );
        let file = self.nodes.dir().join("groups.toml");
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    async fn serve(&self) {
        let file = self.groups_toml(&self.west.bootstrap()[0]);
        self.cli(&format!("apply -f {file}")).await.unwrap();
        self.wait_status("east to be the active cluster", |group| {
            ensure!(group["state"] == "serving" && group["primary"]["member"] == "east", "not yet");
            Ok(())
        })
        .await;
    }

    async fn cli(&self, words: &str) -> Result<String> {
        let output = self.nodes.cli().run(words.split(' ')).await?;
        eprintln!("$ {}\n{}{}[{:?}]", output.command, output.stdout, output.stderr, output.status);
        Ok(output.success()?.stdout)
    }

    /// What a refused command says.
    async fn refused(&self, words: &str) -> String {
        let output = self.nodes.cli().run(words.split(' ')).await.unwrap();
        eprintln!("$ {}\n{}{}[{:?}]", output.command, output.stdout, output.stderr, output.status);
        assert_ne!(output.status, Some(0));
        output.stdout + &output.stderr
    }

    /// The group in `status -o json`, once it is as it should be.
    async fn wait_status(&self, what: &str, check: impl Fn(&Value) -> Result<()>) -> Value {
        wait_for(what, PATIENCE, async || {
            let output = self.nodes.cli().run(["status", GROUP, "-o", "json"]).await?.success()?;
            let status: Value = serde_json::from_str(&output.stdout)?;
            let group = status["groups"].get(0).ok_or_else(|| anyhow!("no group"))?;
            check(group).map_err(|e| anyhow!("{e}: {group}"))?;
            Ok(group.clone())
        })
        .await
        .unwrap()
    }
}

fn member<'a>(group: &'a Value, name: &str) -> &'a Value {
    let members = group["members"].as_array().unwrap();
    members.iter().find(|m| m["member"] == name).unwrap()
}

fn notes(group: &Value) -> String {
    group["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_seen_as_they_are_and_what_cannot_work_is_refused() {
    let mut w = World::start().await;
    let port = w.east.bootstrap()[0].rsplit(':').next().unwrap().to_owned();
    let same = w.groups_toml(&format!("localhost:{port}"));
    let told = w.refused(&format!("apply -f {same}")).await;
    assert!(told.contains("leads to the same server as east in group events"), "{told}");
    let nobody = w.groups_toml("127.0.0.1:1");
    let told = w.refused(&format!("apply -f {nobody}")).await;
    assert!(told.contains("kafka.events.member.west.bootstrap: 127.0.0.1:1 refuses connections"), "{told}");

    w.serve().await;
    let (east_id, west_id) = (w.east.cluster_id().to_owned(), w.west.cluster_id().to_owned());
    w.wait_status("both clusters to be reachable", |group| {
        for (name, id) in [("east", &east_id), ("west", &west_id)] {
            let cluster = &member(group, name)["cluster"];
            ensure!(cluster["cluster_id"] == id.as_str() && cluster["state"] == "reachable", "{name}");
            ensure!(cluster["brokers"] == 1 && member(group, name)["version"] == "4.1 or later", "{name}");
        }
        Ok(())
    })
    .await;
    for verb in ["switchover", "failover"] {
        let told = w.refused(&format!("{verb} {GROUP}")).await;
        assert!(told.contains("does not make another one active yet"), "{told}");
    }

    w.east.kill().unwrap();
    let group = w
        .wait_status("the group to say that its cluster is down", |group| {
            ensure!(group["state"] == "blocked", "not yet");
            ensure!(member(group, "east")["cluster"]["state"] == "unreachable", "not seen as such");
            Ok(())
        })
        .await;
    assert_eq!(group["blocked"]["code"], "cluster_down");
    w.east.restart().await.unwrap();
    w.wait_status("the group to go on", |group| {
        ensure!(group["state"] == "serving", "not yet");
        Ok(())
    })
    .await;
    // A mirror of others is watched; nobody runs one here.
    let file = w.groups_toml(&w.west.bootstrap()[0]);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("topics =", "mirror = \"external\"\ntopics =")).unwrap();
    w.cli(&format!("apply -f {file}")).await.unwrap();
    w.wait_status("the missing mirror to be told", |group| {
        let trouble = member(group, "west")["mirror"]["trouble"].as_str().unwrap_or_default();
        ensure!(trouble.contains("mm2-offset-syncs"), "{trouble}");
        Ok(())
    })
    .await;
    create_topic(&w.east).await;
    let writer = Writer::start(&w.east);
    let _maker = mirror_maker(&w);
    w.wait_status("the mirror of others to be watched", |group| {
        let mirror = &member(group, "west")["mirror"];
        ensure!(mirror["mode"] == "live" && mirror["trouble"].is_null(), "not yet");
        let topics = mirror["topics"].as_array().cloned().unwrap_or_default();
        let orders = topics.iter().find(|t| t["name"] == TOPIC).ok_or_else(|| anyhow!("no topic"))?;
        ensure!(orders["partitions"] == PARTITIONS && mirror["sample_age_ms"].is_u64(), "not all of it");
        ensure!(notes(group).contains("lag is the most that a standby may lack"), "no word of it");
        Ok(())
    })
    .await;
    assert!(writer.stop().await > 0);
    assert!(w.cli(&format!("status {GROUP}")).await.unwrap().contains("1 topic watched"));
    assert!(w.cli(&format!("history {GROUP}")).await.unwrap().contains("initial"));
}

/// A real MirrorMaker 2 between the two clusters.
fn mirror_maker(w: &World) -> Process {
    let properties = format!(
        "clusters = a, b\na.bootstrap.servers = {}\nb.bootstrap.servers = {}\na->b.enabled = true\n\
         a->b.topics = {TOPIC}\nb->a.enabled = false\nreplication.factor = 1\n\
         checkpoints.topic.replication.factor = 1\noffset-syncs.topic.replication.factor = 1\n\
         heartbeats.topic.replication.factor = 1\noffset.storage.replication.factor = 1\n\
         status.storage.replication.factor = 1\nconfig.storage.replication.factor = 1\n\
         emit.heartbeats.enabled = false\na.consumer.auto.offset.reset = earliest\n",
        w.east.bootstrap().join(","),
        w.west.bootstrap().join(","),
    );
    let file = w.dir.path().join("mm2.properties");
    std::fs::write(&file, properties).unwrap();
    w.program("org.apache.kafka.connect.mirror.MirrorMaker", &[&file.display().to_string()], "mm2.log")
}

/// Clients of a test come in where brokers meet, which is open to them whatever else wants a login.
fn client(cluster: &KafkaCluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.internal_bootstrap().join(","));
    config
}

async fn create_topic(cluster: &KafkaCluster) {
    create_named(cluster, TOPIC).await;
}

async fn create_named(cluster: &KafkaCluster, name: &str) {
    let admin: AdminClient<DefaultClientContext> = client(cluster).create().unwrap();
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

/// Writes until it is stopped, and says how many were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    running: JoinHandle<u64>,
}

impl Writer {
    fn start(cluster: &KafkaCluster) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let producer: FutureProducer =
            client(cluster).set("acks", "all").set("linger.ms", "5").create().unwrap();
        let stopping = stop.clone();
        let running = tokio::spawn(async move {
            let mut acknowledged = 0;
            while !stopping.load(Ordering::SeqCst) {
                let sending = (0..20).map(|n| {
                    let (key, value) = (format!("k{n}"), format!("value {acknowledged} {n}"));
                    let producer = &producer;
                    async move {
                        let headers = OwnedHeaders::new().insert(Header { key: "n", value: Some(&key) });
                        let record = FutureRecord::to(TOPIC).key(&key).payload(&value).headers(headers);
                        producer.send(record, PATIENCE).await.is_ok()
                    }
                });
                let sent = futures::future::join_all(sending).await;
                acknowledged += sent.into_iter().filter(|ok| *ok).count() as u64;
            }
            acknowledged
        });
        Writer { stop, running }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.running.await.unwrap()
    }
}

type Record = (i32, i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Option<Vec<u8>>);

/// Every record of the topic, with its place.
async fn everything(cluster: &KafkaCluster) -> Vec<Record> {
    let config = client(cluster).set("group.id", "judge").clone();
    let read = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let (started, mut records) = (Instant::now(), Vec::new());
        for partition in 0..PARTITIONS {
            let (first, end) = consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap();
            let mut assignment = TopicPartitionList::new();
            assignment.add_partition_offset(TOPIC, partition, Offset::Offset(first)).unwrap();
            consumer.assign(&assignment).unwrap();
            let mut next = first;
            while next < end {
                assert!(started.elapsed() < PATIENCE, "partition {partition} gave no record {next}");
                // It returns without one for reasons of its own as well.
                let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
                let message = message.unwrap();
                let header = message.headers().map(|h| h.get(0).value.unwrap().to_vec());
                let (key, value) = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
                let timestamp = message.timestamp().to_millis();
                records.push((partition, message.offset(), key, value, timestamp, header));
                next = message.offset() + 1;
            }
        }
        records
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn live(group: &Value) -> Result<u64> {
    let mirror = &member(group, "west")["mirror"];
    let heard = mirror["sample_age_ms"].is_u64();
    ensure!(mirror["running"] == true && mirror["mode"] == "live" && heard, "not live");
    mirror["node"].as_u64().ok_or_else(|| anyhow!("no node"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_outlives_the_node_that_runs_it() {
    let mut w = World::start().await;
    create_topic(&w.east).await;
    let writer = Writer::start(&w.east);
    w.serve().await;
    let group = w.wait_status("a live mirror", |group| live(group).map(drop)).await;
    let owner = live(&group).unwrap();
    assert!(owner == 2 || owner == 3, "n{owner} is not beside the standby");
    w.cli(&format!("status {GROUP}")).await.unwrap();

    w.nodes.node(owner).unwrap().kill().unwrap();
    let group = w
        .wait_status("another node to mirror", |group| {
            ensure!(live(group)? != owner, "still n{owner}");
            Ok(())
        })
        .await;
    let heir = live(&group).unwrap();
    assert_eq!(heir, 5 - owner, "the other node at the standby's site");

    // A node that wakes up finds its lease over.
    w.nodes.node_mut(owner).unwrap().restart(PATIENCE).await.unwrap();
    w.nodes.node(heir).unwrap().freeze().unwrap();
    w.wait_status("the first one to mirror again", |group| {
        ensure!(live(group)? == owner, "not yet");
        Ok(())
    })
    .await;
    w.nodes.node(heir).unwrap().thaw().unwrap();

    let acknowledged = writer.stop().await;
    let source = everything(&w.east).await;
    assert!(source.len() as u64 >= acknowledged && acknowledged > 0, "{} of {acknowledged}", source.len());
    w.wait_status("the mirror to have everything", |group| {
        live(group)?;
        let cluster = |name: &str| member(group, name)["cluster"]["end_records"].as_u64();
        ensure!(cluster("west") == Some(source.len() as u64), "{:?} of {}", cluster("west"), source.len());
        ensure!(member(group, "west")["mirror"]["lag"]["records"] == 0, "it lags");
        Ok(())
    })
    .await;
    let target = everything(&w.west).await;
    assert_eq!(source.len(), target.len());
    let differs = source.iter().zip(&target).find(|(a, b)| a != b);
    assert!(differs.is_none(), "{differs:?}");
    eprintln!("{} records, {acknowledged} acknowledged, all at their offsets", source.len());

    // A changed group is followed by whoever mirrors.
    create_named(&w.east, "later").await;
    let file = w.groups_toml(&w.west.bootstrap()[0]);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("topics = [", "mirror_rate = \"40 MiB/s\"\ntopics = [\"later\", "))
        .unwrap();
    w.cli(&format!("apply -f {file}")).await.unwrap();
    w.wait_status("the new topic to be mirrored", |group| {
        live(group)?;
        let topics = member(group, "west")["mirror"]["topics"].as_array().cloned().unwrap_or_default();
        let later = topics.iter().find(|t| t["name"] == "later").ok_or_else(|| anyhow!("it is not there"))?;
        ensure!(later["state"] == "aligned", "not aligned");
        Ok(())
    })
    .await;

    let group = w.wait_status("the notes to be quiet", |group| live(group).map(drop)).await;
    assert!(!notes(&group).contains("unaligned"), "{}", notes(&group));
    let metrics = http::get(w.nodes.node(owner).unwrap().http(), "/metrics", PATIENCE).await.unwrap();
    let text = metrics.body;
    assert!(text.contains("primacy_mirror_lag_records{group=\"events\",member=\"west\"} 0"), "{text}");

    // What was heard last stands, with its age.
    w.east.kill().unwrap();
    w.wait_status("the age of the sample", |group| {
        let age = member(group, "west")["mirror"]["sample_age_ms"].as_u64();
        ensure!(age.is_some_and(|age| age > 2_000), "{age:?}");
        ensure!(group["state"] == "blocked", "not blocked");
        let reason = group["blocked"]["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("west lacks 0 records by a sample"), "{reason}");
        Ok(())
    })
    .await;
    w.cli(&format!("status {GROUP}")).await.unwrap();
}

/// Brokers with an authorizer, and nodes that write as one of three users.
async fn guarded() -> World {
    const USERS: [&str; 4] = ["primacy", "m1", "m2", "m3"];
    let kafka = |options: &mut KafkaOptions| options.authorize(&USERS.map(|user| (user, "secret")), &[]);
    let node_toml = |dir: &Workdir| {
        let file = dir.path().join("kafka.password");
        std::fs::write(&file, "secret\n").unwrap();
        let login =
            |user: &str| format!("username = {user:?}\npassword_file = {:?}\n", file.display().to_string());
        let own = format!("\n[kafka.{GROUP}]\nsasl = \"scram-sha-512\"\n{}", login(USERS[0]));
        let each = USERS[1..].iter().map(|user| format!("[[kafka.{GROUP}.mirror_user]]\n{}", login(user)));
        own + &each.collect::<String>()
    };
    let w = World::start_as(kafka, node_toml).await;
    for cluster in [&w.east, &w.west] {
        let all = "--allow-principal User:primacy --operation All --topic orders --group * --transactional-id * --cluster";
        w.allow(cluster, all).await;
    }
    w.allow(&w.east, "--allow-principal User:primacy --operation Describe --topic secret").await;
    let writers = "--allow-principal User:m1 --allow-principal User:m2 --allow-principal User:m3 --operation Write --topic orders";
    w.allow(&w.west, writers).await;
    w
}

#[tokio::test(flavor = "multi_thread")]
async fn each_owner_of_a_mirror_writes_as_another_user() {
    let w = guarded().await;
    create_topic(&w.east).await;
    create_named(&w.east, "secret").await;
    let writer = Writer::start(&w.east);
    w.serve().await;
    let as_whom = |group: &Value| {
        let user = &member(group, "west")["mirror"]["writes_as"];
        user.as_str().map(str::to_owned).ok_or_else(|| anyhow!("nobody's"))
    };
    let group = w.wait_status("a live mirror", |group| live(group).and(as_whom(group)).map(drop)).await;
    let (owner, first) = (live(&group).unwrap(), as_whom(&group).unwrap());
    let told = w.cli(&format!("status {GROUP}")).await.unwrap();
    assert!(told.contains(&format!("writes as {first}, earlier owners are shut out")), "{told}");

    w.nodes.node(owner).unwrap().freeze().unwrap();
    w.wait_status("another node to mirror as another user", |group| {
        ensure!(live(group)? != owner && as_whom(group)? != first, "still n{owner} as {first}");
        Ok(())
    })
    .await;
    w.nodes.node(owner).unwrap().thaw().unwrap();
    let acknowledged = writer.stop().await;
    let source = everything(&w.east).await;
    assert!(source.len() as u64 >= acknowledged && acknowledged > 0, "{} of {acknowledged}", source.len());
    wait_for("the mirror to have everything", PATIENCE, async || {
        let copied = everything(&w.west).await.len();
        ensure!(copied >= source.len(), "{copied} of {}", source.len());
        Ok(())
    })
    .await
    .unwrap();
    assert!(everything(&w.west).await == source);

    // Rights are looked at anew where a changed group means other topics.
    let file = w.groups_toml(&w.west.bootstrap()[0]);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("topics = [", "topics = [\"secret\", ")).unwrap();
    w.cli(&format!("apply -f {file}")).await.unwrap();
    let group = w
        .wait_status("the rights that the new topic needs to be named", |group| {
            ensure!(notes(group).contains("on topic secret; add ACLs that allow it"), "{}", notes(group));
            Ok(())
        })
        .await;
    let lacking = "east: our user lacks Read, Delete, Alter, DescribeConfigs, AlterConfigs on topic secret";
    assert!(notes(&group).contains(lacking), "{}", notes(&group));
}
