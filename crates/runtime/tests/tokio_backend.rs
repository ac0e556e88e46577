//! Without a backend the seam is tokio and the machine's clocks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use primacy_runtime::{self as runtime, watch};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn time_moves_and_limits_hold() {
    let began = runtime::now();
    runtime::sleep(Duration::from_millis(5)).await;
    assert!(runtime::now().since(began) >= Duration::from_millis(5));
    let late = runtime::timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
    assert_eq!(late, Err(runtime::Elapsed));
    assert_eq!(runtime::timeout(Duration::ZERO, async { 7 }).await, Ok(7));
    assert!(runtime::wall().0 > 1_700_000_000_000_000);
}

#[tokio::test]
async fn a_dropped_task_is_aborted_and_a_detached_one_is_not() {
    let (tell, mut told) = watch::channel(0);
    let owned = tell.clone();
    let task = runtime::spawn(async move {
        std::future::pending::<()>().await;
        owned.send(1);
    });
    drop(task);
    runtime::spawn(async move { tell.send(2) }).detach();
    told.wait_for(|v| *v == 2).await.unwrap();
    // The aborted task held the last sender: that it is gone is seen as the end.
    assert_eq!(told.changed().await, Err(watch::Closed));
}

#[tokio::test]
async fn a_panic_is_told_from_an_abort() {
    assert!(runtime::spawn(async { panic!("on purpose") }).await.unwrap_err().panicked);
    assert_eq!(runtime::blocking(|| 3).await, Ok(3));
}

#[tokio::test]
async fn connections_open_and_are_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let within = Duration::from_secs(5);
    let (opened, accepted) = tokio::join!(runtime::connect(&address, within), listener.accept());
    opened.unwrap().write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    accepted.unwrap().0.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    drop(listener);
    assert!(runtime::connect(&address, within).await.is_err());
}
