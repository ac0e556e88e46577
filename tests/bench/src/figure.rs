//! A figure: samples of ours, samples of what it is measured against, and the goal that their ratio must reach.
//!
//! The problem: an absolute number says more about the machine than about the program. The idea: both sides are
//! measured in the same run, turn by turn, and what counts is the ratio of their medians.

use serde::{Serialize, Serializer};
use std::fmt;

/// Measured values, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples {
    sorted: Vec<f64>,
}

impl Samples {
    /// `None` when nothing was measured.
    pub(crate) fn new(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self { sorted: values })
    }

    pub(crate) fn n(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn min(&self) -> f64 {
        self.sorted[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.sorted[self.n() - 1]
    }

    /// The middle value; of an even number of values the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        f64::midpoint(self.sorted[(self.n() - 1) / 2], self.sorted[self.n() / 2])
    }
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Summary { n: self.n(), min: self.min(), median: self.median(), max: self.max() }.serialize(serializer)
    }
}

#[derive(Serialize)]
struct Summary {
    n: usize,
    min: f64,
    median: f64,
    max: f64,
}

/// What a figure is measured against.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) samples: Samples,
}

/// What must be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Our median is at least so many times the peer's.
    RatioAtLeast(f64),
    /// Our median is at most so many times the peer's.
    RatioAtMost(f64),
    /// None of our values is above this.
    MaxAtMost(f64),
    /// Our median is not above this.
    MedianAtMost(f64),
    /// Our median is not above this, or at most so many times the peer's.
    MedianOrRatioAtMost(f64, f64),
}

/// One line of the result.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Short and stable, for programs: `raft.commits_64`.
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) title: String,
    /// Of all values.
    pub(crate) unit: &'static str,
    pub(crate) ours: Samples,
    pub(crate) peer: Option<Peer>,
    pub(crate) goal: Goal,
    /// How it was measured, where that differs from what the title promises.
    pub(crate) note: Option<String>,
}

/// Whether the goal was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Met,
    /// By so much of the goal; of a goal of zero, by no finite part.
    Missed {
        percent: f64,
    },
    /// There is no peer to compare with.
    Unknown,
}

