//! Where the records of a topic with gaps are on a standby that has none.
//!
//! The problem: transaction markers and compaction leave offsets without a record, and nobody can write those, so behind
//! the first gap a record has another offset on the standby. The idea: runs of records that follow each other on both
//! sides. An offset is translated by floor: to a place before which the standby has nothing that the source has from that
//! offset on. So a consumer reads some records again at worst, and never misses one.
//!
//! Pure. It must not know who consumes.

use std::collections::VecDeque;

/// Runs that are remembered of a partition; of older ones every other is forgotten, which only moves the floor down.
const RUNS_MAX: usize = 2_048;

/// Runs that are written down: brokers take 4 KiB with a committed offset, and one batch must hold all partitions.
const WRITTEN_MAX: usize = 24;

/// So many offsets from `source` on are those from `target` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    source: i64,
    target: i64,
    count: i64,
}

impl Run {
    fn source_end(&self) -> i64 {
        self.source + self.count
    }

    fn target_end(&self) -> i64 {
        self.target + self.count
    }
}

/// What is known of a partition: at least one run, in order on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    first: Run,
    runs: VecDeque<Run>,
}

impl Translation {
    /// Both sides are equal up to `end`.
    pub(super) fn equal_up_to(end: i64) -> Translation {
        Translation { first: Run { source: 0, target: 0, count: end }, runs: VecDeque::new() }
    }

    /// Copying begins with the source's first record at `source`, which comes to `target`.
    pub(super) fn from_here(source: i64, target: i64) -> Translation {
        Translation { first: Run { source, target, count: 0 }, runs: VecDeque::new() }
    }

    /// Records from `source` on, one at each offset, are at `target` now. Those that were copied before stay where they
    /// were first.
    pub(super) fn note(&mut self, source: i64, target: i64, count: i64) {
        let last = self.last();
        let known = (last.source_end() - source).clamp(0, count);
        let new = Run { source: source + known, target: target + known, count: count - known };
        if known > 0 && new.count == 0 {
            return;
        }
        let last = self.runs.back_mut().unwrap_or(&mut self.first);
        if last.source_end() == new.source && last.target_end() == new.target {
            last.count += new.count;
        } else {
            self.push(new);
        }
    }

    /// Some of the offsets from `source` to `end` have a record, and those are at `target` now, `count` of them.
    pub(super) fn note_thinned(&mut self, source: i64, end: i64, target: i64, count: i64) {
        if source < self.last().source_end() {
            return;
        }
        self.push(Run { source, target, count: 0 });
        self.push(Run { source: end, target: target + count, count: 0 });
    }

    /// The place on the standby from which on everything is that the source has from `offset` on.
    pub(super) fn floor(&self, offset: i64) -> i64 {
        let after = self.runs.partition_point(|run| run.source <= offset);
        let run = after.checked_sub(1).and_then(|at| self.runs.get(at)).unwrap_or(&self.first);
        run.target + (offset - run.source).clamp(0, run.count)
    }

    /// The first offset that is another one on the standby.
    pub(super) fn first_gap(&self) -> i64 {
        self.first.source_end()
    }

    /// The standby ends at `target`: forgets what would be beyond, and returns from where the source has to be copied
    /// again, which may be too early.
    pub(super) fn cut(&mut self, target: i64) -> i64 {
        while self.runs.back().is_some_and(|run| run.target > target) {
            self.runs.pop_back();
        }
        let last = self.runs.back_mut().unwrap_or(&mut self.first);
        last.count = last.count.min((target - last.target).max(0));
        last.source_end()
    }

    /// As text: the first run, and later ones the closer to each other the newer they are.
    pub(super) fn write(&self) -> String {
        let (mut steps, mut at) = (Vec::new(), Some(self.runs.len()));
        while let Some(next) = at.and_then(|at| at.checked_sub(1 << (steps.len() / 2).min(30))) {
            steps.push(next);
            at = Some(next).filter(|_| steps.len() < WRITTEN_MAX);
        }
        let later = steps.iter().rev().filter_map(|index| self.runs.get(*index));
        let word = |run: &Run| format!("{}:{}:{}", run.source, run.target, run.count);
        std::iter::once(&self.first).chain(later).map(word).collect::<Vec<_>>().join(",")
    }

