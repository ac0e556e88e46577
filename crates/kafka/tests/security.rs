//! Logins and certificates, on real brokers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use primacy_kafka::link::{Topology, Wanted};
use primacy_kafka::{Cluster, ClusterAccess, Identity, LinkError, Mechanism, Sasl, Security, Tls};
use primacy_testbed::{KafkaCluster, KafkaOptions, Workdir};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

async fn topology(cluster: &KafkaCluster, security: Security) -> Result<Topology, LinkError> {
    let bootstrap = cluster.bootstrap();
    let cluster = Cluster::new(ClusterAccess { bootstrap, security, client_id: "test".into() })?;
    cluster.topology(Wanted::All).await
}

fn login(mechanism: Mechanism, password: &str) -> Security {
    let sasl = Sasl { mechanism, username: "primacy".into(), password: password.into() };
    Security { tls: None, sasl: Some(sasl) }
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
        let identity = identity.map(|(certificate, key)| Identity {
            certificate_pem: certificate.into_bytes(),
            key_pem: key.into_bytes(),
        });
        Security { tls: Some(Tls { ca_pem: ca.as_bytes().to_vec(), identity }), sasl: None }
    };
    let found = topology(&cluster, tls(&ca, Some(issue()))).await.unwrap();
    assert_eq!(found.cluster_id, cluster.cluster_id());
    let error = topology(&cluster, tls(&other_ca, Some(issue()))).await.unwrap_err();
    assert!(matches!(error, LinkError::Tls { .. }), "a broker that we do not trust: {error}");
    assert!(topology(&cluster, tls(&ca, None)).await.is_err(), "the broker wants a certificate");
    let error = topology(&cluster, tls("nothing", None)).await.unwrap_err();
    assert!(matches!(error, LinkError::Configuration(_)), "{error}");
}
