//! From the configured credentials to what the crates that speak to members take.

use crate::config::{KafkaAccess, RedisAccess};
use primacy_core::{Address, GroupName};
use primacy_kafka::ClusterAccess;
use primacy_redis::Access;

/// As whom the members of a group are reached.
pub(crate) fn access_for(redis: &RedisAccess, group: &GroupName) -> Access {
    let credentials = redis.of(group);
    Access {
        username: credentials.username.clone(),
        password: credentials.password.as_ref().map(|secret| secret.expose().to_owned()),
        tls: credentials.tls.clone(),
    }
}

/// How a Kafka cluster of a group is reached, and as whom.
pub(crate) fn cluster_access(kafka: &KafkaAccess, group: &GroupName, bootstrap: &[Address]) -> ClusterAccess {
    ClusterAccess {
        bootstrap: bootstrap.iter().map(Address::authority).collect(),
        security: kafka.of(group).clone(),
        client_id: "primacy".to_owned(),
    }
}
