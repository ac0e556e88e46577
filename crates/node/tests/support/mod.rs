//! Three nodes at three sites in this process, and a group of three real servers.

use futures::StreamExt;
use primacy_core::{GroupName, MemberName};
use primacy_node::Node;
use primacy_node::config::{GroupsFile, NodeConfig};
use primacy_redis::{ConfSecrets, redis_conf};
use primacy_testbed::{Credentials, RedisGroup, RedisOptions, ports, wait_for};
use primacy_wire::v1;
use primacy_wire::v1::admin_client::AdminClient;
use primacy_wire::v1::directory_client::DirectoryClient;
use primacy_wire::v1::site_client::SiteClient;
use primacy_wire::v1::transition_progress::News;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) const GROUP: &str = "features";
pub(crate) const SITES: [&str; 3] = ["east", "west", "north"];
const DEADLINE: Duration = Duration::from_secs(20);
const USER: &str = "primacy";
const PASSWORD: &str = "s3cret";

struct Running {
    id: u64,
    address: String,
    http: String,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

pub(crate) struct Deployment {
    pub(crate) group: RedisGroup,
    nodes: Vec<Running>,
    _dir: tempfile::TempDir,
}

impl Deployment {
    pub(crate) async fn start() -> Deployment {
        let _ = primacy_node::telemetry::init_logging(primacy_node::telemetry::LogFormat::Text, None);
        let dir = tempfile::tempdir().unwrap();
        let group = start_group(dir.path()).await;
        let ports: [u16; 3] = ports::free_many().unwrap();
        let https: [u16; 3] = ports::free_many().unwrap();
        let mut nodes = Vec::new();
        for n in 0..SITES.len() {
            let text = node_toml(n, ports, https);
            let base = dir.path().join(format!("node-{}", n + 1));
            std::fs::create_dir_all(&base).unwrap();
            std::fs::write(base.join("password"), PASSWORD).unwrap();
            let config = NodeConfig::parse(&text, &base).unwrap();
            let node = Node::start(config).await.unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let task = tokio::spawn(async move {
                let until = async {
                    let _ = stopped.await;
                };
                node.run_until(until).await.unwrap();
            });
            let (address, http) = (format!("127.0.0.1:{}", ports[n]), format!("127.0.0.1:{}", https[n]));
            nodes.push(Running { id: n as u64 + 1, address, http, stop: Some(stop), task });
        }
        let deployment = Deployment { group, nodes, _dir: dir };
        deployment.wait_leader().await;
        deployment
    }

    async fn wait_leader(&self) -> u64 {
        wait_for("a leader", DEADLINE, async || {
            let status = self.admin(0).await.cluster_status(v1::ClusterStatusRequest {}).await?.into_inner();
            let leader = status.leader.clone().ok_or_else(|| anyhow::anyhow!("none"))?;
            anyhow::ensure!(
                status.nodes.len() == SITES.len() && status.nodes.iter().all(|n| n.reachable),
                "{status:?}"
            );
            Ok(leader.id)
        })
        .await
        .unwrap()
    }

    fn live(&self, n: usize) -> &Running {
        &self.nodes[n % self.nodes.len()]
    }

