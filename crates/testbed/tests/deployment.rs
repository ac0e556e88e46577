//! The plumbing of a deployment, with a script in the place of the `primacy` binary and real Redis servers: whether
//! files, processes and command lines are as the contract says. What the real binary does is tested end to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use primacy_testbed::load::StaticLocate;
use primacy_testbed::{
    Cluster, ClusterOptions, Credentials, Deployment, DeploymentOptions, Load, LoadOptions, Process, Wan,
    WanOptions, Workdir, wait_for,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Run as a process of its own by the script: answers `/readyz` where node.toml says.
#[test]
fn stand_in_for_a_node() {
    if std::env::var_os("STAND_IN").is_none() {
        return;
    }
    let text = std::fs::read_to_string("node.toml").unwrap();
    let http = text.lines().find_map(|line| line.strip_prefix("http = ")).unwrap().trim_matches('"');
    for stream in TcpListener::bind(http).unwrap().incoming() {
        let mut stream = stream.unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        let status = if request.starts_with("GET /readyz ") { "200 OK" } else { "404 Not Found" };
        stream.write_all(format!("HTTP/1.0 {status}\r\n\r\n").as_bytes()).unwrap();
    }
}

fn script(dir: &Workdir, body: &str) -> PathBuf {
    let path = dir.path().join("primacy");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// east-a is primary from the start, the others replicate from the first address of groups.toml.
fn stand_in(dir: &Workdir) -> PathBuf {
    let serve = std::env::current_exe().unwrap();
    script(
        dir,
        &format!(
            r#"case "$*" in
"serve -c node.toml") STAND_IN=1 exec {serve} --exact stand_in_for_a_node ;;
*" cluster status -o json") echo '{{"leader":{{"id":2,"site":"north"}},"term":1}}' ;;
*" primary features -o json") echo '{{"group":"features","member":"east-a","epoch":3,"state":"serving"}}' ;;
*" redis-conf --group features --member east-a -f "*) ;;
*" redis-conf --group features --member "*)
    [ "${{10}}" = -c ] && grep -q 'username = "primacy"' "${{11}}" || exit 2
    echo "replicaof $(sed -n 's/^address = "\(.*\):\(.*\)"/\1 \2/p' "$9" | head -1)" ;;
*" apply -f "*) ;;
*) echo "unexpected: $*" >&2; exit 2 ;;
esac"#,
            serve = serve.display()
        ),
    )
}

#[tokio::test]
async fn a_deployment_starts_and_settles() {
    let dir = Workdir::create().unwrap();
    let mut options = DeploymentOptions::new(stand_in(&dir));
    options.cluster.redis = Some(Credentials { username: "primacy".into(), password: "secret".into() });
    let deployment = Deployment::start_serving(options).await.unwrap();
    assert_eq!(deployment.cluster.leader().await.unwrap(), 2);
    assert_eq!(deployment.primary().await.unwrap().epoch, 3);
    let names: Vec<String> = deployment.targets().into_iter().map(|target| target.member).collect();
    assert_eq!(names, ["east-a", "north-a", "west-a"]);
    let unknown = deployment.cli(["dance"]).await.unwrap().success().unwrap_err().to_string();
    assert!(unknown.contains("`primacy dance` failed with exit code 2: unexpected"), "{unknown}");
}

