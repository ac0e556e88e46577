//! The report in words and numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::act::{Act, Round};
use crate::check::Violation;
use crate::record::Freshness;

/// All acts of a run.
pub(crate) fn render(seed: u64, took: Duration, acts: &[Act]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let violations: Vec<&Violation> = acts.iter().flat_map(|act| &act.violations).collect();
    let verdict = match violations.len() {
        0 => "no violation".to_owned(),
        count => format!("{count} VIOLATIONS"),
    };
    let rounds: usize = acts.iter().map(|act| act.rounds.len()).sum();
    let _ = writeln!(text, "seed {seed}: {verdict} in {rounds} rounds of {} acts, {took:.0?}", acts.len());
    for violation in &violations {
        let evidence: String = violation.evidence.chars().take(4_000).collect();
        let _ = writeln!(text, "\n{}: {evidence}", violation.checker);
    }
    for act in acts {
        describe(&mut text, act);
    }
    let _ = writeln!(text, "\nfaults");
    for (kind, count) in faults(acts) {
        let _ = writeln!(text, "  {count:5}  {kind}");
    }
    text
}

/// How often each fault struck.
pub(crate) fn faults(acts: &[Act]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let other = ["round", "command", "answer", "resume", "restart", "replacing", "ending"];
    let marks = acts.iter().flat_map(|act| &act.pages.marks);
    for mark in marks.filter(|mark| !other.contains(&mark.kind.as_str())) {
        *counts.entry(mark.kind.clone()).or_default() += 1;
    }
    counts
}

fn describe(text: &mut String, act: &Act) {
    let setting = act.setting;
    let (direct, gated) = &act.ledgers;
    let _ = writeln!(
        text,
        "\nact {}: {} ms between sites, durability {}, {} faults left out",
        act.number, setting.rtt_ms, setting.durability, act.skipped
    );
    let transitions = act.account.transitions.len();
    let _ = writeln!(
        text,
        "  writes      {} direct ({} lost), {} by gate ({} lost), {transitions} transitions",
        direct.acked(),
        act.account.lost.0,
        gated.acked(),
        act.account.lost.1
    );
    let reads = |freshness| act.pages.reads.iter().filter(|read| read.freshness == freshness).count();
    let _ = writeln!(
        text,
        "  reads       {} linearizable, {} by lease, {} local, {} failed; {} lines of watches",
        reads(Freshness::Linearizable),
        reads(Freshness::Lease),
        reads(Freshness::Local),
        act.pages.reads_failed,
        act.pages.watched.len()
    );
    let _ =
        writeln!(text, "  set aside   {} acknowledgements that a frozen Redis had under way", act.set_aside);
    let _ = writeln!(text, "  held before {:?}\n  held after  {:?}", act.held.0, act.held.1);
    for (number, round) in act.rounds.iter().enumerate() {
        describe_round(text, act, number, round);
    }
}

fn describe_round(text: &mut String, act: &Act, number: usize, round: &Round) {
    let settled = round
        .settled
        .map_or("not at rest".to_owned(), |at| format!("at rest {:.1?} later", at - round.healed));
    let began = at(act, round.began);
    let _ = writeln!(
        text,
        "  round {number} at {began}: faults for {:.1?}, {settled}",
        round.healed - round.began
    );
    let end = round.settled.unwrap_or_else(Instant::now);
    let within = |from: Instant| from >= round.began && from <= end;
    for mark in act.pages.marks.iter().filter(|mark| within(mark.from) && mark.kind != "round") {
        let lasted = mark.to.map_or(String::new(), |to| format!(" for {:.2?}", to - mark.from));
        let _ = writeln!(text, "    {}  {}{lasted}", at(act, mark.from), mark.text);
    }
}

/// Seconds since the act began.
fn at(act: &Act, time: Instant) -> String {
    format!("{:8.2}", time.saturating_duration_since(act.began).as_secs_f64())
}
