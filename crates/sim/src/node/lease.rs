//! Leases: asked for at a moment of the guard's clock, granted by core's rules under the leader's own quorum lease.

use crate::coverage::Mark;
use crate::defect::Defect;
use crate::message::{LeaseAsk, Message};
use crate::setup::node_id;
use crate::world::World;
use primacy_core::{Epoch, GroupKind, Moment, lease};
use std::time::Duration;

const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The leases in hand, and the asking.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leases {
    pub(crate) epoch: Epoch,
    pub(crate) until: Moment,
    pub(crate) witness_until: Moment,
    wanted: Option<(Epoch, bool)>,
    refused: bool,
    last_at: Option<Moment>,
    under_way: Option<(u32, Moment)>,
}

impl Leases {
    pub(crate) fn until(&self, epoch: Epoch, at: Moment) -> Option<Moment> {
        Some(self.until).filter(|until| self.epoch == epoch && *until > at)
    }

    pub(crate) fn witness(&self, epoch: Epoch, at: Moment) -> Option<Moment> {
        Some(self.witness_until).filter(|until| self.epoch == epoch && *until > at)
    }
}

impl World {
    fn wanted(&self, n: usize) -> Option<(Epoch, bool)> {
        let group = self.nodes[n].group()?;
        let primary = group.primary.as_ref()?;
        let witness = primary.witness == Some(node_id(n)) && group.spec.kind == GroupKind::Redis;
        (witness || self.nodes[n].gate.is_some()).then_some((primary.epoch, witness))
    }

    pub(crate) fn lease_tick(&mut self, n: usize) {
        let at = self.clock(n);
        let renew = Duration::from_micros(self.setup.timings.lease_renew);
        let wanted = self.wanted(n);
        let leases = &mut self.nodes[n].leases;
        let news = wanted.is_some() && leases.wanted != wanted;
        leases.wanted = wanted;
        if leases.under_way.is_some_and(|(_, since)| at >= since.after(renew)) {
            (leases.under_way, leases.refused) = (None, true);
        }
        let Some((epoch, witness)) = wanted else { return };
        if leases.under_way.is_some() {
            leases.refused |= news;
            return;
        }
        let every = if leases.refused { AGAIN_AFTER } else { renew };
        if !news && leases.last_at.is_some_and(|last| at < last.after(every)) {
            return;
        }
        leases.last_at = Some(at);
        let Some(leader) = self.nodes[n].raft.leader else { return };
        let id = self.fresh_ask();
        self.nodes[n].leases.under_way = Some((id, at));
        self.tell(n, leader, Message::Renew { id, asks: vec![LeaseAsk { epoch, witness }] });
    }

    /// Asked of the leader.
    pub(crate) fn grant(&mut self, n: usize, to: usize, id: u32, asks: &[LeaseAsk]) {
        let at = self.clock(n);
        let mut grants = None;
        if self.has_authority(n) || self.has(Defect::GrantWithoutQuorum) {
            grants = self.grants(n, to, asks, at);
        }
        self.tell(n, to, Message::Renewed { id, grants });
    }

    fn grants(&mut self, n: usize, to: usize, asks: &[LeaseAsk], at: Moment) -> Option<Vec<LeaseAsk>> {
        let defect = self.defect;
        let node = &mut self.nodes[n];
        let (seat, group) = (node.seat.as_mut()?, node.state.groups.values().next()?);
        let mut granted = vec![];
        for ask in asks {
            let may = lease::may_grant(group, ask.epoch);
            let after_intent = defect == Some(Defect::LeaseAfterIntent) && may == Err(lease::NoLease::Intent);
            if may.is_err() && !after_intent {
                self.coverage.mark(Mark::LeaseRefused);
                continue;
            }
            let to_id = node_id(to);
            let may_witness = lease::may_witness(group, to_id, &seat.view, at).is_ok();
            let witness = ask.witness && (may_witness || defect == Some(Defect::TwoWitnesses));
            let key = (group.spec.name.clone(), to_id);
            if defect != Some(Defect::GrantForgotten) && !after_intent {
                seat.view.granted.insert(key.clone(), at);
            }
            if witness {
                seat.view.witness_granted.insert(key, (ask.epoch, at));
            }
            granted.push(LeaseAsk { witness, ..*ask });
        }
        Some(granted)
    }

    pub(crate) fn granted(&mut self, n: usize, id: u32, grants: Option<&[LeaseAsk]>) {
        let ttl = Duration::from_micros(self.setup.timings.lease_ttl);
        let from_receipt = self.has(Defect::LeaseFromReceipt);
        let at = self.clock(n);
        let leases = &mut self.nodes[n].leases;
        let Some((_, asked_at)) = leases.under_way.filter(|(asked, _)| *asked == id) else { return };
        leases.under_way = None;
        let grants = grants.unwrap_or_default();
        leases.refused = !leases.wanted.is_none_or(|(epoch, witness)| {
            grants.iter().any(|g| g.epoch == epoch && (g.witness || !witness))
        });
        let until = if from_receipt { at.after(ttl * 2) } else { asked_at.after(ttl) };
        for grant in grants {
            if leases.epoch != grant.epoch {
                (leases.epoch, leases.until, leases.witness_until) = (grant.epoch, Moment(0), Moment(0));
            }
            leases.until = leases.until.max(until);
            if grant.witness {
                leases.witness_until = leases.witness_until.max(until);
            }
        }
        self.nodes[n].reconcile = true;
    }
}
