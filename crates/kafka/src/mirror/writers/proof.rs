//! Each broker's own word that nobody else writes to the partitions it leads.
//!
//! An acknowledged denial is in the log of the controllers; a broker refuses by it when it has read that far. So each
//! broker is asked, as each of those who are shut out, what they may do on the topics it leads.

use crate::calls::{Place, permitted};
use crate::link::{Cluster, LinkError, Topology};
use crate::{ClusterAccess, Patterns};
use futures::future::join_all;
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one broker may take, logins included.
const WITHIN: Duration = Duration::from_secs(3);

/// How long a survey waits for brokers to catch up, and how often it asks.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN_EVERY: Duration = Duration::from_millis(50);

/// The bit of Write among a topic's operations.
const WRITE: i32 = 1 << 4;

/// What is being done, in the words of the status.
pub(super) const SHUTTING_OUT: &str = "shutting out earlier owners";

/// Whom to ask as, for which claim.
pub(super) struct Asking<'a> {
    pub(super) turn: u64,
    pub(super) patterns: &'a Patterns,
    pub(super) others: Vec<(String, ClusterAccess)>,
}

/// Which brokers said so of which topics they lead, since a claim.
#[derive(Default)]
pub(super) struct Proofs {
    turn: u64,
    shut: BTreeSet<(i32, Arc<str>)>,
    hidden: BTreeSet<Place>,
}

impl Proofs {
    pub(super) fn forget(&mut self) {
        self.shut.clear();
    }

    /// Asks what is not known yet; why it is not, if it stays so.
    pub(super) async fn ask(&mut self, asking: Asking<'_>, target: &Topology) -> Option<String> {
        if self.turn != asking.turn {
            self.turn = asking.turn;
            self.forget();
        }
        let mut missing = None;
        let mut clusters = None;
        let began = Instant::now();
        loop {
            let unknown = self.unknown(asking.patterns, target);
            if unknown.is_empty() {
                return None;
            }
            if missing.is_some() {
                if began.elapsed() >= PATIENCE {
                    return missing;
                }
                tokio::time::sleep(AGAIN_EVERY).await;
            }
            if clusters.is_none() {
                match open(&asking.others, target) {
                    Ok(opened) => clusters = Some(opened),
                    Err(e) => return Some(e.to_string()),
                }
            }
            let clusters = clusters.as_deref().unwrap_or_default();
            let answers = unknown.into_iter().map(|(broker, topics)| ask_broker(clusters, broker, topics));
            for answer in join_all(answers).await {
                self.shut.extend(answer.shut);
                missing = answer.why.or(missing);
            }
        }
    }

    /// Topics by the brokers that lead some of their partitions and have not said so of them.
    fn unknown(&self, patterns: &Patterns, target: &Topology) -> BTreeMap<i32, BTreeSet<Arc<str>>> {
        let mut unknown: BTreeMap<i32, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (name, topic) in target.topics.iter().filter(|(name, _)| patterns.match_topic(name)) {
            let name: Arc<str> = name.as_str().into();
            for leader in topic.partitions.values().filter_map(|p| p.leader) {
                if !self.shut.contains(&(leader, name.clone())) {
                    unknown.entry(leader).or_default().insert(name.clone());
                }
            }
        }
        unknown
    }

    /// Takes away leaders that are not known to refuse everybody else.
    pub(super) fn hide(&mut self, patterns: &Patterns, target: &mut Topology) {
        for (name, topic) in target.topics.iter_mut().filter(|(name, _)| patterns.match_topic(name)) {
            let name: Arc<str> = name.as_str().into();
            for (number, partition) in &mut topic.partitions {
                let Some(leader) = partition.leader else { continue };
                if !self.shut.contains(&(leader, name.clone())) {
                    partition.leader = None;
                    self.hidden.insert((name.clone(), *number));
                }
            }
        }
    }

    pub(super) fn take_hidden(&mut self) -> BTreeSet<Place> {
        std::mem::take(&mut self.hidden)
    }
}

fn open(others: &[(String, ClusterAccess)], target: &Topology) -> Result<Vec<(String, Cluster)>, LinkError> {
    let opened = others.iter().map(|(who, access)| {
        let cluster = Cluster::new(access.clone())?;
        cluster.learn(target);
        Ok((who.clone(), cluster))
    });
    opened.collect()
}

