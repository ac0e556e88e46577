//! A mirror that is not ours: what MirrorMaker 2 writes down about itself, read.
//!
//! MirrorMaker 2 keeps a topic of offset syncs at the source (which offset of the source is which on the target) and one
//! of checkpoints on the target (which offset of a group is which there). It writes a sync only now and then, by
//! default once a partition moved by 100 records, so the lag that follows from it is an upper bound, and said to be one.

mod messages;

use crate::batch;
use crate::calls::{At, Place, ReadError, Reader, ends};
use crate::link::{Cluster, LinkError, Topology, Wanted};
use crate::{ClusterAccess, Patterns};
use messages::{Checkpoint, OffsetSync};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is asked about.
#[derive(Clone, Debug)]
pub struct ExternalPlan {
    /// Where records come from.
    pub source: ClusterAccess,
    /// Where they go.
    pub target: ClusterAccess,
    /// The topics that matter, by their names at the source.
    pub topics: Patterns,
    /// What the mirror calls the target, where it writes to several; else the only topic of offset syncs is taken.
    pub target_alias: Option<String>,
    /// What it calls the source; likewise.
    pub source_alias: Option<String>,
}

/// What a mirror of others has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalStatus {
    /// By topic and partition of the source.
    pub partitions: BTreeMap<(String, i32), ExternalPartition>,
    /// Groups and the partitions that it has checkpoints of.
    pub groups: BTreeMap<String, BTreeMap<(String, i32), ExternalOffset>>,
}

/// A partition as that mirror sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalPartition {
    /// Where the source's log ends.
    pub source_end: i64,
    /// The last offset of the source that is known to be on the target; none before the first sync.
    pub synced: Option<i64>,
    /// Records that the target may lack, at most.
    pub lag_records_max: u64,
}

/// A group's offset on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalOffset {
    /// At the source.
    pub source: i64,
    /// On the target.
    pub target: i64,
}

/// A watch over a mirror of others. Each look reads what was written since the last one.
pub struct External {
    plan: ExternalPlan,
    source: Cluster,
    target: Cluster,
    syncs: Journal,
    checkpoints: Journal,
    status: ExternalStatus,
}

/// How far a topic of the mirror is read.
#[derive(Default)]
struct Journal {
    read: BTreeMap<Place, i64>,
}

