//! What a process takes of the machine, read from /proc.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// The unit of times in /proc/PID/stat; 100 a second on every Linux that Redis and Rust run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Time on a CPU since its start, in user and kernel mode, of all its threads.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks(&stat).ok_or_else(|| anyhow!("{path} reads {stat:?}"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

/// Its resident memory now, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kib.ok_or_else(|| anyhow!("{path} says nothing of VmRSS"))? * 1024)
}

fn ticks(stat: &str) -> Option<u64> {
    // The name before it is in brackets and may itself contain brackets and spaces; utime and stime are fields 14, 15.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 10 20 30 40 250 50 60 70 20 0 5 0 900 1 2";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_takes_something() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(cpu_time(pid).unwrap() < Duration::from_hours(1));
    }
}
