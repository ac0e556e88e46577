//! What a node saw of a member, on its way to the leader.
//!
//! The problem: monotonic clocks of two machines do not compare. The idea: the sender gives ages, the receiver counts
//! them back from the earliest moment at which the batch can have been sent, so that an observation never looks younger
//! than it is, and older at most by the time that a message takes.

use crate::convert::{chosen, each, mirror, parsed, required};
use crate::{WireError, v1};
use primacy_core::view::{
    AttachedReplica, BootFence, ConnectFailure, LinkEnd, MemberRole, MemberStatus, Observation, Reach,
};
use primacy_core::{GroupName, MemberName, Moment};
use std::time::Duration;
use v1::boot_fence::Verdict;
use v1::server_status::{Attached, Endpoint, Primary, Replica, Role};

mirror!(LinkEnd { Eof, Reset, Unanswered });
mirror!(ConnectFailure { Refused, Unreachable, NameUnknown, Protocol });

/// An observation as this node made it, sent at `now` of this node.
pub fn to_wire(group: &GroupName, member: &MemberName, seen: &Observation, now: Moment) -> v1::Sighting {
    use v1::sighting::Reach as Wire;
    let age_us = |at: Moment| now.since(at).as_micros() as u64;
    let reach = match &seen.reach {
        Reach::Up(status) => Wire::Up(status.into()),
        Reach::Down { since, ended, connect, exited_pid, detail } => Wire::Down(v1::Unreached {
            since_age_us: age_us(*since),
            ended: ended.map(|e| v1::LinkEnd::from(e).into()),
            connect: connect.map(|c| v1::ConnectFailure::from(c).into()),
            exited_pid: *exited_pid,
            detail: detail.clone(),
        }),
    };
    let last_answer = |(at, status): &(Moment, MemberStatus)| v1::LastAnswer {
        age_us: age_us(*at),
        status: Some(status.into()),
    };
    v1::Sighting {
        group: group.as_str().to_owned(),
        member: member.as_str().to_owned(),
        age_us: age_us(seen.at),
        reach: Some(reach),
        last_up: seen.last_up.as_ref().map(last_answer),
        rate_peak_bytes: seen.rate_peak_bytes,
    }
}

/// The observation in this node's monotonic time, sent at `sent`.
///
/// # Errors
/// Names the field that is missing or impossible.
pub fn from_wire(
    sighting: v1::Sighting,
    sent: Moment,
) -> Result<(GroupName, MemberName, Observation), WireError> {
    use v1::sighting::Reach as Wire;
    let at = |age_us: u64| sent.before(Duration::from_micros(age_us));
    let reach = match sighting.reach.ok_or_else(|| WireError::missing("reach"))? {
        Wire::Up(status) => Reach::Up(status.try_into().map_err(|e: WireError| e.within("up"))?),
        Wire::Down(down) => {
            let ended = down.ended.map(|e| chosen::<v1::LinkEnd, _>(e, "down.ended")).transpose()?;
            let connect =
                down.connect.map(|c| chosen::<v1::ConnectFailure, _>(c, "down.connect")).transpose()?;
            let since = at(down.since_age_us);
            Reach::Down { since, ended, connect, exited_pid: down.exited_pid, detail: down.detail }
        }
    };
    let last_up = match sighting.last_up {
        None => None,
        Some(last) => Some((at(last.age_us), required(last.status, "last_up.status")?)),
    };
    let observation =
        Observation { at: at(sighting.age_us), reach, last_up, rate_peak_bytes: sighting.rate_peak_bytes };
    Ok((parsed(&sighting.group, "group")?, parsed(&sighting.member, "member")?, observation))
}

impl From<&AttachedReplica> for Attached {
    fn from(replica: &AttachedReplica) -> Self {
        Self {
            host: replica.host.clone(),
            port: replica.port.into(),
            online: replica.online,
            offset_bytes: replica.offset_bytes,
        }
    }
}

impl TryFrom<Attached> for AttachedReplica {
    type Error = WireError;

    fn try_from(replica: Attached) -> Result<Self, WireError> {
        Ok(Self {
            host: replica.host,
            port: port(replica.port)?,
            online: replica.online,
            offset_bytes: replica.offset_bytes,
        })
    }
}

