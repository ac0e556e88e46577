use super::{Ask, failure_of};
use crate::exit::Failure;
use crate::screen::units::{bytes, count};
use crate::show::cluster::{ClusterReport, SnapshotReport};
use clap::{Args, Subcommand};
use primacy_wire::v1;

/// The coordinator nodes themselves: list, add, promote, remove, transfer, snapshot
#[derive(Debug, Subcommand)]
#[command(after_long_help = "To replace a lost node, under a new id:
  1. start it: primacy serve -c node.toml, with id = 4, an empty data_dir and the founding [[cluster.peer]] list
  2. primacy cluster add 4 --site west --address 10.0.2.9:7101
  3. primacy cluster promote 4
  4. primacy cluster remove 3")]
pub(crate) enum ClusterCommand {
    Status(StatusArgs),
    Add(AddArgs),
    Promote(PromoteArgs),
    Remove(RemoveArgs),
    Transfer(TransferArgs),
    Snapshot(SnapshotArgs),
}

/// Lists the nodes: role, reachability, how far each log reaches
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {}

/// Adds a node as a learner: it follows, and does not count for majorities
///
/// The node must run already, under this id: `primacy serve` waits until it is added.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its id, never used before
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,

    /// Its site
    #[arg(long, value_name = "SITE")]
    site: String,

    /// Where others reach it
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
}

/// Makes a learner that has caught up a voter
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The node
    #[arg(value_name = "ID")]
    id: u64,
}

/// Removes a node for good: its id never comes back
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The node
    #[arg(value_name = "ID")]
    id: u64,
}

/// Hands leadership over, to the best node or to the one named
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// The next leader
    #[arg(long, value_name = "ID")]
    to: Option<u64>,
}

/// Takes a snapshot of the replicated state and purges the log that it replaces
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {}

pub(crate) async fn run(command: ClusterCommand, ask: &Ask) -> Result<(), Failure> {
    let admin = ask.client.admin();
    let answer = match command {
        ClusterCommand::Status(StatusArgs {}) => admin.cluster_status(v1::ClusterStatusRequest {}).await,
        ClusterCommand::Add(AddArgs { id, site, address }) => {
            admin.add_node(v1::AddNodeRequest { id, site, address }).await
        }
        ClusterCommand::Promote(PromoteArgs { id }) => {
            admin.promote_node(v1::PromoteNodeRequest { id }).await
        }
        ClusterCommand::Remove(RemoveArgs { id }) => admin.remove_node(v1::RemoveNodeRequest { id }).await,
        ClusterCommand::Transfer(TransferArgs { to }) => {
            admin.transfer_leadership(v1::TransferLeadershipRequest { to }).await
        }
        ClusterCommand::Snapshot(SnapshotArgs {}) => return snapshot(ask).await,
    };
    let report = ClusterReport::from(answer.map_err(|error| failure_of(&error))?);
    if ask.screen.json() {
        ask.screen.object(&report)?;
    } else {
        ask.screen.write(&report.text(ask.screen))?;
    }
    Ok(())
}

async fn snapshot(ask: &Ask) -> Result<(), Failure> {
    let answer =
        ask.client.admin().snapshot(v1::SnapshotRequest {}).await.map_err(|error| failure_of(&error))?;
    if ask.screen.json() {
        ask.screen.object(&SnapshotReport { log_index: answer.log_index, size_bytes: answer.size_bytes })?;
    } else {
        let (index, size) = (count(answer.log_index), bytes(answer.size_bytes));
        ask.screen.line(&format!("snapshot up to log index {index}, {size}"))?;
    }
    Ok(())
}
