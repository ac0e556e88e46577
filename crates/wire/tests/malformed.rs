//! Missing and impossible fields are named by their path. Nothing is defaulted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use primacy_core::{
    Command, Durability, FenceQuorum, GroupSpec, Moment, OnNoSite, Probe, Proof, State, Transition,
};
use primacy_wire::{WireError, decode_command, sighting, v1, witness};
use prost::Message;
use std::fmt::Debug;

fn spec() -> v1::GroupSpec {
    let member = |name: &str, port: u16| v1::MemberSpec {
        name: name.to_owned(),
        site: "east".to_owned(),
        address: format!("10.0.0.1:{port}"),
        priority: 100,
        probe: None,
    };
    v1::GroupSpec {
        name: "features".to_owned(),
        kind: v1::GroupKind::Redis.into(),
        failover: v1::FailoverMode::Automatic.into(),
        down_after_ms: 1_000,
        max_loss: Some(v1::LossBudget { bound: Some(v1::loss_budget::Bound::Bytes(0)) }),
        fence: v1::FencePolicy::Witness.into(),
        members: vec![member("a", 1), member("b", 2)],
        ..Default::default()
    }
}

fn transition() -> v1::Transition {
    v1::Transition {
        group: "features".to_owned(),
        epoch: 7,
        to: "b".to_owned(),
        cause: v1::Cause::Death.into(),
        phase: v1::Phase::Fence.into(),
        lost: Some(v1::Loss { amount: Some(v1::loss::Amount::Unknown(v1::Nothing {})) }),
        ..Default::default()
    }
}

fn primary() -> v1::PrimaryRecord {
    let start = v1::Position { replid: "f".repeat(40), offset_bytes: 7 };
    let lineage = v1::Lineage { run_id: "r".to_owned(), start: Some(start), previous: None };
    v1::PrimaryRecord { member: "a".to_owned(), epoch: 7, lineage: Some(lineage), ..Default::default() }
}

fn group() -> v1::Group {
    v1::Group { spec: Some(spec()), ..Default::default() }
}

fn command(kind: v1::command::Kind) -> v1::Command {
    v1::Command { format: 1, kind: Some(kind) }
}

/// Applies `damage` to a good message, and expects the error at that path.
fn refused<W, C>(good: W, damage: impl FnOnce(&mut W), field: &str) -> WireError
where
    W: Clone + Debug,
    C: TryFrom<W, Error = WireError> + Debug,
{
    C::try_from(good.clone()).expect("the message is good before it is damaged");
    let mut bad = good;
    damage(&mut bad);
    let error = C::try_from(bad).expect_err("the damaged message is refused");
    assert_eq!(error.field, field, "{error}");
    error
}

#[test]
fn group_specs() {
    let check = |damage: fn(&mut v1::GroupSpec), field| refused::<_, GroupSpec>(spec(), damage, field);
    check(|s| s.name.clear(), "name");
    check(|s| s.kind = 0, "kind");
    check(|s| s.kind = 99, "kind");
    check(|s| s.failover = 0, "failover");
    check(|s| s.fence = -1, "fence");
    check(|s| s.max_loss = None, "max_loss");
    check(|s| s.max_loss = Some(v1::LossBudget { bound: None }), "max_loss.bound");
    check(|s| s.durability = Some(0), "durability");
    check(|s| s.on_no_site = Some(9), "on_no_site");
    check(|s| s.members[0].probe = Some(v1::Probe { kind: None }), "members[0].probe.kind");
    check(|s| s.members[1].site = "a b".to_owned(), "members[1].site");
    let error = check(|s| s.members[1].address = "10.0.0.1".to_owned(), "members[1].address");
    assert!(error.reason.contains("the port is missing"), "{error}");
}

