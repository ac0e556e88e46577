//! `primacy.v1.Site`: what nodes tell the leader, what they ask of it, and what it asks of them at their sites.

use super::forward::Route;
use super::{Shared, refuse};
use crate::guard::{self, Asked, TailError};
use crate::lead::LeaseAsk;
use futures::{StreamExt, stream};
use primacy_core::lease;
use primacy_core::{Action, ActionKind, Epoch, GroupName, Loss, MemberName, Moment, NodeId};
use primacy_redis::Tail;
use primacy_runtime::{now, spawn, timeout};
use primacy_wire::v1::seal_tail_response::Part;
use primacy_wire::v1::site_server::Site;
use primacy_wire::{Refusal, WireError, gate, holder, mirror, rescue, sighting, v1, witness};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Times on their way to a node that reports.
const TIMES_MAX: usize = 2;
/// Chunks of a tail on their way.
const CHUNKS_MAX: usize = 8;
/// What a rescue may be given at most.
const RESCUE_WITHIN_MAX: Duration = Duration::from_secs(10);
/// What one who asks for leases ahead may be kept waiting at most.
const RENEW_WAIT_MAX: Duration = Duration::from_secs(1);

/// The service.
pub(crate) struct SiteService(pub(crate) Arc<Shared>);

impl SiteService {
    /// What a tail holds after `from_bytes`. It ends with its receiver, its tail or this node.
    fn send_tail(
        &self,
        tail: Tail,
        from_bytes: u64,
        follow: bool,
    ) -> ReceiverStream<Result<v1::TailChunk, Status>> {
        let (chunks, outgoing) = mpsc::channel(CHUNKS_MAX);
        let mut stopping = self.0.stopping.clone();
        let sending = async move {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => {}
                () = chunks.closed() => {}
                () = guard::send(tail, from_bytes, follow, &chunks) => {}
            }
        };
        spawn(sending).detach();
        ReceiverStream::new(outgoing)
    }

    /// Waits until one of the primaries that are asked for and still to be made is made, or is not to be any more; at most
    /// so long, and only while this node leads and goes on.
    async fn promoted_within(&self, mut asks: Vec<LeaseAsk>, wait: Duration) {
        let consensus = &self.0.consensus;
        let to_come = |asks: &mut Vec<LeaseAsk>| {
            consensus.read(|state| {
                asks.retain(|ask| {
                    state.groups.get(&ask.group).is_some_and(|g| lease::may_come(g, ask.epoch))
                });
            });
            asks.len()
        };
        let (mut revisions, mut leadership) = (consensus.revision_watch(), consensus.leadership());
        let mut stopping = self.0.stopping.clone();
        let all = to_come(&mut asks);
        let made = async {
            while all > 0 && to_come(&mut asks) == all && revisions.changed().await.is_ok() {
                drop(revisions.borrow_and_update());
            }
        };
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => {}
            _ = leadership.wait_for(|view| !view.leading) => {}
            // Whoever waited in vain is told so by the grants that are missing.
            _ = timeout(wait, made) => {}
        }
    }

    fn member_of_cluster(&self, node: u64) -> Result<NodeId, Status> {
        let from = NodeId(node);
        if self.0.consensus.membership().nodes.contains_key(&from) {
            return Ok(from);
        }
        Err(WireError::new("node_id", format!("node {from} is not of this cluster")).into())
    }

    fn take_in(&self, batch: v1::SightingBatch, received: Moment) -> Result<(), Status> {
        let from = self.member_of_cluster(batch.node_id)?;
        let sent = sent_at_earliest(&batch)?.min(received);
        let mut seen = Vec::with_capacity(batch.sightings.len());
        for sighting in batch.sightings {
            seen.push(sighting::from_wire(sighting, sent)?);
        }
        let mut witnesses = Vec::with_capacity(batch.witnesses.len());
        for report in batch.witnesses {
            witnesses.push(witness::from_wire(report, sent)?);
        }
        let gates = batch.gates.iter().map(|report| gate::from_wire(report, sent));
        let gates = gates.collect::<Result<Vec<_>, _>>()?;
        let mut holders = Vec::with_capacity(batch.holders.len());
        for report in batch.holders {
            holders.push(holder::from_wire(report, sent)?);
        }
        let mut mirrors = Vec::with_capacity(batch.mirrors.len());
        for report in batch.mirrors {
            mirrors.push(mirror::from_wire(report, sent)?);
        }
        if !self.0.board.report(from, sent, &self.0.consensus, seen, witnesses) {
            return Err(self.0.refuse_as_follower().into());
        }
        self.0.board.report_gates(from, gates);
        self.0.board.report_holders(from, holders);
        self.0.board.report_mirrors(from, mirrors);
        Ok(())
    }
}

