//! What a node says of its gates, on its way to the leader. Ages, not moments: see [`crate::sighting`].

use crate::convert::parsed;
use crate::{WireError, v1};
use primacy_core::view::GateReport;
use primacy_core::{Epoch, GroupName, Moment};
use std::time::Duration;

/// A report as this node made it, sent at `now` of this node.
pub fn to_wire(group: &GroupName, report: &GateReport, now: Moment) -> v1::GateReport {
    v1::GateReport {
        group: group.as_str().to_owned(),
        epoch: report.epoch.0,
        age_us: now.since(report.at).as_micros() as u64,
        open: report.open,
    }
}

/// The report in this node's monotonic time, sent at `sent`.
///
/// # Errors
/// Names the field that is impossible.
pub fn from_wire(report: &v1::GateReport, sent: Moment) -> Result<(GroupName, GateReport), WireError> {
    let group = parsed(&report.group, "group")?;
    let at = sent.before(Duration::from_micros(report.age_us));
    Ok((group, GateReport { at, epoch: Epoch(report.epoch), open: report.open }))
}
