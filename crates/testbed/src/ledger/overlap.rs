//! Two writers at once: whether two members accepted writes at the same time.
//!
//! A *tenure* is a time in which one process of a member accepted writes and was not seen to refuse one, to refuse a
//! connection or to end one. It is proven open from its first acknowledgement until the sending of its last
//! acknowledged write. A write itself happened at some moment between its sending and its acknowledgement.
//!
//! Two members wrote at once when their proven times intersect, or when a write of the one lies, from its sending to
//! its acknowledgement, within the proven time of the other. Both follow from what clients saw: nothing is assumed
//! about epochs, and a member that is primary again after it was seen to refuse has a new tenure. Silence ends no
//! tenure: a frozen primary that wakes up and acknowledges after another has is found.

use std::time::Instant;

use super::{Entry, Ledger};

/// Two members accepted writes at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The two members, in the order of their names.
    pub members: [String; 2],
    /// Since when, at the latest.
    pub from: Instant,
    /// Until when, at the least.
    pub to: Instant,
    /// How many writes both together acknowledged in that time.
    pub acks: u64,
}

/// A time in which one process of a member accepted writes without being seen to refuse.
#[derive(Clone, Debug)]
struct Tenure {
    member: u16,
    run: u16,
    /// (sent, acknowledged), in the order of acknowledgement.
    writes: Vec<(u64, u64)>,
    sent_last: u64,
}

impl Tenure {
    /// When it is proven to accept writes. Empty (start behind end) while all its writes were under way at once.
    fn open(&self) -> (u64, u64) {
        (self.writes.first().map_or(u64::MAX, |write| write.1), self.sent_last)
    }

    /// The hull of its writes that lie within a time.
    fn writes_within(&self, (from, to): (u64, u64)) -> Option<(u64, u64)> {
        let start = self.writes.partition_point(|write| write.1 < from);
        let end = self.writes.partition_point(|write| write.1 <= to);
        let within = || self.writes[start.min(end)..end].iter().filter(|write| write.0 >= from);
        Some((within().map(|write| write.0).min()?, within().map(|write| write.1).max()?))
    }

    fn count_within(&self, (from, to): (u64, u64)) -> u64 {
        let start = self.writes.partition_point(|write| write.1 < from);
        self.writes[start..].iter().take_while(|write| write.1 <= to).count() as u64
    }
}

impl Ledger {
    /// Every time in which two members accepted writes at once, in the order of time; empty when there was ever one
    /// writer only.
    ///
    /// It judges by acknowledgements to the writers and to the direct writers. Have a direct writer on each member:
    /// without them a change of primary that no client noticed by an error would count as an overlap.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let tenures = self.tenures();
        let mut overlaps = Vec::new();
        for (index, one) in tenures.iter().enumerate() {
            for other in &tenures[index + 1..] {
                if one.member != other.member
                    && let Some(span) = both_open(one, other)
                {
                    overlaps.push(self.overlap(one, other, span));
                }
            }
        }
        overlaps.sort_by_key(|overlap| overlap.from);
        overlaps
    }

    /// The most members that accepted writes at the same time: 0 without any write, 1 as it should be.
    pub fn writers_at_once(&self) -> usize {
        let tenures = self.tenures();
        let overlaps = self.overlaps();
        // The most members are open at once when one of the overlaps begins.
        let at_start = |overlap: &Overlap| {
            let time = self.ns(overlap.from);
            let mut members: Vec<&str> = overlap.members.iter().map(String::as_str).collect();
            for tenure in tenures.iter().filter(|tenure| tenure.open().0 <= time && time <= tenure.open().1) {
                members.push(&self.members[usize::from(tenure.member)]);
            }
            members.sort_unstable();
            members.dedup();
            members.len()
        };
        overlaps.iter().map(at_start).max().unwrap_or(usize::from(!tenures.is_empty()))
    }

    fn overlap(&self, one: &Tenure, other: &Tenure, span: (u64, u64)) -> Overlap {
        let mut members = [one, other].map(|tenure| self.members[usize::from(tenure.member)].clone());
        members.sort_unstable();
        Overlap {
            members,
            from: self.instant(span.0),
            to: self.instant(span.1),
            acks: one.count_within(span) + other.count_within(span),
        }
    }

    fn tenures(&self) -> Vec<Tenure> {
        (0..self.members.len() as u16).flat_map(|member| self.tenures_of(member)).collect()
    }

    fn tenures_of(&self, member: u16) -> Vec<Tenure> {
        let pages = || self.writers.iter().chain(&self.strays);
        let of_member = |entry: &&Entry| self.runs[usize::from(entry.run)].member == member;
        let mut entries: Vec<&Entry> = pages().flat_map(|page| &page.entries).filter(of_member).collect();
        entries.sort_by_key(|entry| entry.at_ns);
        let mut refusals: Vec<u64> = pages()
            .flat_map(|page| &page.refusals)
            .filter(|refusal| refusal.member == member)
            .map(|refusal| refusal.at_ns)
            .collect();
        refusals.sort_unstable();

        let mut tenures: Vec<Tenure> = Vec::new();
        for entry in entries {
            let write = (entry.sent_ns, entry.at_ns);
            match tenures.last_mut() {
                Some(tenure) if tenure.run == entry.run && !refused_since(&refusals, tenure, entry) => {
                    tenure.writes.push(write);
                    tenure.sent_last = tenure.sent_last.max(entry.sent_ns);
                }
                _ => tenures.push(Tenure {
                    member,
                    run: entry.run,
                    writes: vec![write],
                    sent_last: entry.sent_ns,
                }),
            }
        }
        tenures
    }
}

