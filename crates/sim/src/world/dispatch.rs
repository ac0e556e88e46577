//! Who takes in what.

use super::{Event, World};
use crate::message::Payload;
use crate::net::{ConnId, End, Kind};

impl World {
    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Datagram { to, .. } => {
                if self.awake(to, &event) {
                    self.datagram(event);
                }
            }
            Event::Segment { conn, to, payload } => {
                if self.kernel(conn, to, &payload) {
                    self.segment(conn, to, payload);
                }
            }
            Event::Tick { node, boot } if self.nodes[node].boot == boot && self.awake(node, &event) => {
                self.tick(node);
            }
            Event::Durable { node, boot, index, term } => {
                if self.nodes[node].boot == boot && self.awake(node, &event) {
                    self.durable(node, index, term);
                }
            }
            Event::LeaderGone { node, term } => {
                if self.awake(node, &event) {
                    self.leader_gone(node, term);
                }
            }
            Event::Tick { .. } => {}
            Event::Cron { server, run }
            | Event::Flush { server, run }
            | Event::Copied { server, run, .. } => {
                if self.servers[server].run == run && self.servers[server].up {
                    self.server_timer(server, event);
                }
            }
            Event::SocketsClosed { server, run } => {
                if self.servers[server].run == run && !self.servers[server].up {
                    self.close_sockets(server, false);
                }
            }
            Event::Client { client } => self.client_acts(client),
            Event::Strike { server } => self.kill_seen(server, false),
            Event::Begin { fault } => self.begin_fault(fault),
            Event::End { fault } => self.end_fault(fault),
            Event::Calm => self.calm_down(),
            Event::Operator => self.operator_helps(),
        }
    }

    fn awake(&mut self, node: usize, event: &Event) -> bool {
        let n = &mut self.nodes[node];
        if n.alive && n.frozen {
            n.inbox.push(event.clone());
        }
        n.alive && !n.frozen
    }

    fn server_timer(&mut self, m: usize, event: Event) {
        if self.servers[m].frozen {
            self.servers[m].inbox.push(event);
            return;
        }
        match event {
            Event::Cron { .. } => self.cron(m),
            Event::Flush { .. } => self.flush(m),
            Event::Copied { conn, replid, at, .. } => self.copied(m, conn, replid, at),
            _ => return,
        }
        self.server_changed(m);
    }

    fn datagram(&mut self, event: Event) {
        if let Event::Datagram { from, to, message } = event {
            self.node_hears(to, from, message);
        }
    }

    fn segment(&mut self, conn: ConnId, to: usize, payload: Payload) {
        let end = self.net.conns[conn as usize].ends[to];
        let kind = self.net.conns[conn as usize].kind;
        // A process learns of an end only when it looks, but a kernel keeps no half of a connection for long.
        match end {
            End::Server(m) => self.server_segment(m, conn, to, payload),
            End::Node(n) => {
                let again = Event::Segment { conn, to, payload };
                if !self.awake(n, &again) {
                    return;
                }
                let Event::Segment { payload, .. } = again else { return };
                self.end_of(conn, to, &payload);
                match kind {
                    Kind::Control => self.control_says(n, conn, payload),
                    Kind::Replication => self.witness_says(n, conn, payload),
                    Kind::Client => self.gate_says(n, conn, to, payload),
                }
            }
            End::Client(c) => {
                self.end_of(conn, to, &payload);
                self.client_hears(c, conn, &payload);
            }
            End::Stranger => {
                self.end_of(conn, to, &payload);
                self.stranger_hears(conn, &payload);
            }
        }
    }

    fn end_of(&mut self, conn: ConnId, to: usize, payload: &Payload) {
        if matches!(payload, Payload::Fin | Payload::Rst | Payload::Refused) {
            self.net.conns[conn as usize].open[to] = false;
        }
    }

    fn server_segment(&mut self, m: usize, conn: ConnId, to: usize, payload: Payload) {
        if self.servers[m].frozen {
            self.servers[m].inbox.push(Event::Segment { conn, to, payload });
            return;
        }
        // A child that saves holds the sockets of a process that is gone.
        if !self.servers[m].up {
            return;
        }
        self.end_of(conn, to, &payload);
        if self.servers[m].link == Some(conn) {
            match payload {
                Payload::Accepted => self.link_accepted(m, conn),
                other => self.link_says(m, conn, other),
            }
            self.server_changed(m);
            return;
        }
        match payload {
            Payload::Ask { id, epoch, control } => {
                self.control_reaches(m, epoch, &control);
                self.control_arrives(m, conn, id, control);
            }
            Payload::Psync { who, replid, from } => self.psync_arrives(m, conn, who, &replid, from),
            Payload::Ack { offset } => self.ack_arrives(m, conn, offset),
            Payload::Write { id, bytes } => self.write_arrives(m, conn, id, bytes),
            Payload::Fin | Payload::Rst => {
                self.replica_gone(m, conn);
                self.servers[m].clients.remove(&conn);
                self.servers[m].controls.remove(&conn);
            }
            _ => return,
        }
        self.server_changed(m);
    }
}
