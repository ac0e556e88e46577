//! What goes wrong and when, drawn from a seed.
//!
//! The problem: a run that found something must be repeated. Processes and packets never run twice alike, but what is
//! done to them can. The idea: the whole schedule of a round follows from (seed, act, round) alone, and names sites by
//! their part, so that "kill the primary 200 ms after its site was cut off" is the same thing again.
//!
//! It must not know what a fault does, nor how a run went so far.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::fault::{Command, Fault, Place};

/// Faults of a round that are drawn by themselves; each may bring an operator along.
const FAULTS_MAX: u64 = 5;
/// Within this time all of them begin.
const BEGIN_WITHIN_MS: u64 = 7_000;

/// A fault with its times, in milliseconds from the beginning of the round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Step {
    /// When it begins.
    pub(crate) at_ms: u64,
    /// How long it lasts; without meaning for what is done in a moment.
    pub(crate) for_ms: u64,
    /// What it is.
    pub(crate) fault: Fault,
}

/// How the deployment of an act is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    /// Round trip time between any two sites.
    pub(crate) rtt_ms: u64,
    /// `durability` of the group.
    pub(crate) durability: &'static str,
}

fn generator(seed: u64, act: u64, round: u64) -> SmallRng {
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ act.rotate_left(20) ^ round.rotate_left(40);
    SmallRng::seed_from_u64(mixed)
}

/// The setting of an act.
pub(crate) fn setting(seed: u64, act: u64) -> Setting {
    let mut luck = generator(seed, act, u64::MAX);
    Setting {
        rtt_ms: [4, 20, 50][luck.random_range(0..3)],
        durability: ["local", "local", "site"][luck.random_range(0..3)],
    }
}

/// What goes wrong in a round, in the order of time.
pub(crate) fn round(seed: u64, act: u64, round: u64) -> Vec<Step> {
    let mut luck = generator(seed, act, round);
    let mut steps = Vec::new();
    let count = luck.random_range(1..=FAULTS_MAX);
    for _ in 0..count {
        let at_ms = luck.random_range(0..BEGIN_WITHIN_MS);
        let for_ms = if luck.random_bool(0.3) {
            luck.random_range(100..1_500)
        } else {
            luck.random_range(1_500..12_000)
        };
        steps.push(Step { at_ms, for_ms, fault: fault(&mut luck) });
        if luck.random_bool(0.25) {
            // The worst moment is just after something else has begun.
            let at_ms = at_ms + luck.random_range(0..900);
            let fault = Fault::Operator(command(&mut luck));
            steps.push(Step { at_ms, for_ms, fault });
        }
    }
    if luck.random_bool(0.15) {
        let at_ms = luck.random_range(0..BEGIN_WITHIN_MS);
        steps.extend((0..3).map(|site| Step {
            at_ms: at_ms + site * 3_000,
            for_ms: 0,
            fault: Fault::Restart(Place::At(site as usize)),
        }));
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn place(luck: &mut SmallRng) -> Place {
    match luck.random_range(0..10) {
        0..=4 => Place::Primary,
        5..=6 => Place::Leader,
        7..=8 => Place::Beyond(luck.random_range(1..=2)),
        _ => Place::At(luck.random_range(0..3)),
    }
}

fn step_ms(luck: &mut SmallRng) -> i64 {
    let size = [400, 2_000, 15_000, 3_600_000][luck.random_range(0..4)];
    if luck.random_bool(0.5) { size } else { -size }
}

fn fault(luck: &mut SmallRng) -> Fault {
    let here = place(luck);
    match luck.random_range(0..40) {
        0..=4 => Fault::KillRedis(here),
        5..=6 => Fault::KillNode(here),
        7 => Fault::KillBoth(here),
        8..=9 => Fault::LoseSite(here),
        10..=11 => Fault::FreezeRedis(here),
        12..=13 => Fault::FreezeNode(here),
        14 => Fault::FreezeBoth(here),
        15..=16 => Fault::Isolate(here),
        17 => Fault::Mute(here),
        18 => Fault::Deafen(here),
        19..=20 => Fault::Cut(Place::Primary, Place::Beyond(luck.random_range(1..=2))),
        21 => Fault::Cut(Place::Beyond(1), Place::Beyond(2)),
        22..=23 => match luck.random_range(0..3) {
            0 => Fault::CutOneWay(Place::Primary, Place::Beyond(luck.random_range(1..=2))),
            1 => Fault::CutOneWay(Place::Beyond(luck.random_range(1..=2)), Place::Primary),
            _ => Fault::CutOneWay(Place::Beyond(1), Place::Beyond(2)),
        },
        24 => Fault::Flap(here, luck.random_range(100..1_500)),
        25..=26 => Fault::Delay(here, luck.random_range(20..600)),
        27 => Fault::Lose(here, luck.random_range(10..250)),
        28..=29 => Fault::RedisClock(here, step_ms(luck)),
        30..=31 => Fault::NodeClock(here, step_ms(luck)),
        32..=33 => Fault::FillDisk(here),
        34..=35 => Fault::SlowDisk(here, luck.random_range(20..1_500)),
        36..=37 => Fault::Replace(here),
        _ => Fault::Operator(command(luck)),
    }
}

fn command(luck: &mut SmallRng) -> Command {
    match luck.random_range(0..11) {
        0..=2 => Command::Switchover,
        3..=4 => Command::SwitchoverTo(Place::At(luck.random_range(0..3))),
        5 => Command::Failover,
        6 => Command::FailoverAtAnyPrice,
        7 => Command::Failback,
        8 => Command::Pause,
        9 => Command::Transfer,
        _ => Command::Snapshot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_is_the_same_schedule() {
        for seed in 0..50 {
            assert_eq!(round(seed, 1, 2), round(seed, 1, 2));
            assert_eq!(setting(seed, 1), setting(seed, 1));
        }
        assert_ne!(round(1, 0, 0), round(2, 0, 0));
        assert_ne!(round(1, 0, 0), round(1, 1, 0));
        assert_ne!(round(1, 0, 0), round(1, 0, 1));
    }

    #[test]
    fn every_fault_is_drawn_and_every_round_ends() {
        let mut names = BTreeSet::new();
        for seed in 0..2_000 {
            let steps = round(seed, 0, 0);
            assert!(!steps.is_empty() && steps.is_sorted_by_key(|step| step.at_ms));
            let last = steps.iter().map(|step| step.at_ms + step.for_ms).max();
            assert!(last < Some(30_000), "{steps:?}");
            names.extend(steps.iter().map(|step| step.fault.name()));
        }
        assert_eq!(names.len(), 28, "{names:?}");
    }
}
