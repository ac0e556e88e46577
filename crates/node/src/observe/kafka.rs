//! Probes a Kafka cluster: does any of its brokers answer for it.
//!
//! One question at a time over one connection, which is kept. A broker that is silent is left for another one before the
//! cluster counts as silent.

use futures::future::OptionFuture;
use primacy_core::view::{ConnectFailure, LinkEnd, MemberStatus, Reach};
use primacy_core::{GroupName, MemberName, Moment};
use primacy_kafka::{ClusterAccess, ClusterProbe, LinkError, Patterns};
use primacy_redis::Sighting;
use primacy_runtime::{Task, now, sleep, spawn, timeout};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

const EVERY: Duration = Duration::from_millis(200);
/// A question that is open for longer counts as silence.
const SILENCE: Duration = Duration::from_millis(300);
/// And is put to another broker after so long.
const GIVE_UP: Duration = Duration::from_secs(1);

/// The prober of one cluster. Dropping it ends it.
pub(super) struct KafkaProber {
    nudge: Arc<Notify>,
    _task: Task<()>,
}

impl KafkaProber {
    pub(super) fn spawn(
        (group, member): (GroupName, MemberName),
        access: ClusterAccess,
        topics: Option<Patterns>,
        sink: mpsc::Sender<Sighting>,
    ) -> KafkaProber {
        let nudge = Arc::new(Notify::new());
        let probe = ClusterProbe::new(access, topics);
        let eye = Eye { group, member, probe, sink, last_up: None, down_since: None };
        KafkaProber { nudge: nudge.clone(), _task: spawn(eye.run(nudge)) }
    }

    /// Asks now instead of at the next interval.
    pub(super) fn probe_now(&self) {
        self.nudge.notify_one();
    }
}

struct Eye {
    group: GroupName,
    member: MemberName,
    probe: ClusterProbe,
    sink: mpsc::Sender<Sighting>,
    last_up: Option<(Moment, MemberStatus)>,
    /// Set while it is down.
    down_since: Option<Moment>,
}

impl Eye {
    async fn run(mut self, nudge: Arc<Notify>) {
        let mut more: Pin<Box<OptionFuture<_>>> = Box::pin(None.into());
        let mut asking = false;
        while !self.sink.is_closed() {
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

    /// Asks once, and says so meanwhile when the answer is late.
    async fn look(&mut self) {
        let asked_at = now();
        let Eye { group, member, sink, down_since, last_up, probe } = self;
        let teller = Teller { group, member, sink, last_up };
        let mut late = None;
        let answer = {
            let mut asking = pin!(probe.ask());
            loop {
                if let Ok(answer) = timeout(SILENCE, &mut asking).await {
                    break Some(answer);
                }
                let ms = now().since(asked_at).as_millis();
                let since = *late.get_or_insert(down_since.unwrap_or(asked_at));
                teller.down(since, Some(LinkEnd::Unanswered), None, format!("no answer for {ms} ms"));
                if now().since(asked_at) >= GIVE_UP {
                    break None;
                }
            }
        };
        match answer {
            Some(Ok(answer)) => {
                let rtt_us = now().since(asked_at).as_micros() as u64;
                let status = MemberStatus::cluster(answer.cluster_id, answer.version, answer.status, rtt_us);
                *down_since = None;
                teller.tell(asked_at, Reach::Up(status.clone()));
                *last_up = Some((asked_at, status));
            }
            Some(Err(error)) => {
                let since = *down_since.get_or_insert(asked_at);
                let (ended, connect) = meaning(&error);
                teller.down(since, ended, connect, format!("{error}; {}", error.remedy()));
                probe.turn();
            }
            None => {
                down_since.get_or_insert(asked_at);
                probe.turn();
            }
        }
    }
}

struct Teller<'a> {
    group: &'a GroupName,
    member: &'a MemberName,
    sink: &'a mpsc::Sender<Sighting>,
    last_up: &'a Option<(Moment, MemberStatus)>,
}

impl Teller<'_> {
    fn down(&self, since: Moment, ended: Option<LinkEnd>, connect: Option<ConnectFailure>, detail: String) {
        self.tell(now(), Reach::Down { since, ended, connect, exited_pid: None, detail });
    }

    fn tell(&self, at: Moment, reach: Reach) {
        let last_up = self.last_up.clone().filter(|_| matches!(reach, Reach::Down { .. }));
        let (group, member) = (self.group.clone(), self.member.clone());
        // Without room it is left to the next look, which says the same and newer.
        let _ = self.sink.try_send(Sighting { group, member, at, reach, last_up, rate_peak_bytes: 0 });
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
