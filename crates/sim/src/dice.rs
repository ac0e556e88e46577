//! Chance from a seed.
//!
//! The problem: a run must be the same for ever, on every machine and in every build. The idea: a generator whose
//! algorithm is fixed by its name (xoshiro256++, Blackman and Vigna), and a stream of its own for each purpose, so that
//! what one part draws does not move what another finds.

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// One stream of chance.
#[derive(Clone, Debug)]
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// The stream number `stream` of a seed.
    pub fn new(seed: u64, stream: u64) -> Dice {
        Dice(Xoshiro256PlusPlus::seed_from_u64(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd134_2543_de82_ef95),
        ))
    }

    /// From 0 up to but not including `n`; 0 for an empty range.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of a product is far below what any run could show.
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One index of a list of that length.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut dice = Dice::new(1, 2);
        let drawn: Vec<u64> = (0..4).map(|_| dice.below(1_000)).collect();
        assert_eq!(drawn, [215, 928, 134, 652]);
    }
}
