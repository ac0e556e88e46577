//! A real server accepts the lines of `redis_conf`, and the users in them can do what they must and no more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{DEADLINE, LIFT, OPEN, Watch, address, fence, group, linked, name, perform, promote};
use primacy_core::view::BootFence;
use primacy_core::{
    ActionKind, Address, Durability, FailoverMode, FencePolicy, GroupKind, GroupSpec, LossBudget, MemberSpec,
    OnNoSite, Outcome, Probe, Promoted, SiteName,
};
use primacy_redis::{Access, ConfSecrets, Hand, Links, inspect, redis_conf};
use primacy_testbed::{RedisOptions, RedisServer, Workdir, ports, wait_for};

const PASSWORD: &str = "s3cret";

struct Group {
    spec: GroupSpec,
    servers: Vec<RedisServer>,
    access: Access,
    _dir: Workdir,
}

async fn start() -> Group {
    let dir = Workdir::create().unwrap();
    let member = |name: &str| {
        let address: Address = format!("127.0.0.1:{}", ports::free().unwrap()).parse().unwrap();
        MemberSpec {
            name: common::name(name),
            site: SiteName::new("east").unwrap(),
            address,
            priority: 100,
            probe: Probe::Native,
        }
    };
    let spec = GroupSpec {
        name: group(),
        kind: GroupKind::Redis,
        failover: FailoverMode::Automatic,
        down_after_ms: 1_000,
        max_loss: LossBudget::Bytes(0),
        fence: FencePolicy::Witness,
        tail_max_bytes: 1 << 20,
        may_kill: false,
        durability: Durability::Local,
        on_no_site: OnNoSite::Refuse,
        mirror: None,
        members: vec![member("a"), member("b")],
    };
    let secrets = ConfSecrets { username: "primacy".into(), password: Some(PASSWORD.into()) };
    let mut servers = Vec::new();
    for member in &spec.members {
        let mut options = RedisOptions::new(member.name.as_str(), dir.subdir(member.name.as_str()).unwrap());
        options.port = Some(member.address.port);
        options.config =
            redis_conf(&spec, &member.name, &secrets).unwrap().lines().map(str::to_owned).collect();
        servers.push(RedisServer::start(options).await.unwrap());
    }
    let access = Access { username: Some("primacy".into()), password: Some(PASSWORD.into()), tls: None };
    Group { spec, servers, access, _dir: dir }
}

