//! The witness over `rediss://`, and replicas that replicate over TLS.

use crate::common;
use crate::parts::*;
use crate::rescue::{follow, has_read, serve};
use primacy_redis::{Access, Links, TailAccess, TailServer, Witness, WitnessOptions};
use primacy_testbed::{Workdir, ports};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

struct Party {
    authority: CertificateDer<'static>,
    authority_pem: String,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
}

fn party() -> Party {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    // Of another name than the authority, or OpenSSL takes it for one that signed itself.
    params.distinguished_name.push(DnType::CommonName, "a server");
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Party {
        authority: authority.der().clone(),
        authority_pem: authority.pem(),
        certificate: certificate.der().clone(),
        certificate_pem: certificate.pem(),
        key,
    }
}

impl Party {
    fn lines(&self, dir: &Path, port: u16) -> Vec<String> {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        vec![
            format!("tls-port {port}"),
            format!("tls-cert-file {}", write("server.crt", &self.certificate_pem)),
            format!("tls-key-file {}", write("server.key", &self.key.serialize_pem())),
            format!("tls-ca-cert-file {}", write("ca.crt", &self.authority_pem)),
            "tls-auth-clients no".to_owned(),
            "tls-replication yes".to_owned(),
        ]
    }

    fn client(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        Arc::new(config.with_single_cert(vec![self.certificate.clone()], key).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_kept_and_served_over_tls() {
    let dir = Workdir::create().unwrap();
    let party = party();
    let [port, standby_port] = ports::free_many::<2>().unwrap();
    let lines = party.lines(&dir.subdir("tls").unwrap(), port);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let server = primary(&dir, &lines).await;
    let lines = party.lines(&dir.subdir("tls-standby").unwrap(), standby_port);
    let replicaof = format!("replicaof 127.0.0.1 {port}");
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain([&replicaof[..]]).collect();
    let standby = common::server(&dir, "standby", &lines).await;
    common::linked(&standby).await;

    let tls = party.client();
    let links = Links::new(move |_| Access { tls: Some(tls.clone()), ..Access::default() });
    let address = format!("rediss://127.0.0.1:{port}").parse().unwrap();
    let witness = Witness::attach(&links, WitnessOptions { address, ..options(&server).await });
    until(&witness, "attached", |s| s.attached).await;
    standby.freeze().unwrap();
    fill(&server, "behind", 2_000, 10_000).await;
    let tail = witness.tail().unwrap();
    caught_up(&server, &tail).await;
    server.kill().unwrap();
    until(&witness, "the end", |s| s.ended.is_some()).await;
    standby.thaw().unwrap();
    witness.seal();

    let served = serve(TailServer::new().with_tls(party.server())).await;
    served.server.offer(&common::group(), tail.clone(), TailAccess::anybody());
    follow(&standby, served.port).await;
    has_read(&standby, tail.end()).await;
    let keys: u64 = redis::cmd("DBSIZE").query_async(&mut standby.connection().await.unwrap()).await.unwrap();
    assert_eq!(keys, 2_000);
}
