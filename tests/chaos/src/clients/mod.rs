//! Those who ask, watch and write while things go wrong. They reach every site whatever is cut, so that what they see is
//! the service's doing and not the network's.

mod ask;
mod watch;
mod write;

pub(crate) use write::gate_name;

use std::future::Future;

use anyhow::Result;
use primacy_testbed::{Ledger, Load};
use tokio::task::JoinSet;

use crate::record::Record;
use crate::world::World;

/// All clients of an act. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Writers that follow the primary, and one that stays with each member.
    pub(crate) direct: Load,
    /// Writers that use the gates.
    pub(crate) gated: Load,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Starts them all.
    pub(crate) fn start(world: &World, record: &Record) -> Result<Self> {
        let (direct, gated) = (write::direct(world)?, write::gated(world)?);
        let mut tasks = JoinSet::new();
        ask::start(world, record, &mut tasks);
        watch::start(world, record, &mut tasks);
        Ok(Self { direct, gated, tasks })
    }

    /// What the writers saw until now: directly, and through the gates.
    pub(crate) fn ledgers(&self) -> (Ledger, Ledger) {
        (self.direct.ledger(), self.gated.ledger())
    }

    /// Stops them all.
    pub(crate) async fn stop(mut self) -> (Ledger, Ledger) {
        self.tasks.shutdown().await;
        (self.direct.stop().await, self.gated.stop().await)
    }
}

/// What a connection that cannot be made, or an answer that does not come, is to a client here: nothing.
async fn within<T, E>(limit: std::time::Duration, call: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(limit, call).await.ok()?.ok()
}
