//! A copy of a primary's stream at another site, which replies may rely on.
//!
//! The problem: a reply is let go because this node has the stream that covers it, and the primary's whole site may be
//! gone a moment later. Then this copy is all there is, so nothing may be acknowledged here that could not be used. The
//! idea: the node that is committed as holder follows the tail of the primary's witness, and acknowledges an offset only
//! while nothing has begun against the primary, its copy is not sealed, and the copy joins what a candidate at another
//! site than the primary's holds by this node's own fresh look. A copy stays until its epoch is over, whoever is the
//! holder by then: it may have more than anybody else.
//!
//! It must not count as a witness: no primary keeps its door open because of it.

use super::tails::{SIGN_OF_LIFE_EVERY, Sealed, TailError};
use super::{Guards, Intent, intent};
use primacy_core::view::HolderReport;
use primacy_core::{Durability, Epoch, Group, GroupName, MemberName, Moment, NodeId};
use primacy_redis::{Read, Tail};
use primacy_runtime::{Task, now, sleep, spawn, timeout, watch};
use primacy_wire::v1;
use primacy_wire::v1::site_client::SiteClient;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A witness that says nothing for so long is asked anew; it gives a sign of life six times as often.
const SILENT_AFTER: Duration = Duration::from_millis(1_500);
/// How often the leader is told how far the copy is.
const TOLD_EVERY: Duration = Duration::from_millis(100);
/// For how long a look at state and candidates counts.
const JUDGED_FOR: Duration = Duration::from_millis(5);
const CHUNK_BYTES: usize = 1024 * 1024;

/// The copy of one primary's stream under one epoch. Dropping it ends it.
pub(super) struct Holding {
    pub(super) epoch: Epoch,
    /// The transition that it was sealed for.
    sealed_for: Option<Epoch>,
    copy: Arc<Copy>,
    /// While this node is the holder.
    following: Option<Task<()>>,
}

struct Copy {
    tail: Mutex<Option<Tail>>,
    /// When the witness was last heard.
    fed_at: Mutex<Moment>,
    /// Whether it acknowledges, and since when.
    covers: Mutex<(bool, Moment)>,
    acknowledged: watch::Sender<u64>,
}

impl Copy {
    fn new(at: Moment) -> Copy {
        let (acknowledged, _) = watch::channel(0);
        Copy {
            tail: Mutex::default(),
            fed_at: Mutex::default(),
            covers: Mutex::new((false, at)),
            acknowledged,
        }
    }

    fn tail(&self) -> Option<Tail> {
        locked(&self.tail).clone()
    }

    /// Turns; says whether that is news.
    fn set_covers(&self, covers: bool, at: Moment) -> bool {
        let mut known = locked(&self.covers);
        let news = known.0 != covers;
        if news {
            *known = (covers, at);
        }
        news
    }

    fn report(&self, epoch: Epoch, at: Moment) -> HolderReport {
        let tail = self.tail();
        let (covers, since) = *locked(&self.covers);
        HolderReport {
            at,
            epoch,
            start_bytes: tail.as_ref().map_or(0, Tail::start),
            end_bytes: tail.as_ref().map_or(0, Tail::end),
            sealed: tail.as_ref().is_some_and(Tail::sealed),
            replid: tail.map(|tail| tail.replid()),
            covers,
            since,
        }
    }
}

impl Holding {
    fn new(epoch: Epoch, at: Moment) -> Holding {
        Holding { epoch, sealed_for: None, copy: Arc::new(Copy::new(at)), following: None }
    }

    pub(super) fn tail(&self) -> Option<Tail> {
        self.copy.tail()
    }

    pub(super) fn report(&self, at: Moment) -> HolderReport {
        self.copy.report(self.epoch, at)
    }

    /// Takes nothing more, and acknowledges nothing more, for the transition of `epoch`.
    fn seal(&mut self, epoch: Epoch) -> Option<Tail> {
        self.sealed_for = self.sealed_for.max(Some(epoch));
        self.following = None;
        self.copy.set_covers(false, now());
        let tail = self.copy.tail();
        if let Some(tail) = &tail {
            tail.seal();
        }
        tail
    }

