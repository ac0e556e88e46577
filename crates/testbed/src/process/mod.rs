//! A child process that can be killed, frozen and looked at, and that never outlives its owner.
//!
//! The problem: a test that fails, or a demo that is interrupted, must leave no server behind. The idea: a child
//! leads a process group of its own, which is killed and reaped on drop; and the kernel is asked to kill it when
//! this process dies without dropping anything.

mod spawner;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;

pub use nix::sys::signal::Signal;

pub(crate) use spawner::{Spawner, start_ours};

use crate::binary;
use crate::wan::Host;

const LOG_TAIL_BYTES_MAX: u64 = 64 * 1024;
const FREEZE_DEADLINE: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// What messages call it: "redis-server east-a".
    pub name: String,
    /// Path of the program; not searched on the PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to the inherited environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Where its output and errors are appended.
    pub log: PathBuf,
}

/// A running or ended child. Dropping it kills and reaps it with its whole process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts the program; does not wait until it is useful.
    pub fn start(spec: &ProcessSpec) -> Result<Self> {
        Self::start_at(None, spec)
    }

    /// Starts the program in the network of a host of a WAN; in this process's own when that is `None`.
    pub fn start_at(host: Option<&Host>, spec: &ProcessSpec) -> Result<Self> {
        let started = || format!("cannot start {} ({})", spec.name, spec.program.display());
        // The wrapper would only complain in the log.
        ensure!(spec.program.exists(), "{}: there is no such file", started());
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)
            .with_context(|| format!("cannot open the log {}", spec.log.display()))?;
        let mut command = command_that_dies_with_us(&spec.program);
        command
            .args(&spec.args)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&spec.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(started)?)
            .stderr(log)
            .process_group(0);
        let child = match host {
            Some(host) => host.spawn(command),
            None => spawner::spawn(command),
        };
        let child = child.with_context(started)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).with_context(started)?);
        Ok(Self { name: spec.name.clone(), pid, child: Mutex::new(child), log: spec.log.clone() })
    }

    /// Its process id; stays the same for its whole life.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it lives.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        self.child().try_wait().with_context(|| format!("cannot ask how {} is", self.name))
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.exit_status(), Ok(None))
    }

    /// Sends a signal to the process alone, not to its children.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The lock is held while signalling: nobody can reap it meanwhile, so the id cannot have passed to another.
        let mut child = self.child();
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended already ({status})", self.name);
        }
        kill(self.pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// SIGKILL, and returns when it is gone. Killing an ended process is no error.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_none() {
            kill(self.pid, Signal::SIGKILL).with_context(|| format!("cannot kill {}", self.name))?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP, and returns when the kernel has stopped it.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let deadline = Instant::now() + FREEZE_DEADLINE;
        while !is_stopped(self.pid) {
            if Instant::now() > deadline {
                bail!("{} did not stop within {FREEZE_DEADLINE:?} of SIGSTOP", self.name);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// SIGCONT: goes on after [`Process::stop`].
    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still lives after `timeout`; the message carries the end of its log.
    pub async fn wait_exit(&self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} still runs after {timeout:?}; its log ends with:\n{}",
                    self.name,
                    self.log_tail(20)
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// SIGTERM, then waits until it has ended by itself.
    pub async fn terminate(&self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_exit(timeout).await
    }

    /// The last lines of its log, at most 64 KiB.
    pub fn log_tail(&self, lines: usize) -> String {
        read_tail(&self.log, lines).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        // Once it is reaped its id may belong to somebody else: the group is killed only before that.
        if matches!(child.try_wait(), Ok(None)) {
            let killed = killpg(self.pid, Signal::SIGKILL).map_err(anyhow::Error::from);
            if let Err(error) = killed.and_then(|()| Ok(child.wait().map(drop)?)) {
                tracing::warn!("{} may still run as process {}: {error:#}", self.name, self.pid);
            }
        }
    }
}

/// `setpriv` sets the parent death signal, the shell looks whether the parent died before that, and becomes the
/// program; all under the same process id. Where `setpriv` is not installed, drop alone cleans up.
fn command_that_dies_with_us(program: &Path) -> Command {
    let Some(setpriv) = binary::on_path("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command
        .args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", r#"[ "$PPID" = "$0" ] && exec "$@""#])
        .arg(std::process::id().to_string())
        .arg(program);
    command
}

fn is_stopped(pid: Pid) -> bool {
    // The state follows the name, which is in brackets and may itself contain brackets and spaces.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

fn read_tail(path: &Path, lines: usize) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}