/// What one broker said.
struct Answer {
    shut: Vec<(i32, Arc<str>)>,
    why: Option<String>,
}

async fn ask_broker(clusters: &[(String, Cluster)], broker: i32, topics: BTreeSet<Arc<str>>) -> Answer {
    let each = clusters.iter().map(|(who, cluster)| ask_as(who, cluster, broker, &topics));
    let mut shut = topics.clone();
    let mut why = None;
    for (open, reason) in join_all(each).await {
        shut.retain(|topic| !open.contains(topic));
        why = why.or(reason);
    }
    Answer { shut: shut.into_iter().map(|topic| (broker, topic)).collect(), why }
}

/// The topics to which this user is not known to be denied, and why not.
async fn ask_as(
    who: &str,
    cluster: &Cluster,
    broker: i32,
    topics: &BTreeSet<Arc<str>>,
) -> (BTreeSet<Arc<str>>, Option<String>) {
    let asked = async {
        let connection = cluster.broker(broker).await?;
        permitted(&connection, topics.iter().map(|topic| &**topic), WITHIN).await
    };
    let answered = primacy_runtime::timeout(WITHIN, asked).await;
    let answered = answered.unwrap_or_else(|_| Err(LinkError::Timeout(format!("broker {broker}"))));
    let answers = match answered {
        Ok(answers) => answers,
        Err(e) => return (topics.clone(), Some(format!("as {who}: {e}; {}", e.remedy()))),
    };
    let mut open = topics.clone();
    let mut why = None;
    for answer in answers {
        let topic = &answer.topic;
        match ResponseError::try_from_code(answer.error) {
            None | Some(ResponseError::LeaderNotAvailable) => match answer.operations {
                Some(operations) if operations & WRITE == 0 => {
                    open.remove(topic.as_str());
                }
                Some(_) => why = Some(still_open(who, topic, broker)),
                None => why = Some(format!("broker {broker} does not say what {who} may do on {topic}")),
            },
            Some(ResponseError::TopicAuthorizationFailed) => {
                why = Some(format!(
                    "broker {broker} hides {topic} from {who}: Describe on topic {topic} is needed on the standby \
                     by each user of the mirror; give it the ACL"
                ));
            }
            Some(error) => why = Some(format!("broker {broker} says of {topic}: {error}")),
        }
    }
    (open, why)
}

fn still_open(who: &str, topic: &str, broker: i32) -> String {
    format!(
        "{who} may still write to {topic} at broker {broker}; when this stays, denials do not hold for it: take it out \
         of super.users, and where allow.everyone.if.no.acl.found is set give it Write on the topics by an ACL"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Partition, Topic};

    fn topology(leaders: &[(&str, i32)]) -> Topology {
        let mut topology = Topology::default();
        for (name, leader) in leaders {
            let partition = Partition {
                leader: Some(*leader),
                leader_epoch: 0,
                replicas: Vec::new(),
                in_sync: Vec::new(),
                offline: Vec::new(),
            };
            let topic = topology.topics.entry((*name).to_owned()).or_insert_with(|| Topic {
                id: uuid::Uuid::nil(),
                internal: false,
                partitions: BTreeMap::new(),
            });
            let number = i32::try_from(topic.partitions.len()).unwrap_or(0);
            topic.partitions.insert(number, partition);
        }
        topology
    }

    #[test]
    fn a_leader_counts_only_when_it_said_so_of_the_topic() -> Result<(), crate::PatternError> {
        let patterns = Patterns::new(["orders", "clicks"])?;
        let mut target = topology(&[("orders", 1), ("orders", 2), ("clicks", 1), ("others", 3)]);
        let mut proofs = Proofs::default();
        proofs.shut.insert((1, "orders".into()));
        let unknown = proofs.unknown(&patterns, &target);
        assert_eq!(unknown.keys().copied().collect::<Vec<_>>(), [1, 2]);
        proofs.hide(&patterns, &mut target);
        assert_eq!(target.leader("orders", 0), Some(1));
        assert_eq!((target.leader("orders", 1), target.leader("clicks", 0)), (None, None));
        assert_eq!(target.leader("others", 0), Some(3));
        assert_eq!(proofs.take_hidden().len(), 2);
        Ok(())
    }
}
