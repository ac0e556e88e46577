//! Switchover under load, beside the fastest sequence of commands that loses nothing.
//!
//! Both sides bear the same writers. They are measured twice on ours: with clients that just try the members in a
//! circle, as on the other side, and with clients of the SDK.

mod raw;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use primacy_testbed::load::StaticLocate;
use primacy_testbed::{Deployment, DeploymentOptions, Locate, RedisAddress};
use primacy_wire::v1::admin_client::AdminClient;
use primacy_wire::v1::transition_progress::News;
use primacy_wire::v1::{SwitchoverRequest, TransitionOutcome};
use tonic::transport::Channel;

use crate::figure::{Figure, Goal, Peer, Samples};
use crate::fleet::cluster_options;
use crate::locate::SdkLocate;
use crate::outage::{self, Outage};
use crate::phases::{Phases, last_transition};
use crate::plan::Plan;
use crate::progress;
use raw::RawDeployment;

const SETTLE_DEADLINE: Duration = Duration::from_mins(1);
const GOAL: Goal = Goal::MedianOrRatioAtMost(5.0, 1.5);

/// Waits of writers in milliseconds, and how many acknowledged records are gone.
#[derive(Default)]
struct Tally {
    waits_ms: Vec<f64>,
    lost: u64,
    phases: Phases,
}

/// Measures the wait of writers with both kinds of clients.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    progress!("switchover: starting a deployment of primacy and a group without a coordinator");
    let ours = Deployment::start_serving(DeploymentOptions {
        cluster: cluster_options(binary),
        ..DeploymentOptions::new(binary)
    })
    .await?;
    let raw = RawDeployment::start(SETTLE_DEADLINE).await?;
    let (mut circle, mut sdk, mut peer) = (Tally::default(), Tally::default(), Tally::default());
    for round in 0..plan.switchover_rounds {
        let trying = StaticLocate::new(ours.targets());
        switch_ours(&ours, trying, format!("circle-{round}"), &mut circle).await?;
        let (wait, lost) = raw.switch_under_load(format!("raw-{round}")).await?;
        peer.add(wait, lost);
        let asking = SdkLocate::new(ours.cluster.endpoints(), ours.group.name()).await?;
        switch_ours(&ours, asking, format!("sdk-{round}"), &mut sdk).await?;
        let last = |tally: &Tally| tally.waits_ms.last().copied().unwrap_or_default();
        progress!(
            "switchover: wait {:.1} ms, of the SDK {:.1} ms, peer {:.1} ms",
            last(&circle),
            last(&sdk),
            last(&peer)
        );
    }
    let title = "switchover under load: longest wait of a writer";
    Ok(vec![
        figure("switchover.wait", title.to_owned(), &circle, &peer)?,
        figure("switchover.wait_sdk", format!("{title}, clients of the SDK"), &sdk, &peer)?,
    ])
}

fn figure(name: &'static str, title: String, ours: &Tally, peer: &Tally) -> Result<Figure> {
    let samples =
        |waits: &[f64]| Samples::new(waits.to_vec()).ok_or_else(|| anyhow!("nothing was switched over"));
    let lost = format!("acknowledged records lost: {} of ours, {} of the peer", ours.lost, peer.lost);
    let note = ours.phases.text().map(|phases| format!("{phases}; {lost}"));
    let peer = Some(Peer { name: "raw commands", samples: samples(&peer.waits_ms)? });
    Ok(Figure { name, title, unit: "ms", ours: samples(&ours.waits_ms)?, peer, goal: GOAL, note })
}

impl Tally {
    fn add(&mut self, wait: Duration, lost: u64) {
        self.waits_ms.push(wait.as_secs_f64() * 1_000.0);
        self.lost += lost;
    }
}

/// Hands the primary on to the next member, and returns when all is settled.
async fn switch_ours(
    ours: &Deployment,
    locate: impl Locate + 'static,
    key: String,
    tally: &mut Tally,
) -> Result<()> {
    let primary =
        ours.wait_settled(SETTLE_DEADLINE).await?.member.context("the group serves without a primary")?;
    let names: Vec<&str> = ours.group.servers().map(primacy_testbed::RedisServer::name).collect();
    let next = next_of(&names, &primary)?.to_owned();
    let leader = ours.cluster.leader().await?;
    let address = format!("http://{}", ours.cluster.node(leader)?.address());
    let mut admin = AdminClient::connect(address).await?;
    let change = switchover(&mut admin, ours.group.name(), &next);
    let Outage { longest, caused_us, ledger } = outage::measure(&primary, locate, key, change).await?;
    let lost = ledger.lost(&RedisAddress::new(ours.group.member(&next)?.address())).await?.count();
    tally.add(longest, lost);
    tally.phases.add(caused_us, &last_transition(ours).await?);
    Ok(())
}

fn next_of<'a>(names: &[&'a str], present: &str) -> Result<&'a str> {
    let index = names.iter().position(|name| *name == present);
    let index = index.with_context(|| format!("{present} is no member of the group"))?;
    Ok(names[(index + 1) % names.len()])
}

async fn switchover(admin: &mut AdminClient<Channel>, group: &str, to: &str) -> Result<()> {
    let request = SwitchoverRequest {
        group: group.to_owned(),
        to: Some(to.to_owned()),
        requested_by: "bench".to_owned(),
        ..SwitchoverRequest::default()
    };
    let mut stream = admin.switchover(request).await?.into_inner();
    while let Some(progress) = stream.message().await? {
        if let Some(News::Ended(transition)) = progress.news {
            let outcome = transition.outcome();
            return match outcome {
                TransitionOutcome::Settled => Ok(()),
                _ => bail!("the switchover to {to} ended as {outcome:?}"),
            };
        }
    }
    bail!("the switchover to {to} said nothing at its end")
}
