//! Looks over the Kafka clusters that are to become members: that each answers, is new enough, and is nobody else's.

use super::{AT_ONCE, Known, Looked, WITHIN, is_new, shared_server};
use crate::config::Problem;
use crate::serve::{Shared, cluster_access};
use futures::{StreamExt, stream};
use primacy_core::{GroupKind, GroupSpec, MemberSpec, Probe};
use primacy_kafka::{ClusterAnswer, ClusterProbe, LinkError, Patterns};
use primacy_runtime::{now, timeout};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn look_over(
    shared: &Arc<Shared>,
    groups: &[GroupSpec],
    known: &Known,
    clusters: &mut BTreeMap<String, String>,
    looked: &mut Looked,
) {
    let mut looks = Vec::new();
    for group in groups.iter().filter(|g| g.kind == GroupKind::Kafka) {
        for member in group.members.iter().filter(|m| is_new(known, group, m)) {
            looks.push(async move { (group, member, look(shared, group, member).await) });
        }
    }
    let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    for (group, member, found) in found {
        let key = format!("kafka.{}.member.{}.bootstrap", group.name, member.name);
        match found {
            Ok(answer) => {
                let id = &answer.cluster_id;
                looked.problems.extend(shared_server(clusters, &group.name, member, id, key.clone()));
                for problem in answer.status.problems {
                    let (reason, remedy) = problem.split_once("; ").unwrap_or((&problem, "correct it"));
                    let (reason, remedy) = (reason.to_owned(), remedy.to_owned());
                    looked.problems.push(Problem { key: key.clone(), reason, remedy });
                }
            }
            Err((reason, remedy)) => looked.problems.push(Problem { key, reason, remedy }),
        }
    }
}

/// What a cluster answers, or why it does not and what to do.
async fn look(
    shared: &Shared,
    group: &GroupSpec,
    member: &MemberSpec,
) -> Result<ClusterAnswer, (String, String)> {
    let Probe::Cluster { bootstrap } = &member.probe else {
        return Err(("it names no broker".to_owned(), "write bootstrap = [\"HOST:PORT\"]".to_owned()));
    };
    let access = cluster_access(&shared.config.kafka, &group.name, bootstrap);
    let topics = group.mirror.as_ref().and_then(|mirror| Patterns::new(&mirror.topics).ok());
    let mut probe = ClusterProbe::new(access, topics);
    let refused = |error: LinkError| (error.to_string(), error.remedy().to_owned());
    let mut answer = None;
    // One of its brokers may be down.
    for _ in bootstrap {
        match timeout(WITHIN, probe.ask()).await {
            Ok(Ok(_)) => {
                answer = None;
                break;
            }
            Ok(Err(error)) => answer = Some(refused(error)),
            Err(_) => {
                let addresses: Vec<String> = bootstrap.iter().map(ToString::to_string).collect();
                let reason = format!("{} did not answer within {} s", addresses.join(", "), WITHIN.as_secs());
                answer = Some((reason, "start the brokers, or correct the addresses".to_owned()));
            }
        }
        probe.turn();
    }
    if let Some(refusal) = answer {
        return Err(refusal);
    }
    if let Some(question) = probe.more(now())
        && let Ok(Some(details)) = timeout(WITHIN, question).await
    {
        probe.take_in(details);
    }
    probe.ask().await.map_err(refused)
}
