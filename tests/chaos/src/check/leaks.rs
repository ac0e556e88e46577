//! Nothing piles up: files, sockets and threads of nodes and connections of servers are, at rest, about as many as they
//! were before the first fault; and no process of an act outlives it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use primacy_testbed::wait_for;

use super::Violation;
use crate::fault::SITES;
use crate::world::{MARK, World};

/// Connections are closed lazily by whoever opened them.
const WITHIN: Duration = Duration::from_mins(1);
/// More than clients of the moment make.
const SLACK: u64 = 40;

/// What the processes of a site hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Open files and sockets of the node.
    pub(crate) files: u64,
    /// Its threads.
    pub(crate) threads: u64,
    /// Its resident memory; reported, not judged.
    pub(crate) rss_kib: u64,
    /// Clients that the Redis server has.
    pub(crate) clients: u64,
}

/// What all hold now, by site.
pub(crate) async fn look(world: &World) -> Result<Vec<Held>> {
    let mut all = Vec::new();
    for site in 0..SITES.len() {
        let pid = world.node(site)?.process().pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim_matches([':', '\t', ' ', 'k', 'B']).parse().ok()).unwrap_or(0)
        };
        let server = world.d.group.member(&World::member(site))?;
        all.push(Held {
            files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            threads: field("Threads"),
            rss_kib: field("VmRSS"),
            clients: server.info_field("connected_clients").await?.parse()?,
        });
    }
    Ok(all)
}

/// Waits until they hold no more than before, about; what they hold, or what was too much.
pub(crate) async fn check(world: &World, before: &[Held]) -> Result<Vec<Held>, Violation> {
    let waited = wait_for("what is held to go back to what it was", WITHIN, async || {
        let now = look(world).await?;
        // A primary has other connections than a standby, and any site may have it.
        let most = |of: fn(&Held) -> u64| before.iter().map(of).max().unwrap_or(0) + SLACK;
        for (site, held) in SITES.iter().zip(&now) {
            let grown = held.files > most(|held| held.files)
                || held.threads > most(|held| held.threads)
                || held.clients > most(|held| held.clients);
            ensure!(!grown, "{site} holds {held:?}; before: {before:?}");
        }
        Ok(now)
    });
    waited.await.map_err(|error| Violation::new("leaks", format!("{error:#}")))
}

/// Processes that carry the mark of an act that is over.
pub(crate) fn left_behind(mark: &str) -> Vec<Violation> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let carries = |dir: &Path| {
        let environment = std::fs::read(dir.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|dir| carries(dir))
        .map(|dir| {
            let command = std::fs::read_to_string(dir.join("cmdline")).unwrap_or_default().replace('\0', " ");
            Violation::new("leaks", format!("left running: {} {command}", dir.display()))
        })
        .collect()
}
