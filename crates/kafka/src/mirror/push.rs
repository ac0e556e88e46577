//! Producing: to each target broker one connection, on which requests keep the order in which they were handed over.

use crate::link::{Cluster, Lane, LinkError};
use crate::wire::produce::{self, Produced};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use kafka_protocol::messages::ApiKey;
use primacy_runtime::Task;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the target may take to have a batch on all replicas.
pub(super) const TIMEOUT_MS: i32 = 15_000;

/// How long an acknowledgement may take.
const WITHIN: Duration = Duration::from_secs(20);

/// Requests under way to one broker.
pub(super) const IN_FLIGHT_MAX: usize = 8;

/// A request, and the batches in it: part, generation, offset.
pub(super) struct Job {
    pub(super) segments: Vec<Bytes>,
    pub(super) batches: Vec<Sent>,
}

/// A batch under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) part: usize,
    pub(super) generation: u64,
    pub(super) base: i64,
}

/// What came of a request.
pub(super) struct Pushed {
    pub(super) broker: i32,
    pub(super) batches: Vec<Sent>,
    pub(super) answer: Result<Vec<Produced>, LinkError>,
}

/// A target broker.
pub(super) struct Push {
    jobs: mpsc::UnboundedSender<Job>,
    pub(super) in_flight: usize,
    _task: Task<()>,
}

impl Push {
    pub(super) fn start(broker: i32, target: Cluster, results: mpsc::UnboundedSender<Pushed>) -> Push {
        let (jobs, queue) = mpsc::unbounded_channel();
        let task = primacy_runtime::spawn(serve(broker, target, queue, results));
        Push { jobs, in_flight: 0, _task: task }
    }

    pub(super) fn send(&mut self, job: Job) {
        self.in_flight += 1;
        // The task ends only with the mirror.
        let _ = self.jobs.send(job);
    }
}

async fn serve(
    broker: i32,
    target: Cluster,
    mut queue: mpsc::UnboundedReceiver<Job>,
    results: mpsc::UnboundedSender<Pushed>,
) {
    let mut answers = FuturesOrdered::new();
    loop {
        let pushed = tokio::select! {
            biased;
            Some(pushed) = answers.next(), if !answers.is_empty() => pushed,
            job = queue.recv() => {
                let Some(Job { segments, batches }) = job else { return };
                match begin(&target, broker, segments).await {
                    Ok(answer) => {
                        answers.push_back(async move { Pushed { broker, batches, answer: answer.await } });
                        continue;
                    }
                    Err(e) => Pushed { broker, batches, answer: Err(e) },
                }
            }
        };
        if results.send(pushed).is_err() {
            return;
        }
    }
}

async fn begin(
    target: &Cluster,
    broker: i32,
    segments: Vec<Bytes>,
) -> Result<impl Future<Output = Result<Vec<Produced>, LinkError>> + Send + use<>, LinkError> {
    let connection = target.lane(broker, Lane::Produce).await?;
    let address = connection.address().to_owned();
    let answer = connection.begin(ApiKey::Produce, produce::VERSION, segments, WITHIN).await?;
    Ok(async move {
        let malformed = |_| LinkError::Protocol { address, reason: "a malformed answer to Produce".into() };
        produce::decode(answer.await?).map_err(malformed)
    })
}
