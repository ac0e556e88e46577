//! What `apply` must find out about a server before it becomes a member.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{DEADLINE, address, pair, server};
use primacy_core::Address;
use primacy_core::view::{BootFence, MemberRole};
use primacy_redis::{Access, InspectError, Inspection, inspect};
use primacy_testbed::{RedisServer, Workdir, ports};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(3);

async fn look(server: &RedisServer, access: &Access, group: &[Address]) -> Result<Inspection, InspectError> {
    inspect(&address(server), access, group, WITHIN).await
}

async fn refused(server: &RedisServer, access: &Access) -> String {
    look(server, access, &[]).await.unwrap_err().to_string()
}

fn user(username: Option<&str>, password: &str) -> Access {
    Access { username: username.map(str::to_owned), password: Some(password.to_owned()), tls: None }
}

#[track_caller]
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

#[tokio::test]
async fn a_good_pair_passes_and_is_not_changed() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let before = b.info_field("master_repl_offset").await.unwrap();
    let group = [address(&a), address(&b)];
    let of_a = look(&a, &Access::default(), &group).await.unwrap();
    let of_b = look(&b, &Access::default(), &group).await.unwrap();
    assert_eq!(of_a.version, "7.0.15");
    assert_eq!(of_a.replid, of_b.replid);
    assert_ne!(of_a.run_id, of_b.run_id);
    assert!(of_a.config_file.is_some());
    let BootFence::Open { why } = &of_a.boot else { panic!("{:?}", of_a.boot) };
    says(why, &["redis.conf", "no replicaof", "starts as a primary"]);
    assert!(matches!(of_b.role, MemberRole::Replica { link_up: true, .. }));
    assert_eq!(b.info_field("role").await.unwrap(), "slave");
    assert!(
        b.info_field("master_repl_offset").await.unwrap().parse::<u64>().unwrap()
            < before.parse::<u64>().unwrap() + 100
    );
}

#[tokio::test]
async fn a_replica_by_another_name_of_the_same_host_is_a_replica_of_the_group() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let by_name: Address = format!("localhost:{}", a.port()).parse().unwrap();
    look(&b, &Access::default(), &[by_name]).await.unwrap();
}

#[tokio::test]
async fn a_member_fenced_on_disk_passes() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &["replicaof 127.0.0.1 1", "min-replicas-to-write 1000000"]).await;
    let found = look(&a, &Access::default(), &[]).await.unwrap();
    assert_eq!(found.min_replicas, 1_000_000);
    assert_eq!(found.boot, BootFence::Fenced);
    let users: Vec<String> =
        redis::cmd("ACL").arg("USERS").query_async(&mut a.connection().await.unwrap()).await.unwrap();
    assert_eq!(users, ["default"], "trying a right changed nothing");
}

#[tokio::test]
async fn who_cannot_be_reached_is_refused() {
    let nobody: Address = format!("127.0.0.1:{}", ports::free().unwrap()).parse().unwrap();
    let error = inspect(&nobody, &Access::default(), &[], WITHIN).await.unwrap_err();
    assert_eq!(error.key, nobody.to_string());
    says(&error.to_string(), &["refuses connections", "start the server"]);
    let unknown: Address = "no-such-host.invalid:6379".parse().unwrap();
    let error = inspect(&unknown, &Access::default(), &[], WITHIN).await.unwrap_err();
    says(&error.to_string(), &["does not resolve"]);
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    a.freeze().unwrap();
    let within = Duration::from_millis(300);
    let error = inspect(&address(&a), &Access::default(), &[], within).await.unwrap_err();
    a.thaw().unwrap();
    says(&error.to_string(), &["answered nothing", "frozen"]);
}

