//! What a server does once a second: count who is there, close who is silent, keep links alive.

use crate::message::Payload;
use crate::net::{ConnId, End};
use crate::world::{Event, World};

const SECOND_US: u64 = 1_000_000;
/// A keep-alive is a command of the stream.
const PING_BYTES: u64 = 14;

impl World {
    pub(crate) fn cron(&mut self, m: usize) {
        let now = self.now;
        let run = self.servers[m].run;
        self.schedule(now + SECOND_US, Event::Cron { server: m, run });
        self.servers[m].first_turn = false;
        self.tend_link(m);
        self.close_silent(m);
        self.servers[m].count_good(now);
        self.end_pauses(m);
        let server = &self.servers[m];
        if server.is_primary() && server.pings && !server.replicas.is_empty() {
            self.append(m, PING_BYTES);
        }
        if self.dice.chance(5) && !self.servers[m].loading {
            let server = &mut self.servers[m];
            server.saved = Some((server.place, server.replid));
        }
    }

    fn close_silent(&mut self, m: usize) {
        let server = &self.servers[m];
        let at = server.wall_s(self.now);
        let silent: Vec<ConnId> =
            server.replicas.iter().filter(|(_, r)| r.online && at - r.heard_s > 2).map(|(c, _)| *c).collect();
        for conn in silent {
            self.servers[m].replicas.remove(&conn);
            self.close(conn, End::Server(m), Payload::Fin);
        }
    }
}
