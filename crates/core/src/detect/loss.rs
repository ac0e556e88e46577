//! What would be lost, by estimate, if a candidate took over now.
//!
//! The last sample of the primary's offset is grown by twice the highest rate of the last ten seconds up to its end:
//! a burst may have begun within the interval that the rate was taken over. On
//! top comes one turn of the primary's event loop: replies are written before the replication stream, so a killed
//! Redis may have answered that much which nobody received. Of a primary that nobody watched for long enough to know its
//! rate, all that it has written since its promotion is taken for what it writes in a second.

use crate::view::{MemberStatus, View};
use crate::{Group, GroupKind, Loss, Moment};
use std::time::Duration;

/// Bytes of the stream that one client can be ahead by within a turn of the event loop.
const TURN_BYTES_PER_CLIENT: u64 = 256;
/// How long a turn of the event loop may be.
const TURN: Duration = Duration::from_millis(10);

/// What one turn of the event loop may have answered that was sent to nobody.
pub fn residue(group: &Group, view: &View) -> Loss {
    if group.primary.is_none() {
        return Loss::Exact(0);
    }
    let Some((_, last)) = view.last_of_primary(group) else { return Loss::Unknown };
    Loss::AtMost(turn(group, view, last))
}

/// The estimate for a candidate that reaches to `reach_bytes`; the primary ended at `end`, or is taken as of now.
pub(crate) fn estimate(group: &Group, view: &View, reach_bytes: u64, end: Moment) -> Loss {
    if group.primary.is_none() {
        return Loss::Exact(0);
    }
    let Some((at, last)) = view.last_of_primary(group) else { return Loss::Unknown };
    let since = end.since(at);
    let grown = match rate(group, view) {
        Some(rate) => per(rate, since),
        None => written(group, last).saturating_mul(since.as_secs() + 1),
    };
    let behind = last.offset_bytes.saturating_add(grown).saturating_sub(reach_bytes);
    Loss::AtMost(behind.saturating_add(turn(group, view, last)))
}

fn turn(group: &Group, view: &View, last: &MemberStatus) -> u64 {
    let of_rate = rate(group, view).map_or_else(|| written(group, last), |rate| per(rate, TURN));
    of_rate.max(last.clients.saturating_mul(TURN_BYTES_PER_CLIENT))
}

/// Bytes a second that it may have grown by since; none where nobody has watched it for long enough.
fn rate(group: &Group, view: &View) -> Option<u64> {
    // What has no stream does not grow.
    let none = (group.spec.kind != GroupKind::Redis).then_some(0);
    none.or_else(|| view.rate_of_primary(group)).map(|rate| rate.saturating_mul(2))
}

/// All that it has written since it was promoted: taken for what it writes in a second, or in a turn, where its rate is not
/// known. Of one that was promoted a moment ago that is little; of an old one more than a budget allows.
fn written(group: &Group, last: &MemberStatus) -> u64 {
    group.primary.as_ref().map_or(0, |p| last.offset_bytes.saturating_sub(p.lineage.start.offset_bytes))
}

fn per(rate_bytes: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate_bytes) * time.as_micros() / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
