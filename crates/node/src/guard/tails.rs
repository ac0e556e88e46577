//! The way of a tail to the candidate: sealed where it is kept, fetched once, read by the candidate beside us.

use super::Guards;
use super::holder::Holding;
use super::post::Post;
use primacy_core::view::LinkEnd;
use primacy_core::{Action, Address, Epoch, GroupName, Position, Revision};
use primacy_redis::{Hand, Read, Tail, TailAccess};
use primacy_runtime::{Task, now, spawn, timeout};
use primacy_wire::v1;
use primacy_wire::v1::site_client::SiteClient;
use std::sync::Arc;
use std::time::Duration;
use tonic::codegen::Bytes;

/// A tail that takes nothing more.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) replid: String,
    pub(crate) start_bytes: u64,
    pub(crate) end_bytes: u64,
    pub(crate) complete: bool,
    pub(crate) run_id: String,
}

/// What the candidate has read.
#[derive(Clone, Debug)]
pub(crate) struct Rescued {
    pub(crate) end: Position,
    pub(crate) fetched_bytes: u64,
    pub(crate) complete: bool,
}

/// Why a tail cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TailError {
    /// This node has none of that epoch.
    #[error("this node keeps no tail of epoch {epoch} of {group}")]
    Unknown { group: GroupName, epoch: Epoch },
    /// What the candidate holds ends before the tail begins.
    #[error("the tail begins at {start_bytes}, {missing_bytes} bytes after what the candidate holds")]
    Gap { start_bytes: u64, missing_bytes: u64 },
    /// The node that keeps it does not answer.
    #[error("the node that keeps the tail: {0}")]
    Holder(String),
    /// The candidate does not do as asked.
    #[error("{0}")]
    Candidate(String),
}

/// Sealing is one message; a node that does not answer so soon is not waited for.
const SEALED_WITHIN: Duration = Duration::from_secs(1);
/// While a tail that is followed does not grow, and while an end that is watched does not move, they are told again so often.
pub(super) const SIGN_OF_LIFE_EVERY: Duration = Duration::from_millis(250);
/// Asked for as an offset: from wherever the tail ends now. The first chunk is empty then, and says where that is.
pub(crate) const FROM_ITS_END: u64 = u64::MAX;
/// Chunks on the wire.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 * 1024;

impl Guards {
    /// Seals the tail of `of` for the transition of `epoch`.
    pub(crate) fn seal(&self, group: &GroupName, epoch: Epoch, of: Epoch) -> Result<Sealed, TailError> {
        let mut posts = self.posts();
        let unknown = || TailError::Unknown { group: group.clone(), epoch: of };
        let Some(post) = posts.get_mut(group).filter(|post| post.epoch == of) else {
            drop(posts);
            return self.seal_holding(group, epoch, of);
        };
        let before = post.status();
        let status = post.seal(epoch);
        Ok(Sealed {
            replid: status.replid.ok_or_else(unknown)?,
            start_bytes: status.start_bytes,
            end_bytes: status.end_bytes,
            complete: before.ended == Some(LinkEnd::Eof),
            run_id: status.run_id.unwrap_or_default(),
        })
    }

    /// The tail that this node keeps of the stream of an epoch: as witness, or a copy of it.
    pub(crate) fn tail(&self, group: &GroupName, of: Epoch) -> Option<Tail> {
        let own = self.posts().get(group).filter(|post| post.epoch == of).and_then(Post::tail);
        own.or_else(|| {
            self.holdings().get(group).filter(|holding| holding.epoch == of).and_then(Holding::tail)
        })
    }

    /// Has a candidate read the tail of `of`, kept by the node at `holder` (none: this one).
    pub(crate) async fn rescue(
        self: &Arc<Self>,
        action: &Action,
        of: Epoch,
        holder: Option<String>,
        within: Duration,
    ) -> Result<Rescued, TailError> {
        let deadline = now().after(within);
        let sealed = match &holder {
            None => self.seal(&action.group, action.epoch, of)?,
            Some(address) => self.seal_at(address, action, of, within).await?,
        };
        let hand = self.hand();
        let reach = hand.reach(action, within).await.map_err(|e| TailError::Candidate(e.message))?;
        let end = Position { replid: sealed.replid.clone(), offset_bytes: sealed.end_bytes };
        if reach.replid == end.replid && reach.offset_bytes >= end.offset_bytes {
            return Ok(Rescued { end, fetched_bytes: 0, complete: sealed.complete });
        }
        if reach.replid != end.replid || reach.offset_bytes < sealed.start_bytes {
            let missing_bytes = sealed.start_bytes.saturating_sub(reach.offset_bytes);
            return Err(TailError::Gap { start_bytes: sealed.start_bytes, missing_bytes });
        }
        let fetched_bytes = end.offset_bytes - reach.offset_bytes;
        let (tail, _fetching) = match holder {
            None => (self.tail(&action.group, of), None),
            Some(address) => {
                let (tail, task) = self.fetch(address, action, of, &reach, fetched_bytes);
                (Some(tail), Some(task))
            }
        };
        let unknown = || TailError::Unknown { group: action.group.clone(), epoch: of };
        self.tails.offer(&action.group, tail.ok_or_else(unknown)?, self.tail_access(&action.group));
        let source =
            Address { host: self.announce.0.clone(), port: self.announce.1, tls: action.address.tls };
        let left = deadline.since(now());
        let read = hand.read_tail(action, &source, &end, left).await;
        self.tails.withdraw(&action.group);
        read.map_err(|e| TailError::Candidate(e.message))?;
        Ok(Rescued { end, fetched_bytes, complete: sealed.complete })
    }

