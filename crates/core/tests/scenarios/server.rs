//! A Redis server as far as the rules see one.

use primacy_core::Address;
use primacy_core::view::{AttachedReplica, BootFence, MemberRole, MemberStatus};
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub struct Server {
    pub address: Address,
    /// A stateless service and no Redis.
    pub endpoint: bool,
    pub run: u32,
    pub pid: u32,
    pub alive: bool,
    pub frozen: bool,
    /// Lags: its link is up and nothing comes through.
    pub stuck: bool,
    /// Connections to it end by a reset and new ones find no way: what a firewall does.
    pub resets: bool,
    /// Who it replicates from; none when it is a primary.
    pub source: Option<(String, u16)>,
    pub link_up: bool,
    pub replid: String,
    pub replid2: Option<String>,
    pub second_offset: u64,
    pub offset: u64,
    pub min_replicas: u64,
    pub keys: u64,
    pub read_only: bool,
    /// How fast its stream grew at its fastest, bytes a second; none while no node has watched it for long enough.
    pub rate: Option<u64>,
    /// Somebody has told it not to notice silent replicas.
    pub patient: bool,
    /// Members whose replication it refuses.
    /// It closes the connection of its witness, and lets none attach.
    pub sheds: bool,
    pub refuses: BTreeSet<String>,
}

impl Server {
    pub fn fenced(name: &str, address: Address) -> Self {
        Server {
            address,
            endpoint: false,
            run: 1,
            pid: 1000,
            alive: true,
            frozen: false,
            stuck: false,
            resets: false,
            source: Some(("127.0.0.1".to_owned(), 1)),
            link_up: false,
            replid: format!("{name}-0"),
            replid2: None,
            second_offset: 0,
            offset: 0,
            min_replicas: 1_000_000,
            keys: 0,
            read_only: true,
            rate: Some(0),
            patient: false,
            sheds: false,
            refuses: BTreeSet::new(),
        }
    }

    pub fn answers(&self) -> bool {
        self.alive && !self.frozen && !self.resets
    }

    pub fn is_primary(&self) -> bool {
        self.source.is_none()
    }

    /// With so many replicas attached.
    pub fn accepts_writes(&self, attached: u64) -> bool {
        self.answers() && if self.is_primary() { self.min_replicas <= attached } else { !self.read_only }
    }

    pub fn run_id(&self, name: &str) -> String {
        format!("run-{name}-{}", self.run)
    }

    pub fn status(&self, name: &str, attached: &[(Address, u64)]) -> MemberStatus {
        if self.endpoint {
            return MemberStatus::endpoint(100);
        }
        let role = match &self.source {
            None => MemberRole::Primary {
                replicas: attached
                    .iter()
                    .map(|(a, offset_bytes)| AttachedReplica {
                        host: a.host.clone(),
                        port: a.port,
                        online: true,
                        offset_bytes: *offset_bytes,
                    })
                    .collect(),
            },
            Some((host, port)) => MemberRole::Replica {
                host: host.clone(),
                port: *port,
                link_up: self.link_up,
                read_offset_bytes: self.offset,
                read_only: self.read_only,
            },
        };
        MemberStatus {
            run_id: self.run_id(name),
            pid: self.pid,
            uptime_s: 100,
            version: "7.0.15".to_owned(),
            role,
            replid: self.replid.clone(),
            replid2: self.replid2.clone(),
            second_offset_bytes: self.second_offset,
            offset_bytes: self.offset,
            min_replicas: self.min_replicas,
            notices_silence: !self.patient,
            loading: false,
            keys: self.keys,
            clients: 0,
            sentinels: 0,
            boot: BootFence::Fenced,
            rtt_us: 100,
        }
    }
}
