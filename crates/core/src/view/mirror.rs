//! What a node says of a mirror that it runs, or would run.

use crate::{Epoch, Moment};

/// Which of the three kinds of synchronisation is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorMode {
    /// It has not reached both clusters yet.
    Connecting,
    /// A first copy.
    Full,
    /// Catching up after an interruption.
    Incremental,
    /// Each record is copied as it comes.
    Live,
}

impl MirrorMode {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            MirrorMode::Connecting => "connecting",
            MirrorMode::Full => "full",
            MirrorMode::Incremental => "incremental",
            MirrorMode::Live => "live",
        }
    }
}

/// What the active cluster has and the standby lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorLag {
    /// Records, exact as of the sample.
    pub records: u64,
    /// Bytes, by the size of what was copied lately.
    pub bytes: u64,
    /// For how many milliseconds the oldest of them has been missing.
    pub ms: u64,
}

/// A topic, or a consumer group, of a mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorItem {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u64,
    /// What it lacks: of a group, the records that its consumers would read again.
    pub lag: MirrorLag,
    /// Why it is not copied, with the remedy.
    pub problem: Option<String>,
    /// One word for a topic: `aligned`, `verifying` or `unaligned`.
    pub state: String,
}

/// A mirror into one member at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorReport {
    /// When it was made, by the leader's clock.
    pub at: Moment,
    /// The epoch whose primary it copies from.
    pub epoch: Epoch,
    /// Whether it may write: its lease holds.
    pub running: bool,
    /// Which kind of work it does.
    pub mode: MirrorMode,
    /// Records copied since the copy began.
    pub done_records: u64,
    /// Records to copy, those done included.
    pub total_records: u64,
    /// Milliseconds until it is done, at the pace of the last seconds.
    pub eta_ms: Option<u64>,
    /// Lately.
    pub records_per_second: u64,
    /// Lately.
    pub bytes_per_second: u64,
    /// Over all topics.
    pub lag: MirrorLag,
    /// When the active cluster was last heard: what is said of lag is of that time.
    pub sampled_at: Option<Moment>,
    /// The user as whom it writes, where brokers refuse what earlier owners send; none where that is detected.
    pub writes_as: Option<String>,
    /// Why it does not write although it could, or which side does not answer.
    pub trouble: Option<String>,
    /// The topics that need to be named, at most [`MirrorReport::ITEMS_MAX`]: with trouble or lag first.
    pub topics: Vec<MirrorItem>,
    /// How many topics there are.
    pub topic_count: u64,
    /// Consumer groups, like topics.
    pub groups: Vec<MirrorItem>,
    /// How many consumer groups there are.
    pub group_count: u64,
}

impl MirrorReport {
    /// How many topics and groups are named.
    pub const ITEMS_MAX: usize = 20;

    /// Of a mirror that has heard and done nothing.
    pub fn nothing(at: Moment, epoch: Epoch) -> MirrorReport {
        MirrorReport {
            at,
            epoch,
            running: false,
            mode: MirrorMode::Connecting,
            done_records: 0,
            total_records: 0,
            eta_ms: None,
            records_per_second: 0,
            bytes_per_second: 0,
            lag: MirrorLag::default(),
            sampled_at: None,
            writes_as: None,
            trouble: None,
            topics: Vec::new(),
            topic_count: 0,
            groups: Vec::new(),
            group_count: 0,
        }
    }

    /// Whether an operator would want to know of the difference.
    pub fn is_news_after(&self, before: &MirrorReport) -> bool {
        let character =
            |r: &MirrorReport| (r.epoch, r.running, r.mode, r.writes_as.clone(), r.trouble.clone());
        character(before) != character(self)
    }

    /// How much of the copy is done, in thousandths; all of it when nothing is left.
    pub fn done_permille(&self) -> u64 {
        match self.total_records {
            0 => 1_000,
            total => (u128::from(self.done_records.min(total)) * 1_000 / u128::from(total)) as u64,
        }
    }
}
