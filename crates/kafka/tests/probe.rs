//! What a real cluster answers: brokers, partitions, rights, and what a frozen or a wrong one does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateAclsRequest, CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use primacy_kafka::{
    Cluster, ClusterAccess, ClusterAnswer, ClusterProbe, LinkError, Mechanism, Patterns, Sasl, Security,
};
use primacy_runtime::now;
use primacy_testbed::{KafkaCluster, KafkaOptions, KafkaVersion, Workdir, wait_for};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_mins(2);
const WITHIN: Duration = Duration::from_secs(10);
/// A question to a frozen broker is given up after so long, as the node does.
const GIVE_UP: Duration = Duration::from_secs(1);

fn access(cluster: &KafkaCluster, user: Option<(&str, &str)>) -> ClusterAccess {
    let sasl = user.map(|(username, password)| Sasl {
        mechanism: Mechanism::ScramSha512,
        username: username.to_owned(),
        password: password.to_owned(),
    });
    ClusterAccess {
        bootstrap: cluster.bootstrap(),
        security: Security { sasl, ..Security::default() },
        client_id: "test".to_owned(),
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

async fn create_topic(access: ClusterAccess, name: &str, partitions: i32, replicas: i16) {
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let controller = Cluster::new(access).unwrap().controller().await.unwrap();
    let answer = controller.call(&request, WITHIN).await.unwrap();
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
}

/// Allows a user operations on a topic, by the numbers of `AclOperation`.
async fn allow(access: ClusterAccess, user: &str, topic: &str, operations: &[i8]) {
    let creation = |operation: &i8| {
        AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(text(topic))
            .with_resource_pattern_type(3)
            .with_principal(text(&format!("User:{user}")))
            .with_host(text("*"))
            .with_operation(*operation)
            .with_permission_type(3)
    };
    let request = CreateAclsRequest::default().with_creations(operations.iter().map(creation).collect());
    let controller = Cluster::new(access).unwrap().controller().await.unwrap();
    let answer = controller.call(&request, WITHIN).await.unwrap();
    assert!(answer.results.iter().all(|r| r.error_code == 0), "{answer:?}");
}

/// An answer with what is asked for now and then.
async fn whole(probe: &mut ClusterProbe) -> Result<ClusterAnswer, LinkError> {
    probe.ask().await?;
    if let Some(question) = probe.more(now())
        && let Some(details) = question.await
    {
        probe.take_in(details);
    }
    probe.ask().await
}

#[tokio::test]
async fn a_cluster_says_who_it_is_and_what_its_partitions_lack() {
    let dir = Workdir::create().unwrap();
    let mut options = KafkaOptions::new("east", dir.path());
    options.brokers = 3;
    let mut cluster = KafkaCluster::start(options).await.unwrap();
    create_topic(access(&cluster, None), "orders", 6, 3).await;
    let topics = || Some(Patterns::new([".*"]).unwrap());
    let answer = whole(&mut ClusterProbe::new(access(&cluster, None), topics())).await.unwrap();
    assert_eq!((answer.cluster_id.as_str(), answer.version.as_str()), (cluster.cluster_id(), "4.1 or later"));
    let status = &answer.status;
    assert_eq!((status.brokers, status.topics, status.partitions, status.end_records), (3, 1, 6, 0));
    assert_eq!((status.is_degraded(), status.problems.as_slice()), (false, &[][..]), "{status:?}");

    cluster.broker(3).unwrap().kill().unwrap();
    wait_for("partitions to lack a replica", DEADLINE, async || {
        let answer = whole(&mut ClusterProbe::new(access(&cluster, None), topics())).await?;
        let under = &answer.status.under_replicated;
        anyhow::ensure!(answer.status.brokers == 2 && under.count >= 6, "{answer:?}");
        anyhow::ensure!(under.words().contains("orders/"), "{}", under.words());
        Ok(())
    })
    .await
    .unwrap();
    cluster.broker_mut(3).unwrap().spawn().unwrap();
    cluster.wait_ready().await.unwrap();

    // A frozen broker is not the cluster.
    let mut probe = ClusterProbe::new(access(&cluster, None), None);
    probe.ask().await.unwrap();
    cluster.broker(1).unwrap().freeze().unwrap();
    let answered = wait_for("another broker to answer", DEADLINE, async || {
        let mut probe = ClusterProbe::new(access(&cluster, None), None);
        if let Ok(Ok(answer)) = tokio::time::timeout(GIVE_UP, probe.ask()).await {
            return Ok(answer);
        }
        probe.turn();
        Ok(tokio::time::timeout(GIVE_UP, probe.ask()).await??)
    });
    assert_eq!(answered.await.unwrap().cluster_id, cluster.cluster_id());
    cluster.broker(1).unwrap().thaw().unwrap();
}

#[tokio::test]
async fn missing_rights_are_named_and_a_wrong_password_is_refused() {
    let dir = Workdir::create().unwrap();
    let mut options = KafkaOptions::new("east", dir.path());
    options.authorize(&[("admin", "admin-secret"), ("primacy", "secret")], &["admin"]);
    let cluster = KafkaCluster::start(options).await.unwrap();
    let admin = || access(&cluster, Some(("admin", "admin-secret")));
    create_topic(admin(), "orders", 1, 1).await;
    allow(admin(), "primacy", "orders", &[8, 3]).await;
    let mine = || access(&cluster, Some(("primacy", "secret")));
    let topics = || Some(Patterns::new(["orders"]).unwrap());
    let told = wait_for("the rights to be told", DEADLINE, async || {
        let answer = whole(&mut ClusterProbe::new(mine(), topics())).await?;
        anyhow::ensure!(!answer.status.problems.is_empty(), "none is missing yet");
        Ok(answer.status.problems.join("\n"))
    })
    .await
    .unwrap();
    assert_eq!(
        told,
        "our user lacks Write, Delete, Alter, DescribeConfigs, AlterConfigs on topic orders; add ACLs that allow it"
    );
    let answer = whole(&mut ClusterProbe::new(admin(), topics())).await.unwrap();
    assert_eq!(answer.status.problems, Vec::<String>::new());

    let wrong = access(&cluster, Some(("primacy", "s3cret-wrong")));
    let refused = ClusterProbe::new(wrong, None).ask().await.unwrap_err();
    assert!(matches!(refused, LinkError::Authentication { .. }), "{refused:?}");
    assert!(!refused.to_string().contains("s3cret-wrong"), "{refused}");
    let without = ClusterProbe::new(access(&cluster, None), None).ask().await.unwrap_err();
    assert!(!without.remedy().is_empty(), "{without}");
    eprintln!("without a login: {without}; {}", without.remedy());
}

#[tokio::test]
async fn the_version_before_is_told_from_this_one() {
    if !KafkaVersion::V3_9.is_installed() {
        eprintln!("left out: Kafka {} could not be fetched", KafkaVersion::V3_9.number());
        return;
    }
    let dir = Workdir::create().unwrap();
    let mut options = KafkaOptions::new("east", dir.path());
    options.version = KafkaVersion::V3_9;
    let cluster = KafkaCluster::start(options).await.unwrap();
    let answer = ClusterProbe::new(access(&cluster, None), None).ask().await.unwrap();
    assert_eq!((answer.version.as_str(), answer.status.problems.as_slice()), ("3.8 or 3.9", &[][..]));
}
