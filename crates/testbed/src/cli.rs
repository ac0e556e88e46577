//! The command line of the binary under test, run as a person would.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::time::timeout;

/// No command of ours takes longer, whatever its own `--timeout` says.
const DEADLINE: Duration = Duration::from_mins(2);

/// The binary and the nodes that it talks to.
#[derive(Clone, Debug)]
pub struct Cli {
    /// Path of the `primacy` binary.
    pub binary: PathBuf,
    /// `host:port` of the nodes.
    pub endpoints: Vec<String>,
}

/// What a command said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliOutput {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Results.
    pub stdout: String,
    /// Logs and errors.
    pub stderr: String,
}

impl Cli {
    /// Runs `primacy --endpoints ... ARGS` and returns what it said, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be started or does not end within 120 s.
    pub async fn run<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Result<CliOutput> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        let command = format!("{} {}", file_name(&self.binary), words.join(" "));
        let running = Command::new(&self.binary)
            .arg("--endpoints")
            .arg(self.endpoints.join(","))
            .args(&args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(DEADLINE, running)
            .await
            .with_context(|| format!("`{command}` did not end within {DEADLINE:?}"))?
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(CliOutput {
            command,
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl CliOutput {
    /// The output, when the command succeeded.
    ///
    /// # Errors
    /// When its exit code is not 0: the message carries all it said.
    pub fn success(self) -> Result<Self> {
        let Self { command, status, stdout, stderr } = &self;
        let code = status.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        ensure!(*status == Some(0), "`{command}` failed with {code}: {} {}", stderr.trim(), stdout.trim());
        Ok(self)
    }

    /// Its results, read as one JSON value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.stdout).with_context(|| {
            format!("`{}` printed something else than expected: {}", self.command, self.stdout.trim())
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn shell() -> Cli {
        let script = tempfile::Builder::new().suffix(".sh").tempfile().unwrap();
        let path = script.into_temp_path().keep().unwrap();
        std::fs::write(&path, "#!/bin/sh\necho \"$@\"\necho oops >&2\nexit 3\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Cli { binary: path, endpoints: vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()] }
    }

    #[tokio::test]
    async fn arguments_outputs_and_exit_code_are_passed() {
        let cli = shell();
        let output = cli.run(["primary", "features"]).await.unwrap();
        std::fs::remove_file(&cli.binary).unwrap();
        assert_eq!(output.status, Some(3));
        assert_eq!(output.stdout, "--endpoints 127.0.0.1:1,127.0.0.1:2 primary features\n");
        let error = output.success().unwrap_err().to_string();
        assert!(error.contains("primary features` failed with exit code 3: oops"), "{error}");
    }
}
