//! GetPrimary is a linearizable read of a register.
//!
//! The problem: whether a history is linearizable is hard to decide in general, and the histories here have a hundred
//! thousand reads. The idea: each answer carries the revision of the state that it was read from, so the order of the
//! writes is known and only their times are not. Then a history is linearizable exactly if
//!
//! - the same revision is always the same value,
//! - a read that was asked after another was answered is of no lower revision (and so is a read that was asked after a
//!   watcher had a revision, for that revision was committed by then),
//! - epochs do not fall as revisions rise.
//!
//! Tests compare it with stateright's tester on small histories. Reads from the leader's lease promise the same. Local
//! reads promise less: one process of a node never answers an older state after a newer one, and no answer is older than
//! its age says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Violation;
use crate::record::{Freshness, Pages, Read, Seen};

/// What the age of a local answer may be off by: it is rounded down, and the leader's word of the commit waits for its
/// turn in the leader's process after the moment that it speaks of, longer on a busy machine.
const AGE_SLACK: Duration = Duration::from_millis(500);

/// All that is not as it should be.
pub(crate) fn check(pages: &Pages) -> Vec<Violation> {
    let reads = |freshness| pages.reads.iter().filter(move |read| read.freshness == freshness);
    let strong: Vec<&Read> = reads(Freshness::Linearizable).chain(reads(Freshness::Lease)).collect();
    let local: Vec<&Read> = reads(Freshness::Local).collect();
    let watched = pages.watched.iter().filter(|line| matches!(line.seen, Seen::Batch { .. }));
    let known: Vec<Known> = strong
        .iter()
        .map(|read| Known { at: read.answered, revision: read.answer.revision })
        .chain(watched.map(|line| Known { at: line.at, revision: line.revision }))
        .collect();
    let mut found = values(pages.reads.iter());
    found.extend(recent(&strong, known.clone(), Duration::ZERO, |_| Duration::ZERO, "linearizable"));
    let age = |read: &Read| Duration::from_millis(read.answer.age_ms);
    found.extend(recent(&local, known, AGE_SLACK, age, "local_age"));
    found.extend(each_node(&local));
    found
}

/// A revision was committed at the latest by then.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: Instant,
    revision: u64,
}

/// The same revision is the same value, and epochs do not fall as revisions rise.
fn values<'a>(reads: impl Iterator<Item = &'a Read>) -> Vec<Violation> {
    let mut by_revision: BTreeMap<u64, &Read> = BTreeMap::new();
    let mut found = Vec::new();
    for read in reads {
        let first = by_revision.entry(read.answer.revision).or_insert(read);
        let value = |read: &Read| (read.answer.epoch, read.answer.member.clone());
        if value(first) != value(read) {
            let evidence = format!("one revision, two values: {first:?} and {read:?}");
            found.push(Violation::at("linearizable", read.answered, evidence));
        }
    }
    for ((_, older), (_, newer)) in by_revision.iter().zip(by_revision.iter().skip(1)) {
        if newer.answer.epoch < older.answer.epoch {
            let evidence = format!("an epoch fell: {older:?}, then {newer:?}");
            found.push(Violation::at("epoch_rises", newer.answered, evidence));
        }
    }
    found
}

/// Each answer is at least as new as what was known `slack` and its age before it was asked for.
fn recent(
    reads: &[&Read],
    mut known: Vec<Known>,
    slack: Duration,
    age: impl Fn(&Read) -> Duration,
    checker: &'static str,
) -> Vec<Violation> {
    known.sort_by_key(|known| known.at);
    let mut newest = 0;
    for known in &mut known {
        newest = newest.max(known.revision);
        known.revision = newest;
    }
    let mut found = Vec::new();
    for read in reads {
        let Some(by) = read.asked.checked_sub(slack + age(read)) else { continue };
        let end = known.partition_point(|known| known.at < by);
        if let Some(before) = known[..end].last()
            && before.revision > read.answer.revision
        {
            let ago = read.asked - before.at;
            let evidence =
                format!("revision {} was known {ago:?} before this was asked: {read:?}", before.revision);
            found.push(Violation::at(checker, read.answered, evidence));
        }
    }
    found
}