    /// Acts on candidates beside this node: only while the transition that it was asked for is not known to be over.
    fn hand(&self) -> Hand {
        let consensus = self.consensus.clone();
        Hand::new(self.links.clone()).guarded(move |action| {
            consensus.read(|state| {
                let Some(group) = state.groups.get(&action.group) else { return false };
                let rescuing = group
                    .transition
                    .as_ref()
                    .is_some_and(|t| t.epoch == action.epoch && t.phase <= primacy_core::Phase::Rescue);
                // The leader's word may be ahead of what this node has applied.
                rescuing || state.revision < Revision(action.epoch.0)
            })
        })
    }

    fn tail_access(&self, group: &GroupName) -> TailAccess {
        let password = crate::serve::access_for(&self.config.redis, group).password;
        let members = self.consensus.read(|state| {
            let spec = state.groups.get(group).map(|g| &g.spec);
            spec.map(|s| s.members.iter().map(|m| m.name.clone()).collect::<Vec<_>>()).unwrap_or_default()
        });
        match password {
            Some(password) => TailAccess::members(group, &members, &password),
            None => TailAccess::anybody(),
        }
    }

    async fn seal_at(
        &self,
        address: &str,
        action: &Action,
        of: Epoch,
        within: Duration,
    ) -> Result<Sealed, TailError> {
        let unreachable = || TailError::Holder(format!("{address} is no address"));
        let mut client = SiteClient::new(self.peers.channel(address).ok_or_else(unreachable)?);
        let request = v1::SealTailRequest {
            group: action.group.as_str().to_owned(),
            epoch: action.epoch.0,
            of_epoch: of.0,
        };
        let answer = timeout(within.min(SEALED_WITHIN), client.seal_tail(request)).await;
        let answer = answer.map_err(|_| TailError::Holder(format!("{address} does not answer")))?;
        let sealed = answer.map_err(|status| TailError::Holder(status.message().to_owned()))?.into_inner();
        Ok(Sealed {
            replid: sealed.replid,
            start_bytes: sealed.start_bytes,
            end_bytes: sealed.end_bytes,
            complete: sealed.complete,
            run_id: sealed.run_id,
        })
    }

    /// Copies a tail from the node that keeps it; the copy can be read while it grows.
    fn fetch(
        &self,
        address: String,
        action: &Action,
        of: Epoch,
        from: &Position,
        bytes: u64,
    ) -> (Tail, Task<()>) {
        let tail = Tail::new(from.replid.clone(), from.offset_bytes, bytes.max(1));
        let (copy, group) = (tail.clone(), action.group.clone());
        let request = v1::FetchTailRequest {
            group: action.group.as_str().to_owned(),
            of_epoch: of.0,
            replid: from.replid.clone(),
            from_bytes: from.offset_bytes,
            follow: false,
        };
        let channel = self.peers.channel(&address);
        let task = spawn(async move {
            let Some(channel) = channel else { return };
            let fetched = pour(&copy, SiteClient::new(channel), request).await;
            if let Err(why) = fetched {
                tracing::warn!(%group, holder = address, why, "the tail could not be fetched whole");
            }
            copy.seal();
        });
        (tail, task)
    }
}

/// Appends what the holder sends.
pub(crate) async fn pour(
    tail: &Tail,
    mut client: SiteClient<tonic::transport::Channel>,
    request: v1::FetchTailRequest,
) -> Result<(), String> {
    let mut chunks =
        client.fetch_tail(request).await.map_err(|status| status.message().to_owned())?.into_inner();
    while let Some(chunk) = chunks.message().await.map_err(|status| status.message().to_owned())? {
        tail.append(chunk.at_bytes, &chunk.data).map_err(|gap| gap.to_string())?;
    }
    Ok(())
}

/// Sends what a tail holds after `from`; with `follow` as it grows, until it is sealed, and an empty chunk at its end as a
/// sign of life.
pub(crate) async fn send(
    tail: Tail,
    from: u64,
    follow: bool,
    chunks: &tokio::sync::mpsc::Sender<Result<v1::TailChunk, tonic::Status>>,
) {
    let mut progress = tail.progress();
    let mut at_bytes = from;
    if from == FROM_ITS_END {
        at_bytes = *progress.borrow_and_update();
    }
    let mut greet = follow || from == FROM_ITS_END;
    loop {
        match tail.read(at_bytes, CHUNK_BYTES_MAX) {
            Read::Bytes(data) => {
                let next = at_bytes + data.len() as u64;
                if chunks.send(Ok(v1::TailChunk { at_bytes, data })).await.is_err() {
                    return;
                }
                at_bytes = next;
            }
            Read::AtEnd | Read::Sealed if greet => {
                greet = false;
                if chunks.send(Ok(v1::TailChunk { at_bytes, data: Bytes::new() })).await.is_err() {
                    return;
                }
            }
            Read::AtEnd if follow => {
                greet = timeout(SIGN_OF_LIFE_EVERY, progress.changed()).await.is_err();
            }
            Read::AtEnd | Read::Sealed => return,
            Read::Gone { start } => {
                let gone = format!("the tail begins at {start} now, {at_bytes} was asked for");
                // A receiver that is gone needs no answer.
                let _ = chunks.send(Err(tonic::Status::out_of_range(gone))).await;
                return;
            }
            Read::Ahead { end } => {
                let ahead = format!("the tail ends at {end}, {at_bytes} was asked for");
                let _ = chunks.send(Err(tonic::Status::out_of_range(ahead))).await;
                return;
            }
        }
    }
}
