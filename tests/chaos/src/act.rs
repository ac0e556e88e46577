//! One deployment from its start to its end: round after round of faults, each followed by rest and by all checks.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use primacy_testbed::{Ledger, Wan, WanOptions};

use crate::check::leaks::{self, Held};
use crate::check::loss::Account;
use crate::check::{self, Violation, converges, one_writer};
use crate::clients::Clients;
use crate::fault::{Fault, SITES};
use crate::nemesis::Nemesis;
use crate::record::{Pages, Record};
use crate::schedule::{self, Setting, Step};
use crate::world::World;

/// Writers are in full swing after so many writes.
const WARM_UP: u64 = 100;

/// What an act is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    /// The program under test.
    pub(crate) binary: &'a Path,
    /// Of the whole run.
    pub(crate) seed: u64,
    /// Which act of it.
    pub(crate) number: u64,
    /// No round begins after this.
    pub(crate) until: Instant,
    /// Where evidence goes.
    pub(crate) report: &'a Path,
}

/// What a round was and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// When it began.
    pub(crate) began: Instant,
    /// When the last fault was over.
    pub(crate) healed: Instant,
    /// When all was well again, if it was.
    pub(crate) settled: Option<Instant>,
}

/// What an act was and what came of it.
#[derive(Debug)]
pub(crate) struct Act {
    /// Which.
    pub(crate) number: u64,
    /// How it was set up.
    pub(crate) setting: Setting,
    /// When everything ran.
    pub(crate) began: Instant,
    /// Its rounds.
    pub(crate) rounds: Vec<Round>,
    /// What was broken.
    pub(crate) violations: Vec<Violation>,
    /// What happened and what was seen.
    pub(crate) pages: Pages,
    /// What writers saw, directly and through the gates.
    pub(crate) ledgers: (Ledger, Ledger),
    /// Losses and transitions.
    pub(crate) account: Account,
    /// What processes held before and after.
    pub(crate) held: (Vec<Held>, Vec<Held>),
    /// Acknowledgements of frozen servers that were set aside.
    pub(crate) set_aside: u64,
    /// Faults that were left out.
    pub(crate) skipped: u64,
}

/// Runs one act on a network of its own.
///
/// # Errors
/// When something could not be started or driven: that is no verdict.
pub(crate) fn run(order: Order<'_>) -> Result<Act> {
    let setting = schedule::setting(order.seed, order.number);
    let mut options = WanOptions::with_rtt(Duration::from_millis(setting.rtt_ms));
    options.seed = order.seed;
    let mut act = Wan::run(&options, async |wan| perform(wan, order, setting).await)??;
    act.violations.extend(leaks::left_behind(&mark(order)));
    Ok(act)
}

fn mark(order: Order<'_>) -> String {
    format!("{}-{}-{}", std::process::id(), order.seed, order.number)
}

async fn perform(wan: Wan, order: Order<'_>, setting: Setting) -> Result<Act> {
    let mut world = World::start(order.binary, wan, setting, mark(order)).await?;
    let record = Record::default();
    let clients = Clients::start(&world, &record)?;
    warm_up(&clients).await?;
    let mut play = Play {
        began: Instant::now(),
        before: leaks::look(&world).await?,
        after: Vec::new(),
        nemesis: Nemesis::new(record.clone()),
        account: Account::default(),
        rounds: Vec::new(),
        violations: Vec::new(),
        set_aside: 0,
        record,
    };
    // What setting up took is nobody's loss.
    play.judge(&world, &clients, &[]).await?;
    while play.violations.is_empty() && Instant::now() < order.until {
        let number = play.rounds.len() as u64;
        let steps = schedule::round(order.seed, order.number, number);
        say!("act {} round {number}: {} faults", order.number, steps.len());
        if let Err(error) = play.round(&mut world, &clients, steps).await {
            world.keep_logs(&order.report.join("logs"))?;
            return Err(error.context(format!("act {} round {number} could not be driven", order.number)));
        }
    }
    if !play.violations.is_empty() {
        keep(&world, order.report).await?;
    }
    let ledgers = clients.stop().await;
    let pages = std::mem::take(&mut *play.record.pages());
    Ok(Act {
        number: order.number,
        setting,
        began: play.began,
        rounds: play.rounds,
        violations: play.violations,
        pages,
        ledgers,
        account: play.account,
        held: (play.before, play.after),
        set_aside: play.set_aside,
        skipped: play.nemesis.skipped,
    })
}