    async fn channel(&self, n: usize) -> Channel {
        let address = &self.live(n).address;
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn admin(&self, n: usize) -> AdminClient<Channel> {
        AdminClient::new(self.channel(n).await)
    }

    pub(crate) async fn directory(&self, n: usize) -> DirectoryClient<Channel> {
        DirectoryClient::new(self.channel(n).await)
    }

    /// Asks for a lease of node 2, under an epoch that may be to come.
    pub(crate) async fn renew(&self, epoch: u64, wait: Duration) -> Vec<v1::LeaseGrant> {
        let ask = v1::LeaseAsk { group: GROUP.into(), epoch, witness: false, mirrors: Vec::new() };
        let request = v1::RenewRequest { node_id: 2, asks: vec![ask], wait_us: wait.as_micros() as u64 };
        let mut site = SiteClient::new(self.channel(1).await);
        site.renew(request).await.unwrap().into_inner().grants
    }

    pub(crate) fn groups_toml(&self) -> String {
        self.group.toml(&[])
    }

    pub(crate) async fn apply(&self) {
        let answer = self.apply_text(&self.groups_toml(), false).await.unwrap();
        assert!(answer.problems.is_empty(), "{:?}", answer.problems);
    }

    pub(crate) async fn apply_text(
        &self,
        text: &str,
        dry_run: bool,
    ) -> Result<v1::ApplyGroupsResponse, Status> {
        let groups = GroupsFile::parse(text).unwrap();
        let request = v1::ApplyGroupsRequest {
            groups: groups.iter().map(Into::into).collect(),
            prune: true,
            dry_run,
            requested_by: "test".into(),
        };
        // A follower takes it as well.
        self.admin(1).await.apply_groups(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn primary(
        &self,
        n: usize,
        consistency: v1::Consistency,
    ) -> Result<v1::Primary, Status> {
        let request = v1::GetPrimaryRequest { group: GROUP.into(), consistency: consistency.into() };
        self.directory(n).await.get_primary(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn list(&self) -> v1::ListGroupsResponse {
        let request = v1::ListGroupsRequest { consistency: v1::Consistency::Linearizable.into() };
        self.directory(2).await.list_groups(request).await.unwrap().into_inner()
    }

    pub(crate) async fn status(&self, n: usize) -> v1::StatusResponse {
        self.admin(n).await.status(v1::StatusRequest { group: None }).await.unwrap().into_inner()
    }

    pub(crate) async fn history(&self) -> Vec<v1::Transition> {
        let request = v1::HistoryRequest { group: GROUP.into(), last: 0 };
        self.admin(2).await.history(request).await.unwrap().into_inner().transitions
    }

    pub(crate) async fn wait_serving(&self, member: &str) -> v1::Primary {
        self.wait_primary(&format!("{member} to serve"), |found| found == member).await
    }

    pub(crate) async fn wait_other_than(&self, member: &str) -> v1::Primary {
        self.wait_primary(&format!("another than {member} to serve"), |found| found != member).await
    }

    async fn wait_primary(&self, what: &str, wanted: impl Fn(&str) -> bool) -> v1::Primary {
        let found = wait_for(what, DEADLINE, async || {
            let answer = self.primary(0, v1::Consistency::Linearizable).await?;
            let serving =
                answer.state() == v1::GroupState::Serving && answer.member.as_deref().is_some_and(&wanted);
            anyhow::ensure!(serving, "{answer:?}");
            Ok(answer)
        });
        match found.await {
            Ok(answer) => answer,
            Err(error) => panic!("{error:#}\n{:#?}", self.status(0).await),
        }
    }

    /// Waits until no transition is under way and all standbys are ready.
    pub(crate) async fn wait_settled(&self) {
        let settled = wait_for("the group to settle", DEADLINE, async || {
            let status = self.status(0).await;
            let group = &status.groups[0];
            let ready = group.summary.as_ref().and_then(|s| s.standbys_ready);
            anyhow::ensure!(group.transition.is_none() && ready == Some(2), "{group:#?}");
            Ok(())
        });
        settled.await.unwrap();
    }

    pub(crate) async fn switchover(&self, to: Option<&str>, failback: bool) -> Result<Vec<News>, Status> {
        self.ask_switchover(to, failback, false).await
    }

    pub(crate) async fn dry_switchover(&self, to: &str) -> Result<Vec<News>, Status> {
        self.ask_switchover(Some(to), false, true).await
    }

    async fn ask_switchover(
        &self,
        to: Option<&str>,
        failback: bool,
        dry_run: bool,
    ) -> Result<Vec<News>, Status> {
        let request = v1::SwitchoverRequest {
            group: GROUP.into(),
            to: to.map(str::to_owned),
            dry_run,
            reason: Some("test".into()),
            requested_by: "test".into(),
            failback,
        };
        let mut stream = self.admin(2).await.switchover(request).await?.into_inner();
        let mut news = Vec::new();
        while let Some(progress) = stream.message().await? {
            news.extend(progress.news);
        }
        Ok(news)
    }

    /// Stops the leading node in order.
    pub(crate) async fn stop_leader(&mut self) {
        let leader = self.wait_leader().await;
        let position = self.nodes.iter().position(|n| n.id == leader).unwrap();
        let mut node = self.nodes.remove(position);
        let _ = node.stop.take().unwrap().send(());
        node.task.await.unwrap();
    }

    /// Stops all nodes in order.
    pub(crate) async fn stop(mut self) {
        for node in &mut self.nodes {
            if let Some(stop) = node.stop.take() {
                let _ = stop.send(());
            }
        }
        for node in self.nodes {
            node.task.await.unwrap();
        }
    }

    /// One GET; code and body.
    pub(crate) async fn http(&self, n: usize, path: &str) -> (u16, String) {
        let address = &self.live(n).http;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let code = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (code, body.to_owned())
    }
}

async fn start_group(dir: &Path) -> RedisGroup {
    let ports: [u16; 3] = ports::free_many().unwrap();
    let mut text = format!("[[redis]]\nname = \"{GROUP}\"\n");
    for (site, port) in SITES.iter().zip(ports) {
        write!(
            text,
            "[[redis.member]]\nname = \"{site}-a\"\nsite = \"{site}\"\naddress = \"127.0.0.1:{port}\"\n"
        )
        .unwrap();
    }
    let spec = GroupsFile::parse(&text).unwrap().remove(0);
    let secrets = ConfSecrets { username: USER.into(), password: Some(PASSWORD.into()) };
    let members = SITES.iter().zip(ports).map(|(site, port)| {
        let name = RedisGroup::member_name(site);
        let mut options = RedisOptions::new(&name, dir.join(&name));
        options.port = Some(port);
        options.credentials = Some(Credentials { username: "test".into(), password: PASSWORD.into() });
        let lines = redis_conf(&spec, &MemberName::new(&name).unwrap(), &secrets).unwrap();
        options.config.push(format!("user test on >{PASSWORD} ~* &* +@all"));
        options.config.extend(lines.lines().map(str::to_owned));
        ((*site).to_owned(), options)
    });
    assert_eq!(spec.name, GroupName::new(GROUP).unwrap());
    RedisGroup::start(GROUP, members.collect()).await.unwrap()
}

fn node_toml(n: usize, ports: [u16; 3], https: [u16; 3]) -> String {
    let mut text = format!(
        "[node]\nid = {}\nsite = \"{}\"\ndata_dir = \"data\"\nlisten = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\n\
         [cluster]\nname = \"test\"\n",
        n + 1,
        SITES[n],
        ports[n],
        https[n]
    );
    for (m, port) in ports.into_iter().enumerate() {
        let (id, site) = (m + 1, SITES[m]);
        write!(text, "[[cluster.peer]]\nid = {id}\nsite = \"{site}\"\naddress = \"127.0.0.1:{port}\"\n")
            .unwrap();
    }
    write!(text, "[redis.default]\nusername = \"{USER}\"\npassword_file = \"password\"\n").unwrap();
    text
}

pub(crate) fn consistency_of(answer: &v1::Primary) -> v1::Consistency {
    answer.consistency()
}

/// What a watcher saw.
#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) revisions: Vec<u64>,
    pub(crate) primaries: Vec<String>,
}

pub(crate) struct Watch {
    stream: tonic::Streaming<v1::WatchResponse>,
    seen: Watched,
}

pub(crate) async fn watch_from(d: &Deployment, revision: u64) -> Watch {
    let request = v1::WatchRequest { groups: vec![GROUP.into()], from_revision: Some(revision) };
    let stream = d.directory(1).await.watch(request).await.unwrap().into_inner();
    Watch { stream, seen: Watched::default() }
}

impl Watch {
    /// Reads until the primary of that epoch was announced.
    pub(crate) async fn until(&mut self, epoch: u64, within: Duration) -> Watched {
        let reading = async {
            while let Some(response) = self.stream.next().await {
                let response = response.unwrap();
                if response.progress {
                    continue;
                }
                self.seen.revisions.push(response.revision);
                for event in response.events {
                    if let Some(v1::event::Kind::PrimaryChanged(changed)) = event.kind {
                        self.seen.primaries.push(changed.member);
                        if changed.epoch == epoch {
                            return;
                        }
                    }
                }
            }
            panic!("the watch ended");
        };
        tokio::time::timeout(within, reading).await.expect("the change is seen in time");
        std::mem::take(&mut self.seen)
    }
}
