//! Probes a Kafka cluster: does any of its brokers answer for it.
//!
//! One question at a time over one connection, which is kept. A broker that is silent is left for another one before the
//! cluster counts as silent.

use super::looking::{Failure, Looking, Teller};
use futures::future::OptionFuture;
use primacy_core::view::{ConnectFailure, LinkEnd, MemberStatus};
use primacy_core::{GroupName, MemberName};
use primacy_kafka::{ClusterAccess, ClusterProbe, LinkError, Patterns};
use primacy_redis::Sighting;
use primacy_runtime::{now, sleep, spawn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

const EVERY: Duration = Duration::from_millis(200);

/// Patterns of the topics on which our rights are looked at: they change with the group, and the prober goes on.
pub(super) type Topics = watch::Sender<Vec<String>>;

/// Starts the prober of one cluster.
pub(super) fn watch(
    names: (GroupName, MemberName),
    access: ClusterAccess,
    topics: watch::Receiver<Vec<String>>,
    sink: mpsc::Sender<Sighting>,
) -> Looking {
    let nudge = Arc::new(Notify::new());
    let probe = ClusterProbe::new(access, Patterns::new(&*topics.borrow()).ok());
    let eye = Eye { probe, topics, teller: Teller::new(names, sink) };
    Looking::new(nudge.clone(), spawn(eye.run(nudge)))
}

struct Eye {
    probe: ClusterProbe,
    topics: watch::Receiver<Vec<String>>,
    teller: Teller,
}

impl Eye {
    async fn run(mut self, nudge: Arc<Notify>) {
        let mut more: Pin<Box<OptionFuture<_>>> = Box::pin(None.into());
        let mut asking = false;
        while !self.teller.is_done() {
            if self.topics.has_changed().unwrap_or(false) {
                let topics = Patterns::new(&*self.topics.borrow_and_update()).ok();
                self.probe.look_at(topics);
                // What is being asked is of the topics before.
                more.set(None.into());
                asking = false;
            }
            self.look().await;
            if !asking && let Some(question) = self.probe.more(now()) {
                more.set(Some(question).into());
                asking = true;
            }
            tokio::select! {
                biased;
                answer = &mut more, if asking => {
                    asking = false;
                    if let Some(details) = answer.flatten() {
                        self.probe.take_in(details);
                    }
                }
                () = nudge.notified() => {}
                () = sleep(EVERY) => {}
            }
        }
    }

    /// Asks once, and another broker the next time where there is no answer.
    async fn look(&mut self) {
        let asked_at = now();
        match self.teller.wait_for(asked_at, self.probe.ask()).await {
            Some(Ok(answer)) => {
                let rtt_us = now().since(asked_at).as_micros() as u64;
                let status = MemberStatus::cluster(answer.cluster_id, answer.version, answer.status, rtt_us);
                self.teller.up(asked_at, status);
            }
            Some(Err(error)) => {
                let (ended, connect) = meaning(&error);
                let detail = format!("{error}; {}", error.remedy());
                self.teller.down(asked_at, Failure { ended, connect, detail });
                self.probe.turn();
            }
            None => self.probe.turn(),
        }
    }
}

/// What an error says of the connection.
fn meaning(error: &LinkError) -> (Option<LinkEnd>, Option<ConnectFailure>) {
    match error {
        LinkError::Refused(_) => (None, Some(ConnectFailure::Refused)),
        LinkError::Unreachable { .. } => (None, Some(ConnectFailure::Unreachable)),
        LinkError::Timeout(_) => (Some(LinkEnd::Unanswered), None),
        LinkError::Closed { .. } => (Some(LinkEnd::Reset), None),
        LinkError::Tls { .. }
        | LinkError::Authentication { .. }
        | LinkError::Protocol { .. }
        | LinkError::Unsupported { .. }
        | LinkError::Api { .. }
        | LinkError::Configuration(_) => (None, Some(ConnectFailure::Protocol)),
    }
}