    /// The transition that it was sealed for was rolled back: goes on from where it was.
    fn reopen(&mut self, bytes_max: u64) {
        self.sealed_for = None;
        let mut tail = locked(&self.copy.tail);
        if let Some(sealed) = tail.as_ref().filter(|tail| tail.sealed()) {
            *tail = Some(again(sealed, bytes_max));
        }
    }
}

/// A tail with the same bytes that takes more.
fn again(sealed: &Tail, bytes_max: u64) -> Tail {
    let mut at = sealed.start();
    let open = Tail::new(sealed.replid(), at, bytes_max);
    while let Read::Bytes(bytes) = sealed.read(at, CHUNK_BYTES) {
        if open.append(at, &bytes).is_err() {
            break;
        }
        at += bytes.len() as u64;
    }
    open
}

impl Guards {
    /// Makes the copy of this node follow the committed state of a group. Says what to tell the leader.
    pub(super) fn reconcile_holding(
        self: &Arc<Self>,
        holdings: &mut BTreeMap<GroupName, Holding>,
        name: &GroupName,
        group: &Group,
        at: Moment,
    ) -> Option<HolderReport> {
        let primary = group.primary.as_ref()?;
        if holdings.get(name).is_some_and(|holding| holding.epoch != primary.epoch) {
            holdings.remove(name);
        }
        let mine = group.spec.durability == Durability::Site && primary.holder == Some(self.me);
        if mine && !holdings.contains_key(name) {
            holdings.insert(name.clone(), Holding::new(primary.epoch, at));
        }
        let holding = holdings.get_mut(name)?;
        let intent = intent(group);
        let before = (holding.following.is_some(), holding.sealed_for);
        match holding.sealed_for {
            // It waits for the transition that it was sealed for to be known here.
            Some(epoch) if epoch > group.epoch_last() => {}
            _ if intent == Intent::Unplanned => drop(holding.seal(group.epoch_last())),
            _ if !mine => {
                holding.following = None;
                holding.copy.set_covers(false, at);
            }
            _ => {
                if holding.sealed_for.is_some() {
                    holding.reopen(group.spec.tail_max_bytes);
                }
                if holding.following.is_none() {
                    holding.following = Some(self.follow(name, primary.epoch, &holding.copy));
                }
            }
        }
        let news = before != (holding.following.is_some(), holding.sealed_for);
        news.then(|| holding.report(at))
    }

    /// Seals the copy of `of` for the transition of `epoch`.
    pub(super) fn seal_holding(
        &self,
        group: &GroupName,
        epoch: Epoch,
        of: Epoch,
    ) -> Result<Sealed, TailError> {
        let unknown = || TailError::Unknown { group: group.clone(), epoch: of };
        let mut holdings = self.holdings();
        let holding = holdings.get_mut(group).filter(|h| h.epoch == of).ok_or_else(unknown)?;
        let tail = holding.seal(epoch).ok_or_else(unknown)?;
        self.tell_holder(group, &holding.report(now()));
        Ok(Sealed {
            replid: tail.replid(),
            start_bytes: tail.start(),
            end_bytes: tail.end(),
            // What the primary sent last may never have left its site.
            complete: false,
            run_id: String::new(),
        })
    }

    /// The offsets that this node acknowledges as holder of `of`, while it is that.
    pub(crate) fn acknowledged(&self, group: &GroupName, of: Epoch) -> Option<watch::Receiver<u64>> {
        let holdings = self.holdings();
        let holding = holdings.get(group).filter(|h| h.epoch == of && h.following.is_some())?;
        Some(holding.copy.acknowledged.subscribe())
    }

    pub(super) fn holdings(&self) -> MutexGuard<'_, BTreeMap<GroupName, Holding>> {
        locked(&self.holdings)
    }

    pub(super) fn tell_holder(&self, group: &GroupName, report: &HolderReport) {
        if self.board.note_holder(group, report) {
            self.news.tell();
        }
    }

    fn follow(self: &Arc<Self>, group: &GroupName, epoch: Epoch, copy: &Arc<Copy>) -> Task<()> {
        let of =
            || Follower { guards: Arc::downgrade(self), group: group.clone(), epoch, copy: copy.clone() };
        let (filling, judging) = (of(), of());
        spawn(async move {
            tokio::select! {
                () = filling.fill() => {}
                () = judging.judge() => {}
            }
        })
    }
}

