//! What happens, as it happens: a line an event, and on a terminal a moving picture of the writes below them.

use crate::screen::Screen;
use crate::screen::table::Tone;
use crate::screen::units::count;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Acknowledgements in a column of the picture are those of this many milliseconds.
pub(super) const SAMPLE_MS: u64 = 100;
const COLUMNS: usize = 40;
const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The timeline; clones share it.
#[derive(Clone)]
pub(super) struct Timeline {
    screen: Screen,
    origin: Instant,
    picture: Arc<Mutex<Picture>>,
}

#[derive(Default)]
struct Picture {
    samples: VecDeque<u64>,
    /// What stands on the last line of the terminal at the moment.
    drawn: bool,
    ended: bool,
}

impl Timeline {
    pub(super) fn new(screen: Screen) -> Self {
        Timeline { screen, origin: Instant::now(), picture: Arc::default() }
    }

    /// Something was done or found.
    pub(super) fn say(&self, text: &str) {
        self.print(Tone::Plain, text);
    }

    /// The next event of the story.
    pub(super) fn fault(&self, text: &str) {
        self.print(Tone::Busy, &format!("-- {text}"));
    }

    /// Something that follows from it.
    pub(super) fn effect(&self, text: &str) {
        self.print(Tone::Plain, &format!("   {text}"));
    }

    /// So many writes were acknowledged since the last sample.
    pub(super) fn sample(&self, acked: u64, primary: &str) {
        if !self.screen.tty || self.screen.json() {
            return;
        }
        let mut picture = self.lock();
        picture.samples.push_back(acked);
        while picture.samples.len() > COLUMNS {
            picture.samples.pop_front();
        }
        if picture.ended {
            return;
        }
        let bars = bars(picture.samples.make_contiguous());
        let rate = count(acked * 1_000 / SAMPLE_MS);
        let line = format!(
            "\r\x1b[K{:>6.1} s  {bars} {rate} writes/s, {primary}",
            self.origin.elapsed().as_secs_f64()
        );
        picture.drawn = self.screen.write(&line).is_ok();
    }

    /// Leaves the terminal to what comes after.
    pub(super) fn end(&self) {
        let mut picture = self.lock();
        picture.ended = true;
        if std::mem::take(&mut picture.drawn) {
            // What cannot be written is noticed by the report, which matters more.
            let _ = self.screen.write("\r\x1b[K");
        }
    }

    fn print(&self, tone: Tone, text: &str) {
        if self.screen.json() {
            return;
        }
        let mut picture = self.lock();
        let erase = if std::mem::take(&mut picture.drawn) { "\r\x1b[K" } else { "" };
        let text = self.screen.tone(tone, text);
        let line = format!("{erase}{:>6.1} s  {text}\n", self.origin.elapsed().as_secs_f64());
        // As above: the report is what must not be lost.
        let _ = self.screen.write(&line);
    }

    fn lock(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A column a sample; only no write at all is drawn as none.
fn bars(samples: &[u64]) -> String {
    let most = samples.iter().copied().max().unwrap_or(0).max(1);
    let top = (BARS.len() - 1) as u64;
    let bar = |sample: &u64| BARS[(sample * top).div_ceil(most) as usize];
    let blank = std::iter::repeat_n(' ', COLUMNS.saturating_sub(samples.len()));
    blank.chain(samples.iter().map(bar)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_seen_and_a_trickle_is_no_outage() {
        let picture = bars(&[800, 400, 0, 1, 800]);
        assert_eq!(picture.trim_start(), "█▄·▁█");
        assert_eq!(picture.chars().count(), COLUMNS);
        assert_eq!(bars(&[0, 0]).trim_start(), "··");
    }
}
