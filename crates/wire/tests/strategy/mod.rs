//! Any value that core's types can hold, for property tests. Strategies that are used often are boxed: their types
//! grow with everything that they are made of, and a test thread's stack is small.

#![allow(clippy::unwrap_used, dead_code, reason = "test code, shared by several test programs")]

use primacy_core::apply::Leadership;
use primacy_core::view::{
    AttachedReplica, BootFence, ConnectFailure, GateReport, LinkEnd, MemberRole, MemberStatus, Observation,
    Reach, WitnessReport,
};
use primacy_core::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

/// Numbers that are small, large and at the edges.
fn number() -> BoxedStrategy<u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), 0..100_000u64, any::<u64>()].boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[ -~]{0,40}", ".{0,20}"].boxed()
}

macro_rules! name {
    ($fn:ident, $type:ty) => {
        pub(crate) fn $fn() -> BoxedStrategy<$type> {
            "[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}".prop_map(|s| <$type>::new(s).unwrap()).boxed()
        }
    };
}
name!(site_name, SiteName);
name!(group_name, GroupName);
name!(member_name, MemberName);

pub(crate) fn address() -> impl Strategy<Value = Address> {
    let host = prop_oneof![
        "[a-z0-9][a-z0-9.-]{0,30}",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
    ];
    (host, 1..=u16::MAX, any::<bool>()).prop_map(|(host, port, tls)| Address { host, port, tls })
}

fn wall() -> impl Strategy<Value = WallTime> {
    number().prop_map(WallTime)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    number().prop_map(Epoch)
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![number().prop_map(Loss::Exact), number().prop_map(Loss::AtMost), Just(Loss::Unknown)]
}

fn budget() -> impl Strategy<Value = LossBudget> {
    prop_oneof![number().prop_map(LossBudget::Bytes), Just(LossBudget::Any)]
}

fn position() -> impl Strategy<Value = Position> {
    (text(), number()).prop_map(|(replid, offset_bytes)| Position { replid, offset_bytes })
}

fn lineage() -> impl Strategy<Value = Lineage> {
    (text(), position(), option::of(text())).prop_map(|(run_id, start, previous)| Lineage {
        run_id,
        start,
        previous,
    })
}

fn finding() -> impl Strategy<Value = Finding> {
    prop_oneof![
        Just(Finding::EndedByEof),
        Just(Finding::EndedByReset),
        Just(Finding::ConnectRefused),
        any::<u32>().prop_map(|pid| Finding::ProcessExited { pid }),
        number().prop_map(|ms| Finding::Silent { ms }),
        Just(Finding::ReplicaLinkDown),
        text().prop_map(|run_id| Finding::Restarted { run_id }),
        Just(Finding::NotPrimary),
        number().prop_map(|ms| Finding::TakenAway { ms }),
        number().prop_map(|ms| Finding::LeaseOver { ms }),
        text().prop_map(|code| Finding::WriteRefused { code }),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let observer = option::of((number().prop_map(NodeId), site_name()));
    (observer, member_name(), finding()).prop_map(|(observer, member, finding)| Evidence {
        observer,
        member,
        finding,
    })
}

fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![
        text().prop_map(|code| Proof::Acknowledged { code }),
        vec(evidence(), 0..3).prop_map(|evidence| Proof::Detached { evidence }),
        (vec(evidence(), 0..3), number(), number()).prop_map(|(evidence, min_replicas, undetached)| {
            Proof::Expired { evidence, min_replicas, undetached }
        }),
        Just(Proof::Vacant),
        Just(Proof::Waived),
    ]
}

fn cause() -> impl Strategy<Value = Cause> {
    proptest::sample::select(vec![
        Cause::Initial,
        Cause::Death,
        Cause::Silence,
        Cause::Demotion,
        Cause::Operator,
        Cause::Failback,
    ])
}

fn phase() -> impl Strategy<Value = Phase> {
    proptest::sample::select(vec![
        Phase::Fence,
        Phase::Rescue,
        Phase::Promote,
        Phase::Redirect,
        Phase::Settle,
        Phase::RollBack,
    ])
}

fn outcome() -> impl Strategy<Value = TransitionOutcome> {
    prop_oneof![Just(TransitionOutcome::Settled), Just(TransitionOutcome::RolledBack)]
}

fn phase_record() -> impl Strategy<Value = PhaseRecord> {
    (phase(), wall(), number(), text()).prop_map(|(phase, started_at, us, note)| PhaseRecord {
        phase,
        started_at,
        us,
        note,
    })
}

