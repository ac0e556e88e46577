//! Who keeps a primary open, as status shows it.

use crate::screen::units::{bytes, count, millis, plural};
use primacy_wire::v1;
use serde::Serialize;

/// Who keeps the primary open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FenceReport {
    /// It accepts writes only while so many of `replicas` and its witness are attached.
    pub(crate) min_replicas: u64,
    /// `min-replicas-to-write` by its last answer.
    pub(crate) min_replicas_in_force: Option<u64>,
    pub(crate) replicas: Vec<String>,
    /// How many of them and the witness are attached, by its last answer.
    pub(crate) attached: Option<u64>,
    /// Replicas that are neither.
    pub(crate) strangers: u64,
    pub(crate) witness_node: Option<u64>,
    /// None where the answering node does not know.
    pub(crate) witness: Option<WitnessStatusReport>,
    /// Until the last lease is over; none where the answering node granted none.
    pub(crate) lease_left_ms: Option<u64>,
    pub(crate) holder_node: Option<u64>,
    /// Whether gates go on without a holder.
    pub(crate) degraded: bool,
}

/// What a witness says of its connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WitnessStatusReport {
    pub(crate) attached: bool,
    pub(crate) end_bytes: u64,
    pub(crate) tail_bytes: u64,
    /// Full copies that it was forced to take and threw away.
    pub(crate) copies: u64,
    pub(crate) age_ms: u64,
}

impl FenceReport {
    /// `2.4 s`, `over`, or nothing where it is not known.
    pub(crate) fn lease_words(&self) -> String {
        match self.lease_left_ms {
            None => "-".to_owned(),
            Some(0) => "over".to_owned(),
            Some(left) => millis(left as f64),
        }
    }

    /// Who keeps the primary open, and what its witness has.
    pub(crate) fn lines(&self) -> Vec<String> {
        let witness = self.witness_node.map(|node| format!("witness n{node}"));
        let all: Vec<String> = self.replicas.iter().cloned().chain(witness).collect();
        let mut lines = Vec::new();
        if !all.is_empty() {
            let attached = self.attached.map_or_else(|| "?".to_owned(), |n| n.to_string());
            let lease = match self.lease_left_ms {
                None => String::new(),
                Some(_) => format!("; lease {}", self.lease_words()),
            };
            lines.push(format!(
                "fence: {attached} of {} attached ({}), {} must be{lease}",
                all.len(),
                all.join(", "),
                self.min_replicas
            ));
        }
        lines.extend(self.witness_node.zip(self.witness.as_ref()).map(|(node, witness)| witness.line(node)));
        let holder = if self.degraded {
            "is to hold the stream at another site"
        } else {
            "has the stream at another site"
        };
        lines.extend(self.holder_node.map(|node| format!("holder: n{node} {holder}")));
        lines
    }
}

impl WitnessStatusReport {
    fn line(&self, node: u64) -> String {
        let attached = if self.attached { "attached" } else { "not attached" };
        let copies = match self.copies {
            0 => String::new(),
            n => format!(", {} thrown away", plural(n, "full sync")),
        };
        format!(
            "witness: n{node} {attached}, at offset {}, keeps the last {}{copies}",
            count(self.end_bytes),
            bytes(self.tail_bytes)
        )
    }
}

impl From<v1::FenceStatus> for FenceReport {
    fn from(fence: v1::FenceStatus) -> Self {
        FenceReport {
            min_replicas: fence.min_replicas,
            min_replicas_in_force: fence.min_replicas_in_force,
            replicas: fence.replicas,
            attached: fence.attached,
            strangers: fence.strangers,
            witness_node: fence.witness_node,
            witness: fence.witness.map(|witness| WitnessStatusReport {
                attached: witness.attached,
                end_bytes: witness.end_bytes,
                tail_bytes: witness.tail_bytes,
                copies: witness.copies,
                age_ms: witness.age_ms,
            }),
            lease_left_ms: fence.lease_left_ms,
            holder_node: fence.holder_node,
            degraded: fence.degraded,
        }
    }
}
