//! What the leader appends to the log, beside openraft's own entries.

use bytes::Bytes;
use primacy_core::{Command, NodeId};
use primacy_wire::WireError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The content of a log entry. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// A command for `State::apply`.
    Command(EncodedCommand),
    /// Says which store belongs to a node, so that an emptied directory under a known id is noticed.
    RegisterNode {
        /// The node.
        node: NodeId,
        /// Its store's id.
        store_id: u64,
    },
}

impl From<Command> for Proposal {
    fn from(command: Command) -> Self {
        Self::Command(command.into())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "command of {} bytes", command.bytes().len()),
            Self::RegisterNode { node, store_id } => write!(f, "store {store_id:016x} is node {node}'s"),
        }
    }
}

/// A command beside its bytes: it is encoded once where it is proposed, and once decoded where it arrives; the disk
/// and every connection take the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedCommand {
    command: Arc<Command>,
    bytes: Bytes,
}

impl EncodedCommand {
    /// From the bytes that [`EncodedCommand::bytes`] gave, here or on another node.
    ///
    /// # Errors
    /// [`WireError`] when they are no command, or one of a later version.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let command = primacy_wire::decode_command(&bytes)?;
        Ok(Self { command: Arc::new(command), bytes })
    }

    /// The command's versioned bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl From<Command> for EncodedCommand {
    fn from(command: Command) -> Self {
        let bytes = primacy_wire::encode_command(&command).into();
        Self { command: Arc::new(command), bytes }
    }
}

impl Deref for EncodedCommand {
    type Target = Command;

    fn deref(&self) -> &Command {
        &self.command
    }
}
