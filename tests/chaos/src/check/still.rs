//! Nothing automatic happens to a paused group: in the order of revisions, which is exact.

use std::collections::BTreeMap;

use super::Violation;
use crate::record::{Noted, Seen, WatchLine};

/// Transitions that nobody asked for between a pause and the resumption.
pub(crate) fn check(lines: &[WatchLine]) -> Vec<Violation> {
    let batches: BTreeMap<u64, (&WatchLine, &Vec<Noted>)> = lines
        .iter()
        .filter_map(|line| match &line.seen {
            Seen::Batch { events, .. } => Some((line.revision, (line, events))),
            Seen::Progress | Seen::Compacted => None,
        })
        .collect();
    let (mut paused, mut epoch, mut found) = (false, 0, Vec::new());
    for (line, events) in batches.into_values() {
        for event in events {
            match event {
                Noted::Paused => paused = true,
                Noted::Resumed => paused = false,
                Noted::Started { automatic: true, .. } if paused => {
                    found.push(Violation::at("paused_is_still", line.at, format!("{line:?}")));
                }
                Noted::Primary { epoch: next, .. } => {
                    if *next <= epoch {
                        found.push(Violation::at(
                            "epoch_rises",
                            line.at,
                            format!("after epoch {epoch}: {line:?}"),
                        ));
                    }
                    epoch = *next;
                }
                Noted::Started { .. } | Noted::Other => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::Instant;

    fn found(events: &[Noted]) -> usize {
        let line = |(revision, event): (u64, &Noted)| WatchLine {
            at: Instant::now(),
            watcher: 0,
            first: false,
            revision,
            seen: Seen::Batch { events: vec![event.clone()], text: String::new() },
        };
        check(&(1..).zip(events).map(line).collect::<Vec<_>>()).len()
    }

    #[test]
    fn only_what_nobody_asked_for_is_found() {
        let started = |automatic| Noted::Started { epoch: 3, automatic };
        assert_eq!(found(&[started(true), Noted::Paused, started(false), Noted::Resumed, started(true)]), 0);
        assert_eq!(found(&[Noted::Paused, started(true)]), 1);
    }

    #[test]
    fn epochs_rise() {
        let primary = |epoch| Noted::Primary { epoch, member: "a".to_owned() };
        assert_eq!(found(&[primary(1), primary(4)]), 0);
        assert_eq!(found(&[primary(4), primary(4)]), 1);
    }
}
