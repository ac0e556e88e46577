//! A Redis as its operators meet it: offsets, ids, backlog, whole-second lag checks, a file that keeps it shut.
//!
//! What is modelled is what safety rests on, as measured on real servers: replies leave before the stream, within one
//! turn of the event loop; lag is counted in whole seconds of the wall clock, once a second; a frozen process runs what
//! its kernel had taken in before it looks at anything else; a restarted one is what its file says, and nobody's
//! primary. It must not know groups, epochs or leases.

mod client;
mod control;
mod cron;
mod life;
mod replica;
mod source;

pub(crate) use replica::id_of;

use crate::history::Place;
use crate::message::Who;
use crate::net::ConnId;
use primacy_core::view::{AttachedReplica, BootFence, MemberRole, MemberStatus, SHUT_MIN_REPLICAS};
use std::collections::{BTreeMap, BTreeSet};

/// Who a server replicates from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody listens there: what its file says.
    Nowhere,
    Member(usize),
    /// The tail that a node serves.
    Tail(usize),
    /// A server that is none of ours.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Down,
    Dialing,
    Asking,
    Copying,
    Up,
}

/// A replica, or what looks like one, as a primary lists it.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) who: Who,
    pub(crate) online: bool,
    /// The second, by the server's wall clock, in which it was heard last.
    pub(crate) heard_s: i64,
    /// Whether what was heard last had been taken in by the kernel while the server was frozen.
    pub(crate) heard_late: bool,
    pub(crate) acked: u64,
    /// How far the stream was sent to it.
    pub(crate) sent: u64,
}

/// One process, or its absence.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) site: usize,
    pub(crate) up: bool,
    pub(crate) host_up: bool,
    pub(crate) frozen: bool,
    /// It was thawed, and has not come to its timers yet.
    pub(crate) first_turn: bool,
    /// It dies in the turn that answers the next write.
    pub(crate) doomed: bool,
    pub(crate) run: u32,
    /// Of the wall clock against true time, in microseconds.
    pub(crate) wall_offset: i64,

    /// None: it is a primary.
    pub(crate) source: Option<Source>,
    pub(crate) stage: Stage,
    pub(crate) link: Option<ConnId>,
    link_heard_s: i64,
    pub(crate) replid: u32,
    pub(crate) replid2: Option<(u32, u64)>,
    /// What it holds of whole commands.
    pub(crate) place: Place,
    /// How far it has read its source's stream, the beginning of a command included.
    pub(crate) read: u64,
    backlog_from: u64,

    pub(crate) min_replicas: u64,
    pub(crate) read_only: bool,
    pub(crate) paused_until: u64,
    paused: Vec<(ConnId, u32, u64)>,
    pub(crate) pings: bool,
    /// As counted last.
    pub(crate) good: u64,
    pub(crate) replicas: BTreeMap<ConnId, Replica>,
    /// Members whose replication user is switched off.
    pub(crate) refused: BTreeSet<usize>,
    pub(crate) loading: bool,
    pub(crate) keys: u64,
    pub(crate) clients: BTreeSet<ConnId>,
    pub(crate) controls: BTreeSet<ConnId>,
    flushing: bool,
    /// What a restart would find on disk.
    pub(crate) saved: Option<(Place, u32)>,
    /// Under which epoch it was made primary, and its door opened: truth for the invariants, not seen by anybody.
    pub(crate) promoted: u64,
    pub(crate) inbox: Vec<crate::world::Event>,
}

/// Where a replica is that is none of ours.
pub(crate) const STRANGER: &str = "10.8.8.8";

