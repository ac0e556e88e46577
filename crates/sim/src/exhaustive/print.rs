//! A state as one number: what rules and servers can notice, and nothing else.
//!
//! Times count as ages, and only up to where no rule looks any more. Epochs count by their order. Records of what is over
//! do not count.

use super::world::{Link, World};
use primacy_core::view::{ConnectFailure, LinkEnd, MemberRole, MemberStatus, Reach};
use primacy_core::{ActionKey, Epoch, Moment};
use std::fmt::Write;
use std::hash::{Hash, Hasher};

/// No rule asks whether something is older, in microseconds.
const AGE_MAX_US: u64 = 12_000_000;

struct Print {
    hash: u64,
    now: Moment,
    epochs: Vec<u64>,
}

impl Hasher for Print {
    fn finish(&self) -> u64 {
        let x = (self.hash ^ (self.hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x ^ (x >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.hash ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        let mixed = product ^ (u128::from(word.wrapping_mul(0xd6e8_feb8_6659_fd93)) << 32);
        self.hash = (mixed >> 64) as u64 ^ (mixed as u64).rotate_left(23);
    }
}

impl Write for Print {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        Hasher::write(self, text.as_bytes());
        Ok(())
    }
}

impl Print {
    fn age(&mut self, at: Moment) {
        let age = (self.now.since(at).as_micros() as u64).min(AGE_MAX_US);
        let ahead = at.since(self.now).as_micros() as u64;
        self.write_u64(age);
        self.write_u64(ahead);
    }

    fn epoch(&mut self, epoch: Epoch) {
        let rank = self.epochs.partition_point(|e| *e < epoch.0) as u64;
        self.write_u64(rank);
    }

    fn key(&mut self, key: &ActionKey) {
        self.epoch(key.epoch);
        key.member.as_str().hash(self);
        key.word.hash(self);
    }
}

impl World {
    pub(super) fn print(&self) -> u64 {
        let mut p = Print { hash: 0x5851_f42d_4c95_7f2d, now: self.now, epochs: self.epochs() };
        let left = [self.faults_left, self.writes_left, self.steps_left, self.cut.map_or(9, |c| c as u8)];
        p.write(&left);
        p.write(&self.answered);
        p.epoch(Epoch(self.open_epoch));
        self.print_group(&mut p);
        self.print_servers(&mut p);
        self.print_under_way(&mut p);
        self.print_view(&mut p);
        p.finish()
    }

    fn epochs(&self) -> Vec<u64> {
        let mut all = vec![self.open_epoch];
        if let Some(g) = self.group() {
            all.extend(g.primary.as_ref().map(|p| p.epoch.0));
            all.extend(g.transition.as_ref().map(|t| t.epoch.0));
        }
        all.extend(self.servers.iter().map(|s| s.promoted));
        all.extend(self.flights.iter().map(|f| f.action.epoch.0));
        all.extend(self.witness.as_ref().map(|w| w.epoch.0));
        all.sort_unstable();
        all.dedup();
        all
    }

    fn print_group(&self, p: &mut Print) {
        let Some(g) = self.group() else { return };
        let assumed =
            self.state.leadership.is_some_and(|l| l.node == self.view.me && l.term == self.view.term);
        assumed.hash(p);
        self.view.me.0.hash(p);
        if let Some(primary) = &g.primary {
            p.epoch(primary.epoch);
            primary.member.as_str().hash(p);
            primary.lineage.hash(p);
            primary.fence.min_replicas.hash(p);
            for m in &primary.fence.replicas {
                m.as_str().hash(p);
            }
            primary.witness.map(|n| n.0).hash(p);
        }
        if let Some(t) = &g.transition {
            p.epoch(t.epoch);
            let _ = write!(p, "{} {:?} {:?} {:?} {:?}", t.to, t.from, t.cause, t.phase, t.lost);
            let _ = write!(p, "{:?} {:?} {}", t.expected, t.end, t.proof.as_ref().map_or("", |x| x.word()));
            (t.planned, t.rescue.map(|n| n.0), t.loss_accepted).hash(p);
        }
        let _ = write!(p, "{:?}", g.blocked.as_ref().map(|b| &b.reason));
        let last = g.history.back().map(|t| (t.cause, t.outcome));
        let _ = write!(p, "{last:?}");
    }

    fn print_servers(&self, p: &mut Print) {
        for s in &self.servers {
            (s.up, s.frozen, s.run, s.source, s.link_up).hash(p);
            (s.history, s.history_before, &s.data, s.min_replicas, s.refuses, s.witnessed).hash(p);
            p.epoch(Epoch(s.promoted));
            for link in s.links {
                match link {
                    Link::No => p.write_u64(0),
                    Link::Up => p.write_u64(1),
                    Link::Lost(at) => p.age(at),
                }
            }
        }
        if let Some(w) = &self.witness {
            p.epoch(w.epoch);
            (w.node.0, w.of, w.run, w.ended, w.attached, w.history, w.start, &w.tail).hash(p);
            p.age(w.until);
            p.age(w.heard_at);
        }
    }

    fn print_under_way(&self, p: &mut Print) {
        for f in &self.flights {
            p.key(&f.action.key());
            let _ = write!(p, "{:?}", f.action.kind);
            (f.from, f.waited_for).hash(p);
            if f.waited_for {
                p.age(f.began);
            }
        }
        if let Some((command, at)) = &self.pending {
            // What a proposal says besides its kind follows from what was looked at, but for times.
            std::mem::discriminant(command).hash(p);
            p.age(*at);
        }
    }

    fn print_view(&self, p: &mut Print) {
        let v = &self.view;
        p.age(v.leading_since);
        for at in v.heard.values() {
            p.age(*at);
        }
        for (n, o) in v.seen.values().flatten() {
            n.0.hash(p);
            p.age(o.at);
            match &o.reach {
                Reach::Up(status) => print_status(p, status),
                Reach::Down { since, ended, connect, .. } => {
                    p.age(*since);
                    (*ended == Some(LinkEnd::Eof), *connect == Some(ConnectFailure::Refused)).hash(p);
                    if let Some((at, status)) = &o.last_up {
                        p.age(*at);
                        print_status(p, status);
                    }
                }
            }
        }
        for (at, status) in v.last_of_primary.values() {
            p.age(*at);
            print_status(p, status);
        }
        for key in &v.running {
            p.key(key);
        }
        for (key, f) in &v.failures {
            p.key(key);
            f.count.min(9).hash(p);
            p.age(f.at);
        }
        for (key, at) in &v.done {
            p.key(key);
            p.age(*at);
        }
        for ((_, node), at) in &v.granted {
            node.0.hash(p);
            p.age(*at);
        }
        for (node, r) in &v.witnesses {
            node.1.0.hash(p);
            p.epoch(r.epoch);
            p.age(r.at);
            (r.attached, r.ended.is_some(), r.closed, &r.replid, r.end_bytes).hash(p);
        }
        for ((_, m), at) in &v.unattached {
            m.as_str().hash(p);
            p.age(*at);
        }
        for at in v.primary_since.values().chain(v.phase_since.values()) {
            p.age(*at);
        }
    }
}

fn print_status(p: &mut Print, s: &MemberStatus) {
    (&s.run_id, &s.replid, s.offset_bytes, s.min_replicas).hash(p);
    match &s.role {
        MemberRole::Primary { replicas } => {
            for r in replicas {
                r.host.hash(p);
            }
        }
        MemberRole::Replica { host, link_up, .. } => (host, link_up).hash(p),
        MemberRole::Endpoint | MemberRole::Cluster(_) => {}
    }
}
