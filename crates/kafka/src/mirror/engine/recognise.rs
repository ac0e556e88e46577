//! Takes note of what there is: topics that are meant, their partitions, who leads them, and whether a topic is still the
//! one that it was.

use super::{Copied, Engine};
use crate::mirror::judge;
use crate::mirror::part::Part;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

impl Engine {
    pub(super) fn on_survey(&mut self) {
        let Some(surveyed) = self.surveyed.borrow_and_update().clone() else { return };
        // It was made before the claim that holds.
        if surveyed.turn != self.context.turn() {
            return;
        }
        let now = Instant::now();
        let context = self.context.clone();
        let meant = surveyed.source.topics.iter().filter(|(name, _)| context.plan.topics.match_topic(name));
        let mut seen = BTreeSet::new();
        for (name, source) in meant {
            let Some(target) = surveyed.target.topics.get(name) else { continue };
            let name: Arc<str> = name.as_str().into();
            seen.insert(name.clone());
            self.recognise(&name, source.id, target.id, now);
            for partition in source.partitions.keys().filter(|p| target.partitions.contains_key(p)) {
                let part = match self.part_of(&name, *partition) {
                    Some(part) => part,
                    None => self.add_part(&name, *partition, now),
                };
                let part = &mut self.parts[part];
                part.source_leader = surveyed.source.leader(&name, *partition);
                part.target_leader = surveyed.target.leader(&name, *partition);
            }
        }
        // What is gone on either side is left alone; the target keeps what it has.
        for (name, topic) in &self.topics {
            if seen.contains(name) {
                continue;
            }
            for part in topic.parts.values() {
                let part = &mut self.parts[*part];
                part.source_leader = None;
                if part.is_running() {
                    part.restart(now);
                }
            }
        }
        self.latest = Some(surveyed);
        self.prepare(now);
    }

    /// Notices a topic that is not the one it was.
    fn recognise(&mut self, name: &Arc<str>, source_id: Uuid, target_id: Uuid, now: Instant) {
        let topic = self.topics.entry(name.clone()).or_insert_with(|| Copied {
            source_id,
            target_id,
            unaligned: None,
            parts: BTreeMap::new(),
        });
        if topic.target_id != target_id {
            // It was deleted on the standby and is copied anew.
            topic.target_id = target_id;
            topic.source_id = source_id;
            topic.unaligned = None;
            for part in topic.parts.values() {
                self.parts[*part].kept = None;
                self.parts[*part].restart(now);
            }
        } else if topic.source_id != source_id {
            topic.source_id = source_id;
            self.refuse(name, judge::recreated(None));
        }
    }

    fn add_part(&mut self, name: &Arc<str>, partition: i32, now: Instant) -> usize {
        let part = self.parts.len();
        let place = (name.clone(), partition);
        let mut new = Part::new(place.clone(), now);
        new.kept = self.ledger.kept(&place);
        self.parts.push(new);
        if let Some(topic) = self.topics.get_mut(name) {
            topic.parts.insert(partition, part);
            if topic.unaligned.is_some() {
                self.parts[part].stop();
            }
        }
        part
    }
}
