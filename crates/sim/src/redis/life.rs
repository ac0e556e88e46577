//! Starting, dying, freezing.

use super::{Server, Source, Stage};
use crate::message::Payload;
use crate::net::End;
use crate::world::{Event, World};
use primacy_core::view::SHUT_MIN_REPLICAS;

/// A child that saves holds the sockets for so long after the parent was killed.
const CHILD_US: u64 = 860_000;

impl World {
    /// The process is killed; its kernel closes what it had. A child that saves delays that.
    pub(crate) fn kill_server(&mut self, m: usize, child: bool) {
        if !self.servers[m].up {
            return;
        }
        self.flush_a_part(m);
        let server = &mut self.servers[m];
        (server.up, server.frozen) = (false, false);
        let unread = !server.inbox.is_empty();
        server.inbox.clear();
        let run = server.run;
        if child {
            self.schedule(self.now + CHILD_US, Event::SocketsClosed { server: m, run });
        } else {
            self.close_sockets(m, unread);
        }
        self.server_changed(m);
    }

    pub(crate) fn close_sockets(&mut self, m: usize, unread: bool) {
        for conn in self.net.held_by(End::Server(m)) {
            // What was not read makes a reset of the end.
            let reset = unread && self.dice.chance(50);
            self.close(conn, End::Server(m), if reset { Payload::Rst } else { Payload::Fin });
        }
        self.forget_connections(m);
    }

    /// Its host loses power: nobody is told.
    pub(crate) fn lose_host(&mut self, m: usize) {
        let server = &mut self.servers[m];
        (server.up, server.frozen, server.host_up) = (false, false, false);
        server.inbox.clear();
        self.net_forget(End::Server(m));
        self.forget_connections(m);
        self.server_changed(m);
    }

    fn forget_connections(&mut self, m: usize) {
        let server = &mut self.servers[m];
        server.replicas.clear();
        server.clients.clear();
        server.controls.clear();
        server.paused.clear();
        server.link = None;
        server.stage = Stage::Down;
        server.good = 0;
    }

    /// It starts from its file: shut, and pointed nowhere. What data it finds is chance.
    pub(crate) fn start_server(&mut self, m: usize) {
        if self.servers[m].up || !self.servers[m].host_up {
            return;
        }
        self.net_forget(End::Server(m));
        self.forget_connections(m);
        let before = self.servers[m].clone();
        let (place, replid, keys) = match (self.dice.below(3), before.saved) {
            // A dump carries its history's name.
            (0, Some((place, replid))) => (place, replid, 1),
            // An append-only file has the data, and no name.
            (1, _) if before.keys > 0 => (before.place, self.fresh_replid(), before.keys),
            _ => (self.histories.plant(0), self.fresh_replid(), 0),
        };
        let server = &mut self.servers[m];
        *server = Server {
            run: before.run + 1,
            wall_offset: before.wall_offset,
            keys,
            saved: before.saved,
            ..Server::new(before.site, place, replid)
        };
        server.source = Some(Source::Nowhere);
        server.min_replicas = SHUT_MIN_REPLICAS;
        let run = server.run;
        let phase = self.dice.below(1_000_000);
        self.schedule(self.now + phase, Event::Cron { server: m, run });
        self.server_changed(m);
    }

    pub(crate) fn freeze_server(&mut self, m: usize) {
        if self.servers[m].up {
            self.servers[m].frozen = true;
        }
    }

    /// It goes on: first what its kernel has for it, then its timers.
    pub(crate) fn thaw_server(&mut self, m: usize) {
        if !self.servers[m].frozen {
            return;
        }
        let server = &mut self.servers[m];
        (server.frozen, server.first_turn) = (false, true);
        let (timers, mut arrived): (Vec<Event>, Vec<Event>) = std::mem::take(&mut server.inbox)
            .into_iter()
            .partition(|e| matches!(e, Event::Cron { .. } | Event::Flush { .. } | Event::Copied { .. }));
        arrived.extend(timers);
        for event in arrived {
            self.handle(event);
        }
        self.server_changed(m);
    }
}
