//! One thread, one queue of events, one clock.
//!
//! Everything that happens is an event at a time of the one true clock; ties are broken by the order in which they were
//! scheduled. Nodes read clocks of their own that drift from it. Processes that are frozen keep what reaches them until
//! they are thawed; those that are dead lose it.

mod connect;
mod dispatch;
pub(crate) mod truth;

use crate::client::Client;
use crate::coverage::{Coverage, Mark};
use crate::defect::Defect;
use crate::dice::Dice;
use crate::fault::Fault;
use crate::history::{Histories, Place};
use crate::invariant::Violation;
use crate::message::{Message, Payload};
use crate::net::{ConnId, End, Net};
use crate::node::Node;
use crate::redis::Server;
use crate::setup::{SITES, Setup, site};
use crate::trace::Trace;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use truth::Truth;

/// What can happen. One enum feeds the one loop.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Datagram { from: usize, to: usize, message: Message },
    Segment { conn: ConnId, to: usize, payload: Payload },
    Tick { node: usize, boot: u32 },
    Durable { node: usize, boot: u32, index: usize, term: u64 },
    LeaderGone { node: usize, term: u64 },
    Cron { server: usize, run: u32 },
    Flush { server: usize, run: u32 },
    Copied { server: usize, run: u32, conn: ConnId, replid: u32, at: Place },
    SocketsClosed { server: usize, run: u32 },
    Client { client: usize },
    Strike { server: usize },
    Begin { fault: usize },
    End { fault: usize },
    Calm,
    Operator,
}

/// What is to come, earliest first, ties in the order in which they were scheduled. Events are large, so the heap moves
/// their places only.
#[derive(Default)]
struct Agenda {
    /// Time and order in one number: it is compared more often than anything else.
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    order: u64,
    events: Vec<Option<Event>>,
    free: Vec<u32>,
}

impl Agenda {
    fn push(&mut self, at: u64, event: Event) {
        self.order += 1;
        let place = self.free.pop().unwrap_or(self.events.len() as u32);
        match self.events.get_mut(place as usize) {
            Some(free) => *free = Some(event),
            None => self.events.push(Some(event)),
        }
        self.heap.push(Reverse((at << ORDER_BITS | self.order, place)));
    }

    fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((key, place)) = self.heap.pop()?;
        self.free.push(place);
        self.events[place as usize].take().map(|event| (key >> ORDER_BITS, event))
    }
}

/// So many bits of a place in the agenda are its order: more than any run has events.
const ORDER_BITS: u32 = 28;

/// All that there is.
pub(crate) struct World {
    pub(crate) now: u64,
    agenda: Agenda,
    pub(crate) dice: Dice,
    pub(crate) setup: Setup,
    pub(crate) net: Net,
    pub(crate) servers: Vec<Server>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) histories: Histories,
    pub(crate) truth: Truth,
    pub(crate) defect: Option<Defect>,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    /// Whether faults may still be under way.
    pub(crate) calm: bool,
    replids: u32,
    asks: u32,
}

impl World {
    /// The world of a seed, with those of its faults that are wanted.
    pub(crate) fn new(setup: Setup, defect: Option<Defect>, trace: Trace) -> World {
        let mut world = World {
            now: 1_000_000,
            agenda: Agenda::default(),
            dice: Dice::new(setup.seed, 3),
            net: Net::new(setup.delay.clone(), Dice::new(setup.seed, 4)),
            servers: vec![],
            nodes: vec![],
            clients: vec![],
            histories: Histories::default(),
            truth: Truth::default(),
            defect,
            coverage: Coverage::default(),
            trace,
            violation: None,
            calm: false,
            replids: 0,
            asks: 0,
            setup,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for (m, at) in self.setup.members.clone().into_iter().enumerate() {
            let (place, replid) = (self.histories.plant(0), self.fresh_replid());
            self.servers.push(Server::new(at, place, replid));
            self.servers[m].keys = u64::from(m < self.setup.with_data);
            let phase = self.dice.below(1_000_000);
            self.schedule(self.now + phase, Event::Cron { server: m, run: 1 });
        }
        for n in 0..self.setup.nodes.len() {
            let node = Node::new(self, n);
            self.nodes.push(node);
            let phase = self.dice.below(10_000);
            self.schedule(self.now + phase, Event::Tick { node: n, boot: 1 });
        }
        for (c, setup) in self.setup.clients.clone().into_iter().enumerate() {
            self.clients.push(Client::new(setup, self.servers.len()));
            let start = self.dice.range(100_000, 3_000_000);
            self.schedule(self.now + start, Event::Client { client: c });
        }
        for (i, fault) in self.setup.faults.clone().into_iter().enumerate() {
            self.schedule(fault.at, Event::Begin { fault: i });
            self.schedule(fault.at + fault.lasts, Event::End { fault: i });
        }
        self.schedule(self.setup.calm_at, Event::Calm);
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.agenda.push(at, event);
    }

    /// The next thing happens. False when the run is over.
    pub(crate) fn step(&mut self) -> bool {
        let Some((at, event)) = self.agenda.pop() else { return false };
        if at > self.setup.end_at {
            return false;
        }
        self.now = at;
        self.trace.hash(at, &event);
        let looked_at = self.concerns_nodes(&event);
        self.handle(event);
        if looked_at && self.violation.is_none() {
            crate::invariant::after_step(self);
        }
        self.violation.is_none()
    }

    /// Whether what is looked at after each step can be other than before it. What reaches servers and clients changes
    /// nothing in a node, and what time changes is seen with the next event of one.
    fn concerns_nodes(&self, event: &Event) -> bool {
        match event {
            Event::Segment { conn, to, .. } => {
                matches!(self.net.conns[*conn as usize].ends[*to], End::Node(_))
            }
            Event::Flush { .. } | Event::Copied { .. } | Event::Client { .. } => false,
            Event::Datagram { .. }
            | Event::Tick { .. }
            | Event::Durable { .. }
            | Event::LeaderGone { .. }
            | Event::Cron { .. }
            | Event::SocketsClosed { .. }
            | Event::Strike { .. }
            | Event::Begin { .. }
            | Event::End { .. }
            | Event::Calm
            | Event::Operator => true,
        }
    }

    pub(crate) fn fresh_replid(&mut self) -> u32 {
        self.replids += 1;
        self.replids
    }

    pub(crate) fn fresh_ask(&mut self) -> u32 {
        self.asks += 1;
        self.asks
    }

    /// One line in the lane of a site.
    pub(crate) fn say(&mut self, lane: Option<usize>, text: impl FnOnce() -> String) {
        if self.trace.told() {
            let text = text();
            self.trace.line(self.now, lane, text);
        }
    }

    pub(crate) fn site_of(&self, end: End) -> usize {
        match end {
            End::Node(n) => self.setup.nodes[n],
            End::Server(m) => self.servers[m].site,
            End::Client(c) => self.clients[c].setup.site,
            End::Stranger => 0,
        }
    }

    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        self.coverage.mark(mark);
    }

    pub(crate) fn fault(&self, i: usize) -> &Fault {
        &self.setup.faults[i]
    }
}

/// Names of the lanes of a transcript.
pub(crate) fn lanes() -> Vec<String> {
    (0..SITES).map(|n| site(n).to_string()).collect()
}
