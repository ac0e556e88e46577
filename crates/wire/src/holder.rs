//! What a node says of the copies of streams that it keeps for another site, on its way to the leader. Ages, not
//! moments: see [`crate::sighting`].

use crate::convert::parsed;
use crate::{WireError, v1};
use primacy_core::view::HolderReport;
use primacy_core::{Epoch, GroupName, Moment};
use std::time::Duration;

/// A report as this node made it, sent at `now` of this node.
pub fn to_wire(group: &GroupName, report: &HolderReport, now: Moment) -> v1::HolderReport {
    let age_us = |at: Moment| now.since(at).as_micros() as u64;
    v1::HolderReport {
        group: group.as_str().to_owned(),
        epoch: report.epoch.0,
        age_us: age_us(report.at),
        replid: report.replid.clone(),
        start_bytes: report.start_bytes,
        end_bytes: report.end_bytes,
        sealed: report.sealed,
        covers: report.covers,
        since_age_us: age_us(report.since),
    }
}

/// The report in this node's monotonic time, sent at `sent`.
///
/// # Errors
/// Names the field that is impossible.
pub fn from_wire(report: v1::HolderReport, sent: Moment) -> Result<(GroupName, HolderReport), WireError> {
    let at = |age_us: u64| sent.before(Duration::from_micros(age_us));
    if report.start_bytes > report.end_bytes {
        let reason = format!("{} is beyond the end, {}", report.start_bytes, report.end_bytes);
        return Err(WireError::new("start_bytes", reason));
    }
    let group = parsed(&report.group, "group")?;
    let report = HolderReport {
        at: at(report.age_us),
        epoch: Epoch(report.epoch),
        replid: report.replid,
        start_bytes: report.start_bytes,
        end_bytes: report.end_bytes,
        sealed: report.sealed,
        covers: report.covers,
        since: at(report.since_age_us),
    };
    Ok((group, report))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_report_comes_back_as_it_was_and_an_impossible_one_is_refused() {
        let now = Moment(9_000_000);
        let group = GroupName::new("features").unwrap();
        let report = HolderReport {
            at: Moment(8_000_000),
            epoch: Epoch(7),
            replid: Some("a".repeat(40)),
            start_bytes: 10,
            end_bytes: 30,
            sealed: true,
            covers: true,
            since: Moment(2_000_000),
        };
        let sent = to_wire(&group, &report, now);
        assert_eq!(from_wire(sent.clone(), now).unwrap(), (group, report));
        let wild = v1::HolderReport { start_bytes: 31, ..sent };
        assert_eq!(from_wire(wild, now).unwrap_err().field, "start_bytes");
    }
}
