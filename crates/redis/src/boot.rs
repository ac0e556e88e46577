//! Whether a server that restarts accepts writes: what its configuration on disk says.
//!
//! The problem: a primary that was fenced at run time and is restarted by its supervisor is whatever its file makes of
//! it. The idea: read that file as the server will, and look at the settings that decide. Only a file of this host can
//! be read, and only where the process is known to be that server's; everything else is unproven, and said to be.
//!
//! This module changes no file, and must not know what follows from its verdict.

use crate::info;
use crate::probe::{Claim, runs_here};
use primacy_core::Address;
use primacy_core::view::{BootFence, SHUT_MIN_REPLICAS};
use primacy_runtime::{Task, now, sleep, spawn, watch};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A larger file is no redis.conf.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Somebody may edit it, and `CONFIG REWRITE` writes down whatever is in force.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Before the first look.
pub(crate) fn unread() -> BootFence {
    BootFence::Unproven { why: "its configuration was not read yet".to_owned() }
}

/// The verdict on one process, looked at again and again.
pub(crate) struct BootWatch {
    verdict: watch::Receiver<BootFence>,
    _task: Task<()>,
}

impl BootWatch {
    /// Begins to look at the configuration of the server at `address`. A file system that hangs holds up nothing else.
    pub(crate) fn start(server: info::Server, address: Address) -> Self {
        let (tell, verdict) = watch::channel(unread());
        let started = now();
        let task = spawn(async move {
            let mut server = server;
            let uptime_s = server.uptime_s;
            loop {
                server.uptime_s = uptime_s + now().since(started).as_secs();
                tell.send(look(&server, &address).await);
                sleep(LOOK_EVERY).await;
            }
        });
        Self { verdict, _task: task }
    }

    /// What the last look said.
    pub(crate) fn verdict(&self) -> BootFence {
        self.verdict.borrow().clone()
    }
}

/// What becomes of the server at `address` when it restarts.
pub(crate) async fn look(server: &info::Server, address: &Address) -> BootFence {
    if server.config_file.is_empty() {
        return open("it was started without a configuration file, so nothing fences it after a restart");
    }
    let claim = Claim {
        address: address.clone(),
        pid: server.pid,
        uptime_s: server.uptime_s,
        executable: server.executable.clone(),
    };
    let path = PathBuf::from(&server.config_file);
    let looked = primacy_runtime::blocking(move || {
        if !runs_here(&claim) {
            let why = format!("its configuration {} is on another host", path.display());
            return BootFence::Unproven { why };
        }
        of_file(&path, &read)
    });
    looked
        .await
        .unwrap_or_else(|_| BootFence::Unproven { why: "reading its configuration failed".to_owned() })
}

fn open(why: impl Into<String>) -> BootFence {
    BootFence::Open { why: why.into() }
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("{} cannot be read: {e}", path.display());
    let about = std::fs::metadata(path).map_err(cannot)?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(format!("{} is no configuration file", path.display()));
    }
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(cannot)
}

/// The settings that decide, as the last line that gives them has them.
#[derive(Default)]
struct Settings {
    source: Option<(String, String)>,
    min_replicas: Option<String>,
    max_lag: Option<String>,
    read_only: Option<String>,
}

fn of_file(path: &Path, read: &dyn Fn(&Path) -> Result<String, String>) -> BootFence {
    let mut settings = Settings::default();
    match settings.take_file(path, read, true) {
        Ok(()) => settings.verdict(path),
        Err(why) => BootFence::Unproven { why },
    }
}