/// Whether the member was seen to refuse between the last write of the tenure and this one.
fn refused_since(refusals: &[u64], tenure: &Tenure, entry: &Entry) -> bool {
    let since = tenure.writes.last().map_or(0, |write| write.1);
    let next = refusals.partition_point(|at| *at < since);
    refusals.get(next).is_some_and(|at| *at <= entry.at_ns)
}

/// The time in which both are proven open, or in which the one wrote while the other was.
fn both_open(one: &Tenure, other: &Tenure) -> Option<(u64, u64)> {
    let (a, b) = (one.open(), other.open());
    let common = (a.0.max(b.0), a.1.min(b.1));
    if common.0 <= common.1 { Some(common) } else { other.writes_within(a).or_else(|| one.writes_within(b)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::{MemberRun, Page, RecordShape, Refusal};
    use super::*;

    /// One client a line: `a 10-12` is a write to member a, sent at 10 and acknowledged at 12; `a x15` a refusal.
    fn ledger(clients: &[&str]) -> Ledger {
        let members = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let runs = (0..3).map(|member| MemberRun { member, run_id: String::new() }).collect();
        let shape = RecordShape { key_prefix: "w".into(), pad_bytes: 0 };
        let writers = clients.iter().map(|client| page(client)).collect();
        Ledger { origin: Instant::now(), members, runs, shape, writers, strays: Vec::new() }
    }

    fn page(client: &str) -> Page {
        let mut page = Page::default();
        for (n, event) in client.split(", ").enumerate() {
            let (member, times) = event.split_once(' ').unwrap();
            let member = u16::from(member.as_bytes()[0] - b'a');
            if let Some(at) = times.strip_prefix('x') {
                page.refusals.push(Refusal { member, at_ns: at.parse().unwrap() });
            } else {
                let (sent, at) = times.split_once('-').unwrap();
                let (sent_ns, at_ns) = (sent.parse().unwrap(), at.parse().unwrap());
                page.entries.push(Entry { n: n as u64, sent_ns, at_ns, run: member });
            }
        }
        page
    }

    /// `a+b 10..20 (4)` for each overlap.
    fn check(clients: &[&str], expected: &[&str], at_once: usize) {
        let ledger = ledger(clients);
        let found: Vec<String> = ledger
            .overlaps()
            .iter()
            .map(|o| {
                format!("{} {}..{} ({})", o.members.join("+"), ledger.ns(o.from), ledger.ns(o.to), o.acks)
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(ledger.writers_at_once(), at_once);
    }

    #[test]
    fn one_after_the_other_is_no_overlap() {
        check(&["a 1-2, a 3-4, a x5, b 6-7, b 8-9"], &[], 1);
        check(&["a 1-2, a x3, b 4-5", "a 2-3, a x4, b 5-6"], &[], 1);
    }

    #[test]
    fn failback_is_a_new_tenure() {
        check(&["a 1-2, a 3-4, a x5, b 6-7, b 8-9, b x10, a 11-12, a 13-14"], &[], 1);
    }

    #[test]
    fn interleaved_writes_overlap() {
        check(&["a 1-2, a 5-6, a 9-10", "b 3-4, b 7-8, b 11-12"], &["a+b 4..9 (3)"], 2);
    }

    #[test]
    fn a_primary_that_wakes_up_and_acknowledges_is_found() {
        check(&["a 1-2, a 3-4", "b 20-21, b 22-23, b 24-25", "a 30-31"], &["a+b 21..24 (2)"], 2);
    }

    #[test]
    fn a_single_write_within_anothers_tenure_is_found_although_it_refused_before_and_after() {
        check(&["b 1-2, b 20-21", "a x3, a 5-6, a x7"], &["a+b 5..6 (1)"], 2);
    }

    #[test]
    fn a_late_acknowledgement_of_what_was_sent_before_proves_nothing() {
        // Sent before the change, answered after it: it may have been executed before.
        check(&["a 1-2, a 3-9, a x10", "b 5-6, b 7-8"], &[], 1);
    }

    #[test]
    fn three_at_once_are_counted() {
        check(
            &["a 1-2, a 30-31", "b 3-4, b 32-33", "c 5-6, c 34-35"],
            &["a+b 4..30 (1)", "a+c 6..30 (1)", "b+c 6..32 (1)"],
            3,
        );
    }

    #[test]
    fn no_writes_no_writers() {
        check(&[], &[], 0);
    }
}
