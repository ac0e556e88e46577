//! A watch shows each revision once, in order, and leaves none out.
//!
//! What one watcher alone cannot know is what it was not shown. So all watchers are laid beside each other: within the
//! revisions that a watcher covered, it has every batch that any other had, and the same.

use std::collections::BTreeMap;

use super::Violation;
use crate::record::{Seen, WatchLine};

const CHECKER: &str = "watch";

/// All that is not as it should be.
pub(crate) fn check(lines: &[WatchLine]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut batches: BTreeMap<u64, &WatchLine> = BTreeMap::new();
    let mut watchers: BTreeMap<usize, Vec<&WatchLine>> = BTreeMap::new();
    for line in lines {
        watchers.entry(line.watcher).or_default().push(line);
        if let Seen::Batch { text, .. } = &line.seen {
            let first = batches.entry(line.revision).or_insert(line);
            if !matches!(&first.seen, Seen::Batch { text: known, .. } if known == text) {
                found.push(Violation::at(
                    CHECKER,
                    line.at,
                    format!("two batches of one revision: {first:?}, {line:?}"),
                ));
            }
        }
    }
    for lines in watchers.values() {
        found.extend(in_order(lines));
        for span in spans(lines) {
            found.extend(complete(&span, &batches));
        }
    }
    found
}

/// A batch is after all that was seen, and a sign of life does not go back.
fn in_order(lines: &[&WatchLine]) -> Vec<Violation> {
    let mut found = Vec::new();
    for pair in lines.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        let fell = match after.seen {
            // What was compacted is looked for anew.
            _ if before.seen == Seen::Compacted => false,
            Seen::Batch { .. } => after.revision <= before.revision,
            Seen::Progress => after.revision < before.revision,
            Seen::Compacted => false,
        };
        if fell {
            let evidence = format!("a revision came again or fell: {before:?}, then {after:?}");
            found.push(Violation::at(CHECKER, after.at, evidence));
        }
    }
    found
}

/// What a watcher covered without a break that it was told of.
struct Span<'a> {
    lines: Vec<&'a WatchLine>,
}

fn spans<'a>(lines: &[&'a WatchLine]) -> Vec<Span<'a>> {
    lines
        .split(|line| line.seen == Seen::Compacted)
        .filter(|lines| !lines.is_empty())
        .map(|lines| Span { lines: lines.to_vec() })
        .collect()
}

/// Everything after the first line's revision and up to the last one's is there.
fn complete(span: &Span<'_>, batches: &BTreeMap<u64, &WatchLine>) -> Vec<Violation> {
    let (Some(first), Some(last)) = (span.lines.first(), span.lines.last()) else { return Vec::new() };
    if first.revision >= last.revision {
        return Vec::new();
    }
    let has = |revision: u64| {
        span.lines.iter().any(|line| line.revision == revision && matches!(line.seen, Seen::Batch { .. }))
    };
    batches
        .range(first.revision + 1..=last.revision)
        .filter(|(revision, _)| !has(**revision))
        .map(|(_, line)| {
            let evidence = format!(
                "watcher {} was shown {} to {} without this: {line:?}",
                first.watcher, first.revision, last.revision
            );
            Violation::at(CHECKER, line.at, evidence)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::Instant;

    /// `p5` is a sign of life, `b6` a batch, `c` a compaction.
    fn watcher(number: usize, words: &str) -> Vec<WatchLine> {
        let line = |word: &str| {
            let (kind, revision) = word.split_at(1);
            let seen = match kind {
                "p" => Seen::Progress,
                "b" => Seen::Batch { events: Vec::new(), text: revision.to_owned() },
                _ => Seen::Compacted,
            };
            let revision = revision.parse().unwrap_or(0);
            WatchLine { at: Instant::now(), watcher: number, first: false, revision, seen }
        };
        words.split(' ').map(line).collect()
    }

    fn found(watchers: &[&str]) -> usize {
        let lines: Vec<WatchLine> =
            watchers.iter().enumerate().flat_map(|(number, words)| watcher(number, words)).collect();
        check(&lines).len()
    }

    #[test]
    fn what_is_right_passes() {
        assert_eq!(found(&["p3 b4 b6 p6 p6 b9", "p4 b6 b9", "p9"]), 0);
        assert_eq!(found(&["p3 b4 c p8 b9", "p4 b6 b9"]), 0);
    }

    #[test]
    fn gaps_falls_and_repeats_are_found() {
        assert_eq!(found(&["p3 b4 b9", "p4 b6 b9"]), 1, "a gap");
        assert_eq!(found(&["p3 b4 b4"]), 1, "a repeat");
        assert_eq!(found(&["p3 b9 b4"]), 1, "a fall");
        assert_eq!(found(&["p3 b9 p8"]), 1, "a sign of life that falls");
        assert_eq!(found(&["p3 b4 p9", "p4 b6 b9"]), 2, "signs of life cover what was not shown");
    }
}