impl Figure {
    /// Our median as a multiple of the peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let peer = self.peer.as_ref()?.samples.median();
        (peer > 0.0).then(|| self.ours.median() / peer)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let (found, goal, more_is_better) = match self.goal {
            Goal::RatioAtLeast(goal) => (self.ratio(), goal, true),
            Goal::RatioAtMost(goal) => (self.ratio(), goal, false),
            Goal::MaxAtMost(goal) => (Some(self.ours.max()), goal, false),
            Goal::MedianAtMost(goal) => (Some(self.ours.median()), goal, false),
            Goal::MedianOrRatioAtMost(goal, times) => {
                let of_peer = self.peer.as_ref().map_or(0.0, |peer| times * peer.samples.median());
                (Some(self.ours.median()), goal.max(of_peer), false)
            }
        };
        let Some(found) = found else { return Verdict::Unknown };
        let short = if more_is_better { goal - found } else { found - goal };
        if short <= 0.0 { Verdict::Met } else { Verdict::Missed { percent: short / goal * 100.0 } }
    }

    /// The goal in words: `>= 1.0x etcd`.
    pub(crate) fn goal_text(&self) -> String {
        let peer = self.peer.as_ref().map_or("its peer", |peer| peer.name);
        match self.goal {
            Goal::RatioAtLeast(goal) => format!("at least {} {peer}", Ratio(goal)),
            Goal::RatioAtMost(goal) => format!("at most {} {peer}", Ratio(goal)),
            Goal::MaxAtMost(goal) => format!("never above {goal} {}", self.unit),
            Goal::MedianAtMost(goal) => format!("at most {goal} {}", self.unit),
            Goal::MedianOrRatioAtMost(goal, times) => {
                format!("at most {goal} {} or {} {peer}", self.unit, Ratio(times))
            }
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let verdict = self.verdict();
        FigureJson {
            name: self.name,
            title: &self.title,
            unit: self.unit,
            ours: &self.ours,
            peer: self.peer.as_ref(),
            ratio: self.ratio(),
            goal: self.goal_text(),
            met: (verdict != Verdict::Unknown).then_some(verdict == Verdict::Met),
            missed_by_percent: match verdict {
                Verdict::Missed { percent } if percent.is_finite() => Some(percent),
                _ => None,
            },
            note: self.note.as_deref(),
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct FigureJson<'a> {
    name: &'a str,
    title: &'a str,
    unit: &'a str,
    #[serde(flatten)]
    ours: &'a Samples,
    peer: Option<&'a Peer>,
    ratio: Option<f64>,
    goal: String,
    met: Option<bool>,
    missed_by_percent: Option<f64>,
    note: Option<&'a str>,
}

/// A multiple as people read it: `1.03x`, and `1/24` where it is far below one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio(pub(crate) f64);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0.0 && self.0 < 0.2 {
            f.pad(&format!("1/{:.0}", 1.0 / self.0))
        } else {
            f.pad(&format!("{:.2}x", self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples::new(values.to_vec()).unwrap()
    }

    fn figure(ours: &[f64], peer: &[f64], goal: Goal) -> Figure {
        let peer = Samples::new(peer.to_vec()).map(|samples| Peer { name: "etcd", samples });
        let title = "commits/s".to_owned();
        Figure { name: "raft.commits_1", title, unit: "1/s", ours: samples(ours), peer, goal, note: None }
    }

    #[test]
    fn the_median_is_the_middle_value() {
        let odd = samples(&[3.0, 1.0, 2.0]);
        assert_eq!((odd.n(), odd.min(), odd.median(), odd.max()), (3, 1.0, 2.0, 3.0));
        assert_eq!(samples(&[4.0, 1.0, 2.0, 3.0]), samples(&[1.0, 2.0, 3.0, 4.0]));
        assert!((samples(&[4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
        assert_eq!(Samples::new(vec![f64::NAN]), None);
    }

    #[test]
    fn a_goal_is_met_or_missed_by_a_share_of_itself() {
        let verdict = |ours, peer: &[f64], goal| figure(ours, peer, goal).verdict();
        assert_eq!(verdict(&[10.0], &[10.0], Goal::RatioAtLeast(1.0)), Verdict::Met);
        assert_eq!(verdict(&[15.0], &[10.0], Goal::RatioAtLeast(2.0)), Verdict::Missed { percent: 25.0 });
        assert_eq!(verdict(&[30.0], &[10.0], Goal::RatioAtMost(2.0)), Verdict::Missed { percent: 50.0 });
        assert_eq!(verdict(&[1.0, 2.0, 9.0], &[], Goal::MedianAtMost(2.0)), Verdict::Met);
        assert_eq!(verdict(&[1.0, 2.0, 9.0], &[], Goal::MaxAtMost(6.0)), Verdict::Missed { percent: 50.0 });
        assert_eq!(verdict(&[1.0], &[], Goal::RatioAtMost(2.0)), Verdict::Unknown);
        assert_eq!(verdict(&[0.0], &[], Goal::MaxAtMost(0.0)), Verdict::Met);
        assert_eq!(verdict(&[1.0], &[], Goal::MaxAtMost(0.0)), Verdict::Missed { percent: f64::INFINITY });
        let either = Goal::MedianOrRatioAtMost(5.0, 1.5);
        assert_eq!(verdict(&[4.0], &[1.0], either), Verdict::Met);
        assert_eq!(verdict(&[8.0], &[6.0], either), Verdict::Met);
        assert_eq!(verdict(&[12.0], &[4.0], either), Verdict::Missed { percent: 100.0 });
    }

    #[test]
    fn json_has_one_flat_object_a_figure() {
        let json = serde_json::to_value(figure(&[5.0], &[10.0], Goal::RatioAtLeast(1.0))).unwrap();
        let expected = serde_json::json!({
            "name": "raft.commits_1", "title": "commits/s", "unit": "1/s",
            "n": 1, "min": 5.0, "median": 5.0, "max": 5.0,
            "peer": {"name": "etcd", "n": 1, "min": 10.0, "median": 10.0, "max": 10.0},
            "ratio": 0.5, "goal": "at least 1.00x etcd", "met": false, "missed_by_percent": 50.0, "note": null,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn small_ratios_read_as_fractions() {
        assert_eq!(Ratio(1.0 / 24.2).to_string(), "1/24");
        assert_eq!(Ratio(1.034).to_string(), "1.03x");
        assert_eq!(Ratio(0.0).to_string(), "0.00x");
    }
}
