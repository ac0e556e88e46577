//! The workspace as `cargo metadata` tells it: its root, its packages, and what each of them depends on directly.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::verify::cargo_program;

/// Packages of the product are `primacy-` and the name of their directory.
const PREFIX: &str = "primacy-";

/// This repository.
pub(crate) struct Workspace {
    /// The directory of the top `Cargo.toml`.
    pub(crate) root: PathBuf,
}

/// One package of ours.
#[derive(Debug)]
pub(crate) struct Package {
    /// Without the product's prefix: `core`, not `primacy-core`.
    pub(crate) name: String,
    /// The direct ones, of every kind, for every platform, optional or not.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` table.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// As published, whatever it is renamed to; without the product's prefix when it is ours.
    pub(crate) name: String,
    /// Whether it is a package of this repository.
    pub(crate) ours: bool,
    /// Whether only tests, examples and benches see it.
    pub(crate) dev: bool,
}

impl Workspace {
    /// The one that the current directory is in.
    pub(crate) fn locate() -> Result<Self> {
        let manifest = ask_cargo(&["locate-project", "--workspace", "--message-format", "plain"])?;
        let manifest = PathBuf::from(String::from_utf8(manifest)?.trim());
        let root = manifest.parent().context("cargo locate-project named no directory")?;
        Ok(Workspace { root: root.to_path_buf() })
    }

    /// Its packages, in the order in which cargo lists them; without the network.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        let manifest = self.root.join("Cargo.toml");
        let manifest = manifest.to_str().context("the path of the repository is not UTF-8")?;
        let arguments =
            ["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", manifest];
        parse(&serde_json::from_slice(&ask_cargo(&arguments)?).context("cargo metadata printed no JSON")?)
    }
}

fn ask_cargo(arguments: &[&str]) -> Result<Vec<u8>> {
    let output =
        Command::new(cargo_program()).args(arguments).output().context("cargo could not be started")?;
    if !output.status.success() {
        bail!("cargo {} failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// Reads what `cargo metadata --no-deps` prints.
fn parse(metadata: &Value) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().context("a package without a name")?;
            let dependencies =
                package["dependencies"].as_array().context("a package without dependencies")?;
            let dependencies =
                dependencies.iter().map(|entry| dependency(entry, &ours)).collect::<Result<_>>()?;
            Ok(Package { name: short(name).to_owned(), dependencies })
        })
        .collect()
}

fn dependency(entry: &Value, ours: &[&str]) -> Result<Dependency> {
    let name = entry["name"].as_str().context("a dependency without a name")?;
    let is_ours = ours.contains(&name) && entry["source"].is_null();
    Ok(Dependency {
        name: if is_ours { short(name) } else { name }.to_owned(),
        ours: is_ours,
        dev: entry["kind"].as_str() == Some("dev"),
    })
}

fn short(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

#[cfg(test)]
pub(crate) mod sample {
    #![allow(clippy::expect_used)]
    use super::{Package, parse};
    use serde_json::{Value, json};

    /// Packages from lines such as `core: thiserror, dev proptest`, through the same JSON that cargo prints.
    pub(crate) fn packages(lines: &[&str]) -> Vec<Package> {
        let rows: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| line.split_once(':').expect("a line is `package: dependencies`"))
            .collect();
        let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        let listed: Vec<Value> = rows
            .iter()
            .map(|(name, list)| {
                let dependencies: Vec<Value> = list
                    .split(',')
                    .map(str::trim)
                    .filter(|e| !e.is_empty())
                    .map(|e| entry(e, &names))
                    .collect();
                json!({"name": full(name), "dependencies": dependencies})
            })
            .collect();
        parse(&json!({"workspace_root": "/w", "packages": listed})).expect("the sample is well formed")
    }

    fn entry(text: &str, ours: &[&str]) -> Value {
        let (kind, name) = match text.split_once(' ') {
            Some((kind, name)) => (json!(kind), name),
            None => (Value::Null, text),
        };
        // `redis` is a package of ours and a published one: `redis!` is the published one.
        match name.strip_suffix('!') {
            None if ours.contains(&name) => json!({"name": full(name), "source": null, "kind": kind}),
            published => json!({"name": published.unwrap_or(name), "source": "registry", "kind": kind}),
        }
    }

    fn full(name: &str) -> String {
        if name == "xtask" { name.to_owned() } else { format!("primacy-{name}") }
    }
}
