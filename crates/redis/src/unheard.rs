//! Closing the link of a replica that its primary hears nothing from.
//!
//! Redis does so itself, by its wall clock. Whoever watches by a better clock calls this; the replica, if it is there,
//! comes back within a second, and goes on where it was.

use crate::conf::replication_user;
use crate::{Links, reply};
use primacy_core::{GroupName, MemberName, MemberSpec};
use primacy_runtime::now;
use redis::Value;
use std::time::Duration;

impl Links {
    /// Has `primary` close every connection of `replica`'s replication user; says how many there were. It harms nobody
    /// when it is late.
    ///
    /// # Errors
    /// In words, when the primary does not answer in time or refuses; also when the replica has no user of its own.
    pub async fn close_replica(
        &self,
        group: &GroupName,
        primary: &MemberSpec,
        replica: &MemberName,
        within: Duration,
    ) -> Result<u64, String> {
        let deadline = now().after(within);
        let link = self.link(group, &primary.name, &primary.address);
        let session = link.session(within).await.map_err(|e| e.to_string())?;
        let mut kill = redis::pipe();
        kill.cmd("CLIENT").arg("KILL").arg("USER").arg(replication_user(replica));
        let answer = session.ask_until(&kill, deadline).await.map_err(|e| e.to_string())?;
        match answer.first() {
            Some(Value::Int(closed)) => Ok(u64::try_from(*closed).unwrap_or(0)),
            Some(other) => Err(reply::refusal(other)
                .map_or_else(|| format!("CLIENT KILL is answered by {other:?}"), |refused| refused.line)),
            None => Err("no answer".to_owned()),
        }
    }
}
