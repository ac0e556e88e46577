//! What a frozen process had under way.
//!
//! A Redis that is stopped and goes on may run and answer, in its first turn, what had reached it before: stock Redis
//! looks at its replicas only afterwards. That is the residue of a directly reached Redis, and whoever judges a run with
//! frozen processes sets it aside here, by this rule and by nothing wider.

use std::time::Instant;

use super::{Entry, Ledger, Page};

impl Ledger {
    /// Without the acknowledgements of `member` that were sent before it `woke` and came after; and how many those were.
    #[must_use]
    pub fn without_in_flight(mut self, member: &str, woke: Instant) -> (Self, u64) {
        let woke_ns = self.ns(woke);
        let Some(member) = self.members.iter().position(|name| name == member) else { return (self, 0) };
        let (runs, mut set_aside) = (&self.runs, 0);
        let in_flight = |entry: &Entry| {
            usize::from(runs[usize::from(entry.run)].member) == member
                && entry.sent_ns <= woke_ns
                && entry.at_ns >= woke_ns
        };
        let mut clear = |page: &mut Page| {
            let before = page.entries.len();
            page.entries.retain(|entry| !in_flight(entry));
            set_aside += (before - page.entries.len()) as u64;
        };
        self.writers.iter_mut().for_each(&mut clear);
        self.strays.iter_mut().for_each(&mut clear);
        (self, set_aside)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::{MemberRun, RecordShape};
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_was_under_way_when_it_woke_is_set_aside() {
        let origin = Instant::now();
        let entry = |n, sent_ns, at_ns| Entry { n, sent_ns, at_ns, run: 0 };
        let entries = vec![entry(1, 1, 2), entry(2, 5, 11), entry(3, 12, 13)];
        let ledger = Ledger {
            origin,
            members: vec!["a".to_owned(), "b".to_owned()],
            runs: vec![MemberRun { member: 0, run_id: String::new() }],
            shape: RecordShape { key_prefix: "w".into(), pad_bytes: 0 },
            writers: vec![Page { entries, ..Page::default() }],
            strays: Vec::new(),
        };
        let woke = origin + Duration::from_nanos(10);
        assert_eq!(ledger.clone().without_in_flight("b", woke).1, 0);
        let (rest, set_aside) = ledger.without_in_flight("a", woke);
        assert_eq!(set_aside, 1);
        assert_eq!(rest.acks().map(|ack| ack.n).collect::<Vec<_>>(), [1, 3]);
    }
}