impl Server {
    pub(crate) fn new(site: usize, place: Place, replid: u32) -> Server {
        Server {
            site,
            up: true,
            host_up: true,
            frozen: false,
            first_turn: false,
            doomed: false,
            run: 1,
            wall_offset: 0,
            source: Some(Source::Nowhere),
            stage: Stage::Down,
            link: None,
            link_heard_s: 0,
            replid,
            replid2: None,
            place,
            read: place.offset,
            backlog_from: place.offset,
            min_replicas: SHUT_MIN_REPLICAS,
            read_only: true,
            paused_until: 0,
            paused: vec![],
            pings: true,
            good: 0,
            replicas: BTreeMap::new(),
            refused: BTreeSet::new(),
            loading: false,
            keys: 0,
            clients: BTreeSet::new(),
            controls: BTreeSet::new(),
            flushing: false,
            saved: None,
            promoted: 0,
            inbox: vec![],
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.up && !self.frozen
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.source.is_none()
    }

    /// Whether a write of a client that arrives now would be accepted at once.
    pub(crate) fn is_open(&self, now: u64) -> bool {
        self.runs() && !self.loading && now >= self.paused_until && self.door_is_open()
    }

    /// The same, without regard to pauses and freezes.
    pub(crate) fn door_is_open(&self) -> bool {
        match self.source {
            None => self.min_replicas <= self.good,
            Some(_) => !self.read_only,
        }
    }

    pub(crate) fn wall_s(&self, now: u64) -> i64 {
        (now.cast_signed() + self.wall_offset).div_euclid(1_000_000)
    }

    pub(crate) fn run_id(&self, member: usize) -> String {
        let mut id = String::with_capacity(16);
        id.push_str("run-");
        push_number(&mut id, member as u32);
        id.push('-');
        push_number(&mut id, self.run);
        id
    }

    pub(crate) fn link_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// How far its data and what it has begun to read reach.
    pub(crate) fn reach(&self) -> u64 {
        if self.is_primary() { self.place.offset } else { self.read.max(self.place.offset) }
    }

    /// Counts anew who is attached and was heard lately.
    pub(crate) fn count_good(&mut self, now: u64) {
        let at = self.wall_s(now);
        // `min-replicas-max-lag` is 1.
        self.good = self.replicas.values().filter(|r| r.online && at - r.heard_s <= 1).count() as u64;
    }
}

pub(crate) fn replid(id: u32) -> String {
    let mut name = String::with_capacity(8);
    name.push('h');
    push_number(&mut name, id);
    name
}

/// Faster than the formatter, which would be the most of what a probe costs.
fn push_number(to: &mut String, n: u32) {
    if n >= 10 {
        push_number(to, n / 10);
    }
    to.push(char::from(b'0' + (n % 10) as u8));
}

/// Where clients and nodes reach a member.
pub(crate) fn member_address(member: usize) -> (String, u16) {
    (host("10.0.0.", member), 6379)
}

fn host(net: &str, number: usize) -> String {
    let mut host = String::with_capacity(12);
    host.push_str(net);
    push_number(&mut host, number as u32 + 1);
    host
}

/// Under which address a node's witness is listed, and serves tails.
pub(crate) fn node_address(node: usize) -> (String, u16) {
    (host("10.0.1.", node), 7102)
}

fn source_address(source: Source) -> (String, u16) {
    match source {
        Source::Nowhere => ("127.0.0.1".to_owned(), 1),
        Source::Member(m) => member_address(m),
        Source::Tail(n) => node_address(n),
        Source::Foreign => ("10.9.9.9".to_owned(), 6379),
    }
}

/// What it says of itself.
pub(crate) fn status(server: &Server, member: usize, now: u64) -> MemberStatus {
    let role = match server.source {
        None => MemberRole::Primary {
            replicas: server.replicas.values().map(|r| attached(server, r, now)).collect(),
        },
        Some(source) => {
            let (host, port) = source_address(source);
            MemberRole::Replica {
                host,
                port,
                link_up: server.link_up(),
                read_offset_bytes: server.read,
                read_only: server.read_only,
            }
        }
    };
    MemberStatus {
        run_id: server.run_id(member),
        pid: pid(server),
        uptime_s: 100,
        version: String::new(),
        role,
        replid: replid(server.replid),
        replid2: server.replid2.map(|(id, _)| replid(id)),
        second_offset_bytes: server.replid2.map_or(0, |(_, offset)| offset),
        offset_bytes: server.place.offset,
        min_replicas: server.min_replicas,
        notices_silence: true,
        loading: server.loading,
        keys: server.keys,
        // The connections of nodes are clients to it.
        clients: (server.clients.len() + server.controls.len()) as u64,
        sentinels: 0,
        boot: BootFence::Fenced,
        rtt_us: 100,
    }
}

pub(crate) fn pid(server: &Server) -> u32 {
    1_000 + server.run
}

fn attached(_: &Server, replica: &Replica, _: u64) -> AttachedReplica {
    let (host, port) = match replica.who {
        Who::Member(m) => member_address(m),
        Who::Witness(n) => node_address(n),
        Who::Stranger => (STRANGER.to_owned(), 6379),
    };
    AttachedReplica { host, port, online: replica.online, offset_bytes: replica.acked }
}
