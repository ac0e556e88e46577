//! PEM files into the TLS settings for `rediss://` members and for Kafka's brokers.

use super::super::section::Wrong;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

type Chain = Vec<CertificateDer<'static>>;

pub(in crate::config) fn roots(pem: &[u8]) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots
            .add(certificate)
            .map_err(|e| Wrong::new(format!("a certificate in it is not usable: {e}"), NAME_ONE))?;
    }
    Ok(roots)
}

const NAME_ONE: &str = "name a PEM file with -----BEGIN CERTIFICATE-----";

pub(in crate::config) fn chain(pem: &[u8]) -> Result<Chain, Wrong> {
    let read: Result<Chain, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = read.map_err(|e| Wrong::new(format!("it is no valid PEM file: {e}"), NAME_ONE))?;
    if chain.is_empty() {
        return Err(Wrong::new("it holds no PEM certificate", NAME_ONE));
    }
    Ok(chain)
}

pub(in crate::config) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Wrong> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        Wrong::new("it holds no PEM private key", "name a PEM file with -----BEGIN PRIVATE KEY-----")
    })
}

pub(in crate::config) fn client(
    roots: RootCertStore,
    shown: Option<(Chain, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, Wrong> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wrong = |e: rustls::Error| {
        Wrong::new(format!("certificate and key do not work: {e}"), "give a pair that belongs together")
    };
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(wrong)?;
    let builder = builder.with_root_certificates(roots);
    match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(wrong),
        None => Ok(builder.with_no_client_auth()),
    }
}
