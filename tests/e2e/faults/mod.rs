//! Faults of processes and of the network between sites, under load from clients that reach Redis directly and from
//! clients that go through the gates.
//!
//! Each test ends with the same reckoning: no acknowledged write is missing but what history reports, nothing at all of
//! what a gate acknowledged when no more than the primary was killed, never two writers, one primary that all others
//! follow, and all nodes of one mind.

mod candidate;
mod clocks;
mod coordinators;
mod cut_off;
mod firewall;
mod frozen;
mod killed;
mod returning;

use crate::harness::{self, BINARY, GROUP, PATIENCE, transitions};
use anyhow::{anyhow, bail, ensure};
use primacy_testbed::load::StaticLocate;
use primacy_testbed::{
    Cli, Deployment, DeploymentOptions, Load, LoadOptions, PrimaryAnswer, RedisAddress, Target, Wan,
    WanOptions, wait_for,
};
use serde_json::Value;
use std::time::{Duration, Instant};

const SITES: [&str; 3] = ["east", "north", "west"];
/// Between any two sites.
const RTT: Duration = Duration::from_millis(50);
/// An outage must end. How long it takes is a figure, printed here and measured elsewhere: on a busy machine the nodes
/// alone may need seconds for an election.
const OUTAGE_MAX: Duration = PATIENCE;

/// What clients of the gates may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByGate {
    /// The witness of the primary lived, so all that it covered was rescued.
    Nothing,
    /// As much as history reports.
    WithinReport,
}

/// A deployment under load.
struct Scene {
    d: Deployment,
    direct: Load,
    gated: Load,
    /// What the history held before the first fault.
    transitions: usize,
}

fn options() -> DeploymentOptions {
    let mut options = harness::options();
    options.cluster.gates = vec![GROUP.to_owned()];
    options
}

/// Three sites with [`RTT`] between them, where a failover may lose any amount.
fn far_apart(wan: &Wan) -> DeploymentOptions {
    let mut options = options();
    "wan".clone_into(&mut options.cluster.profile);
    options.cluster.wan = Some(wan.clone());
    options.group_settings = vec!["max_loss = \"any\"".to_owned()];
    options
}

/// Runs a test at three sites that are [`RTT`] apart.
fn over_a_wan(hosts: &[&str], test: impl AsyncFnOnce(Wan) + Send) {
    let mut options = WanOptions::with_rtt(RTT);
    options.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    Wan::run(&options, test).unwrap();
}

impl Scene {
    /// Starts everything, and returns when the group serves, all checks pass and both loads are in full swing.
    async fn start(options: DeploymentOptions) -> Scene {
        let d = Deployment::start_serving(options).await.unwrap();
        harness::at_rest(&d).await;
        let direct = harness::load(&d);
        let gated = gated(&d);
        let scene = Scene { transitions: transitions(&d, 1).await.len(), d, direct, gated };
        scene.in_full_swing().await;
        scene
    }

    async fn in_full_swing(&self) {
        harness::writes_go_on(&self.direct, 1_000).await;
        harness::writes_go_on(&self.gated, 500).await;
        fence_is_whole(&self.d, 2).await;
    }

    async fn writes_go_on(&self, more: u64) {
        harness::writes_go_on(&self.direct, more).await;
        harness::writes_go_on(&self.gated, more).await;
    }

    /// Waits until clients write somewhere else than at `old`; returns where.
    async fn written_elsewhere(&self, old: &str) -> String {
        wait_for(&format!("writes to another member than {old}"), PATIENCE, async || {
            let last = self.direct.progress().last_ack.map(|(_, member)| member);
            last.filter(|member| member != old).ok_or_else(|| anyhow!("{:?}", self.direct.progress()))
        })
        .await
        .unwrap()
    }

    /// Waits until clients write to the member that is left when these are not there, later than `since`.
    async fn written_at_the_third(&self, since: Instant, others: [&str; 2]) {
        wait_for("writes to the third member", PATIENCE, async || match self.direct.progress().last_ack {
            Some((at, member)) if at > since && !others.contains(&member.as_str()) => Ok(()),
            other => bail!("{other:?}"),
        })
        .await
        .unwrap();
    }

    /// Where the writers write now.
    async fn primary(&self) -> String {
        self.d.wait_settled(PATIENCE).await.unwrap().member.unwrap()
    }

    async fn at_rest(&self) {
        harness::at_rest(&self.d).await;
    }

    /// Waits until `more` transitions have ended since the last time, and returns the last.
    async fn next_transition(&mut self, more: usize) -> Value {
        let all = transitions(&self.d, self.transitions + more).await;
        self.transitions = all.len();
        all.last().unwrap().clone()
    }

    /// The longest time without an acknowledgement since `fault`: to a direct client, and through the gates.
    fn outage(&self, fault: Instant) -> Outage {
        let gap = |load: &Load| load.ledger().longest_gap(fault..Instant::now()).length();
        Outage { direct: gap(&self.direct), gated: gap(&self.gated) }
    }