prop_compose! {
    fn transition()(
        (group, epoch, from, to, cause, planned) in
            (group_name(), epoch(), option::of(member_name()), member_name(), cause(), any::<bool>()),
        (requested_by, reason, evidence, proof, expected, end) in
            (option::of(text()), option::of(text()), vec(evidence(), 0..3), option::of(proof()),
             option::of(text()), option::of(position())),
        (phase, phase_since, phases, detected_at, started_at) in
            (phase(), wall(), vec(phase_record(), 0..3), wall(), wall()),
        (closed_at, opened_at, lost, outcome, failure) in
            (option::of(wall()), option::of(wall()), loss(), option::of(outcome()), option::of(text())),
        (rescue, rescued_bytes, orphaned_bytes, loss_accepted, to_run_id) in
            (node(), number(), option::of(number()), any::<bool>(), option::of(text())),
    ) -> Transition {
        Transition {
            group, epoch, from, to, cause, planned, requested_by, reason, evidence, proof, expected, end, rescue,
            rescued_bytes, orphaned_bytes, phase, phase_since, phases, detected_at, started_at, closed_at, opened_at, lost, outcome,
            failure, loss_accepted, to_run_id,
        }
    }
}

fn probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        Just(Probe::Native),
        Just(Probe::Tcp),
        text().prop_map(|path| Probe::Http { path }),
        vec(address(), 0..3).prop_map(|bootstrap| Probe::Cluster { bootstrap }),
    ]
}

fn member_spec() -> impl Strategy<Value = MemberSpec> {
    (member_name(), site_name(), address(), any::<u32>(), probe()).prop_map(
        |(name, site, address, priority, probe)| MemberSpec { name, site, address, priority, probe },
    )
}

fn fence_quorum() -> BoxedStrategy<FenceQuorum> {
    (number(), btree_set(member_name(), 0..3))
        .prop_map(|(min_replicas, replicas)| FenceQuorum { min_replicas, replicas })
        .boxed()
}

fn node() -> BoxedStrategy<Option<NodeId>> {
    option::of(number().prop_map(NodeId)).boxed()
}

fn durability() -> impl Strategy<Value = Durability> {
    proptest::sample::select(vec![Durability::Async, Durability::Local, Durability::Site])
}

fn lag_budget() -> impl Strategy<Value = LagBudget> {
    prop_oneof![number().prop_map(LagBudget::Records), number().prop_map(LagBudget::Ms), Just(LagBudget::Any)]
}

prop_compose! {
    fn mirror_spec()(
        builtin in any::<bool>(),
        gaps in prop_oneof![Just(GapPolicy::Translate), Just(GapPolicy::Refuse), Just(GapPolicy::Fill)],
        (topics, groups) in (vec(text(), 0..3), vec(text(), 0..3)),
        rate_max_bytes in option::of(number()),
        max_lag in lag_budget(),
    ) -> MirrorSpec {
        MirrorSpec {
            engine: if builtin { MirrorEngine::Builtin } else { MirrorEngine::External },
            topics,
            groups,
            rate_max_bytes,
            gaps,
            max_lag,
        }
    }
}

prop_compose! {
    pub(crate) fn group_spec()(
        name in group_name(),
        automatic in any::<bool>(),
        down_after_ms in number(),
        max_loss in budget(),
        fenced in any::<bool>(),
        (endpoint, tail_max_bytes, may_kill, durability, degrade) in
            (any::<bool>(), number(), any::<bool>(), durability(), any::<bool>()),
        members in vec(member_spec(), 0..3),
        mirror in option::of(mirror_spec()),
    ) -> GroupSpec {
        GroupSpec {
            name,
            kind: match (&mirror, endpoint) {
                (Some(_), _) => GroupKind::Kafka,
                (None, true) => GroupKind::Endpoint,
                (None, false) => GroupKind::Redis,
            },
            failover: if automatic { FailoverMode::Automatic } else { FailoverMode::Manual },
            down_after_ms,
            max_loss,
            fence: if fenced { FencePolicy::Witness } else { FencePolicy::None },
            tail_max_bytes,
            may_kill,
            durability,
            on_no_site: if degrade { OnNoSite::Degrade } else { OnNoSite::Refuse },
            members,
            mirror,
        }
    }
}