#[tonic::async_trait]
impl Site for SiteService {
    type ReportStream = Pin<Box<dyn Stream<Item = Result<v1::LeaderTime, Status>> + Send>>;

    async fn report(
        &self,
        request: Request<Streaming<v1::SightingBatch>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let mut batches = request.into_inner();
        let (times, outgoing) = mpsc::channel(TIMES_MAX);
        let (mut stopping, service) = (self.0.stopping.clone(), SiteService(Arc::clone(&self.0)));
        let receiving = async move {
            loop {
                // Without room the sender has times enough.
                let _ = times.try_send(Ok(v1::LeaderTime { at_us: now().0 }));
                let next = tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = times.closed() => return,
                    batch = batches.message() => batch,
                };
                let taken = match next {
                    Ok(Some(batch)) => service.take_in(batch, now()),
                    Ok(None) | Err(_) => return,
                };
                if let Err(status) = taken {
                    let _ = times.send(Err(status)).await;
                    return;
                }
            }
        };
        // It ends with its sender, with its leadership or with this node.
        spawn(receiving).detach();
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        if let Route::Leader(channel) = self.0.route(request.metadata())? {
            let (metadata, _, message) = request.into_parts();
            return self.0.renew_at_leader(channel, &metadata, message).await;
        }
        let request = request.into_inner();
        let to = self.member_of_cluster(request.node_id)?;
        let mut asks = Vec::with_capacity(request.asks.len());
        for ask in request.asks {
            let group = group_of(&ask.group)?;
            let mirrors = ask.mirrors.iter().map(|m| refuse::name::<MemberName>(m, "mirrors"));
            let mirrors = mirrors.collect::<Result<_, _>>()?;
            asks.push(LeaseAsk { group, epoch: Epoch(ask.epoch), witness: ask.witness, mirrors });
        }
        let wait = Duration::from_micros(request.wait_us).min(RENEW_WAIT_MAX);
        if asks.iter().map(|ask| &ask.group).collect::<BTreeSet<_>>().len() < asks.len() {
            return Err(WireError::new("asks", "a group is named twice; ask once for each").into());
        }
        self.promoted_within(asks.clone(), wait).await;
        let consensus = &self.0.consensus;
        // A grant rests on the quorum's lease: without it another leader may be at work already.
        let granted =
            consensus.has_authority().then(|| self.0.board.grant(to, &asks, now(), consensus)).flatten();
        let Some(granted) = granted else { return Err(self.0.refuse_as_follower().into()) };
        let ttl_us = self.0.config.cluster.timings.lease_ttl.as_micros() as u64;
        let grants = granted.into_iter().map(|grant| v1::LeaseGrant {
            group: grant.group.as_str().to_owned(),
            epoch: grant.epoch.0,
            witness: grant.witness,
            ttl_us,
            mirrors: grant.mirrors.iter().map(ToString::to_string).collect(),
        });
        Ok(Response::new(v1::RenewResponse { grants: grants.collect() }))
    }

    async fn rescue(
        &self,
        request: Request<v1::RescueRequest>,
    ) -> Result<Response<v1::RescueResponse>, Status> {
        let request = request.into_inner();
        let within = Duration::from_micros(request.within_us).min(RESCUE_WITHIN_MAX);
        let of = Epoch(request.of_epoch);
        let address = refuse::name(&request.address, "address")?;
        let then = request.then.map(rescue::promotion_from).transpose().map_err(|e| e.within("then"))?;
        let action = Action {
            group: group_of(&request.group)?,
            epoch: Epoch(request.epoch),
            member: refuse::name::<MemberName>(&request.member, "member")?,
            address,
            kind: ActionKind::Rescue {
                holder: NodeId(request.holder_node),
                site: self.0.config.node.site.clone(),
                of,
                within,
                residue: Loss::Unknown,
                lost: Loss::Unknown,
                then: then.clone(),
            },
        };
        let holder = Some(request.holder_address).filter(|_| NodeId(request.holder_node) != self.0.me);
        let asked = Asked { of, then: then.as_ref() };
        let rescued = self.0.guards.rescue(&action, &asked, holder, within).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::RescueResponse {
            end_bytes: rescued.end.offset_bytes,
            fetched_bytes: rescued.fetched_bytes,
            complete: rescued.complete,
            replid: rescued.end.replid,
            promoted: rescued.promoted.map(|(promoted, took)| rescue::promoted_to(&promoted, took)),
        }))
    }

    type SealTailStream = Pin<Box<dyn Stream<Item = Result<v1::SealTailResponse, Status>> + Send>>;

    async fn seal_tail(
        &self,
        request: Request<v1::SealTailRequest>,
    ) -> Result<Response<Self::SealTailStream>, Status> {
        let request = request.into_inner();
        let group = group_of(&request.group)?;
        let of = Epoch(request.of_epoch);
        let sealed = self.0.guards.seal(&group, Epoch(request.epoch), of).map_err(|e| status(&e))?;
        let joins = sealed.replid == request.replid
            && (sealed.start_bytes..sealed.end_bytes).contains(&request.from_bytes);
        let rest = self.0.guards.tail(&group, of).filter(|_| joins);
        let chunks = rest.map(|tail| self.send_tail(tail, request.from_bytes, false));
        let part = |part| v1::SealTailResponse { part: Some(part) };
        let first = part(Part::Sealed(v1::SealedTail {
            replid: sealed.replid,
            start_bytes: sealed.start_bytes,
            end_bytes: sealed.end_bytes,
            complete: sealed.complete,
            run_id: sealed.run_id,
        }));
        let chunks = stream::iter(chunks).flatten().map(move |chunk| chunk.map(Part::Chunk).map(part));
        Ok(Response::new(Box::pin(stream::iter([Ok(first)]).chain(chunks))))
    }

    type FetchTailStream = Pin<Box<dyn Stream<Item = Result<v1::TailChunk, Status>> + Send>>;

    async fn fetch_tail(
        &self,
        request: Request<v1::FetchTailRequest>,
    ) -> Result<Response<Self::FetchTailStream>, Status> {
        let request = request.into_inner();
        let group = group_of(&request.group)?;
        let of = Epoch(request.of_epoch);
        let tail = self.0.guards.tail(&group, of);
        let Some(tail) = tail else { return Err(status(&TailError::Unknown { group, epoch: of })) };
        if !request.replid.is_empty() && tail.replid() != request.replid {
            let reason = format!("the tail is of history {}", tail.replid());
            return Err(WireError::new("replid", reason).into());
        }
        Ok(Response::new(Box::pin(self.send_tail(tail, request.from_bytes, request.follow))))
    }

    type WatchTailStream = Pin<Box<dyn Stream<Item = Result<v1::TailEnd, Status>> + Send>>;

    async fn watch_tail(
        &self,
        request: Request<v1::WatchTailRequest>,
    ) -> Result<Response<Self::WatchTailStream>, Status> {
        let request = request.into_inner();
        let group = group_of(&request.group)?;
        let of = Epoch(request.of_epoch);
        if self.0.guards.acknowledged(&group, of).is_none() {
            return Err(status(&TailError::Unknown { group, epoch: of }));
        }
        let (ends, outgoing) = mpsc::channel(1);
        let (mut stopping, guards) = (self.0.stopping.clone(), self.0.guards.clone());
        let sending = async move {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => {}
                () = ends.closed() => {}
                () = guard::watch_holder(&guards, &group, of, &ends) => {}
            }
        };
        // It ends with its receiver, the holder's task or this node.
        spawn(sending).detach();
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn kill(&self, request: Request<v1::KillRequest>) -> Result<Response<v1::KillResponse>, Status> {
        let request = request.into_inner();
        let group = group_of(&request.group)?;
        let member = refuse::name::<MemberName>(&request.member, "member")?;
        let killed =
            self.0.guards.kill(&group, Epoch(request.epoch), &member, &request.run_id, request.pid).await;
        killed.map_err(Status::failed_precondition)?;
        Ok(Response::new(v1::KillResponse {}))
    }
}

/// The earliest moment at which a batch can have been sent: it gives back a time of ours that it had received then.
fn sent_at_earliest(batch: &v1::SightingBatch) -> Result<Moment, WireError> {
    let given = batch.leader_time.ok_or_else(|| WireError::missing("leader_time"))?;
    Ok(Moment(given.at_us.saturating_add(batch.leader_time_age_us)))
}

fn group_of(name: &str) -> Result<GroupName, Status> {
    refuse::name(name, "group")
}

fn status(error: &TailError) -> Status {
    Refusal::Rule { code: "no_tail".to_owned(), message: error.to_string() }.into()
}
