//! `INFO` texts, read by the names of their fields: positions, unknown fields and whole sections differ between
//! Redis 6.2 to 8 and Valkey, names do not.

use primacy_core::view::{AttachedReplica, MemberRole};

/// The fields of an `INFO` text, in order.
pub(crate) fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('\n').filter_map(|line| line.trim_end().split_once(':'))
}

/// What `INFO replication` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replication {
    pub(crate) role: MemberRole,
    pub(crate) replid: String,
    pub(crate) replid2: Option<String>,
    pub(crate) second_offset_bytes: u64,
    pub(crate) offset_bytes: u64,
    /// How far a replica has run its source's stream; the same as `offset_bytes` for a primary.
    pub(crate) applied_bytes: u64,
    /// Whether a replica is taking a full copy at the moment.
    pub(crate) syncing: bool,
    /// Whether it keeps a backlog. Without one its history gets another id when the first replica attaches.
    pub(crate) backlog: bool,
}

#[derive(Default)]
struct Raw<'a> {
    role: &'a str,
    host: &'a str,
    port: u16,
    link_up: bool,
    syncing: bool,
    backlog: bool,
    applied: Option<u64>,
    read: Option<u64>,
    read_only: Option<bool>,
    replid: &'a str,
    replid2: &'a str,
    offset: u64,
    second_offset: i64,
    replicas: Vec<AttachedReplica>,
}

impl Replication {
    /// Reads the text; none when it says no role or no history, as an answer of something else would.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let raw = read(text);
        let role = match raw.role {
            "master" | "primary" => MemberRole::Primary { replicas: raw.replicas },
            "slave" | "replica" => MemberRole::Replica {
                host: raw.host.to_owned(),
                port: raw.port,
                link_up: raw.link_up,
                read_offset_bytes: raw.read.or(raw.applied).unwrap_or(raw.offset),
                read_only: raw.read_only.unwrap_or(true),
            },
            _ => return None,
        };
        if raw.replid.is_empty() {
            return None;
        }
        let replid2 = Some(raw.replid2).filter(|id| id.bytes().any(|b| b != b'0'));
        Some(Replication {
            replid: raw.replid.to_owned(),
            replid2: replid2.map(str::to_owned),
            second_offset_bytes: if replid2.is_some() { raw.second_offset.max(0) as u64 } else { 0 },
            offset_bytes: raw.offset,
            applied_bytes: raw.applied.unwrap_or(raw.offset),
            syncing: raw.syncing,
            backlog: raw.backlog,
            role,
        })
    }

    /// Whether it calls itself primary.
    pub(crate) fn is_primary(&self) -> bool {
        matches!(self.role, MemberRole::Primary { .. })
    }

    /// Role, source and link in words.
    pub(crate) fn describe(&self) -> String {
        match &self.role {
            MemberRole::Primary { .. } => "a primary".to_owned(),
            MemberRole::Endpoint | MemberRole::Cluster(_) => "no Redis server".to_owned(),
            MemberRole::Replica { host, port, link_up, .. } => {
                format!("a replica of {host}:{port} (link {})", if *link_up { "up" } else { "down" })
            }
        }
    }
}

fn read(text: &str) -> Raw<'_> {
    let mut raw = Raw { second_offset: -1, ..Raw::default() };
    for (name, value) in fields(text) {
        match name {
            "role" => raw.role = value,
            "master_host" => raw.host = value,
            "master_port" => raw.port = value.parse().unwrap_or_default(),
            "master_link_status" => raw.link_up = value == "up",
            "master_sync_in_progress" => raw.syncing = value == "1",
            "repl_backlog_active" => raw.backlog = value == "1",
            "slave_repl_offset" | "replica_repl_offset" => raw.applied = value.parse().ok(),
            "slave_read_repl_offset" | "replica_read_repl_offset" => raw.read = value.parse().ok(),
            "slave_read_only" | "replica_read_only" => raw.read_only = Some(value != "0"),
            "master_replid" => raw.replid = value,
            "master_replid2" => raw.replid2 = value,
            "master_repl_offset" => raw.offset = value.parse().unwrap_or_default(),
            "second_repl_offset" => raw.second_offset = value.parse().unwrap_or(-1),
            _ if names_a_replica(name) => raw.replicas.extend(attached(value)),
            _ => {}
        }
    }
    raw
}

