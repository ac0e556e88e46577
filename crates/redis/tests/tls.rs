//! `rediss://`: probes and actions over TLS, and what a wrong certificate or a plain server looks like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Watch, server};
use primacy_core::view::{ConnectFailure, LinkEnd, Reach};
use primacy_core::{Action, Address, Epoch, Outcome};
use primacy_redis::{Access, Hand, Links, inspect};
use primacy_testbed::{RedisServer, Workdir, ports};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(3);

struct Authority {
    der: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
}

/// Configuration lines for a server with a certificate of that authority.
fn lines(authority: &Authority, dir: &Path, port: u16) -> Vec<String> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    vec![
        format!("tls-port {port}"),
        format!("tls-cert-file {}", write("server.crt", &certificate.pem())),
        format!("tls-key-file {}", write("server.key", &key.serialize_pem())),
        format!("tls-ca-cert-file {}", write("ca.crt", &authority.pem)),
        "tls-auth-clients no".to_owned(),
        "min-replicas-max-lag 1".to_owned(),
    ]
}

fn trusting(authority: &Authority) -> Access {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Access { username: None, password: None, tls: Some(Arc::new(config)) }
}

async fn tls_server(dir: &Workdir, authority: &Authority) -> (RedisServer, Address) {
    let port = ports::free().unwrap();
    let lines = lines(authority, &dir.subdir("tls").unwrap(), port);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let server = server(dir, "tls", &lines).await;
    (server, format!("rediss://127.0.0.1:{port}").parse().unwrap())
}

#[tokio::test]
async fn a_server_is_watched_and_acted_on_over_tls() {
    let dir = Workdir::create().unwrap();
    let authority = authority();
    let (server, address) = tls_server(&dir, &authority).await;
    let access = trusting(&authority);
    let found = inspect(&address, &access, &[], WITHIN).await.unwrap();
    assert_eq!(found.run_id, server.info_field("run_id").await.unwrap());
    let links = Links::new(move |_| access.clone());
    let mut watch = Watch::at(&links, "tls", &address);
    let hand = Hand::new(links);
    watch.up().await;
    let action = |kind| Action {
        group: common::group(),
        epoch: Epoch(1),
        member: common::name("tls"),
        address: address.clone(),
        kind,
    };
    let fenced = hand.perform(&action(common::fence(None)), WITHIN).await.unwrap();
    assert!(matches!(fenced, Outcome::Fenced { code, .. } if code == "NOREPLICAS"));
    hand.perform(&action(common::LIFT), WITHIN).await.unwrap();
    watch.status("our two connections", |s| s.clients >= 2).await;
    server.kill().unwrap();
    watch
        .until("EOF and refused", |s| {
            let (eof, refused) = (Some(LinkEnd::Eof), Some(ConnectFailure::Refused));
            matches!(s.reach, Reach::Down { ended, connect, .. } if ended == eof && connect == refused)
        })
        .await;
}

#[tokio::test]
async fn what_does_not_match_is_named() {
    let dir = Workdir::create().unwrap();
    let (ours, theirs) = (authority(), authority());
    let (server, address) = tls_server(&dir, &theirs).await;
    let refused = async |address: &Address, access: &Access| {
        inspect(address, access, &[], WITHIN).await.unwrap_err().to_string()
    };
    let plain: Address = server.address().parse().unwrap();
    let tls_at_plain = Address { tls: true, ..plain.clone() };
    let plain_at_tls = Address { tls: false, ..address.clone() };
    let stranger = refused(&address, &trusting(&ours)).await;
    assert!(stranger.contains("certificate") && stranger.contains("node.toml"), "{stranger}");
    let unconfigured = refused(&address, &Access::default()).await;
    assert!(unconfigured.contains("no certificate authority"), "{unconfigured}");
    let not_tls = refused(&tls_at_plain, &trusting(&theirs)).await;
    assert!(not_tls.contains("does not speak TLS"), "{not_tls}");
    let tls = refused(&plain_at_tls, &Access::default()).await;
    assert!(tls.contains("does it speak TLS") && tls.contains("rediss://"), "{tls}");
}
