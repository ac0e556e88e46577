//! Switchover and failover of a Kafka group: not in this version, and said so.

use super::Refusal;
use crate::Group;

pub(super) fn refused(group: &Group) -> Refusal {
    let message = format!(
        "{0} is a Kafka group: this version mirrors the active cluster to the others, and does not make another one \
         active yet; `primacy status {0}` says how far the mirrors are",
        group.spec.name
    );
    Refusal { code: "kafka_stays", message }
}
