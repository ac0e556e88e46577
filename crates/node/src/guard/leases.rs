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
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long a leader keeps a question that was asked ahead, and what the answer may take on top of that.
const AHEAD_WAIT: Duration = Duration::from_millis(500);
const AHEAD_SLACK: Duration = Duration::from_millis(500);

/// The leases in hand.
#[derive(Default)]
pub(super) struct Leases(Mutex<BTreeMap<GroupName, Lease>>);

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
    fn ask(&self, group: &GroupName) -> LeaseAsk {
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
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |lease: &Lease| {
            let mirrors = lease.mirrors_until.values().copied();
            mirrors.chain([lease.until, lease.witness_until]).collect::<Vec<_>>()
        };
        let ends = leases.values().flat_map(of);
        ends.filter(|end| *end > at).min()
    }

    fn held(&self, group: &GroupName, epoch: Epoch) -> Option<Lease> {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.get(group).filter(|lease| lease.epoch == epoch).cloned()
    }

    /// What was asked for at a moment of this node's clock holds from then on.
    fn take_in(&self, guards: &Guards, asked_at: Moment, grants: &[LeaseAsk]) {
        let until = asked_at.after(guards.config.cluster.timings.lease_ttl);
        for grant in grants {
            self.granted(grant, until);
        }
    }

    fn granted(&self, grant: &LeaseAsk, until: Moment) {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        guards.leases.take_in(guards, answer.asked_at, &grants);
    }
}

/// Asking ahead: for leases on primaries that transitions are about to make.
///
/// A witness lets the new primary's first writes through, and asks for its lease once it knows of the promotion: over a
/// WAN that is a round trip of the outage. Asked before, the leader keeps the question until it is committed, and the
/// answer comes with the news. The lease counts from the asking, as always.
#[derive(Default)]
pub(super) struct AskingAhead {
    asked: BTreeMap<GroupName, Epoch>,
    under_way: FuturesUnordered<BoxFuture<'static, Ahead>>,
    again_at: Moment,
}

/// What came of asking ahead.
pub(super) struct Ahead {
    asks: Vec<LeaseAsk>,
    answer: Answer,
}

impl AskingAhead {
    /// Asks for what was not asked for yet. Says when it will ask again for what was refused.
    pub(super) fn plan(
        &mut self,
        guards: &Guards,
        wanted: &BTreeMap<GroupName, Want>,
        at: Moment,
    ) -> Option<Moment> {
        let is_new = |(group, want): &(&GroupName, &Want)| self.asked.get(*group) != Some(&want.epoch);
        let asks: Vec<LeaseAsk> = wanted.iter().filter(is_new).map(|(group, want)| want.ask(group)).collect();
        // A leader learns of the promotion from itself.
        let leader = guards.consensus.leadership().borrow().leader.as_ref().map(|leader| leader.id);
        let leader = leader.filter(|id| !asks.is_empty() && *id != guards.me)?;
        if at < self.again_at {
            return Some(self.again_at);
        }
        let membership = guards.consensus.membership();
        let address = membership.nodes.get(&leader).map(|node| node.address.clone());
        let channel = address.and_then(|address| guards.peers.channel(&address))?;
        self.asked.extend(asks.iter().map(|ask| (ask.group.clone(), ask.epoch)));
        let me = guards.me;
        self.under_way.push(Box::pin(async move {
            let mut message = Request::new(request(me, &asks, AHEAD_WAIT));
            message.set_timeout(AHEAD_WAIT + AHEAD_SLACK);
            let mut client = SiteClient::new(channel);
            let answered = timeout(AHEAD_WAIT + AHEAD_SLACK, client.renew(message)).await;
            let grants = answered.ok().and_then(Result::ok).map(|response| granted(response.into_inner()));
            Ahead { asks, answer: Answer { asked_at: at, grants, way: None } }
        }));
        None
    }

    /// The next answer; waits for ever without a question.
    pub(super) async fn answered(&mut self) -> Ahead {
        match self.under_way.next().await {
            Some(ahead) => ahead,
            None => std::future::pending().await,
        }
    }

    pub(super) fn take_in(&mut self, guards: &Guards, ahead: Ahead, at: Moment) {
        for ask in &ahead.asks {
            self.asked.remove(&ask.group);
        }
        self.again_at = at.after(AGAIN_AFTER);
        guards.leases.take_in(guards, ahead.answer.asked_at, &ahead.answer.grants.unwrap_or_default());
    }
}

fn request(me: NodeId, asks: &[LeaseAsk], wait: Duration) -> v1::RenewRequest {
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

fn granted(response: v1::RenewResponse) -> Vec<LeaseAsk> {
    let grants = response.grants.into_iter().filter_map(|grant| {
        let group = GroupName::new(grant.group).ok()?;
        let mirrors = grant.mirrors.into_iter().map(MemberName::new).collect::<Result<_, _>>().ok()?;
        Some(LeaseAsk { group, epoch: Epoch(grant.epoch), witness: grant.witness, mirrors })
    });
    grants.collect()
}