#[test]
fn the_sites_of_a_deployment_may_be_far_apart() {
    const RTT: Duration = Duration::from_millis(30);
    let mut far = WanOptions::with_rtt(RTT);
    far.hosts = vec!["east/redis".into()];
    let test = async |wan: Wan| {
        let dir = Workdir::create().unwrap();
        let mut options = DeploymentOptions::new(stand_in(&dir));
        options.cluster.redis = Some(Credentials { username: "primacy".into(), password: "secret".into() });
        options.cluster.wan = Some(wan.clone());
        options.member_hosts = vec![("east".into(), "east/redis".into())];
        let mut deployment = Deployment::start_serving(options).await.unwrap();

        let ip = |name: &str| wan.host(name).unwrap().address().to_string();
        let network = |process: &Process| {
            std::fs::read_link(format!("/proc/{}/ns/net", process.pid())).unwrap().display().to_string()
        };
        let member = |name: &str| deployment.group.member(name).unwrap();
        let (east, west) = (member("east-a"), member("west-a"));
        assert!(east.address().starts_with(&ip("east/redis")), "{}", east.address());
        assert!(west.address().starts_with(&ip("west")), "{}", west.address());
        let node = deployment.cluster.node(3).unwrap();
        assert!(node.address().starts_with(&ip("west")) && node.http().starts_with(&ip("west")));
        assert_eq!(network(node.process()), network(west.process()));
        assert_ne!(network(deployment.cluster.node(1).unwrap().process()), network(east.process()));

        let targets = deployment.targets();
        let options = LoadOptions {
            writers: 1,
            records_max: 10,
            credentials: Some(Credentials { username: "primacy".into(), password: "secret".into() }),
            ..LoadOptions::default()
        };
        let start = Instant::now();
        let load =
            Load::start_at(wan.host("west").unwrap(), options, || Ok(StaticLocate::new(targets))).unwrap();
        assert_eq!(load.finished().await.acked(), 10);
        assert!(start.elapsed() >= 10 * RTT, "{:?}", start.elapsed());

        // Restarted, everything is where it was.
        let before = network(east.process());
        deployment.group.member_mut("east-a").unwrap().restart().await.unwrap();
        assert_eq!(network(deployment.group.member("east-a").unwrap().process()), before);
        deployment.cluster.node_mut(3).unwrap().restart(DEADLINE).await.unwrap();
        let west = deployment.group.member("west-a").unwrap();
        assert_eq!(network(deployment.cluster.node(3).unwrap().process()), network(west.process()));
    };
    Wan::run(&far, test).unwrap();
}

#[tokio::test]
async fn nodes_are_killed_frozen_restarted_added_and_discarded() {
    let dir = Workdir::create().unwrap();
    let mut cluster = Cluster::start(ClusterOptions::new(stand_in(&dir))).await.unwrap();
    cluster.node(2).unwrap().kill().unwrap();
    assert!(cluster.node(2).unwrap().ready().await.is_err());
    cluster.node_mut(2).unwrap().restart(DEADLINE).await.unwrap();

    let third = cluster.node(3).unwrap();
    third.freeze().unwrap();
    assert!(third.ready().await.is_err());
    third.thaw().unwrap();
    third.wait_ready(DEADLINE).await.unwrap();

    let fourth = cluster.add(4, "north").unwrap();
    fourth.wait_ready(DEADLINE).await.unwrap();
    assert!(
        !std::fs::read_to_string(fourth.dir().join("node.toml"))
            .unwrap()
            .contains("id = 4\nsite = \"north\"\naddress")
    );
    let gone = fourth.dir().to_owned();
    cluster.discard(4).unwrap();
    assert!(cluster.node(4).unwrap_err().to_string().contains("no node 4"));
    assert!(!gone.exists());
    assert_eq!(cluster.endpoints().len(), 3);
}

#[tokio::test]
async fn a_node_that_ends_at_once_says_why() {
    let dir = Workdir::create().unwrap();
    let binary = script(&dir, "echo 'unknown key nam, did you mean name?' >&2; exit 2");
    let error = Cluster::start(ClusterOptions::new(binary)).await.unwrap_err().to_string();
    assert!(error.contains("ended before it was ready (exit status: 2)"), "{error}");
    assert!(error.contains("did you mean name?"), "{error}");
}

#[tokio::test]
async fn dropping_a_cluster_leaves_neither_process_nor_file() {
    let dir = Workdir::create().unwrap();
    let cluster = Cluster::start(ClusterOptions::new(stand_in(&dir))).await.unwrap();
    let (files, pid) = (cluster.dir().to_owned(), cluster.node(1).unwrap().process().pid());
    drop(cluster);
    assert!(!files.exists());
    wait_for("the node to be gone", DEADLINE, async || {
        anyhow::ensure!(!PathBuf::from(format!("/proc/{pid}")).exists());
        Ok(())
    })
    .await
    .unwrap();
}
