//! How processes, links, clocks and disks are, and how the faults in force want them to be.

use std::time::{Duration, Instant};

use anyhow::Result;
use primacy_testbed::{Process, WanLink};

use super::Active;
use crate::fault::{Fault, SITES};
use crate::record::Record;
use crate::world::World;

const COUNT: usize = SITES.len();

/// One value for each site.
type Each<T> = [T; COUNT];

/// What holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Force {
    frozen_redis: Each<bool>,
    frozen_node: Each<bool>,
    /// From, to.
    cut: Each<Each<bool>>,
    /// What is added to a link from and to a site: milliseconds, and packets of a thousand that are lost.
    delay_ms: Each<u64>,
    loss: Each<u64>,
    redis_ahead_ms: Each<i64>,
    node_ahead_ms: Each<i64>,
    full: Each<bool>,
    slower_ms: Each<u64>,
}

impl Default for Force {
    fn default() -> Self {
        Self {
            frozen_redis: [false; COUNT],
            frozen_node: [false; COUNT],
            cut: [[false; COUNT]; COUNT],
            delay_ms: [0; COUNT],
            loss: [0; COUNT],
            redis_ahead_ms: [0; COUNT],
            node_ahead_ms: [0; COUNT],
            full: [false; COUNT],
            slower_ms: [0; COUNT],
        }
    }
}

impl Force {
    /// A node was started: it is not frozen, whatever the one before was.
    pub(super) fn forget_node(&mut self, site: usize) {
        self.frozen_node[site] = false;
    }

    /// A server was started.
    pub(super) fn forget_redis(&mut self, site: usize) {
        self.frozen_redis[site] = false;
    }

    /// Makes everything be as the faults want it.
    pub(super) fn apply(
        &mut self,
        world: &World,
        record: &Record,
        active: &[Active],
        now: Instant,
    ) -> Result<()> {
        let want = wanted(active, now);
        for site in 0..COUNT {
            let redis = world.d.group.member(&World::member(site))?;
            if want.frozen_redis[site] != self.frozen_redis[site] {
                if !want.frozen_redis[site] {
                    record.pages().woken.push((World::member(site), Instant::now()));
                }
                freeze(redis.process(), want.frozen_redis[site])?;
            }
            if want.frozen_node[site] != self.frozen_node[site] {
                freeze(world.node(site)?.process(), want.frozen_node[site])?;
            }
            self.beneath(world, &want, site)?;
        }
        self.network(world, &want)?;
        *self = want;
        Ok(())
    }

    fn beneath(&self, world: &World, want: &Self, site: usize) -> Result<()> {
        if want.redis_ahead_ms[site] != self.redis_ahead_ms[site] {
            world.redis_plans[site].set_clock_ahead_ms(want.redis_ahead_ms[site])?;
        }
        if want.node_ahead_ms[site] != self.node_ahead_ms[site] {
            world.node_plans[site].set_clock_ahead_ms(want.node_ahead_ms[site])?;
        }
        if want.slower_ms[site] != self.slower_ms[site] {
            world.node_plans[site].set_sync_slower_ms(want.slower_ms[site])?;
        }
        match (self.full[site], want.full[site]) {
            (false, true) => world.disks[site].fill(),
            (true, false) => world.disks[site].free(),
            _ => Ok(()),
        }
    }

    fn network(&self, world: &World, want: &Self) -> Result<()> {
        for (from, from_name) in SITES.iter().enumerate() {
            for (to, to_name) in SITES.iter().enumerate().filter(|(to, _)| *to != from) {
                match (self.cut[from][to], want.cut[from][to]) {
                    (false, true) => world.wan.cut_one_way(from_name, to_name)?,
                    (true, false) => world.wan.heal_one_way(from_name, to_name)?,
                    _ => {}
                }
                if self.quality(from, to) != want.quality(from, to) {
                    let (delay_ms, loss) = want.quality(from, to);
                    let link = world.link();
                    let delay = link.delay + Duration::from_millis(delay_ms);
                    let loss = loss as f64 / 1_000.0;
                    world.wan.set_link_one_way(from_name, to_name, &WanLink { delay, loss, ..link })?;
                }
            }
        }
        Ok(())
    }

    fn quality(&self, from: usize, to: usize) -> (u64, u64) {
        (self.delay_ms[from] + self.delay_ms[to], self.loss[from].max(self.loss[to]))
    }

    fn isolate(&mut self, site: usize, outwards: bool, inwards: bool) {
        for other in (0..COUNT).filter(|other| *other != site) {
            self.cut[site][other] |= outwards;
            self.cut[other][site] |= inwards;
        }
    }
}

/// A process that has ended is neither frozen nor thawed.
fn freeze(process: &Process, frozen: bool) -> Result<()> {
    let done = if frozen { process.stop() } else { process.cont() };
    done.or_else(|error| if process.is_running() { Err(error) } else { Ok(()) })
}

fn wanted(active: &[Active], now: Instant) -> Force {
    let mut want = Force::default();
    for Active { fault, sites: (one, other), since, .. } in active {
        let (one, other) = (*one, *other);
        match *fault {
            Fault::FreezeRedis(_) => want.frozen_redis[one] = true,
            Fault::FreezeNode(_) => want.frozen_node[one] = true,
            Fault::FreezeBoth(_) => {
                want.frozen_redis[one] = true;
                want.frozen_node[one] = true;
            }
            Fault::Isolate(_) | Fault::LoseSite(_) => want.isolate(one, true, true),
            Fault::Mute(_) => want.isolate(one, true, false),
            Fault::Deafen(_) => want.isolate(one, false, true),
            Fault::Cut(..) if one != other => {
                want.cut[one][other] = true;
                want.cut[other][one] = true;
            }
            Fault::CutOneWay(..) if one != other => want.cut[one][other] = true,
            Fault::Flap(_, ms) => {
                let turns = now.saturating_duration_since(*since).as_millis() as u64 / ms.max(1);
                if turns.is_multiple_of(2) {
                    want.isolate(one, true, true);
                }
            }
            Fault::Delay(_, ms) => want.delay_ms[one] += ms,
            Fault::Lose(_, share) => want.loss[one] = want.loss[one].max(share),
            Fault::RedisClock(_, ms) => want.redis_ahead_ms[one] += ms,
            Fault::NodeClock(_, ms) => want.node_ahead_ms[one] += ms,
            Fault::FillDisk(_) => want.full[one] = true,
            Fault::SlowDisk(_, ms) => want.slower_ms[one] += ms,
            Fault::Cut(..)
            | Fault::CutOneWay(..)
            | Fault::KillRedis(_)
            | Fault::KillNode(_)
            | Fault::KillBoth(_)
            | Fault::Restart(_)
            | Fault::Replace(_)
            | Fault::Operator(_) => {}
        }
    }
    want
}
