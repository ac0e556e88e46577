//! Ready means: a leader is known, and what it had committed is applied here. `grpc.health.v1`, `/readyz` and the
//! metrics say the same.

use super::Shared;
use metrics::gauge;
use primacy_runtime::interval;
use std::sync::Arc;
use std::time::Duration;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The services that are only as good as the node's touch with the cluster.
const SERVICES: [&str; 3] = ["", "primacy.v1.Directory", "primacy.v1.Admin"];

impl Shared {
    /// Why this node is not ready, when it is not.
    pub(crate) fn unready(&self) -> Option<String> {
        if self.consensus.leadership().borrow().leader.is_none() {
            return Some("no leader is known".to_owned());
        }
        self.local().err().map(|refusal| refusal.to_string())
    }
}

/// Follows readiness until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>, reporter: HealthReporter) {
    let mut leadership = shared.consensus.leadership();
    let mut look = interval(LOOK_EVERY);
    let mut before = None;
    loop {
        let ready = shared.unready().is_none();
        if before != Some(ready) {
            before = Some(ready);
            gauge!("primacy_node_ready").set(f64::from(u8::from(ready)));
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in SERVICES {
                reporter.set_service_status(service, status).await;
            }
        }
        tokio::select! {
            biased;
            changed = leadership.changed() => if changed.is_err() { return },
            () = look.tick() => {}
        }
    }
}
