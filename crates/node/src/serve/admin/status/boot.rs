//! What becomes of the members that restart, as far as any node can tell.
//!
//! A node reads the configuration of servers on its own host alone, so of several verdicts the one that was read counts,
//! and of those that were not, the one from the member's own site says why.

use super::Seen;
use primacy_core::view::BootFence;
use primacy_core::{FencePolicy, GroupKind, MemberSpec, Moment};

/// Of what nodes say: whether they are at the member's site, when they were told, and what they found.
fn verdict<'a>(told: impl Iterator<Item = (bool, Moment, &'a BootFence)>) -> Option<&'a BootFence> {
    let rank = |(near, at, boot): &(bool, Moment, &BootFence)| {
        (!matches!(boot, BootFence::Unproven { .. }), *near, *at)
    };
    told.max_by_key(rank).map(|(_, _, boot)| boot)
}

impl Seen<'_> {
    /// The verdict on a member; none when no node has an answer of it.
    pub(super) fn boot(&self, m: &MemberSpec) -> Option<&BootFence> {
        let seen = self.view.of(&self.group.spec.name, &m.name);
        let told = seen.filter_map(|(_, site, o)| {
            let (at, status) = match o.status() {
                Some(status) => (o.at, status),
                None => o.last_up.as_ref().map(|(at, status)| (*at, status))?,
            };
            Some((*site == m.site, at, &status.boot))
        });
        verdict(told)
    }

    /// A line for each way in which members may restart other than fenced.
    pub(super) fn boot_notes(&self) -> Vec<String> {
        let spec = &self.group.spec;
        if spec.kind != GroupKind::Redis || spec.fence == FencePolicy::None {
            return Vec::new();
        }
        let lines = |m: &MemberSpec| format!("primacy redis-conf --group {} --member {}", spec.name, m.name);
        let note = |m: &MemberSpec| match self.boot(m)? {
            BootFence::Fenced => None,
            BootFence::Open { why } => Some(format!(
                "{} would not restart fenced: {why}; append the lines that `{}` prints to its configuration",
                m.name,
                lines(m)
            )),
            BootFence::Unproven { why } => Some(format!(
                "that {} restarts fenced is unproven: {why}; see that it has the lines that `{}` prints",
                m.name,
                lines(m)
            )),
        };
        spec.members.iter().filter_map(note).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_counts_and_else_the_nearest_says_why() {
        let open = BootFence::Open { why: "its file".to_owned() };
        let unproven = |why: &str| BootFence::Unproven { why: why.to_owned() };
        let (far, near) = (unproven("it is on another host"), unproven("its file cannot be read"));
        let of = |told: &[(bool, u64, &BootFence)]| {
            verdict(told.iter().map(|(near, at, boot)| (*near, Moment(*at), *boot))).cloned()
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(false, 9, &far), (true, 3, &near), (false, 8, &far)]), Some(near.clone()));
        assert_eq!(of(&[(true, 9, &near), (false, 3, &open)]), Some(open.clone()));
        assert_eq!(of(&[(true, 3, &open), (true, 9, &BootFence::Fenced)]), Some(BootFence::Fenced));
    }
}
