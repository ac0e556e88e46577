//! Our mirror alone in a process.

use anyhow::Result;
use primacy_kafka::{Authority, ClusterAccess, Gaps, Mirror, MirrorPlan, Patterns};

/// Mirrors a topic until the process is ended.
pub(crate) async fn run(source: &str, target: &str, topic: &str) -> Result<()> {
    let access = |bootstrap: &str| ClusterAccess {
        bootstrap: bootstrap.split(',').map(str::to_owned).collect(),
        client_id: "primacy-bench".to_owned(),
        ..ClusterAccess::default()
    };
    let mirror = Mirror::start(MirrorPlan {
        group: "bench".to_owned(),
        epoch: 1,
        source: access(source),
        target: access(target),
        topics: Patterns::new([topic])?,
        groups: Patterns::new([".*"])?,
        gaps: Gaps::default(),
        rate: None,
        authority: Authority::always(),
        buffer_bytes_max: MirrorPlan::BUFFER_BYTES_MAX,
    });
    // What it says at the end is in its log.
    let mut watch = mirror.watch();
    loop {
        watch.changed().await?;
        let status = watch.borrow_and_update();
        if let Some(why) = &status.stopped {
            crate::progress!("the mirror stopped: {why}");
        }
        for (topic, why) in status.unaligned() {
            crate::progress!("{topic}: {why}");
        }
    }
}
