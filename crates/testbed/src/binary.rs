//! Finding the programs that a deployment starts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

/// The program named by the environment variable `variable`, else `name` on the PATH.
pub(crate) fn find(variable: &str, name: &str) -> Result<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) if is_program(Path::new(&path)) => Ok(PathBuf::from(path)),
        Some(path) => bail!("{variable} names {}, which is no program: correct or unset it", path.display()),
        None => on_path(name).ok_or_else(|| {
            anyhow!(
                "{name} is not installed: run scripts/setup, or set {variable} to the path of the program"
            )
        }),
    }
}

/// The first program of this name on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    find_in(&path, name)
}

fn find_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_remedy() {
        let error = find("PRIMACY_NO_SUCH_VARIABLE", "no-such-program").unwrap_err().to_string();
        assert!(error.contains("no-such-program is not installed: run scripts/setup"), "{error}");
    }

    #[test]
    fn only_executable_files_count() {
        let path = OsStr::new("/etc:/bin:/usr/bin");
        assert_eq!(find_in(path, "passwd").map(|p| p.starts_with("/etc")), Some(false));
        assert_eq!(find_in(path, "no-such-program"), None);
    }
}
