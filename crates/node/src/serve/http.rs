//! HTTP for load balancers, probes, Prometheus and scripts. Answers come from this node's copy of the state, within the
//! staleness bound, with their age.

use super::Shared;
use super::answer;
use super::guests::{Guests, Limits, Silence};
use crate::telemetry;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics::gauge;
use primacy_core::detect::{self, Health};
use primacy_core::{Group, GroupName, GroupState};
use primacy_runtime::now;
use primacy_wire::v1;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

type Node = State<Arc<Shared>>;

/// Requests are short, and whoever keeps a connection for the next one asks again soon.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Serves until `stop` is done.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/primary/{group}", get(primary))
        .route("/standby/{group}", get(standby))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .with_state(shared);
    let guests = Guests::new(listener, Limits::new(Silence::Between(SILENCE_MAX)), "http");
    axum::serve(guests, router).with_graceful_shutdown(stop).await
}

/// `?member=`: answers for one member, as a load balancer asks each of its servers.
#[derive(Deserialize)]
struct Asked {
    member: Option<String>,
}

#[derive(Serialize)]
struct PrimaryBody {
    group: String,
    kind: &'static str,
    member: Option<String>,
    site: Option<String>,
    address: Option<String>,
    epoch: u64,
    revision: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    consistency: &'static str,
    age_ms: u64,
}

fn refuse(code: StatusCode, reason: impl Into<String>) -> Response {
    (code, Json(json!({ "reason": reason.into() }))).into_response()
}

/// 200 when the group has a primary that should accept writes, and with `member`, when it is that one; else 503.
async fn primary(State(shared): Node, Path(group): Path<String>, Query(asked): Query<Asked>) -> Response {
    let group = match GroupName::new(group) {
        Ok(group) => group,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let fresh = match shared.local() {
        Ok(fresh) => fresh,
        Err(refusal) => return refuse(StatusCode::SERVICE_UNAVAILABLE, refusal.to_string()),
    };
    let found = shared.consensus.read(|state| {
        let group = state.groups.get(&group)?;
        Some((answer::primary(group, state.revision, fresh), open(group)))
    });
    let Some((primary, open)) = found else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no group {group}"));
    };
    let meant = asked.member.is_none_or(|member| primary.member.as_ref() == Some(&member));
    let code = if open && meant { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body(primary))).into_response()
}

/// A primary whose door is open by the committed state.
fn open(group: &Group) -> bool {
    let has_primary = group.primary.is_some();
    match group.state() {
        GroupState::Serving | GroupState::Paused => has_primary,
        GroupState::Unassigned | GroupState::Switching | GroupState::Blocked => false,
    }
}

fn body(p: v1::Primary) -> PrimaryBody {
    PrimaryBody {
        kind: kind_word(p.kind()),
        state: state_word(p.state()),
        group: p.group,
        member: p.member,
        site: p.site,
        address: p.address,
        epoch: p.epoch,
        revision: p.revision,
        reason: p.reason,
        consistency: "local",
        age_ms: p.age_ms,
    }
}

/// 200 when a standby follows with its link up, and with `member`, when that one does; else 503.
async fn standby(State(shared): Node, Path(group): Path<String>, Query(asked): Query<Asked>) -> Response {
    let group = match GroupName::new(group) {
        Ok(group) => group,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    if let Err(refusal) = shared.local() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, refusal.to_string());
    }
    let at = now();
    let ready = shared.with_view(at, |view| {
        shared.consensus.read(|state| {
            let group = state.groups.get(&group)?;
            let usable = |m: &&detect::Candidate<'_>| {
                m.in_lineage && detect::verdict(group, &m.member.name, view, at).health == Health::Up
            };
            let candidates = detect::candidates(group, view, at);
            Some(candidates.iter().filter(usable).map(|c| c.member.name.to_string()).collect::<Vec<_>>())
        })
    });
    let Some(ready) = ready else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no group {group}"));
    };
    let meant = match &asked.member {
        Some(member) => ready.contains(member),
        None => !ready.is_empty(),
    };
    let code = if meant { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "group": group.as_str(), "standbys_ready": ready }))).into_response()
}

async fn readyz(State(shared): Node) -> Response {
    match shared.unready() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(shared): Node) -> Response {
    let Some(handle) = telemetry::metrics() else {
        return refuse(StatusCode::NOT_FOUND, "this process records its metrics elsewhere");
    };
    shared.guards.record();
    let states = shared.consensus.read(|state| {
        let mut states: BTreeMap<&'static str, u32> = BTreeMap::new();
        for group in state.groups.values() {
            *states.entry(group.state().word()).or_default() += 1;
        }
        gauge!("primacy_revision").set(state.revision.0 as f64);
        states
    });
    for state in [
        GroupState::Unassigned,
        GroupState::Serving,
        GroupState::Switching,
        GroupState::Blocked,
        GroupState::Paused,
    ] {
        let count = states.get(state.word()).copied().unwrap_or(0);
        gauge!("primacy_groups", "state" => state.word()).set(f64::from(count));
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, handle.render()).into_response()
}

/// What this node knows and sees; the leader's view when it leads.
async fn status(State(shared): Node) -> Response {
    match shared.status(None) {
        Ok(status) => Json(status_json(status)).into_response(),
        Err(refusal) => refuse(StatusCode::SERVICE_UNAVAILABLE, refusal.to_string()),
    }
}

