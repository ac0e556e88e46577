//! What the design exempts, by rule and in this one place: the residue of a Redis that clients reach directly.
//!
//! - A process that was frozen runs, when it goes on, the commands that its kernel had taken in before it counts anew
//!   who keeps its door open.
//!   An acknowledgement among them counts as if it came now: where the end of that replica's connection cannot reach it,
//!   it stays open until it has counted whole seconds without another, at most two.
//! - A killed process may have answered one turn of its event loop that nobody received. That is no exemption from
//!   being reported: the estimate of a loss has it in it.
//! - A replica that is none of ours counts for whoever admits it. Our lines of the configuration forbid that; where
//!   somebody attached one all the same, and the leader that waited a primary out could not have seen it, that primary
//!   stays open.
//! - A group with `fence = "none"` asks for two writers.

use crate::fault::unfenced;
use crate::message::Who;
use crate::world::World;

/// Whether what a server accepts now is owed to its having been frozen: in its first turn, or by what its replicas had
/// said before.
pub(crate) fn frozen_turn(world: &World, m: usize) -> bool {
    let server = &world.servers[m];
    let late = server.replicas.values().filter(|r| r.online && r.heard_late).count() as u64;
    server.first_turn || (late > 0 && server.good < server.min_replicas + late)
}

/// Whether a server is open because of a replica that is none of ours and that nobody could know of.
pub(crate) fn stranger(world: &World, m: usize) -> bool {
    let server = &world.servers[m];
    let strange = server.replicas.values().filter(|r| r.who == Who::Stranger && r.online).count() as u64;
    let unknown = strange.saturating_sub(world.truth.strangers_known);
    unknown > 0 && server.good < server.min_replicas + unknown
}

/// Whether the group asks for Sentinel's kind of safety.
pub(crate) fn no_fence(world: &World) -> bool {
    unfenced(&world.setup)
}
