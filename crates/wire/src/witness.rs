//! What a node says of its witness connections, on its way to the leader. Ages, not moments: see [`crate::sighting`].
//!
//! A report looks younger than it is by its time on the way, never older; so does the last byte that it tells of.

use crate::convert::{chosen, parsed};
use crate::{WireError, v1};
use primacy_core::view::WitnessReport;
use primacy_core::{Epoch, GroupName, Moment};
use std::time::Duration;

/// A report as this node made it, sent at `now` of this node.
pub fn to_wire(group: &GroupName, report: &WitnessReport, now: Moment) -> v1::WitnessReport {
    let age_us = |at: Moment| now.since(at).as_micros() as u64;
    v1::WitnessReport {
        group: group.as_str().to_owned(),
        epoch: report.epoch.0,
        age_us: age_us(report.at),
        attached: report.attached,
        ended: report.ended.map(|e| v1::LinkEnd::from(e).into()),
        closed: report.closed,
        replid: report.replid.clone(),
        start_bytes: report.start_bytes,
        end_bytes: report.end_bytes,
        heard_age_us: age_us(report.heard_at),
        copies: report.copies,
    }
}

/// The report in this node's monotonic time, sent at `sent`.
///
/// # Errors
/// Names the field that is missing or impossible.
pub fn from_wire(report: v1::WitnessReport, sent: Moment) -> Result<(GroupName, WitnessReport), WireError> {
    let at = |age_us: u64| sent.before(Duration::from_micros(age_us));
    if report.start_bytes > report.end_bytes {
        let reason = format!("{} is beyond the end, {}", report.start_bytes, report.end_bytes);
        return Err(WireError::new("start_bytes", reason));
    }
    let ended = report.ended.map(|e| chosen::<v1::LinkEnd, _>(e, "ended")).transpose()?;
    let group = parsed(&report.group, "group")?;
    let report = WitnessReport {
        at: at(report.age_us),
        epoch: Epoch(report.epoch),
        attached: report.attached,
        ended,
        closed: report.closed,
        replid: report.replid,
        start_bytes: report.start_bytes,
        end_bytes: report.end_bytes,
        heard_at: at(report.heard_age_us),
        copies: report.copies,
    };
    Ok((group, report))
}
