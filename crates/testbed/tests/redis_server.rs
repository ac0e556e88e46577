//! Real Redis servers: started, killed, frozen, restarted, replicating, watched by Sentinel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use primacy_testbed::{
    Credentials, RedisGroup, RedisOptions, RedisSentinel, RedisServer, SentinelOptions, Workdir, wait_for,
};

const DEADLINE: Duration = Duration::from_secs(20);

async fn ping(server: &RedisServer) -> anyhow::Result<String> {
    Ok(redis::cmd("PING").query_async(&mut server.connection().await?).await?)
}

#[tokio::test]
async fn a_killed_server_comes_back_at_the_same_address_as_another_run() {
    let dir = Workdir::create().unwrap();
    let mut server = RedisServer::start(RedisOptions::new("east-a", dir.path())).await.unwrap();
    let (address, run_id) = (server.address().to_owned(), server.info_field("run_id").await.unwrap());
    assert_eq!(ping(&server).await.unwrap(), "PONG");

    server.kill().unwrap();
    assert!(!server.process().is_running());
    assert!(ping(&server).await.is_err());

    server.restart().await.unwrap();
    assert_eq!(server.address(), address);
    assert_ne!(server.info_field("run_id").await.unwrap(), run_id);
}

#[tokio::test]
async fn a_frozen_server_accepts_connections_and_answers_once_it_is_thawed() {
    let dir = Workdir::create().unwrap();
    let server = RedisServer::start(RedisOptions::new("east-a", dir.path())).await.unwrap();
    let mut connection = server.connection().await.unwrap();
    server.freeze().unwrap();
    tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let command = redis::cmd("PING");
    let mut answer = Box::pin(command.query_async::<String>(&mut connection));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut answer).await.is_err());
    server.thaw().unwrap();
    assert_eq!(answer.await.unwrap(), "PONG");
}

#[tokio::test]
async fn lines_of_the_configuration_count_and_the_user_is_created() {
    let dir = Workdir::create().unwrap();
    let mut options = RedisOptions::new("east-a", dir.path());
    options.config = vec!["user default off".into(), "min-replicas-to-write 1000000".into()];
    options.credentials = Some(Credentials { username: "primacy".into(), password: "secret".into() });
    let server = RedisServer::start(options).await.unwrap();
    let write =
        redis::cmd("SET").arg("k").arg(1).query_async::<()>(&mut server.connection().await.unwrap()).await;
    assert_eq!(write.unwrap_err().code(), Some("NOREPLICAS"));
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let dir = Workdir::create().unwrap();
    let mut options = RedisOptions::new("east-a", dir.path());
    options.config = vec!["no-such-setting 1".into()];
    let error = RedisServer::start(options).await.unwrap_err().to_string();
    assert!(error.contains("redis-server east-a ended while it started"), "{error}");
    assert!(error.contains("no-such-setting"), "{error}");
}

#[tokio::test]
async fn sentinel_fails_a_group_over() {
    let dir = Workdir::create().unwrap();
    let group =
        RedisGroup::start_replicating("g", &["east", "north", "west"], dir.path(), DEADLINE).await.unwrap();
    let primary = group.member("east-a").unwrap();
    let mut sentinels = Vec::new();
    for name in ["s1", "s2", "s3"] {
        let mut options = SentinelOptions::new(name, dir.path().join(name), "g", primary.address());
        options.down_after = Duration::from_millis(300);
        sentinels.push(RedisSentinel::start(options).await.unwrap());
    }
    for sentinel in &sentinels {
        sentinel.wait_discovered(2, 2, DEADLINE).await.unwrap();
    }
    primary.kill().unwrap();
    let mut connection = sentinels[0].connection().await.unwrap();
    wait_for("another primary", DEADLINE, async || {
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg("g");
        let (_, port): (String, u16) = command.query_async(&mut connection.clone()).await?;
        anyhow::ensure!(port != primary.port(), "still {port}");
        Ok(())
    })
    .await
    .unwrap();
    drop(sentinels.pop());
    assert!(redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok());
}