async fn warm_up(clients: &Clients) -> Result<()> {
    for load in [&clients.direct, &clients.gated] {
        primacy_testbed::wait_for("the writers", Duration::from_mins(1), async || {
            let progress = load.progress();
            anyhow::ensure!(progress.acked >= WARM_UP, "{progress:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// An act under way.
struct Play {
    began: Instant,
    before: Vec<Held>,
    after: Vec<Held>,
    nemesis: Nemesis,
    record: Record,
    account: Account,
    rounds: Vec<Round>,
    violations: Vec<Violation>,
    set_aside: u64,
}

impl Play {
    async fn round(&mut self, world: &mut World, clients: &Clients, steps: Vec<Step>) -> Result<()> {
        let began = Instant::now();
        let mark = self.record.begin("round", None, format!("round {}", self.rounds.len()));
        self.nemesis.round(world, &steps).await?;
        let healed = Instant::now();
        let undone = self.nemesis.heal(world).await;
        let mut settled = None;
        if let Err(error) = undone {
            self.violations.push(Violation::new("converges", format!("{error:#}")));
        } else {
            self.judge(world, clients, &steps).await?;
            settled = self.violations.is_empty().then(Instant::now);
        }
        self.record.end(mark);
        self.rounds.push(Round { began, healed, settled });
        Ok(())
    }

    /// Waits for rest, then asks all checkers.
    async fn judge(&mut self, world: &World, clients: &Clients, steps: &[Step]) -> Result<()> {
        match converges::check(world, clients, &self.record).await {
            Err(violation) => self.violations.push(violation),
            Ok(primary) => {
                let member = primary.member.context("a primary without a name")?;
                let spared = steps.iter().all(|step| step.fault.spares_witnesses() && !harsh(step.fault));
                let ledgers = clients.ledgers();
                let lost = self.account.check(&world.d, &member, &ledgers, spared).await?;
                self.violations.extend(lost);
                match leaks::check(world, &self.before).await {
                    Ok(held) => self.after = held,
                    Err(violation) => self.violations.push(violation),
                }
            }
        }
        let (direct, gated) = clients.ledgers();
        let pages = self.record.pages();
        let (overlaps, set_aside) = one_writer::check(direct, &gated, &pages);
        self.set_aside = set_aside;
        self.violations.extend(overlaps);
        self.violations.extend(check::directory(&pages));
        Ok(())
    }
}

/// An operator who said that any loss will do may get one.
fn harsh(fault: Fault) -> bool {
    fault == Fault::Operator(crate::fault::Command::FailoverAtAnyPrice)
}

/// What only the running deployment can tell.
async fn keep(world: &World, report: &Path) -> Result<()> {
    world.keep_logs(&report.join("logs"))?;
    // Writing to a string cannot fail.
    let mut text = String::new();
    for words in
        ["status", "history features --last 100", "history features --last 100 -o json", "cluster status"]
    {
        let said = world.d.cli(["--timeout", "5s"].into_iter().chain(words.split(' '))).await;
        let said = said.map_or_else(|error| format!("{error:#}"), |output| output.stdout + &output.stderr);
        let _ = write!(text, "$ primacy {words}\n{said}\n");
    }
    for site in 0..SITES.len() {
        let server = world.d.group.member(&World::member(site))?;
        let info = server.info().await.map_or_else(|error| format!("{error:#}"), |info| format!("{info:#?}"));
        let _ = write!(text, "INFO of {}\n{info}\n", server.name());
    }
    Ok(std::fs::write(report.join("at-the-end.txt"), text)?)
}
