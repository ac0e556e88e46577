//! What must hold of `apply` for any sequence of commands, fitting or not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use primacy_core::{
    BlockReason, Cause, Command, Durability, Epoch, FailoverMode, FencePolicy, FenceQuorum, Group, GroupKind,
    GroupName, GroupSpec, Lineage, Loss, LossBudget, MemberName, MemberSpec, NodeId, OnNoSite, Phase,
    Position, Probe, Proof, Rejected, SiteName, StartTransition, State, Term, WallTime,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MEMBERS: [&str; 3] = ["a", "b", "c"];

fn name(i: usize) -> MemberName {
    MemberName::new(MEMBERS[i % 3]).unwrap()
}

fn group(i: usize) -> GroupName {
    GroupName::new(["g", "h"][i % 2]).unwrap()
}

fn spec(i: usize, priorities: [u32; 3]) -> GroupSpec {
    let members = (0..3).map(|m| MemberSpec {
        name: name(m),
        site: SiteName::new(format!("s{m}")).unwrap(),
        address: format!("10.0.{}.{}:6379", i % 2, m + 1).parse().unwrap(),
        priority: priorities[m],
        probe: Probe::Native,
    });
    GroupSpec {
        name: group(i),
        kind: GroupKind::Redis,
        failover: FailoverMode::Automatic,
        down_after_ms: 1_000,
        max_loss: LossBudget::Bytes(1 << 20),
        fence: FencePolicy::Witness,
        tail_max_bytes: 64 << 20,
        may_kill: false,
        durability: Durability::Local,
        on_no_site: OnNoSite::Refuse,
        mirror: None,
        members: members.collect(),
    }
}

/// A command whose epochs are drawn relative to the log, so that many fit and many do not.
#[derive(Clone, Debug)]
struct Draw {
    kind: u8,
    group: usize,
    member: usize,
    back: u64,
    flag: bool,
}

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let draw = (0..18_u8, 0..2_usize, 0..3_usize, 0..4_u64, any::<bool>())
        .prop_map(|(kind, group, member, back, flag)| Draw { kind, group, member, back, flag });
    prop::collection::vec(draw, 1..120)
}

fn command(d: &Draw, state: &State, index: u64) -> Command {
    let known = state.groups.get(&group(d.group));
    let epoch = known.map_or(Epoch(0), Group::epoch_last);
    let epoch = Epoch(epoch.0.saturating_sub(u64::from(d.back == 3)));
    let at = WallTime(index * 1_000);
    let (group, to) = (group(d.group), name(d.member));
    let position = Position { replid: format!("r{}", d.member), offset_bytes: index };
    match d.kind {
        0 => Command::ConfigureGroups {
            groups: vec![spec(d.group, [100, 50, u32::from(d.flag)])],
            prune: d.back == 0,
            by: "ops".into(),
            at,
        },
        1 => Command::AssumeLeadership { node: NodeId(d.back), term: Term(index / 8 + d.back), at },
        2..=4 => Command::StartTransition(Box::new(StartTransition {
            group,
            from: known
                .and_then(|g| g.primary.as_ref())
                .map(|p| (p.member.clone(), p.epoch))
                .filter(|_| d.back != 2),
            to,
            cause: if d.flag { Cause::Operator } else { Cause::Death },
            planned: d.flag,
            requested_by: None,
            reason: None,
            evidence: vec![],
            proof: (!d.flag).then_some(Proof::Vacant),
            expected: None,
            to_run_id: None,
            end: None,
            rescue: (d.member == 2).then_some(NodeId(2)),
            lost: Loss::Unknown,
            loss_accepted: true,
            detected_at: at,
            at,
        })),
        5 => {
            let proof = Proof::Acknowledged { code: "NOREPLICAS".into() };
            let drained_us = d.flag.then_some(5);
            let rescue = (d.member == 1).then_some(NodeId(1));
            Command::ConfirmFence {
                group,
                epoch,
                proof,
                end: Some(position),
                drained_us,
                closed_at: at,
                rescue,
                lost: None,
                at,
            }
        }
        6 => {
            let lineage = Lineage { run_id: format!("run{index}"), start: position, previous: None };
            let fence = FenceQuorum::at_first([name(d.member + 1)].into(), d.flag);
            Command::ConfirmPromotion {
                group,
                epoch,
                lineage,
                fence,
                witness: d.flag.then_some(NodeId(1)),
                at,
            }
        }
        7 => Command::ConfirmOpen { group, epoch, at },
        8 => Command::Settle { group, epoch, note: String::new(), at },
        9 => Command::RollBack { group, epoch, failure: "late".into(), at },
        10 => Command::ConfirmRollBack { group, epoch, at },
        11 if d.flag => Command::Pause { group, by: "ops".into(), reason: None, at },
        11 => Command::Resume { group, by: "ops".into(), at },
        13 => Command::ConfirmRescue {
            group,
            epoch,
            end: Some(position),
            fetched_bytes: 7,
            lost: Loss::Exact(0),
            note: String::new(),
            at,
        },
        14 => {
            let fence = FenceQuorum { min_replicas: d.back, replicas: [to].into() };
            Command::ChangeFence { group, epoch, fence, at }
        }
        15 => Command::AppointWitness { group, epoch, node: d.flag.then_some(NodeId(d.back)), at },
        16 => Command::AppointHolder { group, epoch, node: None, degraded: d.flag, at },
        _ if d.flag => Command::Unblock { group, at },
        _ => Command::Block { group, epoch, reason: BlockReason::ManualFailover { member: to }, at },
    }
}