fn primary() -> impl Strategy<Value = Primary> {
    let nodes = (node(), node(), any::<bool>());
    (member_name(), epoch(), lineage(), wall(), fence_quorum(), nodes).prop_map(
        |(member, epoch, lineage, since, fence, (witness, holder, degraded))| Primary {
            member,
            epoch,
            lineage,
            since,
            fence,
            witness,
            holder,
            degraded,
        },
    )
}

fn pause() -> impl Strategy<Value = Pause> {
    (text(), option::of(text()), wall()).prop_map(|(by, reason, at)| Pause { by, reason, at })
}

fn standby_lag() -> impl Strategy<Value = StandbyLag> {
    (member_name(), number(), number()).prop_map(|(member, records, sample_age_ms)| StandbyLag {
        member,
        records,
        sample_age_ms,
    })
}

fn block_reason() -> impl Strategy<Value = BlockReason> {
    prop_oneof![
        member_name().prop_map(|member| BlockReason::FenceUnproven { member }),
        (loss(), budget()).prop_map(|(loss, budget)| BlockReason::LossOverBudget { loss, budget }),
        text().prop_map(|detail| BlockReason::NoCandidate { detail }),
        member_name().prop_map(|member| BlockReason::ManualFailover { member }),
        text().prop_map(|detail| BlockReason::NoFirstPrimary { detail }),
        (member_name(), vec(standby_lag(), 0..3))
            .prop_map(|(member, standbys)| BlockReason::ClusterDown { member, standbys }),
    ]
}

fn blocked() -> impl Strategy<Value = Blocked> {
    (block_reason(), wall()).prop_map(|(reason, since)| Blocked { reason, since })
}

prop_compose! {
    fn group()(
        spec in group_spec(),
        primary in option::of(primary()),
        transition in option::of(transition()),
        paused in option::of(pause()),
        blocked in option::of(blocked()),
        history in vec(transition(), 0..3),
        revision in number(),
    ) -> Group {
        Group { spec, primary, transition, paused, blocked, history: history.into(), revision: Revision(revision) }
    }
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let previous = option::of((member_name(), address()));
    prop_oneof![
        (number(), number())
            .prop_map(|(node, term)| Event::LeadershipAssumed { node: NodeId(node), term: Term(term) }),
        group_name().prop_map(|group| Event::GroupConfigured { group }),
        group_name().prop_map(|group| Event::GroupRemoved { group }),
        (group_name(), epoch(), option::of(member_name()), member_name(), cause()).prop_map(
            |(group, epoch, from, to, cause)| Event::TransitionStarted { group, epoch, from, to, cause }
        ),
        (group_name(), epoch(), phase(), number(), text()).prop_map(|(group, epoch, phase, us, note)| {
            Event::PhasePassed { group, epoch, phase, us, note }
        }),
        (group_name(), epoch(), member_name(), site_name(), address(), previous).prop_map(
            |(group, epoch, member, site, address, previous)| Event::PrimaryChanged {
                group,
                epoch,
                member,
                site,
                address,
                previous
            }
        ),
        (group_name(), epoch(), fence_quorum()).prop_map(|(group, epoch, fence)| Event::FenceChanged {
            group,
            epoch,
            fence
        }),
        (group_name(), epoch(), node()).prop_map(|(group, epoch, node)| Event::WitnessAppointed {
            group,
            epoch,
            node
        }),
        (group_name(), epoch(), node(), any::<bool>()).prop_map(|(group, epoch, node, degraded)| {
            Event::HolderAppointed { group, epoch, node, degraded }
        }),
        (group_name(), epoch(), member_name(), number())
            .prop_map(|(group, epoch, member, bytes)| Event::OrphanedFound { group, epoch, member, bytes }),
        (group_name(), epoch(), outcome(), loss(), option::of(text())).prop_map(
            |(group, epoch, outcome, lost, failure)| Event::TransitionEnded {
                group,
                epoch,
                outcome,
                lost,
                failure
            }
        ),
        (group_name(), text()).prop_map(|(group, by)| Event::GroupPaused { group, by }),
        (group_name(), text()).prop_map(|(group, by)| Event::GroupResumed { group, by }),
        (group_name(), block_reason()).prop_map(|(group, reason)| Event::GroupBlocked { group, reason }),
        group_name().prop_map(|group| Event::GroupUnblocked { group }),
    ]
}

