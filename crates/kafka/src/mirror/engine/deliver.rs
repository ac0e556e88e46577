//! To the target: what is sent to which broker, and what its answers mean.

use super::{Ended, Engine, READING, REST, WRITING};
use crate::mirror::judge::{self, Ack};
use crate::mirror::part::Part;
use crate::mirror::push::{IN_FLIGHT_MAX, Job, Push, Pushed, Sent, TIMEOUT_MS};
use crate::wire::produce;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What is sent in one request, unless one batch is larger.
const PUSH_BYTES: usize = 2 << 20;

impl Engine {
    pub(super) fn push(&mut self, now: Instant) {
        if self.parts.is_empty() {
            return;
        }
        let mut ready: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        let count = self.parts.len();
        self.turn = (self.turn + 1) % count;
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            let part = &self.parts[index];
            if let Some(leader) = part.target_leader.filter(|_| part.can_send(now)) {
                ready.entry(leader).or_default().push(index);
            }
        }
        if ready.is_empty() || !self.may_write() {
            return;
        }
        for (broker, parts) in ready {
            let (context, results) = (&self.context, &self.results.0);
            let push = self
                .pushes
                .entry(broker)
                .or_insert_with(|| Push::start(broker, context.writer(), results.clone()));
            while push.in_flight < IN_FLIGHT_MAX {
                let Some(job) = gather(&mut self.parts, &parts, now) else { break };
                push.send(job);
            }
        }
    }

    /// Asks whether writing is allowed, and says so if it is not.
    fn may_write(&self) -> bool {
        let holds = self.context.plan.authority.holds();
        self.context.status.send_if_modified(|status| {
            let stopped = (!holds).then(|| "it holds no lease to write".to_owned());
            let changed = status.stopped != stopped;
            status.stopped = stopped;
            changed
        });
        holds
    }

    pub(super) fn on_pushed(&mut self, pushed: Pushed) -> Option<Ended> {
        let Pushed { broker, batches, answer } = pushed;
        if let Some(push) = self.pushes.get_mut(&broker) {
            push.in_flight = push.in_flight.saturating_sub(1);
        }
        let now = Instant::now();
        let answers = match answer {
            Ok(answers) => answers,
            Err(e) => {
                tracing::debug!(broker, "producing: {e}");
                for sent in batches {
                    self.again(sent, now);
                }
                self.context.look.notify_one();
                return None;
            }
        };
        for sent in batches {
            let place = self.parts[sent.part].place.clone();
            let answer = answers.iter().find(|a| a.partition == place.1 && *a.topic == *place.0);
            let Some(answer) = answer else {
                self.again(sent, now);
                continue;
            };
            if self.parts[sent.part].generation != sent.generation {
                continue;
            }
            let words = answer.message.as_deref();
            match judge::acknowledged(place.1, sent.base, answer.error, answer.base_offset, words) {
                Ack::Taken => {
                    self.parts[sent.part].taken(sent.base);
                    self.troubles.remove(&(WRITING, sent.part));
                }
                Ack::Again => {
                    if let Some(error) = ResponseError::try_from_code(answer.error) {
                        self.suffer(WRITING, sent.part, error);
                    }
                    self.again(sent, now);
                    self.context.look.notify_one();
                }
                // It follows one that failed, and is sent again with it.
                Ack::Resync if self.parts[sent.part].is_failed() => self.again(sent, now),
                Ack::Resync => self.parts[sent.part].restart(now + REST),
                Ack::Fenced => return Some(Ended::Fenced),
                Ack::Refuse(why) => self.refuse_part(sent.part, why),
            }
        }
        None
    }

    /// Remembers what a partition suffers from, unless it is only that leaders move.
    pub(super) fn suffer(&mut self, doing: &'static str, part: usize, error: ResponseError) {
        let topic = &self.parts[part].place.0;
        let remedy = match error {
            ResponseError::NotLeaderOrFollower
            | ResponseError::LeaderNotAvailable
            | ResponseError::UnknownTopicOrPartition => return,
            ResponseError::TopicAuthorizationFailed if doing == READING => {
                format!("Read on topic {topic} is needed at the source")
            }
            ResponseError::TopicAuthorizationFailed => {
                let writer = self.context.status.borrow().writes_as.clone();
                let by = writer.map(|user| format!(" by User:{user}")).unwrap_or_default();
                format!("Write on topic {topic} is needed on the standby{by}")
            }
            ResponseError::KafkaStorageError => "look at the broker's disk: it may be full".into(),
            ResponseError::NotEnoughReplicas | ResponseError::NotEnoughReplicasAfterAppend => {
                "bring the standby's missing brokers back".into()
            }
            ResponseError::MessageTooLarge => {
                // It may be that the topic's limit was raised at the source just now.
                self.context.compare_settings.store(true, Ordering::Relaxed);
                "raise max.message.bytes of the topic, or message.max.bytes of the standby's brokers".into()
            }
            ResponseError::InvalidTimestamp => {
                self.context.compare_settings.store(true, Ordering::Relaxed);
                "relax message.timestamp.before.max.ms and after.max.ms on the standby".into()
            }
            _ => "look into the broker's log".into(),
        };
        self.troubles.insert((doing, part), format!("{error}; {remedy}"));
    }

    fn again(&mut self, sent: Sent, now: Instant) {
        let part = &mut self.parts[sent.part];
        if part.generation == sent.generation {
            part.again(now + REST);
        }
    }
}

/// One batch of each partition that has one, in one request.
fn gather(parts: &mut [Part], ready: &[usize], now: Instant) -> Option<Job> {
    let mut batches: BTreeMap<Arc<str>, Vec<(i32, Bytes)>> = BTreeMap::new();
    let mut sent = Vec::new();
    let mut size = 0;
    for index in ready {
        if size >= PUSH_BYTES {
            break;
        }
        let part = &mut parts[*index];
        if let Some((base, bytes)) = part.send(now) {
            size += bytes.len();
            batches.entry(part.place.0.clone()).or_default().push((part.place.1, bytes));
            sent.push(Sent { part: *index, generation: part.generation, base });
        }
    }
    if sent.is_empty() {
        return None;
    }
    let batches = batches.iter().map(|(topic, batches)| (&**topic, batches.clone())).collect();
    Some(Job { segments: produce::encode(&batches, TIMEOUT_MS), batches: sent })
}
