//! The witness holds the primary's door open, and closes it.

use crate::parts::*;
use primacy_core::view::LinkEnd;
use primacy_redis::{Access, Links, Witness, WitnessOptions};
use primacy_testbed::Workdir;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn one_witness_opens_the_door_without_a_copy_and_satisfies_no_wait() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["min-replicas-to-write 1"]).await;
    let copies = server.info_field("sync_full").await.unwrap();
    let mut client = server.connection().await.unwrap();
    refused_after(&mut client).await;
    let witness = witness(&server).await;
    wait("a write to be accepted", async || Ok(command(&mut client, &["SET", "a", "1"]).await?)).await;
    let info = server.info().await.unwrap();
    assert_eq!(info["sync_full"], copies, "it took a partial resync");
    assert!(
        info["slave0"].starts_with("ip=192.0.2.9,port=7777,state=online,offset=0,"),
        "{}",
        info["slave0"]
    );
    let waited: i64 = redis::cmd("WAIT").arg(1).arg(300).query_async(&mut client).await.unwrap();
    assert_eq!(waited, 0);
    // For longer than max-lag allows a silent replica.
    let until = std::time::Instant::now() + Duration::from_millis(3500);
    while std::time::Instant::now() < until {
        command(&mut client, &["SET", "a", "1"]).await.unwrap();
    }
    let status = witness.status();
    assert_eq!((status.attached, status.copies, status.ended), (true, 0, None));
    assert_eq!(status.run_id, Some(info["run_id"].clone()));
    assert_eq!(status.replid, Some(info["master_replid"].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_shuts_the_door_within_milliseconds() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["min-replicas-to-write 1"]).await;
    let mut client = server.connection().await.unwrap();
    let mut delays = Vec::new();
    for round in 0..10 {
        let witness = witness(&server).await;
        wait("a write to be accepted", async || Ok(command(&mut client, &["SET", "a", "1"]).await?)).await;
        if round % 2 == 0 {
            witness.close();
        } else {
            drop(witness);
        }
        delays.push(refused_after(&mut client).await);
    }
    delays.sort();
    assert!(delays[5] < Duration::from_millis(20), "{delays:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_shuts_when_the_lease_is_over() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["min-replicas-to-write 1"]).await;
    let mut client = server.connection().await.unwrap();
    let links = Links::new(|_| Access::default());
    let lease = |ms| lease(Duration::from_millis(ms));
    let first = WitnessOptions { until: lease(400), ..options(&server).await };
    let until_first = first.until;
    let witness = Witness::attach(&links, first);
    wait("a write to be accepted", async || Ok(command(&mut client, &["SET", "a", "1"]).await?)).await;
    let renewed = lease(800);
    witness.keep_until(renewed);
    // An older answer that comes late shortens nothing.
    witness.keep_until(until_first);
    refused_after(&mut client).await;
    let late = primacy_runtime::now().since(renewed);
    assert!(primacy_runtime::now() >= renewed && late < Duration::from_millis(50), "{late:?}");
    let status = witness.status();
    assert!(status.closed && !status.attached && status.ended.is_none(), "{status:?}");
    witness.keep_until(lease(5_000));
    assert!(witness.status().closed, "what is over stays over");
    let too_late = Witness::attach(&links, WitnessOptions { until: lease(0), ..options(&server).await });
    until(&too_late, "closed", |s| s.closed).await;
    refused_after(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_witness_is_final() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &[]).await;
    let witness = witness(&server).await;
    tell(&server, &["SET", "a", "1"]).await.unwrap();
    let tail = witness.tail().unwrap();
    caught_up(&server, &tail).await;
    let sealed = witness.seal();
    assert!(sealed.sealed && sealed.closed && !sealed.attached && sealed.ended.is_none(), "{sealed:?}");
    tell(&server, &["SET", "a", "2"]).await.unwrap();
    assert!(tail.append(tail.end(), b"x").is_err());
    assert_eq!(witness.seal(), sealed);
    wait("the primary to see it gone", async || {
        anyhow::ensure!(server.info_field("connected_slaves").await? == "0", "still listed");
        Ok(())
    })
    .await;
    assert_eq!((tail.end(), witness.status()), (sealed.end_bytes, sealed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_refuses_no_write() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["min-replicas-to-write 1"]).await;
    let mut held = witness(&server).await;
    let mut client = server.connection().await.unwrap();
    let writer = tokio::spawn(async move {
        let mut writes = 0;
        while command(&mut client, &["INCR", "n"]).await.is_ok() {
            writes += 1;
        }
        writes
    });
    for _ in 0..5 {
        let next = witness(&server).await;
        held = next;
    }
    assert!(!writer.is_finished(), "a write was refused during a handover");
    drop(held);
    assert!(writer.await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_an_eof_at_once_and_its_successor_gets_no_witness() {
    let dir = Workdir::create().unwrap();
    let mut server = primary(&dir, &[]).await;
    let witness = witness(&server).await;
    fill(&server, "k", 100, 10).await;
    let tail = witness.tail().unwrap();
    caught_up(&server, &tail).await;
    let began = std::time::Instant::now();
    server.kill().unwrap();
    let status = until(&witness, "the end", |s| s.ended.is_some()).await;
    assert!(began.elapsed() < Duration::from_millis(200), "told after {:?}", began.elapsed());
    // A reset is the truth when an acknowledgement lay unread at that moment.
    assert!(matches!(status.ended, Some(LinkEnd::Eof | LinkEnd::Reset)), "{status:?}");
    server.restart().await.unwrap();
    let stranger = server.info_field("run_id").await.unwrap();
    let met = until(&witness, "the new process", |s| s.run_id.as_ref() == Some(&stranger)).await;
    let refused = until(&witness, "a refusal", |s| s.detail.contains("was restarted")).await;
    assert!(!met.attached && !refused.attached && refused.ended == status.ended, "{refused:?}");
    assert_eq!(server.info_field("connected_slaves").await.unwrap(), "0");
    assert_eq!(refused.end_bytes, status.end_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_never_attaches_to_a_replica() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &[]).await;
    let standby = replica(&dir, "standby", &server).await;
    let links = Links::new(|_| Access::default());
    let witness = Witness::attach(&links, options(&standby).await);
    let status = until(&witness, "a refusal", |s| s.detail.contains("no primary")).await;
    assert!(!status.attached && witness.tail().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fenced_member_grants_its_control_user_is_enough() {
    let dir = Workdir::create().unwrap();
    let rights = "user primacy on >secret resetkeys resetchannels -@all +auth +ping +info +psync +replconf +config|get +client|setname";
    let server = primary(&dir, &[rights]).await;
    let access = |password: &str| {
        let access = Access { username: Some("primacy".into()), password: Some(password.into()), tls: None };
        Links::new(move |_| access.clone())
    };
    let witness = Witness::attach(&access("secret"), options(&server).await);
    until(&witness, "attached", |s| s.attached).await;
    let refused = Witness::attach(&access("wrong"), options(&server).await);
    until(&refused, "a refusal", |s| s.detail.contains("password")).await;
    let listed: String = tell(&server, &["CLIENT", "LIST", "TYPE", "replica"]).await.unwrap();
    assert!(listed.contains("name=primacy-witness") && listed.lines().count() == 1, "{listed}");
}