prop_compose! {
    fn start_transition()(
        (group, from, to, cause, planned) in
            (group_name(), option::of((member_name(), epoch())), member_name(), cause(), any::<bool>()),
        (requested_by, reason, evidence, proof) in
            (option::of(text()), option::of(text()), vec(evidence(), 0..3), option::of(proof())),
        (expected, to_run_id, end, rescue, lost, loss_accepted, detected_at, at) in
            (option::of(text()), option::of(text()), option::of(position()), node(), loss(), any::<bool>(), wall(), wall()),
    ) -> StartTransition {
        StartTransition {
            group, from, to, cause, planned, requested_by, reason, evidence, proof, expected, end, rescue, lost,
            loss_accepted, detected_at, at, to_run_id,
        }
    }
}

fn confirm_fence() -> impl Strategy<Value = Command> {
    let parts = (
        group_name(),
        epoch(),
        proof(),
        option::of(position()),
        option::of(number()),
        wall(),
        node(),
        option::of(loss()),
        wall(),
    );
    parts.prop_map(|(group, epoch, proof, end, drained_us, closed_at, rescue, lost, at)| {
        Command::ConfirmFence { group, epoch, proof, end, drained_us, closed_at, rescue, lost, at }
    })
}

/// The commands of the fence quorum, the witness and the rescue.
fn safety_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (group_name(), epoch(), option::of(position()), number(), loss(), text(), wall()).prop_map(
            |(group, epoch, end, fetched_bytes, lost, note, at)| Command::ConfirmRescue {
                group,
                epoch,
                end,
                fetched_bytes,
                lost,
                note,
                at
            }
        ),
        (group_name(), epoch(), fence_quorum(), wall())
            .prop_map(|(group, epoch, fence, at)| Command::ChangeFence { group, epoch, fence, at }),
        (group_name(), epoch(), node(), wall())
            .prop_map(|(group, epoch, node, at)| Command::AppointWitness { group, epoch, node, at }),
        (group_name(), epoch(), member_name(), number(), wall()).prop_map(
            |(group, epoch, member, bytes, at)| Command::RecordOrphaned { group, epoch, member, bytes, at }
        ),
        (group_name(), epoch(), node(), any::<bool>(), wall()).prop_map(
            |(group, epoch, node, degraded, at)| Command::AppointHolder { group, epoch, node, degraded, at }
        ),
    ]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (vec(group_spec(), 0..3), any::<bool>(), text(), wall())
            .prop_map(|(groups, prune, by, at)| Command::ConfigureGroups { groups, prune, by, at }),
        (number(), number(), wall()).prop_map(|(node, term, at)| Command::AssumeLeadership {
            node: NodeId(node),
            term: Term(term),
            at
        }),
        start_transition().prop_map(|start| Command::StartTransition(Box::new(start))),
        confirm_fence(),
        safety_command(),
        (group_name(), epoch(), lineage(), fence_quorum(), node(), wall()).prop_map(
            |(group, epoch, lineage, fence, witness, at)| Command::ConfirmPromotion {
                group,
                epoch,
                lineage,
                fence,
                witness,
                at
            }
        ),
        (group_name(), epoch(), wall()).prop_map(|(group, epoch, at)| Command::ConfirmOpen {
            group,
            epoch,
            at
        }),
        (group_name(), epoch(), text(), wall()).prop_map(|(group, epoch, note, at)| Command::Settle {
            group,
            epoch,
            note,
            at
        }),
        (group_name(), epoch(), text(), wall()).prop_map(|(group, epoch, failure, at)| Command::RollBack {
            group,
            epoch,
            failure,
            at
        }),
        (group_name(), epoch(), wall()).prop_map(|(group, epoch, at)| Command::ConfirmRollBack {
            group,
            epoch,
            at
        }),
        (group_name(), text(), option::of(text()), wall())
            .prop_map(|(group, by, reason, at)| Command::Pause { group, by, reason, at }),
        (group_name(), text(), wall()).prop_map(|(group, by, at)| Command::Resume { group, by, at }),
        (group_name(), epoch(), block_reason(), wall())
            .prop_map(|(group, epoch, reason, at)| Command::Block { group, epoch, reason, at }),
        (group_name(), wall()).prop_map(|(group, at)| Command::Unblock { group, at }),
    ]
}

