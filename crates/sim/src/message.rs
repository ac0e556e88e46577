//! What is sent: between nodes as single messages, to and between servers over connections.

use crate::history::Place;
use primacy_core::view::{GateReport, HolderReport, MemberStatus, Observation, WitnessReport};
use primacy_core::{Action, Command, Epoch, Promoted};
use std::rc::Rc;

/// An entry of the replicated log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) term: u64,
    /// None: a new leader's first entry, which changes nothing.
    pub(crate) command: Option<Rc<Command>>,
}

/// A lease that is asked for, or granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseAsk {
    pub(crate) epoch: Epoch,
    pub(crate) witness: bool,
}

/// All that a node says to the leader, in its own clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// The reporter's clock when it was sent.
    pub(crate) sent_at: u64,
    pub(crate) seen: Vec<(usize, Rc<Observation>)>,
    pub(crate) witness: Option<WitnessReport>,
    pub(crate) holder: Option<HolderReport>,
    pub(crate) gates: Option<GateReport>,
}

/// A tail that takes nothing more.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) replid: String,
    pub(crate) start: u64,
    pub(crate) end: Place,
    pub(crate) complete: bool,
}

/// Some of a stream, or of what is acknowledged of it.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) of: Epoch,
    pub(crate) replid: String,
    pub(crate) at: u64,
    pub(crate) to: Place,
    pub(crate) acknowledged: bool,
}

/// Between nodes.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    RequestVote {
        term: u64,
        last_index: usize,
        last_term: u64,
        gone: bool,
    },
    Vote {
        term: u64,
        granted: bool,
    },
    Append {
        term: u64,
        prev_index: usize,
        prev_term: u64,
        entries: Vec<Entry>,
        commit: usize,
        sent_at: u64,
    },
    Appended {
        term: u64,
        ok: bool,
        matched: usize,
        sent_at: u64,
    },
    Report(Box<Batch>),
    Renew {
        id: u32,
        asks: Vec<LeaseAsk>,
    },
    Renewed {
        id: u32,
        grants: Option<Vec<LeaseAsk>>,
    },
    Seal {
        id: u32,
        epoch: Epoch,
        of: Epoch,
    },
    SealedIs {
        id: u32,
        sealed: Result<Box<Sealed>, String>,
    },
    Rescue {
        id: u32,
        action: Box<Action>,
        within_us: u64,
    },
    Rescued {
        id: u32,
        result: Result<Box<Sealed>, String>,
        fetched: u64,
        /// What became of the promotion at the end of the tail.
        promoted: Option<Box<Promoted>>,
    },
    Fetch {
        id: u32,
        of: Epoch,
        from: u64,
    },
    Fetched {
        id: u32,
        tail: Option<Place>,
    },
    Kill {
        id: u32,
        epoch: Epoch,
        member: usize,
        run_id: String,
    },
    Killed {
        id: u32,
        result: Result<(), String>,
    },
    /// Wants to follow the tail of an epoch's stream; from its end on without a place.
    Follow {
        of: Epoch,
        from: Option<u64>,
        acknowledged: bool,
    },
    Chunk(Chunk),
}

/// What is asked of a server over a control connection, as one pipeline.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    Probe,
    Offset,
    Reach,
    Fence { pause_us: u64 },
    Detach,
    Lift { min_replicas: u64 },
    Open { min_replicas: u64 },
    Look,
    Promote { expected: Option<String>, admit: Vec<usize>, refuse: Vec<usize> },
    SetFence { min_replicas: u64, admit: Vec<usize>, refuse: Vec<usize> },
    Follow { primary: usize, evict: bool },
    ReadTail { node: usize },
}

impl Control {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Control::Probe => "probe",
            Control::Offset => "offset",
            Control::Reach => "reach",
            Control::Fence { .. } => "fence",
            Control::Detach => "detach",
            Control::Lift { .. } => "lift",
            Control::Open { .. } => "open",
            Control::Look => "look",
            Control::Promote { .. } => "promote",
            Control::SetFence { .. } => "set_fence",
            Control::Follow { .. } => "follow",
            Control::ReadTail { .. } => "read_tail",
        }
    }
}

/// What a server answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(Box<MemberStatus>),
    Offset(u64),
    Reach {
        run_id: String,
        replid: String,
        read: u64,
        applied: u64,
        primary: bool,
        /// The history before, and where it ended.
        second: Option<(String, u64)>,
        syncing: bool,
    },
    Fenced {
        code: &'static str,
        run_id: String,
        replid: String,
        end: u64,
    },
    Done,
    Refused(String, bool),
    Promoted {
        run_id: String,
        replid: String,
        start: u64,
        previous: Option<String>,
        refused: Vec<usize>,
    },
}

/// Who a replica says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Member(usize),
    Witness(usize),
    Stranger,
}

/// Over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Syn,
    Accepted,
    Refused,
    Fin,
    Rst,
    Ask { id: u32, epoch: Option<Epoch>, control: Control },
    Answer { id: u32, answer: Answer },
    Psync { who: Who, replid: String, from: u64 },
    Continue { replid: String, from: u64 },
    Copy { replid: String, at: Place },
    Declined,
    Stream { from: u64, to: Place },
    Ack { offset: u64 },
    Write { id: u32, bytes: u64 },
    Reply { id: u32, ok: bool },
}
