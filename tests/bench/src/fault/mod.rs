//! What a fault costs the clients of a group: the same faults, the same writers and the same count for every side.
//!
//! The problem: an outage is easily measured at the wrong client, and a loss easily not looked for. The idea: writers
//! number what they write, the outage ends with the first acknowledgement by another process than the one that
//! suffered, and what was acknowledged is read back once the group has settled. Clients that reach members directly
//! and clients of the gates write at the same time, each with lists of their own.

mod crowd;
mod ours;
mod sentinel;
mod tally;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join;
use primacy_testbed::{Ledger, RedisAddress, RedisGroup, Signal, Wan, WanOptions};

pub(crate) use crowd::{Crowd, Writers};
pub(crate) use ours::{Ours, options, options_over};
pub(crate) use sentinel::SentinelDeployment;
pub(crate) use tally::Tally;

use crate::figure::Figure;
use crate::phases::wall_us;

/// Between any two sites that are far apart.
pub(crate) const RTT: Duration = Duration::from_millis(50);
/// A coordinator needs so long at most until all is as before a fault; Sentinel takes ten seconds and more to make a
/// replica of a primary that came back.
pub(crate) const SETTLE_DEADLINE: Duration = Duration::from_mins(2);

/// What happens to the primary.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault<'a> {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// Its site reaches no other site; clients reach them all.
    CutOff(&'a Wan),
}

impl Fault<'_> {
    /// Whether the old primary goes on with what it had: then the writers are to see how. A process that was started
    /// anew has nothing.
    fn may_wake_up(self) -> bool {
        match self {
            Fault::Kill => false,
            Fault::Freeze | Fault::CutOff(_) => true,
        }
    }

    fn strike(self, group: &RedisGroup, primary: &str) -> Result<()> {
        match self {
            // Only the signal: to wait for the end here would hold up the writers.
            Fault::Kill => group.member(primary)?.process().signal(Signal::SIGKILL),
            Fault::Freeze => group.member(primary)?.freeze(),
            Fault::CutOff(wan) => wan.isolate(site_of(primary)),
        }
    }

    async fn heal(self, group: &mut RedisGroup, primary: &str) -> Result<()> {
        let member = group.member_mut(primary)?;
        match self {
            Fault::CutOff(wan) => wan.heal_all(),
            Fault::Freeze if member.process().is_running() => member.thaw()?,
            Fault::Freeze | Fault::Kill => member.restart().await?,
        }
        Ok(())
    }
}

/// The site of a member, by its name.
pub(crate) fn site_of(member: &str) -> &str {
    member.strip_suffix("-a").unwrap_or(member)
}

/// A group with somebody who replaces its primary.
pub(crate) trait Side {
    /// Waits until all is as it should be before a fault, and returns the primary's name.
    async fn ready(&mut self) -> Result<String>;

    /// Its servers.
    fn group(&self) -> &RedisGroup;

    /// Its servers, to heal one.
    fn group_mut(&mut self) -> &mut RedisGroup;

    /// What writers call a member.
    fn called(&self, member: &str) -> Result<String>;

    /// Starts writers that find the primary in this side's own way.
    async fn crowd(&self, writers: Writers, key_prefix: &str) -> Result<Crowd>;

    /// Waits until all members follow one primary other than `old`, and returns its name.
    async fn settled(&mut self, old: &str) -> Result<String>;

    /// What its own record says was lost since the last call, in bytes of the stream; `None` when it keeps none, or
    /// does not know.
    async fn reported_bytes(&mut self) -> Result<Option<u64>>;
}

/// What the writers saw of one fault.
pub(crate) struct Trial {
    old: String,
    struck: Instant,
    stopped: Instant,
    caused_us: u64,
    direct: Ledger,
    gated: Option<Ledger>,
}

/// What it cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    /// When it happened, in microseconds as transitions count time.
    pub(crate) caused_us: u64,
    /// From the fault to the first acknowledgement by another process: to a client that reaches members directly.
    pub(crate) outage: Duration,
    /// The same, to a client of the gates.
    pub(crate) outage_gate: Option<Duration>,
    /// The longest time that any single direct writer went without an acknowledgement.
    pub(crate) longest_wait: Duration,
    /// The longest time that no direct writer at all got one.
    pub(crate) silence: Duration,
    /// Acknowledged records that are gone: of direct writers, of writers through a gate.
    pub(crate) lost: u64,
    pub(crate) lost_gate: u64,
    /// Bytes of all of those in the stream.
    pub(crate) lost_bytes: u64,
    pub(crate) reported_bytes: Option<u64>,
    /// How often two members accepted writes at once, by what all writers saw.
    pub(crate) overlaps: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outage {:.1?}", self.outage)?;
        if let Some(outage) = self.outage_gate {
            write!(f, ", through a gate {outage:.1?}")?;
        }
        write!(f, ", {} lost", self.lost)?;
        if self.outage_gate.is_some() {
            write!(f, ", {} through a gate", self.lost_gate)?;
        }
        match self.overlaps {
            0 => Ok(()),
            times => write!(f, ", {times} times two writers"),
        }
    }
}

