//! A Kafka cluster as it answers: who is in it, and which partitions are not as they should be.

/// Partitions, of which only the first few are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionList {
    /// How many.
    pub count: u64,
    /// At most [`PartitionList::NAMED_MAX`] of them, as `topic/partition`.
    pub first: Vec<String>,
}

impl PartitionList {
    /// How many are named.
    pub const NAMED_MAX: usize = 5;

    /// Counts one more, and names it where there is room.
    pub fn push(&mut self, topic: &str, partition: i32) {
        self.count += 1;
        if self.first.len() < PartitionList::NAMED_MAX {
            self.first.push(format!("{topic}/{partition}"));
        }
    }

    /// `orders/3, clicks/0 and 7 more`.
    pub fn words(&self) -> String {
        let named = self.first.join(", ");
        match self.count.saturating_sub(self.first.len() as u64) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

/// What a cluster said of itself in one answer. Its id is the `run_id` of the status that holds this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Brokers that live.
    pub brokers: u64,
    /// The broker that carries out changes.
    pub controller: Option<i32>,
    /// Topics, without Kafka's own.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// The sum of the offsets at which they end.
    pub end_records: u64,
    /// Partitions without a leader: they can be neither read nor written.
    pub leaderless: PartitionList,
    /// Partitions that have fewer replicas in step than they should.
    pub under_replicated: PartitionList,
    /// What we may not do or what is too old, each with its remedy.
    pub problems: Vec<String>,
}

impl ClusterStatus {
    /// Whether some partitions are not as they should be.
    pub fn is_degraded(&self) -> bool {
        self.leaderless.count > 0 || self.under_replicated.count > 0
    }
}