fn status_json(status: v1::StatusResponse) -> Value {
    let cluster = status.cluster.unwrap_or_default();
    let leader =
        cluster.leader.map(|l| json!({ "id": l.id, "site": l.site, "address": l.address, "term": l.term }));
    let node = |n: v1::NodeStatus| {
        json!({
            "id": n.id, "site": n.site, "address": n.address, "voter": n.voter, "reachable": n.reachable,
            "last_heard_ms": n.last_heard_ms, "matched_index": n.matched_index, "version": n.version,
        })
    };
    json!({
        "cluster": cluster.cluster,
        "revision": cluster.revision,
        "leader": leader,
        "nodes": cluster.nodes.into_iter().map(node).collect::<Vec<_>>(),
        "groups": status.groups.into_iter().map(group_json).collect::<Vec<_>>(),
    })
}

fn group_json(group: v1::GroupStatus) -> Value {
    let summary = group.summary.unwrap_or_default();
    let blocked = group.blocked.map(|b| json!({ "code": b.code, "reason": b.reason, "remedy": b.remedy }));
    let paused = group.paused.map(|p| json!({ "by": p.by, "reason": p.reason }));
    json!({
        "group": summary.group,
        "kind": kind_word(summary.kind()),
        "state": state_word(summary.state()),
        "reason": summary.reason,
        "remedy": summary.remedy,
        "primary": summary.primary.and_then(|p| p.member),
        "epoch": group.epoch,
        "standbys_ready": summary.standbys_ready,
        "standbys_total": summary.standbys_total,
        "members": group.members.iter().map(member_json).collect::<Vec<_>>(),
        "fence": group.fence.as_ref().map(fence_json),
        "blocked": blocked,
        "paused": paused,
        "notes": group.notes,
    })
}

fn fence_json(f: &v1::FenceStatus) -> Value {
    let witness = f.witness.as_ref().map(|w| {
        json!({
            "attached": w.attached, "end_bytes": w.end_bytes, "tail_bytes": w.tail_bytes, "copies": w.copies,
            "age_ms": w.age_ms,
        })
    });
    json!({
        "min_replicas": f.min_replicas, "min_replicas_in_force": f.min_replicas_in_force,
        "replicas": f.replicas, "attached": f.attached, "strangers": f.strangers,
        "witness_node": f.witness_node, "witness": witness, "lease_left_ms": f.lease_left_ms,
        "holder_node": f.holder_node, "degraded": f.degraded,
    })
}

fn member_json(m: &v1::MemberStatus) -> Value {
    let role = match m.role() {
        v1::Role::Primary => "primary",
        v1::Role::Standby => "standby",
        v1::Role::Unspecified => "unknown",
    };
    let mut member = json!({
        "name": m.name, "site": m.site, "address": m.address, "role": role, "health": m.health,
        "reachable_from": m.reachable_from, "offset_bytes": m.offset_bytes, "lag_bytes": m.lag_bytes,
        "link_up": m.link_up, "shut": m.shut, "rtt_us": m.rtt_us, "version": m.version,
        "eligible": m.eligible, "why_not": m.why_not, "priority": m.priority,
    });
    if let Some(answer) = m.cluster.as_ref().and_then(|c| c.answer.as_ref()) {
        member["cluster"] = json!({
            "cluster_id": m.cluster.as_ref().map(|c| &c.cluster_id), "brokers": answer.brokers,
            "topics": answer.topics, "partitions": answer.partitions, "end_records": answer.end_records,
            "leaderless": answer.leaderless.as_ref().map(|p| p.count),
            "under_replicated": answer.under_replicated.as_ref().map(|p| p.count),
            "problems": answer.problems,
        });
    }
    if let Some(mirror) = m.mirror.as_ref().and_then(|mirror| Some((mirror.node_id, mirror.report.as_ref()?)))
    {
        member["mirror"] = mirror_json(mirror);
    }
    member
}

fn mirror_json((node, report): (u64, &v1::MirrorReport)) -> Value {
    let lag = report.lag.as_ref();
    let mode = report.mode().as_str_name().trim_start_matches("MIRROR_MODE_").to_lowercase();
    json!({
        "node": node, "running": report.running, "mode": mode, "done_records": report.done_records,
        "total_records": report.total_records, "eta_ms": report.eta_ms,
        "lag_records": lag.map(|l| l.records), "lag_bytes": lag.map(|l| l.bytes),
        "lag_ms": lag.map(|l| l.ms), "sample_age_ms": report.sampled_age_us.map(|us| us / 1_000),
        "trouble": report.trouble, "writes_as": report.writes_as,
    })
}

fn kind_word(kind: v1::GroupKind) -> &'static str {
    match kind {
        v1::GroupKind::Redis => "redis",
        v1::GroupKind::Endpoint => "endpoint",
        v1::GroupKind::Kafka => "kafka",
        v1::GroupKind::Unspecified => "unknown",
    }
}

fn state_word(state: v1::GroupState) -> &'static str {
    match state {
        v1::GroupState::Unassigned => GroupState::Unassigned.word(),
        v1::GroupState::Serving => GroupState::Serving.word(),
        v1::GroupState::Switching => GroupState::Switching.word(),
        v1::GroupState::Blocked => GroupState::Blocked.word(),
        v1::GroupState::Paused => GroupState::Paused.word(),
        v1::GroupState::Unspecified => "unknown",
    }
}
