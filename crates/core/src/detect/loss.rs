//! What would be lost, by estimate, if a candidate took over now.
//!
//! The last sample of the primary's offset is grown by twice the highest rate of the last ten seconds up to its end:
//! a burst may have begun within the interval that the rate was taken over. On
//! top comes one turn of the primary's event loop: replies are written before the replication stream, so a killed
//! Redis may have answered that much which nobody received. A primary that nobody watched for long enough to know its
//! rate may have lost any amount: unknown, which is over every budget but `any`.

use crate::view::View;
use crate::{Group, GroupKind, Loss, Moment};
use std::time::Duration;

/// Bytes of the stream that one client can be ahead by within a turn of the event loop.
const TURN_BYTES_PER_CLIENT: u64 = 256;
/// How long a turn of the event loop may be.
const TURN: Duration = Duration::from_millis(10);

/// What one turn of the event loop may have answered that was sent to nobody. Where nobody watched the primary for long
/// enough to know its rate, a turn is taken for as much as all that it had written since it was promoted.
pub fn residue(group: &Group, view: &View) -> Loss {
    let Some(primary) = &group.primary else { return Loss::Exact(0) };
    let Some((_, last)) = view.last_of_primary(group) else { return Loss::Unknown };
    let written = || last.offset_bytes.saturating_sub(primary.lineage.start.offset_bytes);
    Loss::AtMost(match rate(group, view) {
        Some(rate) => turn(rate, last.clients),
        None => written().max(turn(0, last.clients)),
    })
}

/// Bytes a second that it may have grown by since.
fn rate(group: &Group, view: &View) -> Option<u64> {
    // What has no stream does not grow.
    let none = (group.spec.kind != GroupKind::Redis).then_some(0);
    none.or_else(|| view.rate_of_primary(group)).map(|rate| rate.saturating_mul(2))
}

fn turn(rate: u64, clients: u64) -> u64 {
    per(rate, TURN).max(clients.saturating_mul(TURN_BYTES_PER_CLIENT))
}

/// The estimate for a candidate that reaches to `reach_bytes`; the primary ended at `end`, or is taken as of now.
pub(crate) fn estimate(group: &Group, view: &View, reach_bytes: u64, end: Moment) -> Loss {
    if group.primary.is_none() {
        return Loss::Exact(0);
    }
    let (Some((at, last)), Some(rate)) = (view.last_of_primary(group), rate(group, view)) else {
        return Loss::Unknown;
    };
    let grown = per(rate, end.since(at));
    let turn = turn(rate, last.clients);
    let behind = last.offset_bytes.saturating_add(grown).saturating_sub(reach_bytes);
    Loss::AtMost(behind.saturating_add(turn))
}

fn per(rate_bytes: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate_bytes) * time.as_micros() / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
