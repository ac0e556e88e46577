//! Looks at both clusters again and again: who leads what, which topics there are.

use super::context::{Context, Surveyed};
use super::topics::Topics;
use super::writers::Prover;
use crate::link::{Cluster, LinkError, Topology, Wanted};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often, when nobody asks.
const EVERY: Duration = Duration::from_secs(1);

/// How often at most.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until it is dropped.
pub(super) async fn run(context: Arc<Context>, found: watch::Sender<Option<Arc<Surveyed>>>) {
    let mut topics = Topics::default();
    let mut prover = Prover::default();
    loop {
        let (source, target) = tokio::join!(look(&context.source), look(&context.target));
        context.status.send_modify(|status| {
            note(&mut status.source, &source);
            note(&mut status.target, &target);
        });
        if let (Ok(source), Ok(target)) = (source, target) {
            let surveyed = Arc::new(prover.look(&context, source, target).await);
            found.send_replace(Some(surveyed.clone()));
            if topics.follow(&context, &surveyed).await {
                continue;
            }
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = context.look.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn look(cluster: &Cluster) -> Result<Topology, LinkError> {
    cluster.topology(Wanted::All).await
}

fn note(side: &mut super::Side, looked: &Result<Topology, LinkError>) {
    match looked {
        Ok(topology) => {
            side.reachable = true;
            side.error = None;
            side.cluster_id = Some(topology.cluster_id.clone());
        }
        Err(e) => {
            side.reachable = false;
            side.error = Some(format!("{e}; {}", e.remedy()));
        }
    }
}
