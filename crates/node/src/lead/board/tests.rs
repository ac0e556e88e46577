//! What is news, what is old, and what a seat forgets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use primacy_core::view::{BootFence, MemberRole};
use primacy_core::{
    Command, Durability, FailoverMode, FencePolicy, GroupKind, GroupSpec, LossBudget, MemberSpec, OnNoSite,
    Probe, WallTime,
};

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

fn member(name: &str) -> MemberName {
    MemberName::new(name).unwrap()
}

fn state(members: &[&str]) -> State {
    let members = members.iter().enumerate().map(|(n, name)| MemberSpec {
        name: member(name),
        site: SiteName::new("east").unwrap(),
        address: format!("h:{}", n + 1).parse().unwrap(),
        priority: 100,
        probe: Probe::Native,
    });
    let spec = GroupSpec {
        name: group(),
        kind: GroupKind::Redis,
        failover: FailoverMode::Automatic,
        down_after_ms: 1_000,
        max_loss: LossBudget::Any,
        fence: FencePolicy::Witness,
        tail_max_bytes: 64 << 20,
        may_kill: false,
        durability: Durability::Local,
        on_no_site: OnNoSite::Refuse,
        mirror: None,
        members: members.collect(),
    };
    let mut state = State::default();
    let command =
        Command::ConfigureGroups { groups: vec![spec], prune: true, by: "t".into(), at: WallTime(1) };
    state.apply(5, &command).unwrap();
    state
}

impl Committed for State {
    fn lend(&self, f: &mut dyn FnMut(&State)) {
        f(self);
    }
}

fn up(at: u64, offset_bytes: u64, link_up: bool) -> Observation {
    let role = MemberRole::Replica {
        host: "h".into(),
        port: 1,
        link_up,
        read_offset_bytes: offset_bytes,
        read_only: true,
    };
    let status = MemberStatus {
        run_id: "r".into(),
        pid: 1,
        uptime_s: at,
        version: "7.0.15".into(),
        role,
        replid: "x".into(),
        replid2: None,
        second_offset_bytes: 0,
        offset_bytes,
        min_replicas: 0,
        notices_silence: true,
        loading: false,
        keys: 1,
        clients: 1,
        sentinels: 0,
        boot: BootFence::Fenced,
        rtt_us: at,
    };
    Observation { at: Moment(at), reach: Reach::Up(status), last_up: None, rate_peak_bytes: Some(0) }
}

#[test]
fn only_news_makes_a_group_due() {
    let board = Board::new(NodeId(1), SafetyTimes::default());
    let state = state(&["a", "b"]);
    let seen = |o| vec![(group(), member("a"), o)];
    assert!(!board.report(NodeId(2), Moment(1), &state, seen(up(1, 10, true)), vec![]), "it does not lead");
    board.take_seat(Term(3), Moment(1), &state);
    board.follow(Moment(2), &state);
    assert_eq!(board.take_due().len(), 1, "a group that is new here is due");
    board.report(NodeId(2), Moment(3), &state, seen(up(3, 10, true)), vec![]);
    assert_eq!(board.take_due().len(), 1, "the first observation is news");
    board.report(NodeId(2), Moment(4), &state, seen(up(4, 20, true)), vec![]);
    assert_eq!(board.take_due().len(), 0, "an offset that moved is not");
    board.report(NodeId(2), Moment(5), &state, seen(up(5, 20, false)), vec![]);
    assert_eq!(board.take_due().len(), 1, "a link that fell is");
    board.report(NodeId(2), Moment(6), &state, seen(up(4, 20, true)), vec![]);
    assert_eq!(board.take_due().len(), 0, "an older one that comes late is dropped");
    let last = board.read(|v| v.seen[&(group(), member("a"))][&NodeId(2)].at).unwrap();
    assert_eq!(last, Moment(5));
    assert_eq!(board.read(|v| v.heard[&NodeId(2)]), Some(Moment(6)));
}

#[test]
fn gates_that_shut_make_a_group_due() {
    let board = Board::new(NodeId(1), SafetyTimes::default());
    let state = state(&["a", "b"]);
    board.take_seat(Term(3), Moment(1), &state);
    board.follow(Moment(2), &state);
    board.take_due();
    let report = |at, open| GateReport { at: Moment(at), epoch: Epoch(7), open };
    let due = |at, open| {
        board.report_gates(NodeId(2), vec![(group(), report(at, open))]);
        board.take_due().len()
    };
    assert_eq!((due(3, true), due(4, true), due(5, false)), (1, 0, 1));
    assert_eq!(due(4, true), 0, "an older one that comes late is dropped");
    assert!(board.note_gates(&group(), &report(6, true)), "news to be sent");
    assert!(!board.note_gates(&group(), &report(7, true)));
    assert_eq!(board.own_gates(|g, r| (g.clone(), r.open)), [(group(), true)]);
    assert_eq!(board.read(|v| v.gates.len()), Some(2));
    board.keep_gates(|_| false);
    assert_eq!(board.own_gates(|_, _| ()).len(), 0);
}

#[test]
fn what_is_gone_is_forgotten() {
    let board = Board::new(NodeId(1), SafetyTimes::default());
    let state = state(&["a", "b"]);
    board.see(Moment(1), &state, (&group(), &member("a"), &up(1, 1, true)));
    board.take_seat(Term(3), Moment(1), &state);
    board.follow(Moment(2), &state);
    assert_eq!(board.read(|v| v.seen.len()), Some(1), "a new leader begins with what it saw itself");
    let key = ActionKey { group: group(), epoch: Epoch(9), member: member("a"), word: "open" };
    assert_eq!(board.failed(&key, Moment(4), "no".into(), false), 1);
    assert_eq!(board.failed(&key, Moment(4), "no".into(), false), 2);
    board.follow(Moment(5), &State::default());
    assert_eq!(board.read(|v| (v.seen.len(), v.failures.len())), Some((0, 0)));
    board.leave_seat();
    assert_eq!(board.read(|_| ()), None);
}

#[test]
fn a_phase_is_known_since_it_was_seen() {
    let board = Board::new(NodeId(1), SafetyTimes::default());
    let mut state = state(&["a", "b"]);
    board.take_seat(Term(3), Moment(1), &state);
    board.follow(Moment(2), &state);
    let start = primacy_core::StartTransition {
        group: group(),
        from: None,
        to: member("a"),
        cause: primacy_core::Cause::Initial,
        planned: false,
        requested_by: None,
        reason: None,
        evidence: vec![],
        proof: None,
        expected: None,
        to_run_id: None,
        end: None,
        rescue: None,
        lost: primacy_core::Loss::Exact(0),
        loss_accepted: false,
        detected_at: WallTime(1),
        at: WallTime(1),
    };
    state.apply(6, &Command::StartTransition(Box::new(start))).unwrap();
    board.follow(Moment(7), &state);
    board.follow(Moment(8), &state);
    assert_eq!(board.read(|v| v.phase_since.get(&group()).copied()), Some(Some(Moment(7))));
}
