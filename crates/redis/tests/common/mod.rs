//! Real servers and the parts around them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use primacy_core::view::{MemberStatus, Reach};
use primacy_core::{Action, ActionKind, Address, Epoch, GroupName, MemberName, Outcome, Promotion};
use primacy_redis::{Access, ActionError, Hand, Links, Prober, ProberHandle, Sighting};
use primacy_testbed::{RedisOptions, RedisServer, Workdir};
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const EVERY: Duration = Duration::from_millis(100);

pub(crate) fn group() -> GroupName {
    GroupName::new("features").unwrap()
}

pub(crate) fn name(member: &str) -> MemberName {
    MemberName::new(member).unwrap()
}

pub(crate) fn address(server: &RedisServer) -> Address {
    server.address().parse().unwrap()
}

pub(crate) fn open_access() -> Links {
    Links::new(|_| Access::default())
}

pub(crate) async fn server(dir: &Workdir, member: &str, config: &[&str]) -> RedisServer {
    let mut options = RedisOptions::new(member, dir.subdir(member).unwrap());
    options.config = config.iter().map(|line| (*line).to_owned()).collect();
    RedisServer::start(options).await.unwrap()
}

/// A primary with one replica whose link is up.
pub(crate) async fn pair(dir: &Workdir) -> (RedisServer, RedisServer) {
    let quick = ["repl-diskless-sync-delay 0", "min-replicas-max-lag 1", "repl-ping-replica-period 1"];
    let a = server(dir, "a", &quick).await;
    let replicaof = format!("replicaof 127.0.0.1 {}", a.port());
    let b = server(dir, "b", &[&quick[..], &[&replicaof]].concat()).await;
    linked(&b).await;
    (a, b)
}

pub(crate) async fn linked(replica: &RedisServer) {
    primacy_testbed::wait_for("the replica's link", DEADLINE, async || {
        let up = replica.info_field("master_link_status").await?;
        anyhow::ensure!(up == "up", "the link is {up}");
        Ok(())
    })
    .await
    .unwrap();
}

pub(crate) fn action(server: &RedisServer, kind: ActionKind) -> Action {
    Action { group: group(), epoch: Epoch(7), member: name(server.name()), address: address(server), kind }
}

pub(crate) async fn perform(
    hand: &Hand,
    server: &RedisServer,
    kind: ActionKind,
) -> Result<Outcome, ActionError> {
    hand.perform(&action(server, kind), Duration::from_secs(2)).await
}

/// A promotion that admits nobody and refuses nobody.
pub(crate) fn promote(expected: Option<String>) -> ActionKind {
    ActionKind::Promote(Promotion { expected, run_id: None, admit: vec![], refuse: vec![], witness: None })
}

/// Opens it for writes, whoever is attached.
pub(crate) const OPEN: ActionKind = ActionKind::Open { min_replicas: 0 };
/// Lifts a fence, whoever is attached.
pub(crate) const LIFT: ActionKind = ActionKind::Lift { min_replicas: 0 };

pub(crate) fn fence(drain: Option<&RedisServer>) -> ActionKind {
    let drain = drain.map(|s| (name(s.name()), address(s)));
    ActionKind::Fence { drain, within: Duration::from_secs(1) }
}

/// A prober and what it sees.
pub(crate) struct Watch {
    pub(crate) handle: ProberHandle,
    seen: mpsc::Receiver<Sighting>,
    last: Option<Sighting>,
}

impl Watch {
    pub(crate) fn new(links: &Links, server: &RedisServer) -> Self {
        Self::at(links, server.name(), &address(server))
    }

    pub(crate) fn at(links: &Links, member: &str, address: &Address) -> Self {
        let (sink, seen) = mpsc::channel(64);
        let handle = Prober::spawn(links, group(), name(member), address, EVERY, sink);
        Watch { handle, seen, last: None }
    }

    /// Waits for a sighting that satisfies `wanted`.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Sighting) -> bool) -> Sighting {
        let waiting = async {
            loop {
                let sighting = self.seen.recv().await.expect("the prober runs");
                let found = wanted(&sighting);
                self.last = Some(sighting.clone());
                if found {
                    return sighting;
                }
            }
        };
        let found = tokio::time::timeout(DEADLINE, waiting).await.ok();
        found.unwrap_or_else(|| panic!("waited in vain for {what}; last seen: {:?}", self.last))
    }

    pub(crate) async fn up(&mut self) -> MemberStatus {
        let seen = self.until("an answer", |s| matches!(s.reach, Reach::Up(_))).await;
        match seen.reach {
            Reach::Up(status) => status,
            Reach::Down { .. } => unreachable!(),
        }
    }

    /// Waits for an answer that satisfies `wanted`.
    pub(crate) async fn status(
        &mut self,
        what: &str,
        wanted: impl Fn(&MemberStatus) -> bool,
    ) -> MemberStatus {
        let seen = self.until(what, |s| matches!(&s.reach, Reach::Up(status) if wanted(status))).await;
        match seen.reach {
            Reach::Up(status) => status,
            Reach::Down { .. } => unreachable!(),
        }
    }
}
