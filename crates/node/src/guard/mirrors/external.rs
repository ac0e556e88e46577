//! A mirror that somebody else runs: what it writes down is read, and told like that of one of ours.

use primacy_core::view::{MirrorItem, MirrorLag, MirrorMode, MirrorReport};
use primacy_core::{Epoch, Moment};
use primacy_kafka::external::{External, ExternalPlan, ExternalStatus};
use primacy_kafka::{ClusterAccess, LinkError, Patterns};
use primacy_runtime::{Task, now, sleep, spawn};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was read last.
#[derive(Default)]
struct Seen {
    status: ExternalStatus,
    at: Option<Moment>,
    trouble: Option<String>,
}

/// A watch over it. Dropping it ends it.
pub(super) struct Watched {
    seen: Arc<Mutex<Seen>>,
    _looking: Task<()>,
}

impl Watched {
    pub(super) fn start(source: ClusterAccess, target: ClusterAccess, topics: Patterns) -> Arc<Watched> {
        let plan = ExternalPlan { source, target, topics, target_alias: None, source_alias: None };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let looking = spawn(look(plan, seen.clone()));
        Arc::new(Watched { seen, _looking: looking })
    }

    pub(super) fn report(&self, epoch: Epoch, leased: bool, at: Moment) -> MirrorReport {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        report_of(&seen, epoch, leased, at)
    }
}

/// Connections are opened anew after a fault; what was read is read again.
async fn look(plan: ExternalPlan, seen: Arc<Mutex<Seen>>) {
    let fails = |error: &LinkError| {
        let words = format!("{error}; {}", error.remedy());
        seen.lock().unwrap_or_else(PoisonError::into_inner).trouble = Some(words);
    };
    loop {
        let mut external = match External::new(plan.clone()) {
            Ok(external) => external,
            Err(error) => return fails(&error),
        };
        loop {
            let at = now();
            match external.look().await {
                Ok(status) => {
                    let fresh = Seen { status: status.clone(), at: Some(at), trouble: None };
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                }
                Err(error) => {
                    fails(&error);
                    break;
                }
            }
            sleep(LOOK_EVERY).await;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Its lag is the most that the standby may lack: it writes down how far it is only now and then.
fn report_of(seen: &Seen, epoch: Epoch, leased: bool, at: Moment) -> MirrorReport {
    let mut topics: BTreeMap<&str, MirrorItem> = BTreeMap::new();
    for ((topic, _), partition) in &seen.status.partitions {
        let item = topics.entry(topic).or_default();
        item.name.clone_from(topic);
        item.partitions += 1;
        item.lag.records += partition.lag_records_max;
    }
    let records = topics.values().map(|item| item.lag.records).sum();
    let topic_count = topics.len() as u64;
    let mut topics: Vec<MirrorItem> = topics.into_values().collect();
    topics.sort_by_key(|item| Reverse(item.lag.records));
    topics.truncate(MirrorReport::ITEMS_MAX);
    let group = |(name, places): (&String, &BTreeMap<_, _>)| MirrorItem {
        name: name.clone(),
        partitions: places.len() as u64,
        ..MirrorItem::default()
    };
    let groups = seen.status.groups.iter().map(group).take(MirrorReport::ITEMS_MAX);
    MirrorReport {
        running: leased,
        mode: if seen.at.is_some() { MirrorMode::Live } else { MirrorMode::Connecting },
        lag: MirrorLag { records, ..MirrorLag::default() },
        sampled_at: seen.at,
        trouble: seen.trouble.clone(),
        topics,
        topic_count,
        groups: groups.collect(),
        group_count: seen.status.groups.len() as u64,
        ..MirrorReport::nothing(at, epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use primacy_kafka::external::ExternalPartition;

    #[test]
    fn partitions_become_topics_and_the_furthest_behind_is_first() {
        let partition = |lag_records_max| ExternalPartition { source_end: 90, synced: None, lag_records_max };
        let of = [(("a", 0), 0), (("b", 0), 5), (("b", 1), 4)];
        let partitions = of.map(|((topic, n), lag)| ((topic.to_owned(), n), partition(lag)));
        let status = ExternalStatus { partitions: partitions.into(), ..ExternalStatus::default() };
        let seen = Seen { status, at: Some(Moment(5)), trouble: None };
        let report = report_of(&seen, Epoch(7), true, Moment(9));
        let told: Vec<_> =
            report.topics.iter().map(|t| (t.name.as_str(), t.partitions, t.lag.records)).collect();
        assert_eq!(told, [("b", 2, 9), ("a", 1, 0)]);
        assert_eq!((report.lag.records, report.mode), (9, MirrorMode::Live));
        assert_eq!(report.sampled_at, Some(Moment(5)));
        let nothing = report_of(&Seen::default(), Epoch(7), true, Moment(9));
        assert_eq!((nothing.mode, nothing.sampled_at), (MirrorMode::Connecting, None));
    }
}