/// Follows the stream of one epoch, until it is dropped.
struct Follower {
    guards: Weak<Guards>,
    group: GroupName,
    epoch: Epoch,
    copy: Arc<Copy>,
}

/// What the state says of the stream.
struct Stream {
    witness: Option<NodeId>,
    replid: String,
    tail_max_bytes: u64,
    /// Those at another site than the primary's that may be promoted.
    candidates: Vec<MemberName>,
    /// Nothing has begun against the primary, and this node is the holder.
    relied_on: bool,
}

impl Follower {
    /// Takes in what the witness has, again and again.
    async fn fill(&self) {
        let mut gap = false;
        loop {
            let Some(guards) = self.guards.upgrade() else { return };
            let source = self.source(&guards, gap);
            drop(guards);
            if let Some((witness, client, from)) = source {
                let taken = self.take_in(witness, client, from).await;
                gap = taken.is_err();
                if let Err(why) = taken {
                    tracing::debug!(group = %self.group, witness = witness.0, why, "the witness's tail cannot be followed");
                }
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    fn stream(&self, guards: &Guards) -> Option<Stream> {
        guards.consensus.read(|state| {
            let group = state.groups.get(&self.group)?;
            let primary = group.primary.as_ref().filter(|p| p.epoch == self.epoch)?;
            let site = &group.spec.member(&primary.member)?.site;
            let elsewhere = group.spec.members.iter().filter(|m| m.site != *site && m.priority > 0);
            Some(Stream {
                witness: primary.witness,
                replid: primary.lineage.start.replid.clone(),
                tail_max_bytes: group.spec.tail_max_bytes,
                candidates: elsewhere.map(|m| m.name.clone()).collect(),
                relied_on: primary.holder == Some(guards.me) && intent(group) == Intent::None,
            })
        })
    }

    /// The furthest that a candidate reaches, by this node's own look.
    fn reach(&self, guards: &Guards, stream: &Stream) -> Option<u64> {
        let reach = |m: &MemberName| guards.board.own_reach(&self.group, m, &stream.replid, now());
        stream.candidates.iter().filter_map(reach).max()
    }

    /// Whom to ask, and from where on: from the end of the copy; without one, or after a gap, from where a candidate is that
    /// has all of it.
    fn source(
        &self,
        guards: &Guards,
        gap: bool,
    ) -> Option<(NodeId, SiteClient<tonic::transport::Channel>, From)> {
        let stream = self.stream(guards)?;
        let witness = stream.witness.filter(|node| *node != guards.me)?;
        let (end, reach) = (self.copy.tail().map(|tail| tail.end()), self.reach(guards, &stream));
        let at = match end {
            Some(end) if !gap => From { at: end, anew: None },
            _ => {
                let at = reach.filter(|reach| end.is_none_or(|end| *reach >= end))?;
                From { at, anew: Some((stream.replid, stream.tail_max_bytes)) }
            }
        };
        Some((witness, SiteClient::new(guards.channel_to(witness)?), at))
    }

    async fn take_in(
        &self,
        witness: NodeId,
        mut client: SiteClient<tonic::transport::Channel>,
        from: From,
    ) -> Result<(), String> {
        let replid = match &from.anew {
            Some((replid, _)) => replid.clone(),
            None => self.copy.tail().map(|tail| tail.replid()).unwrap_or_default(),
        };
        let request = v1::FetchTailRequest {
            group: self.group.as_str().to_owned(),
            of_epoch: self.epoch.0,
            replid,
            from_bytes: from.at,
            follow: true,
        };
        let silent = |_| "it says nothing".to_owned();
        let said = |status: tonic::Status| status.message().to_owned();
        let chunks = timeout(SILENT_AFTER, client.fetch_tail(request)).await.map_err(silent)?;
        let mut chunks = chunks.map_err(said)?.into_inner();
        let mut anew = from.anew;
        loop {
            let chunk = timeout(SILENT_AFTER, chunks.message()).await;
            let Ok(chunk) = chunk else { return Ok(()) };
            let Some(chunk) = chunk.map_err(said)? else { return Ok(()) };
            // What a candidate has already is given up only for bytes that follow it.
            if let Some((replid, bytes_max)) = anew.take() {
                *locked(&self.copy.tail) = Some(Tail::new(replid, from.at, bytes_max));
            }
            let Some(tail) = self.copy.tail() else { return Ok(()) };
            tail.append(chunk.at_bytes, &chunk.data).map_err(|gap| gap.to_string())?;
            *locked(&self.copy.fed_at) = now();
            if !self.is_witness(witness) {
                return Ok(());
            }
        }
    }

    fn is_witness(&self, node: NodeId) -> bool {
        let Some(guards) = self.guards.upgrade() else { return false };
        guards.consensus.read(|state| {
            let primary = state.groups.get(&self.group).and_then(|g| g.primary.as_ref());
            primary.is_some_and(|p| p.epoch == self.epoch && p.witness == Some(node))
        })
    }

    /// Acknowledges what may be relied on, and tells the leader.
    async fn judge(&self) {
        let mut told_at = Moment::default();
        let mut judged = Judged::default();
        loop {
            let Some(guards) = self.guards.upgrade() else { return };
            let (tail, at) = (self.copy.tail(), now());
            if at.since(judged.at) >= JUDGED_FOR {
                judged = self.look(&guards, at);
            }
            let covers = tail.as_ref().is_some_and(|tail| judged.covers(tail));
            if let Some(tail) = tail.as_ref().filter(|_| covers) {
                raise(&self.copy.acknowledged, tail.end());
            }
            let fed = at.since(*locked(&self.copy.fed_at)) < SILENT_AFTER;
            if self.copy.set_covers(covers && fed, at) || at.since(told_at) >= TOLD_EVERY {
                told_at = at;
                guards.tell_holder(&self.group, &self.copy.report(self.epoch, at));
            }
            drop(guards);
            match tail {
                None => sleep(AGAIN_AFTER).await,
                Some(tail) => {
                    let mut progress = tail.progress();
                    if *progress.borrow_and_update() == *self.copy.acknowledged.borrow() || !covers {
                        let _ = timeout(AGAIN_AFTER, progress.changed()).await;
                    }
                }
            }
        }
    }

    fn look(&self, guards: &Guards, at: Moment) -> Judged {
        let Some(stream) = self.stream(guards) else { return Judged { at, ..Judged::default() } };
        let reach = self.reach(guards, &stream).filter(|_| stream.relied_on);
        Judged { at, replid: stream.replid, reach }
    }
}

/// From where on a stream is asked for; `anew`: as a new copy of that history, bounded so.
struct From {
    at: u64,
    anew: Option<(String, u64)>,
}

/// What a look at state and candidates came to.
#[derive(Default)]
struct Judged {
    at: Moment,
    replid: String,
    /// How far the furthest candidate reaches, while this node is relied on.
    reach: Option<u64>,
}

impl Judged {
    fn covers(&self, tail: &Tail) -> bool {
        let joins = self.reach.is_some_and(|reach| reach >= tail.start());
        joins && !tail.sealed() && tail.replid() == self.replid
    }
}

/// Sends what this node acknowledges as holder of `of`, until it is that no more.
pub(crate) async fn watch_holder(
    guards: &Guards,
    group: &GroupName,
    of: Epoch,
    ends: &tokio::sync::mpsc::Sender<Result<v1::TailEnd, tonic::Status>>,
) {
    let Some(mut acknowledged) = guards.acknowledged(group, of) else { return };
    while guards.acknowledged(group, of).is_some() {
        let end_bytes = *acknowledged.borrow_and_update();
        if ends.send(Ok(v1::TailEnd { end_bytes })).await.is_err() {
            return;
        }
        let _ = timeout(SIGN_OF_LIFE_EVERY, acknowledged.changed()).await;
    }
}

fn raise(acknowledged: &watch::Sender<u64>, to: u64) {
    acknowledged.send_if_modified(|at| {
        let news = to > *at;
        *at = to.max(*at);
        news
    });
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
