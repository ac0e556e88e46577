//! Sending, and the ends of connections as kernels show them.

use super::{Event, World};
use crate::message::{Message, Payload};
use crate::net::{ConnId, End, Kind, Sent};

impl World {
    /// A message from node to node; it may be lost, or come twice.
    pub(crate) fn tell(&mut self, from: usize, to: usize, message: Message) {
        self.tell_after(0, from, to, message);
    }

    pub(crate) fn tell_after(&mut self, delay: u64, from: usize, to: usize, message: Message) {
        if from == to {
            self.schedule(self.now + delay, Event::Datagram { from, to, message });
            return;
        }
        let (a, b) = ((End::Node(from), self.setup.nodes[from]), (End::Node(to), self.setup.nodes[to]));
        let (sent, twice) = self.net.message(self.now + delay, a, b);
        if let Sent::At(at) = sent {
            if twice {
                let later = at + self.dice.below(200_000);
                self.schedule(later, Event::Datagram { from, to, message: message.clone() });
            }
            self.schedule(at, Event::Datagram { from, to, message });
        }
    }

    pub(crate) fn dial(&mut self, from: End, to: End, kind: Kind) -> ConnId {
        let conn = self.net.open(from, to, kind);
        self.put_on_wire(conn, 1, Payload::Syn);
        conn
    }

    /// Sends over a connection, if the sender holds it.
    pub(crate) fn send(&mut self, conn: ConnId, from: End, payload: Payload) {
        let side = self.net.side(conn, from);
        if self.net.conns[conn as usize].open[side] {
            self.put_on_wire(conn, 1 - side, payload);
        }
    }

    /// Closes an end, by FIN or by RST.
    pub(crate) fn close(&mut self, conn: ConnId, end: End, how: Payload) {
        let side = self.net.side(conn, end);
        if self.net.conns[conn as usize].open[side] {
            self.net.conns[conn as usize].open[side] = false;
            self.put_on_wire(conn, 1 - side, how);
        }
    }

    /// A host that lost power has no connections, and says so to nobody.
    pub(crate) fn net_forget(&mut self, end: End) {
        for conn in self.net.held_by(end) {
            let side = self.net.side(conn, end);
            self.net.conns[conn as usize].open[side] = false;
            self.net.conns[conn as usize].drop_stalled(1 - side);
        }
    }

    fn put_on_wire(&mut self, conn: ConnId, to: usize, payload: Payload) {
        let ends = self.net.conns[conn as usize].ends;
        let sites = [self.site_of(ends[0]), self.site_of(ends[1])];
        if let Some((at, payload)) = self.net.segment(self.now, conn, to, sites, payload) {
            self.schedule(at, Event::Segment { conn, to, payload });
        }
    }

    /// A cut is over, or has moved.
    pub(crate) fn release_stalled(&mut self) {
        let nodes = self.setup.nodes.clone();
        let servers: Vec<usize> = self.servers.iter().map(|s| s.site).collect();
        let clients: Vec<usize> = self.clients.iter().map(|c| c.setup.site).collect();
        let released = self.net.released(self.now, |end| match end {
            End::Node(n) => nodes[n],
            End::Server(m) => servers[m],
            End::Client(c) => clients[c],
            End::Stranger => 0,
        });
        for (at, conn, to, payload) in released {
            self.schedule(at, Event::Segment { conn, to, payload });
        }
    }

    /// What a kernel does with a segment before any process sees it. True when the process is to see it.
    pub(crate) fn kernel(&mut self, conn: ConnId, to: usize, payload: &Payload) -> bool {
        let end = self.net.conns[conn as usize].ends[to];
        let (host_up, listens) = match end {
            End::Node(n) => (self.nodes[n].host_up, self.nodes[n].alive),
            End::Server(m) => (self.servers[m].host_up, self.servers[m].up),
            End::Client(_) | End::Stranger => (true, true),
        };
        if !host_up {
            return false;
        }
        match payload {
            Payload::Syn => {
                let answer = if listens { Payload::Accepted } else { Payload::Refused };
                self.net.conns[conn as usize].open[1] = listens;
                self.put_on_wire(conn, 0, answer);
                false
            }
            _ if !self.net.conns[conn as usize].open[to] => {
                let asks_back =
                    !matches!(payload, Payload::Fin | Payload::Rst | Payload::Accepted | Payload::Refused);
                if asks_back && self.net.conns[conn as usize].open[1 - to] {
                    self.put_on_wire(conn, 1 - to, Payload::Rst);
                }
                if matches!(payload, Payload::Accepted) {
                    self.put_on_wire(conn, 1 - to, Payload::Fin);
                }
                false
            }
            _ => true,
        }
    }
}
