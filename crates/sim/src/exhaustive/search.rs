//! Depth first through all that can happen.

use super::world::World;
use super::{Bounds, Move};
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

/// What came of a search.
#[derive(Debug)]
pub struct Report {
    /// How far it went.
    pub bounds: Bounds,
    /// States that differ in something that can be noticed.
    pub states: u64,
    /// Moves that were made from them.
    pub moves: u64,
    /// The longest way from the start.
    pub depth: usize,
    /// Whether everything within the bounds was visited.
    pub complete: bool,
    /// What must not be and is.
    pub found: Option<Found>,
    /// How long it took.
    pub took: Duration,
}

/// A state in which something does not hold.
#[derive(Debug)]
pub struct Found {
    /// What.
    pub text: String,
    /// The way there: each move, and what the world was like after it.
    pub way: Vec<(Move, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.bounds;
        write!(
            f,
            "{} members, {} faults, {} writes, {} half seconds: {} states, {} moves, {} deep, {} in {:.1} s",
            b.members,
            b.faults,
            b.writes,
            b.steps,
            self.states,
            self.moves,
            self.depth,
            if self.complete { "complete" } else { "cut short" },
            self.took.as_secs_f64()
        )?;
        if let Some(found) = &self.found {
            write!(f, "\nVIOLATED {}", found.text)?;
            for (one, after) in &found.way {
                write!(f, "\n  {:<20}{after}", format!("{one:?}"))?;
            }
        }
        Ok(())
    }
}

/// The states are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// Visits everything within the bounds, or ends at the first state in which something does not hold.
pub fn search(bounds: &Bounds) -> Report {
    let began = Instant::now();
    let start = World::serving(*bounds);
    let mut seen: HashSet<u64, BuildHasherDefault<AsIs>> = HashSet::default();
    seen.insert(start.print());
    let mut report = Report {
        bounds: *bounds,
        states: 1,
        moves: 0,
        depth: 0,
        complete: true,
        found: None,
        took: Duration::ZERO,
    };
    let moves = start.moves();
    let mut stack = vec![(start, moves)];
    let mut way: Vec<Move> = vec![];
    while let Some((world, left)) = stack.last_mut() {
        let Some(one) = left.pop() else {
            stack.pop();
            way.pop();
            continue;
        };
        let mut next = world.clone();
        next.make(one);
        report.moves += 1;
        if let Some(text) = next.violation.take() {
            way.push(one);
            report.found = Some(Found { text, way: told(bounds, &way) });
            report.complete = false;
            break;
        }
        if !seen.insert(next.print()) {
            continue;
        }
        report.states += 1;
        if report.states >= bounds.states_max {
            report.complete = false;
            break;
        }
        way.push(one);
        let moves = next.moves();
        stack.push((next, moves));
        report.depth = report.depth.max(stack.len());
    }
    report.took = began.elapsed();
    report
}

/// The same way again, with words.
fn told(bounds: &Bounds, way: &[Move]) -> Vec<(Move, String)> {
    let mut world = World::serving(*bounds);
    let step = |one: &Move| {
        world.make(*one);
        (*one, world.words())
    };
    way.iter().map(step).collect()
}
