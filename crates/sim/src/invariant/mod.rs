//! The invariants of the design, one module each.

pub(crate) mod acknowledged;
pub(crate) mod agreement;
pub(crate) mod authority;
pub(crate) mod budget;
pub(crate) mod converge;
pub(crate) mod epochs;
pub(crate) mod fenced;
pub(crate) mod intent;
pub(crate) mod lease;
pub(crate) mod one_writer;
pub(crate) mod outage;
pub(crate) mod paused;
pub(crate) mod quorum;
pub(crate) mod residue;
pub(crate) mod sealed;
pub(crate) mod watch;
pub(crate) mod witness;

use crate::world::World;
use std::fmt;

/// What must never be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the invariant.
    pub invariant: &'static str,
    /// What was found.
    pub text: String,
    /// In microseconds of the run.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VIOLATED {} at {:.6} s: {}", self.invariant, self.at as f64 / 1e6, self.text)
    }
}

impl World {
    /// Notes the first violation; the run ends with it.
    pub(crate) fn violate(&mut self, invariant: &'static str, text: String) {
        if self.violation.is_none() {
            let at = self.now;
            let told = text.clone();
            self.say(None, || format!("VIOLATED {invariant}: {told}"));
            self.violation = Some(Violation { invariant, text, at });
        }
    }
}

/// Looked at after every event: what can change without anybody doing anything.
pub(crate) fn after_step(world: &mut World) {
    outage::note(world);
    authority::check(world);
    witness::check(world);
}
