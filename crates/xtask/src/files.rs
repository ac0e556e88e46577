//! The text files of the repository, whether git knows them yet or not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Directories with a leading dot that are ours; all others belong to tools.
const OUR_HIDDEN: &[&str] = &[".cargo", ".ci"];

/// One text file.
pub(crate) struct TextFile {
    /// Relative to the root of the repository.
    pub(crate) path: PathBuf,
    /// All of it.
    pub(crate) text: String,
}

impl TextFile {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Every file below `root` that is UTF-8, in the order of their paths; build output and tools' directories left out.
pub(crate) fn text_files(root: &Path) -> Result<Vec<TextFile>> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
            let path = entry?.path();
            if path.is_symlink() {
                // What it leads to is listed under its own name, or is not ours.
            } else if path.is_dir() {
                pending.extend(is_ours(&path).then_some(path));
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(TextFile { path: path.strip_prefix(root)?.to_path_buf(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn is_ours(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    // Cargo marks its target directories so, wherever they are.
    let is_build_output = directory.join("CACHEDIR.TAG").exists();
    !is_build_output && (!name.starts_with('.') || OUR_HIDDEN.contains(&&*name))
}
