//! How often each thing was exercised. A simulation that never meets a situation says nothing about it.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)*) => {
        /// Situations worth counting besides faults, rules, phases, proofs, causes and actions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Mark { $($(#[$doc])* $name,)* }
        impl Mark {
            pub(crate) const ALL: &[Mark] = &[$(Mark::$name,)*];
            pub(crate) fn word(self) -> &'static str {
                match self { $(Mark::$name => $word,)* }
            }
        }
    };
}

marks! {
    PartialResync => "partial resync",
    FullResync => "full resync",
    LeaderElected => "leader elected",
    LeaderDeposed => "leader deposed by a higher term",
    LeaderNotWaitedFor => "dead leader not waited for",
    OutcomeUnknown => "proposal of unknown outcome",
    Rejected => "proposal rejected or overwritten",
    ActionUnanswered => "action without an answer",
    KilledByUs => "silent primary killed by its node",
    LeaseRefused => "lease refused",
    WitnessAttached => "witness attached",
    WitnessCopy => "witness was sent a full copy",
    WitnessLetGo => "witness let go with its lease",
    HolderAcknowledged => "holder acknowledged",
    TailRead => "tail read by a candidate",
    PromotedAtTailEnd => "candidate promoted at the end of its tail",
    TailGap => "tail that does not join",
    GateOpened => "gate opened",
    GateClosed => "gate closed",
    BarrierFailed => "barrier failed",
    Paused => "group paused",
    Reconfigured => "group reconfigured",
    WishRefused => "wish of an operator refused",
    WishGranted => "wish of an operator granted",
    AckDirect => "write acknowledged directly",
    AckAsync => "write acknowledged by an async gate",
    AckLocal => "write acknowledged with durability local",
    AckSite => "write acknowledged with durability site",
    WriteAfterThaw => "write accepted after a thaw, exempt",
    StrangerKeptOpen => "open by a stranger, exempt",
    LossReported => "loss reported",
    LossNone => "nothing lost in an unplanned transition",
    Helped => "operator accepted a loss",
    Converged => "converged after the last fault",
    NoCoordinator => "served with every coordinator down",
    Orphaned => "orphaned data reported",
}

/// Counts by kind and word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    marks: BTreeMap<Mark, u64>,
    pub(crate) counts: BTreeMap<(&'static str, &'static str), u64>,
}

/// What must have been met in a run of thousands, besides the marks.
const NEEDED: &[(&str, &[&str])] = &[
    (
        "rule",
        &[
            "assume_leadership",
            "first_primary",
            "fail_over",
            "fence",
            "wait_out",
            "kill",
            "rescue",
            "promote",
            "redirect",
            "settle",
            "roll_back",
            "follow",
            "reopen",
            "guard",
            "holder",
        ],
    ),
    ("phase", &["fence", "rescue", "promote", "redirect", "settle", "roll_back"]),
    ("proof", &["acknowledged", "detached", "expired", "vacant", "waived"]),
    ("cause", &["initial", "death", "silence", "demotion", "operator", "failback"]),
    ("action", &["fence", "lift", "detach", "kill", "rescue", "set_fence", "promote", "open", "follow"]),
    ("outcome", &["settled", "rolled_back"]),
    (
        "blocked",
        &["fence_unproven", "loss_over_budget", "no_candidate", "manual_failover", "no_first_primary"],
    ),
];

impl Coverage {
    pub(crate) fn mark(&mut self, mark: Mark) {
        *self.marks.entry(mark).or_insert(0) += 1;
    }

    pub(crate) fn count(&mut self, kind: &'static str, word: &'static str) {
        *self.counts.entry((kind, word)).or_insert(0) += 1;
    }

    pub(crate) fn rule(&mut self, rule: &'static str) {
        self.count("rule", rule);
    }

    pub(crate) fn action(&mut self, word: &'static str) {
        self.count("action", word);
    }

    pub(crate) fn add(&mut self, other: &Coverage) {
        for (mark, n) in &other.marks {
            *self.marks.entry(*mark).or_insert(0) += n;
        }
        for (key, n) in &other.counts {
            *self.counts.entry(*key).or_insert(0) += n;
        }
    }

    /// What was never met.
    pub(crate) fn missing(&self) -> Vec<String> {
        let marks = Mark::ALL.iter().filter(|m| !self.marks.contains_key(m)).map(|m| m.word().to_owned());
        let counted = NEEDED.iter().flat_map(|(kind, words)| words.iter().map(move |w| (*kind, *w)));
        let faults = crate::fault::WORDS.iter().map(|w| ("fault", *w));
        let counted = counted.chain(faults).filter(|key| !self.counts.contains_key(key));
        marks.chain(counted.map(|(kind, word)| format!("{kind} {word}"))).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kind_before = "";
        for ((kind, word), n) in &self.counts {
            let shown = if *kind == kind_before { "" } else { kind };
            writeln!(f, "{shown:<10}{word:<42}{n:>12}")?;
            kind_before = kind;
        }
        for (i, mark) in Mark::ALL.iter().enumerate() {
            let n = self.marks.get(mark).copied().unwrap_or(0);
            writeln!(f, "{:<10}{:<42}{n:>12}", if i == 0 { "situation" } else { "" }, mark.word())?;
        }
        Ok(())
    }
}
