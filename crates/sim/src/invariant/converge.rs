//! `resumes` and `converges`: once faults stop every group has one primary, all others follow it, all nodes agree.

use crate::coverage::Mark;
use crate::fault::Wish;
use crate::setup::member_number;
use crate::world::World;
use primacy_core::{BlockReason, Phase};

/// Once faults are over an operator is asked at most so often.
const HELP_EVERY_US: u64 = 1_000_000;
/// How long the rules have before an operator looks.
const HELP_AFTER_US: u64 = 6_000_000;

/// What an operator does about a group that needs one.
pub(crate) fn help(world: &mut World) {
    super::watch::look(world);
    let now = world.now;
    if now < world.truth.calm_since + HELP_AFTER_US || now < world.truth.helped_at + HELP_EVERY_US {
        return;
    }
    world.truth.helped_at = now;
    let Some(group) = world.truth.group() else { return };
    let wish = match (&group.paused, &group.blocked) {
        (Some(_), _) => Some(Wish::Resume),
        (None, None) => None,
        (None, Some(blocked)) => match &blocked.reason {
            BlockReason::NoFirstPrimary { .. } | BlockReason::NoCandidate { .. } => {
                Some(Wish::Failover { to: best(world), allow_data_loss: true })
            }
            BlockReason::FenceUnproven { .. }
            | BlockReason::LossOverBudget { .. }
            | BlockReason::ClusterDown { .. }
            | BlockReason::ManualFailover { .. } => Some(Wish::Failover { to: None, allow_data_loss: true }),
        },
    };
    let Some(wish) = wish else { return };
    // Where nobody of the primary's history is left, somebody has to be named.
    if world.wish(wish) || world.wish(Wish::Failover { to: best(world), allow_data_loss: true }) {
        world.mark(Mark::Helped);
    }
}

/// The member that holds most, for whoever has to choose.
fn best(world: &World) -> Option<usize> {
    let up = (0..world.servers.len()).filter(|m| world.servers[*m].runs());
    up.max_by_key(|m| (world.servers[*m].keys > 0, world.servers[*m].place.offset))
}

/// The run is over.
pub(crate) fn at_the_end(world: &mut World) {
    if let Some(why) = unsettled(world) {
        world.violate("converges", why);
    } else {
        world.mark(Mark::Converged);
    }
}

fn unsettled(world: &World) -> Option<String> {
    let Some(group) = world.truth.group() else { return Some("the group was never configured".to_owned()) };
    let Some(primary) = &group.primary else {
        return Some(format!("there is no primary: {:?}", group.blocked));
    };
    if let Some(t) = group.transition.as_ref().filter(|t| t.phase != Phase::Settle) {
        return Some(format!("transition {} is still in {}", t.epoch, t.phase));
    }
    if let Some(blocked) = &group.blocked {
        return Some(format!("it is blocked: {}", blocked.reason));
    }
    let behind = (0..world.nodes.len()).find(|n| world.nodes[*n].applied < world.truth.log.len());
    if let Some(n) = behind.filter(|n| world.nodes[*n].state.revision != world.truth.state.revision) {
        return Some(format!(
            "n{} has applied {} of {}",
            n + 1,
            world.nodes[n].applied,
            world.truth.log.len()
        ));
    }
    if world.is_endpoint() {
        return None;
    }
    let m = member_number(&primary.member);
    let server = &world.servers[m];
    if !server.is_primary() || !server.door_is_open() {
        return Some(format!(
            "m{m} is the primary and is not open ({} of {})",
            server.good, server.min_replicas
        ));
    }
    let stray = (0..world.servers.len()).find(|o| {
        let s = &world.servers[*o];
        // One that we killed when all was over is not started again by anybody.
        *o != m && s.runs() && !(s.link_up() && s.source == Some(crate::redis::Source::Member(m)))
    });
    stray.map(|o| {
        format!("m{o} does not follow m{m}: {:?} {:?}", world.servers[o].source, world.servers[o].stage)
    })
}
