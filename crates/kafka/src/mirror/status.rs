//! What a mirror says about itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// A mirror at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorStatus {
    /// The group it serves.
    pub group: String,
    /// The epoch it was started in.
    pub epoch: u64,
    /// Which kind of work it does.
    pub mode: Mode,
    /// How far it is.
    pub progress: Progress,
    /// The cluster that records come from.
    pub source: Side,
    /// The cluster that they go to.
    pub target: Side,
    /// Why it does not write although it could; none while it may.
    pub stopped: Option<String>,
    /// It ended for ever: a newer owner has begun.
    pub superseded: bool,
    /// The user as whom it writes, where brokers refuse what earlier owners send; none where that is detected.
    pub writes_as: Option<String>,
    /// What else goes wrong, by what was being done, each with its remedy.
    pub problems: BTreeMap<String, String>,
    /// Its topics.
    pub topics: BTreeMap<String, TopicStatus>,
    /// The consumer groups whose offsets it copies.
    pub groups: BTreeMap<String, GroupStatus>,
    /// What would be lost, over all topics.
    pub lag: Lag,
    /// When the source was last heard: what is said about lag is of that time.
    pub sampled: Option<Instant>,
}

/// The three kinds of synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It has not yet reached both clusters.
    Connecting,
    /// A first copy: the target held nothing of some topic when the mirror found it.
    Full,
    /// Catching up after an interruption.
    Incremental,
    /// Each record is copied as it comes.
    Live,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Connecting => "connecting",
            Mode::Full => "full",
            Mode::Incremental => "incremental",
            Mode::Live => "live",
        })
    }
}

/// How far a copy is. What is written at the source meanwhile counts too, so the total can grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Records copied since the copy began.
    pub done_records: u64,
    /// Records to copy, those done included.
    pub total_records: u64,
    /// When it will be done at the pace of the last seconds; none while that cannot be told.
    pub eta: Option<Duration>,
    /// Records a second, lately.
    pub records_per_second: f64,
    /// Bytes a second, lately.
    pub bytes_per_second: f64,
}

/// One of the two clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Whether it answers.
    pub reachable: bool,
    /// Its identity, once known.
    pub cluster_id: Option<String>,
    /// What went wrong last, while it does not answer, with what to do about it.
    pub error: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicStatus {
    /// Whether its offsets are equal on both sides.
    pub state: TopicState,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, PartitionStatus>,
}

/// Whether offsets mean the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// What both sides hold is being compared.
    Verifying,
    /// Each record that the target has is at the offset that it has at the source.
    Aligned,
    /// Only before the first gap; behind it each record is there, at another offset, and those of groups are translated.
    Translated {
        /// The first partition with a gap.
        partition: i32,
        /// Its first offset that is another one on the target.
        offset: i64,
    },
    /// It is not, and the topic is left alone.
    Unaligned(Unaligned),
}

impl TopicState {
    /// Whether its records are copied.
    pub fn is_copied(&self) -> bool {
        match self {
            TopicState::Aligned | TopicState::Translated { .. } => true,
            TopicState::Verifying | TopicState::Unaligned(_) => false,
        }
    }
}

/// Why a topic is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unaligned {
    /// Where it was noticed, if in one partition.
    pub partition: Option<i32>,
    /// At which offset.
    pub offset: Option<i64>,
    /// What is wrong.
    pub reason: String,
    /// What the operator can do.
    pub remedy: String,
}

impl fmt::Display for Unaligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(partition) = self.partition {
            write!(f, "partition {partition}")?;
            if let Some(offset) = self.offset {
                write!(f, ", offset {offset}")?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

/// A partition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PartitionStatus {
    /// The offset that the next record at the source will have, as last heard.
    pub source_end: Option<i64>,
    /// The same at the target: what it has acknowledged.
    pub target_end: Option<i64>,
    /// Up to which offset of the source the target has everything: `target_end`, unless offsets are translated.
    pub copied_to: Option<i64>,
    /// The difference.
    pub lag: Lag,
}

/// What the source has and the target lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Exact as of the sample.
    pub records: u64,
    /// Estimated from the size of the records copied lately, compressed as they are.
    pub bytes: u64,
    /// For how long the oldest of them has been missing.
    pub seconds: f64,
}

/// A consumer group whose offsets are copied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupStatus {
    /// Partitions that it has offsets for at the source.
    pub partitions: u32,
    /// Records that its consumers would read again after a failover, by the last copy.
    pub behind_records: u64,
    /// Why its offsets are not copied; none when they are.
    pub problem: Option<String>,
}

impl MirrorStatus {
    /// The status of a mirror that has just begun.
    pub(crate) fn new(group: &str, epoch: u64) -> MirrorStatus {
        MirrorStatus {
            group: group.to_owned(),
            epoch,
            mode: Mode::Connecting,
            progress: Progress::default(),
            source: Side::default(),
            target: Side::default(),
            stopped: None,
            superseded: false,
            writes_as: None,
            problems: BTreeMap::new(),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            lag: Lag::default(),
            sampled: None,
        }
    }

    /// How old the figures of lag are.
    pub fn age(&self) -> Option<Duration> {
        self.sampled.map(|at| at.elapsed())
    }

    /// Topics that are left alone, and why.
    pub fn unaligned(&self) -> impl Iterator<Item = (&str, &Unaligned)> {
        self.topics.iter().filter_map(|(name, topic)| match &topic.state {
            TopicState::Unaligned(why) => Some((name.as_str(), why)),
            TopicState::Verifying | TopicState::Aligned | TopicState::Translated { .. } => None,
        })
    }
}

impl TopicStatus {
    /// A topic that has just been found.
    pub fn verifying() -> TopicStatus {
        TopicStatus { state: TopicState::Verifying, partitions: BTreeMap::new() }
    }
}
