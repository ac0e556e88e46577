use crate::exit::{Exit, Failure};
use crate::screen::Screen;
use crate::show::apply::{FileReport, ProblemReport, problems_text};
use clap::Args;
use primacy_node::config::{GroupsFile, NodeConfig, Problem, Problems};
use std::path::{Path, PathBuf};

/// Validates configuration files, and lists every problem with its key, reason and remedy
///
/// Works on the files alone and asks nobody: it can run before anything else does, and in a pipeline.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
#[command(group = clap::ArgGroup::new("files").args(["config", "file"]).required(true).multiple(true))]
#[command(after_long_help = "Examples:
  primacy check -c /etc/primacy/node.toml
  primacy check -c node.toml -f groups.toml
  primacy check -f groups.toml

Exits with 2 when something is wrong.")]
pub(crate) struct CheckArgs {
    /// The configuration of a node
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The groups file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &CheckArgs, screen: Screen) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    if let Some(path) = &args.config {
        let loaded = NodeConfig::load(path);
        let (warnings, notes) = match &loaded {
            Ok(config) => (config.warnings.clone(), vec![config.cluster.timings.arithmetic()]),
            Err(_) => (vec![], vec![]),
        };
        wrong.extend(report(path, loaded.err(), &warnings, notes, screen)?);
    }
    if let Some(path) = &args.file {
        let sites = args.config.as_ref().and_then(|config| NodeConfig::load(config).ok());
        let loaded = GroupsFile::load(path);
        let warnings = match (&loaded, sites) {
            (Ok(groups), Some(node)) => sites_without_node(groups, &node),
            _ => Vec::new(),
        };
        wrong.extend(report(path, loaded.err(), &warnings, vec![], screen)?);
    }
    match wrong.as_slice() {
        [] => Ok(()),
        lists => Err(Failure::new(Exit::Usage, lists.concat())),
    }
}

/// Reports one file; what is wrong with it comes back as text.
fn report(
    path: &Path,
    problems: Option<Problems>,
    warnings: &[Problem],
    notes: Vec<String>,
    screen: Screen,
) -> Result<Option<String>, Failure> {
    let problems: Vec<ProblemReport> =
        problems.map(|problems| problems.0.iter().map(ProblemReport::from).collect()).unwrap_or_default();
    let warnings: Vec<ProblemReport> = warnings.iter().map(ProblemReport::from).collect();
    let file = path.display().to_string();
    let valid = problems.is_empty();
    let listed = problems_text(&problems);
    if screen.json() {
        screen.object(&FileReport { file: file.clone(), valid, problems, warnings, notes })?;
    } else if valid {
        screen.line(&format!("{file}: valid"))?;
        for note in &notes {
            screen.line(&format!("  {note}"))?;
        }
        for line in problems_text(&warnings).lines() {
            screen.line(&format!("  {line}"))?;
        }
    }
    Ok((!valid).then(|| format!("{file} is not valid\n{listed}")))
}

/// A group can only be watched from sites that have a node.
fn sites_without_node(groups: &[primacy_core::GroupSpec], node: &NodeConfig) -> Vec<Problem> {
    let sites: Vec<_> = node.founding_sites().into_values().collect();
    let members = groups.iter().flat_map(|group| group.members.iter().map(move |member| (group, member)));
    members
        .filter(|(_, member)| !sites.contains(&member.site))
        .map(|(group, member)| Problem {
            key: format!("{}.{}.member.{}.site", group.kind, group.name, member.name),
            reason: format!("no founding node is at site {}", member.site),
            remedy: "correct the site, or have a node join there by `primacy cluster add`".to_owned(),
        })
        .collect()
}

impl From<&Problem> for ProblemReport {
    fn from(problem: &Problem) -> Self {
        ProblemReport {
            key: problem.key.clone(),
            reason: problem.reason.clone(),
            remedy: problem.remedy.clone(),
        }
    }
}
