//! Clients that write: directly to every member they reach, or through a gate.

use crate::message::Payload;
use crate::net::{ConnId, End, Kind};
use crate::setup::ClientSetup;
use crate::world::{Event, World};

const PATIENCE_US: u64 = 1_000_000;
/// Less than what a client may be ahead of the stream in one turn.
const BYTES: (u64, u64) = (40, 200);

pub(crate) struct Client {
    pub(crate) setup: ClientSetup,
    /// To each member; through a gate the first alone is used.
    conns: Vec<Option<(ConnId, bool)>>,
    waiting: Option<(usize, u32, u64)>,
    /// Whom it had an answer of last.
    liked: usize,
}

impl Client {
    pub(crate) fn new(setup: ClientSetup, members: usize) -> Client {
        Client { setup, conns: vec![None; members], waiting: None, liked: 0 }
    }
}

impl World {
    pub(crate) fn client_acts(&mut self, c: usize) {
        let every = self.clients[c].setup.every;
        let pause = self.dice.range(every / 2, every * 3 / 2);
        self.schedule(self.now + pause, Event::Client { client: c });
        if let Some((to, _, since)) = self.clients[c].waiting {
            if self.now < since + PATIENCE_US {
                return;
            }
            self.hang_up(c, to);
        }
        let to = match self.clients[c].setup.gate {
            Some(_) => 0,
            None if self.dice.chance(70) => self.clients[c].liked,
            None => self.dice.index(self.servers.len()),
        };
        match self.clients[c].conns[to] {
            Some((conn, true)) => self.client_writes(c, to, conn),
            Some((_, false)) => {}
            None => {
                let target = self.clients[c].setup.gate.map_or(End::Server(to), End::Node);
                let conn = self.dial(End::Client(c), target, Kind::Client);
                self.clients[c].conns[to] = Some((conn, false));
                self.clients[c].waiting = Some((to, u32::MAX, self.now));
            }
        }
    }

    fn client_writes(&mut self, c: usize, to: usize, conn: ConnId) {
        let bytes = self.dice.range(BYTES.0, BYTES.1);
        let id = self.truth.new_write(bytes);
        self.clients[c].waiting = Some((to, id, self.now));
        self.send(conn, End::Client(c), Payload::Write { id, bytes });
    }

    fn hang_up(&mut self, c: usize, to: usize) {
        self.clients[c].waiting = None;
        if let Some((conn, _)) = self.clients[c].conns[to].take() {
            self.close(conn, End::Client(c), Payload::Fin);
        }
    }

    pub(crate) fn client_hears(&mut self, c: usize, conn: ConnId, payload: &Payload) {
        let Some(to) = self.clients[c].conns.iter().position(|held| held.is_some_and(|(id, _)| id == conn))
        else {
            return;
        };
        match *payload {
            Payload::Accepted => {
                self.clients[c].conns[to] = Some((conn, true));
                self.clients[c].waiting = None;
            }
            Payload::Reply { id, ok } => {
                if self.clients[c].waiting.is_some_and(|(_, waiting, _)| waiting == id) {
                    self.clients[c].waiting = None;
                }
                if ok {
                    self.clients[c].liked = to;
                    self.acknowledged(id, self.clients[c].setup.gate.is_some());
                } else if self.clients[c].setup.gate.is_none() {
                    self.clients[c].liked = self.dice.index(self.servers.len());
                }
            }
            Payload::Fin | Payload::Rst | Payload::Refused => {
                self.clients[c].waiting = None;
                self.clients[c].conns[to] = None;
                if self.clients[c].setup.gate.is_none() {
                    self.clients[c].liked = self.dice.index(self.servers.len());
                }
            }
            _ => {}
        }
    }
}
