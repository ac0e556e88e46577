//! Every order of events of a small world.
//!
//! The problem: seeds meet what is likely, and what breaks a cluster may need three unlikely things in a row. The idea:
//! a world so small that nothing is left to chance. From a group that serves, every move that is possible is made, in
//! every order, until the bounds are reached: time in steps, faults, writes. Worlds that differ in nothing that a rule
//! or a server could notice are one state, told apart by a hash.
//!
//! The rules are those that ship. What is around them is less than in the seeded runs: a commit is one move, nodes look
//! all at once, and an action is one move at the server.

mod check;
mod effect;
mod moves;
mod print;
mod search;
mod world;

pub use moves::Move;
pub use search::{Found, Report, search};

/// How small the world is, and how far it is followed.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Two or three, each at a site of its own; there are always three nodes at three sites.
    pub members: usize,
    /// Deaths, freezes, restarts, cuts, changes of leader and wishes of operators.
    pub faults: u8,
    /// Writes of clients, accepted by whoever is open.
    pub writes: u8,
    /// Half seconds.
    pub steps: u8,
    /// The search is given up after so many states.
    pub states_max: u64,
    /// A mistake that is to be found.
    pub mistake: Option<Mistake>,
}

/// What can be wrong around the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A fence is reported that was not set.
    LostFence,
    /// Neither leases are waited for, nor a primary that has to notice who is silent.
    NoWaiting,
    /// What a leader has begun is written without asking again whether it may.
    AsksOnce,
    /// A switchover does not wait for the candidate.
    NoDrain,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 4] =
        [Mistake::LostFence, Mistake::NoWaiting, Mistake::AsksOnce, Mistake::NoDrain];
}
