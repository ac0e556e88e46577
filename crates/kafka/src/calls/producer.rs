//! A producer id of the mirror's own.

use super::{WITHIN, text};
use crate::batch::Producer;
use crate::link::{Cluster, Coordinating, LinkError};
use kafka_protocol::messages::{InitProducerIdRequest, ProducerId, TransactionalId};

/// Asks the cluster for the producer of this transactional id, in a new epoch: from the first batch of that epoch on,
/// a partition refuses those of earlier ones. No transaction is ever begun.
///
/// # Errors
/// Those of the link; transient while the coordinator is not ready.
pub(crate) async fn init_producer(cluster: &Cluster, transactional_id: &str) -> Result<Producer, LinkError> {
    let connection = cluster.coordinator(Coordinating::Transaction, transactional_id).await?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(transactional_id))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let answer = connection.call(&request, WITHIN).await?;
    let right = format!("Write on transactional id {transactional_id}");
    if let Err(e) = LinkError::check_right(answer.error_code, "asking for a producer id", &right) {
        cluster.forget_coordinator(Coordinating::Transaction, transactional_id);
        return Err(e);
    }
    Ok(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
}
