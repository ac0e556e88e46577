//! Logins and certificates, on real brokers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Pair, assert_same, create_topic, set_on_topic, write};
use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::protocol::StrBytes;
use primacy_kafka::link::{Topology, Wanted};
use primacy_kafka::mirror::TopicState;
use primacy_kafka::{
    Cluster, ClusterAccess, LinkError, Mechanism, Mirror, MirrorPlan, MirrorStatus, Sasl, Security,
};
use primacy_testbed::{KafkaCluster, KafkaOptions, Workdir, wait_for};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::{Offset, TopicPartitionList};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeSet;
use std::sync::Arc;

async fn topology(cluster: &KafkaCluster, security: Security) -> Result<Topology, LinkError> {
    let bootstrap = cluster.bootstrap();
    let cluster = Cluster::new(ClusterAccess { bootstrap, security, client_id: "test".into() })?;
    cluster.topology(Wanted::All).await
}

fn login(mechanism: Mechanism, password: &str) -> Security {
    let sasl = Sasl { mechanism, username: "primacy".into(), password: password.into() };
    Security { sasl: Some(sasl), ..Security::default() }
}

#[tokio::test]
async fn each_mechanism_logs_in_and_a_wrong_password_does_not() {
    let dir = Workdir::create().unwrap();
    let mut options = KafkaOptions::new("east", dir.path());
    options.protocol = "SASL_PLAINTEXT".into();
    let module = "org.apache.kafka.common.security";
    options.config.extend([
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
        format!(
            "listener.name.client.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
             user_primacy=\"secret\";"
        ),
        format!(
            "listener.name.client.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;"
        ),
        format!(
            "listener.name.client.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;"
        ),
    ]);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        options
            .format
            .extend(["--add-scram".to_owned(), format!("{mechanism}=[name=primacy,password=secret]")]);
    }
    let cluster = KafkaCluster::start(options).await.unwrap();
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let found = topology(&cluster, login(mechanism, "secret")).await.unwrap();
        assert_eq!(found.cluster_id, cluster.cluster_id(), "{mechanism:?}");
        let error = topology(&cluster, login(mechanism, "wrong")).await.unwrap_err();
        assert!(matches!(error, LinkError::Authentication { .. }), "{mechanism:?}: {error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    // Who does not log in is told what may be wrong.
    let error = topology(&cluster, Security::default()).await.unwrap_err();
    assert!(error.remedy().contains("login"), "{error}; {}", error.remedy());
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), Issuer::new(params, key))
    };
    let (ca, issuer) = authority("ours");
    let (other_ca, _) = authority("another");
    let issue = || {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let dir = Workdir::create().unwrap();
    let (certificate, key) = issue();
    let (store, trust) = (dir.path().join("broker.pem"), dir.path().join("ca.pem"));
    std::fs::write(&store, format!("{key}{certificate}")).unwrap();
    std::fs::write(&trust, &ca).unwrap();
    let mut options = KafkaOptions::new("east", dir.path().join("broker"));
    options.protocol = "SSL".into();
    options.config.extend([
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", store.display()),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={}", trust.display()),
        "ssl.client.auth=required".to_owned(),
    ]);
    let cluster = KafkaCluster::start(options).await.unwrap();
    let tls = |ca: &str, identity: Option<(String, String)>| {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain =
                    CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                    .unwrap()
            }
        };
        Security { tls: Some(Arc::new(config)), ..Security::default() }
    };
    let found = topology(&cluster, tls(&ca, Some(issue()))).await.unwrap();
    assert_eq!(found.cluster_id, cluster.cluster_id());
    let error = topology(&cluster, tls(&other_ca, Some(issue()))).await.unwrap_err();
    assert!(matches!(error, LinkError::Tls { .. }), "a broker that we do not trust: {error}");
    assert!(topology(&cluster, tls(&ca, None)).await.is_err(), "the broker wants a certificate");
}

