//! The gates of this node: where each leads, and what its replies wait for.
//!
//! A door is open only while the group serves: from a transition's intent until the new primary is open it is shut. What
//! promises more than stock software, or has no fence but the gate, needs a lease; a Redis gate that passes replies at
//! once does not, because the fence quorum protects it and coordinators that are down must stop nobody.

use super::{Guards, Intent, intent, tails};
use crate::config::GateConfig;
use futures::future::BoxFuture;
use metrics::{counter, gauge};
use primacy_core::{Durability, Epoch, Group, GroupKind, GroupName, Moment, NodeId, Phase, RepliesOn};
use primacy_gate::{Cover, Door, Gate, GateOptions};
use primacy_redis::StreamOffset;
use primacy_runtime::{Task, sleep, spawn, timeout, watch};
use primacy_wire::v1;
use primacy_wire::v1::site_client::SiteClient;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long connecting to the primary may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A node that is followed and says nothing for so long is asked anew; it gives a sign of life six times as often.
const SILENT_AFTER: Duration = Duration::from_millis(1_500);

/// The gates of a node.
pub(crate) struct Gates {
    doors: BTreeMap<GroupName, Vec<Entrance>>,
    followed: Mutex<BTreeMap<GroupName, Followed>>,
}

struct Entrance {
    listen: SocketAddr,
    door: watch::Sender<Option<Door>>,
    gate: Gate,
}

/// What a gate relies on. Another one takes over what is held when that changes.
struct Followed {
    epoch: Epoch,
    on: RepliesOn,
    since: Moment,
    cover: Arc<dyn Cover>,
    _following: Task<()>,
}

impl Gates {
    /// Opens the ports; nobody is led anywhere yet.
    ///
    /// # Errors
    /// The address that cannot be listened on, and why.
    pub(crate) async fn open(configs: &[GateConfig]) -> Result<Gates, (SocketAddr, io::Error)> {
        let mut doors: BTreeMap<GroupName, Vec<Entrance>> = BTreeMap::new();
        for config in configs {
            let listener = TcpListener::bind(config.listen).await.map_err(|e| (config.listen, e))?;
            let (door, led) = watch::channel(None);
            let options = GateOptions {
                name: format!("{}@{}", config.group, config.listen),
                proxy_protocol: config.proxy_protocol,
                connections_max: config.connections_max,
                connect_within: CONNECT_WITHIN,
            };
            let gate = Gate::spawn(listener, led, options);
            let entrance = Entrance { listen: config.listen, door, gate };
            doors.entry(config.group.clone()).or_default().push(entrance);
        }
        Ok(Gates { doors, followed: Mutex::default() })
    }

    /// Whether there is a gate of that group here.
    pub(crate) fn has(&self, group: &GroupName) -> bool {
        self.doors.contains_key(group)
    }

    /// Writes down what the gates have done so far.
    pub(crate) fn record(&self) {
        for (group, entrances) in &self.doors {
            for Entrance { listen, gate, .. } in entrances {
                let stats = gate.stats();
                let labels = [("group", group.to_string()), ("listen", listen.to_string())];
                gauge!("primacy_gate_connections", &labels).set(stats.open as f64);
                gauge!("primacy_gate_held_bytes", &labels).set(stats.held_bytes as f64);
                counter!("primacy_gate_accepted_total", &labels).absolute(stats.accepted_total);
                counter!("primacy_gate_refused_total", &labels).absolute(stats.refused_total);
                counter!("primacy_gate_unreachable_total", &labels).absolute(stats.unreachable_total);
                counter!("primacy_gate_cut_total", &labels).absolute(stats.cut_total);
                counter!("primacy_gate_sent_bytes_total", &labels).absolute(stats.sent_bytes_total);
                counter!("primacy_gate_received_bytes_total", &labels).absolute(stats.received_bytes_total);
                counter!("primacy_gate_barriers_total", &labels).absolute(stats.barriers_total);
                counter!("primacy_gate_barriers_failed_total", &labels).absolute(stats.barriers_failed_total);
            }
        }
    }

    /// Whether anything may pass, or still be on its way, through the gates of a group here.
    pub(super) fn are_open(&self, group: &GroupName) -> bool {
        self.doors.get(group).is_some_and(|entrances| !entrances.iter().all(|e| e.gate.is_shut()))
    }