#[test]
fn transitions() {
    let check =
        |damage: fn(&mut v1::Transition), field| refused::<_, Transition>(transition(), damage, field);
    check(|t| t.from = Some(String::new()), "from");
    check(|t| t.cause = 0, "cause");
    check(|t| t.phase = 77, "phase");
    check(|t| t.lost = None, "lost");
    check(|t| t.outcome = Some(0), "outcome");
    check(|t| t.proof = Some(v1::Proof { kind: None }), "proof.kind");
    let empty = v1::Evidence { member: "a".to_owned(), ..Default::default() };
    refused::<_, Transition>(transition(), |t| t.evidence = vec![empty], "evidence[0].finding");
}

#[test]
fn states() {
    let good = v1::State { format: 1, groups: vec![group()], revision: 9, ..Default::default() };
    let batch = |revision| v1::EventBatch {
        revision,
        at_us: 1,
        events: vec![v1::Event {
            kind: Some(v1::event::Kind::GroupRemoved(v1::event::OfGroup { group: "g".to_owned() })),
        }],
    };
    refused::<_, State>(good.clone(), |s| s.format = 0, "format");
    let error = refused::<_, State>(good.clone(), |s| s.format = 3, "format");
    assert!(error.reason.contains("update this node"), "{error}");
    refused::<_, State>(good.clone(), |s| s.groups.push(group()), "groups[1].spec.name");
    refused::<_, State>(good.clone(), |s| s.groups[0].spec = None, "groups[0].spec");
    let mut kept = good.clone();
    kept.groups[0].primary = Some(primary());
    let twice = || v1::FenceQuorum { min_replicas: 1, replicas: vec!["b".to_owned(), "b".to_owned()] };
    let damage = |s: &mut v1::State| s.groups[0].primary.as_mut().unwrap().fence = Some(twice());
    refused::<_, State>(kept, damage, "groups[0].primary.fence.replicas[1]");
    refused::<_, State>(good.clone(), |s| s.events = vec![batch(3), batch(3)], "events[1].revision");
    refused::<_, State>(good.clone(), |s| s.events = vec![batch(10)], "events[0].revision");
    let hollow = v1::EventBatch { events: vec![], ..batch(3) };
    refused::<_, State>(good.clone(), |s| s.events = vec![hollow], "events[0].events");
    let unknown = v1::EventBatch { events: vec![v1::Event { kind: None }], ..batch(3) };
    refused::<_, State>(good, |s| s.events = vec![unknown], "events[0].events[0].kind");
}

#[test]
fn commands() {
    let settle = v1::command::Settle { group: "g".to_owned(), epoch: 1, ..Default::default() };
    let good = command(v1::command::Kind::Settle(settle));
    refused::<_, Command>(good.clone(), |c| c.format = 9, "format");
    refused::<_, Command>(good.clone(), |c| c.kind = None, "kind");
    let fence = v1::command::ConfirmFence { group: "g".to_owned(), ..Default::default() };
    refused::<_, Command>(
        good,
        |c| c.kind = Some(v1::command::Kind::ConfirmFence(fence)),
        "confirm_fence.proof",
    );
}

/// What was written before leases and the fence quorum is read, and proves nothing that it did not say.
#[test]
fn records_of_format_1_are_read() {
    let group = v1::Group { primary: Some(primary()), ..group() };
    let old = v1::State { format: 1, groups: vec![group], revision: 9, ..Default::default() };
    let state = State::try_from(old).unwrap();
    let group = state.groups.values().next().unwrap();
    let spec = &group.spec;
    assert_eq!((spec.tail_max_bytes, spec.may_kill), (64 << 20, false));
    assert_eq!((spec.durability, spec.on_no_site), (Durability::Local, OnNoSite::Refuse));
    assert!(spec.members.iter().all(|m| m.probe == Probe::Native));
    let primary = group.primary.as_ref().unwrap();
    assert_eq!(primary.fence, FenceQuorum::default());
    assert_eq!((primary.witness, primary.holder, primary.degraded), (None, None, false));

    let fence = v1::command::ConfirmFence {
        group: "g".to_owned(),
        proof: Some(v1::Proof { kind: Some(v1::proof::Kind::Vacant(v1::Nothing {})) }),
        ..Default::default()
    };
    let old = command(v1::command::Kind::ConfirmFence(fence));
    assert!(matches!(Command::try_from(old).unwrap(), Command::ConfirmFence { rescue: None, .. }));
    let promotion = v1::command::ConfirmPromotion {
        group: "g".to_owned(),
        lineage: self::primary().lineage,
        ..Default::default()
    };
    let old = command(v1::command::Kind::ConfirmPromotion(promotion));
    let Command::ConfirmPromotion { fence, witness, .. } = Command::try_from(old).unwrap() else {
        panic!("another command");
    };
    assert_eq!((fence, witness), (FenceQuorum::default(), None));
}