/// Operations and types of resources, by their numbers in the protocol.
const OPERATIONS: [(&str, i8); 8] = [
    ("Read", 3),
    ("Write", 4),
    ("Create", 5),
    ("Delete", 6),
    ("Alter", 7),
    ("Describe", 8),
    ("DescribeConfigs", 10),
    ("AlterConfigs", 11),
];
const RESOURCES: [(&str, i8); 3] = [("topic", 2), ("group", 3), ("transactional id", 5)];

/// A right that is said to be missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    operation: String,
    resource: String,
    name: String,
    /// Where: on both clusters, unless it is said.
    source: bool,
    standby: bool,
}

impl Right {
    /// The rights that a text names as `OPERATION on RESOURCE NAME is needed`.
    fn named(text: &str) -> Vec<Right> {
        let mut found = Vec::new();
        for (at, _) in text.match_indices(" is needed") {
            let (before, after) = (&text[..at], &text[at + " is needed".len()..]);
            let (kind, (resource, place)) = RESOURCES
                .iter()
                .filter_map(|r| Some((r, before.rfind(&format!(" on {} ", r.0))?)))
                .map(|(r, place)| (r.0, (r.0, place)))
                .max_by_key(|(_, (_, place))| *place)
                .unwrap_or_else(|| panic!("no resource in {before}"));
            let operation = before[..place].rsplit(' ').next().unwrap().to_owned();
            let name = before[place + " on ".len() + kind.len() + 1..].to_owned();
            let (source, standby) =
                (after.starts_with(" at the source"), after.starts_with(" on the standby"));
            let both = !source && !standby;
            let (source, standby) = (source || both, standby || both);
            found.push(Right { operation, resource: resource.to_owned(), name, source, standby });
        }
        found
    }

    async fn grant(&self, pair: &Pair) {
        let number = |names: &[(&str, i8)], name: &str| names.iter().find(|(n, _)| *n == name).unwrap().1;
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let creation = AclCreation::default()
            .with_resource_type(number(&RESOURCES, &self.resource))
            .with_resource_name(text(&self.name))
            .with_resource_pattern_type(3)
            .with_principal(text("User:primacy"))
            .with_host(text("*"))
            .with_operation(number(&OPERATIONS, &self.operation))
            .with_permission_type(3);
        for (cluster, _) in
            [(&pair.a, self.source), (&pair.b, self.standby)].iter().filter(|(_, meant)| *meant)
        {
            let bootstrap = cluster.internal_bootstrap();
            let access = ClusterAccess { bootstrap, client_id: "admin".into(), ..ClusterAccess::default() };
            let request = CreateAclsRequest::default().with_creations(vec![creation.clone()]);
            let controller = Cluster::new(access).unwrap().controller().await.unwrap();
            let answer = controller.call(&request, common::DEADLINE).await.unwrap();
            assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
        }
    }
}

/// All that a mirror complains of.
fn complaints(status: &MirrorStatus) -> String {
    let sides = [&status.stopped, &status.source.error, &status.target.error];
    let sides = sides.into_iter().flatten().cloned();
    let problems = status.problems.iter().map(|(doing, why)| format!("{doing}: {why}"));
    let groups = status.groups.values().filter_map(|g| g.problem.clone());
    sides.chain(problems).chain(groups).collect::<Vec<_>>().join("\n")
}

/// Gives the mirror each right that it names, one after the other, until `done`.
async fn grant_what_is_named(
    pair: &Pair,
    mirror: &Mirror,
    done: impl AsyncFn(&MirrorStatus) -> bool,
) -> BTreeSet<String> {
    let granted = std::cell::RefCell::new(BTreeSet::new());
    wait_for("the mirror to have all rights", common::DEADLINE, async || {
        let status = mirror.status();
        let told = complaints(&status);
        for right in Right::named(&told) {
            let words = format!("{} on {} {}", right.operation, right.resource, right.name);
            if granted.borrow_mut().insert((words, right.source, right.standby)) {
                right.grant(pair).await;
            }
        }
        anyhow::ensure!(done(&status).await, "after {:?}: {told}", granted.borrow());
        Ok(())
    })
    .await
    .unwrap();
    granted.into_inner().into_iter().map(|(words, ..)| words).collect()
}

