//! A full copy that the primary insists on is streamed past the witness.

use crate::common;
use crate::parts::*;
use primacy_redis::{Access, Links, Witness};
use primacy_testbed::Workdir;

/// A primary without a backlog can only begin with a copy.
async fn forced(lines: &[&str]) {
    let dir = Workdir::create().unwrap();
    let server = common::server(&dir, "primary", &[&["min-replicas-max-lag 1"], lines].concat()).await;
    fill(&server, "before", 2_000, 10_000).await;
    tell(&server, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
    let links = Links::new(|_| Access::default());
    let witness = Witness::attach(&links, options(&server).await);
    let status = until(&witness, "attached", |s| s.attached).await;
    assert_eq!(status.copies, 1);
    let info = server.info().await.unwrap();
    assert_eq!(status.replid.as_ref(), Some(&info["master_replid"]));
    wait("a write to be accepted", async || Ok(tell(&server, &["SET", "after", "1"]).await?)).await;
    fill(&server, "after", 500, 1_000).await;
    let tail = witness.tail().unwrap();
    caught_up(&server, &tail).await;
    let (from, to) = (tail.start(), tail.end());
    assert_eq!(
        bytes_after(&tail, from)[..(to - from) as usize],
        raw_stream(&server, &tail.replid(), from, to).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_unknown_length_is_thrown_away() {
    forced(&["repl-diskless-sync yes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_known_length_is_thrown_away() {
    forced(&["repl-diskless-sync no"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_load_ends_where_the_stream_begins() {
    let dir = Workdir::create().unwrap();
    let server = common::server(&dir, "primary", &["repl-diskless-sync yes"]).await;
    fill(&server, "before", 2_000, 20_000).await;
    let mut client = server.connection().await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let mut n = 0;
        while stopped.try_recv().is_err() {
            let mut pipe = redis::pipe();
            for _ in 0..50 {
                n += 1;
                pipe.cmd("SET").arg(format!("during{n}")).arg(n).ignore();
            }
            pipe.query_async::<()>(&mut client).await.unwrap();
        }
    });
    let links = Links::new(|_| Access::default());
    let witness = Witness::attach(&links, options(&server).await);
    until(&witness, "attached", |s| s.attached).await;
    stop.send(()).unwrap();
    writer.await.unwrap();
    let tail = witness.tail().unwrap();
    caught_up(&server, &tail).await;
    let (from, to) = (tail.start(), tail.end());
    assert_eq!(to, offset(&server).await);
    assert!(to > from);
    assert_eq!(bytes_after(&tail, from), raw_stream(&server, &tail.replid(), from, to).await);
}
