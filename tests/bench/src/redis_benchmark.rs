//! `redis-benchmark` as the load: what everybody who knows Redis measures with.

use anyhow::{Context, Result, bail, ensure};
use primacy_testbed::{Host, Process, ProcessSpec, Workdir, on_path};
use std::time::Duration;

/// Other keys than these are not written, so that the data stays small.
const KEYS: u32 = 100_000;
const DEADLINE: Duration = Duration::from_mins(2);

/// How many SETs, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets {
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    pub(crate) requests: u32,
}

/// What came of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
}

/// Sends them to `address`, from a host of a WAN or from this machine.
///
/// # Errors
/// When the program is not installed, does not end in two minutes, or does not say what came of them.
pub(crate) async fn set(from: Option<&Host>, address: &str, sets: Sets) -> Result<Served> {
    let program =
        on_path("redis-benchmark").context("redis-benchmark is not installed (Debian: redis-tools)")?;
    let workdir = Workdir::create()?;
    let (host, port) = address.rsplit_once(':').context("an address is host:port")?;
    let text = format!(
        "-h {host} -p {port} -t set -r {KEYS} -c {} -P {} -n {} --csv",
        sets.clients, sets.pipeline, sets.requests
    );
    let spec = ProcessSpec {
        name: "redis-benchmark".to_owned(),
        program,
        args: text.split(' ').map(Into::into).collect(),
        env: Vec::new(),
        dir: workdir.path().to_owned(),
        log: workdir.path().join("out"),
    };
    let process = Process::start_at(from, &spec)?;
    let status = process.wait_exit(DEADLINE).await?;
    let said = std::fs::read_to_string(process.log())?;
    ensure!(status.success(), "redis-benchmark {text} failed: {said}");
    read(&said).with_context(|| format!("redis-benchmark {text} said {said}"))
}

/// The last line is `"SET","requests a second","average ms","min ms","p50 ms",...`.
fn read(said: &str) -> Result<Served> {
    let last = said.trim_end().lines().last().context("it said nothing")?;
    let cells: Vec<&str> = last.split(',').map(|cell| cell.trim_matches('"')).collect();
    let ["SET", per_second, _, _, p50_ms, ..] = cells[..] else { bail!("no line of SET") };
    Ok(Served { per_second: per_second.parse()?, p50_us: p50_ms.parse::<f64>()? * 1_000.0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use primacy_testbed::{RedisOptions, RedisServer};

    #[test]
    fn the_last_line_is_read() {
        let said = "WARNING: Could not fetch server CONFIG\n\"test\",\"rps\",\"avg\"\n\
                    \"SET\",\"190114.06\",\"0.143\",\"0.048\",\"0.135\",\"0.207\",\"0.295\",\"0.431\"\n";
        assert_eq!(read(said).unwrap(), Served { per_second: 190_114.06, p50_us: 135.0 });
        assert!(read("Could not connect to Redis at 127.0.0.1:1: Connection refused").is_err());
    }

    #[tokio::test]
    async fn a_server_serves_so_many() {
        let workdir = Workdir::create().unwrap();
        let server = RedisServer::start(RedisOptions::new("alone", workdir.path().join("a"))).await.unwrap();
        let sets = Sets { clients: 2, pipeline: 1, requests: 1_000 };
        let served = set(None, server.address(), sets).await.unwrap();
        assert!(served.per_second > 10.0 && served.p50_us > 0.0, "{served:?}");
    }
}
