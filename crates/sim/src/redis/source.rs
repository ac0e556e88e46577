//! A server as the source of a stream.

use super::{Replica, Source, Stage, replid};
use crate::coverage::Mark;
use crate::history::Place;
use crate::message::{Payload, Who};
use crate::net::{ConnId, End};
use crate::world::World;

impl World {
    /// Somebody asks for the stream after `from` of a history.
    pub(crate) fn psync_arrives(&mut self, m: usize, conn: ConnId, who: Who, history: &str, from: u64) {
        let now = self.now;
        let server = &self.servers[m];
        let unwanted = matches!(who, Who::Member(other) if server.refused.contains(&other));
        let nothing_to_give = server.loading || (server.source.is_some() && server.stage != Stage::Up);
        if unwanted || nothing_to_give {
            self.send(conn, End::Server(m), Payload::Declined);
            return;
        }
        let heard_s = server.wall_s(now);
        let place = server.place;
        let kept = server.backlog_from.max(place.offset.saturating_sub(self.setup.backlog_bytes));
        let same = history == replid(server.replid)
            || server.replid2.is_some_and(|(id, until)| history == replid(id) && from < until);
        let partial = same && kept <= from && from <= place.offset;
        let mine = replid(server.replid);
        let replica = Replica {
            who,
            online: partial,
            heard_late: false,
            heard_s,
            acked: 0,
            sent: if partial { from } else { place.offset },
        };
        self.servers[m].replicas.insert(conn, replica);
        if partial {
            self.coverage.mark(Mark::PartialResync);
            self.send(conn, End::Server(m), Payload::Continue { replid: mine, from });
            self.servers[m].count_good(now);
            self.turn_ends_soon(m);
            self.unpause_if_over(m);
        } else {
            self.coverage.mark(Mark::FullResync);
            self.send(conn, End::Server(m), Payload::Copy { replid: mine, at: place });
        }
    }

    fn unpause_if_over(&mut self, m: usize) {
        self.end_pauses(m);
    }

    pub(crate) fn ack_arrives(&mut self, m: usize, conn: ConnId, offset: u64) {
        let now = self.now;
        let server = &mut self.servers[m];
        let (at, late) = (server.wall_s(now), server.first_turn);
        let Some(replica) = server.replicas.get_mut(&conn) else { return };
        (replica.heard_s, replica.heard_late) = (at, late);
        replica.acked = replica.acked.max(offset);
        if !replica.online {
            replica.online = true;
            server.count_good(now);
            self.turn_ends_soon(m);
        }
    }

    /// A replica's connection ended. It is counted no more at once.
    pub(crate) fn replica_gone(&mut self, m: usize, conn: ConnId) {
        if self.servers[m].replicas.remove(&conn).is_some() {
            let now = self.now;
            self.servers[m].count_good(now);
        }
    }

    pub(crate) fn stream_to_replicas(&mut self, m: usize, to: Place) {
        let due: Vec<(ConnId, u64)> = self.servers[m]
            .replicas
            .iter()
            .filter(|(_, r)| r.sent < to.offset && r.online)
            .map(|(c, r)| (*c, r.sent))
            .collect();
        for (conn, from) in due {
            if let Some(r) = self.servers[m].replicas.get_mut(&conn) {
                r.sent = to.offset;
            }
            self.send(conn, End::Server(m), Payload::Stream { from, to });
        }
    }

    /// Closes the connections of all its replicas: they must ask anew what it is.
    pub(crate) fn disconnect_replicas(&mut self, m: usize, which: impl Fn(Who) -> bool) {
        let all: Vec<ConnId> =
            self.servers[m].replicas.iter().filter(|(_, r)| which(r.who)).map(|(c, _)| *c).collect();
        for conn in all {
            self.servers[m].replicas.remove(&conn);
            self.close(conn, End::Server(m), Payload::Fin);
        }
        let now = self.now;
        self.servers[m].count_good(now);
    }

    /// It replicates from somebody else from here on, keeping what it has.
    pub(crate) fn replicate_from(&mut self, m: usize, source: Source) {
        if self.servers[m].source == Some(source) {
            return;
        }
        self.drop_link(m);
        self.disconnect_replicas(m, |_| true);
        let server = &mut self.servers[m];
        server.source = Some(source);
        server.stage = Stage::Down;
        server.read = server.place.offset;
        self.connect_link(m);
    }

    /// It is a primary from here on, of a history that continues the one it had.
    pub(crate) fn replicate_from_nobody(&mut self, m: usize) {
        if self.servers[m].source.is_none() {
            return;
        }
        self.drop_link(m);
        self.disconnect_replicas(m, |_| true);
        let fresh = self.fresh_replid();
        let server = &mut self.servers[m];
        server.source = None;
        server.read = server.place.offset;
        server.replid2 = Some((server.replid, server.place.offset + 1));
        server.replid = fresh;
        let at = server.place;
        self.truth.begun.insert(fresh, at);
    }
}
