//! Does to a world what a schedule says.
//!
//! Several faults may hold the same process or link. So what lasts is worked out anew from all faults that are in force,
//! and only what differs from how things are is changed: a site is joined again when the last cut of it is over.

mod force;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::fault::{Command, Fault, Place, SITES};
use crate::operator;
use crate::record::Record;
use crate::schedule::Step;
use crate::world::{Addition, World};
use force::Force;

const TICK: Duration = Duration::from_millis(20);
/// A node that does not end so soon after SIGTERM is killed, as an init system does.
const TERM_WITHIN: Duration = Duration::from_secs(6);
/// Redis servers whose data may be gone at a time: one always has it.
const KILLED_MAX: usize = 2;

/// A fault in force.
#[derive(Debug)]
struct Active {
    fault: Fault,
    /// Where, and the other end of a link.
    sites: (usize, usize),
    since: Instant,
    until: Instant,
    mark: usize,
}

/// What goes wrong now.
#[derive(Debug)]
pub(crate) struct Nemesis {
    record: Record,
    active: Vec<Active>,
    force: Force,
    /// Redis servers that were killed in this round.
    killed: BTreeSet<usize>,
    /// Sites whose Redis server or node is to be started when its kill is over.
    down: Down,
    /// Nodes that were told to end and will be started again.
    ending: Vec<(usize, Instant, usize)>,
    operators: JoinSet<()>,
    replacing: Option<(Addition, usize, JoinHandle<Result<()>>)>,
    /// Nodes whose disk was full.
    filled: BTreeSet<usize>,
    paused: bool,
    /// How many faults were left out because they would have destroyed all data, or found nothing to strike.
    pub(crate) skipped: u64,
}

#[derive(Debug, Default)]
struct Down {
    redis: BTreeSet<usize>,
    nodes: BTreeSet<usize>,
}

impl Nemesis {
    /// Nothing is wrong yet.
    pub(crate) fn new(record: Record) -> Self {
        Self {
            record,
            active: Vec::new(),
            force: Force::default(),
            killed: BTreeSet::new(),
            down: Down::default(),
            ending: Vec::new(),
            operators: JoinSet::new(),
            replacing: None,
            filled: BTreeSet::new(),
            paused: false,
            skipped: 0,
        }
    }

    /// Does all that a round's schedule says; returns when the last fault is over.
    pub(crate) async fn round(&mut self, world: &mut World, steps: &[Step]) -> Result<()> {
        self.killed.clear();
        let began = Instant::now();
        let mut next = 0;
        while next < steps.len() || !self.active.is_empty() {
            let now = Instant::now();
            let due = |step: &Step| began + Duration::from_millis(step.at_ms) <= now;
            while let Some(step) = steps.get(next).filter(|step| due(step)) {
                next += 1;
                self.begin(world, step)?;
            }
            self.tick(world, now)?;
            sleep(TICK).await;
        }
        Ok(())
    }

    /// Undoes everything, starts what is down, and waits until operators are done.
    pub(crate) async fn heal(&mut self, world: &mut World) -> Result<()> {
        for active in std::mem::take(&mut self.active) {
            self.record.end(active.mark);
        }
        self.tick(world, Instant::now())?;
        for site in std::mem::take(&mut self.filled) {
            // Storage that failed once refuses everything until it is opened again.
            world.respawn_node(site)?;
        }
        for site in 0..SITES.len() {
            if !world.node(site)?.process().is_running() && !self.ending.iter().any(|(of, ..)| *of == site) {
                self.record.note("restart", Some(site), "node: had ended by itself");
                world.respawn_node(site)?;
            }
        }
        while !self.ending.is_empty() {
            self.tick(world, Instant::now())?;
            sleep(TICK).await;
        }
        while self.operators.join_next().await.is_some() {}
        if std::mem::take(&mut self.paused) {
            operator::resume(&world.d.cluster.cli(), Duration::from_mins(1)).await?;
            self.record.note("resume", None, "operator: resume");
        }
        if let Some((addition, mark, task)) = self.replacing.take() {
            task.await.context("an operator gave up")??;
            self.replaced(world, &addition, mark)?;
        }
        Ok(())
    }