/// The bytes of a proof that an older version wrote: field 2 was called `died`.
#[test]
fn a_death_of_format_1_is_a_detachment() {
    let bytes = [0x12, 0x00];
    let proof = v1::Proof::decode(bytes.as_slice()).unwrap();
    assert_eq!(Proof::try_from(proof).unwrap(), Proof::Detached { evidence: vec![] });
}

#[test]
fn witness_reports() {
    let good =
        v1::WitnessReport { group: "g".to_owned(), start_bytes: 3, end_bytes: 5, ..Default::default() };
    let check = |damage: &dyn Fn(&mut v1::WitnessReport), field: &str| {
        witness::from_wire(good.clone(), Moment(5)).unwrap();
        let mut bad = good.clone();
        damage(&mut bad);
        assert_eq!(witness::from_wire(bad, Moment(5)).unwrap_err().field, field);
    };
    check(&|r| r.group.clear(), "group");
    check(&|r| r.ended = Some(0), "ended");
    check(&|r| r.start_bytes = 6, "start_bytes");
}

/// A node of a later version proposes something that this one does not know: field 99 of the `oneof`.
#[test]
fn an_unknown_kind_of_command_is_an_error() {
    let mut bytes = v1::Command { format: 1, kind: None }.encode_to_vec();
    bytes.extend([0x9a, 0x06, 0x00]);
    let error = decode_command(&bytes).unwrap_err();
    assert_eq!(error.field, "kind");
    assert!(error.reason.contains("does not know"), "{error}");
}

#[test]
fn sightings() {
    let status = v1::ServerStatus {
        role: Some(v1::server_status::Role::Replica(v1::server_status::Replica {
            port: 6379,
            ..Default::default()
        })),
        ..Default::default()
    };
    let good = v1::Sighting {
        group: "g".to_owned(),
        member: "m".to_owned(),
        reach: Some(v1::sighting::Reach::Up(status.clone())),
        ..Default::default()
    };
    let check = |damage: &dyn Fn(&mut v1::Sighting), field: &str| {
        sighting::from_wire(good.clone(), Moment(5)).unwrap();
        let mut bad = good.clone();
        damage(&mut bad);
        assert_eq!(sighting::from_wire(bad, Moment(5)).unwrap_err().field, field);
    };
    let port = v1::server_status::Replica { port: 70_000, ..Default::default() };
    let wild = v1::ServerStatus { role: Some(v1::server_status::Role::Replica(port)), ..status };
    check(&|s| s.reach = None, "reach");
    check(&|s| s.reach = Some(v1::sighting::Reach::Up(wild.clone())), "up.role.replica.port");
    check(&|s| s.last_up = Some(v1::LastAnswer::default()), "last_up.status");
    check(&|s| s.member.clear(), "member");
    let down = v1::Unreached { ended: Some(0), ..Default::default() };
    check(&|s| s.reach = Some(v1::sighting::Reach::Down(down.clone())), "down.ended");
}

/// Ages beyond the receiver's start saturate, they do not wrap.
#[test]
fn an_age_before_our_start_is_our_start() {
    let down = v1::Unreached { since_age_us: u64::MAX, ..Default::default() };
    let sighting = v1::Sighting {
        group: "g".to_owned(),
        member: "m".to_owned(),
        age_us: 6,
        reach: Some(v1::sighting::Reach::Down(down)),
        ..Default::default()
    };
    let (_, _, seen) = sighting::from_wire(sighting, Moment(5)).unwrap();
    assert_eq!(seen.at, Moment(0));
}
