//! Leases as their holder sees them: asked for at a moment of this node's clock, good until `ttl` after it.
//!
//! The clock is the kernel's boot-time clock, so that a machine that was suspended wakes up with its leases over.
//!
//! A node that does not reach the leader may reach one that does, which passes the question on: a cut between the leader
//! and the primary's site alone takes nothing from the primary. The way that worked last is tried first, the next one as
//! soon as one fails or hesitates.

use super::Guards;
use crate::lead::LeaseAsk;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use primacy_core::{Epoch, GroupName, MemberName, Moment, NodeId};
use primacy_runtime::{now, sleep, timeout};
use primacy_wire::v1;
use primacy_wire::v1::site_client::SiteClient;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tonic::Request;
use tonic::transport::Channel;

/// Of the time that an answer may take, what one way may take before the next one is tried besides.
const HESITATES_AFTER: u32 = 4;
/// After a refusal, or without a leader, it is asked again so soon.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The leases in hand.
#[derive(Default)]
pub(super) struct Leases {
    held: Mutex<BTreeMap<GroupName, Lease>>,
    /// When this node closed its witness of a group last: it told so, and the leader may have let another take over.
    let_go: Mutex<BTreeMap<GroupName, Moment>>,
}

#[derive(Clone, Debug)]
struct Lease {
    epoch: Epoch,
    until: Moment,
    witness_until: Moment,
    /// Until when this node may run the mirror into a member.
    mirrors_until: BTreeMap<MemberName, Moment>,
}

/// What a node needs of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) epoch: Epoch,
    pub(super) witness: bool,
    /// The members into which it would run the mirror.
    pub(super) mirrors: Vec<MemberName>,
}

impl Want {
    pub(super) fn ask(&self, group: &GroupName) -> LeaseAsk {
        LeaseAsk {
            group: group.clone(),
            epoch: self.epoch,
            witness: self.witness,
            mirrors: self.mirrors.clone(),
        }
    }
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

    /// Until when this node may run the mirror into a member.
    pub(super) fn mirror(
        &self,
        group: &GroupName,
        member: &MemberName,
        epoch: Epoch,
        at: Moment,
    ) -> Option<Moment> {
        let until = self.held(group, epoch)?.mirrors_until.get(member).copied();
        until.filter(|until| *until > at)
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self, at: Moment) -> Option<Moment> {
        let leases = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |lease: &Lease| {
            let mirrors = lease.mirrors_until.values().copied();
            mirrors.chain([lease.until, lease.witness_until]).collect::<Vec<_>>()
        };
        let ends = leases.values().flat_map(of);
        ends.filter(|end| *end > at).min()
    }

    fn held(&self, group: &GroupName, epoch: Epoch) -> Option<Lease> {
        let leases = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        leases.get(group).filter(|lease| lease.epoch == epoch).cloned()
    }

    /// The witness of a group is closed: another lease, asked for later, is needed to attach again.
    pub(super) fn let_go(&self, group: &GroupName, at: Moment) {
        self.let_go.lock().unwrap_or_else(PoisonError::into_inner).insert(group.clone(), at);
        let mut leases = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = leases.get_mut(group) {
            lease.witness_until = Moment::default();
        }
    }

    /// What was asked for at a moment of this node's clock holds from then on.
    /// False when one was for a witness that this node has closed since it asked.
    pub(super) fn take_in(&self, guards: &Guards, asked_at: Moment, grants: &[LeaseAsk]) -> bool {
        let mut all = true;
        let until = asked_at.after(guards.config.cluster.timings.lease_ttl);
        for grant in grants {
            let let_go =
                self.let_go.lock().unwrap_or_else(PoisonError::into_inner).get(&grant.group).copied();
            let witness = grant.witness && let_go.is_none_or(|at| asked_at > at);
            all &= witness == grant.witness;
            self.granted(&LeaseAsk { witness, ..grant.clone() }, until);
        }
        all
    }

    fn granted(&self, grant: &LeaseAsk, until: Moment) {
        let mut leases = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Lease {
            epoch: grant.epoch,
            until,
            witness_until: Moment::default(),
            mirrors_until: BTreeMap::new(),
        };
        let lease = leases.entry(grant.group.clone()).or_insert_with(|| fresh.clone());
        match lease.epoch.cmp(&grant.epoch) {
            Ordering::Equal => {}
            Ordering::Less => *lease = fresh,
            // An answer that was overtaken by one about the next primary.
            Ordering::Greater => return,
        }
        lease.until = lease.until.max(until);
        if grant.witness {
            lease.witness_until = lease.witness_until.max(until);
        }
        for member in &grant.mirrors {
            let before = lease.mirrors_until.entry(member.clone()).or_default();
            *before = (*before).max(until);
        }
    }
}

/// What came of asking.
pub(super) struct Answer {
    asked_at: Moment,
    grants: Option<Vec<LeaseAsk>>,
    way: Option<Way>,
}

/// How an answer came from another node.
#[derive(Clone, Copy)]
struct Way {
    by: NodeId,
    /// Who led then, as far as this node knew.
    leader: Option<NodeId>,
}

