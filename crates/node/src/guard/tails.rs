//! The way of a tail to the candidate: sealed where it is kept, fetched once, read by the candidate beside us.

use super::Guards;
use super::holder::Holding;
use super::post::Post;
use futures::StreamExt;
use futures::stream::BoxStream;
use primacy_core::view::LinkEnd;
use primacy_core::{Action, Address, Epoch, GroupName, Moment, Position, Promoted, Promotion, Revision};
use primacy_redis::{Hand, Read, Tail, TailAccess};
use primacy_runtime::{Task, now, spawn, timeout};
use primacy_wire::v1;
use primacy_wire::v1::seal_tail_response::Part;
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
    pub(crate) promoted: Option<(Promoted, Duration)>,
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

    /// Has a candidate read the tail of `of`, kept by the node at `holder` (none: this one), and promotes it where that
    /// was asked for and the tail is all that there was.
    pub(crate) async fn rescue(
        self: &Arc<Self>,
        action: &Action,
        asked: &Asked<'_>,
        holder: Option<String>,
        within: Duration,
    ) -> Result<Rescued, TailError> {
        let deadline = now().after(within);
        let hand = self.hand();
        let reached = hand.reach(action, within).await.map_err(|e| TailError::Candidate(e.message))?;
        let Source { sealed, kept } = match holder {
            None => Source::here(self, action, asked.of)?,
            Some(address) => self.seal_at(&address, action, asked.of, &reached.position, within).await?,
        };
        let reach = reached.position;
        let end = Position { replid: sealed.replid.clone(), offset_bytes: sealed.end_bytes };
        let has_all = reach.replid == end.replid && reach.offset_bytes >= end.offset_bytes;
        let mut fetched_bytes = 0;
        if !has_all {
            if reached.promoted {
                return Err(TailError::Candidate("it is a primary already".to_owned()));
            }
            if reach.replid != end.replid || reach.offset_bytes < sealed.start_bytes {
                let missing_bytes = sealed.start_bytes.saturating_sub(reach.offset_bytes);
                return Err(TailError::Gap { start_bytes: sealed.start_bytes, missing_bytes });
            }
            fetched_bytes = end.offset_bytes - reach.offset_bytes;
            let (tail, _fetching) = kept.tail(action, &reach, fetched_bytes);
            self.tails.offer(&action.group, tail, self.tail_access(&action.group));
            let from =
                Address { host: self.announce.0.clone(), port: self.announce.1, tls: action.address.tls };
            let read = hand.read_tail(action, &from, &end, deadline.since(now())).await;
            self.tails.withdraw(&action.group);
            read.map_err(|e| TailError::Candidate(e.message))?;
        }
        let then = asked.then.filter(|_| sealed.complete);
        let promoted = match then {
            Some(promotion) => promote(&hand, action, promotion, deadline).await,
            None => None,
        };
        Ok(Rescued { end, fetched_bytes, complete: sealed.complete, promoted })
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

    /// Seals a tail where it is kept, and begins to fetch what the candidate lacks of it by the same question.
    async fn seal_at(
        &self,
        address: &str,
        action: &Action,
        of: Epoch,
        reach: &Position,
        within: Duration,
    ) -> Result<Source, TailError> {
        let failed = |why: String| TailError::Holder(why);
        let channel =
            self.peers.channel(address).ok_or_else(|| failed(format!("{address} is no address")))?;
        let request = v1::SealTailRequest {
            group: action.group.as_str().to_owned(),
            epoch: action.epoch.0,
            of_epoch: of.0,
            replid: reach.replid.clone(),
            from_bytes: reach.offset_bytes,
        };
        let mut client = SiteClient::new(channel);
        let first = async {
            let mut parts = client.seal_tail(request).await?.into_inner();
            Ok::<_, tonic::Status>((parts.message().await?, parts))
        };
        let answer = timeout(within.min(SEALED_WITHIN), first).await;
        let answer = answer.map_err(|_| failed(format!("{address} does not answer")))?;
        let (first, parts) = answer.map_err(|status| failed(status.message().to_owned()))?;
        let Some(Part::Sealed(sealed)) = first.and_then(|first| first.part) else {
            return Err(failed(format!("{address} does not say where its tail ends")));
        };
        let sealed = Sealed {
            replid: sealed.replid,
            start_bytes: sealed.start_bytes,
            end_bytes: sealed.end_bytes,
            complete: sealed.complete,
            run_id: sealed.run_id,
        };
        let chunks = parts.filter_map(|part| async move {
            match part {
                Ok(v1::SealTailResponse { part: Some(Part::Chunk(chunk)) }) => Some(Ok(chunk)),
                Ok(_) => None,
                Err(status) => Some(Err(status)),
            }
        });
        Ok(Source { sealed, kept: Kept::There { address: address.to_owned(), chunks: chunks.boxed() } })
    }
}

/// What is asked of the node beside a candidate.
pub(crate) struct Asked<'a> {
    /// The epoch whose stream the tail is of.
    pub(crate) of: Epoch,
    /// What follows once all is read.
    pub(crate) then: Option<&'a Promotion>,
}

/// A sealed tail and where its bytes are.
struct Source {
    sealed: Sealed,
    kept: Kept,
}

enum Kept {
    Here(Tail),
    There { address: String, chunks: Chunks },
}

type Chunks = BoxStream<'static, Result<v1::TailChunk, tonic::Status>>;

impl Source {
    fn here(guards: &Guards, action: &Action, of: Epoch) -> Result<Self, TailError> {
        let sealed = guards.seal(&action.group, action.epoch, of)?;
        let unknown = || TailError::Unknown { group: action.group.clone(), epoch: of };
        let kept = Kept::Here(guards.tail(&action.group, of).ok_or_else(unknown)?);
        Ok(Self { sealed, kept })
    }
}

impl Kept {
    /// The tail to offer. A copy of one that is kept elsewhere can be read while it grows, which it does for as long
    /// as the task is held.
    fn tail(self, action: &Action, from: &Position, bytes: u64) -> (Tail, Option<Task<()>>) {
        let (address, mut chunks) = match self {
            Kept::Here(tail) => return (tail, None),
            Kept::There { address, chunks } => (address, chunks),
        };
        let tail = Tail::new(from.replid.clone(), from.offset_bytes, bytes.max(1));
        let (copy, group) = (tail.clone(), action.group.clone());
        let fetching = spawn(async move {
            if let Err(why) = pour(&copy, &mut chunks).await {
                tracing::warn!(%group, holder = address, why, "the tail could not be fetched whole");
            }
            copy.seal();
        });
        (tail, Some(fetching))
    }
}

/// Its failure leaves the candidate as it was, and the leader asks for the promotion by itself.
async fn promote(
    hand: &Hand,
    action: &Action,
    promotion: &Promotion,
    deadline: Moment,
) -> Option<(Promoted, Duration)> {
    let began = now();
    match hand.promote(action, promotion, deadline.since(began)).await {
        Ok(promoted) => Some((promoted, now().since(began))),
        Err(error) => {
            tracing::warn!(group = %action.group, member = %action.member, error = error.message, "not promoted yet");
            None
        }
    }
}

/// Appends what the holder sends.
async fn pour(tail: &Tail, chunks: &mut Chunks) -> Result<(), String> {
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|status| status.message().to_owned())?;
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
