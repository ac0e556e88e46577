//! Kafka groups on real clusters: what nodes see of them, and a mirror that outlives the node that runs it.

use crate::harness::{BINARY, PATIENCE};
use anyhow::{Result, anyhow, ensure};
use primacy_testbed::{Cluster, ClusterOptions, KafkaCluster, KafkaOptions, Workdir, wait_for};
use serde_json::Value;

const GROUP: &str = "events";

/// Two clusters, one node beside the first and two beside the second.
struct World {
    east: KafkaCluster,
    west: KafkaCluster,
    nodes: Cluster,
    // Last, so that the processes are gone before their data is.
    _dir: Workdir,
}

impl World {
    async fn start() -> World {
        let dir = Workdir::create().unwrap();
        let start = |name: &str| KafkaCluster::start(KafkaOptions::new(name, dir.path().join(name)));
        let (east, west) = tokio::try_join!(start("east"), start("west")).unwrap();
        let mut options = ClusterOptions::new(BINARY);
        options.sites = ["east", "west", "west"].map(str::to_owned).to_vec();
        let nodes = Cluster::start(options).await.unwrap();
        World { east, west, nodes, _dir: dir }
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
    w.cli(&format!("status {GROUP}")).await.unwrap();
    assert!(w.cli(&format!("history {GROUP}")).await.unwrap().contains("initial"));
}