/// Applies the draws and hands every step to `check`.
fn run(
    draws: &[Draw],
    mut check: impl FnMut(&State, &Command, &Result<Vec<primacy_core::Event>, Rejected>, &State),
) -> (State, Vec<Command>) {
    let mut state = State::default();
    let mut log = Vec::new();
    for (i, draw) in draws.iter().enumerate() {
        let index = i as u64 + 1;
        let command = command(draw, &state, index);
        let before = state.clone();
        let result = state.apply(index, &command);
        check(&before, &command, &result, &state);
        log.push(command);
    }
    (state, log)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_log_alone_decides(draws in draws(), cut in 0..120_usize) {
        let (state, log) = run(&draws, |_, _, _, _| {});
        let mut again = State::default();
        let mut snapshot = None;
        for (i, command) in log.iter().enumerate() {
            if i == cut % log.len() {
                snapshot = Some(again.clone());
            }
            let _ = again.apply(i as u64 + 1, command);
        }
        prop_assert_eq!(&again, &state);
        let mut from_snapshot = snapshot.unwrap();
        for (i, command) in log.iter().enumerate().skip(cut % log.len()) {
            let _ = from_snapshot.apply(i as u64 + 1, command);
        }
        prop_assert_eq!(&from_snapshot, &state);
    }

    #[test]
    fn a_rejected_command_changes_nothing(draws in draws()) {
        run(&draws, |before, _, result, after| {
            if result.is_err() {
                assert_eq!(before, after);
            }
        });
    }

    #[test]
    fn epochs_of_a_group_rise(draws in draws()) {
        let mut highest: BTreeMap<GroupName, Epoch> = BTreeMap::new();
        run(&draws, |before, command, _, after| {
            if let Command::ConfigureGroups { .. } = command {
                highest.retain(|g, _| after.groups.contains_key(g));
            }
            for (g, group) in &after.groups {
                let epoch = group.primary.as_ref().map(|p| p.epoch).unwrap_or_default();
                let known = highest.entry(g.clone()).or_default();
                assert!(epoch >= *known, "{g}: {epoch} after {known}");
                let was = before.groups.get(g).and_then(|b| b.primary.as_ref()).map(|p| p.epoch);
                assert!(was == group.primary.as_ref().map(|p| p.epoch) || epoch > *known || *known == Epoch(0));
                *known = epoch;
            }
        });
    }

    #[test]
    fn who_guards_stays_as_it_is_from_intent_to_promotion(draws in draws()) {
        run(&draws, |before, command, _, after| {
            for (name, group) in &after.groups {
                let closing = |g: &Group| g.transition.as_ref().is_some_and(|t| {
                    t.phase.closes_the_door() && Some(t.epoch) != g.primary.as_ref().map(|p| p.epoch)
                });
                let Some(was) = before.groups.get(name).filter(|g| closing(g)) else { continue };
                if !matches!(command, Command::ConfirmPromotion { .. }) {
                    assert_eq!(was.primary, group.primary, "{command:?}");
                }
            }
        });
    }

    #[test]
    fn a_stale_epoch_is_rejected(draws in draws()) {
        run(&draws, |before, command, result, _| {
            let (Command::ConfirmFence { group, epoch, .. }
                | Command::ConfirmRescue { group, epoch, .. }
                | Command::ConfirmPromotion { group, epoch, .. }
                | Command::ConfirmOpen { group, epoch, .. }
                | Command::Settle { group, epoch, .. }
                | Command::RollBack { group, epoch, .. }
                | Command::ConfirmRollBack { group, epoch, .. }) = command
            else {
                return;
            };
            let current = before.groups.get(group).and_then(|g| g.transition.as_ref()).map(|t| t.epoch);
            if current != Some(*epoch) {
                assert!(result.is_err(), "{command:?} accepted at {current:?}");
            }
        });
    }

    #[test]
    fn nobody_is_promoted_without_proof_nor_opened_without_promotion(draws in draws()) {
        run(&draws, |before, command, result, after| {
            if let (Command::ConfirmPromotion { group, .. }, Ok(_)) = (command, result) {
                let t = before.groups[group].transition.as_ref().unwrap();
                assert!(t.proof.is_some() && t.phase == Phase::Promote);
            }
            if let (Command::ConfirmOpen { group, epoch, .. }, Ok(_)) = (command, result) {
                assert_eq!(before.groups[group].primary.as_ref().unwrap().epoch, *epoch);
            }
            for group in after.groups.values() {
                if let Some(t) = &group.transition {
                    assert!(t.phase < Phase::Rescue || t.phase == Phase::RollBack || t.proof.is_some());
                }
            }
        });
    }

    #[test]
    fn revisions_of_events_rise_and_none_is_repeated(draws in draws()) {
        let (state, _) = run(&draws, |_, _, _, _| {});
        let revisions: Vec<_> = state.events.iter().map(|b| b.revision).collect();
        prop_assert!(revisions.windows(2).all(|w| w[0] < w[1]));
        prop_assert!(state.events.iter().all(|b| !b.events.is_empty()));
        for from in &revisions {
            let after: Vec<_> = state.events_after(*from).unwrap().map(|b| b.revision).collect();
            prop_assert!(after.iter().all(|r| r > from));
        }
    }

    #[test]
    fn automatic_transitions_leave_a_paused_group_alone(draws in draws()) {
        run(&draws, |before, command, result, _| {
            if let (Command::StartTransition(start), Ok(_)) = (command, result) {
                assert!(before.groups[&start.group].paused.is_none() || !start.cause.automatic());
            }
        });
    }
}

#[test]
fn old_events_are_compacted_and_the_watcher_is_told() {
    let mut state = State::default();
    let total = State::EVENTS_MAX as u64 + 10;
    for i in 1..=total {
        state
            .apply(i, &Command::AssumeLeadership { node: NodeId(1), term: Term(i), at: WallTime(i) })
            .unwrap();
    }
    assert_eq!(state.events.len(), State::EVENTS_MAX);
    let error = state.events_after(primacy_core::Revision(5)).map(|_| ()).unwrap_err();
    assert_eq!(error.oldest.0, 10);
    assert_eq!(state.events_after(error.oldest).unwrap().count(), State::EVENTS_MAX);
}
