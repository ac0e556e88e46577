//! The story: what is started, what goes wrong, in which order.

use super::locate::ByPrimacy;
use super::timeline::{SAMPLE_MS, Timeline};
use super::verdict::Row;
use crate::screen::units::{count, millis};
use crate::show::transition::{LostReport, PhaseReport, TransitionReport};
use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::StreamExt;
use primacy_client::Client;
use primacy_core::{Event, Transition};
use primacy_testbed::ledger::Lost;
use primacy_testbed::{
    ClusterOptions, Credentials, Deployment, DeploymentOptions, Ledger, Load, LoadOptions, RedisAddress,
    RedisServer, wait_for,
};
use primacy_wire::v1::{self, Consistency, transition_progress::News};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

const WRITERS: u16 = 4;
/// A quiet time before each event, so that the load is seen to be steady.
const CALM: Duration = Duration::from_secs(4);
/// Nothing here takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
/// The load stops by itself after this time: nothing runs on when the demo hangs.
const LOAD_MAX: Duration = Duration::from_mins(3);

/// An event: when it began and ended, and what Primacy says of it.
struct Act {
    event: String,
    planned: bool,
    from: Instant,
    to: Instant,
    detection: Option<Duration>,
    reported: Option<LostReport>,
}

/// What runs while the story is told. Dropping it ends everything.
struct Stage {
    client: Client,
    group: String,
    timeline: Timeline,
    // Stopped before the servers are: a load without servers would only fill its ledger with failures.
    load: Arc<Load>,
    watchers: JoinSet<()>,
    deployment: Deployment,
    acts: Vec<Act>,
}

/// Tells the whole story, and returns what came of each event.
pub(super) async fn tell(timeline: &Timeline) -> Result<Vec<Row>> {
    let mut stage = Stage::set(timeline).await?;
    stage.kill_primary().await?;
    stage.kill_leader().await?;
    stage.switch_over().await?;
    stage.fail_back().await?;
    stage.finish().await
}

impl Stage {
    async fn set(timeline: &Timeline) -> Result<Self> {
        let binary = std::env::current_exe().context("cannot find out where this program is")?;
        let mut options = DeploymentOptions::new(binary);
        options.cluster = ClusterOptions {
            name: "demo".to_owned(),
            redis: Some(Credentials { username: "primacy".to_owned(), password: password() }),
            ..options.cluster
        };
        timeline.say(
            "starting three nodes and three redis-servers, at the sites east, north and west of this machine",
        );
        let deployment = Deployment::start_serving(options).await?;
        let group = deployment.group.name().to_owned();
        let client = Client::builder(deployment.cluster.endpoints()).deadline(PATIENCE).build()?;
        let load = Load::start(
            load_options(&deployment),
            Arc::new(ByPrimacy { client: client.clone(), group: group.clone() }),
        )?;
        let load = Arc::new(load);
        let (timeline, watchers) = (timeline.clone(), JoinSet::new());
        let mut stage = Stage { client, group, timeline, load, watchers, deployment, acts: vec![] };
        let primary = stage.primary().await?;
        stage.timeline.say(&format!(
            "{} is served by {primary}; {WRITERS} writers at full speed, and a direct writer at each member",
            stage.group
        ));
        let events = show_events(stage.client.clone(), stage.group.clone(), stage.timeline.clone());
        stage.watchers.spawn(events);
        stage.watchers.spawn(show_load(stage.load.clone(), stage.timeline.clone()));
        Ok(stage)
    }

    async fn kill_primary(&mut self) -> Result<()> {
        let old = self.calm().await?;
        self.timeline.fault(&format!("kill -9 of the primary, {old}"));
        let (from, wall_us) = (Instant::now(), wall_us());
        self.deployment.group.member(&old)?.kill()?;
        let new = self.other_primary(&old).await?;
        self.writes_go_on(&new).await?;
        let transition = self.last_transition().await?;
        ensure!(
            transition.from.as_deref() == Some(&old),
            "the last transition is not that of {old}: {transition:?}"
        );
        let detection = Duration::from_micros(transition.started_at.0.saturating_sub(wall_us));
        self.timeline.effect(&format!(
            "writes go on at {new}: noticed after {}, {} reported",
            millis(in_ms(detection)),
            transition.lost.words()
        ));
        self.deployment.group.member_mut(&old)?.restart().await?;
        self.deployment.wait_settled(PATIENCE).await?;
        self.timeline.effect(&format!("{old} is started again, and follows {new}"));
        self.act("kill -9 of the primary", false, from, Some(detection), Some(transition.lost));
        Ok(())
    }

