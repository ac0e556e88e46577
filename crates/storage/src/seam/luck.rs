//! The randomness of election timeouts, drawn from the seam so that a seed repeats it.

use rand::TryRng;
use std::convert::Infallible;

/// Draws from `primacy_runtime::random_u64`. Not for secrets.
#[derive(Clone, Copy, Debug)]
pub struct SeamRng;

impl TryRng for SeamRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(primacy_runtime::random_u64() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(primacy_runtime::random_u64())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        for chunk in into.chunks_mut(8) {
            chunk.copy_from_slice(&primacy_runtime::random_u64().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
