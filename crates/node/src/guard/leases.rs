//! Leases as their holder sees them: asked for at a moment of this node's clock, good until `ttl` after it.
//!
//! The clock is the kernel's boot-time clock, so that a machine that was suspended wakes up with its leases over.

use super::Guards;
use crate::lead::LeaseAsk;
use futures::future::BoxFuture;
use primacy_core::{Epoch, GroupName, Moment};
use primacy_runtime::{now, timeout};
use primacy_wire::v1;
use primacy_wire::v1::site_client::SiteClient;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// After a refusal, or without a leader, it is asked again so soon.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The leases in hand.
#[derive(Default)]
pub(super) struct Leases(Mutex<BTreeMap<GroupName, Lease>>);

#[derive(Clone, Copy, Debug)]
struct Lease {
    epoch: Epoch,
    until: Moment,
    witness_until: Moment,
}

impl Leases {
    /// Until when the primary of `epoch` stays the primary; none when no lease says so.
    pub(super) fn until(&self, group: &GroupName, epoch: Epoch, at: Moment) -> Option<Moment> {
        self.held(group, epoch).map(|lease| lease.until).filter(|until| *until > at)
    }

    /// Until when this node may be the witness.
    pub(super) fn witness(&self, group: &GroupName, epoch: Option<Epoch>, at: Moment) -> Option<Moment> {
        self.held(group, epoch?).map(|lease| lease.witness_until).filter(|until| *until > at)
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self, at: Moment) -> Option<Moment> {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = leases.values().flat_map(|lease| [lease.until, lease.witness_until]);
        ends.filter(|end| *end > at).min()
    }

    fn held(&self, group: &GroupName, epoch: Epoch) -> Option<Lease> {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.get(group).filter(|lease| lease.epoch == epoch).copied()
    }

    fn granted(&self, grant: &LeaseAsk, until: Moment) {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Lease { epoch: grant.epoch, until, witness_until: Moment::default() };
        let lease = leases.entry(grant.group.clone()).or_insert(fresh);
        if lease.epoch != grant.epoch {
            *lease = fresh;
        }
        lease.until = lease.until.max(until);
        if grant.witness {
            lease.witness_until = lease.witness_until.max(until);
        }
    }
}

/// What came of asking.
pub(super) struct Answer {
    asked_at: Moment,
    grants: Option<Vec<LeaseAsk>>,
}

/// The asking: one request at a time, each `lease_renew`, and at once when something new is wanted.
#[derive(Default)]
pub(super) struct Asking {
    wanted: BTreeMap<GroupName, (Epoch, bool)>,
    /// What the last answer left open.
    refused: bool,
    last_at: Option<Moment>,
    under_way: Option<BoxFuture<'static, Answer>>,
}

impl Asking {
    /// Asks when it is time to. Says when it will be.
    pub(super) fn plan(
        &mut self,
        guards: &Guards,
        wanted: BTreeMap<GroupName, (Epoch, bool)>,
        at: Moment,
    ) -> Option<Moment> {
        let news = wanted.iter().any(|(group, want)| self.wanted.get(group) != Some(want));
        self.wanted = wanted;
        if self.wanted.is_empty() || self.under_way.is_some() {
            // An answer that is under way was asked for less: the next one follows it at once.
            self.refused |= news;
            return None;
        }
        let every = if self.refused { AGAIN_AFTER } else { guards.config.cluster.timings.lease_renew };
        let due = self.last_at.map_or(at, |last| last.after(every));
        if at < due && !news {
            return Some(due);
        }
        let asks = self.wanted.iter().map(|(group, (epoch, witness))| LeaseAsk {
            group: group.clone(),
            epoch: *epoch,
            witness: *witness,
        });
        self.last_at = Some(at);
        self.under_way = Some(ask(guards, asks.collect(), at));
        None
    }

    /// The answer to what is under way; waits for ever without.
    pub(super) async fn answered(&mut self) -> Answer {
        match &mut self.under_way {
            Some(asking) => asking.await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn take_in(&mut self, guards: &Guards, answer: Answer) {
        self.under_way = None;
        let grants = answer.grants.unwrap_or_default();
        let granted = |(group, (epoch, witness)): (&GroupName, &(Epoch, bool))| {
            grants.iter().any(|g| g.group == *group && g.epoch == *epoch && (g.witness || !witness))
        };
        self.refused = !self.wanted.iter().all(granted);
        let until = answer.asked_at.after(guards.config.cluster.timings.lease_ttl);
        for grant in &grants {
            guards.leases.granted(grant, until);
        }
    }
}

/// Asks the leader, which may be this node. The moment of asking is taken before anything is sent.
fn ask(guards: &Guards, asks: Vec<LeaseAsk>, asked_at: Moment) -> BoxFuture<'static, Answer> {
    let within = guards.config.cluster.timings.lease_renew;
    let leadership = guards.consensus.leadership().borrow().clone();
    if leadership.leading {
        let grants = guards
            .consensus
            .has_authority()
            .then(|| guards.board.grant(guards.me, &asks, now(), &guards.consensus));
        return Box::pin(std::future::ready(Answer { asked_at, grants: grants.flatten() }));
    }
    let channel = leadership.leader.and_then(|leader| guards.peers.channel(&leader.address));
    let me = guards.me;
    Box::pin(async move {
        let Some(channel) = channel else { return Answer { asked_at, grants: None } };
        let asks = asks.iter().map(|ask| v1::LeaseAsk {
            group: ask.group.as_str().to_owned(),
            epoch: ask.epoch.0,
            witness: ask.witness,
        });
        let request = v1::RenewRequest { node_id: me.0, asks: asks.collect() };
        let mut client = SiteClient::new(channel);
        let grants = match timeout(within, client.renew(request)).await {
            Ok(Ok(response)) => Some(granted(response.into_inner())),
            Ok(Err(_)) | Err(_) => None,
        };
        Answer { asked_at, grants }
    })
}

fn granted(response: v1::RenewResponse) -> Vec<LeaseAsk> {
    let grants = response.grants.into_iter().filter_map(|grant| {
        let group = GroupName::new(grant.group).ok()?;
        Some(LeaseAsk { group, epoch: Epoch(grant.epoch), witness: grant.witness })
    });
    grants.collect()
}
