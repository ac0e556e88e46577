//! From the configured credentials to what the Redis crate takes.

use crate::config::RedisAccess;
use primacy_core::GroupName;
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