    /// Reads what was written; none if it is something else.
    pub(super) fn read(text: &str) -> Option<Translation> {
        let run = |word: &str| -> Option<Run> {
            let mut numbers = word.splitn(3, ':').map(str::parse);
            let (source, target, count) =
                (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
            (0 <= source && 0 <= target && 0 <= count).then_some(Run { source, target, count })
        };
        let mut runs = text.split(',').map(run).collect::<Option<VecDeque<_>>>()?;
        let first = runs.pop_front()?;
        let ordered = std::iter::once(&first)
            .chain(&runs)
            .zip(&runs)
            .all(|(a, b)| a.source_end() <= b.source && a.target_end() <= b.target);
        ordered.then_some(Translation { first, runs })
    }

    fn last(&self) -> Run {
        self.runs.back().copied().unwrap_or(self.first)
    }

    fn push(&mut self, run: Run) {
        self.runs.push_back(run);
        if self.runs.len() > RUNS_MAX {
            let mut index = 0;
            self.runs.retain(|_| {
                index += 1;
                index > RUNS_MAX / 2 || index % 2 == 0
            });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn behind_a_gap_offsets_are_moved_and_within_it_they_are_those_of_what_follows() {
        let mut known = Translation::equal_up_to(10);
        known.note(10, 10, 5);
        // A marker at 15, and another batch.
        known.note(16, 15, 4);
        assert_eq!([0, 9, 14, 15, 16, 18, 20, 99].map(|o| known.floor(o)), [0, 9, 14, 15, 15, 17, 19, 19]);
        assert_eq!(known.first_gap(), 15);
    }

    #[test]
    fn within_a_batch_that_compaction_thinned_the_floor_is_its_beginning() {
        let mut known = Translation::equal_up_to(0);
        known.note_thinned(0, 10, 0, 3);
        known.note(12, 3, 2);
        assert_eq!([0, 5, 9, 10, 11, 12, 13, 14].map(|o| known.floor(o)), [0, 0, 0, 3, 3, 3, 4, 5]);
    }

    #[test]
    fn what_is_copied_again_stays_where_it_was_first() {
        let mut known = Translation::equal_up_to(10);
        known.note(12, 10, 5);
        known.note(12, 15, 5);
        known.note(15, 20, 5);
        assert_eq!([12, 14, 16, 17, 19].map(|o| known.floor(o)), [10, 12, 14, 22, 24]);
    }

    #[test]
    fn a_standby_that_lost_its_end_is_gone_on_with_from_there() {
        let mut known = Translation::equal_up_to(10);
        known.note(12, 10, 5);
        known.note(20, 15, 5);
        assert_eq!(known.clone().cut(20), 25);
        assert_eq!(known.clone().cut(17), 22);
        assert_eq!(known.clone().cut(12), 14);
        assert_eq!(known.cut(4), 4);
    }

    #[test]
    fn nothing_but_what_was_written_is_read() {
        for text in ["", "1:2", "1:2:x", "1:2:-3", "5:5:1,0:0:1", "0:0:9,8:8:1"] {
            assert_eq!(Translation::read(text), None, "{text}");
        }
    }

    /// Steps of a source: records, then offsets without one.
    fn history() -> impl Strategy<Value = Vec<(i64, i64, bool)>> {
        proptest::collection::vec((1..5_i64, 0..4_i64, any::<bool>()), 1..4_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_record_is_ever_missed(history in history(), restart in any::<bool>()) {
            let mut known = Translation::equal_up_to(0);
            // Where each record of the source is.
            let mut records = Vec::new();
            let (mut source, mut target) = (0, 0);
            for (count, gap, thinned) in history {
                if thinned {
                    // Every other offset has a record.
                    known.note_thinned(source, source + 2 * count, target, count);
                    records.extend((0..count).map(|i| (source + 2 * i, target + i)));
                    source += 2 * count;
                } else {
                    known.note(source, target, count);
                    records.extend((0..count).map(|i| (source + i, target + i)));
                    source += count;
                }
                source += gap;
                target += count;
            }
            if restart {
                known = Translation::read(&known.write()).unwrap();
                prop_assert!(known.write().len() < 1_200);
            }
            prop_assert!(known.runs.len() <= RUNS_MAX);
            for offset in (0..source).step_by(7) {
                let floor = known.floor(offset);
                let at = records.partition_point(|(s, _)| *s < offset);
                let wanted = records.get(at).map_or(target, |(_, t)| *t);
                prop_assert!(floor <= wanted, "{offset}: {floor} is beyond {wanted}");
            }
            prop_assert_eq!(known.floor(source + 10), if restart { known.floor(source + 10) } else { target });
        }
    }
}