/// Lets the primary suffer under load until all writers go on elsewhere, and heals it. Where it wakes up, it does so under
/// load.
pub(crate) async fn bear(
    side: &mut impl Side,
    fault: Fault<'_>,
    writers: Writers,
    key_prefix: &str,
) -> Result<Trial> {
    let old = side.ready().await?;
    let called = side.called(&old)?;
    let crowd = side.crowd(writers, key_prefix).await?;
    crowd.in_full_swing().await?;
    let (struck, caused_us) = (Instant::now(), wall_us());
    fault.strike(side.group(), &old)?;
    crowd.go_on_elsewhere(&called).await?;
    if fault.may_wake_up() {
        fault.heal(side.group_mut(), &old).await?;
        crowd.go_on().await?;
    }
    let stopped = Instant::now();
    let (direct, gated) = crowd.stop().await;
    if !fault.may_wake_up() {
        fault.heal(side.group_mut(), &old).await?;
    }
    Ok(Trial { old, struck, stopped, caused_us, direct, gated })
}

/// Waits until the group has settled, and counts.
pub(crate) async fn count(side: &mut impl Side, trial: &Trial) -> Result<Cost> {
    let primary = side.settled(&trial.old).await?;
    // As the writers themselves: the user of the control connection may not read data.
    let address = RedisAddress::new(side.group().member(&primary)?.address());
    let lost = trial.direct.lost(&address).await?;
    let mut cost = Cost {
        caused_us: trial.caused_us,
        outage: first_ack_elsewhere(&trial.direct, trial.struck)?,
        longest_wait: trial.direct.longest_writer_gap(trial.struck..trial.stopped).length(),
        silence: trial.direct.longest_gap(trial.struck..trial.stopped).length(),
        lost: lost.count(),
        lost_bytes: lost.bytes(),
        reported_bytes: side.reported_bytes().await?,
        ..Cost::default()
    };
    let all = match &trial.gated {
        None => trial.direct.clone(),
        Some(gated) => {
            let lost = gated.lost(&address).await?;
            cost.outage_gate = Some(first_ack_elsewhere(gated, trial.struck)?);
            cost.lost_gate = lost.count();
            cost.lost_bytes += lost.bytes();
            trial.direct.clone().joined(gated)
        }
    };
    cost.overlaps = all.overlaps().len() as u64;
    Ok(cost)
}

/// The same fault for both, one after the other: what it cost ours, and the peer. The peer settles while ours is
/// measured: that takes Sentinel ten seconds in which it has nothing to do.
pub(crate) async fn in_turns(
    ours: &mut Ours,
    peer: &mut SentinelDeployment,
    fault: Fault<'_>,
    writers: Writers,
    key_prefix: &str,
) -> Result<(Cost, Cost)> {
    let of_peer = bear(peer, fault, writers, key_prefix).await?;
    try_join(cost(ours, fault, writers, key_prefix), count(peer, &of_peer)).await
}

/// What a fault costs one side.
pub(crate) async fn cost(
    side: &mut impl Side,
    fault: Fault<'_>,
    writers: Writers,
    key_prefix: &str,
) -> Result<Cost> {
    let trial = bear(side, fault, writers, key_prefix).await?;
    count(side, &trial).await
}

/// Measures in the lab of three sites that are [`RTT`] apart: what judges reaches them all at once.
pub(crate) fn over_a_wan(
    measure: impl AsyncFnOnce(Wan) -> Result<Vec<Figure>> + Send,
) -> Result<Vec<Figure>> {
    tokio::task::block_in_place(|| Wan::run(&WanOptions::with_rtt(RTT), measure))?
}

/// By another process than the one that acknowledged last before.
fn first_ack_elsewhere(ledger: &Ledger, struck: Instant) -> Result<Duration> {
    let before = ledger.last_ack_before(struck).context("nothing was acknowledged before the fault")?;
    let after = ledger.acks().filter(|ack| ack.at > struck && ack.run_id != before.run_id);
    let first = after.map(|ack| ack.at).min().context("nothing was acknowledged after the fault")?;
    Ok(first.duration_since(struck))
}