impl Settings {
    /// Takes the lines of a file in their order, those of included files where they are included.
    fn take_file(
        &mut self,
        path: &Path,
        read: &dyn Fn(&Path) -> Result<String, String>,
        follow: bool,
    ) -> Result<(), String> {
        for line in read(path)?.lines() {
            let words = words(line);
            match words.split_first() {
                Some((directive, [included])) if directive.eq_ignore_ascii_case("include") => {
                    let included = included_by(path, included, follow)?;
                    self.take_file(&included, read, false)?;
                }
                Some((directive, values)) => self.take(&directive.to_lowercase(), values),
                None => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, directive: &str, values: &[String]) {
        let value = || values.first().cloned();
        match directive {
            "replicaof" | "slaveof" => {
                let source = values.first().zip(values.get(1)).map(|(h, p)| (h.clone(), p.clone()));
                self.source = source.filter(|(host, port)| {
                    !(host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one"))
                });
            }
            "min-replicas-to-write" | "min-slaves-to-write" => self.min_replicas = value(),
            "min-replicas-max-lag" | "min-slaves-max-lag" => self.max_lag = value(),
            "replica-read-only" | "slave-read-only" => self.read_only = value(),
            _ => {}
        }
    }

    fn verdict(&self, path: &Path) -> BootFence {
        let file = path.display();
        match &self.source {
            None => {
                return open(format!(
                    "{file} has no replicaof in force: it starts as a primary, and an empty one wipes its replicas"
                ));
            }
            Some((host, port)) if !is_nowhere(host, port) => {
                return open(format!("{file} has replicaof {host} {port}: it follows somebody by itself"));
            }
            Some(_) => {}
        }
        let shut = self.min_replicas.as_ref().and_then(|n| n.parse::<u64>().ok());
        if shut.is_none_or(|n| n < SHUT_MIN_REPLICAS) {
            let given = self.min_replicas.as_deref().unwrap_or("none");
            return open(format!(
                "{file} has {given} for min-replicas-to-write, where {SHUT_MIN_REPLICAS} keeps it shut"
            ));
        }
        if self.max_lag.as_deref() == Some("0") {
            return open(format!(
                "{file} has min-replicas-max-lag 0, which switches min-replicas-to-write off"
            ));
        }
        if self.read_only.as_ref().is_some_and(|value| value.eq_ignore_ascii_case("no")) {
            return open(format!("{file} has replica-read-only no: it accepts writes as a replica"));
        }
        BootFence::Fenced
    }
}

/// Where nobody listens, as `redis_conf` prints it.
fn is_nowhere(host: &str, port: &str) -> bool {
    matches!(host, "127.0.0.1" | "::1" | "localhost") && port == "1"
}

fn included_by(path: &Path, included: &str, follow: bool) -> Result<PathBuf, String> {
    let file = path.display();
    if !follow {
        return Err(format!("{file} is included and includes {included}, which is not followed"));
    }
    if !Path::new(included).is_absolute() {
        return Err(format!("{file} includes {included}, which is relative to where the server was started"));
    }
    if included.contains(['*', '?', '[']) {
        return Err(format!("{file} includes {included}, which is a pattern"));
    }
    Ok(PathBuf::from(included))
}

/// The words of a line, without quotes; none for a comment.
fn words(line: &str) -> Vec<String> {
    let line = line.trim();
    if line.starts_with('#') {
        return vec![];
    }
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = |from: usize, at: fn(char) -> bool| rest[from..].find(at).map_or(rest.len(), |n| from + n);
        let (word, next) = match first {
            '"' => (1, end(1, |c| c == '"')),
            '\'' => (1, end(1, |c| c == '\'')),
            _ => (0, end(0, char::is_whitespace)),
        };
        words.push(rest[word..next].to_owned());
        rest = rest[next..].trim_start_matches(|c: char| word == 1 && (c == '"' || c == '\'')).trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::collections::BTreeMap;

    const FENCED: &str = "replicaof 127.0.0.1 1\nmin-replicas-to-write 1000000\n";

    fn verdict(files: &[(&str, &str)]) -> BootFence {
        let files: BTreeMap<PathBuf, String> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        let read = move |path: &Path| {
            files.get(path).cloned().ok_or_else(|| format!("{} cannot be read: gone", path.display()))
        };
        of_file(Path::new("/etc/redis.conf"), &read)
    }

    fn alone(text: &str) -> String {
        match verdict(&[("/etc/redis.conf", text)]) {
            BootFence::Fenced => "fenced".to_owned(),
            BootFence::Open { why } => format!("open: {why}"),
            BootFence::Unproven { why } => format!("unproven: {why}"),
        }
    }

    #[test]
    fn what_the_printed_lines_say_is_fenced() {
        assert_eq!(alone(FENCED), "fenced");
        assert_eq!(alone("SlaveOf \"127.0.0.1\" '1'\n  min-slaves-to-write 1000000"), "fenced");
        assert_eq!(alone(&format!("replicaof 10.0.0.1 6379\nmin-replicas-to-write 1\n{FENCED}")), "fenced");
    }

    #[test]
    fn every_way_to_boot_open_is_named() {
        for (text, why) in [
            ("port 6379\n# replicaof 127.0.0.1 1\nmin-replicas-to-write 1000000", "no replicaof in force"),
            (
                "replicaof 127.0.0.1 1\nmin-replicas-to-write 1000000\nreplicaof no one",
                "no replicaof in force",
            ),
            ("replicaof 10.0.0.2 6379\nmin-replicas-to-write 1000000", "replicaof 10.0.0.2 6379: it follows"),
            ("replicaof 127.0.0.1 1", "none for min-replicas-to-write"),
            (&format!("{FENCED}min-replicas-to-write 1"), "1 for min-replicas-to-write"),
            (&format!("{FENCED}min-replicas-max-lag 0"), "min-replicas-max-lag 0"),
            (&format!("{FENCED}replica-read-only no"), "replica-read-only no"),
        ] {
            let found = alone(text);
            assert!(
                found.starts_with("open: /etc/redis.conf has ") && found.contains(why),
                "{text}: {found}"
            );
        }
    }

    #[test]
    fn included_lines_count_where_they_are_included() {
        let opened = "min-replicas-to-write 0\n";
        let with = |main: &str, included: &str| {
            verdict(&[("/etc/redis.conf", main), ("/etc/primacy.conf", included)])
        };
        let include = "include /etc/primacy.conf\n";
        assert_eq!(with(include, FENCED), BootFence::Fenced);
        assert_eq!(with(&format!("{opened}{include}"), FENCED), BootFence::Fenced);
        let after = with(&format!("{include}{opened}"), FENCED);
        assert!(matches!(after, BootFence::Open { .. }), "{after:?}");
    }

    #[test]
    fn what_cannot_be_followed_is_unproven() {
        for (main, why) in [
            ("include /etc/none.conf", "/etc/none.conf cannot be read"),
            ("include conf.d/a.conf", "relative"),
            ("include /etc/conf.d/*.conf", "pattern"),
            ("include /etc/deep.conf", "not followed"),
        ] {
            let files = [("/etc/redis.conf", main), ("/etc/deep.conf", "include /etc/deeper.conf")];
            let found = verdict(&files);
            let BootFence::Unproven { why: found } = found else { panic!("{main}: {found:?}") };
            assert!(found.contains(why), "{main}: {found}");
        }
    }

    #[test]
    fn words_are_split_as_redis_splits_them() {
        assert_eq!(words("  user \"a b\" 'c'  d "), ["user", "a b", "c", "d"]);
        assert!(words("# user a").is_empty() && words("").is_empty());
    }
}
