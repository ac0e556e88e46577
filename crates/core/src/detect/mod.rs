//! From what the nodes saw of a member to one verdict, with the evidence for it.
//!
//! Two ways lead to "down". Certain death needs no timeout: the member's process is known to be gone, or the kernels of
//! a quorum of sites saw its connection end by EOF and a new one refused, and its standbys lost their links. Silence
//! needs `down_after` and a quorum of sites. Where findings disagree the slow road is taken: a fresh answer from
//! anywhere outweighs older news of death. A reset is no sign of death, because a firewall resets.

mod candidate;
mod death;
mod endpoint;
mod fence;
mod loss;
mod rescue;
mod silence;

pub use candidate::{Candidate, candidates, why_not};
pub use endpoint::{candidate as endpoint, gates_shut, nothing_leads};
pub use fence::{can_be_waited_out, expired, expires_at, strangers, to_take_away};
pub(crate) use loss::estimate;
pub use loss::residue;
pub use rescue::{
    Tail, Until, copied_to, copy, expected as loss, holder_is_missing, tail, witness_saw_the_end,
};

use crate::view::{MemberStatus, Reach, View};
use crate::{Evidence, Finding, Group, GroupKind, MemberName, Moment, Primary};
use std::time::Duration;

/// An observation older than this says nothing about now.
pub const CURRENT_WITHIN: Duration = Duration::from_millis(500);

/// An observation from another site may have been made before a promotion and arrive after it: that a new primary
/// answers as a replica counts only after so long.
const PROMOTION_SHOWS_WITHIN: Duration = Duration::from_millis(500);

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// Some do not see it, but not a quorum of sites, or not for long enough.
    Suspected,
    /// A quorum of sites has had no answer for longer than `down_after`.
    Silent,
    /// Its process is certainly gone.
    Dead,
    /// It answers, but as another process than the one that was made primary: said of the primary only.
    Restarted,
    /// It answers as a replica: said of the primary only.
    Demoted,
    /// Nobody has reported on it yet.
    Unseen,
}

impl Health {
    /// One word for tables and programs.
    pub fn word(self) -> &'static str {
        match self {
            Health::Up => "up",
            Health::Suspected => "suspected",
            Health::Silent => "silent",
            Health::Dead => "dead",
            Health::Restarted => "restarted",
            Health::Demoted => "demoted",
            Health::Unseen => "unseen",
        }
    }
}

/// How a member is, and why we say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In one word.
    pub health: Health,
    /// What was seen that speaks against it.
    pub evidence: Vec<Evidence>,
    /// When it was first seen to be wrong; none while it is up.
    pub since: Option<Moment>,
}

/// How a member of a group is, at `now`.
pub fn verdict(group: &Group, member: &MemberName, view: &View, now: Moment) -> Verdict {
    let name = &group.spec.name;
    let primary = group.primary.as_ref().filter(|p| p.member == *member);
    if view.of(name, member).next().is_none() {
        return Verdict { health: Health::Unseen, evidence: vec![], since: None };
    }
    // Of an endpoint nothing is certain: a refused connection is a restart as well, and its gates are its only fence.
    let certain = (group.spec.kind == GroupKind::Redis).then(|| death::certain(group, member, view, now));
    if let Some(dead) = certain.flatten() {
        return dead;
    }
    let down_after = Duration::from_millis(group.spec.down_after_ms);
    let redis_primary = primary.filter(|_| group.spec.kind == GroupKind::Redis);
    // One look at another process is certain, whatever the other sites have not heard for so long.
    let met = view.freshest(name, member).filter(|(at, _)| current(*at, now));
    if let Some(restarted) = redis_primary.zip(met).and_then(|(p, (at, status))| restarted(p, status, at)) {
        return restarted;
    }
    let silence = silence::of(name, member, view, now, down_after);
    if silence.quorum {
        return Verdict { health: Health::Silent, evidence: silence.evidence, since: silence.since };
    }
    let answer =
        view.freshest(name, member).filter(|(at, _)| now.since(*at) <= CURRENT_WITHIN.max(down_after));
    match (answer, redis_primary) {
        (Some((at, status)), Some(primary)) => {
            as_primary(primary, known_since(group, view), status, at, silence)
        }
        (Some(_), None) => Verdict { health: Health::Up, evidence: silence.evidence, since: None },
        (None, _) => Verdict { health: Health::Suspected, evidence: silence.evidence, since: silence.since },
    }
}

/// The primary answers: is it still the one that was promoted?
fn as_primary(
    primary: &Primary,
    known_since: Moment,
    status: &MemberStatus,
    at: Moment,
    silence: silence::Silence,
) -> Verdict {
    if let Some(restarted) = restarted(primary, status, at) {
        return restarted;
    }
    if !status.is_primary() && at >= known_since.after(PROMOTION_SHOWS_WITHIN) {
        return of_primary(primary, Health::Demoted, Finding::NotPrimary, at);
    }
    Verdict { health: Health::Up, evidence: silence.evidence, since: None }
}

/// It answers as another process than the one that was promoted.
fn restarted(primary: &Primary, status: &MemberStatus, at: Moment) -> Option<Verdict> {
    let finding = || Finding::Restarted { run_id: status.run_id.clone() };
    let other = status.run_id != primary.lineage.run_id;
    other.then(|| of_primary(primary, Health::Restarted, finding(), at))
}

fn of_primary(primary: &Primary, health: Health, finding: Finding, at: Moment) -> Verdict {
    let evidence = vec![Evidence { observer: None, member: primary.member.clone(), finding }];
    Verdict { health, evidence, since: Some(at) }
}

fn known_since(group: &Group, view: &View) -> Moment {
    view.primary_since.get(&group.spec.name).copied().unwrap_or(view.leading_since)
}

/// Whether an observation still says something about now.
fn current(at: Moment, now: Moment) -> bool {
    now.since(at) <= CURRENT_WITHIN
}

/// What one observation of a member that is down says, in words of evidence.
fn findings(reach: &Reach, silent: Duration) -> Vec<Finding> {
    use crate::view::{ConnectFailure, LinkEnd};
    let Reach::Down { ended, connect, exited_pid, .. } = reach else { return vec![] };
    let mut out = Vec::new();
    if let Some(pid) = exited_pid {
        out.push(Finding::ProcessExited { pid: *pid });
    }
    match ended {
        Some(LinkEnd::Eof) => out.push(Finding::EndedByEof),
        Some(LinkEnd::Reset) => out.push(Finding::EndedByReset),
        Some(LinkEnd::Unanswered) | None => out.push(Finding::Silent { ms: silent.as_millis() as u64 }),
    }
    match connect {
        Some(ConnectFailure::Refused) => out.push(Finding::ConnectRefused),
        Some(ConnectFailure::Unreachable | ConnectFailure::NameUnknown | ConnectFailure::Protocol) | None => {
        }
    }
    out
}
