//! The timings of a cluster: a profile, each value overridable, and the arithmetic that makes leases safe.

use super::section::{Section, Wrong, duration, duration_of, string, word};
use primacy_core::view::SafetyTimes;
use std::time::Duration;
use toml::Value;

/// How far apart the nodes are, which sets every timing that is not given by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// One region: round trips of a few milliseconds.
    Lan,
    /// Regions apart: round trips up to 100 ms.
    Wan,
}

/// The timings of elections and leases. All nodes of a cluster have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// The leader says at least so often that it is there.
    pub heartbeat: Duration,
    /// A follower that heard nothing for so long, at the earliest, stands for election.
    pub election_min: Duration,
    /// The same, at the latest.
    pub election_max: Duration,
    /// How long a guard may keep a primary open after it asked.
    pub lease_ttl: Duration,
    /// How often a guard asks.
    pub lease_renew: Duration,
    /// The longest round trip between two nodes.
    pub rtt: Duration,
}

impl Timings {
    /// What a profile stands for.
    pub fn of(profile: Profile) -> Timings {
        let ms = Duration::from_millis;
        match profile {
            Profile::Lan => Timings {
                heartbeat: ms(100),
                election_min: ms(300),
                election_max: ms(600),
                lease_ttl: ms(3_000),
                lease_renew: ms(900),
                rtt: ms(0),
            },
            Profile::Wan => Timings {
                heartbeat: ms(200),
                election_min: ms(600),
                election_max: ms(1_200),
                lease_ttl: ms(4_000),
                lease_renew: ms(1_000),
                rtt: ms(100),
            },
        }
    }

    /// What the lease rests on, in one line for a person.
    pub fn arithmetic(&self) -> String {
        let safety = SafetyTimes::of(self.lease_ttl);
        let waited_out = safety.lease_ttl + safety.lease_margin + safety.passive_bound;
        format!(
            "lease {}, renewed every {}: a silent primary is waited out after at most {}",
            show(self.lease_ttl),
            show(self.lease_renew),
            seconds(waited_out)
        )
    }
}

/// Rounded up to hundredths, because it bounds something.
fn seconds(duration: Duration) -> String {
    let hundredths = duration.as_millis().div_ceil(10);
    format!("{}s", hundredths as f64 / 100.0)
}

/// Reads profile and timings out of `[cluster]`.
pub(super) fn read(cluster: &Section<'_>) -> (Profile, Timings) {
    let profile = cluster.optional("profile", |v| word(v, &[("lan", Profile::Lan), ("wan", Profile::Wan)]));
    let profile = profile.unwrap_or(Profile::Lan);
    let mut timings = Timings::of(profile);
    let set = |into: &mut Duration, key: &'static str, example: &str| {
        if let Some(given) = cluster.optional(key, |v| duration(v, example)) {
            *into = given;
        }
    };
    set(&mut timings.heartbeat, "heartbeat", "\"100ms\"");
    set(&mut timings.lease_ttl, "lease_ttl", "\"3s\"");
    set(&mut timings.lease_renew, "lease_renew", "\"900ms\"");
    set(&mut timings.rtt, "rtt", "\"100ms\"");
    if let Some((min, max)) = cluster.optional("election", election) {
        (timings.election_min, timings.election_max) = (min, max);
    }
    check(cluster, &timings);
    (profile, timings)
}

/// `"300ms..600ms"`.
fn election(value: &Value) -> Result<(Duration, Duration), Wrong> {
    const EXAMPLE: &str = "\"300ms..600ms\"";
    let text = string(value, "a range of durations", EXAMPLE)?;
    let (min, max) = text.split_once("..").ok_or_else(|| {
        Wrong::new(format!("{text:?} is not a range"), format!("write the least and the most: {EXAMPLE}"))
    })?;
    let (min, max) = (duration_of(min.trim(), "\"300ms\"")?, duration_of(max.trim(), "\"600ms\"")?);
    if min >= max {
        let reason = format!("{} is not below {}", show(min), show(max));
        return Err(Wrong::new(
            reason,
            format!("write the least first, and leave room for chance: {EXAMPLE}"),
        ));
    }
    Ok((min, max))
}

/// What must hold between the timings, whichever were given.
fn check(cluster: &Section<'_>, t: &Timings) {
    let misses = t.heartbeat * 3;
    if misses > t.election_min {
        let reason = format!(
            "heartbeat x 3 <= least election timeout does not hold: {} x 3 = {} > {}",
            show(t.heartbeat),
            show(misses),
            show(t.election_min)
        );
        let remedy =
            "lower heartbeat or raise election, so that a follower misses three heartbeats before it acts";
        cluster.wrong("heartbeat", Wrong::new(reason, remedy));
    }
    let renewals = t.lease_renew * 3;
    if renewals > t.lease_ttl {
        let reason = format!(
            "lease_renew x 3 <= lease_ttl does not hold: {} x 3 = {} > {}",
            show(t.lease_renew),
            show(renewals),
            show(t.lease_ttl)
        );
        cluster.wrong(
            "lease_renew",
            Wrong::new(reason, "lower lease_renew or raise lease_ttl, so that two renewals may fail"),
        );
    }
    let handover = t.lease_renew + t.election_max * 2 + t.rtt;
    if t.lease_ttl <= handover {
        let reason = format!(
            "lease_ttl > lease_renew + 2 x most election timeout + rtt does not hold: {} <= {} + 2 x {} + {} = {}",
            show(t.lease_ttl),
            show(t.lease_renew),
            show(t.election_max),
            show(t.rtt),
            show(handover)
        );
        let remedy = "raise lease_ttl or lower election, so that the loss of the leader's site stops no healthy primary";
        cluster.wrong("lease_ttl", Wrong::new(reason, remedy));
    }
}

fn show(duration: Duration) -> String {
    if duration.subsec_nanos().is_multiple_of(1_000_000) && duration.as_secs() < 60 {
        let ms = duration.as_millis();
        return if ms.is_multiple_of(1_000) && ms > 0 {
            format!("{}s", ms / 1_000)
        } else {
            format!("{ms}ms")
        };
    }
    humantime::format_duration(duration).to_string()
}