    /// Leads the gates of a group where they should lead now. Says whether that is anywhere.
    pub(super) fn follow(&self, guards: &Arc<Guards>, name: &GroupName, group: &Group, at: Moment) -> bool {
        let Some(entrances) = self.doors.get(name) else { return false };
        let door = self.door(guards, name, group, at);
        for entrance in entrances {
            entrance.door.send_if_modified(|led| {
                let news = !same(led.as_ref(), door.as_ref());
                if news {
                    led.clone_from(&door);
                }
                news
            });
        }
        door.is_some()
    }

    fn door(&self, guards: &Arc<Guards>, name: &GroupName, group: &Group, at: Moment) -> Option<Door> {
        let primary = group.primary.as_ref()?;
        let target = group.spec.member(&primary.member)?;
        if group.spec.kind == GroupKind::Kafka {
            // Its clients dial what its brokers tell them: a relay that does not rewrite that leads nowhere.
            return None;
        }
        if intent(group) != Intent::None {
            return None;
        }
        let held = group.spec.kind == GroupKind::Redis && group.spec.durability != Durability::Async;
        if group.transition.as_ref().is_some_and(|t| t.phase == Phase::Redirect) {
            // Not open yet; who holds its stream is followed from now on, so that this is known when it opens.
            if held && group.replies_on() != RepliesOn::Nobody {
                self.cover(guards, name, group, at);
            }
            return None;
        }
        let (until, hold) = if held || group.spec.kind == GroupKind::Endpoint {
            let until = guards.leases.until(name, primary.epoch, at)?;
            (Some(until), if held { Some(self.cover(guards, name, group, at)?) } else { None })
        } else {
            (None, None)
        };
        Some(Door { epoch: primary.epoch, target: target.address.clone(), until, hold })
    }

    /// What replies wait for under the present epoch; none when that has been nobody for too long.
    fn cover(
        &self,
        guards: &Arc<Guards>,
        name: &GroupName,
        group: &Group,
        at: Moment,
    ) -> Option<Arc<dyn Cover>> {
        let primary = group.primary.as_ref()?;
        let member = group.spec.member(&primary.member)?;
        let (epoch, on) = (primary.epoch, group.replies_on());
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = followed.get(name).filter(|f| (f.epoch, f.on) == (epoch, on)) {
            let waiting = known.on == RepliesOn::Nobody && at.since(known.since) >= RepliesOn::NOBODY_MAX;
            return (!waiting).then(|| known.cover.clone());
        }
        let (covered, _) = watch::channel(0);
        let cover = Held {
            offset: StreamOffset::new(
                &guards.links,
                name,
                &member.name,
                &member.address,
                RepliesOn::OFFSET_WITHIN,
            ),
            covered: covered.clone(),
        };
        let source = Source { guards: Arc::downgrade(guards), group: name.clone(), epoch, on };
        let following = spawn(source.follow(covered));
        let cover: Arc<dyn Cover> = Arc::new(cover);
        let known = Followed { epoch, on, since: at, cover: cover.clone(), _following: following };
        followed.insert(name.clone(), known);
        Some(cover)
    }
}

fn same(a: Option<&Door>, b: Option<&Door>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            let hold = match (&a.hold, &b.hold) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, Some(_)) | (Some(_), None) => false,
            };
            hold && (a.epoch, &a.target, a.until) == (b.epoch, &b.target, b.until)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Replies wait until somebody else holds the stream that covers them.
struct Held {
    offset: StreamOffset,
    /// Here as well as with the source, so that it outlasts the source for as long as a gate relies on it.
    covered: watch::Sender<u64>,
}

impl Cover for Held {
    fn barrier(&self) -> BoxFuture<'static, io::Result<u64>> {
        let offset = self.offset.clone();
        Box::pin(async move { offset.ask().await })
    }

    fn covered(&self) -> watch::Receiver<u64> {
        self.covered.subscribe()
    }
}

/// Another primary has taken over.
struct EpochOver;

/// Where it is known from how far the stream is held.
struct Source {
    guards: Weak<Guards>,
    group: GroupName,
    epoch: Epoch,
    on: RepliesOn,
}

