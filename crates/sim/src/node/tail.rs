//! Who follows what a node keeps of a stream: holders at other sites, and gates that wait for it; and candidates that
//! read it.

use super::post::Tail;
use crate::history::Place;
use crate::message::{Chunk, Message, Payload};
use crate::net::{ConnId, End};
use crate::world::World;
use primacy_core::Epoch;

/// A node that follows, until when by this node's clock, and how far it was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    of: Epoch,
    told: u64,
    asked_at: u64,
}

const FORGET_AFTER_US: u64 = 1_500_000;
/// Said instead of an offset when what was asked for is not kept.
pub(crate) const GONE: u64 = u64::MAX;

pub(crate) fn held(world: &World, n: usize, of: Epoch) -> Option<Tail> {
    world.nodes[n].holding.as_ref().filter(|h| h.epoch == of).and_then(|h| h.tail.clone())
}

impl World {
    pub(crate) fn follow_asked(
        &mut self,
        n: usize,
        from: usize,
        of: Epoch,
        at: Option<u64>,
        acknowledged: bool,
    ) {
        let asked_at = self.clock(n).0;
        let Some(end) = self.followed_end(n, of, acknowledged) else { return };
        let kept = self.kept_tail(n, of);
        let told = at.unwrap_or(end.1.offset);
        let gone = kept.as_ref().is_some_and(|t| told < t.start) || told > end.1.offset;
        if gone {
            let chunk = Message::Chunk(Chunk { of, replid: end.0, at: GONE, to: end.1, acknowledged });
            self.tell(n, from, chunk);
            return;
        }
        let chunk = Message::Chunk(Chunk { of, replid: end.0, at: told, to: end.1, acknowledged });
        self.nodes[n].followers.insert((from, acknowledged), Follower { of, told: end.1.offset, asked_at });
        self.tell(n, from, chunk);
    }

    /// How far this node has the stream, or acknowledges it.
    fn followed_end(&self, n: usize, of: Epoch, acknowledged: bool) -> Option<(String, Place)> {
        if acknowledged {
            let holding = self.nodes[n].holding.as_ref().filter(|h| h.epoch == of && h.following)?;
            let offset = holding.acknowledged;
            return Some((String::new(), Place { branch: 0, offset }));
        }
        let tail = self.kept_tail(n, of)?;
        Some((tail.replid, tail.end))
    }

    /// The tail has more; whoever follows is told.
    pub(crate) fn tail_grew(&mut self, n: usize) {
        let at = self.clock(n).0;
        self.nodes[n].followers.retain(|_, f| at < f.asked_at + FORGET_AFTER_US);
        let followers: Vec<((usize, bool), Follower)> =
            self.nodes[n].followers.iter().map(|(k, f)| (*k, *f)).collect();
        for ((to, acknowledged), follower) in followers {
            let Some((replid, end)) = self.followed_end(n, follower.of, acknowledged) else { continue };
            if end.offset <= follower.told {
                continue;
            }
            if let Some(f) = self.nodes[n].followers.get_mut(&(to, acknowledged)) {
                f.told = end.offset;
            }
            let chunk =
                Message::Chunk(Chunk { of: follower.of, replid, at: follower.told, to: end, acknowledged });
            self.tell(n, to, chunk);
        }
        self.gate_covered(n);
    }

    pub(crate) fn chunk_arrives(&mut self, n: usize, from: usize, chunk: &Chunk) {
        if chunk.at != GONE {
            self.gate_hears(n, from, chunk);
        }
        if !chunk.acknowledged {
            self.holding_takes(n, chunk);
        }
    }

    /// A candidate asks for the tail that is offered here.
    pub(crate) fn tail_asked(&mut self, n: usize, conn: ConnId, payload: Payload) {
        let Payload::Psync { replid, from, .. } = payload else {
            return;
        };
        let offer = self.nodes[n].offer.clone();
        match offer.filter(|t| t.replid == replid && t.start <= from && from <= t.end.offset) {
            Some(tail) => {
                self.send(conn, End::Node(n), Payload::Continue { replid: tail.replid, from });
                self.send(conn, End::Node(n), Payload::Stream { from, to: tail.end });
            }
            None => self.send(conn, End::Node(n), Payload::Declined),
        }
    }
}
