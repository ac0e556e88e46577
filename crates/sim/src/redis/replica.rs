//! A server as a replica: it dials its source, asks to go on where it is, and reads.

use super::{Source, Stage, replid};
use crate::history::Place;
use crate::message::{Payload, Who};
use crate::net::{ConnId, End, Kind};
use crate::world::{Event, World};

impl World {
    pub(crate) fn drop_link(&mut self, m: usize) {
        if let Some(conn) = self.servers[m].link.take() {
            self.close(conn, End::Server(m), Payload::Fin);
        }
        self.link_is_down(m);
    }

    fn link_is_down(&mut self, m: usize) {
        let server = &mut self.servers[m];
        server.link = None;
        server.stage = Stage::Down;
        // The beginning of a command is forgotten with the connection.
        server.read = server.place.offset;
        server.loading = false;
    }

    pub(crate) fn connect_link(&mut self, m: usize) {
        let server = &self.servers[m];
        let to = match server.source {
            Some(Source::Member(p)) => End::Server(p),
            Some(Source::Tail(n)) => End::Node(n),
            Some(Source::Nowhere | Source::Foreign) | None => return,
        };
        if server.stage != Stage::Down || to == End::Server(m) {
            return;
        }
        let at = server.wall_s(self.now);
        let conn = self.dial(End::Server(m), to, Kind::Replication);
        let server = &mut self.servers[m];
        server.link = Some(conn);
        server.stage = Stage::Dialing;
        server.link_heard_s = at;
    }

    pub(crate) fn link_accepted(&mut self, m: usize, conn: ConnId) {
        let server = &mut self.servers[m];
        if server.link != Some(conn) {
            return;
        }
        server.stage = Stage::Asking;
        let psync =
            Payload::Psync { who: Who::Member(m), replid: replid(server.replid), from: server.place.offset };
        self.send(conn, End::Server(m), psync);
    }

    /// What its source says.
    pub(crate) fn link_says(&mut self, m: usize, conn: ConnId, payload: Payload) {
        if self.servers[m].link != Some(conn) {
            return;
        }
        let now = self.now;
        let heard = self.servers[m].wall_s(now);
        self.servers[m].link_heard_s = heard;
        match payload {
            Payload::Continue { replid: theirs, from } => self.go_on(m, &theirs, from),
            Payload::Copy { replid: theirs, at } => {
                self.servers[m].stage = Stage::Copying;
                let (run, took) = (self.servers[m].run, self.dice.range(5_000, 400_000));
                self.schedule(now + took, Event::Copied { server: m, run, conn, replid: id_of(&theirs), at });
            }
            Payload::Stream { from, to } => self.read_stream(m, from, to),
            Payload::Declined | Payload::Fin | Payload::Rst | Payload::Refused => {
                self.close(conn, End::Server(m), Payload::Fin);
                self.link_is_down(m);
            }
            _ => {}
        }
    }

    fn go_on(&mut self, m: usize, theirs: &str, from: u64) {
        let server = &mut self.servers[m];
        let id = id_of(theirs);
        server.stage = Stage::Up;
        server.read = from;
        if id != server.replid {
            server.replid2 = Some((server.replid, server.place.offset + 1));
            server.replid = id;
            self.disconnect_replicas(m, |_| true);
        }
        self.acknowledge(m);
    }

    /// A full copy has arrived and is loaded.
    pub(crate) fn copied(&mut self, m: usize, conn: ConnId, id: u32, at: Place) {
        let server = &mut self.servers[m];
        if server.link != Some(conn) || server.stage != Stage::Copying {
            return;
        }
        server.place = at;
        server.read = at.offset;
        server.backlog_from = at.offset;
        server.replid = id;
        server.replid2 = None;
        server.keys = 1;
        server.stage = Stage::Up;
        self.disconnect_replicas(m, |_| true);
        self.acknowledge(m);
    }

    fn read_stream(&mut self, m: usize, from: u64, to: Place) {
        let server = &self.servers[m];
        if server.stage != Stage::Up || from != server.read {
            return;
        }
        let before = server.place;
        let whole = self.histories.floor(to);
        if !self.histories.continues(before, to) {
            self.diverged(m, before, to);
        }
        let server = &mut self.servers[m];
        server.read = to.offset;
        if whole.offset > before.offset {
            server.place = whole;
            server.keys += 1;
        }
        // Whoever replicates from a replica reads what it reads.
        self.turn_ends_soon(m);
    }

    pub(crate) fn acknowledge(&mut self, m: usize) {
        let server = &self.servers[m];
        if let (Some(conn), Stage::Up) = (server.link, server.stage) {
            let offset = server.place.offset;
            self.send(conn, End::Server(m), Payload::Ack { offset });
        }
    }

    /// Once a second, by its own timer.
    pub(crate) fn tend_link(&mut self, m: usize) {
        let server = &self.servers[m];
        let silent = server.wall_s(self.now) - server.link_heard_s;
        match server.stage {
            // `repl-timeout` is 2.
            Stage::Up | Stage::Asking | Stage::Dialing if silent > 2 => self.drop_link(m),
            Stage::Up => self.acknowledge(m),
            Stage::Down | Stage::Dialing | Stage::Asking | Stage::Copying => {}
        }
        self.connect_link(m);
    }
}

/// The number of a replication id.
pub(crate) fn id_of(replid: &str) -> u32 {
    replid.get(1..).and_then(|n| n.parse().ok()).unwrap_or(0)
}