impl External {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// Certificates that cannot be read, and no bootstrap address.
    pub fn new(plan: ExternalPlan) -> Result<External, LinkError> {
        let source = Cluster::new(plan.source.clone())?;
        let target = Cluster::new(plan.target.clone())?;
        let (syncs, checkpoints) = (Journal::default(), Journal::default());
        Ok(External { plan, source, target, syncs, checkpoints, status: ExternalStatus::default() })
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// Those of the link; no topic of offset syncs, or several and no alias to choose by.
    pub async fn look(&mut self) -> Result<&ExternalStatus, LinkError> {
        let (source, target) =
            tokio::try_join!(self.source.topology(Wanted::All), self.target.topology(Wanted::All))?;
        let syncs = choose(&source, "mm2-offset-syncs.", ".internal", self.plan.target_alias.as_deref())?;
        let topics = &self.plan.topics;
        let partitions = &mut self.status.partitions;
        self.syncs
            .read(&self.source, &source, &syncs, |key, value| {
                let Some(sync) = OffsetSync::read(key, value).filter(|s| topics.match_topic(&s.topic)) else {
                    return;
                };
                let place = (sync.topic, sync.partition);
                let known = partitions.entry(place).or_insert(ExternalPartition {
                    source_end: 0,
                    synced: None,
                    lag_records_max: 0,
                });
                known.synced = Some(sync.upstream);
            })
            .await?;
        // Without groups that are copied there are no checkpoints.
        if let Ok(topic) = choose(&target, "", ".checkpoints.internal", self.plan.source_alias.as_deref()) {
            let groups = &mut self.status.groups;
            self.checkpoints
                .read(&self.target, &target, &topic, |key, value| {
                    let Some(found) = Checkpoint::read(key, value) else { return };
                    let offset = ExternalOffset { source: found.upstream, target: found.downstream };
                    groups.entry(found.group).or_default().insert((found.topic, found.partition), offset);
                })
                .await?;
        }
        self.measure(&source).await?;
        Ok(&self.status)
    }

    async fn measure(&mut self, source: &Topology) -> Result<(), LinkError> {
        let meant = source.topics.iter().filter(|(name, _)| self.plan.topics.match_topic(name));
        let places: Vec<Place> = meant
            .flat_map(|(name, topic)| {
                let name: Arc<str> = name.as_str().into();
                topic.partitions.keys().map(move |partition| (name.clone(), *partition))
            })
            .collect();
        let starts = ends(&self.source, source, &places, At::Start).await?;
        for (place, end) in ends(&self.source, source, &places, At::End).await? {
            let start = starts.get(&place).copied().unwrap_or(0);
            let known = self
                .status
                .partitions
                .entry((place.0.to_string(), place.1))
                .or_insert(ExternalPartition { source_end: end, synced: None, lag_records_max: 0 });
            known.source_end = end;
            // The synced offset itself is on the target.
            let from = known.synced.map_or(start, |synced| synced + 1);
            known.lag_records_max = (end - from).max(0).unsigned_abs();
        }
        Ok(())
    }
}

/// The one topic between these two, or that of the alias.
fn choose(topology: &Topology, before: &str, after: &str, alias: Option<&str>) -> Result<String, LinkError> {
    let of = |name: &str| name.strip_prefix(before)?.strip_suffix(after).map(str::to_owned);
    let found: Vec<(&String, String)> =
        topology.topics.keys().filter_map(|name| Some((name, of(name)?))).collect();
    let mut chosen = found.iter().filter(|(_, named)| alias.is_none_or(|alias| alias == named));
    match (chosen.next(), chosen.next()) {
        (Some((name, _)), None) => Ok((*name).clone()),
        (None, _) => Err(LinkError::Configuration(format!(
            "there is no topic {before}ALIAS{after}: MirrorMaker 2 does not run, or keeps it on the other cluster \
             (offset-syncs.topic.location)"
        ))),
        (Some(_), Some(_)) => {
            let aliases: Vec<_> = found.into_iter().map(|(_, alias)| alias).collect();
            Err(LinkError::Configuration(format!("say which alias is meant: {}", aliases.join(", "))))
        }
    }
}

impl Journal {
    async fn read(
        &mut self,
        cluster: &Cluster,
        topology: &Topology,
        topic: &str,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), LinkError> {
        let Some(known) = topology.topics.get(topic) else { return Ok(()) };
        let name: Arc<str> = topic.into();
        let places: Vec<Place> =
            known.partitions.keys().map(|partition| (name.clone(), *partition)).collect();
        let starts = ends(cluster, topology, &places, At::Start).await?;
        for place in &places {
            let Some(leader) = topology.leader(topic, place.1) else { continue };
            let from = self.read.get(place).or(starts.get(place)).copied().unwrap_or(0);
            let mut reader = Reader::new(cluster, leader, place, from);
            while let Some((header, bytes)) = reader.peek().await.map_err(|e| described(topic, e))? {
                if !header.is_control() {
                    for (key, value) in batch::records(header, bytes).unwrap_or_default() {
                        if let (Some(key), Some(value)) = (key, value) {
                            found(&key, &value);
                        }
                    }
                }
                self.read.insert(place.clone(), header.end());
                reader.advance();
            }
        }
        Ok(())
    }
}

fn described(topic: &str, error: ReadError) -> LinkError {
    match error {
        ReadError::Link(e) => e,
        ReadError::Bad(bad, at) => LinkError::Configuration(format!("{topic} holds {bad} at {at}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::link::Topic;

    fn with(names: &[&str]) -> Topology {
        let topic = Topic { id: uuid::Uuid::nil(), internal: false, partitions: BTreeMap::new() };
        let topics = names.iter().map(|name| ((*name).to_owned(), topic.clone())).collect();
        Topology { topics, ..Topology::default() }
    }

    #[test]
    fn the_only_topic_is_taken_and_an_alias_chooses_among_several() {
        let choose = |names: &[&str], alias| choose(&with(names), "mm2-offset-syncs.", ".internal", alias);
        let (b, c) = ("mm2-offset-syncs.b.internal", "mm2-offset-syncs.c.internal");
        assert_eq!(choose(&["orders", b], None).unwrap(), b);
        assert_eq!(choose(&[b, c], Some("c")).unwrap(), c);
        assert!(choose(&[b, c], None).unwrap_err().to_string().contains("b, c"));
        assert!(choose(&["orders"], None).unwrap_err().to_string().contains("does not run"));
    }
}