    fn begin(&mut self, world: &mut World, step: &Step) -> Result<()> {
        let (one, other) = self.sites(step.fault);
        let site = step.fault.place().map(|_| one);
        let struck = self.strike(world, step.fault, one)?;
        let said = match site {
            Some(_) if one != other => format!("{} ({}, {})", step.fault, SITES[one], SITES[other]),
            Some(site) => format!("{} ({})", step.fault, SITES[site]),
            None => step.fault.to_string(),
        };
        if !struck {
            self.skipped += 1;
            self.record.note("left out", site, said);
            return Ok(());
        }
        let since = Instant::now();
        let until = since + Duration::from_millis(step.for_ms);
        let mark = self.record.begin(step.fault.name(), site, said);
        self.active.push(Active { fault: step.fault, sites: (one, other), since, until, mark });
        Ok(())
    }

    /// Does what is done in a moment; false when it cannot be done.
    fn strike(&mut self, world: &mut World, fault: Fault, site: usize) -> Result<bool> {
        match fault {
            Fault::KillRedis(_) => return self.kill_redis(world, site),
            Fault::KillNode(_) => self.kill_node(world, site)?,
            Fault::KillBoth(_) | Fault::LoseSite(_) => {
                if !self.kill_redis(world, site)? {
                    return Ok(false);
                }
                self.kill_node(world, site)?;
            }
            Fault::NodeClock(..) | Fault::SlowDisk(..) => return Ok(world.is_first(site)),
            Fault::FillDisk(_) => {
                let first = world.is_first(site);
                if first {
                    self.filled.insert(site);
                }
                return Ok(first);
            }
            Fault::Restart(_) => {
                let running = world.node(site)?.process();
                let idle = !self.down.nodes.contains(&site) && running.is_running();
                if !idle || self.ending.iter().any(|(of, ..)| *of == site) {
                    return Ok(false);
                }
                running.signal(primacy_testbed::Signal::SIGTERM)?;
                let mark = self.record.begin("ending", Some(site), "node: ends after SIGTERM");
                self.ending.push((site, Instant::now(), mark));
            }
            Fault::Replace(_) => return self.replace(world, site),
            Fault::Operator(command) => self.command(world, command),
            Fault::FreezeRedis(_)
            | Fault::FreezeNode(_)
            | Fault::FreezeBoth(_)
            | Fault::Isolate(_)
            | Fault::Mute(_)
            | Fault::Deafen(_)
            | Fault::Cut(..)
            | Fault::CutOneWay(..)
            | Fault::Flap(..)
            | Fault::Delay(..)
            | Fault::Lose(..)
            | Fault::RedisClock(..) => {}
        }
        Ok(true)
    }

    fn kill_redis(&mut self, world: &World, site: usize) -> Result<bool> {
        if !self.killed.contains(&site) && self.killed.len() == KILLED_MAX {
            return Ok(false);
        }
        self.killed.insert(site);
        self.down.redis.insert(site);
        world.d.group.member(&World::member(site))?.kill()?;
        Ok(true)
    }

    fn kill_node(&mut self, world: &World, site: usize) -> Result<()> {
        self.down.nodes.insert(site);
        world.node(site)?.kill()
    }

    fn replace(&mut self, world: &mut World, site: usize) -> Result<bool> {
        if self.replacing.is_some() {
            return Ok(false);
        }
        let addition = world.add_node(site)?;
        let mark =
            self.record.begin("replacing", Some(site), format!("n{} for n{}", addition.id, addition.old));
        let task = tokio::spawn(operator::replace(world.d.cluster.cli(), addition.clone()));
        self.replacing = Some((addition, mark, task));
        Ok(true)
    }

    fn replaced(&mut self, world: &mut World, addition: &Addition, mark: usize) -> Result<()> {
        world.replaced(addition)?;
        self.down.nodes.remove(&addition.site);
        self.ending.retain(|(site, ..)| *site != addition.site);
        self.filled.remove(&addition.site);
        self.force.forget_node(addition.site);
        self.record.end(mark);
        Ok(())
    }

