//! Two ledgers of the same servers as one: of clients that reach them directly, and of clients that reach them through a
//! relay and know of each only which process answered.

use std::collections::BTreeMap;

use super::{Entry, Ledger, MemberRun, Page, Refusal};

impl Ledger {
    /// This ledger with the acknowledgements of `relayed` among those of its direct writers: outage and loss stay those
    /// of this one, while overlaps are judged by all. What a process acknowledged through the relay counts for the
    /// member that this ledger knows under the same run id; what no direct client knows, for the relay.
    #[must_use]
    pub fn joined(mut self, relayed: &Ledger) -> Ledger {
        let by_run_id: BTreeMap<&str, u16> = self
            .runs
            .iter()
            .filter(|run| !run.run_id.is_empty())
            .map(|run| (&*run.run_id, run.member))
            .collect();
        let mut members = self.members.clone();
        let mut named = |name: &str| {
            let known = members.iter().position(|member| member == name);
            known.unwrap_or_else(|| {
                members.push(name.to_owned());
                members.len() - 1
            }) as u16
        };
        let runs: Vec<MemberRun> = relayed
            .runs
            .iter()
            .map(|run| {
                let known = by_run_id.get(run.run_id.as_str()).copied();
                let member = known.unwrap_or_else(|| named(&relayed.members[usize::from(run.member)]));
                MemberRun { member, run_id: run.run_id.clone() }
            })
            .collect();
        // A refusal by the relay says nothing of one member.
        let relay: Vec<u16> = relayed.members.iter().map(|name| named(name)).collect();
        let mut index = Vec::new();
        for run in runs {
            let known = self.runs.iter().position(|other| *other == run);
            index.push(known.unwrap_or_else(|| {
                self.runs.push(run);
                self.runs.len() - 1
            }) as u16);
        }
        let ns = |at_ns: u64| self.ns(relayed.instant(at_ns));
        let pages = relayed.writers.iter().chain(&relayed.strays).map(|page| Page {
            entries: page
                .entries
                .iter()
                .map(|e| Entry {
                    n: e.n,
                    sent_ns: ns(e.sent_ns),
                    at_ns: ns(e.at_ns),
                    run: index[usize::from(e.run)],
                })
                .collect(),
            refusals: page
                .refusals
                .iter()
                .map(|r| Refusal { member: relay[usize::from(r.member)], at_ns: ns(r.at_ns) })
                .collect(),
            failures: page.failures,
            last_failure: page.last_failure.clone(),
        });
        let pages: Vec<Page> = pages.collect();
        self.members = members;
        self.strays.extend(pages);
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::RecordShape;
    use super::*;
    use std::time::{Duration, Instant};

    fn ledger(origin: Instant, members: &[&str], runs: &[(u16, &str)], acks: &[(u16, u64, u64)]) -> Ledger {
        let entry = |(run, sent_ns, at_ns): &(u16, u64, u64)| Entry {
            n: 1,
            sent_ns: *sent_ns,
            at_ns: *at_ns,
            run: *run,
        };
        Ledger {
            origin,
            members: members.iter().map(|&member| member.to_owned()).collect(),
            runs: runs
                .iter()
                .map(|(member, id)| MemberRun { member: *member, run_id: (*id).to_owned() })
                .collect(),
            shape: RecordShape { key_prefix: "w".into(), pad_bytes: 0 },
            writers: vec![Page { entries: acks.iter().map(entry).collect(), ..Page::default() }],
            strays: Vec::new(),
        }
    }

    #[test]
    fn what_a_relay_passed_on_counts_for_the_member_behind_it() {
        let origin = Instant::now();
        let direct = ledger(origin, &["a", "b"], &[(0, "x"), (1, "y")], &[(0, 1, 2), (0, 5, 6), (1, 20, 21)]);
        assert!(direct.overlaps().is_empty());
        // Ten later by its own clock: b acknowledged at 14 and 30, a at 26.
        let late = origin + Duration::from_nanos(10);
        let relayed = ledger(late, &["gate"], &[(0, "y"), (0, "x")], &[(0, 3, 4), (1, 15, 16), (0, 19, 20)]);
        let overlaps = direct.joined(&relayed).overlaps();
        assert_eq!(overlaps.len(), 1, "{overlaps:?}");
        assert_eq!(overlaps[0].members, ["a", "b"]);
    }
}
