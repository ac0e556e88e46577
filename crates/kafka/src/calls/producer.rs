//! A producer id of the mirror's own.

use super::{WITHIN, text};
use crate::batch::Producer;
use crate::link::{Cluster, Coordinating, LinkError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, ProducerId, TransactionalId};

/// Asks the cluster for the producer of this transactional id, in a new epoch: from the first batch of that epoch on,
/// a partition refuses those of earlier ones. No transaction is ever begun.
///
/// # Errors
/// Those of the link; transient while the coordinator is not ready.
pub(crate) async fn init_producer(cluster: &Cluster, transactional_id: &str) -> Result<Producer, LinkError> {
    ask(cluster, transactional_id, Producer { id: -1, epoch: -1 }).await
}

/// The same, unless somebody else asked since `last` was given: then it is refused (KIP-360), see [`is_superseded`].
///
/// # Errors
/// Those of the link; transient while the coordinator is not ready.
pub(crate) async fn renew_producer(
    cluster: &Cluster,
    transactional_id: &str,
    last: Producer,
) -> Result<Producer, LinkError> {
    ask(cluster, transactional_id, last).await
}

/// Whether a producer is not renewed because there is a newer one.
pub(crate) fn is_superseded(error: &LinkError) -> bool {
    matches!(error.api(), Some(ResponseError::ProducerFenced | ResponseError::InvalidProducerEpoch))
}

async fn ask(cluster: &Cluster, transactional_id: &str, last: Producer) -> Result<Producer, LinkError> {
    let connection = cluster.coordinator(Coordinating::Transaction, transactional_id).await?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(transactional_id))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(last.id))
        .with_producer_epoch(last.epoch);
    let answer = connection.call(&request, WITHIN).await?;
    let right = format!("Write on transactional id {transactional_id}");
    if let Err(e) = LinkError::check_right(answer.error_code, "asking for a producer id", &right) {
        cluster.forget_coordinator(Coordinating::Transaction, transactional_id);
        return Err(e);
    }
    Ok(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
}