/// `slave0`, `slave17`; not `slave_priority`.
fn names_a_replica(name: &str) -> bool {
    let number = name.strip_prefix("slave").or_else(|| name.strip_prefix("replica"));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// `ip=::1,port=6380,state=online,offset=14,lag=0`.
fn attached(value: &str) -> Option<AttachedReplica> {
    let mut replica = AttachedReplica { host: String::new(), port: 0, online: false, offset_bytes: 0 };
    for (key, value) in value.split(',').filter_map(|part| part.split_once('=')) {
        match key {
            "ip" => value.clone_into(&mut replica.host),
            "port" => replica.port = value.parse().unwrap_or_default(),
            "state" => replica.online = value == "online",
            "offset" => replica.offset_bytes = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    (replica.port != 0).then_some(replica)
}

/// What `INFO server` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) run_id: String,
    pub(crate) pid: u32,
    pub(crate) uptime_s: u64,
    /// Of the server itself: Valkey's own version, not the Redis version it claims to be compatible with.
    pub(crate) version: String,
    /// The Redis version that it is, or is compatible with.
    pub(crate) redis_version: String,
    /// `standalone`, `sentinel` or `cluster`.
    pub(crate) mode: String,
    /// Path of the program.
    pub(crate) executable: String,
    /// Path of the configuration; empty without one.
    pub(crate) config_file: String,
}

impl Server {
    pub(crate) fn parse(text: &str) -> Self {
        let mut server = Server::default();
        let mut valkey = None;
        for (name, value) in fields(text) {
            match name {
                "run_id" => value.clone_into(&mut server.run_id),
                "process_id" => server.pid = value.parse().unwrap_or_default(),
                "uptime_in_seconds" => server.uptime_s = value.parse().unwrap_or_default(),
                "redis_version" => value.clone_into(&mut server.redis_version),
                "valkey_version" => valkey = Some(value.to_owned()),
                "redis_mode" | "server_mode" => value.clone_into(&mut server.mode),
                "executable" => value.clone_into(&mut server.executable),
                "config_file" => value.clone_into(&mut server.config_file),
                _ => {}
            }
        }
        server.version = valkey.unwrap_or_else(|| server.redis_version.clone());
        server
    }
}

/// The number in one field, 0 when it is missing.
pub(crate) fn number(text: &str, name: &str) -> u64 {
    fields(text).find(|(n, _)| *n == name).and_then(|(_, v)| v.parse().ok()).unwrap_or_default()
}

/// Keys of all databases in an `INFO keyspace` text: the sum of `db0:keys=7,expires=0,...`.
pub(crate) fn keys(text: &str) -> u64 {
    let counts = fields(text).filter(|(name, _)| name.starts_with("db")).filter_map(|(_, value)| {
        let keys = value.split(',').find_map(|part| part.strip_prefix("keys="))?;
        keys.parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_is_none(
            text in prop_oneof![
                ".{0,300}",
                "((role|slave[0-9]|slave|master_host|master_repl_offset|second_repl_offset|run_id|process_id|uptime_in_seconds|slave_read_repl_offset)\\:?(master|slave|ip=[0-9.]{0,9},port=[0-9-]{0,9},state=online,offset=[0-9-]{0,25},lag=[0-9-]{0,3}|[0-9-]{0,25})\r?\n){0,30}",
            ],
        ) {
            if let Some(replication) = Replication::parse(&text) {
                replication.describe();
            }
            Server::parse(&text);
            number(&text, "used_memory");
            keys(&text);
        }
    }

    fn with_crlf(text: &str) -> String {
        text.replace('\n', "\r\n")
    }

    #[test]
    fn redis_6_2_has_no_read_offset() {
        let text = with_crlf(include_str!("../tests/fixtures/redis_6_2_replica.txt"));
        let server = Server::parse(&text);
        assert_eq!(
            (server.version.as_str(), server.mode.as_str(), server.pid),
            ("6.2.14", "standalone", 811)
        );
        assert_eq!((server.uptime_s, server.config_file.as_str()), (86_400, "/etc/redis/redis.conf"));
        let replication = Replication::parse(&text).unwrap();
        let expected = MemberRole::Replica {
            host: "10.0.0.1".into(),
            port: 6379,
            link_up: true,
            read_offset_bytes: 88_231_904,
            read_only: true,
        };
        assert_eq!(replication.role, expected);
        assert_eq!((replication.replid2, replication.second_offset_bytes), (None, 0));
        assert_eq!(keys(&text), 1_204);
    }

    #[test]
    fn redis_8_lists_replicas_with_fields_of_its_own() {
        let text = with_crlf(include_str!("../tests/fixtures/redis_8_primary.txt"));
        assert_eq!(Server::parse(&text).version, "8.2.1");
        let replication = Replication::parse(&text).unwrap();
        assert!(replication.is_primary() && replication.backlog);
        assert_eq!(replication.second_offset_bytes, 4_097);
        assert!(replication.replid2.unwrap().starts_with("8c1d"));
        let MemberRole::Primary { replicas } = replication.role else { panic!("it is a primary") };
        let seen: Vec<_> =
            replicas.iter().map(|r| (r.host.as_str(), r.port, r.online, r.offset_bytes)).collect();
        assert_eq!(seen, [("redis-b.north.example", 6379, true, 5_120), ("fd00::7", 6380, false, 0)]);
        assert_eq!(keys(&text), 10);
    }

    #[test]
    fn valkey_9_names_its_own_version_and_mode() {
        let text = with_crlf(include_str!("../tests/fixtures/valkey_9_replica.txt"));
        let server = Server::parse(&text);
        assert_eq!((server.version.as_str(), server.redis_version.as_str()), ("9.0.0", "7.2.4"));
        assert_eq!(server.mode, "standalone");
        let replication = Replication::parse(&text).unwrap();
        assert!(replication.syncing);
        assert_eq!(replication.applied_bytes, 77);
        let MemberRole::Replica { link_up, read_offset_bytes, read_only, .. } = replication.role else {
            panic!("it is a replica")
        };
        assert_eq!((link_up, read_offset_bytes, read_only), (false, 97, false));
    }

    #[test]
    fn what_is_no_info_is_none() {
        assert_eq!(Replication::parse(""), None);
        assert_eq!(Replication::parse("role:master\r\n"), None);
        assert_eq!(Replication::parse("<html>role: master</html>"), None);
        assert!(
            !names_a_replica("slave_priority") && !names_a_replica("slave") && names_a_replica("slave10")
        );
    }
}