/// The asking: one request at a time, each `lease_renew`, and at once when something new is wanted.
#[derive(Default)]
pub(super) struct Asking {
    wanted: BTreeMap<GroupName, Want>,
    /// What the last answer left open.
    refused: bool,
    last_at: Option<Moment>,
    /// How the last answer came.
    way: Option<Way>,
    under_way: Option<BoxFuture<'static, Answer>>,
}

impl Asking {
    /// Asks when it is time to. Says when it will be.
    pub(super) fn plan(
        &mut self,
        guards: &Guards,
        wanted: BTreeMap<GroupName, Want>,
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
        let asks = self.wanted.iter().map(|(group, want)| want.ask(group)).collect();
        self.last_at = Some(at);
        self.under_way = Some(ask(guards, asks, self.way, at));
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
        self.way = answer.way;
        let grants = answer.grants.unwrap_or_default();
        // A mirror that another node runs is asked for at the usual pace.
        let granted = |(group, want): (&GroupName, &Want)| {
            let is = |g: &LeaseAsk| g.group == *group && g.epoch == want.epoch;
            grants.iter().any(|g| is(g) && (g.witness || !want.witness))
        };
        self.refused = !self.wanted.iter().all(granted);
        self.refused |= !guards.leases.take_in(guards, answer.asked_at, &grants);
    }
}

pub(super) fn request(me: NodeId, asks: &[LeaseAsk], wait: Duration) -> v1::RenewRequest {
    let asks = asks.iter().map(|ask| v1::LeaseAsk {
        group: ask.group.as_str().to_owned(),
        epoch: ask.epoch.0,
        witness: ask.witness,
        mirrors: ask.mirrors.iter().map(ToString::to_string).collect(),
    });
    v1::RenewRequest { node_id: me.0, asks: asks.collect(), wait_us: wait.as_micros() as u64 }
}

/// Asks the leader, which may be this node. The moment of asking is taken before anything is sent.
fn ask(
    guards: &Guards,
    asks: Vec<LeaseAsk>,
    last: Option<Way>,
    asked_at: Moment,
) -> BoxFuture<'static, Answer> {
    let within = guards.config.cluster.timings.lease_renew;
    if guards.consensus.leadership().borrow().leading {
        let grants = guards
            .consensus
            .has_authority()
            .then(|| guards.board.grant(guards.me, &asks, now(), &guards.consensus));
        return Box::pin(std::future::ready(Answer { asked_at, grants: grants.flatten(), way: None }));
    }
    let leader = guards.consensus.leadership().borrow().leader.as_ref().map(|leader| leader.id);
    let ways = ways(guards, leader, last.filter(|way| way.leader == leader));
    let me = guards.me;
    Box::pin(async move {
        let request = request(me, &asks, Duration::ZERO);
        let answered = timeout(within, first_answer(ways, &request, within)).await.ok().flatten();
        let (way, grants) = answered.map(|(by, response)| (Way { by, leader }, granted(response))).unzip();
        Answer { asked_at, grants, way }
    })
}

/// The leader, and the others of the cluster, which may reach it; the one that answered last before all.
fn ways(guards: &Guards, leader: Option<NodeId>, last: Option<Way>) -> Vec<(NodeId, Channel)> {
    let membership = guards.consensus.membership();
    let others = membership.nodes.iter().filter(|(id, _)| **id != guards.me);
    let mut ways: Vec<_> =
        others.filter_map(|(id, node)| Some((*id, guards.peers.channel(&node.address)?))).collect();
    ways.sort_by_key(|(id, _)| (last.is_none_or(|way| way.by != *id), leader != Some(*id)));
    ways
}

/// The first answer of a leader, by whichever way.
async fn first_answer(
    ways: Vec<(NodeId, Channel)>,
    request: &v1::RenewRequest,
    within: Duration,
) -> Option<(NodeId, v1::RenewResponse)> {
    let mut ways = ways.into_iter();
    let mut asked = FuturesUnordered::new();
    loop {
        if let Some((id, channel)) = ways.next() {
            asked.push(async move {
                let mut message = Request::new(request.clone());
                message.set_timeout(within);
                (id, SiteClient::new(channel).renew(message).await)
            });
        } else if asked.is_empty() {
            return None;
        }
        tokio::select! {
            biased;
            Some((id, answer)) = asked.next() => if let Ok(answer) = answer {
                return Some((id, answer.into_inner()));
            },
            () = sleep(within / HESITATES_AFTER), if ways.len() > 0 => {}
        }
    }
}

pub(super) fn granted(response: v1::RenewResponse) -> Vec<LeaseAsk> {
    let grants = response.grants.into_iter().filter_map(|grant| {
        let group = GroupName::new(grant.group).ok()?;
        let mirrors = grant.mirrors.into_iter().map(MemberName::new).collect::<Result<_, _>>().ok()?;
        Some(LeaseAsk { group, epoch: Epoch(grant.epoch), witness: grant.witness, mirrors })
    });
    grants.collect()
}
