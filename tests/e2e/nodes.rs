//! The coordinator nodes themselves: restarted, replaced, all down, cut to a minority.

use crate::harness::{
    GROUP, PATIENCE, can_go_to, client, deployment, last_transition, load, loss_is_known, lost_bytes, ok,
    reckon, refused, run, wait_leader, wait_other, writes_go_on,
};
use primacy_client::{Client, v1};
use primacy_testbed::wait_for;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Reads the Directory in a loop, linearizable, as the SDK does; counts what it could not hide.
struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

fn read_on(client: Client) -> Reader {
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, counted) = (stop.clone(), reads.clone());
    let task = tokio::spawn(async move {
        let mut errors = Vec::new();
        let mut epoch = 0;
        while !stopped.load(Ordering::Relaxed) {
            match client.get_primary(GROUP, v1::Consistency::Linearizable).await {
                Ok(primary) if primary.epoch < epoch => {
                    errors.push(format!("epoch {} after {epoch}", primary.epoch));
                }
                Ok(primary) => epoch = primary.epoch,
                Err(error) => errors.push(error.to_string()),
            }
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        errors
    });
    Reader { stop, reads, task }
}

impl Reader {
    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let errors = self.task.await.unwrap();
        assert!(errors.is_empty(), "{} reads, errors: {errors:#?}", self.reads.load(Ordering::Relaxed));
        assert!(self.reads.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_is_noticed_by_nobody() {
    let mut d = deployment().await;
    let load = load(&d);
    let reader = read_on(client(&d));
    writes_go_on(&load, 100).await;
    for id in [1, 2, 3] {
        let node = d.cluster.node_mut(id).unwrap();
        let status = node.process().terminate(PATIENCE).await.unwrap();
        assert!(status.success(), "n{id} ended with {status} after SIGTERM");
        node.restart(PATIENCE).await.unwrap();
        writes_go_on(&load, 100).await;
    }
    reader.finish().await;
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("east-a"), "nothing failed over");
    let ledger = reckon(&d, load, 0).await;
    assert_eq!(ledger.failures(), 0, "a writer was interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_come_back_and_the_primary_serves_without_any() {
    let mut d = deployment().await;
    let load = load(&d);
    // Writers that never found the primary could not show anything.
    writes_go_on(&load, 100).await;
    let leader = wait_leader(&d, None).await;
    d.cluster.node(leader).unwrap().kill().unwrap();
    wait_leader(&d, Some(leader)).await;
    d.cluster.node_mut(leader).unwrap().restart(PATIENCE).await.unwrap();

    for id in [1, 2, 3] {
        d.cluster.node(id).unwrap().kill().unwrap();
    }
    writes_go_on(&load, 1_000).await;
    let said = refused(&d, &format!("--timeout 2s primary {GROUP}"), 4).await;
    assert!(said.contains("no node answers"), "{said}");
    for id in [1, 2, 3] {
        d.cluster.node_mut(id).unwrap().respawn().unwrap();
    }
    for id in [1, 2, 3] {
        d.cluster.node(id).unwrap().wait_ready(PATIENCE).await.unwrap();
    }
    writes_go_on(&load, 100).await;
    loss_is_known(&d).await;

    // And they are as able as before.
    d.group.member("east-a").unwrap().kill().unwrap();
    wait_other(&d, "east-a").await;
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    d.wait_settled(PATIENCE).await.unwrap();
    let t = last_transition(&d, 2).await;
    reckon(&d, load, lost_bytes(&t)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_answers_with_its_age_and_never_linearizable() {
    let d = deployment().await;
    let load = load(&d);
    // Writers that never found the primary could not show anything.
    writes_go_on(&load, 100).await;
    let leader = wait_leader(&d, None).await;
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        d.cluster.node(id).unwrap().kill().unwrap();
    }
    writes_go_on(&load, 500).await;
    refused(&d, &format!("--timeout 3s primary {GROUP}"), 4).await;
    let output = run(&d, &format!("primary {GROUP} --consistency local -o json")).await;
    assert_eq!(output.status, Some(0), "{output:?}");
    let local: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&local["member"], &local["consistency"]), (&"east-a".into(), &"local".into()));
    assert!(local["age_ms"].as_u64().unwrap() > 0, "{local}");
    // Nobody is promoted without a quorum.
    d.group.member("east-a").unwrap().kill().unwrap();
    let output = run(&d, &format!("--timeout 3s failover {GROUP}")).await;
    assert!(matches!(output.status, Some(4 | 5)), "{output:?}");
    for member in ["north-a", "west-a"] {
        assert_eq!(d.group.member(member).unwrap().info_field("role").await.unwrap(), "slave");
    }
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_replaced_one_by_one() {
    let mut d = deployment().await;
    let load = load(&d);
    let replaced = [(1_u64, 4_u64, "east"), (2, 5, "north"), (3, 6, "west")];
    // The new nodes run already and belong to nothing, so that the reader can know where they will be.
    for (_, new, site) in replaced {
        d.cluster.add(new, site).unwrap();
    }
    let reader = read_on(client(&d));
    for (old, new, site) in replaced {
        let address = d.cluster.node(new).unwrap().address().to_owned();
        ok(&d, &format!("--timeout 30s cluster add {new} --site {site} --address {address}")).await;
        wait_for("the new node to catch up", PATIENCE, async || {
            d.cli(["cluster", "promote", &new.to_string()]).await?.success()
        })
        .await
        .unwrap();
        ok(&d, &format!("--timeout 30s cluster remove {old}")).await;
        wait_leader(&d, Some(old)).await;
        d.cluster.discard(old).unwrap();
        writes_go_on(&load, 50).await;
    }
    reader.finish().await;
    let status = ok(&d, "cluster status").await;
    for id in ["n4", "n5", "n6"] {
        assert!(status.contains(id), "{status}");
    }
    can_go_to(&d, "north-a").await;
    ok(&d, &format!("switchover {GROUP} --to north-a")).await;
    reckon(&d, load, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_node_is_refused_under_its_old_id() {
    let mut d = deployment().await;
    let leader = wait_leader(&d, None).await;
    let id = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
    let node = d.cluster.node_mut(id).unwrap();
    node.process().terminate(PATIENCE).await.unwrap();
    let toml = std::fs::read_to_string(node.dir().join("node.toml")).unwrap();
    let data = toml.lines().find_map(|l| l.trim().strip_prefix("data_dir")).unwrap();
    let data = node.dir().join(data.trim_start_matches([' ', '=']).trim_matches('"'));
    std::fs::rename(&data, data.with_extension("gone")).unwrap();
    node.respawn().unwrap();
    let status = node.process().wait_exit(PATIENCE).await.unwrap();
    assert!(!status.success());
    let log = node.process().log_tail(40);
    assert!(log.contains("new id"), "{log}");
}