/// The local answers of one process, asked one after the other, never go back.
fn each_node(reads: &[&Read]) -> Vec<Violation> {
    let mut nodes: BTreeMap<(u64, u32), Vec<&Read>> = BTreeMap::new();
    for read in reads {
        nodes.entry(read.node).or_default().push(read);
    }
    let mut found = Vec::new();
    for mut reads in nodes.into_values() {
        reads.sort_by_key(|read| read.answered);
        for pair in reads.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            if before.answered <= after.asked && after.answer.revision < before.answer.revision {
                let evidence = format!("a node went back: {before:?}, then {after:?}");
                found.push(Violation::at("local_order", after.answered, evidence));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::record::Answer;
    use proptest::prelude::*;
    use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
    use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

    fn read(origin: Instant, asked: u64, answered: u64, revision: u64) -> Read {
        let at = |ms| origin + Duration::from_millis(ms);
        let answer = Answer { revision, epoch: revision, member: None, age_ms: 0 };
        let (asked, answered) = (at(asked), at(answered));
        Read { asked, answered, node: (1, 1), freshness: Freshness::Linearizable, answer }
    }

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Write(u64),
        Read(u64),
    }

    /// The verdict of stateright on reads, and on one writer that writes 1, 2, 3, ... at once one after the other; of each
    /// write it is known that it had ended at `seen`.
    fn tester(reads: &[(u64, u64, u64)], seen: &[u64]) -> bool {
        let mut calls: Vec<(u64, u8, usize, bool, Call)> = Vec::new();
        for (client, (asked, answered, revision)) in reads.iter().enumerate() {
            calls.push((*asked, 0, client, true, Call::Read(*revision)));
            calls.push((*answered, 1, client, false, Call::Read(*revision)));
        }
        for (write, seen) in seen.iter().enumerate() {
            // Any of them may have been there from the start: each has a writer of its own.
            let (client, value) = (100 + write, write as u64 + 1);
            calls.push((0, 0, client, true, Call::Write(value)));
            calls.push((*seen, 1, client, false, Call::Write(value)));
        }
        calls.sort_by_key(|(at, order, client, begins, _)| (*at, *order, *client, !*begins));
        let mut tester = LinearizabilityTester::new(Increasing::default());
        for (_, _, client, begins, call) in calls {
            let op = match call {
                Call::Write(value) => RegisterOp::Write(value),
                Call::Read(_) => RegisterOp::Read,
            };
            let result = match call {
                Call::Write(_) => RegisterRet::WriteOk,
                Call::Read(value) => RegisterRet::ReadOk(value),
            };
            if begins {
                tester.on_invoke(client, op).unwrap();
            } else {
                tester.on_return(client, result).unwrap();
            }
        }
        tester.is_consistent()
    }

    /// A register whose writes are numbered: one out of turn cannot have happened then.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    struct Increasing(u64);

    impl stateright::semantics::SequentialSpec for Increasing {
        type Op = RegisterOp<u64>;
        type Ret = RegisterRet<u64>;

        fn invoke(&mut self, op: &Self::Op) -> Self::Ret {
            match op {
                // Another answer than any client got.
                RegisterOp::Write(value) if *value != self.0 + 1 => RegisterRet::ReadOk(u64::MAX),
                _ => {
                    let mut register = Register(self.0);
                    let result = register.invoke(op);
                    self.0 = register.0;
                    result
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn the_verdict_is_that_of_statrights_tester(
            times in proptest::collection::vec((1_u64..40, 1_u64..12, 0_u64..4), 1..6),
            seen in proptest::collection::vec(1_u64..60, 3),
        ) {
            let reads: Vec<(u64, u64, u64)> = times
                .iter()
                .map(|(asked, takes, revision)| (*asked * 2, (*asked + *takes) * 2, *revision))
                .collect();
            // Committed in this order, so seen by then at the latest; odd, so that nothing happens at the same time.
            let mut seen: Vec<u64> = seen.iter().map(|at| at * 2 + 1).collect();
            seen.sort_unstable();
            let origin = Instant::now();
            let history: Vec<Read> = reads.iter().map(|(a, b, r)| read(origin, *a, *b, *r)).collect();
            let strong: Vec<&Read> = history.iter().collect();
            let of_reads = strong.iter().map(|read| Known { at: read.answered, revision: read.answer.revision });
            let of_watch = (1..).zip(&seen).map(|(revision, at)| Known { at: origin + Duration::from_millis(*at), revision });
            let known = of_reads.chain(of_watch).collect();
            let ours = recent(&strong, known, Duration::ZERO, |_| Duration::ZERO, "x").is_empty();
            prop_assert_eq!(ours, tester(&reads, &seen));
        }
    }

    #[test]
    fn one_revision_has_one_value() {
        let origin = Instant::now();
        let mut other = read(origin, 3, 4, 7);
        other.answer.member = Some("b".to_owned());
        let pages = Pages { reads: vec![read(origin, 1, 2, 7), other], ..Pages::default() };
        assert_eq!(check(&pages).len(), 1);
    }

    #[test]
    fn a_local_answer_may_be_as_old_as_it_says_and_no_older() {
        let origin = Instant::now();
        let mut local = read(origin, 9_000, 9_001, 5);
        local.freshness = Freshness::Local;
        let strong = read(origin, 1_000, 1_001, 6);
        let mut pages = Pages { reads: vec![strong, local], ..Pages::default() };
        assert_eq!(check(&pages).len(), 1);
        pages.reads[1].answer.age_ms = 7_500;
        assert_eq!(check(&pages), []);
    }
}