    async fn kill_leader(&mut self) -> Result<()> {
        let primary = self.calm().await?;
        let old = self.leader().await?;
        self.timeline.fault(&format!("kill -9 of the leading coordinator, n{old}"));
        let from = Instant::now();
        self.deployment.cluster.node(old)?.kill()?;
        let new = wait_for("another leader", PATIENCE, async || {
            let new = self.leader().await?;
            ensure!(new != old, "n{old} is still named as the leader");
            Ok(new)
        })
        .await?;
        let detection = from.elapsed();
        self.timeline.effect(&format!("n{new} leads after {}", millis(in_ms(detection))));
        self.deployment.cluster.node_mut(old)?.restart(PATIENCE).await?;
        self.deployment.wait_settled(PATIENCE).await?;
        let after = self.primary().await?;
        ensure!(after == primary, "the primary changed from {primary} to {after}, and no server had failed");
        self.timeline
            .effect(&format!("n{old} is started again, and follows n{new}; {primary} served all the time"));
        self.act("kill -9 of the leader", false, from, Some(detection), None);
        Ok(())
    }

    /// To a member that is not the most preferred, so that there is something to fail back from.
    async fn switch_over(&mut self) -> Result<()> {
        let old = self.calm().await?;
        let mut less_preferred = self.deployment.group.servers().skip(1).map(RedisServer::name);
        let to = less_preferred.find(|name| *name != old).map(str::to_owned);
        drop(less_preferred);
        let to = to.ok_or_else(|| anyhow!("there is no third member"))?;
        self.timeline.fault(&format!("switchover from {old} to {to}"));
        self.planned(format!("switchover to {to}"), Some(to), false).await
    }

    async fn fail_back(&mut self) -> Result<()> {
        let old = self.calm().await?;
        self.timeline.fault(&format!("failback from {old} to the most preferred member"));
        self.planned("failback".to_owned(), None, true).await
    }

    async fn planned(&mut self, event: String, to: Option<String>, failback: bool) -> Result<()> {
        let from = Instant::now();
        let request = v1::SwitchoverRequest {
            group: self.group.clone(),
            to,
            dry_run: false,
            reason: Some("demo".to_owned()),
            requested_by: "primacy demo".to_owned(),
            failback,
        };
        let news = self.client.admin().switchover(request).await?;
        let transition = ended(news).await?;
        ensure!(transition.serves(), "it was rolled back: {}", transition.failure.unwrap_or_default());
        self.writes_go_on(&transition.to).await?;
        self.timeline.effect(&transition.conclusion(None));
        self.deployment.wait_settled(PATIENCE).await?;
        self.act(&event, true, from, None, Some(transition.lost));
        Ok(())
    }

    /// Stops the load, and counts.
    async fn finish(mut self) -> Result<Vec<Row>> {
        let primary = self.calm().await?;
        self.timeline.say("stopping the writers, and reading every record back");
        self.watchers.shutdown().await;
        let load = Arc::into_inner(self.load).ok_or_else(|| anyhow!("the load is still in use"))?;
        let ledger = load.stop().await;
        let address = RedisAddress::new(self.deployment.group.member(&primary)?.address());
        let lost = ledger.lost(&address).await?;
        self.timeline.say(&format!(
            "{} writes acknowledged, {} missing at {primary}",
            count(ledger.acked()),
            count(lost.count())
        ));
        Ok(rows(&self.acts, &ledger, &lost))
    }

    /// A quiet time; returns who is primary after it.
    async fn calm(&self) -> Result<String> {
        tokio::time::sleep(CALM).await;
        self.primary().await
    }

    fn act(
        &mut self,
        event: &str,
        planned: bool,
        from: Instant,
        detection: Option<Duration>,
        reported: Option<LostReport>,
    ) {
        self.acts.push(Act {
            event: event.to_owned(),
            planned,
            from,
            to: Instant::now(),
            detection,
            reported,
        });
    }

    async fn primary(&self) -> Result<String> {
        let primary = self.client.get_primary(&self.group, Consistency::Linearizable).await?;
        primary.member.ok_or_else(|| anyhow!("{} has no primary", self.group))
    }

    async fn other_primary(&self, old: &str) -> Result<String> {
        wait_for("another primary", PATIENCE, async || {
            let primary = self.client.get_primary(&self.group, Consistency::Linearizable).await?;
            let serving = primary.state() == v1::GroupState::Serving;
            match primary.member {
                Some(member) if member != old && serving => Ok(member),
                member => bail!("{member:?}, {}", primary.reason.unwrap_or_default()),
            }
        })
        .await
    }

    async fn writes_go_on(&self, member: &str) -> Result<()> {
        let what = format!("a write acknowledged by {member}");
        wait_for(&what, PATIENCE, async || match self.load.progress().last_ack {
            Some((_, by)) if by == member => Ok(()),
            last => bail!("{last:?}, {:?}", self.load.progress().last_failure),
        })
        .await
    }

    async fn last_transition(&self) -> Result<TransitionReport> {
        let request = v1::HistoryRequest { group: self.group.clone(), last: 1 };
        let answer = self.client.admin().history(request).await?;
        let last =
            answer.transitions.into_iter().next_back().ok_or_else(|| anyhow!("the history is empty"))?;
        Ok(TransitionReport::from(&Transition::try_from(last)?))
    }

    async fn leader(&self) -> Result<u64> {
        let status = self.client.admin().cluster_status(v1::ClusterStatusRequest {}).await?;
        status.leader.map(|leader| leader.id).ok_or_else(|| anyhow!("no node leads at the moment"))
    }
}

