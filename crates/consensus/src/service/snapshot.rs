//! A snapshot from the leader: taken in whole, checked, then handed to the state machine.

use super::{Service, stopped};
use crate::codec;
use crate::transport::Requests;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use openraft::storage::Snapshot;
use primacy_wire::v1::install_snapshot_request::Part;
use primacy_wire::{WireError, v1};
use std::time::Duration;
use tonic::Status;

/// The largest snapshot that is taken in.
const SNAPSHOT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long the next part may take.
const PART_WITHIN: Duration = Duration::from_secs(10);

async fn next(parts: &mut Requests<v1::InstallSnapshotRequest>) -> Result<Option<Part>, Status> {
    match primacy_runtime::timeout(PART_WITHIN, parts.next()).await {
        Err(_) => Err(Status::deadline_exceeded("the rest of the snapshot does not come")),
        Ok(None) => Ok(None),
        Ok(Some(message)) => Ok(Some(codec::required(message.part, "part")?)),
    }
}

pub(super) async fn receive(
    service: Service,
    mut parts: Requests<v1::InstallSnapshotRequest>,
) -> Result<v1::InstallSnapshotResponse, Status> {
    let Some(Part::Head(head)) = next(&mut parts).await? else {
        return Err(WireError::missing("head").into());
    };
    service.admit(head.header.as_ref())?;
    let vote = codec::vote_from(head.vote, "head.vote")?;
    let meta = codec::required(head.meta.clone(), "head.meta")?;
    let meta = codec::meta_from(meta).map_err(|e| e.within("head.meta"))?;
    let data = collect(&head, &mut parts).await?;
    let snapshot = Snapshot { meta, snapshot: data };
    let answer = service.core.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
    Ok(v1::InstallSnapshotResponse { vote: Some(codec::vote_to(&answer.vote)) })
}

async fn collect(
    head: &v1::SnapshotHead,
    parts: &mut Requests<v1::InstallSnapshotRequest>,
) -> Result<Bytes, Status> {
    if head.size_bytes > SNAPSHOT_BYTES_MAX {
        let reason = format!("is {}, at most {SNAPSHOT_BYTES_MAX} are taken", head.size_bytes);
        return Err(WireError::new("head.size_bytes", reason).into());
    }
    // Grows with what comes, not with what was promised.
    let mut data = BytesMut::new();
    while let Some(part) = next(parts).await? {
        let Part::Chunk(chunk) = part else {
            return Err(WireError::new("part", "is a second head").into());
        };
        if data.len() as u64 + chunk.len() as u64 > head.size_bytes {
            return Err(WireError::new("chunk", "is more than head.size_bytes said").into());
        }
        data.extend_from_slice(&chunk);
    }
    if data.len() as u64 != head.size_bytes {
        let reason = format!("says {}, {} came", head.size_bytes, data.len());
        return Err(WireError::new("head.size_bytes", reason).into());
    }
    if crc32fast::hash(&data) != head.crc32 {
        return Err(WireError::new("head.crc32", "is not that of the bytes that came").into());
    }
    Ok(data.freeze())
}