#[tokio::test]
async fn passwords_and_rights_are_checked() {
    let dir = Workdir::create().unwrap();
    let locked = server(&dir, "locked", &["requirepass s3cret"]).await;
    says(&refused(&locked, &Access::default()).await, &["needs a password", "password_file"]);
    let wrong = refused(&locked, &user(None, "wr0ng")).await;
    says(&wrong, &["does not accept", "password_file"]);
    assert!(!wrong.contains("wr0ng"), "{wrong}");
    look(&locked, &user(None, "s3cret"), &[]).await.unwrap();
    let open = server(&dir, "open", &[]).await;
    says(&refused(&open, &user(None, "s3cret")).await, &["does not accept"]);

    for missing in [
        "replicaof",
        "client|pause",
        "client|kill",
        "config|set",
        "del",
        "info",
        "client|list",
        "acl|setuser",
        "acl|getuser",
        "role",
    ] {
        let config = format!("user primacy on >s3cret ~* &* +@all -{missing}");
        let server = server(&dir, &missing.replace('|', "-"), &[&config]).await;
        let message = refused(&server, &user(Some("primacy"), "s3cret")).await;
        says(&message, &["NOPERM", missing, "primacy redis-conf"]);
    }
}

#[tokio::test]
async fn a_sentinel_and_a_cluster_node_are_refused() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let own = dir.subdir("watcher").unwrap();
    let options = primacy_testbed::SentinelOptions::new("watcher", own, "features", a.address());
    let sentinel = primacy_testbed::RedisSentinel::start(options).await.unwrap();
    let at: Address = sentinel.address().parse().unwrap();
    let error = inspect(&at, &Access::default(), &[], WITHIN).await.unwrap_err();
    says(&error.to_string(), &["is a Sentinel", "6379"]);
    primacy_testbed::wait_for("the server to be watched", DEADLINE, async || {
        let seen = look(&a, &Access::default(), &[]).await;
        anyhow::ensure!(seen.is_err(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    says(&refused(&a, &Access::default()).await, &["a Sentinel at", "SENTINEL REMOVE"]);

    let cluster = server(&dir, "cluster", &["cluster-enabled yes"]).await;
    says(&refused(&cluster, &Access::default()).await, &["cluster mode", "cluster-enabled no"]);
}

#[tokio::test]
async fn settings_that_defeat_the_fence_are_refused() {
    let dir = Workdir::create().unwrap();
    let (a, _) = pair(&dir).await;
    let source = format!("replicaof 127.0.0.1 {}", a.port());
    let stray = server(&dir, "stray", &[&source]).await;
    says(
        &refused(&stray, &Access::default()).await,
        &["replica of 127.0.0.1", "no member", "REPLICAOF NO ONE"],
    );
    let second = server(&dir, "second", &["replica-read-only no"]).await;
    says(&refused(&second, &Access::default()).await, &["accepts writes", "replica-read-only yes"]);
    let blunt = server(&dir, "blunt", &["min-replicas-max-lag 0"]).await;
    says(&refused(&blunt, &Access::default()).await, &["min-replicas-max-lag is 0"]);
}

#[tokio::test]
async fn what_is_not_redis_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = inspect(&web, &Access::default(), &[], WITHIN).await.unwrap_err();
    says(&error.to_string(), &["does not answer as Redis does", "correct the address"]);
}

/// A server that answers INFO as an old one does.
#[tokio::test]
async fn an_old_server_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let mut bytes = [0; 4096];
        let mut greeted = false;
        while tokio::io::AsyncReadExt::read(&mut reader, &mut bytes).await.is_ok_and(|n| n > 0) {
            let info = "redis_version:5.0.14\r\nredis_mode:standalone\r\nrun_id:r\r\nprocess_id:1\r\n";
            let setting = "*2\r\n$1\r\nx\r\n$1\r\n0\r\n".repeat(6);
            let info = format!("${}\r\n{info}\r\n$0\r\n\r\n$0\r\n\r\n{setting}", info.len());
            let answer = if greeted { info } else { "+OK\r\n+PONG\r\n".to_owned() };
            greeted = true;
            tokio::io::AsyncWriteExt::write_all(&mut writer, answer.as_bytes()).await.unwrap();
        }
    });
    let error = inspect(&old, &Access::default(), &[], WITHIN).await.unwrap_err();
    says(&error.to_string(), &["5.0.14", "6.2", "upgrade"]);
}