impl Source {
    /// Tells how far the stream of this epoch is held, until the epoch is over.
    async fn follow(self, covered: watch::Sender<u64>) {
        loop {
            let Some(guards) = self.guards.upgrade() else { return };
            let mut changed = guards.changed.subscribe();
            let Ok(holds) = self.who(&guards) else { return };
            match holds {
                Some(node) if node == guards.me => {
                    let progress = self.own(&guards);
                    drop(guards);
                    tokio::select! {
                        () = follow_own(progress, &covered) => sleep(AGAIN_AFTER).await,
                        changed = changed.changed() => if changed.is_err() { return },
                        () = self.until_another(node) => {}
                    }
                }
                Some(node) => {
                    let channel = guards.channel_to(node);
                    drop(guards);
                    if let Some(channel) = channel {
                        self.other(node, SiteClient::new(channel), &covered).await;
                    }
                    sleep(AGAIN_AFTER).await;
                }
                None => {
                    drop(guards);
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// The node that holds the stream.
    fn who(&self, guards: &Guards) -> Result<Option<NodeId>, EpochOver> {
        guards.consensus.read(|state| {
            let primary = state.groups.get(&self.group).and_then(|g| g.primary.as_ref());
            let primary = primary.filter(|p| p.epoch == self.epoch).ok_or(EpochOver)?;
            Ok(match self.on {
                RepliesOn::Witness => primary.witness,
                RepliesOn::Holder(node) => Some(node),
                RepliesOn::Nobody => None,
            })
        })
    }

    /// How far this node holds it.
    fn own(&self, guards: &Guards) -> Option<watch::Receiver<u64>> {
        match self.on {
            RepliesOn::Witness => guards.tail(&self.group, self.epoch).map(|tail| tail.progress()),
            RepliesOn::Holder(_) => guards.acknowledged(&self.group, self.epoch),
            RepliesOn::Nobody => None,
        }
    }

    /// Follows what another node holds, until that is another one.
    async fn other(
        &self,
        node: NodeId,
        client: SiteClient<tonic::transport::Channel>,
        covered: &watch::Sender<u64>,
    ) {
        tokio::select! {
            () = self.until_another(node) => {}
            () = async {
                match self.on {
                    RepliesOn::Witness => self.tail_of(client, covered).await,
                    RepliesOn::Holder(_) => self.word_of(client, covered).await,
                    RepliesOn::Nobody => {}
                }
            } => {}
        }
    }

    async fn until_another(&self, node: NodeId) {
        loop {
            sleep(tails::SIGN_OF_LIFE_EVERY).await;
            let Some(guards) = self.guards.upgrade() else { return };
            if !matches!(self.who(&guards), Ok(Some(present)) if present == node) {
                return;
            }
        }
    }

    /// Follows the tail of a witness elsewhere: what has arrived here from it is held there.
    async fn tail_of(&self, mut client: SiteClient<tonic::transport::Channel>, covered: &watch::Sender<u64>) {
        let request = v1::FetchTailRequest {
            group: self.group.as_str().to_owned(),
            of_epoch: self.epoch.0,
            replid: String::new(),
            from_bytes: tails::FROM_ITS_END,
            follow: true,
        };
        let Ok(Ok(chunks)) = timeout(SILENT_AFTER, client.fetch_tail(request)).await else { return };
        let mut chunks = chunks.into_inner();
        while let Ok(Ok(Some(chunk))) = timeout(SILENT_AFTER, chunks.message()).await {
            raise(covered, chunk.at_bytes + chunk.data.len() as u64);
        }
    }

    /// Follows what the holder acknowledges.
    async fn word_of(&self, mut client: SiteClient<tonic::transport::Channel>, covered: &watch::Sender<u64>) {
        let request = v1::WatchTailRequest { group: self.group.as_str().to_owned(), of_epoch: self.epoch.0 };
        let Ok(Ok(ends)) = timeout(SILENT_AFTER, client.watch_tail(request)).await else { return };
        let mut ends = ends.into_inner();
        while let Ok(Ok(Some(end))) = timeout(SILENT_AFTER, ends.message()).await {
            raise(covered, end.end_bytes);
        }
    }
}

/// Follows what this node itself holds, until that ends.
async fn follow_own(progress: Option<watch::Receiver<u64>>, covered: &watch::Sender<u64>) {
    let Some(mut progress) = progress else { return };
    loop {
        raise(covered, *progress.borrow_and_update());
        if progress.changed().await.is_err() {
            return;
        }
    }
}

fn raise(covered: &watch::Sender<u64>, to: u64) {
    covered.send_if_modified(|at| {
        let news = to > *at;
        *at = to.max(*at);
        news
    });
}