/// A state whose groups are named as their specs and whose batches rise, as `apply` makes them.
pub(crate) fn state() -> impl Strategy<Value = State> {
    let leadership = option::of((number(), number(), number()));
    let batches = btree_map(1..u64::MAX, (wall(), vec(event(), 1..3)), 0..4);
    let parts = (vec(group(), 0..3), leadership, batches);
    parts.prop_map(|(groups, leadership, batches)| State {
        groups: groups.into_iter().map(|g| (g.spec.name.clone(), g)).collect(),
        leadership: leadership.map(|(node, term, revision)| Leadership {
            node: NodeId(node),
            term: Term(term),
            revision: Revision(revision),
        }),
        revision: Revision(batches.keys().next_back().copied().unwrap_or(7)),
        compacted: Revision(batches.keys().next().map_or(7, |first| first - 1)),
        events: batches
            .into_iter()
            .map(|(revision, (at, events))| EventBatch { revision: Revision(revision), at, events })
            .collect(),
    })
}

fn member_role() -> impl Strategy<Value = MemberRole> {
    let attached = (text(), any::<u16>(), any::<bool>(), number())
        .prop_map(|(host, port, online, offset_bytes)| AttachedReplica { host, port, online, offset_bytes });
    prop_oneof![
        Just(MemberRole::Endpoint),
        vec(attached, 0..3).prop_map(|replicas| MemberRole::Primary { replicas }),
        (text(), any::<u16>(), any::<bool>(), number(), any::<bool>()).prop_map(
            |(host, port, link_up, read_offset_bytes, read_only)| MemberRole::Replica {
                host,
                port,
                link_up,
                read_offset_bytes,
                read_only
            }
        ),
    ]
}

fn boot() -> impl Strategy<Value = BootFence> {
    prop_oneof![
        Just(BootFence::Fenced),
        text().prop_map(|why| BootFence::Open { why }),
        text().prop_map(|why| BootFence::Unproven { why }),
    ]
}

prop_compose! {
    fn member_status()(
        (run_id, pid, uptime_s, version, role) in (text(), any::<u32>(), number(), text(), member_role()),
        (replid, replid2, second_offset_bytes, offset_bytes) in (text(), option::of(text()), number(), number()),
        (min_replicas, notices_silence, loading, keys, clients, sentinels, rtt_us) in
            (number(), any::<bool>(), any::<bool>(), number(), number(), number(), number()),
        boot in boot(),
    ) -> MemberStatus {
        MemberStatus {
            run_id, pid, uptime_s, version, role, replid, replid2, second_offset_bytes, offset_bytes, min_replicas,
            notices_silence, loading, keys, clients, sentinels, boot, rtt_us,
        }
    }
}

/// An observation made at or before `now`.
pub(crate) fn observation(now: Moment) -> impl Strategy<Value = Observation> {
    let past = move || (0..=now.0).prop_map(Moment);
    let ended = option::of(proptest::sample::select(vec![LinkEnd::Eof, LinkEnd::Reset, LinkEnd::Unanswered]));
    let connect = option::of(proptest::sample::select(vec![
        ConnectFailure::Refused,
        ConnectFailure::Unreachable,
        ConnectFailure::NameUnknown,
        ConnectFailure::Protocol,
    ]));
    let down = (past(), ended, connect, option::of(any::<u32>()), text()).prop_map(
        |(since, ended, connect, exited_pid, detail)| Reach::Down {
            since,
            ended,
            connect,
            exited_pid,
            detail,
        },
    );
    let status = member_status().boxed();
    let reach = prop_oneof![status.clone().prop_map(Reach::Up), down.boxed()].boxed();
    (past(), reach, option::of((past(), status)), option::of(number()))
        .prop_map(|(at, reach, last_up, rate_peak_bytes)| Observation { at, reach, last_up, rate_peak_bytes })
}

prop_compose! {
    /// A report made at or before `now`.
    pub(crate) fn witness_report(now: Moment)(
        (at, heard_at, epoch) in ((0..=now.0).prop_map(Moment), (0..=now.0).prop_map(Moment), epoch()),
        (attached, closed, copies, replid) in (any::<bool>(), any::<bool>(), number(), option::of(text())),
        ended in option::of(proptest::sample::select(vec![LinkEnd::Eof, LinkEnd::Reset, LinkEnd::Unanswered])),
        (a, b) in (number(), number()),
    ) -> WitnessReport {
        WitnessReport {
            at, epoch, attached, ended, closed, replid, start_bytes: a.min(b), end_bytes: a.max(b), heard_at, copies,
        }
    }
}

prop_compose! {
    /// A report made at or before `now`.
    pub(crate) fn gate_report(now: Moment)(
        at in (0..=now.0).prop_map(Moment), epoch in epoch(), open in any::<bool>(),
    ) -> GateReport {
        GateReport { at, epoch, open }
    }
}