fn is_copied(status: &MirrorStatus, topics: &[&str]) -> bool {
    let aligned = |topic: &&str| {
        let found = status.topics.get(*topic);
        found.is_some_and(|t| {
            t.state == TopicState::Aligned && t.partitions.values().all(|p| p.source_end.is_some())
        })
    };
    topics.iter().all(aligned) && status.lag.records == 0
}

/// A mirror whose user may do nothing names right after right, by the ACL that it needs; with those it does all its work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_without_rights_names_each_that_it_needs() {
    let pair = Pair::start_as(|options| options.authorize(&[("primacy", "secret")], &[])).await;
    create_topic(&pair.a, "w-orders", 1, &[]).await;
    create_topic(&pair.a, "w-trimmed", 1, &[]).await;
    for topic in ["w-orders", "w-trimmed"] {
        write(&pair.a, topic, 0, 100, 10, &[]).await;
    }
    let mut trim = TopicPartitionList::new();
    trim.add_partition_offset("w-trimmed", 0, Offset::Offset(60)).unwrap();
    common::admin(&pair.a).delete_records(&trim, &AdminOptions::new()).await.unwrap();
    common::consume(&pair.a, "w-orders", "w-readers", "classic", 50).await;

    let plan = || {
        let mut plan = pair.plan("w-");
        plan.source.security = login(Mechanism::ScramSha512, "secret");
        plan.target.security = login(Mechanism::ScramSha512, "secret");
        plan
    };
    let mirror = Mirror::start(plan());
    // What brokers hide from a user nobody can name.
    let right = |operation: &str, resource: &str, name: &str| Right {
        operation: operation.into(),
        resource: resource.into(),
        name: name.into(),
        source: true,
        standby: false,
    };
    let hidden = common::until(&mirror, "it sees nothing", |s| {
        complaints(s).contains("no topic that our user may see")
    });
    hidden.await;
    for topic in ["w-orders", "w-trimmed"] {
        right("Describe", "topic", topic).grant(&pair).await;
    }
    right("Describe", "group", "w-readers").grant(&pair).await;
    let topics = ["w-orders", "w-trimmed"];
    let mut granted = grant_what_is_named(&pair, &mirror, async |status| {
        is_copied(status, &topics)
            && common::group(&pair.b, "w-orders", "w-readers").await
                == common::group(&pair.a, "w-orders", "w-readers").await
    })
    .await;
    // Later changes need their own.
    let admin = common::admin(&pair.a);
    admin.create_partitions([&NewPartitions::new("w-orders", 2)], &AdminOptions::new()).await.unwrap();
    set_on_topic(&pair.a, "w-orders", "retention.ms", "3600000").await;
    granted.append(
        &mut grant_what_is_named(&pair, &mirror, async |_| {
            common::partitions(&pair.b, "w-orders").await == 2
                && common::topic_settings(&pair.b, "w-orders").await.contains_key("retention.ms")
        })
        .await,
    );
    drop(mirror);
    // Nobody wrote down for this one what is equal, so it compares what both sides hold.
    let mirror = Mirror::start(MirrorPlan { group: "another".into(), ..plan() });
    let written = async |status: &MirrorStatus| {
        let noted = common::group(&pair.b, "w-orders", "primacy.mirror.another").await;
        is_copied(status, &topics) && !noted.is_empty()
    };
    granted.append(&mut grant_what_is_named(&pair, &mirror, written).await);
    assert_same(&pair, "w-orders").await;
    for needed in [
        "Write on transactional id primacy.mirror.w-",
        "Read on group primacy.mirror.w-",
        "Create on topic w-orders",
        "DescribeConfigs on topic w-orders",
        "Read on topic w-orders",
        "Write on topic w-orders",
        "Alter on topic w-orders",
        "AlterConfigs on topic w-orders",
        "Delete on topic w-trimmed",
        "Read on group w-readers",
        "Write on transactional id primacy.mirror.another",
    ] {
        assert!(granted.contains(needed), "{needed} is missing in {granted:#?}");
    }
    let status = common::until(&mirror, "nothing is missing", |s| complaints(s).is_empty()).await;
    assert_eq!(status.unaligned().count(), 0);
}
