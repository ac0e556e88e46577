//! How old the word of a leader is.
//!
//! The problem: a leader's request may have waited for seconds on its way, in a cut network or before a frozen process,
//! and whoever dates it by its receipt takes old news for fresh. The idea: a follower gives its time with each answer,
//! the leader gives the newest one back with each request, and says how long ago it came. The request was made no
//! earlier than that, so the follower dates it then: it may look older than it is, by one way of the network and
//! back, and never fresher.

use primacy_core::Moment;
use primacy_wire::v1::FollowerTime;
use std::time::Duration;

/// The follower's side.
#[derive(Debug)]
pub(crate) struct Echo {
    /// Tells the clock of this process from that of another process of the same node.
    process: u64,
}

impl Echo {
    pub(crate) fn new() -> Self {
        Self { process: primacy_runtime::random_u64() }
    }

    /// This moment, for a leader to give back.
    pub(crate) fn time(&self, now: Moment) -> FollowerTime {
        FollowerTime { process: self.process, at_us: now.0 }
    }

    /// When a request was made at the earliest that gives `time` back, `age` after it came. None when the time is
    /// that of an earlier process.
    pub(crate) fn made_at(&self, time: FollowerTime, age: Duration, now: Moment) -> Option<Moment> {
        (time.process == self.process).then(|| Moment(time.at_us).after(age).min(now))
    }
}

/// The leader's side: a follower's time, and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    time: FollowerTime,
    received: Moment,
}

impl Heard {
    pub(crate) fn new(time: FollowerTime, now: Moment) -> Self {
        Self { time, received: now }
    }

    pub(crate) fn time(&self) -> FollowerTime {
        self.time
    }

    pub(crate) fn age(&self, now: Moment) -> Duration {
        now.since(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_waited_on_its_way_is_as_old_as_it_is() {
        let follower = Echo::new();
        // Answered at 1,000 by the follower's clock; the leader's clock shows 70 when it comes, and 95 at its next request.
        let heard = Heard::new(follower.time(at(1_000)), at(70));
        let (time, age) = (heard.time(), heard.age(at(95)));
        assert_eq!(age, ms(25));
        for received in [at(1_030), at(6_000)] {
            assert_eq!(follower.made_at(time, age, received), Some(at(1_025)));
        }
    }

    #[test]
    fn a_request_was_not_made_after_its_receipt() {
        let follower = Echo::new();
        assert_eq!(follower.made_at(follower.time(at(1_000)), ms(500), at(1_200)), Some(at(1_200)));
        assert_eq!(
            follower.made_at(FollowerTime { at_us: u64::MAX, ..follower.time(at(0)) }, ms(1), at(7)),
            Some(at(7))
        );
    }

    #[test]
    fn the_time_of_another_process_says_nothing() {
        let before = Echo { process: 1 };
        let after = Echo { process: 2 };
        assert_eq!(after.made_at(before.time(at(1_000)), ms(0), at(2_000)), None);
    }
}