    /// Nothing that a gate acknowledged until now is missing.
    async fn nothing_lost_by_gate(&self) {
        let primary = self.primary().await;
        let address = RedisAddress::new(self.d.group.member(&primary).unwrap().address());
        let lost = self.gated.ledger().lost(&address).await.unwrap();
        assert_eq!(lost.count(), 0, "{:?}", lost.records);
    }

    /// Stops the writers and counts.
    async fn reckon(self, what: &str, by_gate: ByGate) {
        let Scene { d, direct, gated, .. } = self;
        let (direct, gated) = (direct.stop().await, gated.stop().await);
        let primary = d.wait_settled(PATIENCE).await.unwrap();
        let all = transitions(&d, 1).await;
        let reported: u64 = all
            .iter()
            .skip(1)
            .map(|t| t["lost"]["bytes"].as_u64().unwrap_or(u64::MAX))
            .fold(0, u64::saturating_add);
        let server = d.group.member(primary.member.as_deref().unwrap()).unwrap();
        let address = RedisAddress::new(server.address());
        let lost = direct.lost(&address).await.unwrap();
        let lost_by_gate = gated.lost(&address).await.unwrap();
        eprintln!(
            "FIGURE {what}: direct {} acked {} lost ({} bytes), gates {} acked {} lost ({} bytes), {reported} bytes reported",
            direct.acked(),
            lost.count(),
            lost.bytes(),
            gated.acked(),
            lost_by_gate.count(),
            lost_by_gate.bytes(),
        );
        let history = || d.cli(["history", GROUP, "-o", "json"]);
        let bytes = lost.bytes() + lost_by_gate.bytes();
        assert!(
            bytes <= reported,
            "{bytes} bytes are missing, {reported} reported; by gate {:?}\n{}",
            lost_by_gate.records,
            history().await.unwrap().stdout
        );
        if by_gate == ByGate::Nothing {
            assert_eq!(
                lost_by_gate.count(),
                0,
                "{:?}\n{}",
                lost_by_gate.records,
                history().await.unwrap().stdout
            );
        }
        assert!(direct.acked() > 0 && gated.acked() > 0, "nothing was written, so nothing was shown");
        let overlaps = direct.joined(&gated).overlaps();
        assert!(
            overlaps.is_empty(),
            "two members wrote at once: {overlaps:?}\n{}",
            history().await.unwrap().stdout
        );
        all_nodes_agree(&d, &primary).await;
    }
}

/// The longest time without an acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Outage {
    direct: Duration,
    gated: Duration,
}

impl Outage {
    fn print_and_check(&self, what: &str, t: &Value) {
        eprintln!(
            "FIGURE {what}: no write for {:?} directly, {:?} through the gates; {} {} {}, detected {} ms, outage {} ms, lost {}, rescued {}",
            self.direct,
            self.gated,
            t["cause"],
            t["proof"],
            t["outcome"],
            t["detected_ms"],
            t["outage_ms"],
            t["lost"],
            t["rescued_bytes"],
        );
        assert!(self.direct < OUTAGE_MAX && self.gated < OUTAGE_MAX, "{what}: {self:?} {t}");
    }
}

/// Writers that try the gates in a circle, as clients with a list of addresses do.
fn gated(d: &Deployment) -> Load {
    let targets = d.cluster.nodes().iter().map(|node| Target::new("gate", node.gate(GROUP).unwrap()));
    let options = LoadOptions {
        writers: 4,
        pace: Some(Duration::from_millis(1)),
        duration_max: Duration::from_mins(3),
        key_prefix: "gated".to_owned(),
        // A gate of another site passes each write on over the WAN, and each reply waits for its witness.
        response_timeout: Duration::from_secs(2),
        retry_pause: Duration::from_millis(5),
        ..LoadOptions::default()
    };
    Load::start(options, StaticLocate::new(targets)).unwrap()
}

/// Waits until the primary stays open only while `min_replicas` of witness and replicas are attached, and they are.
async fn fence_is_whole(d: &Deployment, min_replicas: u64) {
    wait_for(&format!("a fence of {min_replicas}"), PATIENCE, async || d.fence_is_whole(min_replicas).await)
        .await
        .unwrap();
}

/// Waits until each node by itself names the same primary and epoch.
async fn all_nodes_agree(d: &Deployment, primary: &PrimaryAnswer) {
    for node in d.cluster.nodes() {
        let cli = Cli { binary: BINARY.into(), endpoints: vec![node.address().to_owned()] };
        wait_for(&format!("n{} to agree", node.id()), PATIENCE, async || {
            let output =
                cli.run(["primary", GROUP, "--consistency", "local", "-o", "json"]).await?.success()?;
            let answer: PrimaryAnswer = output.json()?;
            ensure!((&answer.member, answer.epoch) == (&primary.member, primary.epoch), "{answer:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
}

fn site(member: &str) -> &str {
    member.strip_suffix("-a").unwrap()
}

fn node_at(d: &Deployment, site: &str) -> u64 {
    d.cluster.nodes().iter().find(|node| node.site() == site).unwrap().id()
}

/// The node at the site of a member.
fn node_beside(d: &Deployment, member: &str) -> u64 {
    node_at(d, site(member))
}