    fn command(&mut self, world: &World, command: Command) {
        self.paused |= command == Command::Pause;
        let words = operator::words(command, |place| self.site(place));
        let (cli, record) = (world.d.cluster.cli(), self.record.clone());
        self.operators.spawn(async move {
            let mark = record.begin("command", None, format!("primacy {}", words.join(" ")));
            let outcome = operator::run(&cli, words).await;
            record.end(mark);
            record.note("answer", None, outcome);
        });
    }

    /// Ends what is over, and makes everything be as the faults that are left want it.
    fn tick(&mut self, world: &mut World, now: Instant) -> Result<()> {
        let (over, active) = std::mem::take(&mut self.active).into_iter().partition(|a| a.until <= now);
        self.active = active;
        for Active { fault, mark, .. } in over {
            self.record.end(mark);
            if fault == Fault::Operator(Command::Pause) {
                let cli = world.d.cluster.cli();
                // One that does not get through is made good when the round is over.
                self.operators
                    .spawn(async move { drop(operator::resume(&cli, Duration::from_secs(20)).await) });
            }
        }
        self.start_what_is_down(world)?;
        if self.replacing.as_ref().is_some_and(|(_, _, task)| task.is_finished())
            && let Some((addition, mark, task)) = self.replacing.take()
        {
            futures::FutureExt::now_or_never(task).context("an operator is not done")???;
            self.replaced(world, &addition, mark)?;
        }
        self.force.apply(world, &self.record, &self.active, now)
    }

    fn start_what_is_down(&mut self, world: &mut World) -> Result<()> {
        let held = |wanted: fn(&Fault) -> bool| -> BTreeSet<usize> {
            self.active.iter().filter(|active| wanted(&active.fault)).map(|active| active.sites.0).collect()
        };
        let redis = held(|f| matches!(f, Fault::KillRedis(_) | Fault::KillBoth(_) | Fault::LoseSite(_)));
        let nodes = held(|f| matches!(f, Fault::KillNode(_) | Fault::KillBoth(_) | Fault::LoseSite(_)));
        for site in std::mem::take(&mut self.down.redis) {
            if redis.contains(&site) {
                self.down.redis.insert(site);
            } else {
                world.d.group.member_mut(&World::member(site))?.respawn()?;
                self.force.forget_redis(site);
            }
        }
        for site in std::mem::take(&mut self.down.nodes) {
            if nodes.contains(&site) {
                self.down.nodes.insert(site);
            } else {
                world.respawn_node(site)?;
                self.force.forget_node(site);
            }
        }
        for (site, since, mark) in std::mem::take(&mut self.ending) {
            let killed = self.down.nodes.contains(&site);
            if !killed && world.node(site)?.process().is_running() && since.elapsed() < TERM_WITHIN {
                self.ending.push((site, since, mark));
                continue;
            }
            self.record.end(mark);
            if !killed {
                world.respawn_node(site)?;
                self.force.forget_node(site);
            }
        }
        Ok(())
    }

    fn sites(&self, fault: Fault) -> (usize, usize) {
        let one = fault.place().map_or(0, |place| self.site(place));
        match fault {
            Fault::Cut(_, other) | Fault::CutOneWay(_, other) => (one, self.site(other)),
            _ => (one, one),
        }
    }

    /// Where a place is now.
    fn site(&self, place: Place) -> usize {
        let of = |name: &str| SITES.iter().position(|site| *site == name);
        let primary = || {
            let member = self.record.primary().and_then(|answer| answer.member);
            member.and_then(|member| of(member.strip_suffix("-a").unwrap_or(&member))).unwrap_or(0)
        };
        match place {
            Place::Primary => primary(),
            Place::Leader => self.record.leader().and_then(|(_, site)| of(&site)).unwrap_or(0),
            Place::Beyond(n) => (primary() + n) % SITES.len(),
            Place::At(index) => index % SITES.len(),
        }
    }
}