fn port(value: u32) -> Result<u16, WireError> {
    u16::try_from(value).map_err(|_| WireError::new("port", format!("{value} is above 65535")))
}

impl From<&MemberRole> for Role {
    fn from(role: &MemberRole) -> Self {
        match role {
            MemberRole::Primary { replicas } => {
                Role::Primary(Primary { replicas: replicas.iter().map(Into::into).collect() })
            }
            MemberRole::Replica { host, port, link_up, read_offset_bytes, read_only } => {
                Role::Replica(Replica {
                    host: host.clone(),
                    port: (*port).into(),
                    link_up: *link_up,
                    read_offset_bytes: *read_offset_bytes,
                    read_only: *read_only,
                })
            }
            MemberRole::Endpoint => Role::Endpoint(Endpoint {}),
            MemberRole::Cluster(status) => Role::Cluster((&**status).into()),
        }
    }
}

impl TryFrom<Role> for MemberRole {
    type Error = WireError;

    fn try_from(role: Role) -> Result<Self, WireError> {
        Ok(match role {
            Role::Primary(primary) => {
                MemberRole::Primary { replicas: each(primary.replicas, "primary.replicas")? }
            }
            Role::Replica(replica) => MemberRole::Replica {
                host: replica.host,
                port: port(replica.port).map_err(|e| e.within("replica"))?,
                link_up: replica.link_up,
                read_offset_bytes: replica.read_offset_bytes,
                read_only: replica.read_only,
            },
            Role::Endpoint(Endpoint {}) => MemberRole::Endpoint,
            Role::Cluster(cluster) => MemberRole::Cluster(Box::new(cluster.into())),
        })
    }
}

impl From<&MemberStatus> for v1::ServerStatus {
    fn from(status: &MemberStatus) -> Self {
        Self {
            run_id: status.run_id.clone(),
            pid: status.pid,
            uptime_s: status.uptime_s,
            version: status.version.clone(),
            role: Some((&status.role).into()),
            replid: status.replid.clone(),
            replid2: status.replid2.clone(),
            second_offset_bytes: status.second_offset_bytes,
            offset_bytes: status.offset_bytes,
            min_replicas: status.min_replicas,
            notices_silence: status.notices_silence,
            loading: status.loading,
            keys: status.keys,
            clients: status.clients,
            sentinels: status.sentinels,
            boot: Some((&status.boot).into()),
            rtt_us: status.rtt_us,
        }
    }
}

impl From<&BootFence> for v1::BootFence {
    fn from(boot: &BootFence) -> Self {
        let (verdict, why) = match boot {
            BootFence::Fenced => (Verdict::Fenced, ""),
            BootFence::Open { why } => (Verdict::Open, why.as_str()),
            BootFence::Unproven { why } => (Verdict::Unproven, why.as_str()),
        };
        Self { verdict: verdict.into(), why: why.to_owned() }
    }
}

impl From<v1::BootFence> for BootFence {
    fn from(boot: v1::BootFence) -> Self {
        let v1::BootFence { verdict, why } = boot;
        match Verdict::try_from(verdict) {
            Ok(Verdict::Fenced) => BootFence::Fenced,
            Ok(Verdict::Open) => BootFence::Open { why },
            // What a later version may say besides is no proof.
            Ok(Verdict::Unproven | Verdict::Unspecified) | Err(_) => BootFence::Unproven { why },
        }
    }
}

impl TryFrom<v1::ServerStatus> for MemberStatus {
    type Error = WireError;

    fn try_from(status: v1::ServerStatus) -> Result<Self, WireError> {
        Ok(Self {
            run_id: status.run_id,
            pid: status.pid,
            uptime_s: status.uptime_s,
            version: status.version,
            role: required(status.role, "role")?,
            replid: status.replid,
            replid2: status.replid2,
            second_offset_bytes: status.second_offset_bytes,
            offset_bytes: status.offset_bytes,
            min_replicas: status.min_replicas,
            notices_silence: status.notices_silence,
            loading: status.loading,
            keys: status.keys,
            clients: status.clients,
            sentinels: status.sentinels,
            boot: match status.boot {
                Some(boot) => boot.into(),
                None => BootFence::Unproven { why: "its node is of a version that does not look".to_owned() },
            },
            rtt_us: status.rtt_us,
        })
    }
}
