//! Writes of clients, and the turn of the event loop.
//!
//! A reply is written when the command was run, the stream when the turn is over: whoever kills the process between the
//! two has answered what nobody else ever receives.

use crate::message::Payload;
use crate::net::{ConnId, End};
use crate::world::{Event, World};

/// How long a turn may be.
const TURN_US: u64 = 2_000;

impl World {
    pub(crate) fn write_arrives(&mut self, m: usize, conn: ConnId, id: u32, bytes: u64) {
        let now = self.now;
        let server = &mut self.servers[m];
        server.clients.insert(conn);
        if !server.loading && server.door_is_open() && now < server.paused_until {
            server.paused.push((conn, id, bytes));
            return;
        }
        self.run_write(m, conn, id, bytes);
    }

    pub(crate) fn unpause(&mut self, m: usize) {
        self.servers[m].paused_until = 0;
        for (conn, id, bytes) in std::mem::take(&mut self.servers[m].paused) {
            if self.net.holds(conn, End::Server(m)) {
                self.run_write(m, conn, id, bytes);
            }
        }
    }

    /// Whoever waited for a pause that ended by itself.
    pub(crate) fn end_pauses(&mut self, m: usize) {
        let server = &self.servers[m];
        if !server.paused.is_empty() && self.now >= server.paused_until {
            self.unpause(m);
        }
    }

    fn run_write(&mut self, m: usize, conn: ConnId, id: u32, bytes: u64) {
        let server = &self.servers[m];
        let ok = self.is_endpoint() || (!server.loading && server.door_is_open());
        if ok && !self.is_endpoint() {
            self.append(m, bytes);
            self.servers[m].keys += 1;
            self.accepted(m, id, bytes);
            if std::mem::take(&mut self.servers[m].doomed) {
                let at = self.now + self.dice.below(TURN_US);
                self.schedule(at, Event::Strike { server: m });
            }
        }
        self.send(conn, End::Server(m), Payload::Reply { id, ok });
    }

    /// Puts bytes into the stream of a server; they leave at the end of the turn.
    pub(crate) fn append(&mut self, m: usize, bytes: u64) {
        let at = self.servers[m].place;
        self.servers[m].place = self.histories.append(at, bytes);
        self.servers[m].read = self.servers[m].place.offset;
        self.turn_ends_soon(m);
    }

    pub(crate) fn turn_ends_soon(&mut self, m: usize) {
        let server = &mut self.servers[m];
        if server.flushing || server.replicas.is_empty() {
            return;
        }
        server.flushing = true;
        let run = server.run;
        let turn = self.dice.below(TURN_US);
        self.schedule(self.now + turn, Event::Flush { server: m, run });
    }

    /// The turn is over: the stream goes to the replicas.
    pub(crate) fn flush(&mut self, m: usize) {
        self.servers[m].flushing = false;
        let place = self.servers[m].place;
        self.stream_to_replicas(m, place);
    }

    /// A process that dies in the middle of a turn may have written a part.
    pub(crate) fn flush_a_part(&mut self, m: usize) {
        if !self.servers[m].flushing {
            return;
        }
        let mut to = self.servers[m].place;
        let sent = self.servers[m].replicas.values().map(|r| r.sent).min().unwrap_or(to.offset);
        to.offset = self.dice.range(sent.min(to.offset), to.offset);
        let to = if to.offset == self.servers[m].place.offset { self.servers[m].place } else { to };
        if self.dice.chance(50) {
            self.stream_to_replicas(m, to);
        }
    }
}