/// Waits for the end of a transition.
async fn ended<E>(
    news: impl futures::Stream<Item = Result<v1::TransitionProgress, E>>,
) -> Result<TransitionReport>
where
    anyhow::Error: From<E>,
{
    let mut news = pin!(news);
    while let Some(progress) = news.next().await {
        match progress?.news {
            Some(News::Checks(checks)) => {
                if let Some(failed) = checks.checks.into_iter().find(|check| !check.passed) {
                    bail!("refused by rule {}: {}", failed.name, failed.detail);
                }
            }
            Some(News::Ended(transition)) => {
                return Ok(TransitionReport::from(&Transition::try_from(transition)?));
            }
            Some(News::Started(_) | News::Phase(_)) | None => {}
        }
    }
    bail!("the answer ended before the transition did")
}

fn load_options(deployment: &Deployment) -> LoadOptions {
    LoadOptions {
        writers: WRITERS,
        duration_max: LOAD_MAX,
        key_prefix: "demo".to_owned(),
        strays: deployment.targets(),
        ..LoadOptions::default()
    }
}

/// Nobody needs to know it: the servers listen on loopback, for half a minute.
fn password() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}{:016x}", RandomState::new().hash_one(1), RandomState::new().hash_one(2))
}

fn in_ms(duration: Duration) -> f64 {
    crate::show::ms(duration.as_micros() as u64)
}

fn wall_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

async fn show_events(client: Client, group: String, timeline: Timeline) {
    let mut batches = pin!(client.watch(vec![group], None));
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(batch) => {
                batch.events.iter().filter_map(effect_of).for_each(|effect| timeline.effect(&effect));
            }
            Err(error) => {
                timeline.effect(&format!("no more events are shown: {error}"));
                return;
            }
        }
    }
}

/// What the timeline says of an event; nothing of those that the story tells itself.
fn effect_of(event: &Event) -> Option<String> {
    match event {
        Event::PhasePassed { phase, us, note, .. } => Some(
            PhaseReport {
                name: phase.word().to_owned(),
                started_at: crate::show::Stamp(0),
                ms: crate::show::ms(*us),
                note: note.clone(),
            }
            .line(),
        ),
        Event::PrimaryChanged { member, site, epoch, .. } => {
            Some(format!("{member} ({site}) is primary, epoch {epoch}"))
        }
        Event::GroupBlocked { reason, .. } => Some(format!("blocked: {reason}")),
        Event::LeadershipAssumed { .. }
        | Event::GroupConfigured { .. }
        | Event::GroupRemoved { .. }
        | Event::TransitionStarted { .. }
        | Event::FenceChanged { .. }
        | Event::WitnessAppointed { .. }
        | Event::HolderAppointed { .. }
        | Event::OrphanedFound { .. }
        | Event::TransitionEnded { .. }
        | Event::GroupPaused { .. }
        | Event::GroupResumed { .. }
        | Event::GroupUnblocked { .. } => None,
    }
}

async fn show_load(load: Arc<Load>, timeline: Timeline) {
    let mut interval = tokio::time::interval(Duration::from_millis(SAMPLE_MS));
    let mut before = 0;
    loop {
        interval.tick().await;
        let progress = load.progress();
        let by = progress.last_ack.map_or_else(|| "nobody yet".to_owned(), |(_, member)| member);
        timeline.sample(progress.acked.saturating_sub(before), &by);
        before = progress.acked;
    }
}

/// What clients saw of each event. A write belongs to the event that ended next after its acknowledgement.
fn rows(acts: &[Act], ledger: &Ledger, lost: &Lost) -> Vec<Row> {
    let overlaps = ledger.overlaps();
    let first = ledger.acks().map(|ack| ack.at).min();
    let mut begin = first.map(|first| first.checked_sub(Duration::from_nanos(1)).unwrap_or(first));
    let end = Instant::now();
    let mut rows = Vec::new();
    for (index, act) in acts.iter().enumerate() {
        // The last event has what came after it as well.
        let to = if index + 1 == acts.len() { end } else { act.to };
        let from = begin.replace(to).unwrap_or(act.from);
        let within = |at: Instant| at > from && at <= to;
        let lost = lost.between(from, to);
        let mut writers: Vec<&String> = overlaps
            .iter()
            .filter(|overlap| within(overlap.from))
            .flat_map(|overlap| &overlap.members)
            .collect();
        writers.sort_unstable();
        writers.dedup();
        let acknowledged = ledger.acks().filter(|ack| within(ack.at)).count() as u64;
        rows.push(Row {
            event: act.event.clone(),
            planned: act.planned,
            detection_ms: act.detection.map(in_ms),
            outage_ms: in_ms(ledger.longest_gap(act.from..act.to).length()),
            acknowledged,
            lost: lost.count(),
            lost_bytes: lost.bytes(),
            reported: act.reported,
            writers_at_once: writers.len().max(usize::from(acknowledged > 0)),
        });
    }
    rows
}
