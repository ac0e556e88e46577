//! Opening a connection: TCP, TLS where it is set, the broker's versions, the login.

use super::connection::{Connection, Wire};
use super::error::LinkError;
use super::scram::Scram;
use crate::{Mechanism, Sasl, Security};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kafka_protocol::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use primacy_runtime::Stream;
use rustls_pki_types::ServerName;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_rustls::TlsConnector;

/// A connection that is ready for requests.
pub(super) async fn open(
    address: &str,
    security: &Security,
    client_id: &str,
    within: Duration,
) -> Result<Connection, LinkError> {
    let opening = async {
        let stream = open_stream(address, security, within).await?;
        let wire = Wire::new(stream, address, client_id);
        let versions = negotiate(&wire, within).await?;
        if let Some(sasl) = &security.sasl {
            log_in(&wire, sasl, within).await?;
        }
        Ok(Connection::new(wire, versions))
    };
    let opened = primacy_runtime::timeout(within, opening).await;
    opened.unwrap_or_else(|_| Err(LinkError::Timeout(address.to_owned())))
}

async fn open_stream(
    address: &str,
    security: &Security,
    within: Duration,
) -> Result<Box<dyn Stream>, LinkError> {
    let plain =
        primacy_runtime::connect(address, within).await.map_err(|e| LinkError::of_connect(address, &e))?;
    let Some(config) = &security.tls else { return Ok(plain) };
    let failed = |reason: String| LinkError::Tls { address: address.to_owned(), reason };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|e| failed(e.to_string()))?;
    let stream = TlsConnector::from(config.clone()).connect(name, plain).await;
    stream.map(|s| Box::new(s) as _).map_err(|e| failed(e.to_string()))
}

/// What the broker supports. Version 2 is understood by all brokers that are supported, and its answer needs no
/// guess at the format of an error.
async fn negotiate(wire: &Wire, within: Duration) -> Result<BTreeMap<i16, (i16, i16)>, LinkError> {
    let answer = wire.call_version(&ApiVersionsRequest::default(), 2, within).await?;
    LinkError::check(answer.error_code, format!("asking {} for its versions", wire.address()))?;
    Ok(answer.api_keys.into_iter().map(|k| (k.api_key, (k.min_version, k.max_version))).collect())
}

async fn log_in(wire: &Wire, sasl: &Sasl, within: Duration) -> Result<(), LinkError> {
    let refused = |reason: String| LinkError::Authentication { address: wire.address().to_owned(), reason };
    let mechanism = StrBytes::from_static_str(sasl.mechanism.name());
    let handshake = SaslHandshakeRequest::default().with_mechanism(mechanism);
    let answer = wire.call_version(&handshake, 1, within).await?;
    if answer.error_code != 0 {
        let offered: Vec<_> = answer.mechanisms.iter().map(ToString::to_string).collect();
        return Err(refused(format!(
            "{} is not offered, only {}",
            sasl.mechanism.name(),
            offered.join(", ")
        )));
    }
    match sasl.mechanism {
        Mechanism::Plain => {
            let token = format!("\0{}\0{}", sasl.username, sasl.password);
            present(wire, token, within).await.map(drop)
        }
        Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
            let nonce = STANDARD_NO_PAD.encode(rand::random::<[u8; 24]>());
            let (scram, first) = Scram::start(sasl.mechanism, &sasl.username, &sasl.password, &nonce);
            let challenge = present(wire, first, within).await?;
            let (last, expected) = scram.answer(&challenge).map_err(refused)?;
            let verdict = present(wire, last, within).await?;
            expected.verify(&verdict).map_err(refused)
        }
    }
}

/// Sends one message of the login and returns the broker's.
async fn present(wire: &Wire, message: String, within: Duration) -> Result<String, LinkError> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into_bytes().into());
    let answer = wire.call_version(&request, 1, within).await?;
    let refused = |reason: String| LinkError::Authentication { address: wire.address().to_owned(), reason };
    if answer.error_code != 0 {
        let words = answer.error_message.map(|m| m.to_string()).unwrap_or_default();
        return Err(refused(words));
    }
    String::from_utf8(answer.auth_bytes.to_vec()).map_err(|e| refused(e.to_string()))
}