async fn ask(server: &RedisServer, words: &[&str]) -> Result<String, String> {
    let mut connection = server.connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let answer: redis::RedisResult<redis::Value> = command.query_async(&mut connection).await;
    answer.map(|v| format!("{v:?}")).map_err(|e| e.code().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_control_user_suffices_for_a_whole_switchover() {
    let Group { spec, servers, access, _dir } = start().await;
    let [a, b] = &servers[..] else { unreachable!() };
    let addresses: Vec<_> = spec.members.iter().map(|m| m.address.clone()).collect();
    for server in &servers {
        let found = inspect(&address(server), &access, &addresses, DEADLINE).await.unwrap();
        assert_eq!(found.boot, BootFence::Fenced, "by the file that redis-conf prints");
        assert_eq!(ask(server, &["SET", "k", "v"]).await.unwrap_err(), "READONLY", "fenced on disk");
    }
    let links = Links::new(move |_| access.clone());
    let mut watch = Watch::new(&links, a);
    watch.up().await;
    let hand = Hand::new(links);
    let follow = |s: &RedisServer, evict| ActionKind::Follow { primary: address(s), evict };
    let promoted = perform(&hand, a, promote(None)).await.unwrap();
    let Outcome::Promoted(Promoted { lineage, .. }) = promoted else { panic!("{promoted:?}") };
    perform(&hand, a, OPEN).await.unwrap();
    perform(&hand, b, follow(a, false)).await.unwrap();
    linked(b).await;
    ask(a, &["SET", "k", "v"]).await.unwrap();

    let fenced = perform(&hand, a, fence(Some(b))).await.unwrap();
    assert!(matches!(fenced, Outcome::Fenced { drained_us: Some(_), .. }), "{fenced:?}");
    perform(&hand, a, LIFT).await.unwrap();
    ask(a, &["SET", "k", "w"]).await.unwrap();
    perform(&hand, a, fence(Some(b))).await.unwrap();
    perform(&hand, b, promote(Some(lineage.start.replid))).await.unwrap();
    perform(&hand, b, OPEN).await.unwrap();
    perform(&hand, a, follow(b, true)).await.unwrap();
    linked(a).await;
    assert!(ask(b, &["GET", "k"]).await.unwrap().contains("'w'") || ask(b, &["GET", "k"]).await.is_ok());
    assert_eq!(a.info_field("master_port").await.unwrap(), b.port().to_string());
    watch.status("a as a replica", |s| !s.is_primary()).await;
}

#[tokio::test]
async fn applications_cannot_undo_a_fence_or_count_as_replicas() {
    let Group { servers, .. } = start().await;
    let a = &servers[0];
    for denied in [
        &["CONFIG", "SET", "min-replicas-to-write", "0"][..],
        &["REPLICAOF", "NO", "ONE"],
        &["PSYNC", "?", "-1"],
        &["REPLCONF", "ACK", "0"],
        &["ACL", "LIST"],
    ] {
        assert_eq!(ask(a, denied).await.unwrap_err(), "NOPERM", "{denied:?}");
    }
    ask(a, &["GET", "k"]).await.unwrap();
    ask(a, &["INFO", "replication"]).await.unwrap();
}

/// The rights suffice to keep a member from counting as a replica, and to let it again.
#[tokio::test]
async fn the_control_user_can_refuse_a_member() {
    let Group { servers, access, _dir, .. } = start().await;
    let [a, b] = &servers[..] else { unreachable!() };
    let hand = Hand::new(Links::new(move |_| access.clone()));
    perform(&hand, a, promote(None)).await.unwrap();
    perform(&hand, a, OPEN).await.unwrap();
    perform(&hand, b, ActionKind::Follow { primary: address(a), evict: false }).await.unwrap();
    linked(b).await;
    let set = |admit, refuse| ActionKind::SetFence { min_replicas: 0, admit, refuse };
    let done = perform(&hand, a, set(vec![], vec![name("b")])).await.unwrap();
    assert_eq!(done, Outcome::FenceSet { min_replicas: 0, refused: vec![name("b")] });
    wait_for("the primary to be alone", DEADLINE, async || {
        let attached = a.info_field("connected_slaves").await?;
        anyhow::ensure!(attached == "0", "{attached} attached");
        Ok(())
    })
    .await
    .unwrap();
    perform(&hand, a, set(vec![name("b")], vec![])).await.unwrap();
    linked(b).await;
}

/// A restarted primary comes back as nobody's primary, with a door that is shut.
/// Frozen, a replica keeps its connection; closed by us, it is not counted, and it goes on when it wakes up.
#[tokio::test]
async fn the_control_user_can_close_the_link_of_a_silent_replica() {
    let Group { spec, servers, access, _dir } = start().await;
    let [a, b] = &servers[..] else { unreachable!() };
    let links = Links::new(move |_| access.clone());
    let hand = Hand::new(links.clone());
    perform(&hand, a, promote(None)).await.unwrap();
    perform(&hand, a, OPEN).await.unwrap();
    perform(&hand, b, ActionKind::Follow { primary: address(a), evict: false }).await.unwrap();
    linked(b).await;
    let copies = a.info_field("sync_full").await.unwrap();
    b.freeze().unwrap();
    let closed = links.close_replica(&group(), &spec.members[0], &name("b"), DEADLINE).await;
    assert_eq!(closed, Ok(1));
    assert_eq!(a.info_field("connected_slaves").await.unwrap(), "0");
    let stranger = links.close_replica(&group(), &spec.members[0], &name("nobody"), DEADLINE).await;
    assert!(stranger.unwrap_err().contains("primacy-repl-nobody"));
    b.thaw().unwrap();
    linked(b).await;
    assert_eq!(a.info_field("sync_full").await.unwrap(), copies, "it went on where it was");
}

#[tokio::test]
async fn a_restart_is_fenced() {
    let mut group = start().await;
    let access = group.access.clone();
    let hand = Hand::new(Links::new(move |_| access.clone()));
    let a = &mut group.servers[0];
    perform(&hand, a, promote(None)).await.unwrap();
    perform(&hand, a, OPEN).await.unwrap();
    ask(a, &["SET", "k", "v"]).await.unwrap();
    a.restart().await.unwrap();
    assert_eq!(ask(a, &["SET", "k", "v"]).await.unwrap_err(), "READONLY");
    assert_eq!(name("a").as_str(), a.name());
}
